package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/strata-build/strata/internal/event/metrics"
	"github.com/strata-build/strata/internal/store/disk"
)

const (
	// maxMetrics is how many bytes of the file of metrics are read.
	maxMetrics = 1 << 20
	// metricsPatience is how long a command waits for others that write the file.
	metricsPatience = time.Second
)

// counts is what the builds of a command are counted in, for a file that holds the sums of all builds.
type counts struct {
	*metrics.Builds
	set  *metrics.Set
	path string
}

// counted is what counts the builds of this command: nil where no file is configured for it.
func (a *app) counted() *metrics.Builds {
	if a.counts != nil {
		return a.counts.Builds
	}
	path := os.Getenv("STRATA_METRICS_FILE")
	if c, err := loadConfig(); err == nil { // else whoever needs the configuration says what is wrong with it
		path = cmp.Or(path, c.MetricsFile)
	}
	if path == "" {
		return nil
	}
	set := metrics.New()
	a.counts = &counts{metrics.NewBuilds(set), set, path}
	return a.counts.Builds
}

// writeCounts adds what was counted to the file. A failure is a warning: no build fails for its metrics.
func (a *app) writeCounts() {
	if a.counts == nil {
		return
	}
	if err := a.counts.write(); err != nil {
		fmt.Fprintf(a.stderr, "WARNING: the metrics of this build are not counted: %s\n", printable(err.Error()))
	}
}

// write replaces the file by its counts and these together. Others that do the same wait meanwhile.
func (c *counts) write() error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), metricsPatience, errors.New("another process keeps it locked"))
	defer cancel()
	// node_exporter reads only what ends in .prom
	release, err := disk.AwaitLock(ctx, filepath.Join(filepath.Dir(c.path), "."+filepath.Base(c.path)+".lock"))
	if err != nil {
		return fmt.Errorf("locking %s: %w", c.path, err)
	}
	defer release()
	past, err := readPast(c.path)
	if err != nil {
		return err
	}
	c.set.Restore(past)
	return writeSmall(c.path, c.set.Write(metrics.Text))
}

// readPast reads what earlier builds have counted, nothing where the file is new.
func readPast(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	switch st, err := f.Stat(); {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular() || st.Size() > maxMetrics:
		return nil, fmt.Errorf("%s is no file that strata wrote; name another in metrics-file or STRATA_METRICS_FILE", path)
	}
	return io.ReadAll(io.LimitReader(f, maxMetrics))
}
