package dockerfile

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// checkSupported refuses what the syntax knows and strata does not do yet, so that no build runs for minutes before
// it says so.
func checkSupported(c instructions.Command, o Options) error {
	switch c := c.(type) {
	case *instructions.RunCommand:
		return checkRun(c, o)
	case *instructions.CopyCommand:
		return checkCopy("COPY", copyFlags(c), c.SourcesAndDest, o.Engine)
	case *instructions.AddCommand:
		if c.KeepGitDir != nil {
			return errors.New("ADD --keep-git-dir is not supported yet")
		}
		if c.Checksum != "" {
			return errors.New("ADD --checksum is not supported yet")
		}
		return checkCopy("ADD", addFlags(c), c.SourcesAndDest, o.Engine)
	}
	return nil
}

func checkRun(c *instructions.RunCommand, o Options) error {
	if len(c.FlagsUsed) > 0 && o.Engine == Classic {
		return fmt.Errorf("the --%s option requires BuildKit: build without DOCKER_BUILDKIT=0", slices.Min(c.FlagsUsed))
	}
	if len(instructions.GetDevices(c)) > 0 {
		return errors.New("RUN --device is not supported: strata hands out no CDI devices; " +
			"RUN --security=insecure can make nodes of all devices, if --allow security.insecure permits it")
	}
	if err := checkEntitled(c, o.Allow); err != nil {
		return err
	}
	if len(c.Files) > 0 && o.Engine == Classic {
		return errors.New("a here-document (<<) requires BuildKit: build without DOCKER_BUILDKIT=0")
	}
	return nil
}

// copyFlags are the flags of a COPY that Docker's classic builder does not know.
func copyFlags(c *instructions.CopyCommand) []string {
	var flags []string
	if c.Link {
		flags = append(flags, "link")
	}
	if c.Parents {
		flags = append(flags, "parents")
	}
	if len(c.ExcludePatterns) > 0 {
		flags = append(flags, "exclude")
	}
	return flags
}

// addFlags are those of an ADD.
func addFlags(c *instructions.AddCommand) []string {
	var flags []string
	if c.Link {
		flags = append(flags, "link")
	}
	if len(c.ExcludePatterns) > 0 {
		flags = append(flags, "exclude")
	}
	if c.Unpack != nil {
		flags = append(flags, "unpack")
	}
	return flags
}

func checkCopy(name string, flags []string, files instructions.SourcesAndDest, engine Engine) error {
	if engine == Classic && len(flags) > 0 {
		return fmt.Errorf("the --%s option requires BuildKit: build without DOCKER_BUILDKIT=0", flags[0])
	}
	if engine == Classic && len(files.SourceContents) > 0 {
		return fmt.Errorf("%s with a here-document (<<) requires BuildKit: build without DOCKER_BUILDKIT=0", name)
	}
	for _, source := range files.SourcePaths {
		if err := checkRemote(name, source); err != nil {
			return err
		}
	}
	return nil
}

// checkRemote refuses what is not a path. It is asked before expansion, and after it for what a variable brought in.
func checkRemote(name, source string) error {
	kind := ""
	switch {
	case strings.HasPrefix(source, "http://"), strings.HasPrefix(source, "https://"):
		kind = "URL"
	case strings.HasPrefix(source, "git://"), strings.HasPrefix(source, "git@"), strings.HasPrefix(source, "ssh://"):
		kind = "git repository"
	default:
		return nil
	}
	if name == "COPY" {
		return fmt.Errorf("COPY %s: the source of a COPY cannot be a %s", source, kind)
	}
	return fmt.Errorf("ADD %s: a %s is not supported yet", source, kind)
}
