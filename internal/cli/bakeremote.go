package cli

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/strata-build/strata/internal/builder"
	"github.com/strata-build/strata/internal/builder/bake"
	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/builder/source/address"
)

func (a *app) remoteDefinitions(ctx context.Context, url string, names []string, f *bakeFlags) (files []bake.File, err error) {
	display, m, err := a.watch(dialect.Graph(), &buildFlags{progress: f.progress})
	if err != nil {
		return nil, err
	}
	var found map[string][]byte
	wanted := names
	if len(names) == 0 {
		wanted = bake.DefaultNames
	}
	d := builder.Definition{URL: url, Names: wanted}
	if d.Sandbox, err = gitSandbox(url); err == nil {
		found, err = builder.RemoteFiles(ctx, m, display, d)
	}
	display.Close(err)
	if err != nil {
		return nil, fmt.Errorf("reading the bake definition: %w", err)
	}
	for _, name := range wanted {
		data, ok := found[name]
		if !ok && len(names) > 0 {
			return nil, fmt.Errorf("reading the bake definition: %s is not there; name another with -f", name)
		}
		if ok {
			files = append(files, bake.File{Name: name, Data: data})
		}
	}
	if len(files) == 0 { // the URL is that of a file
		for _, name := range slices.Sorted(maps.Keys(found)) {
			files = append(files, bake.File{Name: name, Data: found[name]})
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no bake definition in what the URL names: it has none of %s; name its file with -f", strings.Join(bake.DefaultNames, ", "))
	}
	return files, nil
}

// repositoryOf is the git repository that a context or the URL of a definition names, nil if it names none.
func repositoryOf(text string) *address.Repository {
	source, err := address.ParseContext(text)
	if err != nil || source == nil {
		return nil
	}
	return source.Git
}

// gitSandbox is what reads of a definition's repository may use: BUILDX_BAKE_GIT_AUTH_TOKEN and
// BUILDX_BAKE_GIT_AUTH_HEADER for its host, and through ssh the keys or the agent's socket of BUILDX_BAKE_GIT_SSH.
func gitSandbox(url string) (builder.Sandbox, error) {
	r := repositoryOf(url)
	if r == nil {
		return builder.Sandbox{}, nil
	}
	rights := rightsFlags{secrets: gitSecrets(r)}
	if paths := os.Getenv("BUILDX_BAKE_GIT_SSH"); paths != "" && r.SSH() {
		rights.ssh = []string{"default=" + paths}
	}
	var request builder.Request
	err := rights.applySecrets(&request)
	if err != nil {
		err = fmt.Errorf("BUILDX_BAKE_GIT_SSH: %w", err)
	}
	return request.Sandbox, err
}

// gitSecrets are the --secret of a repository's host that the environment has for bake.
func gitSecrets(r *address.Repository) (secrets []string) {
	for _, kind := range []string{"GIT_AUTH_TOKEN", "GIT_AUTH_HEADER"} {
		if variable := "BUILDX_BAKE_" + kind; os.Getenv(variable) != "" {
			secrets = append(secrets, "id="+kind+"."+r.Host()+",env="+variable)
		}
	}
	return secrets
}
