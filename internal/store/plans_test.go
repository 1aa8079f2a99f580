package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/db/dbtest"
)

// planned is a store whose builds are told at once what the last one used, beside a plain map of what it has.
type planned struct {
	t    *testing.T
	rand *rand.Rand
	root string
	rows map[digest.Digest]string // data without the seal, by key
	ids  []digest.Digest          // of configs
}

func (p *planned) key() digest.Digest {
	return digest.FromString(fmt.Sprint("key ", p.rand.IntN(20)))
}

func (p *planned) put(s *Store, key digest.Digest) {
	p.t.Helper()
	data := fmt.Sprintf(`{"n":"%d"}`, p.rand.IntN(1e9))
	if err := s.PutRecord(Record{Key: key, Data: []byte(data), Made: time.Now()}); err != nil {
		p.t.Fatal(err)
	}
	p.rows[key] = strings.TrimSuffix(data, "}")
}

// look compares what a build is told of a record with what the store has.
func (p *planned) look(s *Store, key digest.Digest) (found bool) {
	p.t.Helper()
	r, err := s.Record(key)
	want, ok := p.rows[key]
	switch {
	case !ok && !errors.Is(err, ErrNotFound), ok && err != nil:
		p.t.Fatalf("%s: %v, in the store: %t", key, err, ok)
	case ok && (!strings.HasPrefix(string(r.Data), want) || !r.AsSealed()):
		p.t.Fatalf("%s: %s, want %s", key, r.Data, want)
	}
	return ok
}

// build looks up and makes some records, and maybe has another process prune meanwhile: that leaves what the last
// build used, as long as this one runs. It returns what it used, and whether only that counts as used.
func (p *planned) build(name string, fails bool, until time.Time) (used map[digest.Digest]bool, exact bool) {
	p.t.Helper()
	s := open(p.t, p.root)
	defer s.Close()
	if err := s.Begin(); err != nil {
		p.t.Fatal(err)
	}
	view, err := s.WithPlan(name)
	if err != nil {
		p.t.Fatal(err)
	}
	if exact = p.rand.IntN(3) > 0; !exact {
		p.prune(until)
	}
	used = map[digest.Digest]bool{}
	for range p.rand.IntN(15) {
		switch key := p.key(); {
		case p.rand.IntN(8) == 0:
			p.put(view, key)
			used[key] = true
		case p.look(view, key):
			used[key] = true
		}
	}
	for range p.rand.IntN(4) {
		id := p.ids[p.rand.IntN(len(p.ids))]
		data := []byte(fmt.Sprintf(`{"config":"%s"}`, id))
		if got, err := view.PutConfig(data, "", Step); err != nil || got != digest.FromBytes(data) {
			p.t.Fatal(got, err)
		}
		used[digest.FromBytes(data)] = true
		if !hasConfig(s, digest.FromBytes(data)) {
			p.t.Fatalf("config %s is not there", id)
		}
	}
	b := &Build{ID: "aa", Context: "/", Data: []byte("{}")}
	if fails {
		b.Error = "failed"
	}
	if err := view.PutBuild(b); err != nil {
		p.t.Fatal(err)
	}
	return used, exact && !fails
}

// prune prunes as another process, and drops from the map what is gone: what was not used since until.
func (p *planned) prune(until time.Time) {
	p.t.Helper()
	s := open(p.t, p.root)
	defer s.Close()
	if _, err := s.Prune(PruneOptions{All: true, Until: until}); err != nil {
		p.t.Fatal(err)
	}
	for key := range p.rows {
		if _, err := s.PeekRecord(key); errors.Is(err, ErrNotFound) {
			delete(p.rows, key)
		}
	}
}

// TestPlans: whatever builds, other processes and prunes do in between, a build is told of each record what the store
// has, and what it was told of stays while it runs.
func TestPlans(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	p := &planned{t, rand.New(rand.NewPCG(seed, 0)), t.TempDir(), map[digest.Digest]string{}, nil}
	for i := range 6 {
		p.ids = append(p.ids, digest.FromString(fmt.Sprint("config ", i)))
	}
	s := open(t, p.root)
	for range 60 {
		dbtest.Tick()
		began := time.Now().Truncate(time.Millisecond)
		fails := p.rand.IntN(5) == 0
		used, exact := p.build([]string{"one", "other"}[p.rand.IntN(2)], fails, began)
		p.check(s, used, began, exact)
		switch p.rand.IntN(6) {
		case 0:
			p.put(s, p.key())
		case 1:
			key := p.key()
			if _, err := s.db.Exec("DELETE FROM records WHERE key = ?", key); err != nil {
				t.Fatal(err)
			}
			delete(p.rows, key)
		case 2:
			dbtest.Tick()
			p.prune(began)
			for key := range used {
				if _, ok := p.rows[key]; !ok && !fails && !hasConfig(s, key) {
					t.Fatalf("%s was used since, and pruned", key)
				}
			}
		}
	}
}

// check sees that what a build used counts as used since it began and, where that is exact, that nothing else does.
func (p *planned) check(s *Store, used map[digest.Digest]bool, began time.Time, exact bool) {
	p.t.Helper()
	d, err := s.Disk()
	if err != nil {
		p.t.Fatal(err)
	}
	uses, err := s.RecordUses(d)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, u := range uses {
		if since := !u.Used.Before(began); exact && since != used[u.Key] {
			p.t.Fatalf("%s was used at %v, the build began at %v and used it: %t", u.Key, u.Used, began, used[u.Key])
		}
	}
}

// Two builds of the same hold what the last one used, and the one that ends first with other steps takes nothing from
// the other.
func TestPlansBesideEachOther(t *testing.T) {
	p := &planned{t, rand.New(rand.NewPCG(1, 2)), t.TempDir(), map[digest.Digest]string{}, nil}
	a, b := digest.FromString("a"), digest.FromString("b")
	start := func() (*Store, *Store) {
		s := open(t, p.root)
		if err := s.Begin(); err != nil {
			t.Fatal(err)
		}
		view, err := s.WithPlan("same")
		if err != nil {
			t.Fatal(err)
		}
		return s, view
	}
	end := func(s, view *Store) {
		if err := errors.Join(view.PutBuild(&Build{ID: "aa", Data: []byte("{}")}), s.Close()); err != nil {
			t.Fatal(err)
		}
		dbtest.Tick()
	}
	s, view := start()
	p.put(view, a)
	end(s, view)
	slow, slowView := start()
	dbtest.Tick()
	s, view = start()
	p.put(view, b)
	end(s, view)
	p.prune(time.Now().Add(time.Hour))
	p.look(slowView, a)
	if len(p.rows) != 2 {
		t.Errorf("%d records are left beside a build that uses one and after one that used the other", len(p.rows))
	}
	end(slow, slowView)
	p.prune(time.Now().Add(time.Hour))
	if len(p.rows) != 0 {
		t.Errorf("%d records are left", len(p.rows))
	}
}

// A store of an older strata, whose tables had no row ID, has all that it had.
func TestNarrowTables(t *testing.T) {
	root := t.TempDir()
	s := open(t, root)
	key := digest.FromString("key")
	if err := s.PutRecord(Record{Key: key, Data: []byte(`{"a":"x"}`)}); err != nil {
		t.Fatal(err)
	}
	id := addImage(t, s, "", Image)
	for _, q := range []string{
		"DROP TABLE plans",
		"ALTER TABLE configs RENAME TO c", "ALTER TABLE records RENAME TO r",
		`CREATE TABLE configs (id TEXT PRIMARY KEY, parent TEXT NOT NULL DEFAULT '', kind TEXT NOT NULL, data BLOB NOT NULL,
			added INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID`,
		`CREATE TABLE records (key TEXT PRIMARY KEY, layer TEXT NOT NULL DEFAULT '', data BLOB NOT NULL,
			made INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID`,
		"INSERT INTO configs SELECT id, parent, kind, data, added, used FROM c", "INSERT INTO records SELECT key, layer, data, made, used FROM r",
		"DROP TABLE c", "DROP TABLE r", "CREATE INDEX records_by_layer ON records (layer)",
	} {
		if _, err := s.db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, root)
	if r, err := s.Record(key); err != nil || !strings.Contains(string(r.Data), `"a":"x"`) || !r.AsSealed() {
		t.Errorf("%v, %v", r, err)
	}
	if !hasConfig(s, id) {
		t.Error("the image is gone")
	}
	for q, want := range map[string]int{
		"SELECT count(*) FROM sqlite_master WHERE name IN ('configs', 'records', 'manifests') AND sql LIKE '%WITHOUT ROWID%'": 0,
		"SELECT count(*) FROM sqlite_master WHERE name IN ('plans', 'records_by_layer', 'manifests_by_id')":                   3,
	} {
		var got int
		if err := s.db.QueryRow(q).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", q, got, err, want)
		}
	}
}
