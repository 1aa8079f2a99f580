package bake

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what is printed into testdata/reference")

// wantFile is the file of an archive that has what --print shows, or the error.
const wantFile = "want"

// TestReference reads a file for each feature of docker's reference of bake files (docs/bake-reference.md of
// docker/buildx), and compares what is printed.
func TestReference(t *testing.T) {
	paths, err := filepath.Glob("testdata/reference/*.txtar")
	if err != nil || len(paths) < 90 {
		t.Fatalf("%d files, %v", len(paths), err)
	}
	for _, path := range paths {
		name, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) { reference(t, name) })
	}
}

func reference(t *testing.T, path string) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	t.Setenv("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP", "")
	var want []byte
	for i, f := range archive.Files {
		if f.Name == wantFile {
			want = f.Data
			archive.Files = archive.Files[:i]
			break
		}
		if err := os.WriteFile(f.Name, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := printed(t, strings.TrimPrefix(strings.TrimSpace(string(archive.Comment)), "args:"))
	if *update {
		archive.Files = append(archive.Files, txtar.File{Name: wantFile, Data: got})
		if err := os.WriteFile(path, txtar.Format(archive), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// printed is what `bake --print` with these arguments shows, or its error. --env NAME=VALUE is a variable of the
// environment.
func printed(t *testing.T, args string) []byte {
	env := Environment{Vars: map[string]string{}, Builtin: map[string]string{"BAKE_CMD_CONTEXT": "cwd://", "BAKE_LOCAL_PLATFORM": "linux/amd64"}}
	var targets, sets []string
	words := strings.Fields(args)
	for i := 0; i < len(words); i++ {
		switch words[i] {
		case "--set":
			i++
			sets = append(sets, words[i])
		case "--env":
			i++
			name, value, _ := strings.Cut(words[i], "=")
			t.Setenv(name, value)
		case "--var":
			i++
			name, value, _ := strings.Cut(words[i], "=")
			env.Vars[name] = value
		default:
			targets = append(targets, words[i])
		}
	}
	_, _, targets = Arguments(targets)
	var out bytes.Buffer
	if err := printPlan(&out, env, targets, sets); err != nil {
		return []byte("error: " + err.Error() + "\n")
	}
	return out.Bytes()
}

func printPlan(out *bytes.Buffer, env Environment, targets, sets []string) error {
	files, err := ReadFiles(nil, nil)
	if err != nil {
		return err
	}
	config, err := Parse(files, env)
	if err != nil {
		return err
	}
	plan, err := config.Plan(targets, sets)
	if err != nil {
		return err
	}
	return plan.Print(out)
}
