package external

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/strata-build/strata/internal/look/vulnerability"
)

// documents are short ones of each program, in the forms of syft 1.57, grype 0.121 and trivy 0.74, and what differed before.
var documents = []string{
	`{"artifacts": [{"name": "a", "version": "1", "type": "deb", "purl": "pkg:deb/debian/a@1", "licenses": ["MIT"], "locations": [{"path": "/x", "layerID": "sha256:1"}]}]}`,
	`{"artifacts": [{"name": "b", "type": "binary", "licenses": [{"value": "own", "spdxExpression": ""}, 7], "metadata": ["no object"]}]}`,
	`{"matches": [{"vulnerability": {"id": "CVE-1", "severity": "High", "fix": {"versions": ["2"]}}, "artifact": {"name": "a", "version": "1"}}],
	  "descriptor": {"version": "0.80.0", "db": {"built": "2024-03-01T08:00:00Z"}}}`,
	`{"matches": [{"vulnerability": {"id": ""}}], "descriptor": {"db": {"status": {"built": "2026-03-01T08:00:00Z"}}}}`,
	`{"Results": [{"Target": "x", "Type": "debian", "Vulnerabilities": [{"VulnerabilityID": "CVE-1", "PkgName": "a", "FixedVersion": "2, 3", "Severity": "HIGH",
	  "CVSS": {"nvd": {"V3Vector": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"}}}]}]}`,
	`{}`, `[]`, `{"artifacts": {}}`,
}

func TestReadSyft(t *testing.T) {
	out, err := readSyft([]byte(documents[0]))
	if err != nil || len(out.artifacts) != 1 {
		t.Fatal(out, err)
	}
	if a := out.artifacts[0]; a.Manager != "dpkg" || a.Licence != "MIT" || a.path != "/x" || a.layer != "sha256:1" {
		t.Errorf("%+v", a)
	}
	if out, err = readSyft([]byte(documents[1])); err != nil || out.artifacts[0].Manager != "binary" || out.artifacts[0].Licence != "own" {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestReadGrype(t *testing.T) {
	out, err := readGrype([]byte(documents[2]))
	if err != nil || len(out.matches) != 1 {
		t.Fatal(out, err)
	}
	if m := out.matches[0]; m.advisory.Severity.Level != vulnerability.High || m.fixed != "2" || out.source.Imported.Year() != 2024 {
		t.Errorf("%+v, %+v", m, out.source)
	}
}

func TestReadTrivy(t *testing.T) {
	out, err := readTrivy([]byte(documents[4]))
	if err != nil || len(out.matches) != 1 {
		t.Fatal(out, err)
	}
	if m := out.matches[0]; m.advisory.Severity.Score != 7.5 || m.fixed != "2" || m.path != "x" || m.Manager != "debian" {
		t.Errorf("%+v", m)
	}
}

// FuzzRead reads what the programs may say: no package and no vulnerability comes without a name.
func FuzzRead(f *testing.F) {
	for _, d := range documents {
		f.Add([]byte(d))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, tool := range append(listers, scanners...) {
			out, err := tool.read(data)
			if err != nil {
				continue
			}
			for _, a := range out.artifacts {
				if a.Name == "" || a.Manager == "" {
					t.Errorf("%s: %+v", tool.name, a)
				}
			}
			for _, m := range out.matches {
				if m.Name == "" || m.Manager == "" || m.advisory.ID == "" {
					t.Errorf("%s: %+v", tool.name, m)
				}
			}
		}
	})
}

// What a program leaves in the background with its output open keeps nobody waiting.
func TestRun(t *testing.T) {
	began := time.Now()
	out, err := run(t.Context(), "/bin/sh", []string{"-c", "sleep 20 & echo said"})
	if err != nil || string(out) != "said\n" {
		t.Errorf("%q, %v", out, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := run(ctx, "/bin/sh", []string{"-c", "sleep 20 & sleep 20"}); err == nil {
		t.Error("a program that was ended is one that has ended well")
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %s", took)
	}
	if _, err := run(t.Context(), "/bin/sh", []string{"-c", "echo reason >&2; exit 3"}); err == nil || !strings.Contains(err.Error(), "reason") {
		t.Errorf("the error is %v", err)
	}
	called := 0
	b := &bounded{most: 1 << 20, over: func() { called++ }}
	for range 3 {
		_, _ = b.Write(make([]byte, 700_000))
	}
	if b.err == nil || called == 0 || len(b.text) > 1<<20 {
		t.Errorf("%v, %d bytes", b.err, len(b.text))
	}
}
