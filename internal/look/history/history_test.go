package history

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
)

func openStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func diffID(n int) digest.Digest { return digest.FromString(fmt.Sprint("layer ", n)) }

// config makes one with the rows: a text that starts with "+" has a layer.
func config(rows ...string) *image.Config {
	c := &image.Config{}
	c.Platform = ocispec.Platform{OS: "linux", Architecture: "amd64"}
	c.RootFS = ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}
	for i, text := range rows {
		at := time.Date(2026, 1, 1, 0, i, 0, 0, time.UTC)
		text, hasLayer := strings.CutPrefix(text, "+")
		c.History = append(c.History, image.History{Created: &at, CreatedBy: text, EmptyLayer: !hasLayer})
		if hasLayer {
			c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, diffID(i))
		}
		c.Created = &at
	}
	return c
}

func putConfig(t *testing.T, s *store.Store, c *image.Config, parent digest.Digest, kind store.Kind) digest.Digest {
	t.Helper()
	data, err := image.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.PutConfig(data, parent, kind)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func rowsOf(t *testing.T, s *store.Store, id digest.Digest) []Row {
	t.Helper()
	rows, err := Rows(s, id)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// base is an image that was pulled.
func base() *image.Config {
	c := config(
		"+/bin/sh -c #(nop) ADD file:abc in / ",
		`/bin/sh -c #(nop)  CMD ["bash"]`,
		"/bin/sh -c #(nop)  ENV PATH=/usr/local/bin:/bin",
		"ENV PYTHON_VERSION=3.11.2 NOTE=hello my LANG=C",
		"+RUN |1 A=b c /bin/sh -c set -eux; make # buildkit",
		"WORKDIR /tmp",
		`CMD ["python3"]`,
	)
	c.Config.Env = []string{"PATH=/usr/local/bin:/bin", "PYTHON_VERSION=3.11.2", "NOTE=hello my", "LANG=C", "INHERITED=yes"}
	c.Config.Cmd = []string{"python3"}
	c.Config.WorkingDir = "/tmp"
	c.Config.User = "nobody"
	return c
}

func TestRebuiltRows(t *testing.T) {
	s := openStore(t)
	id := putConfig(t, s, base(), "", store.Image)
	rows := rowsOf(t, s, id)
	type state struct {
		Layers, Rows int
		Env, Cmd     string
		Dir, User    string
	}
	var got []state
	for i, row := range rows {
		if row.ID != digest.FromBytes(row.Config) || row.Known != (i == 6) {
			t.Errorf("row %d: ID %s, known %t", i, row.ID, row.Known)
		}
		c, err := image.Parse(row.Config)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, state{len(c.RootFS.DiffIDs), len(c.History), strings.Join(c.Config.Env, " "), strings.Join(c.Config.Cmd, " "), c.Config.WorkingDir, c.Config.User})
	}
	const (
		path = "PATH=/usr/local/bin:/bin "
		all  = path + "PYTHON_VERSION=3.11.2 NOTE=hello my LANG=C INHERITED=yes"
	)
	want := []state{
		{1, 1, "INHERITED=yes", "", "", "nobody"},
		{1, 2, "INHERITED=yes", "bash", "", "nobody"},
		{1, 3, path + "INHERITED=yes", "bash", "", "nobody"},
		{1, 4, all, "bash", "", "nobody"},
		{2, 5, all, "bash", "", "nobody"},
		{2, 6, all, "bash", "/tmp", "nobody"},
		{2, 7, all, "python3", "/tmp", "nobody"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if rows[6].ID != id || rows[0].DiffID != diffID(0) || rows[4].DiffID != diffID(4) || rows[4].Size != -1 || rows[5].Size != 0 {
		t.Errorf("the rows' layers: %+v", rows)
	}
	again := rowsOf(t, s, id)
	for i := range rows {
		if rows[i].ID != again[i].ID {
			t.Errorf("row %d has the ID %s, and then %s", i, rows[i].ID, again[i].ID)
		}
	}
}

func add(c *image.Config, text string, layer digest.Digest) *image.Config {
	at := c.Created.Add(time.Hour)
	return image.Add(c, c.Config, image.History{Created: &at, CreatedBy: text}, layer)
}

// Steps that were built here have their own IDs; those of the base image are the base's.
func TestRowsOfSteps(t *testing.T) {
	s := openStore(t)
	baseConfig := base()
	baseID := putConfig(t, s, baseConfig, "", store.Image)
	one := add(baseConfig, "/bin/sh -c touch /a", diffID(20))
	oneID := putConfig(t, s, one, baseID, store.Step)
	// A step without a row, as ONBUILD in the graph engine: the state that it leaves is the row's.
	silent := image.Clone(one)
	silent.Config.OnBuild = []string{"RUN x"}
	silentID := putConfig(t, s, silent, oneID, store.Step)
	two := add(silent, `/bin/sh -c #(nop)  CMD ["b"]`, "")
	twoID := putConfig(t, s, two, silentID, store.Image)
	rows := rowsOf(t, s, twoID)
	if len(rows) != 9 || rows[8].ID != twoID || rows[7].ID != silentID || rows[6].ID != baseID {
		t.Fatalf("%d rows, IDs %v", len(rows), []digest.Digest{rows[8].ID, rows[7].ID, rows[6].ID})
	}
	for i, want := range rowsOf(t, s, baseID) {
		if rows[i].ID != want.ID {
			t.Errorf("row %d of the base image has the ID %s here and %s there", i, rows[i].ID, want.ID)
		}
	}
}

// Docker prints the IDs of the classic engine's steps and of the image they start from.
func TestDockerIDs(t *testing.T) {
	for _, test := range []struct{ name, comment, want string }{
		{"classic", "", "......###"},
		{"graph", image.BuildKitComment, "........#"},
	} {
		s := openStore(t)
		c := base()
		id := putConfig(t, s, c, "", store.Image)
		for i := range 2 {
			at := c.Created.Add(time.Hour)
			c = image.Add(c, c.Config, image.History{Created: &at, CreatedBy: fmt.Sprint("RUN ", i), Comment: test.comment}, diffID(30+i))
			id = putConfig(t, s, c, id, store.Image)
		}
		got := ""
		for _, row := range rowsOf(t, s, id) {
			got += map[bool]string{true: "#", false: "."}[row.Docker]
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// Images of builders that write no history have layers all the same, and each can be entered.
func TestLayersWithoutRows(t *testing.T) {
	s := openStore(t)
	c := config("+a", "+b")
	c.History = nil
	baseID := putConfig(t, s, c, "", store.Image)
	at := time.Now().UTC()
	top := image.Add(c, c.Config, image.History{Created: &at, CreatedBy: "RUN x"}, diffID(9))
	id := putConfig(t, s, top, baseID, store.Image)
	rows := rowsOf(t, s, id)
	if len(rows) != 3 || rows[0].DiffID != diffID(0) || rows[2].DiffID != diffID(9) || rows[1].ID != baseID || rows[0].ID == "" {
		t.Fatalf("%+v", rows)
	}
	first, err := image.Parse(rows[0].Config)
	if err != nil || len(first.RootFS.DiffIDs) != 1 || len(first.History) != 0 {
		t.Errorf("%v, %+v", err, first)
	}
}

func TestFind(t *testing.T) {
	s := openStore(t)
	id := putConfig(t, s, base(), "", store.Image)
	rows := rowsOf(t, s, id)
	for _, text := range []string{string(rows[2].ID), rows[2].ID.Encoded()[:12], "sha256:" + rows[2].ID.Encoded()[:20]} {
		c, err := Find(s, text)
		if err != nil || c.ID != rows[2].ID || string(c.Data) != string(rows[2].Config) {
			t.Errorf("Find(%s): %v, %v", text, c, err)
		}
	}
	if _, err := s.Config(rows[2].ID); err != nil {
		t.Errorf("what was found once is not in the store: %v", err)
	}
	var notFound *NotFoundError
	for _, text := range []string{"nothing:here", "0123456789ab", "sha256:", "*"} {
		if _, err := Find(s, text); !errors.As(err, &notFound) || !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Find(%s): %v", text, err)
		}
	}
	// One hexadecimal digit fits several of these rows sooner or later.
	for i := range 40 {
		putConfig(t, s, config(fmt.Sprint("+a", i), "b"), "", store.Image)
	}
	ambiguous := 0
	for _, digit := range "0123456789abcdef" {
		if _, err := Find(s, string(digit)); errors.As(err, new(*store.AmbiguousError)) {
			ambiguous++
		}
	}
	if ambiguous == 0 {
		t.Error("no single digit is ambiguous")
	}
}

// A history that is too long for the state of each row is listed all the same: 20,000 rows, of whose configs there would be
// 20 GB.
func TestListedLong(t *testing.T) {
	s := openStore(t)
	texts := make([]string, 20_000)
	for i := range texts {
		texts[i] = fmt.Sprint("RUN ", i)
	}
	id := putConfig(t, s, config(texts...), "", store.Image)
	if _, err := Rows(s, id); err == nil || !strings.Contains(err.Error(), "20000 rows") || !strings.Contains(err.Error(), "strata history lists the rows") {
		t.Error(err)
	}
	rows, err := Listed(s, id)
	if err != nil || len(rows) != len(texts) {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if first, last := rows[0], rows[len(rows)-1]; first.ID != "" || first.History.CreatedBy != "RUN 0" || last.ID != id {
		t.Errorf("%+v\n%s", first, last.ID)
	}
	short := putConfig(t, s, config("RUN a", "RUN b"), "", store.Image)
	rows, err = Listed(s, short)
	if err != nil || len(rows) != 2 || rows[0].ID == "" {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}
