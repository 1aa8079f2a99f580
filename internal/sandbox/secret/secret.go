// Package secret holds the secrets of a build: what --secret names, for RUN steps to read and for nothing to keep. What
// a secret says is in no key, no layer, no record and no log; only its id is.
package secret

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/tonistiigi/go-csvvalue"
)

// MaxSize is how many bytes a secret may have (BuildKit, session/secrets/secretsprovider).
const MaxSize = 500 << 10

// Source says where a secret is: in a file or in a variable of this process's environment.
type Source struct {
	ID   string
	File string
	Env  string // takes precedence
}

// Parse reads what --secret takes: id=ID with src=FILE (or source=) or env=VARIABLE, and type=file or type=env, with
// which src= names the variable. With an id alone it is the variable of that name, if there is one, and else the file
// of that name (buildx, util/buildflags/secrets.go). Errors never show what the text holds beyond the names of its fields:
// who mixes things up may have typed the secret itself.
func Parse(text string) (Source, error) {
	fields, err := csvvalue.Fields(text, nil)
	if err != nil {
		return Source{}, fmt.Errorf("it takes id=ID,src=FILE or id=ID,env=VARIABLE: %w", err)
	}
	var s Source
	kind := ""
	for _, field := range fields {
		name, value, ok := strings.Cut(field, "=")
		if !ok {
			return Source{}, errors.New("it takes id=ID,src=FILE or id=ID,env=VARIABLE: a field has no =")
		}
		switch strings.ToLower(name) {
		case "id":
			s.ID = value
		case "src", "source":
			s.File = value
		case "env":
			s.Env = value
		case "type":
			if value != "file" && value != "env" {
				return Source{}, errors.New("the type of a secret is file or env")
			}
			kind = value
		default:
			return Source{}, errors.New("it takes id=ID,src=FILE or id=ID,env=VARIABLE, and no other field")
		}
	}
	if s.ID == "" {
		return Source{}, errors.New("a secret needs an id: id=ID")
	}
	if kind == "env" && s.Env == "" {
		s.Env, s.File = s.File, ""
	}
	return s, nil
}

// Store is the secrets of one build. The zero value and nil have none.
type Store struct {
	secrets map[string]func() ([]byte, error)
	mask    mask // of those that were given
}

// NewStore checks that the sources can be had, so that no build runs for minutes before it says that one cannot. Of two
// with one id the later counts.
func NewStore(sources []Source) (*Store, error) {
	s := &Store{secrets: map[string]func() ([]byte, error){}}
	for _, from := range sources {
		if from.Env == "" && from.File == "" {
			if _, ok := os.LookupEnv(from.ID); ok {
				from.Env = from.ID
			} else {
				from.File = from.ID
			}
		}
		if err := from.check(); err != nil {
			return nil, fmt.Errorf("the secret %s: %w", from.ID, err)
		}
		// Once only: a pipe, as the shell's <(…) gives one, has nothing to read the second time.
		s.secrets[from.ID] = sync.OnceValues(from.read)
	}
	return s, nil
}

// Given is the secrets of values that are here, by their IDs.
func Given(values map[string][]byte) *Store {
	s := &Store{secrets: map[string]func() ([]byte, error){}}
	for id, data := range values {
		s.secrets[id] = func() ([]byte, error) { return data, nil }
	}
	return s
}

func (s Source) check() error {
	if s.Env != "" {
		return nil // one that is not set is empty
	}
	info, err := os.Stat(s.File)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a directory; name a file", s.File)
	case info.Size() > MaxSize:
		return errTooBig
	}
	return nil
}

var errTooBig = fmt.Errorf("it is too big: a secret has at most %d bytes", MaxSize)

func (s Source) read() ([]byte, error) {
	if s.Env != "" {
		if value := os.Getenv(s.Env); len(value) <= MaxSize {
			return []byte(value), nil
		}
		return nil, errTooBig
	}
	f, err := os.Open(s.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err == nil && len(data) > MaxSize {
		err = errTooBig
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

// Get is what a secret says. ok is false if the build has no secret of this id.
func (s *Store) Get(id string) (data []byte, ok bool, err error) {
	if s == nil || s.secrets[id] == nil {
		return nil, false, nil
	}
	if data, err = s.secrets[id](); err != nil {
		return nil, true, fmt.Errorf("the secret %s: %w", id, err)
	}
	s.mask.add(id, data)
	return data, true, nil
}
