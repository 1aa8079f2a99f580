package cache

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/layer/observed"
)

// Observed is what a step read of layers that were served to it. docs/observed.md tells what follows from it.
type Observed struct {
	// Weak is the weak key: that of the step without what it was observed on.
	Weak digest.Digest `json:"weak"`
	// Data is what it read, as observed.Inputs are encoded.
	Data []byte `json:"inputs"`
	// Hit says that the record was found by what its step read, not by its key.
	Hit bool `json:"-"`
}

// NewObserved makes what a record has of a step's inputs.
func NewObserved(weak digest.Digest, in *observed.Inputs) *Observed {
	return &Observed{Weak: weak, Data: in.Encode()}
}

// String says what a step has read of what it could have: "read 3 of 214 copied files, none changed".
func (o *Observed) String() string {
	in, err := o.Inputs()
	if err != nil {
		return "read nothing that has changed"
	}
	read, files := in.Counts()
	kind := kindOf(in)
	switch {
	case files == 1 && read == 1:
		return fmt.Sprintf("read the one %s file, not changed", kind)
	case read == 0:
		return fmt.Sprintf("read none of %d %s %s", files, kind, plural(files))
	case read == 1:
		return fmt.Sprintf("read 1 of %d %s files, not changed", files, kind)
	}
	return fmt.Sprintf("read %d of %d %s files, none changed", read, files, kind)
}

// kindOf says how the files that could be read came to the step.
func kindOf(in *observed.Inputs) string {
	isMount := func(t observed.Tree) bool { return t.Mount != "" }
	switch {
	case !slices.ContainsFunc(in.Trees, isMount):
		return "copied"
	case isMount(in.Trees[0]): // layers come before mounts
		return "mounted"
	}
	return "copied or mounted"
}

func plural(n int) string {
	if n == 1 {
		return "file"
	}
	return "files"
}

// Inputs reads what the step read; an error where it is of another version, or damaged.
func (o *Observed) Inputs() (*observed.Inputs, error) { return observed.Decode(o.Data) }

// Mounted is what a mount of a RUN shows, as it counts in a key.
type Mounted struct {
	Sum    digest.Digest
	Target string
}

// String is the value of its PartMounted.
func (m Mounted) String() string { return string(m.Sum) + " " + m.Target }

// Weaken makes the weak key of a shared key: in the place of the chainID stand the layers below one by one, and of
// those that observe has, only that they are there. Empty layers do not count, as in ChainPart. Of the mounts that are
// observed, too, only that they are there counts.
func Weaken(shared *Key, chain []digest.Digest, observe []bool, mounts []Mounted) *Key {
	weak := &Key{Kind: shared.Kind}
	for _, p := range shared.Parts {
		if p.Name == PartChain.String() {
			continue
		}
		for _, m := range mounts {
			if p == (Part{PartMounted.String(), m.String()}) {
				p.Value = Mounted{"observed", m.Target}.String()
			}
		}
		weak.Parts = append(weak.Parts, p)
	}
	var list []string
	for i, d := range chain {
		switch {
		case d == layer.EmptyDiffID:
		case i < len(observe) && observe[i]:
			list = append(list, "observed")
		default:
			list = append(list, string(d))
		}
	}
	weak.Parts = slices.Clip(weak.Parts)
	weak.Add(PartLayers, string(digest.FromString(strings.Join(list, "\n"))))
	return weak
}

// IsObservedHit says whether the record was found by what its step read, not by its key.
func (r *Record) IsObservedHit() bool { return r.Observed != nil && r.Observed.Hit }

// Observer is a place that finds records by the weak key of their step.
type Observer interface {
	// Candidates returns copies of up to limit records with a weak key, those made last first. As after Get, the store
	// knows then where their layers can be had.
	Candidates(ctx context.Context, weak digest.Digest, limit int) ([]*Record, error)
}

// Candidates returns the records of a source with a weak key. One that does not answer has none: Lookup has said so.
func (s *Source) Candidates(ctx context.Context, weak digest.Digest, limit int) []*Record {
	o, ok := s.Place.(Observer)
	if !ok || s.failed.Load() {
		return nil
	}
	found, err := o.Candidates(ctx, weak, limit)
	if err != nil {
		return nil
	}
	return found
}
