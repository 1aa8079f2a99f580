package explain

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/strata-build/strata/internal/store"
)

// A build under way is shown to other processes by two files in the folder of its process's session, which goes
// with the process, however that ends: what became of it so far, as the JSON of a Build, and what its steps print.
const (
	liveFolder = "build"
	liveState  = "state.json"
	liveOutput = "output.jsonl"
)

// A build shows itself once it takes longer than liveDelay, so that one whose steps are cached pays nothing, and
// then at most this often.
const (
	liveDelay    = 300 * time.Millisecond
	liveInterval = 200 * time.Millisecond
)

// maxOutput is how much of what the steps of a build print is shown to other processes, in bytes.
const maxOutput = 8 << 20

// Printed is something that a step under way printed.
type Printed struct {
	Step string `json:"step"` // as Build.Label has it
	Text string `json:"text"`
}

// live shows a build to other processes. What cannot be written is not shown, which is no harm to the build.
type live struct {
	store    *store.Store
	snapshot func() *Build

	mu     sync.Mutex
	timer  *time.Timer // runs when there is something to write
	begun  bool
	closed bool
	output bytes.Buffer // that is not written yet
	seen   int          // bytes of output so far

	writing sync.Mutex // of what follows
	dir     string
	gone    bool
}

func newLive(s *store.Store, snapshot func() *Build) *live {
	return &live{store: s, snapshot: snapshot}
}

// changed says that there is something new. It returns at once.
func (l *live) changed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil || l.closed {
		return
	}
	wait := liveInterval
	if !l.begun {
		l.begun, wait = true, liveDelay
	}
	l.timer = time.AfterFunc(wait, l.write)
}

// print takes what a step printed.
func (l *live) print(step string, text []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen += len(text); l.closed || l.seen > maxOutput {
		return
	}
	// Neither a text nor a Printed can fail to be JSON.
	_ = json.NewEncoder(&l.output).Encode(Printed{step, string(bytes.ToValidUTF8(text, []byte("\ufffd")))})
}

// write writes what is new.
func (l *live) write() {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	l.timer = nil
	output := bytes.Clone(l.output.Bytes())
	l.output.Reset()
	l.mu.Unlock()
	if l.gone {
		return
	}
	if l.dir == "" {
		dir, err := l.store.Temp(liveFolder)
		if err != nil {
			l.gone = true // of a store that cannot be written to, for instance
			return
		}
		l.dir = dir
	}
	data, err := json.Marshal(l.snapshot())
	if err != nil {
		return
	}
	next := filepath.Join(l.dir, liveState+".new")
	if os.WriteFile(next, data, 0o600) == nil {
		_ = os.Rename(next, filepath.Join(l.dir, liveState))
	}
	if len(output) == 0 {
		return
	}
	if f, err := os.OpenFile(filepath.Join(l.dir, liveOutput), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
		_, _ = f.Write(output)
		f.Close()
	}
}

// close takes the build back from other processes.
func (l *live) close() {
	l.mu.Lock()
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
	}
	l.mu.Unlock()
	l.writing.Lock()
	defer l.writing.Unlock()
	l.gone = true
	if l.dir != "" {
		_ = os.RemoveAll(l.dir) // it goes with the process
	}
}

// maxState is how large the state of a build under way may be, in bytes; one with 500 steps has 1 MB.
const maxState = 16 << 20

// Live returns the builds that are under way on a store, in any process, the youngest first. One that takes less
// than a third of a second is not seen.
func Live(s *store.Store) ([]*Build, error) {
	folders, err := s.LiveFolders(liveFolder)
	if err != nil {
		return nil, fmt.Errorf("looking for builds under way: %w", err)
	}
	var all []*Build
	for _, dir := range folders {
		if b := readLive(dir); b != nil {
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b *Build) int { return b.Started.Compare(a.Started) })
	return all, nil
}

// readLive reads the state of a build, nil if it has ended meanwhile or has not said anything yet.
func readLive(dir string) *Build {
	f, err := os.Open(filepath.Join(dir, liveState))
	if err != nil {
		return nil
	}
	defer f.Close()
	b := &Build{}
	if json.NewDecoder(io.LimitReader(f, maxState)).Decode(b) != nil || b.ID == "" {
		return nil
	}
	return b
}

// Follow is a build under way that is followed.
type Follow struct {
	dir    string
	offset int64 // in the output
}

// FollowLive begins to follow a build under way by its ID. It is a *fs.PathError with fs.ErrNotExist where it is
// not under way.
func FollowLive(s *store.Store, id string) (*Follow, error) {
	folders, err := s.LiveFolders(liveFolder)
	if err != nil {
		return nil, fmt.Errorf("looking for builds under way: %w", err)
	}
	for _, dir := range folders {
		if b := readLive(dir); b != nil && b.ID == id {
			return &Follow{dir: dir}, nil
		}
	}
	return nil, &fs.PathError{Op: "follow", Path: "build " + id, Err: fs.ErrNotExist}
}

// Next is the build as it is now, nil once it has ended, and what its steps printed since the last call.
func (f *Follow) Next() (*Build, []Printed, error) {
	b := readLive(f.dir)
	if b == nil {
		return nil, nil, nil
	}
	out, err := os.Open(filepath.Join(f.dir, liveOutput))
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("following build %s: %w", b.ID, err)
	}
	defer out.Close()
	data, err := io.ReadAll(io.NewSectionReader(out, f.offset, maxOutput))
	if err != nil {
		return nil, nil, fmt.Errorf("following build %s: %w", b.ID, err)
	}
	end := bytes.LastIndexByte(data, '\n') + 1 // what comes after is not written whole yet
	f.offset += int64(end)
	var printed []Printed
	for line := range bytes.Lines(data[:end]) {
		var p Printed
		if json.Unmarshal(line, &p) == nil {
			printed = append(printed, p)
		}
	}
	return b, printed, nil
}
