package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/strata-build/strata/internal/layer"
)

// config is strata's configuration file, docs/configuration.md.
type config struct {
	// InsecureRegistries are registries that may use plain HTTP, or a certificate that cannot be
	// verified.
	InsecureRegistries []string `toml:"insecure-registries"`
	// CertsDirs are the directories with <host>/hosts.toml, in containerd's format.
	CertsDirs []string `toml:"certs-dirs"`
	// CacheSizeLimit is the size that builds keep the cache below, such as "20GB"; "" is no limit.
	CacheSizeLimit string `toml:"cache-size-limit"`
	// Network is the one of RUN steps and of strata run where --network does not say.
	Network string `toml:"network"`
	// CacheFrom and CacheTo are what build's flags of these names say where they are not given.
	CacheFrom []string `toml:"cache-from"`
	CacheTo   []string `toml:"cache-to"`
	// MetricsFile is the file that holds the sums of what builds did.
	MetricsFile string `toml:"metrics-file"`
	// Provenance and SBOM are what build's flags of these names say where they are not given.
	Provenance string `toml:"provenance"`
	SBOM       string `toml:"sbom"`
	// Queue and the settings below are what the flags of these names say where --queue is not given.
	Queue      string   `toml:"queue"`
	QueueCreds string   `toml:"queue-creds"`
	QueueCA    string   `toml:"queue-ca"`
	QueueCert  string   `toml:"queue-cert"`
	QueueKey   string   `toml:"queue-key"`
	QueueTrust []string `toml:"queue-trust"`
	QueueCache string   `toml:"queue-cache"`
	// UnpackSizeLimit, UnpackEntriesLimit and UnpackRatioLimit are layer.Limits; what is not set has its default.
	UnpackSizeLimit    string `toml:"unpack-size-limit"`
	UnpackEntriesLimit int    `toml:"unpack-entries-limit"`
	UnpackRatioLimit   int64  `toml:"unpack-ratio-limit"`
}

// unpackLimits returns the configuration's limits on what is unpacked.
func unpackLimits() (layer.Limits, error) {
	c, err := loadConfig()
	if err != nil {
		return layer.Limits{}, err
	}
	l := layer.Limits{Entries: c.UnpackEntriesLimit, Ratio: c.UnpackRatioLimit}
	if c.UnpackSizeLimit != "" {
		if l.Size, err = parseSize(c.UnpackSizeLimit); err != nil {
			return l, fmt.Errorf("reading the configuration: unpack-size-limit = %q: %w", c.UnpackSizeLimit, err)
		}
	}
	switch {
	case l.Entries < 0 || l.Entries > layer.MaxEntries:
		return l, fmt.Errorf("reading the configuration: unpack-entries-limit = %d: it is a number from 1 to %d, the most that strata accepts", l.Entries, layer.MaxEntries)
	case l.Ratio < 0:
		return l, fmt.Errorf("reading the configuration: unpack-ratio-limit = %d: it is a number from 1 on", l.Ratio)
	}
	return l, nil
}

// cacheLimit returns the configuration's cache-size-limit in bytes, 0 if there is none.
func cacheLimit() (int64, error) {
	c, err := loadConfig()
	if err != nil || c.CacheSizeLimit == "" {
		return 0, err
	}
	size, err := parseSize(c.CacheSizeLimit)
	if err != nil {
		return 0, fmt.Errorf("reading the configuration: cache-size-limit = %q: %w", c.CacheSizeLimit, err)
	}
	return size, nil
}

// configPaths are the possible paths of the configuration file; the first that exists is used.
func configPaths() []string {
	if p := os.Getenv("STRATA_CONFIG"); p != "" {
		return []string{p}
	}
	var paths []string
	if dir, err := os.UserConfigDir(); err == nil {
		paths = append(paths, filepath.Join(dir, "strata", "config.toml"))
	}
	return append(paths, "/etc/strata/config.toml")
}

// unknownKeys are the keys of the configuration file that strata does not know: misspelled ones, or those of a
// newer one.
func unknownKeys() []string {
	for _, path := range configPaths() {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		var unknown *toml.StrictMissingError
		d := toml.NewDecoder(bytes.NewReader(data))
		if !errors.As(d.DisallowUnknownFields().Decode(&config{}), &unknown) {
			return nil
		}
		var keys []string
		for _, e := range unknown.Errors {
			row, _ := e.Position()
			keys = append(keys, fmt.Sprintf("%s:%d: there is no setting %s; docs/configuration.md lists them", path, row, strings.Join(e.Key(), ".")))
		}
		return keys
	}
	return nil
}

func loadConfig() (*config, error) {
	c := &config{CertsDirs: []string{"/etc/strata/certs.d", "/etc/containerd/certs.d", "/etc/docker/certs.d"}}
	for _, path := range configPaths() {
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("reading the configuration: %w; it is another user's: set HOME, or XDG_CONFIG_HOME, to a folder of your own", err)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the configuration: %w", err)
		}
		if err := toml.Unmarshal(data, c); err != nil {
			return nil, fmt.Errorf("reading the configuration %s: %w; docs/configuration.md describes it", path, err)
		}
		return c, nil
	}
	return c, nil
}
