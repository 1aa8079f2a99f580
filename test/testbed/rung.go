package testbed

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Rung is as whom strata runs (docs/rootless.md). The zero value is root of the machine.
type Rung struct {
	User   bool     // an ordinary user
	Ranges int      // the user's subordinate IDs
	In     []string // the program that makes the user name space; none for strata's own
	// Container is root of a container as dockerd makes it by itself, with its default profile and capabilities, on the
	// machine's network.
	Container bool
}

// passed are the variables that Program passes into a container.
var passed = []string{"STRATA_ROOT", "SOURCE_DATE_EPOCH", "STRATA_OBSERVE", "STRATA_LAYER_FORM", "DOCKER_BUILDKIT", "TERM", "ENVIRONMENT_OF"}

// Program writes a script that runs a strata binary on a rung, in the folder work/.rung, and returns its path. It has
// the files in work and the store that STRATA_ROOT names there; work is given to an ordinary user. The daemon is that
// of the container.
func (r Rung) Program(work, binary string, docker func() (*Docker, error)) (string, error) {
	text := "exec " + quoted(binary)
	var err error
	switch {
	case r.Container:
		text, err = inContainer(work, binary, docker)
	case r.User:
		text, err = r.asUser(work, binary)
	}
	if err != nil {
		return "", err
	}
	program := filepath.Join(work, ".rung", "strata")
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		return "", err
	}
	return program, os.WriteFile(program, []byte("#!/bin/bash\n"+text+` "$@"`+"\n"), 0o755)
}

func inContainer(work, binary string, docker func() (*Docker, error)) (string, error) {
	daemon, err := docker()
	if err != nil {
		return "", err
	}
	if err := daemon.ImportBases(context.Background()); err != nil {
		return "", err
	}
	text := "terminal=(); [ ! -t 0 ] || terminal=(-t)\n" + "exec env DOCKER_HOST=" + quoted(daemon.Host) +
		` /usr/bin/docker run --rm --init -i "${terminal[@]}" --network host -w "$PWD" -e HOME=` + quoted(work)
	for _, name := range passed {
		text += " -e " + name
	}
	for _, mount := range append(ProgramMounts(binary), work+":"+work) {
		text += " -v " + quoted(mount)
	}
	return text + " " + quoted(DebianImage) + " strata", nil
}

// ProgramMounts are the -v that show strata in a container of the Debian image, with the libraries that it lacks.
func ProgramMounts(binary string) []string {
	mounts := []string{binary + ":/usr/bin/strata:ro"}
	libraries, err := exec.Command("ldd", binary).Output()
	if err != nil {
		return mounts // it is linked statically
	}
	for line := range strings.Lines(string(libraries)) {
		if fields := strings.Fields(line); len(fields) > 2 && strings.HasPrefix(fields[0], "libseccomp") {
			mounts = append(mounts, fields[2]+":"+fields[2]+":ro")
		}
	}
	return mounts
}

func (r Rung) asUser(work, binary string) (string, error) {
	user, err := NewUser(work, r.Ranges)
	if err != nil {
		return "", err
	}
	if err := user.Give(work); err != nil {
		return "", err
	}
	const root = "STRATA_ROOT=$STRATA_ROOT"
	text := "exec unshare"
	for _, arg := range user.Arguments(slices.Concat([]string{root}, r.In, []string{binary})...) {
		if arg == root {
			text += ` "` + root + `"`
		} else {
			text += " " + quoted(arg)
		}
	}
	return text, nil
}

// quoted is a word of a shell's.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// MakeStore makes a store on a rung in the new folder dir, with images of a store of root's, and returns it with the
// program that runs on the rung there.
func (r Rung) MakeStore(ctx context.Context, dir, binary string, docker func() (*Docker, error), from *Store, images ...string) (*Store, string, error) {
	archive := filepath.Join(dir, "images.tar")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, "", err
	}
	if err := from.run(ctx, binary, append([]string{"save", "-o", archive}, images...)...); err != nil {
		return nil, "", err
	}
	program, err := r.Program(dir, binary, docker)
	if err != nil {
		return nil, "", err
	}
	s := &Store{Root: filepath.Join(dir, "store")}
	if err := s.run(ctx, program, "load", "-q", "-i", archive); err != nil {
		return nil, "", fmt.Errorf("on a rung: %w", err)
	}
	return s, program, os.Remove(archive)
}
