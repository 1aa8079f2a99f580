package dockerfile

import (
	"errors"
	"fmt"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/builder/source/address"
)

// checkSupported refuses what the syntax knows and strata does not do yet, so that no build runs for minutes before
// it says so.
func checkSupported(c instructions.Command, o Options) error {
	switch c := c.(type) {
	case *instructions.RunCommand:
		return checkRun(c, o)
	case *instructions.CopyCommand:
		return checkCopy("COPY", copyFlags(c), c.SourcesAndDest, o.Dialect.File)
	case *instructions.AddCommand:
		return checkCopy("ADD", addFlags(c), c.SourcesAndDest, o.Dialect.File)
	}
	return nil
}

func checkRun(c *instructions.RunCommand, o Options) error {
	if len(c.FlagsUsed) > 0 && !o.Dialect.File.BuildKit {
		return fmt.Errorf("the --%s option requires BuildKit: build without DOCKER_BUILDKIT=0", slices.Min(c.FlagsUsed))
	}
	if len(instructions.GetDevices(c)) > 0 {
		return errors.New("RUN --device is not supported: strata hands out no CDI devices; " +
			"RUN --security=insecure can make nodes of all devices, if --allow security.insecure permits it")
	}
	if err := checkEntitled(c, o.Allow); err != nil {
		return err
	}
	if len(c.Files) > 0 && !o.Dialect.File.BuildKit {
		return errors.New("a here-document (<<) requires BuildKit: build without DOCKER_BUILDKIT=0")
	}
	return nil
}

// copyFlags are the flags of a COPY that Docker's classic builder does not know.
func copyFlags(c *instructions.CopyCommand) []string {
	var flags []string
	if c.Chmod != "" {
		flags = append(flags, "chmod")
	}
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
	if c.Chmod != "" {
		flags = append(flags, "chmod")
	}
	if c.Link {
		flags = append(flags, "link")
	}
	if len(c.ExcludePatterns) > 0 {
		flags = append(flags, "exclude")
	}
	if c.Unpack != nil {
		flags = append(flags, "unpack")
	}
	if c.Checksum != "" {
		flags = append(flags, "checksum")
	}
	if c.KeepGitDir != nil {
		flags = append(flags, "keep-git-dir")
	}
	return flags
}

func checkCopy(name string, flags []string, files instructions.SourcesAndDest, rules dialect.File) error {
	if !rules.BuildKit && len(flags) > 0 {
		return fmt.Errorf("the --%s option requires BuildKit: build without DOCKER_BUILDKIT=0", flags[0])
	}
	if !rules.BuildKit && len(files.SourceContents) > 0 {
		return fmt.Errorf("%s with a here-document (<<) requires BuildKit: build without DOCKER_BUILDKIT=0", name)
	}
	for _, source := range files.SourcePaths {
		if err := checkRemoteText(name, source, rules); err != nil {
			return err
		}
	}
	return nil
}

// checkRemoteText refuses what an instruction cannot take from elsewhere, before expansion; what a
// variable brings in is seen later.
func checkRemoteText(name, source string, rules dialect.File) error {
	s, err := address.Parse(source)
	if err != nil || s == nil {
		return nil
	}
	return checkRemote(s, name == "ADD", rules)
}
