package layer

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sort"

	"github.com/opencontainers/go-digest"
)

// TarDelta says how a tar is made of two files: of the tar of another layer, its base, and of a file that has the
// bytes that the base does not have, in the order in which they come. A base is a file of its own, never a delta.
type TarDelta struct {
	Base     digest.Digest // the diffID of the base
	BaseSize int64         // the length of its tar in bytes
	Size     int64         // the length of the tar that is described
	Copies   []TarCopy     // in the order of To
}

// TarCopy is a run of bytes that a tar has in common with its base.
type TarCopy struct {
	To, From int64 // where it begins, in the tar and in the base
	Size     int64

	own int64 // how many bytes of the tar before it are not in the base
}

// OwnSize is how many bytes are not in the base.
func (d *TarDelta) OwnSize() int64 {
	if n := len(d.Copies); n > 0 {
		last := &d.Copies[n-1]
		return last.own + d.Size - last.To - last.Size
	}
	return d.Size
}

// Find says where the byte at an offset of the tar is: at from, in the base or in the file of other bytes, where the n
// bytes from there on are too. n is 0 behind the end.
func (d *TarDelta) Find(at int64) (inBase bool, from, n int64) {
	i := sort.Search(len(d.Copies), func(i int) bool { return d.Copies[i].To+d.Copies[i].Size > at })
	if i == len(d.Copies) {
		return false, at - d.Size + d.OwnSize(), max(0, d.Size-at)
	}
	c := &d.Copies[i]
	if at >= c.To {
		return true, c.From + at - c.To, c.To + c.Size - at
	}
	return false, c.own - (c.To - at), c.To - at
}

// add appends a run. One that goes on where the last one ends, in both tars, makes that longer.
func (d *TarDelta) add(c TarCopy) {
	if c.Size == 0 {
		return
	}
	c.own = c.To
	if n := len(d.Copies); n > 0 {
		last := &d.Copies[n-1]
		if last.To+last.Size == c.To && last.From+last.Size == c.From {
			last.Size += c.Size
			return
		}
		c.own = last.own + c.To - last.To - last.Size
	}
	d.Copies = append(d.Copies, c)
}

// tarDeltaMagic begins the encoded form.
const tarDeltaMagic = "strata tar delta 1\n"

// Encode gives the form that DecodeTarDelta reads, of the tar diffID: a line that says what it is, the digest of the
// base, and as varints the two sizes and each run's bytes since the one before, its place in the base, and its size;
// at the end the SHA-256 of all that and of diffID.
func (d *TarDelta) Encode(diffID digest.Digest) []byte {
	b := append([]byte(tarDeltaMagic), d.Base.Encoded()...)
	b = binary.AppendUvarint(b, uint64(d.BaseSize))
	b = binary.AppendUvarint(b, uint64(d.Size))
	end := int64(0)
	for _, c := range d.Copies {
		for _, n := range []int64{c.To - end, c.From, c.Size} {
			b = binary.AppendUvarint(b, uint64(n))
		}
		end = c.To + c.Size
	}
	sum := sumFor(b, diffID)
	return append(b, sum[:]...)
}

// DecodeTarDelta reads what Encode made of the tar diffID; an error where a byte of it is another.
func DecodeTarDelta(b []byte, diffID digest.Digest) (*TarDelta, error) {
	errDamaged := errors.New("what says where the bytes of the tar are is damaged")
	end := len(b) - sha256.Size
	if end < 0 || sumFor(b[:end], diffID) != [sha256.Size]byte(b[end:]) {
		return nil, errDamaged
	}
	body, ok := bytes.CutPrefix(b[:end], []byte(tarDeltaMagic))
	if !ok || len(body) < 2*sha256.Size {
		return nil, errDamaged
	}
	d := &TarDelta{Base: digest.NewDigestFromEncoded(digest.SHA256, string(body[:2*sha256.Size]))}
	body = body[2*sha256.Size:]
	failed := d.Base.Validate() != nil
	next := func() int64 {
		n, used := binary.Uvarint(body)
		if used <= 0 || n > 1<<62 {
			failed, body = true, nil
			return 0
		}
		body = body[used:]
		return int64(n)
	}
	d.BaseSize, d.Size = next(), next()
	at := int64(0)
	for len(body) > 0 {
		c := TarCopy{To: at + next(), From: next(), Size: next()}
		if failed || c.Size == 0 || c.To < at || c.To > d.Size-c.Size || c.From > d.BaseSize-c.Size {
			return nil, errDamaged
		}
		d.add(c)
		at = c.To + c.Size
	}
	if failed {
		return nil, errDamaged
	}
	return d, nil
}
