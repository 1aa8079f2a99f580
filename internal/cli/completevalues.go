package cli

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/reference"
	dockerconfig "github.com/docker/cli/cli/config"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/explain"
	"github.com/strata-build/strata/internal/human"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/look/history"
	"github.com/strata-build/strata/internal/store"
)

// completedBuilds is how many builds are offered: who presses a key wants one of the last.
const completedBuilds = 50

// described is a word with its description.
func described(word, text string) string { return word + "\t" + human.Shorten(human.Clean(text), 60) }

// stored opens the store, if there is one and this user may read it; a key that is pressed makes none.
func (r *request) stored() (*store.Store, bool) {
	if _, err := os.Stat(store.DefaultRoot()); err != nil {
		return nil, false
	}
	s, err := r.app.open()
	return s, err == nil
}

// imageNames are the names with a tag that images of the store have.
func imageNames(r *request) (c choices) {
	s, ok := r.stored()
	if !ok {
		return c
	}
	names, err := s.Names("")
	if err != nil {
		return c
	}
	for _, n := range names {
		if ref, err := reference.ParseNormalizedNamed(n.Name); err == nil {
			if _, ok := ref.(reference.Tagged); ok {
				c.words = append(c.words, reference.FamiliarString(ref))
			}
		}
	}
	slices.Sort(c.words)
	return c
}

// repositories are the names without tags, and the names that begin with one of them once it is typed in full.
func repositories(r *request) choices {
	c := imageNames(r)
	if strings.Contains(r.word, ":") {
		return c
	}
	for i, name := range c.words {
		c.words[i] = name[:strings.LastIndex(name, ":")]
	}
	c.words = slices.Compact(c.words)
	return c
}

// anyImage are names of images and, once something is typed that an ID can begin with, the IDs of images and steps.
func anyImage(r *request) choices {
	c := imageNames(r)
	if r.word == "" || strings.Trim(r.word, "0123456789abcdef") != "" {
		return c
	}
	s, ok := r.stored()
	if !ok {
		return c
	}
	for _, kind := range []store.Kind{store.Image, store.Step} {
		configs, err := s.Configs(kind)
		if err != nil {
			return c
		}
		for _, step := range configs {
			if strings.HasPrefix(step.ID.Encoded(), r.word) {
				c.words = append(c.words, described(shown(step.ID, r.word), lastInstruction(step)))
			}
		}
	}
	return c
}

// shown is the short form of an ID, unless more of it is typed.
func shown(id digest.Digest, word string) string {
	if short := image.ShortID(id); len(word) <= len(short) {
		return short
	}
	return id.Encoded()
}

// lastInstruction is what made a step, or the last step of an image.
func lastInstruction(c *store.Config) string {
	img, err := image.Parse(c.Data)
	if err != nil || len(img.History) == 0 {
		return ""
	}
	return history.Instruction(img.History[len(img.History)-1].CreatedBy)
}

// builds are the last builds, and what images have.
func builds(r *request) choices {
	c := choices{}
	for _, b := range r.recorded(completedBuilds) {
		c.words = append(c.words, described(b.ID, human.Since(b.Started)+", "+buildCells(b)["Result"]))
	}
	c.words = append(c.words, imageNames(r).words...)
	return c
}

// recorded are the last builds.
func (r *request) recorded(n int) (list []*explain.Build) {
	s, ok := r.stored()
	if !ok {
		return nil
	}
	rows, err := s.Builds(n)
	if err != nil {
		return nil
	}
	for _, row := range rows {
		if b, err := explain.Read(row); err == nil {
			list = append(list, b)
		}
	}
	return list
}

// steps are the numbers of the steps of the build that the command is about.
func steps(r *request) (c choices) {
	if _, ok := r.stored(); !ok {
		return c
	}
	b, err := r.app.findBuild(first(r.args))
	if err != nil {
		return c
	}
	for _, st := range b.Stages {
		for _, step := range st.Steps {
			number := strconv.Itoa(step.Number)
			switch {
			case step.Number == 0:
				continue
			case st.Name != "":
				number = st.Name + ":" + number
			}
			c.words = append(c.words, described(number, step.Text))
		}
	}
	return c
}

// platforms are those that images are commonly made for.
func platforms(*request) choices {
	return choices{words: []string{
		"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/386", "linux/ppc64le", "linux/riscv64", "linux/s390x",
	}}
}

// capabilities are those of capabilities(7) that are given to or taken from containers in practice.
func capabilities(*request) choices {
	return choices{words: []string{
		"ALL", "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW",
		"SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_ADMIN", "SYS_CHROOT", "SYS_NICE", "SYS_PTRACE", "SYS_TIME",
	}}
}

// cacheFilterKeys are those of the build cache, for buildx's commands and builder's.
var cacheFilterKeys = []string{"until=", "type=", "id=", "description=", "mutable=", "immutable=", "shared=", "private=", "inuse="}

// filterKeys are the keys that --filter takes, by the command's path.
var filterKeys = map[string][]string{
	"images":            {"dangling=", "label=", "before=", "since=", "reference=", "until="},
	"image ls":          {"dangling=", "label=", "before=", "since=", "reference=", "until="},
	"image prune":       {"until=", "label=", "label!=", "dangling="},
	"system prune":      {"until=", "label=", "label!="},
	"container prune":   {},
	"volume prune":      {},
	"cache prune":       {"until="},
	"packages":          {"type=", "name=", "ecosystem=", "layer=", "base="},
	"scan":              {"type=", "name=", "ecosystem=", "layer=", "base="},
	"ps":                {"name=", "id=", "ancestor=", "status="},
	"container ls":      {"name=", "id=", "ancestor=", "status="},
	"volume ls":         {"name=", "driver=", "dangling=", "label="},
	"builder prune":     cacheFilterKeys,
	"buildx prune":      cacheFilterKeys,
	"builder du":        cacheFilterKeys,
	"buildx du":         cacheFilterKeys,
	"buildx history ls": {"status=", "ref="},
}

// packageTypes are the values of packages --filter type=.
var packageTypes = []string{"dpkg", "apk", "rpm", "python", "npm", "go", "java", "ruby", "php", "rust"}

// filters offers the keys of --filter, and the values of those that have few.
func filters(r *request) choices {
	_, path, _ := strings.Cut(r.cmd.CommandPath(), " ")
	key, _, ok := strings.Cut(r.word, "=")
	if !ok {
		return choices{words: filterKeys[path], open: true}
	}
	var values []string
	switch key {
	case "dangling", "base", "mutable", "immutable", "shared", "private", "inuse":
		values = yesOrNo
	case "status":
		values = []string{"completed", "error"}
		if path == "ps" || path == "container ls" {
			values = []string{"created"}
		}
	case "type":
		values = []string{"exec.cachemount", "regular"}
		if path == "packages" || path == "scan" {
			values = packageTypes
		}
	case "driver":
		values = []string{"local"}
	case "name":
		of := containers
		if path == "volume ls" {
			of = volumes
		}
		if path == "packages" || path == "scan" {
			of = anything
		}
		values = withoutDescription(of(r).words)
	case "before", "since", "ancestor":
		values = imageNames(r).words
	case "reference":
		values = repositories(r).words
	}
	var c choices
	for _, v := range values {
		c.words = append(c.words, key+"="+v)
	}
	return c
}

// hosts are the registries that docker's configuration has credentials for.
func hosts(*request) (c choices) {
	file, err := dockerconfig.Load("")
	if err != nil {
		return c
	}
	for host := range file.AuthConfigs {
		c.words = append(c.words, host)
	}
	slices.Sort(c.words)
	return c
}

// dockerfileNames are the names of the Dockerfile that the command line means; none if it cannot be read.
func dockerfileNames(r *request) dockerfile.Names {
	path := r.source().DockerfilePath()
	if path == "" {
		return dockerfile.Names{}
	}
	source, err := os.ReadFile(path)
	if err != nil {
		return dockerfile.Names{}
	}
	f, err := dockerfile.Parse(source, path)
	if err != nil {
		return dockerfile.Names{}
	}
	return f.Names()
}

func stageNames(n dockerfile.Names) []string { return n.Stages }
func buildArgs(n dockerfile.Names) []string {
	args := make([]string, len(n.Args))
	for i, name := range n.Args {
		args[i] = name + "="
	}
	return args
}
func sshNames(n dockerfile.Names) []string { return n.SSH }

// fromDockerfile offers names of the Dockerfile, and others.
func fromDockerfile(of func(dockerfile.Names) []string, others ...string) offer {
	return func(r *request) choices {
		c := choices{words: append(of(dockerfileNames(r)), others...)}
		c.open = slices.ContainsFunc(c.words, func(w string) bool { return strings.HasSuffix(w, "=") })
		return c
	}
}
