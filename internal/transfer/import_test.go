package transfer

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/image"
)

func configOf(t *testing.T, m *Mover, id digest.Digest) *image.Config {
	t.Helper()
	c, err := m.Store.Config(id)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := image.Parse(c.Data)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestImport(t *testing.T) {
	ctx := context.Background()
	m := newMover(t)
	root := tarOf(t,
		member{name: "./", kind: tar.TypeDir},
		member{name: "./bin/", kind: tar.TypeDir},
		member{name: "./bin/sh", body: "#!"},
		member{name: "./bin/ash", kind: tar.TypeLink, link: "./bin/sh"},
		member{name: "./lib", kind: tar.TypeSymlink, link: "/usr/lib"},
		member{name: "./dev/", kind: tar.TypeDir},
		member{name: "./dev/null", kind: tar.TypeChar, major: 1, minor: 3},
		member{name: "./run.fifo", kind: tar.TypeFifo},
	)
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(root)
	w.Close()

	plain, err := m.Import(ctx, bytes.NewReader(root), ImportOptions{Name: named(t, "base:1")})
	if err != nil {
		t.Fatal(err)
	}
	packed, err := m.Import(ctx, &z, ImportOptions{Message: "by hand", Changes: []string{`CMD ["sh"]`}})
	if err != nil {
		t.Fatal(err)
	}
	a, b := configOf(t, m, plain), configOf(t, m, packed)
	if diff := cmp.Diff(a.RootFS, b.RootFS); diff != "" {
		t.Errorf("compressed it is another layer:\n%s", diff)
	}
	if a.Architecture != amd64.Architecture || a.OS != amd64.OS {
		t.Errorf("it is for %s/%s", a.OS, a.Architecture)
	}
	if len(a.History) != 1 || a.History[0].Comment != "Imported from -" || a.History[0].CreatedBy != "" || b.History[0].Comment != "by hand" {
		t.Errorf("history: %+v and %+v", a.History, b.History)
	}
	if diff := cmp.Diff([]string{"sh"}, b.Config.Cmd); diff != "" {
		t.Error(diff)
	}
	if id, err := m.Store.Resolve("base:1"); err != nil || id != plain {
		t.Errorf("the name means %s, %v", id, err)
	}
	want := map[string]string{
		"./": "", "bin/": "", "bin/ash": "#!", "bin/sh": "bin/ash", "lib": "/usr/lib", "dev/": "", "dev/null": "", "run.fifo": "",
	}
	if diff := cmp.Diff(want, tree(t, m, plain)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	// Its tar can be made again, for a push.
	for _, l := range layersOf(t, m, plain) {
		if err := l.WriteTar(ctx, &bytes.Buffer{}); err != nil {
			t.Error(err)
		}
	}
}

func TestImportOfNoTar(t *testing.T) {
	m := newMover(t)
	for name, test := range map[string]struct{ data, want string }{
		"empty":    {"", "it is empty"},
		"text":     {strings.Repeat("no tar\n", 200), "not a valid tar"},
		"cut":      {string(tarOf(t, member{name: "a", body: strings.Repeat("a", 4000)}))[:2000], "ends too early"},
		"outside":  {string(tarOf(t, member{name: "../a", body: "a"})), "../a"},
		"bad gzip": {"\x1f\x8b\x08garbage and more garbage", "gzip"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := m.Import(context.Background(), strings.NewReader(test.data), ImportOptions{Name: named(t, "bad")})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, and says nothing of %q", err, test.want)
			}
			if _, err := m.Store.Resolve("bad"); err == nil {
				t.Error("it got its name")
			}
		})
	}
}

// Every instruction, with the config that docker import --change gives (Docker 20.10).
func TestChanges(t *testing.T) {
	for _, test := range []struct {
		lines []string
		want  string
	}{
		{nil, `{}`},
		{[]string{`CMD ["sh"]`}, `{"Cmd":["sh"]}`},
		{[]string{`CMD echo hi`}, `{"Cmd":["/bin/sh","-c","echo hi"]}`},
		{[]string{`ENTRYPOINT ["/init"]`, `CMD ["a"]`}, `{"Entrypoint":["/init"],"Cmd":["a"]}`},
		{[]string{"ENV A=1 B=2\nENV C=$A"}, `{"Env":["A=1","B=2","C=1"]}`},
		{[]string{"ENV PATH=/x"}, `{"Env":["PATH=/x"]}`},
		{[]string{"EXPOSE 80 53/udp"}, `{"ExposedPorts":{"53/udp":{},"80/tcp":{}}}`},
		{[]string{`HEALTHCHECK CMD true`}, `{"Healthcheck":{"Test":["CMD-SHELL","true"]}}`},
		{[]string{`LABEL a=b c="d e"`}, `{"Labels":{"a":"b","c":"d e"}}`},
		{[]string{`ONBUILD RUN true`}, `{"OnBuild":["RUN true"]}`},
		{[]string{`STOPSIGNAL SIGINT`}, `{"StopSignal":"SIGINT"}`},
		{[]string{`USER www:data`}, `{"User":"www:data"}`},
		{[]string{`VOLUME /data`}, `{"Volumes":{"/data":{}}}`},
		{[]string{`WORKDIR /srv`, `WORKDIR app`}, `{"WorkingDir":"/srv/app"}`},
		{[]string{`workdir /srv`}, `{"WorkingDir":"/srv"}`},
	} {
		got, err := applyChanges(test.lines)
		if err != nil {
			t.Errorf("%q: %v", test.lines, err)
			continue
		}
		var want dockerfile.Config
		if err := json.Unmarshal([]byte(test.want), &want); err != nil {
			t.Fatal(err)
		}
		wantJSON, _ := json.Marshal(want)
		gotJSON, _ := json.Marshal(got)
		if diff := cmp.Diff(string(wantJSON), string(gotJSON)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.lines, diff)
		}
	}
}

func TestBadChanges(t *testing.T) {
	for line, want := range map[string]string{
		"RUN true":     "RUN is not an instruction that changes",
		"COPY a b":     "COPY is not",
		"FROM debian":  "FROM is not",
		"ARG A":        "ARG is not",
		"CMMD sh":      "did you mean CMD",
		"EXPOSE 80/ab": "80/ab",
		"ENV":          "ENV",
	} {
		_, err := applyChanges([]string{line})
		if err == nil || !strings.HasPrefix(err.Error(), "--change: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
	}
}
