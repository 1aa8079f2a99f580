// Package attested compares what strata says of images with what others say such documents are: bills of materials with the
// JSON schemas of SPDX 2.3 and CycloneDX 1.6, statements and provenance with in-toto's and SLSA's definitions, and provenance,
// field by field, with BuildKit's own types.
package attested

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	provenance "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/santhosh-tekuri/jsonschema/v5"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/strata-build/strata/test/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// app is a context whose image has packages of several forms, with names and licences of all kinds.
var app = map[string]string{
	"Dockerfile": `ARG BUILDKIT_SBOM_SCAN_CONTEXT=true
FROM busybox AS build
ARG BUILDKIT_SBOM_SCAN_STAGE=true
ARG VERSION=1
COPY status /var/lib/dpkg/status
RUN --mount=type=secret,id=token --mount=type=ssh,id=key echo $VERSION >/version

FROM busybox
LABEL team=blue
COPY --from=build /version /version
COPY status /var/lib/dpkg/status
COPY os-release /etc/os-release
COPY node_modules /srv/node_modules
COPY python /usr/lib/python3/dist-packages
RUN --network=none true
`,
	"os-release": "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian 12\"\n",
	"status": "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nSource: glibc (2.36-9)\nVersion: 2.36-9+deb12u1\n\n" +
		"Package: g++\nStatus: install ok installed\nArchitecture: amd64\nVersion: 4:12.2.0-3\n",
	"node_modules/@scope/name/package.json":    `{"name": "@scope/name", "version": "1.0.0-rc.1+build", "license": "MIT OR Apache-2.0"}`,
	"node_modules/odd/package.json":            `{"name": "odd", "version": "1", "license": "SEE LICENSE IN <b>file</b> \u202e"}`,
	"python/six-1.16.0.dist-info/METADATA":     "Name: six\nVersion: 1.16.0\nLicense: MIT\n",
	"python/typing_x-4.0.dist-info/METADATA":   "Name: typing_x\nVersion: 4.0\nClassifier: License :: OSI Approved :: Python Software Foundation License\n",
	"unrelated/node_modules/left/package.json": `{"name": "left", "version": "0.0.1"}`,
}

// shop is a strata with a store, and the context.
type shop struct {
	t            *testing.T
	dir, context string
}

func open(t *testing.T) *shop {
	if testing.Short() {
		t.Skip("needs ten seconds: run without -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("strata builds as root only")
	}
	dir := t.TempDir()
	binary, err := testbed.Build(t.Context(), dir)
	check(t, err)
	store, err := testbed.MakeStore(t.Context(), binary, filepath.Join(dir, "store"), false)
	check(t, err)
	t.Setenv("PATH", testbed.Path(binary))
	t.Setenv("STRATA_ROOT", store.Root)
	t.Setenv("TOKEN", "secret")
	s := &shop{t, dir, filepath.Join(dir, "app")}
	for name, text := range app {
		file := filepath.Join(s.context, name)
		check(t, os.MkdirAll(filepath.Dir(file), 0o755))
		check(t, os.WriteFile(file, []byte(text), 0o644))
	}
	for _, args := range [][]string{
		{"init", "-q"},
		{"-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "--allow-empty", "-m", "first"},
		{"remote", "add", "origin", "https://me:password@host.example/me/app.git"},
	} {
		s.run("git", append([]string{"-C", s.context}, args...)...)
	}
	return s
}

// run runs a program and returns its standard output.
func (s *shop) run(name string, args ...string) []byte {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), name, args...)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		s.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, log.String())
	}
	return out.Bytes()
}

// build builds the context into files with what is attested of them, and returns their directory.
func (s *shop) build(args ...string) string {
	s.t.Helper()
	out := s.t.TempDir()
	s.run("strata", append(append([]string{"build", "-q", "--secret", "id=token,env=TOKEN", "-o", out}, args...), s.context)...)
	return out
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	check(t, err)
	return data
}

// The module that has the schemas as their authors publish them, and its sum: CycloneDX's tool, which validates with them.
const (
	schemaModule = "github.com/CycloneDX/sbom-utility@v0.16.0"
	schemaSum    = "h1:EpHNoLmw3vfVQWFFflFHmwo7mCWO833qRm+AlbG8wXY="
)

// schemas is the directory of the schemas. It is asked for before strata's search path is set, on which go may not be.
func schemas(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("fetches 6 MB: run without -short")
	}
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", schemaModule)
	cmd.Dir = t.TempDir()
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("needs the Go proxy: %v", err)
	}
	var m struct{ Dir, Sum string }
	check(t, json.Unmarshal(out, &m))
	if m.Sum != schemaSum {
		t.Fatalf("%s has the sum %s", schemaModule, m.Sum)
	}
	return filepath.Join(m.Dir, "resources/schema")
}

// compile reads a schema, and those that it refers to, by their URLs.
func compile(t *testing.T, file string, others map[string][]byte) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat = true
	for url, other := range others {
		check(t, c.AddResource(url, bytes.NewReader(other)))
	}
	const url = "http://cyclonedx.org/schema/main.json"
	check(t, c.AddResource(url, bytes.NewReader(read(t, file))))
	s, err := c.Compile(url)
	check(t, err)
	return s
}

func validate(t *testing.T, name string, s *jsonschema.Schema, document []byte) {
	t.Helper()
	var v any
	check(t, json.Unmarshal(document, &v))
	if err := s.Validate(v); err != nil {
		t.Errorf("%s: %#v", name, err)
	}
}

// TestSchemas validates bills of materials: SPDX of the image, of a stage and of the context, and CycloneDX.
func TestSchemas(t *testing.T) {
	dir := schemas(t)
	s := open(t)
	spdx := compile(t, filepath.Join(dir, "spdx/2.3/spdx-schema.json"), nil)
	jsf := read(t, dir, "cyclonedx/1.6/jsf-0.82.schema.json")
	cyclonedx := compile(t, filepath.Join(dir, "cyclonedx/1.6/bom-1.6.schema.json"), map[string][]byte{
		// The list of SPDX's licences is not in the module: no licence may be given by its ID, and strata gives none so.
		"http://cyclonedx.org/schema/spdx.schema.json":     []byte("false"),
		"http://cyclonedx.org/schema/jsf-0.82.schema.json": jsf,
	})
	out := s.build("--sbom=true")
	for _, name := range []string{"sbom", "sbom-build", "sbom-context"} {
		var statement struct{ Predicate json.RawMessage }
		check(t, json.Unmarshal(read(t, out, name+".spdx.json"), &statement))
		validate(t, name, spdx, statement.Predicate)
	}
	s.run("strata", "build", "-q", "--secret", "id=token,env=TOKEN", "-t", "app", s.context)
	validate(t, "packages --format spdx", spdx, s.run("strata", "packages", "--format", "spdx", "app"))
	validate(t, "packages --format cyclonedx", cyclonedx, s.run("strata", "packages", "--format", "cyclonedx", "app"))

	// The schemas find what is wrong.
	for format, c := range map[string]struct {
		schema *jsonschema.Schema
		field  string
	}{"spdx": {spdx, `"SPDXID"`}, "cyclonedx": {cyclonedx, `"bomFormat"`}} {
		document := s.run("strata", "packages", "--format", format, "app")
		var v any
		check(t, json.Unmarshal(bytes.Replace(document, []byte(c.field), []byte(`"other"`), 1), &v))
		if c.schema.Validate(v) == nil {
			t.Errorf("the schema lets a document without %s through", c.field)
		}
	}
}

// TestStatements reads statements and provenance by in-toto's definitions, which take no field that is not theirs. What
// BuildKit has beyond SLSA is taken out before.
func TestStatements(t *testing.T) {
	s := open(t)
	out := s.build("--sbom=true", "--provenance=mode=max")
	for _, name := range []string{"provenance.json", "sbom.spdx.json", "sbom-build.spdx.json", "sbom-context.spdx.json"} {
		var statement intoto.Statement
		if err := protojson.Unmarshal(read(t, out, name), &statement); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if err := statement.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var statement struct {
		Predicate struct {
			Definition json.RawMessage `json:"buildDefinition"`
			Run        struct {
				Builder  json.RawMessage            `json:"builder"`
				Metadata map[string]json.RawMessage `json:"metadata"`
			} `json:"runDetails"`
		}
	}
	check(t, json.Unmarshal(read(t, out, "provenance.json"), &statement))
	maps.DeleteFunc(statement.Predicate.Run.Metadata, func(name string, _ json.RawMessage) bool {
		return name == "invocationID" || strings.HasPrefix(name, "buildkit_")
	})
	data, err := json.Marshal(statement.Predicate)
	check(t, err)
	var p provenance.Provenance
	check(t, protojson.Unmarshal(data, &p))
	check(t, p.Validate())
}

// TestBuildKit reads provenance with BuildKit's own types, and compares what they make of it with what was read. Only the
// steps are strata's: they have no LLB, which BuildKit has in that place.
func TestBuildKit(t *testing.T) {
	s := open(t)
	for _, mode := range []string{"min", "max"} {
		for _, c := range []struct {
			version string
			as      any
			steps   []string // that lead to what is strata's
		}{
			{"v1", &types.ProvenancePredicateSLSA1{}, []string{"buildDefinition", "internalParameters"}},
			{"v0.2", &types.ProvenancePredicateSLSA02{}, nil},
		} {
			t.Run(mode+" "+c.version, func(t *testing.T) {
				out := s.build("--provenance=mode="+mode+",reproducible=true,builder-id=https://ci.example/7,version="+c.version,
					"--build-arg", "VERSION=2", "--label", "color=red")
				var statement struct {
					Type      string `json:"_type"`
					Predicate json.RawMessage
				}
				check(t, json.Unmarshal(read(t, out, "provenance.json"), &statement))
				if statement.Type != "https://in-toto.io/Statement/v1" {
					t.Errorf("the statement is a %s", statement.Type)
				}
				decoder := json.NewDecoder(bytes.NewReader(withoutSteps(t, statement.Predicate, c.steps)))
				decoder.DisallowUnknownFields()
				check(t, decoder.Decode(c.as))
				data, err := json.Marshal(c.as)
				check(t, err)
				want, got := tree(t, data), tree(t, withoutSteps(t, statement.Predicate, c.steps))
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("what BuildKit's types make of it (-) is not what was read (+):\n%s", diff)
				}
			})
		}
	}
}

// withoutSteps is a predicate without its buildConfig, and without the spelling of invocationId that earlier versions of
// BuildKit had, and that strata has, too. What is false or empty is taken out, for BuildKit leaves some of it out.
func withoutSteps(t *testing.T, predicate []byte, steps []string) []byte {
	t.Helper()
	v := tree(t, predicate)
	at := v
	for _, name := range steps {
		at = at[name].(map[string]any)
	}
	delete(at, "buildConfig")
	if run, ok := v["runDetails"].(map[string]any); ok {
		delete(run["metadata"].(map[string]any), "invocationID")
	}
	data, err := json.Marshal(v)
	check(t, err)
	return data
}

func tree(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var v map[string]any
	check(t, json.Unmarshal(data, &v))
	return prune(v).(map[string]any)
}

// prune takes out what says nothing: false, null, empty texts, lists and objects.
func prune(v any) any {
	object, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for name, value := range object {
		value = prune(value)
		object[name] = value
		switch value := value.(type) {
		case nil:
			delete(object, name)
		case bool:
			if !value {
				delete(object, name)
			}
		case string:
			if value == "" {
				delete(object, name)
			}
		case []any:
			if len(value) == 0 {
				delete(object, name)
			}
		case map[string]any:
			if len(value) == 0 {
				delete(object, name)
			}
		}
	}
	return object
}
