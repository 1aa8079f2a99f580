package store

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// zipped is a layer of one file, compressed, and its digests.
func zipped(t *testing.T) (blob []byte, diffID digest.Digest) {
	t.Helper()
	var raw, packed bytes.Buffer
	w := tar.NewWriter(&raw)
	body := strings.Repeat("some text\n", 50_000)
	if err := w.WriteHeader(&tar.Header{Name: "f", Mode: 0o644, Size: int64(len(body))}); err != nil {
		t.Fatal(err)
	}
	w.Write([]byte(body))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	z := gzip.NewWriter(&packed)
	z.Write(raw.Bytes())
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes(), digest.FromBytes(raw.Bytes())
}

// A layer is unpacked while its blob is written, and has no name before the blob has its own.
func TestUnpackWhile(t *testing.T) {
	blob, diffID := zipped(t)
	d := digest.FromBytes(blob)
	begin := func(t *testing.T, s *Store, want digest.Digest) (*Ingest, *Unpacking) {
		in, err := s.Ingest(context.Background(), d, int64(len(blob)))
		if err != nil {
			t.Fatal(err)
		}
		u, err := s.UnpackWhile(context.Background(), want, in)
		if err != nil {
			t.Fatal(err)
		}
		return in, u
	}
	write := func(t *testing.T, in *Ingest, p []byte) {
		for len(p) > 0 {
			n := min(len(p), 100)
			if _, err := in.Write(p[:n]); err != nil {
				t.Fatal(err)
			}
			p = p[n:]
		}
	}
	present := func(t *testing.T, s *Store) bool {
		l, err := s.Layer(diffID)
		return err == nil && l.Present()
	}
	t.Run("whole", func(t *testing.T) {
		s := open(t, t.TempDir())
		in, u := begin(t, s, diffID)
		write(t, in, blob)
		if present(t, s) {
			t.Error("the layer has its name though the blob was not checked")
		}
		if err := errors.Join(in.Commit(), in.Close(), u.Wait()); err != nil {
			t.Fatal(err)
		}
		if !present(t, s) || !s.HasBlob(d) {
			t.Error("layer or blob is not there")
		}
	})
	t.Run("resumed", func(t *testing.T) {
		s := open(t, t.TempDir())
		in, u := begin(t, s, diffID)
		write(t, in, blob[:len(blob)/2])
		in.Close()
		if err := u.Wait(); !errors.Is(err, ErrNotFound) {
			t.Errorf("a download that broke off gives %v", err)
		}
		in, u = begin(t, s, diffID)
		if in.Offset() != int64(len(blob)/2) {
			t.Errorf("it goes on at %d", in.Offset())
		}
		write(t, in, blob[in.Offset():])
		if err := errors.Join(in.Commit(), in.Close(), u.Wait()); err != nil || !present(t, s) {
			t.Errorf("resumed: %v", err)
		}
	})
	t.Run("begun anew", func(t *testing.T) {
		s := open(t, t.TempDir())
		in, u := begin(t, s, diffID)
		bad := bytes.Clone(blob)
		bad[len(bad)/2] ^= 1
		write(t, in, bad)
		var mismatch *MismatchError
		if err := in.Commit(); !errors.As(err, &mismatch) {
			t.Errorf("a damaged blob gives %v", err)
		}
		write(t, in, blob)
		if err := errors.Join(in.Commit(), in.Close()); err != nil {
			t.Fatal(err)
		}
		if err := u.Wait(); !errors.Is(err, ErrNotFound) || present(t, s) {
			t.Errorf("damaged bytes give %v", err)
		}
	})
	t.Run("another diffID", func(t *testing.T) {
		s := open(t, t.TempDir())
		in, u := begin(t, s, digest.FromString("another"))
		write(t, in, blob)
		if err := errors.Join(in.Commit(), in.Close()); err != nil {
			t.Fatal(err)
		}
		if err := u.Wait(); err == nil || !strings.Contains(err.Error(), diffID.String()) {
			t.Errorf("the wrong layer gives %v", err)
		}
	})
}
