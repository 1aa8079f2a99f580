// Command man writes strata's man pages, one for each command, from the same texts as --help.
package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/strata-build/strata/internal/cli"
)

func main() {
	dir := flag.String("o", "bin/man", "the folder to write to, which is made")
	version := flag.String("version", "unknown", "the version on each page")
	flag.Parse()
	if err := write(*dir, *version); err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

func write(dir, version string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the folder of the man pages: %w", err)
	}
	version, _, _ = strings.Cut(version, "+") // the commit has no room in the last line of a page
	root := cli.Command(version)
	root.DisableAutoGenTag = true
	root.Use = "strata COMMAND [OPTIONS]"
	listCommands(root)
	root.Long += files
	date := commitTime()
	options := doc.GenManTreeOptions{
		Path:             dir,
		CommandSeparator: "-",
		Header:           &doc.GenManHeader{Section: "1", Source: "strata " + version, Manual: "strata", Date: &date},
	}
	if err := doc.GenManTreeFromOpts(root, options); err != nil {
		return fmt.Errorf("writing the man pages: %w", err)
	}
	return nil
}

// files is what the page of strata itself has beside its commands, in Markdown.
const files = `
# FILES

**/var/lib/strata**
: The store: images, layers, the cache and the records of builds. The variable **STRATA_ROOT** names another folder.

**~/.config/strata/config.toml**, **/etc/strata/config.toml**
: The configuration; none is needed. The variable **STRATA_CONFIG** names another file.

**~/.docker/config.json**
: Credentials of registries, shared with docker.

# EXIT STATUS

0 if all went well, 1 if the build or the input failed, 2 for wrong usage, 130 after an interrupt. **strata run** ends with the
status of its process.
`

// listCommands adds to the text of each command that has others below it what those do.
func listCommands(cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() {
		return
	}
	if cmd.Long == "" {
		cmd.Long = cmd.Short
	}
	cmd.Long += ". The commands:\n\n"
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			cmd.Long += fmt.Sprintf("**%s**\n: %s\n\n", c.Name(), c.Short)
			listCommands(c)
		}
	}
}

// commitTime is the date on the pages: SOURCE_DATE_EPOCH, so that one commit gives the same pages each time, or now.
func commitTime() time.Time {
	if seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return time.Unix(seconds, 0).UTC()
	}
	return time.Now()
}
