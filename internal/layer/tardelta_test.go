package layer_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
)

// keptTar is a tar as a store keeps it: one file, or what is not in a base.
type keptTar struct {
	made  *layer.Tar
	path  string
	base  string // "" of one file
	delta *layer.TarDelta
}

func (k *keptTar) open() (*layer.TarFile, error) {
	if k.base == "" {
		return layer.OpenTar(k.path)
	}
	return layer.OpenTarDelta(k.delta, k.path, k.base)
}

// wholeTar writes a made-up layer's tar into one file.
func wholeTar(t *testing.T, m *madeUp) *keptTar {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "tar"))
	must(t, err)
	made, err := layer.WriteEncodedTarFile(t.Context(), f, encoded(t, m.toc(t)), m.files.open)
	must(t, errors.Join(err, f.Close()))
	return &keptTar{made: made, path: f.Name()}
}

// deltaTar writes what the tar has that the base of k has not; nil where the two have too little in common.
func (k *keptTar) deltaTar(t *testing.T, m *madeUp) *keptTar {
	t.Helper()
	from, err := k.open()
	must(t, err)
	defer from.Close()
	a := layer.Assemble(encoded(t, m.toc(t)), &layer.Earlier{Tar: from, Next: eachOf(k.made.Encoded), Midstates: k.made.Midstates, Delta: k.delta})
	if a == nil {
		return nil
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "delta"))
	must(t, err)
	made, err := a.WriteDelta(t.Context(), f, m.files.open)
	must(t, errors.Join(err, f.Close()))
	delta, err := layer.DecodeTarDelta(made.Delta.Encode(made.DiffID), made.DiffID)
	must(t, err)
	st, err := os.Stat(f.Name())
	must(t, err)
	if own := a.Own(); st.Size() < own || st.Size() > own+own/4+64<<10 {
		t.Errorf("%d bytes were written, of %d that were foreseen", st.Size(), own)
	}
	base := k.base
	if base == "" {
		base = k.path
	}
	return &keptTar{made: made, path: f.Name(), base: base, delta: delta}
}

func TestDeltaIsAsWrittenAnew(t *testing.T) {
	deltas := 0
	for seed := range uint64(2) {
		m := newMadeUp(seed, 400)
		before := wholeTar(t, m)
		for round := range 8 {
			for range []int{0, 1, 1, 3, 20, 1, 60, 2}[round] {
				m.edit()
			}
			want := wholeTar(t, m)
			got := before.deltaTar(t, m)
			if got == nil {
				before = want
				continue
			}
			deltas++
			data, err := os.ReadFile(want.path)
			must(t, err)
			checkTar(t, m, got, want, data)
			before = got // the next one is made of a delta
		}
	}
	if deltas < 10 {
		t.Errorf("only %d of 16 tars were deltas", deltas)
	}
}

// checkTar compares a tar with one that was written anew, whose bytes are data.
func checkTar(t *testing.T, m *madeUp, got, want *keptTar, data []byte) {
	t.Helper()
	if got.made.DiffID != want.made.DiffID || got.made.Size != want.made.Size {
		t.Fatalf("it is %s of %d bytes, want %s of %d", got.made.DiffID, got.made.Size, want.made.DiffID, want.made.Size)
	}
	if d := cmp.Diff(entriesOf(want.made.Encoded), entriesOf(got.made.Encoded)); d != "" {
		t.Fatalf("-anew +delta:\n%s", d)
	}
	if !bytes.Equal(got.made.Midstates.Encode(), want.made.Midstates.Encode()) {
		t.Fatal("other midstates")
	}
	tar, err := got.open()
	must(t, err)
	defer tar.Close()
	all, err := io.ReadAll(tar.Reader())
	must(t, err)
	if !bytes.Equal(all, data) {
		t.Fatal("it has other bytes")
	}
	for range 50 {
		at := m.rnd.Int64N(tar.Size())
		p := make([]byte, min(m.rnd.Int64N(200_000), tar.Size()-at))
		if n, err := tar.ReadAt(p, at); n != len(p) || err != nil || !bytes.Equal(p, data[at:][:n]) {
			t.Fatalf("read %d of %d bytes at %d: %v", n, len(p), at, err)
		}
	}
	if n, err := tar.ReadAt(make([]byte, 2), tar.Size()-1); n != 1 || !errors.Is(err, io.EOF) {
		t.Errorf("behind the end it reads %d bytes: %v", n, err)
	}
	dir := t.TempDir()
	must(t, layer.Extract(t.Context(), decoded(t, got.made.Encoded), tar, dir, layer.ExtractOptions{}))
	must(t, layer.VerifyTree(t.Context(), decoded(t, got.made.Encoded), dir))
}

func TestTarDeltaDamaged(t *testing.T) {
	m := newMadeUp(3, 200)
	before := wholeTar(t, m)
	m.edit()
	k := before.deltaTar(t, m)
	good := k.delta.Encode(k.made.DiffID)
	for at := range good {
		bad := slices.Clone(good)
		bad[at] ^= 1
		if _, err := layer.DecodeTarDelta(bad, k.made.DiffID); err == nil {
			t.Fatalf("byte %d flipped is not seen", at)
		}
		if _, err := layer.DecodeTarDelta(good[:at], k.made.DiffID); err == nil {
			t.Fatalf("the first %d bytes are taken for all", at)
		}
	}
	if _, err := layer.DecodeTarDelta(good, digest.FromString("other")); err == nil {
		t.Error("another tar's delta is taken")
	}
	for _, path := range []string{k.path, k.base} {
		data, err := os.ReadFile(path)
		must(t, err)
		must(t, os.Truncate(path, int64(len(data)-1)))
		if f, err := k.open(); err == nil {
			f.Close()
			t.Errorf("%s without its last byte is opened", filepath.Base(path))
		}
		must(t, os.WriteFile(path, data, 0o600))
	}
}

func FuzzDecodeTarDelta(f *testing.F) {
	d := &layer.TarDelta{Base: digest.FromString("base"), BaseSize: 1 << 20, Size: 1 << 20, Copies: []layer.TarCopy{{To: 512, From: 1024, Size: 4096}}}
	good := d.Encode("x")
	f.Add(good[:len(good)-sha256.Size])
	f.Fuzz(func(t *testing.T, body []byte) {
		sum := sha256.Sum256(append(slices.Clone(body), 'x')) // a checksum that fits, so that what is below it is met
		d, err := layer.DecodeTarDelta(append(slices.Clone(body), sum[:]...), "x")
		if err != nil {
			return
		}
		own, at := int64(0), int64(0)
		for range 2*len(d.Copies) + 1 {
			inBase, from, n := d.Find(at)
			if n < 0 || from < 0 || inBase && from+n > d.BaseSize || !inBase && from != own {
				t.Fatalf("at %d: %v, %d, %d", at, inBase, from, n)
			}
			if at += n; !inBase {
				own += n
			}
		}
		if at != d.Size || own != d.OwnSize() {
			t.Errorf("it ends at %d of %d, with %d bytes of its own of %d", at, d.Size, own, d.OwnSize())
		}
	})
}
