package damage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store"
	"github.com/strata-build/strata/test/testbed"
)

// operations are the columns of the matrix.
var operations = []string{"build", "build --no-cache", "run", "push", "save", "show"}

var sum = regexp.MustCompile(`SUM [0-9a-f]{64}`)

// do does an operation and returns what it gave, as text that is the same each time.
func (m *machine) do(ctx context.Context, op string) (string, error) {
	switch op {
	case "build":
		out, err := m.strata(ctx, "build", "--progress", "plain", m.path("more"))
		return lastSum(out), err
	case "build --no-cache":
		out, err := m.strata(ctx, "build", "--progress", "plain", "--no-cache", m.path("more"))
		return lastSum(out), err
	case "run":
		return m.strata(ctx, "run", "--rm", "app", "sh", "-c", look)
	case "push":
		return m.push(ctx)
	case "save":
		return m.save(ctx)
	}
	text := ""
	for _, path := range []string{"/made", "/c/g", "/etc/passwd"} {
		out, err := m.strata(ctx, "show", "app:"+path)
		if err != nil {
			return "", err
		}
		text += out
	}
	return text, nil
}

// lastSum is what the last step of a build printed.
func lastSum(out string) string {
	all := sum.FindAllString(out, -1)
	if len(all) == 0 {
		return "no sum in " + out
	}
	return all[len(all)-1]
}

func (m *machine) save(ctx context.Context) (string, error) {
	archive := m.root + ".tar"
	defer os.Remove(archive)
	if _, err := m.strata(ctx, "save", "-o", archive, "app"); err != nil {
		return "", err
	}
	return testbed.ImageContent(archive)
}

// push pushes to a new registry and says what the layers that arrived hold.
func (m *machine) push(ctx context.Context) (string, error) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	target := strings.TrimPrefix(server.URL, "http://") + "/app:1"
	if _, err := m.strata(ctx, "tag", "app", target); err != nil {
		return "", err
	}
	if _, err := m.strata(ctx, "push", target); err != nil {
		return "", err
	}
	ref, err := name.ParseReference(target)
	if err != nil {
		return "", err
	}
	image, err := remote.Image(ref)
	if err != nil {
		return "", err
	}
	return arrived(image)
}

// arrived lists an image's layers, each with the digest of its bytes.
func arrived(image v1.Image) (string, error) {
	config, err := image.ConfigFile()
	if err != nil {
		return "", err
	}
	layers, err := image.Layers()
	if err != nil {
		return "", err
	}
	text := ""
	for i, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			return "", err
		}
		got, err := digest.FromReader(r)
		r.Close()
		if err != nil {
			return "", err
		}
		text += fmt.Sprintf("%v\n", got.String() == config.RootFS.DiffIDs[i].String())
	}
	return text, nil
}

// sealLayer has all forms of a layer that are here looked at.
func sealLayer(ctx context.Context, s *store.Store, diffID string) error {
	l, err := s.Layer(digest.Digest(diffID))
	if err != nil {
		return err
	}
	t, err := l.TOC(ctx)
	if err != nil {
		return err
	}
	for _, e := range t.Entries {
		if e.Digest == "" {
			continue
		}
		r, err := l.OpenFile(ctx, e)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r)
		if r.Close(); err != nil {
			return err
		}
		break
	}
	lowers, err := s.Lowers(ctx, []digest.Digest{l.DiffID}, nil)
	if err != nil {
		return err
	}
	if err := lowers.Trusted(ctx); !errors.Is(err, store.ErrUnsealed) {
		return err
	}
	return s.Mend(ctx, []digest.Digest{l.DiffID})
}
