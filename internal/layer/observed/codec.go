package observed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// version is the first byte of encoded inputs. It rises when an answer's digest or a question means something else.
const version = 1

// Limits on what is decoded.
const (
	maxTrees  = 500 // as many as overlayfs takes
	maxDecode = 4 * MaxEncoded
)

// Encode writes the inputs: the version, the number of trees, and of each what it is of (without "sha256:", 0 bytes for
// none), its mount, its counts, and its inputs: how many bytes of the path are those of the one before, the rest of it, the
// questions, and the answer unless it is absent. Numbers are varints, and a string has its length before it.
func (in *Inputs) Encode() []byte {
	b := []byte{version}
	num := func(n int) { b = binary.AppendUvarint(b, uint64(n)) }
	str := func(s string) {
		num(len(s))
		b = append(b, s...)
	}
	num(len(in.Trees))
	for _, t := range in.Trees {
		str(strings.TrimPrefix(string(t.Of), "sha256:"))
		str(t.Mount)
		num(t.Files)
		num(t.Read)
		num(len(t.Inputs))
		before := ""
		for _, x := range t.Inputs {
			n := shared(before, x.Path)
			num(n)
			str(x.Path[n:])
			b = append(b, byte(x.Asked))
			if x.Asked&Absent == 0 {
				b = append(b, x.Answer[:]...)
			}
			before = x.Path
		}
	}
	return b
}

func shared(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// errMalformed is what Decode says of bytes that Encode did not write.
var errMalformed = errors.New("malformed")

// Decode reads what Encode wrote. Anything else is an error, that of another version too: such a record has no inputs that
// could be compared.
func Decode(data []byte) (*Inputs, error) {
	if len(data) == 0 || len(data) > maxDecode {
		return nil, fmt.Errorf("reading what a step has read: %d bytes", len(data))
	}
	if data[0] != version {
		return nil, fmt.Errorf("reading what a step has read: it is of another version of strata (%d)", data[0])
	}
	d := &decoder{rest: data[1:]}
	in := d.inputs()
	if d.failed || len(d.rest) > 0 {
		return nil, fmt.Errorf("reading what a step has read: %w", errMalformed)
	}
	return in, nil
}

type decoder struct {
	rest   []byte
	failed bool
}

func (d *decoder) num(limit int) int {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 || n > uint64(limit) {
		d.failed, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[size:]
	return int(n)
}

func (d *decoder) bytes(n int) []byte {
	if n > len(d.rest) {
		d.failed, d.rest = true, nil
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) str(limit int) string { return string(d.bytes(d.num(limit))) }

func (d *decoder) inputs() *Inputs {
	in := &Inputs{}
	for range d.num(maxTrees) {
		if d.failed {
			break
		}
		t := Tree{}
		if hex := d.str(64); hex != "" {
			t.Of = digest.NewDigestFromEncoded(digest.SHA256, hex)
			if t.Of.Validate() != nil {
				d.failed = true
			}
		}
		t.Mount = d.str(layer.MaxPath)
		t.Files, t.Read = d.num(layer.MaxEntries), d.num(layer.MaxEntries)
		before := ""
		for i := range d.num(maxDecode) {
			x := d.input(before)
			if i > 0 && layer.Compare(before, x.Path) >= 0 {
				d.failed = true
			}
			if d.failed {
				return nil
			}
			t.Inputs = append(t.Inputs, x)
			before = x.Path
		}
		in.Trees = append(in.Trees, t)
	}
	return in
}

func (d *decoder) input(before string) Input {
	n := d.num(len(before))
	x := Input{}
	if !d.failed {
		x.Path = before[:n] + d.str(layer.MaxPath)
	}
	if q := d.bytes(1); q != nil {
		x.Asked = Questions(q[0])
	}
	if x.Asked == 0 || x.Asked&^allQuestions != 0 || x.Asked&Absent != 0 && x.Asked != Absent {
		d.failed = true
		return x
	}
	if x.Asked&Absent == 0 {
		copy(x.Answer[:], d.bytes(len(x.Answer)))
	}
	return x
}
