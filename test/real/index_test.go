package real

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
)

const moneySource = `"""Amounts of money, to the cent."""

from decimal import Decimal


class Money(Decimal):
    def __add__(self, other):
        return Money(super().__add__(other))
`

// moneyWheel is the package acme-money as pip installs it.
func moneyWheel() ([]byte, error) {
	const info = "acme_money-1.4.0.dist-info/"
	files := []struct{ name, text string }{
		{"acme_money.py", moneySource},
		{info + "METADATA", "Metadata-Version: 2.1\nName: acme-money\nVersion: 1.4.0\n"},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: acme\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
	}
	var wheel bytes.Buffer
	archive := zip.NewWriter(&wheel)
	record := ""
	add := func(name, text string) error {
		file, err := archive.Create(name)
		if err != nil {
			return err
		}
		_, err = io.WriteString(file, text)
		return err
	}
	for _, file := range files {
		digest := sha256.Sum256([]byte(file.text))
		record += fmt.Sprintf("%s,sha256=%s,%d\n", file.name, base64.RawURLEncoding.EncodeToString(digest[:]), len(file.text))
		if err := add(file.name, file.text); err != nil {
			return nil, err
		}
	}
	if err := add(info+"RECORD", record+info+"RECORD,,\n"); err != nil {
		return nil, err
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return wheel.Bytes(), nil
}

// privateIndex starts a package index that asks for a password, and gives the build what opens it.
func privateIndex(b *bench) []string {
	const wheelName, user = "acme_money-1.4.0-py3-none-any.whl", "ci"
	b.secret = rand.Text()
	wheel, err := moneyWheel()
	check(b.t, err)
	served := false
	mux := http.NewServeMux()
	mux.HandleFunc("/simple/acme-money/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `<!DOCTYPE html><a href="/files/%s">%s</a>`, wheelName, wheelName)
	})
	mux.HandleFunc("/files/"+wheelName, func(w http.ResponseWriter, _ *http.Request) {
		served = true
		w.Write(wheel)
	})
	index := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, password, ok := r.BasicAuth()
		if !ok || name != user || subtle.ConstantTimeCompare([]byte(password), []byte(b.secret)) != 1 {
			w.Header().Set("WWW-Authenticate", `Basic realm="packages"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	b.t.Cleanup(func() {
		index.Close()
		if !served {
			b.t.Error("nothing was fetched from the private index")
		}
	})
	netrc := filepath.Join(b.t.TempDir(), "netrc")
	check(b.t, os.WriteFile(netrc, fmt.Appendf(nil, "machine 127.0.0.1\nlogin %s\npassword %s\n", user, b.secret), 0o600))
	return []string{"--secret", "id=netrc,src=" + netrc, "--build-arg", "INDEX_URL=" + index.URL + "/simple/"}
}

// findsNothing looks for a secret in the image as it is saved, in the store with all of its layers, records and cache
// mounts, and in what the builds printed; as it is, in hexadecimal and as a header of HTTP has it.
func (b *bench) findsNothing(what, secret string) {
	b.t.Helper()
	needles := [][]byte{[]byte(secret), []byte(hex.EncodeToString([]byte(secret)))}
	for shift := range 3 { // where in a group of three bytes it begins decides how base64 looks
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("-", shift) + secret))
		needles = append(needles, []byte(text[4:len(text)-4]))
	}
	look := func(where string, data []byte) {
		for _, needle := range needles {
			if bytes.Contains(data, needle) {
				b.t.Errorf("the %s is in %s", what, where)
			}
		}
	}
	look("what the builds printed", []byte(b.logs.String()))
	saved := filepath.Join(b.t.TempDir(), "saved.tar")
	command(b.t, "", "strata", "save", "-o", saved, b.image)
	for _, root := range []string{saved, b.store} {
		check(b.t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			look(path, data)
			if unpacked, err := gzip.NewReader(bytes.NewReader(data)); err == nil {
				if data, err := io.ReadAll(unpacked); err == nil {
					look(path+", unpacked", data)
				}
			}
			return nil
		}))
	}
}
