package equal

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"
)

// An image as `docker save` writes it, with its layers laid over each other.
type image struct {
	config config
	tree   tree

	rawConfig json.RawMessage
	history   []string // the rows' texts
}

// config is what the two configs have to agree on.
type config struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Config       struct {
		User         string
		ExposedPorts map[string]struct{}
		Env          []string
		Entrypoint   []string
		Cmd          []string
		Volumes      map[string]struct{}
		WorkingDir   string
		Labels       map[string]string
		StopSignal   string
		Healthcheck  *struct {
			Test                           []string
			Interval, Timeout, StartPeriod int64
			Retries                        int
		}
		Shell   []string
		OnBuild []string
	} `json:"config"`
	History []struct {
		CreatedBy  instruction `json:"created_by"`
		Comment    string      `json:"comment"`
		EmptyLayer bool        `json:"empty_layer"`
	} `json:"history"`

	// What two builders do not have in common.
	RootFS struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

// instruction is the first word of a history row. How the rest is written changes from one BuildKit to the
// next: of "EXPOSE 80" Docker 20.10 makes "EXPOSE map[80/tcp:{}]", later ones make "EXPOSE [80/tcp]".
type instruction string

// UnmarshalText takes the first word.
func (i *instruction) UnmarshalText(text []byte) error {
	word, _, _ := strings.Cut(string(text), " ")
	*i = instruction(word)
	return nil
}

// tree is a file system: cleaned path to what is there.
type tree map[string]node

// node has everything but times, which no two builds share. A hard link is what it points at. What has no capital is not
// compared with Docker.
type node struct {
	Type   string
	Mode   int64
	UID    int
	GID    int
	Size   int64
	Digest string
	Link   string
	Device string
	Xattrs map[string]string
	Linked string // the first name of a file that has several, which are hard links of each other

	modTime time.Time
	text    string // of a file that has no more than maxText bytes
}

// maxText is how much of a file's contents an expected listing can show.
const maxText = 200

var types = map[byte]string{
	tar.TypeReg: "file", tar.TypeDir: "directory", tar.TypeSymlink: "symlink",
	tar.TypeChar: "character device", tar.TypeBlock: "block device", tar.TypeFifo: "fifo",
}

// readImage reads an archive of one image.
func readImage(file string) (*image, error) {
	var manifest []struct {
		Config string
		Layers []string
	}
	if err := readJSON(file, "manifest.json", &manifest); err != nil {
		return nil, err
	}
	if len(manifest) != 1 {
		return nil, fmt.Errorf("%s: %d images instead of one", file, len(manifest))
	}
	image := &image{tree: tree{}}
	if err := readJSON(file, manifest[0].Config, &image.rawConfig); err != nil {
		return nil, err
	}
	if err := image.readConfig(); err != nil {
		return nil, err
	}
	for _, layer := range manifest[0].Layers {
		err := member(file, layer, func(r io.Reader) error { return image.tree.apply(r) })
		if err != nil {
			return nil, err
		}
	}
	return image, nil
}

func (image *image) readConfig() error {
	if err := json.Unmarshal(image.rawConfig, &image.config); err != nil {
		return err
	}
	var texts struct {
		History []struct {
			CreatedBy string `json:"created_by"`
		}
	}
	if err := json.Unmarshal(image.rawConfig, &texts); err != nil {
		return err
	}
	for _, h := range texts.History {
		image.history = append(image.history, h.CreatedBy)
	}
	return nil
}

func readJSON(file, name string, value any) error {
	return member(file, name, func(r io.Reader) error { return json.NewDecoder(r).Decode(value) })
}

// member reads one file of a tar. Docker's archives name a layer that two images share by a link.
func member(file, name string, read func(io.Reader) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		header, err := r.Next()
		if err != nil {
			return fmt.Errorf("%s: %s: %w", file, name, err)
		}
		if path.Clean(header.Name) != path.Clean(name) {
			continue
		}
		if header.Typeflag == tar.TypeSymlink {
			return member(file, path.Join(path.Dir(name), header.Linkname), read)
		}
		if err := read(r); err != nil {
			return fmt.Errorf("%s: %s: %w", file, name, err)
		}
		return nil
	}
}

// apply lays a layer over the tree, by the rules of the OCI image specification, "Image layer filesystem
// changeset": whiteouts act on the layers below, not on the one that they are in.
func (t tree) apply(layer io.Reader) error {
	above := tree{}
	for r := tar.NewReader(layer); ; {
		header, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		name := path.Clean("/" + header.Name)
		dir, base := path.Split(name)
		if base == ".wh..wh..opq" {
			t.remove(path.Clean(dir), false)
			continue
		}
		if hidden, ok := strings.CutPrefix(base, ".wh."); ok {
			t.remove(path.Join(dir, hidden), true)
			continue
		}
		n, err := newNode(header, r)
		if err != nil {
			return err
		}
		if header.Typeflag == tar.TypeLink {
			target := path.Clean("/" + header.Linkname)
			if n = above[target]; n.Type == "" {
				n = t[target]
			}
			if n.Linked == "" {
				n.Linked = target
				above[target] = n
			}
		}
		if n.Type != "directory" {
			t.remove(name, false)
		}
		above[name] = n
	}
	linked := map[string]string{}
	for name, n := range above {
		if id := n.Linked; id != "" && (linked[id] == "" || name < linked[id]) {
			linked[id] = name
		}
	}
	for name, n := range above {
		n.Linked = linked[n.Linked]
		t[name] = n
	}
	return nil
}

// remove takes away what lies below a path and, if it is asked to, the path itself.
func (t tree) remove(name string, itself bool) {
	for other := range t {
		if strings.HasPrefix(other, strings.TrimSuffix(name, "/")+"/") && other != "/" || itself && other == name {
			delete(t, other)
		}
	}
}

func newNode(header *tar.Header, content io.Reader) (node, error) {
	n := node{
		Type: types[header.Typeflag],
		Mode: header.Mode & 0o7777,
		UID:  header.Uid,
		GID:  header.Gid,
		Size: header.Size,
		Link: header.Linkname,

		modTime: header.ModTime,
	}
	for key, value := range header.PAXRecords {
		if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
			if n.Xattrs == nil {
				n.Xattrs = map[string]string{}
			}
			n.Xattrs[name] = hex.EncodeToString([]byte(value))
		}
	}
	switch header.Typeflag {
	case tar.TypeReg:
		hash := sha256.New()
		var text bytes.Buffer
		if _, err := io.Copy(io.MultiWriter(hash, &text), content); err != nil {
			return n, err
		}
		if n.text = ""; text.Len() <= maxText {
			n.text = text.String()
		}
		n.Digest = hex.EncodeToString(hash.Sum(nil))
	case tar.TypeChar, tar.TypeBlock:
		n.Device = fmt.Sprintf("%d:%d", header.Devmajor, header.Devminor)
	}
	return n, nil
}
