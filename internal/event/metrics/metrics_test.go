package metrics_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/event/metrics"
)

func sample() *metrics.Set {
	m := metrics.New()
	m.Info("strata_build", "This strata.", map[string]string{"version": `v1 "dev"`})
	steps := m.Counter("strata_steps", "Steps, by what became\nof them: \"ran\" or C:\\cached.", "outcome", "platform")
	steps.Add(2, "ran", "linux/amd64")
	steps.Add(1, "cached", "linux/amd64")
	steps.Add(1, "a\"b\\c\nd", "\xff")
	steps.Add(-3, "ran", "linux/amd64")
	busy := m.Gauge("strata_slots_busy", "Slots in use.")
	busy.Set(4)
	busy.Add(-1)
	bytes := m.Counter("strata_sent_bytes", "Bytes sent.")
	bytes.Add(1e7)
	took := m.Histogram("strata_step_duration_seconds", "What a step took.", []float64{0.5, 1, 60}, "platform")
	for _, v := range []float64{0.1, 0.5, 1, 7, 3000} {
		took.Observe(v, "linux/amd64")
	}
	m.Histogram("strata_empty_seconds", "Nothing yet.", metrics.Durations)
	m.Gauge("strata_none", "No rows.", "label")
	return m
}

func TestWrite(t *testing.T) {
	want := `# TYPE strata_build info
# HELP strata_build This strata.
strata_build_info{version="v1 \"dev\""} 1.0
# TYPE strata_steps counter
# HELP strata_steps Steps, by what became\nof them: \"ran\" or C:\\cached.
strata_steps_total{outcome="a\"b\\c\nd",platform="` + "\uFFFD" + `"} 1.0
strata_steps_total{outcome="cached",platform="linux/amd64"} 1.0
strata_steps_total{outcome="ran",platform="linux/amd64"} 2.0
# TYPE strata_slots_busy gauge
# HELP strata_slots_busy Slots in use.
strata_slots_busy 3.0
# TYPE strata_sent_bytes counter
# UNIT strata_sent_bytes bytes
# HELP strata_sent_bytes Bytes sent.
strata_sent_bytes_total 1e+07
# TYPE strata_step_duration_seconds histogram
# UNIT strata_step_duration_seconds seconds
# HELP strata_step_duration_seconds What a step took.
strata_step_duration_seconds_bucket{platform="linux/amd64",le="0.5"} 2
strata_step_duration_seconds_bucket{platform="linux/amd64",le="1.0"} 3
strata_step_duration_seconds_bucket{platform="linux/amd64",le="60.0"} 4
strata_step_duration_seconds_bucket{platform="linux/amd64",le="+Inf"} 5
strata_step_duration_seconds_count{platform="linux/amd64"} 5
strata_step_duration_seconds_sum{platform="linux/amd64"} 3008.6
`
	got, rest, _ := strings.Cut(string(sample().Write(metrics.OpenMetrics)), "# TYPE strata_empty")
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if !strings.HasSuffix(rest, "# TYPE strata_none gauge\n# HELP strata_none No rows.\n# EOF\n") {
		t.Errorf("it ends in %q", rest)
	}
}

// read prints what Prometheus' own library for Python understands, which is the reference of OpenMetrics' grammar.
const read = `
import json, sys
if sys.argv[1] == "open":
    from prometheus_client.openmetrics.parser import text_string_to_metric_families
else:
    from prometheus_client.parser import text_string_to_metric_families
rows = {}
for family in text_string_to_metric_families(sys.stdin.read()):
    for s in family.samples:
        rows[s.name + json.dumps(s.labels, sort_keys=True)] = [family.type, family.unit, family.documentation, s.value]
json.dump(rows, sys.stdout)
`

func TestAnotherParserAgrees(t *testing.T) {
	if _, err := os.Stat("/usr/lib/python3/dist-packages/prometheus_client"); err != nil {
		t.Skip("needs Debian's python3-prometheus-client")
	}
	for form, text := range map[string][]byte{"open": sample().Write(metrics.OpenMetrics), "text": sample().Write(metrics.Text)} {
		parse := exec.Command("/usr/bin/python3", "-c", read, form)
		parse.Stdin, parse.Stderr = bytes.NewReader(text), os.Stderr
		out, err := parse.Output()
		if err != nil {
			t.Errorf("%s: %v\n%s", form, err, text)
			continue
		}
		var rows map[string][]any
		if err := json.Unmarshal(out, &rows); err != nil {
			t.Fatal(err)
		}
		seconds := ""
		if form == "open" {
			seconds = "seconds"
		}
		help := "Steps, by what became\nof them: \"ran\" or C:\\cached."
		for row, want := range map[string][]any{
			`strata_steps_total{"outcome": "ran", "platform": "linux/amd64"}`:   {"counter", "", help, 2.0},
			`strata_steps_total{"outcome": "a\"b\\c\nd", "platform": "\ufffd"}`: {"counter", "", help, 1.0},
			`strata_slots_busy{}`: {"gauge", "", "Slots in use.", 3.0},
			`strata_step_duration_seconds_bucket{"le": "+Inf", "platform": "linux/amd64"}`: {"histogram", seconds, "What a step took.", 5.0},
			`strata_step_duration_seconds_sum{"platform": "linux/amd64"}`:                  {"histogram", seconds, "What a step took.", 3008.6},
			`strata_empty_seconds_count{}`:                                                 {"histogram", seconds, "Nothing yet.", 0.0},
		} {
			if d := cmp.Diff(want, rows[row]); d != "" {
				t.Errorf("%s: %s: %s", form, row, d)
			}
		}
	}
}

func TestNil(t *testing.T) {
	var m *metrics.Set
	m.Counter("a", "").Add(1)
	m.Gauge("b", "").Set(1)
	m.Gauge("c", "").Add(1)
	m.Histogram("d", "", nil).Observe(1)
	m.Info("e", "", nil)
	m.Before(func() {})
}

func TestMistakesOfTheProgram(t *testing.T) {
	for name, mistake := range map[string]func(m *metrics.Set){
		"name":    func(m *metrics.Set) { m.Counter("a-b", "") },
		"no name": func(m *metrics.Set) { m.Counter("", "") },
		"label":   func(m *metrics.Set) { m.Gauge("a", "", "1b") },
		"le":      func(m *metrics.Set) { m.Histogram("a", "", nil, "le") },
		"twice":   func(m *metrics.Set) { m.Gauge("a", ""); m.Counter("a", "") },
		"values":  func(m *metrics.Set) { m.Gauge("a", "", "l").Set(1) },
		"bounds":  func(m *metrics.Set) { m.Histogram("a", "", []float64{2, 1}) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it was accepted")
				}
			}()
			mistake(metrics.New())
		})
	}
}

func TestServe(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	m := metrics.New()
	waiting := m.Gauge("strata_waiting", "Steps in the queue.")
	m.Before(func() { waiting.Set(7) })
	var lost error
	address, err := metrics.Serve(ctx, "127.0.0.1:0", m, func() error { return lost })
	if err != nil {
		t.Fatal(err)
	}
	get := func(path, accept string) (int, string, string) {
		t.Helper()
		r, _ := http.NewRequest(http.MethodGet, "http://"+address.String()+path, nil)
		r.Header.Set("Accept", accept)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, resp.Header.Get("Content-Type"), string(body)
	}
	prometheus := "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
	code, kind, body := get("/metrics", prometheus)
	if code != 200 || kind != "application/openmetrics-text; version=1.0.0; charset=utf-8" || !strings.HasSuffix(body, "strata_waiting 7.0\n# EOF\n") {
		t.Errorf("Prometheus gets %d %s %q", code, kind, body)
	}
	if code, kind, body := get("/metrics", "*/*"); code != 200 || kind != "text/plain; version=0.0.4; charset=utf-8" || !strings.HasSuffix(body, "strata_waiting 7.0\n") {
		t.Errorf("curl gets %d %s %q", code, kind, body)
	}
	lost = errors.New("the queue cannot be reached")
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/": 404} {
		if code, _, body := get(path, ""); code != want {
			t.Errorf("%s is %d, want %d: %s", path, code, want, body)
		}
	}
	if _, err := metrics.Serve(ctx, address.String(), m, nil); err == nil || !strings.Contains(err.Error(), "give another address") {
		t.Errorf("a second one at the address: %v", err)
	}
}

func TestCountingAtOnce(t *testing.T) {
	m := metrics.New()
	c, h := m.Counter("a", "", "l"), m.Histogram("b_seconds", "", metrics.Durations)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				c.Add(1, "x")
				h.Observe(1)
				m.Write(metrics.Text)
			}
		})
	}
	all.Wait()
	text := string(m.Write(metrics.Text))
	if !strings.Contains(text, `a_total{l="x"} 800.0`) || !strings.Contains(text, "b_seconds_count 800\n") {
		t.Error(text)
	}
}
