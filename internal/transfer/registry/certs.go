package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// loadCerts reads the authorities and client certificates that a host table names.
func (t tomlHost) loadCerts(dir string, config *tls.Config) error {
	authorities, err := stringList(t.CACert)
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	for _, file := range authorities {
		if err := addAuthority(config, abs(dir, file)); err != nil {
			return err
		}
	}
	pairs, err := clientPairs(t.Client)
	if err != nil {
		return err
	}
	for _, pair := range pairs {
		if err := addClient(config, abs(dir, pair[0]), abs(dir, pair[1])); err != nil {
			return err
		}
	}
	return nil
}

// clientPairs reads `client`: a file with certificate and key, a list of such files, or a list of pairs.
func clientPairs(value any) (pairs [][2]string, err error) {
	bad := errors.New("client must be a file, a list of files, or a list of [certificate, key] pairs")
	if list, ok := value.([]any); ok {
		for _, x := range list {
			names, err := stringList(x)
			switch {
			case err == nil && len(names) == 1:
				pairs = append(pairs, [2]string{names[0], names[0]})
			case err == nil && len(names) == 2 && names[1] != "":
				pairs = append(pairs, [2]string{names[0], names[1]})
			case err == nil && len(names) == 2:
				pairs = append(pairs, [2]string{names[0], names[0]})
			default:
				return nil, bad
			}
		}
		return pairs, nil
	}
	names, err := stringList(value)
	if err != nil {
		return nil, bad
	}
	for _, n := range names {
		pairs = append(pairs, [2]string{n, n})
	}
	return pairs, nil
}

func abs(dir, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(dir, file)
}

// dockerCerts adds what dockerd takes from certs.d/<host>: every *.crt is an authority, every *.cert a client
// certificate whose key has the same name and ends in .key.
func dockerCerts(dir string, config *tls.Config) (*tls.Config, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	config = config.Clone()
	for _, e := range entries {
		file := filepath.Join(dir, e.Name())
		switch filepath.Ext(file) {
		case ".crt":
			err = addAuthority(config, file)
		case ".cert":
			err = addClient(config, file, strings.TrimSuffix(file, ".cert")+".key")
		}
		if err != nil {
			return nil, err
		}
	}
	return config, nil
}

func addAuthority(config *tls.Config, file string) error {
	pem, err := readBounded(file)
	if err != nil {
		return err
	}
	if config.RootCAs == nil {
		if config.RootCAs, err = x509.SystemCertPool(); err != nil {
			config.RootCAs = x509.NewCertPool()
		}
	}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s: no PEM certificate in it", file)
	}
	return nil
}

func addClient(config *tls.Config, certFile, keyFile string) error {
	certificate, err := readBounded(certFile)
	if err != nil {
		return err
	}
	key, err := readBounded(keyFile)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return fmt.Errorf("%s: %w", certFile, err)
	}
	config.Certificates = append(config.Certificates, pair)
	return nil
}

func readBounded(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err == nil && len(data) > maxConfigFile {
		err = fmt.Errorf("%s: larger than %d bytes", file, maxConfigFile)
	}
	return data, err
}
