package placetest

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The credentials of a server that ServeS3 starts.
const (
	AccessKey = "strata"
	SecretKey = "very-secret-key"
)

// ServeS3 starts versitygw, a server of S3 (github.com/versity/versitygw), on a directory with an empty bucket.
func ServeS3(program, dir, bucket string) (url string, stop func(), err error) {
	if err := os.MkdirAll(filepath.Join(dir, bucket), 0o755); err != nil {
		return "", nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "--port", addr, "--access", AccessKey, "--secret", SecretKey, "posix", dir)
	stop = func() {
		cancel()
		_ = cmd.Wait()
	}
	if err := cmd.Start(); err != nil {
		cancel()
		return "", nil, err
	}
	for range 200 {
		if resp, err := http.Get("http://" + addr + "/"); err == nil {
			resp.Body.Close()
			return "http://" + addr, stop, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return "", nil, fmt.Errorf("%s does not answer", program)
}

// DamageFiles changes a byte in each file below dir that is in a folder of one of the names.
func DamageFiles(dir string, folders ...string) func(*testing.T) {
	return func(t *testing.T) {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() || !slices.Contains(folders, filepath.Base(filepath.Dir(path))) {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil || strings.HasPrefix(e.Name(), ".") {
				return err
			}
			data = bytes.Clone(data)
			data[len(data)/2] ^= 1
			return os.WriteFile(path, data, 0o644)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
