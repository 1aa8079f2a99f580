package packages

import (
	"archive/zip"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// What is read of Java archives at most: how deep one in another, what archives in archives have together when unpacked, the
// list of files of one, and a text in it; in bytes.
const (
	maxNested    = 4
	maxUnpacked  = 256 << 20
	maxDirectory = 16 << 20
	maxText      = 1 << 20
)

func isJavaArchive(base string) bool {
	switch path.Ext(base) {
	case ".jar", ".war", ".ear", ".hpi", ".jpi", ".par":
		return true
	}
	return false
}

// readJava reads a Java archive: the pom.properties that Maven puts into it, else its manifest and its name; and the archives
// in it, as those of Spring Boot and of servlet containers have them.
func readJava(in *input) ([]Package, error) {
	r, size, err := in.anywhere()
	if err != nil {
		return nil, err
	}
	j := &javaReader{left: maxUnpacked}
	err = j.archive(r, size, path.Base(in.path), 1)
	return j.list, err
}

// javaReader reads an archive and those in it.
type javaReader struct {
	list []Package
	left int64 // of what may be unpacked
}

func (j *javaReader) archive(r io.ReaderAt, size int64, name string, depth int) error {
	z, err := OpenZip(r, size, maxDirectory)
	if err != nil {
		return err
	}
	manifest, known := map[string]string{}, false // known: Maven says what the archive itself is
	stem := strings.TrimSuffix(name, path.Ext(name))
	for _, f := range z.File {
		switch {
		case path.Base(f.Name) == "pom.properties" && strings.HasPrefix(f.Name, "META-INF/maven/"):
			var artifact string
			artifact, err = j.pom(f)
			known = known || artifact != "" && (stem == artifact || strings.HasPrefix(stem, artifact+"-"))
		case f.Name == "META-INF/MANIFEST.MF":
			manifest, err = j.properties(f, ": ")
		case isJavaArchive(path.Base(f.Name)) && depth < maxNested:
			err = j.nested(f, depth)
		}
		if err != nil {
			return fmt.Errorf("%q in it: %w", f.Name, err)
		}
	}
	if p, ok := ofManifest(manifest, stem); ok && !known {
		j.list = append(j.list, p)
	}
	return nil
}

// pom reads groupId, artifactId and version, and returns the artifactId; "" of an archive of which not all three are known.
func (j *javaReader) pom(f *zip.File) (string, error) {
	v, err := j.properties(f, "=")
	if err != nil {
		return "", err
	}
	if v["groupId"] == "" || v["artifactId"] == "" || v["version"] == "" {
		return "", nil
	}
	j.list = append(j.list, Package{Manager: "java", Name: v["groupId"] + ":" + v["artifactId"], Version: v["version"]})
	return v["artifactId"], nil
}

// properties reads lines of a key and a value. Of a manifest the sections behind the first are left out, and a line that goes
// on is cut: no name or version is that long.
func (j *javaReader) properties(f *zip.File, sep string) (map[string]string, error) {
	data, err := j.read(f, maxText)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxText)
	for lines.Scan() {
		line := lines.Text()
		if line == "" && sep == ": " {
			break
		}
		if key, value, ok := strings.Cut(line, sep); ok {
			values[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return values, lines.Err()
}

// read unpacks a file of an archive, of no more than most bytes.
func (j *javaReader) read(f *zip.File, most int64) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	most = min(most, j.left)
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, errors.New("it is too large, or there are too many archives in archives")
	}
	j.left -= int64(len(data))
	return data, nil
}

func (j *javaReader) nested(f *zip.File, depth int) error {
	if f.FileInfo().IsDir() {
		return nil
	}
	data, err := j.read(f, maxFile)
	if err != nil {
		return err
	}
	return j.archive(bytes.NewReader(data), int64(len(data)), path.Base(f.Name), depth+1)
}

// ofManifest tells of an archive without Maven's files, by its manifest (JAR specification, "Main Attributes"; OSGi's bundles) and
// by its name without the ending.
func ofManifest(m map[string]string, stem string) (Package, bool) {
	artifact, version, _ := cutVersion(stem)
	for _, key := range []string{"Implementation-Version", "Bundle-Version", "Specification-Version"} {
		if version == "" {
			version = m[key]
		}
	}
	if artifact == "" {
		artifact = stem
	}
	group := m["Implementation-Vendor-Id"]
	if symbolic, _, _ := strings.Cut(m["Bundle-SymbolicName"], ";"); group == "" && strings.HasSuffix(symbolic, "."+artifact) {
		group = strings.TrimSuffix(symbolic, "."+artifact)
	}
	if version == "" || strings.Contains(version, "${") || artifact == "" {
		return Package{}, false
	}
	if group != "" {
		artifact = group + ":" + artifact
	}
	return Package{Manager: "java", Name: artifact, Version: version}, true
}
