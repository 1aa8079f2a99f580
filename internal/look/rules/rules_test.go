package rules

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/look/timeline"
)

func add(t *testing.T, tl *timeline.Timeline, entries ...*layer.Entry) {
	t.Helper()
	toc, err := layer.NewTOC(entries)
	if err != nil {
		t.Fatal(err)
	}
	err = tl.Add(func(fn func(*layer.Entry) error) error {
		for _, e := range toc.Entries {
			if err := fn(e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func file(path string, size int) *layer.Entry {
	text := strings.Repeat("x", size)
	return &layer.Entry{Path: path, Type: layer.File, Size: int64(size), Digest: digest.FromString(text)}
}

// TestAnalyze has the figures that dive's counting gives for these layers, worked out by hand.
func TestAnalyze(t *testing.T) {
	tl := timeline.New()
	add(t, tl, &layer.Entry{Path: "d", Type: layer.Dir}, file("d/below", 100), file("gone", 50), file("twice", 10))
	add(t, tl, &layer.Entry{Path: "d", Type: layer.Whiteout}, &layer.Entry{Path: "gone", Type: layer.Whiteout}, file("twice", 30), file("new", 60))
	a := Analyze(tl)
	// d/below: removed with its directory, which dive does not count as waste; gone: 0 of 50; twice: 10 of 40; new: 60 of 60.
	want := &Analysis{
		SizeBytes: 250, WastedBytes: 90, Efficiency: 170.0 / 250, UserWastedPercent: 1,
		Files: []File{{2, 50, "/gone"}, {2, 40, "/twice"}},
	}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Error(diff)
	}
}

func TestAnalyzeNothing(t *testing.T) {
	if a := Analyze(timeline.New()); a.Efficiency != 1 || a.UserWastedPercent != 0 {
		t.Errorf("%+v", a)
	}
}

func TestJudge(t *testing.T) {
	a := &Analysis{Efficiency: 0.9, WastedBytes: 20_000_000, UserWastedPercent: 0.1}
	for _, test := range []struct {
		config Config
		pass   bool
		want   string // statuses, in the order of the rules
	}{
		{Default(), true, "PASS SKIP PASS"},
		{Config{"0.91", "disabled", "0.1"}, false, "PASS SKIP FAIL"},
		{Config{"0.9", "20MB", "0.1"}, true, "PASS PASS PASS"},
		{Config{"0.9", "19.9 MB", "0.09"}, false, "FAIL FAIL PASS"},
		{Config{"off", "19MiB", ""}, false, "SKIP FAIL SKIP"},
	} {
		r, err := Judge(test.config, a)
		if err != nil {
			t.Fatal(err)
		}
		var statuses []string
		for _, rule := range r.Rules {
			statuses = append(statuses, rule.Status)
		}
		if got := strings.Join(statuses, " "); got != test.want || r.Pass != test.pass {
			t.Errorf("%+v: %s, pass %v", test.config, got, r.Pass)
		}
	}
	for _, bad := range []Config{{LowestEfficiency: "1.1"}, {LowestEfficiency: "NaN"}, {HighestWastedBytes: "many"}, {HighestUserWastedPercent: "-1"}} {
		if _, err := Judge(bad, a); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("rules:\n  lowestEfficiency: 0.95\n  highestWastedBytes: 20MB\n"))
	f.Add([]byte("rules: [1, 2]"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := parse(data); err == nil {
			_, _ = Judge(c, &Analysis{})
		}
	})
}
