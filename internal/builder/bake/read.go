package bake

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
)

// DefaultNames are the files that bake reads where none is named, all that there are of them, in this order (docker
// docs, build/bake/reference, "File lookup").
var DefaultNames = []string{
	"compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml",
	"docker-bake.json", "docker-bake.hcl", "docker-bake.override.json", "docker-bake.override.hcl",
}

// maxFile is how many bytes a definition may have, as in buildx.
const maxFile = 2 << 20

// ReadFiles reads the named files of this machine, "-" from stdin, or DefaultNames.
func ReadFiles(names []string, stdin io.Reader) ([]File, error) {
	wanted := names
	if len(names) == 0 {
		wanted = DefaultNames
	}
	var files []File
	for _, name := range wanted {
		data, err := readFile(name, stdin)
		if len(names) == 0 && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the bake definition: %w", err)
		}
		files = append(files, File{name, data})
	}
	if len(files) == 0 {
		return nil, errors.New("no bake definition here: write docker-bake.hcl, or name a file with -f")
	}
	return files, nil
}

func readFile(name string, stdin io.Reader) ([]byte, error) {
	r := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s has more than %d bytes", name, maxFile)
	}
	return data, nil
}

// parseFile reads HCL or JSON, or says that the file is of Compose. Its name decides by its end; without a known
// one the file is what it can be read as: Compose, HCL, JSON.
func parseFile(f File, env *Environment) (file *hcl.File, isCompose bool, err error) {
	p := hclparse.NewParser()
	var diags hcl.Diagnostics
	name := strings.ToLower(f.Name)
	switch {
	case strings.HasSuffix(name, ".yml") || strings.HasSuffix(name, ".yaml"):
		return nil, true, nil
	case strings.HasSuffix(name, ".json"):
		file, diags = p.ParseJSON(f.Data, f.Name)
	case strings.HasSuffix(name, ".hcl"):
		file, diags = p.ParseHCL(f.Data, f.Name)
	default:
		if _, err := loadCompose([]File{f}, env); err == nil {
			return nil, true, nil
		}
		if file, diags = p.ParseHCL(f.Data, f.Name); diags.HasErrors() {
			if json, failed := p.ParseJSON(f.Data, f.Name); !failed.HasErrors() {
				return json, false, nil
			}
		}
	}
	if diags.HasErrors() {
		return nil, false, locate(diags, map[string][]byte{f.Name: f.Data})
	}
	return file, false, nil
}
