package test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/crypto/ssh"
	_ "modernc.org/sqlite"

	"github.com/strata-build/strata/test/testbed"
)

// TestSecretsLeaveNoTrace builds with a secret in a file, one in a variable and an ssh key, and then looks for them in
// every byte of the store, of what images are saved as, and of what strata prints: as they are, in base64 and in
// hexadecimal, in compressed data too. Builds that end well, that fail, and that are killed in the middle.
func TestSecretsLeaveNoTrace(t *testing.T) {
	if testing.Short() {
		t.Skip("needs half a minute: run without -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("strata builds as root only")
	}
	dir := t.TempDir()
	binary, err := testbed.Build(t.Context(), dir)
	check(t, err)
	base, err := testbed.MakeStore(t.Context(), binary, filepath.Join(dir, "base"), false)
	check(t, err)

	const use = `set -e; test "$(wc -c </run/secrets/file)" = 26; test ${#TOKEN} = 26; test -S $SSH_AUTH_SOCK; cat /run/secrets/file | md5sum >/dev/null; `
	const mounts = "RUN --mount=type=secret,id=file,required --mount=type=secret,id=variable,env=TOKEN --mount=type=ssh,required "
	for _, test := range []struct {
		name, run string
		fails     bool
		kill      bool // once the step prints something
		prints    bool // the step shows its secrets: that is on the terminal then, and nowhere else
	}{
		{name: "done", run: use + "echo used"},
		{name: "failed", run: use + "echo used; exit 3", fails: true},
		{name: "killed", run: use + "echo used; sleep 60", kill: true},
		{name: "printed", run: use + "cat /run/secrets/file; echo; echo $TOKEN", prints: true},
		{name: "printed and failed", run: use + "cat /run/secrets/file; echo; echo $TOKEN; exit 3", prints: true, fails: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := newSecretBuild(t, binary, base)
			b.write("context/Dockerfile", "FROM busybox\n"+mounts+test.run+"\n")
			args := []string{
				"build", "--progress", "plain", "--secret", "id=file,src=" + b.path("file"), "--secret", "id=variable,env=" + b.variable,
				"--ssh", "default=" + b.path("key"), "-t", "me/app", b.path("context"),
			}
			if test.kill {
				b.killed(args...)
			} else {
				for _, mode := range []string{"plain", "rawjson"} {
					args[2] = mode
					out, err := b.strata(append(args, "--no-cache", "--metadata-file", b.path("logs/metadata.json"))...)
					if failed := err != nil; failed != test.fails {
						t.Fatalf("%v\n%s", err, out)
					}
					// What a step prints is shown as it is, as BuildKit does; rawjson has it in base64.
					s := &search{needles: needles(b.secrets)}
					if s.in(mode, []byte(out)); (len(s.found) > 0) != test.prints {
						t.Errorf("in what is printed is %q:\n%s", s.found, out)
					}
				}
			}
			b.look()
			// What later commands show, and what they leave in the store.
			commands := [][]string{{"builds"}, {"images", "-a"}}
			if !test.kill {
				commands = append(commands, []string{"explain"})
			}
			if !test.kill && !test.fails {
				commands = append(commands, []string{"history", "--no-trunc", "me/app"}, []string{"inspect", "me/app"},
					[]string{"save", "-o", b.path("logs/saved.tar"), "me/app"})
			}
			for _, args := range commands {
				out, err := b.strata(args...)
				if err != nil {
					t.Errorf("%v: %v\n%s", args, err, out)
				}
				b.write("logs/"+args[0], out)
			}
			b.look()
		})
	}

	// The search would find them: a step that copies them, in all ways, into its layer and its text.
	t.Run("control", func(t *testing.T) {
		for i, copied := range []string{
			"cat /run/secrets/file >/kept", "base64 </run/secrets/file >/kept", "printf 12%s $TOKEN | base64 >/kept",
			"od -An -v -tx1 /run/secrets/file | tr -d ' \\n' >/kept", "gzip </run/secrets/file >/kept",
		} {
			b := newSecretBuild(t, binary, base)
			b.write("context/Dockerfile", "FROM busybox\n"+mounts+copied+"\n")
			out, err := b.strata("build", "--secret", "id=file,src="+b.path("file"), "--secret", "id=variable,env="+b.variable,
				"--ssh", "default="+b.path("key"), "-t", "me/app", b.path("context"))
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if len(b.found()) == 0 {
				t.Errorf("nothing is found after %s", copied)
			}
			if i > 0 {
				continue
			}
			b = newSecretBuild(t, binary, base)
			b.write("context/Dockerfile", "FROM busybox\nARG A\nRUN true\n")
			if out, err := b.strata("build", "--build-arg", "A="+string(b.secrets[0]), b.path("context")); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if found := strings.Join(b.found(), "\n"); !strings.Contains(found, "meta.db, table") {
				t.Errorf("a build argument is not found in the database:\n%s", found)
			}
		}
	})
}

// secretBuild is a store, a context and the secrets beside them.
type secretBuild struct {
	t                     *testing.T
	binary, dir, variable string
	secrets               [][]byte
	// known are the files that were there before any secret was: those of the base image, hard links.
	known map[inode]bool
}

type inode struct{ device, number uint64 }

func inodeOf(info fs.FileInfo) inode {
	st := info.Sys().(*syscall.Stat_t)
	return inode{uint64(st.Dev), st.Ino}
}

func newSecretBuild(t *testing.T, binary string, base *testbed.Store) *secretBuild {
	b := &secretBuild{t: t, binary: binary, dir: t.TempDir(), variable: "STRATA_TEST_SECRET", known: map[inode]bool{}}
	check(t, base.Copy(t.Context(), b.path("store")))
	check(t, filepath.WalkDir(filepath.Join(b.path("store"), "layers"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			b.known[inodeOf(info)] = true
		}
		return err
	}))
	for _, name := range []string{"context", "logs"} {
		check(t, os.Mkdir(b.path(name), 0o755))
	}
	// 26 characters each, as rand.Text has it.
	file, variable := rand.Text(), rand.Text()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	check(t, err)
	b.write("file", file)
	b.write("key", string(pem.EncodeToMemory(block)))
	check(t, os.Chmod(b.path("key"), 0o600))
	t.Setenv(b.variable, variable)
	b.secrets = [][]byte{[]byte(file), []byte(variable), private.Seed()}
	return b
}

func (b *secretBuild) path(name string) string { return filepath.Join(b.dir, name) }

func (b *secretBuild) write(name, text string) {
	b.t.Helper()
	check(b.t, os.WriteFile(b.path(name), []byte(text), 0o644))
}

func (b *secretBuild) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.binary, args...)
	cmd.Env = append(os.Environ(), "STRATA_ROOT="+b.path("store"), "HOME="+b.dir)
	return cmd
}

func (b *secretBuild) strata(args ...string) (string, error) {
	out, err := b.command(b.t.Context(), args...).CombinedOutput()
	return string(out), err
}

// killed starts a build, looks for the secrets while its step runs, and kills it with a signal that nothing can catch.
func (b *secretBuild) killed(args ...string) {
	cmd := b.command(b.t.Context(), args...)
	out, err := cmd.StderrPipe()
	check(b.t, err)
	check(b.t, cmd.Start())
	var seen bytes.Buffer
	for buf := make([]byte, 4096); !strings.Contains(seen.String(), " used\n"); {
		n, err := out.Read(buf)
		seen.Write(buf[:n])
		if err != nil {
			b.t.Fatalf("%v after\n%s", err, seen.String())
		}
	}
	b.look()
	check(b.t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	b.write("logs/killed", seen.String())
}

// look looks for the secrets in the store and in the logs.
func (b *secretBuild) look() {
	b.t.Helper()
	for _, found := range b.found() {
		b.t.Error(found)
	}
}

// found are the places where a secret is.
func (b *secretBuild) found() []string {
	b.t.Helper()
	s := &search{needles: needles(b.secrets)}
	for _, root := range []string{b.path("store"), b.path("logs")} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // of a build under way
			}
			if err != nil || d.IsDir() {
				return err
			}
			s.in(path, []byte(path))
			info, err := d.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !info.Mode().IsRegular() || b.known[inodeOf(info)] {
				return err
			}
			data, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			s.in(path, data)
			return err
		})
		check(b.t, err)
	}
	b.database(s)
	return s.found
}

// database looks into every value of the store's database, since a large one is in pieces in its file.
func (b *secretBuild) database(s *search) {
	copied := b.t.TempDir()
	for _, name := range []string{"meta.db", "meta.db-wal"} {
		if data, err := os.ReadFile(filepath.Join(b.path("store"), name)); err == nil {
			check(b.t, os.WriteFile(filepath.Join(copied, name), data, 0o600))
		}
	}
	db, err := sql.Open("sqlite", filepath.Join(copied, "meta.db"))
	check(b.t, err)
	defer db.Close()
	for _, table := range values(b.t, db, "SELECT name FROM sqlite_schema WHERE type = 'table'") {
		for _, value := range values(b.t, db, `SELECT * FROM "`+string(table)+`"`) {
			s.in("meta.db, table "+string(table), value)
		}
	}
}

func values(t *testing.T, db *sql.DB, query string) [][]byte {
	rows, err := db.Query(query)
	check(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	check(t, err)
	var all [][]byte
	for rows.Next() {
		row := make([]sql.RawBytes, len(columns))
		into := make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		check(t, rows.Scan(into...))
		for _, value := range row {
			all = append(all, bytes.Clone(value))
		}
	}
	check(t, rows.Err())
	return all
}

// needles are the forms in which secrets are looked for. What base64 makes of a text depends on where in a stream it
// stands, so there are three of each, cut to what does not depend on its neighbours.
func needles(secrets [][]byte) map[string][]byte {
	all := map[string][]byte{}
	for i, s := range secrets {
		all[fmt.Sprintf("secret %d", i)] = s
		all[fmt.Sprintf("secret %d in hexadecimal", i)] = []byte(hex.EncodeToString(s))
		all[fmt.Sprintf("secret %d in upper case hexadecimal", i)] = []byte(strings.ToUpper(hex.EncodeToString(s)))
		for skip := range 3 {
			rest := s[skip:]
			rest = rest[:len(rest)/3*3]
			all[fmt.Sprintf("secret %d in base64, %d", i, skip)] = []byte(base64.RawStdEncoding.EncodeToString(rest))
			all[fmt.Sprintf("secret %d in base64 for URLs, %d", i, skip)] = []byte(base64.RawURLEncoding.EncodeToString(rest))
		}
	}
	return all
}

type search struct {
	needles map[string][]byte
	found   []string
}

// in looks through data, and through what is compressed in it.
func (s *search) in(where string, data []byte) {
	for what, needle := range s.needles {
		if bytes.Contains(data, needle) {
			s.found = append(s.found, what+" is in "+where)
		}
	}
	for _, magic := range []string{"\x1f\x8b\x08", "\x28\xb5\x2f\xfd"} {
		for rest := data; ; {
			i := bytes.Index(rest, []byte(magic))
			if i < 0 {
				break
			}
			if plain := decompress(magic, rest[i:]); len(plain) > 0 {
				s.in(where+", compressed", plain)
			}
			rest = rest[i+len(magic):]
		}
	}
}

// decompress gives what can be read, up to 64 MB: what follows the compressed part, or only looks like one, is an error.
func decompress(magic string, data []byte) []byte {
	var r io.Reader
	if magic[0] == 0x1f {
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			return nil
		}
		r = z
	} else {
		z, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
		if err != nil {
			return nil
		}
		defer z.Close()
		r = z
	}
	plain, _ := io.ReadAll(io.LimitReader(r, 64<<20))
	return plain
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
