package content

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestGrowing(t *testing.T) {
	for _, complete := range []bool{true, false} {
		f, err := os.Create(filepath.Join(t.TempDir(), "blob"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		g := NewGrowing(f)
		r, err := g.Follow()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		os.Rename(f.Name(), f.Name()+"-2")
		if r, err = r.Again(); err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		go func() {
			for range 100 {
				g.Write([]byte("some bytes\n"))
			}
			g.End(complete)
			g.End(false) // counts no more
		}()
		got, err := io.ReadAll(r)
		switch {
		case complete && (err != nil || len(got) != 1100 || g.Size() != 1100):
			t.Errorf("%d bytes of %d, %v", len(got), g.Size(), err)
		case !complete && !errors.Is(err, errDropped):
			t.Errorf("a writing that broke off ends with %v", err)
		}
	}
}

// Who waits for bytes to come is told when nobody wants them any more.
func TestFollowerIsClosedWhileItWaits(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "blob"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g := NewGrowing(f)
	defer g.End(false)
	r, err := g.Follow()
	if err != nil {
		t.Fatal(err)
	}
	g.Write([]byte("begun"))
	read := make(chan error)
	go func() {
		_, err := io.ReadAll(r)
		read <- err
	}()
	r.Close()
	if err := <-read; !errors.Is(err, os.ErrClosed) {
		t.Errorf("reading ends with %v", err)
	}
}
