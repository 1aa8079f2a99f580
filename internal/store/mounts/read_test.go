package mounts

import (
	"errors"
	"testing"
	"time"
)

// A cache that is read as a whole is neither written to meanwhile, nor made a second time.
func TestRead(t *testing.T) {
	s := open(t)
	o := Options{ID: "/x", Sharing: Shared}
	if _, err := s.Read(t.Context(), o, 0); !errors.Is(err, ErrNone) {
		t.Errorf("no cache: %v", err)
	}
	m := takeCache(t, s, o)
	put(t, m, "file")
	if _, err := s.Read(t.Context(), o, 5*time.Millisecond); !errors.Is(err, ErrInUse) {
		t.Errorf("in use: %v", err)
	}
	release(t, m)
	r, err := s.Read(t.Context(), o, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.SetSent("this")
	for _, sharing := range []Sharing{Shared, Private, Locked} {
		got := make(chan *Mount)
		go func() {
			m, err := s.CacheMount(t.Context(), Options{ID: "/x", Sharing: sharing})
			if err != nil {
				t.Error(err)
			}
			got <- m
		}()
		select {
		case m := <-got:
			t.Fatalf("%s: used while it is read: %s", sharing, instance(m))
		case <-time.After(50 * time.Millisecond):
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		m := <-got
		expectFiles(t, m, "file")
		if instance(m) != "0" {
			t.Errorf("%s: it is instance %s", sharing, instance(m))
		}
		release(t, m)
		if r, err = s.Read(t.Context(), o, time.Second); err != nil {
			t.Fatal(err)
		}
		if r.Sent() != "" {
			t.Error("what was sent before is said of a cache that was used since")
		}
		r.SetSent("that")
		if r.Sent() != "that" {
			t.Error("what was sent is forgotten")
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}
