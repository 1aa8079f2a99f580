// Package cache makes the keys of steps, and says what is recorded under them.
//
// A key is the digest of all that decides a step's result: its kind, what the instruction says once it is
// expanded, the chainID of the state that it starts from, and the contents of the files that it reads. A
// record is the memo of a pure function, so it means the same on every machine: it holds no path, no host
// name, and the only time in it is when the step ran.
package cache

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
)

// keyVersion is part of every key. It rises when a step with the same parts would give another result.
const keyVersion = "1"

// Kind is what a key is of.
type Kind string

// The kinds of keys. Configuration is a step of the classic engine that changes no file; Selection
// is what a COPY --from or a mount selects in a state; Scratch is the beginning of a stage, which
// has a time; Below is what a COPY sees of the state that it is laid on.
const (
	KindRun           Kind = "RUN"
	KindCopy          Kind = "COPY"
	KindAdd           Kind = "ADD"
	KindWorkdir       Kind = "WORKDIR"
	KindConfiguration Kind = "configuration"
	KindSelection     Kind = "selection"
	KindScratch       Kind = "FROM scratch"
	KindBelow         Kind = "below"
)

// Part is one of the things that a key is made of. Parts are kept with the record, so that two keys can be
// compared part by part; a part never holds a secret.
type Part struct {
	Name  string `json:"n"` // see PartName
	Value string `json:"v"`
}

// Key is what decides a step's result.
type Key struct {
	Kind  Kind
	Parts []Part
}

// Add appends a part for each value. The order of the parts counts.
func (k *Key) Add(name PartName, values ...string) {
	for _, v := range values {
		k.Parts = append(k.Parts, Part{name.String(), v})
	}
}

// Digest is the key itself.
func (k *Key) Digest() digest.Digest {
	// Each string follows its length, so that no two lists of parts give the same bytes. JSON would not do:
	// bytes that are not UTF-8, which an argument may hold, all look alike in it.
	var b []byte
	add := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	add(keyVersion)
	add(string(k.Kind))
	for _, p := range k.Parts {
		add(p.Name)
		add(p.Value)
	}
	return digest.FromBytes(b)
}

// Record is what a step gave when it ran.
type Record struct {
	Kind  Kind   `json:"kind"`
	Parts []Part `json:"parts"`
	// Layer is the diffID of the layer that it made, "" if it changed no file.
	Layer digest.Digest `json:"layer,omitempty"`
	// Created is when it ran, to the nanosecond, as its history row has it.
	Created time.Time `json:"created"`
	// Took is how long it ran.
	Took time.Duration `json:"took"`
	// Instruction is its text, as written.
	Instruction string `json:"instruction"`
	// Written is the instruction as its Dockerfile has it, over several lines, where there are here-documents in it; ""
	// where Instruction says it all.
	Written string `json:"written,omitempty"`
	// Selected is what the record of a COPY --from's sources tells: what they select, as classic history rows name it.
	Selected string `json:"selected,omitempty"`
	// Origin is the image or cache from elsewhere that the record came from, "" for this machine.
	Origin string `json:"origin,omitempty"`
	// Checked is when the step last ran again and gave the same files; zero if it did not since Created.
	Checked time.Time `json:"checked,omitzero"`
	// Fetches says that the step fetches from the network, and how that is known: Inferred or Seen; "" if it does not,
	// as far as is known.
	Fetches string `json:"fetches,omitempty"`
	// Reached is what the step asked of its network, nil where nobody saw that.
	Reached *Reached `json:"reached,omitempty"`
	// Observed is what the step read, nil if that is not known: then the record is good for its own key only.
	Observed *Observed `json:"observed,omitempty"`

	// Again is what came of running the step again in this build, nil if it did not.
	Again *Again `json:"-"`
	// Elsewhere says that another machine ran the step in this build, nil if none did.
	Elsewhere *Elsewhere `json:"-"`
}

// Again is how the result of a step that ran again compares with the recorded one.
type Again struct {
	Same    bool   // it holds the same files, and the recorded layer stays
	Changes string // what differs, in short; "" if that cannot be told
}

// Age is how long ago it was known that the step gives what is recorded.
func (r *Record) Age() time.Duration {
	if r.Checked.After(r.Created) {
		return time.Since(r.Checked)
	}
	return time.Since(r.Created)
}

// Step is a record under the key by which every machine knows it.
type Step struct {
	Key    digest.Digest
	Record *Record
	// KeyOnly says that a place is to keep the record without its layer: of a step that the image does not consist of,
	// whose key those that it does consist of follow from.
	KeyOnly bool
	// Observed is what its weak key is made of, for Redate; nil where there is none.
	Observed *Observation
}

// NewStep makes a step of a key and what is recorded under it.
func NewStep(k *Key, r *Record) Step {
	c := *r
	c.Kind, c.Parts, c.Origin = k.Kind, k.Parts, ""
	return Step{Key: k.Digest(), Record: &c}
}

// Check says why a step that somebody else wrote cannot be trusted: it has no record, its key is not that of its parts,
// as in one of another version of strata, or its layer has no digest.
func (s Step) Check() error {
	switch r := s.Record; {
	case r == nil:
		return fmt.Errorf("record %s: it is empty", s.Key)
	case (&Key{r.Kind, r.Parts}).Digest() != s.Key:
		return fmt.Errorf("record %s: its key is not that of its parts", s.Key)
	case r.Layer != "" && (r.Layer.Validate() != nil || r.Layer.Algorithm() != digest.SHA256):
		return fmt.Errorf("record %s: %q is not the sha256 digest of a layer", s.Key, r.Layer)
	}
	return nil
}

// Decode reads a record as Encode writes it.
func Decode(data []byte) (*Record, error) {
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("reading a record of the cache: %w", err)
	}
	return &r, nil
}

// DecodeOf reads the record of a key as Encode writes it: its parts are the key's, and are not read once more.
func DecodeOf(k *Key, data []byte) (*Record, error) {
	r := struct {
		*Record
		Parts unread `json:"parts"`
	}{Record: &Record{}}
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("reading a record of the cache: %w", err)
	}
	r.Record.Parts = k.Parts
	return r.Record, nil
}

// unread is a value in JSON that nobody needs.
type unread struct{}

// UnmarshalJSON leaves the value where it is.
func (*unread) UnmarshalJSON([]byte) error { return nil }

// Encode writes a record as JSON.
func (r *Record) Encode() ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("writing the record of a step: %w", err)
	}
	return data, nil
}

// Values are those of the parts with a name, in their order.
func (k *Key) Values(name PartName) []string { return values(k.Parts, name.String()) }

// Values are those of the parts with a name, in their order.
func (r *Record) Values(name PartName) []string { return values(r.Parts, name.String()) }

func values(parts []Part, name string) []string {
	var found []string
	for _, p := range parts {
		if p.Name == name {
			found = append(found, p.Value)
		}
	}
	return found
}
