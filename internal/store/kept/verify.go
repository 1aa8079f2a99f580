package kept

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/disk"
)

// Damage is something that is kept and is not as it was written.
type Damage struct {
	Path string
	// What it is: "context copy", "download", "git repository" or "listing".
	What  string
	Wrong string
}

// Verify looks at all that is kept. Without readData that are copies of contexts and listings; with it, also the bytes
// of URLs are compared with their digests, and git checks its repositories where it is installed. Stat caches end with
// a checksum of their own, which every build compares.
func (k *Kept) Verify(ctx context.Context, readData bool) ([]Damage, error) {
	kinds := []verification{{copies, "context copy", k.verifyCopy}, {listings, "listing", verifyListing}}
	if readData {
		kinds = append(kinds, verification{downloads, "download", verifyDownload}, verification{git, "git repository", verifyMirror})
	}
	var all []Damage
	for _, v := range kinds {
		entries, err := os.ReadDir(k.path(v.folder))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("looking at what is kept: %w", err)
		}
		for _, e := range entries {
			path := k.path(v.folder, e.Name())
			wrong := v.verify(ctx, path)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if wrong != nil && disk.Exists(path) && !disk.IsLocal(wrong) {
				all = append(all, Damage{Path: path, What: v.what, Wrong: wrong.Error()})
			}
		}
	}
	return all, nil
}

// verification says how the things in a folder are looked at: verify returns what is wrong with one.
type verification struct {
	folder, what string
	verify       func(ctx context.Context, path string) error
}

func (k *Kept) verifyCopy(_ context.Context, path string) error {
	_, _, err := k.readCopy(filepath.Base(path))
	return err
}

func verifyListing(_ context.Context, path string) error {
	_, err := disk.ReadTOC(path)
	return err
}

// verifyDownload compares the bytes of a URL with the digest that is their name.
func verifyDownload(_ context.Context, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		want := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
		if want.Validate() != nil {
			continue // what is known of them, which is sealed for the URL, or a download that broke off
		}
		if err := verifyBytes(filepath.Join(dir, e.Name()), want); err != nil {
			return err
		}
	}
	return nil
}

func verifyBytes(path string, want digest.Digest) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := digest.FromReader(f)
	if err == nil && got != want {
		err = fmt.Errorf("its bytes have the digest %s", got)
	}
	return err
}

// verifyMirror has git compare the objects of a remote's repositories with their names.
func verifyMirror(ctx context.Context, dir string) error {
	program, err := exec.LookPath("git")
	if err != nil {
		return nil
	}
	repositories, err := filepath.Glob(filepath.Join(dir, "repository*"))
	if err != nil {
		return err
	}
	for _, repository := range repositories {
		if st, err := os.Stat(repository); err != nil || !st.IsDir() {
			continue // its seal
		}
		cmd := exec.CommandContext(ctx, program, "--git-dir="+repository, "fsck", "--full", "--no-dangling", "--no-progress")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null"}
		if said, err := cmd.CombinedOutput(); err != nil {
			first, _, _ := strings.Cut(string(said), "\n")
			return fmt.Errorf("git fsck: %w: %s", err, first)
		}
	}
	return nil
}
