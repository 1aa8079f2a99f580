package records

import (
	"bytes"
	"encoding/json"
	"testing"
)

// The record of a key is as it was kept, and no other and no damaged one is a hit; who knows nothing of the seal reads
// the record.
func TestSeal(t *testing.T) {
	data := []byte(`{"kind":"run","instruction":"RUN true","layer":"sha256:aa"}`)
	sealed := withSeal("sha256:11", data)
	var r struct{ Instruction string }
	if err := json.Unmarshal(sealed, &r); err != nil || r.Instruction != "RUN true" {
		t.Errorf("%+v, %v", r, err)
	}
	if !asSealed("sha256:11", sealed) || !asSealed("sha256:11", data) {
		t.Error("what was kept, with and without a seal, is taken for damaged")
	}
	if asSealed("sha256:12", sealed) {
		t.Error("the record of another key is taken")
	}
	for at := range len(data) - 1 {
		flipped := bytes.Clone(sealed)
		flipped[at] ^= 1
		if asSealed("sha256:11", flipped) {
			t.Errorf("byte %d flipped is not seen", at)
		}
	}
}
