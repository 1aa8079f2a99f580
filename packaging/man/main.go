// Command man writes strata's man pages, one for each command, from the same texts as --help.
package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"

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
	root := cli.Command(version)
	root.DisableAutoGenTag = true
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

// commitTime is the date on the pages: SOURCE_DATE_EPOCH, so that one commit gives the same pages each time, or now.
func commitTime() time.Time {
	if seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return time.Unix(seconds, 0).UTC()
	}
	return time.Now()
}
