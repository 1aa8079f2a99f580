package layer

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// Pieces of any length reach both in their order, and what the writer says is what Write says.
func TestBeside(t *testing.T) {
	var all, written, hashed bytes.Buffer
	to := Beside(&written, &hashed)
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		p := make([]byte, random.IntN(3*besideFrom))
		for i := range p {
			p[i] = byte(random.Uint32())
		}
		all.Write(p)
		if n, err := to.Write(p); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
		clear(p) // it is the caller's again
	}
	if !bytes.Equal(all.Bytes(), written.Bytes()) || !bytes.Equal(all.Bytes(), hashed.Bytes()) {
		t.Error("other bytes arrived")
	}
	for _, size := range []int{1, besideFrom} {
		if n, err := Beside(full{}, &hashed).Write(make([]byte, size)); n != 0 || !errors.Is(err, errFull) {
			t.Errorf("%d bytes: %d, %v", size, n, err)
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }
