package cache

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store"
)

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

// textOf is by what records are found whose instructions say the same. Keys of the two engines have different
// parts and cannot be compared, so they are not alike.
func textOf(k *Key, instruction string) string {
	engine := "graph"
	if len(k.Values(PartAfter)) > 0 {
		engine = "classic"
	}
	return digest.FromString(engine + "\n" + string(k.Kind) + "\n" + instruction).Encoded()[:32]
}

// Peek returns the record of a key without using it: its layer need not be there. nil if there is none.
func Peek(s *store.Store, key digest.Digest) (*Record, error) {
	row, err := s.PeekRecord(key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return Decode(row.Data)
}

// Found is a record and the key that it is under.
type Found struct {
	Key digest.Digest
	*Record
}

// Like returns up to limit records of steps of the same kind, engine and instruction, those made last first.
func Like(s *store.Store, k *Key, instruction string, limit int) ([]Found, error) {
	rows, err := s.RecordsLike(textOf(k, instruction), limit)
	if err != nil {
		return nil, err
	}
	var like []Found
	for _, row := range rows {
		r, err := Decode(row.Data)
		if err != nil {
			return nil, err
		}
		like = append(like, Found{row.Key, r})
	}
	return like, nil
}

// Decode reads a record as the store has it.
func Decode(data []byte) (*Record, error) {
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("reading a record of the cache: %w", err)
	}
	return &r, nil
}
