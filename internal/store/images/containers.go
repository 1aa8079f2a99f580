package images

import (
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/store/db"
)

// Container is what `strata create` makes: a name for an image and a command, by which files are copied out. It keeps the
// image here. Nothing runs in it, and it has no files of its own.
type Container struct {
	ID      string // 64 hexadecimal digits, as docker's
	Name    string
	Image   digest.Digest
	Text    string   // how the person named the image
	Command []string // instead of the image's, if not empty
	Created time.Time
}

// ErrNameTaken says that another container has the name.
var ErrNameTaken = errors.New("another container has this name")

// NewContainerID returns an ID that no container has.
func NewContainerID() string {
	var id [32]byte
	rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// PutContainer adds a container. Its error is ErrNameTaken where there is one of that name, db.ErrNotFound where its image
// is gone.
func (im *Images) PutContainer(c Container) error {
	command, err := json.Marshal(c.Command)
	if err != nil {
		return err
	}
	err = im.db.Tx(func(tx *sql.Tx) error {
		var taken, there bool
		if err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM containers WHERE name = ?1), EXISTS (SELECT 1 FROM configs WHERE id = ?2)`,
			c.Name, c.Image).Scan(&taken, &there); err != nil {
			return err
		}
		switch {
		case taken:
			return ErrNameTaken
		case !there:
			return fmt.Errorf("image %s: %w", c.Text, db.ErrNotFound)
		}
		_, err := tx.Exec("INSERT INTO containers (id, name, image, text, command, created) VALUES (?, ?, ?, ?, ?, ?)",
			c.ID, c.Name, c.Image, c.Text, command, c.Created.UnixMilli())
		return err
	})
	if err != nil {
		return fmt.Errorf("creating the container %s: %w", c.Name, err)
	}
	im.db.Promise()
	return nil
}

// Containers lists the containers, the last created first.
func (im *Images) Containers() ([]Container, error) {
	rows, err := im.db.Query("SELECT id, name, image, text, command, created FROM containers ORDER BY created DESC, id")
	all, err := db.Rows(rows, err, func(rows *sql.Rows) (c Container, err error) {
		var command []byte
		var created int64
		if err := rows.Scan(&c.ID, &c.Name, &c.Image, &c.Text, &command, &created); err != nil {
			return c, err
		}
		c.Created = time.UnixMilli(created)
		return c, json.Unmarshal(command, &c.Command)
	})
	if err != nil {
		return nil, fmt.Errorf("listing the containers: %w", err)
	}
	return all, nil
}

// FindContainer returns the container with a name, an ID, or the beginning of an ID; db.ErrNotFound if there is none.
func (im *Images) FindContainer(text string) (*Container, error) {
	all, err := im.Containers()
	if err != nil {
		return nil, err
	}
	var found []*Container
	for i := range all {
		switch c := &all[i]; {
		case c.Name == text || c.ID == text:
			return c, nil
		case text != "" && strings.HasPrefix(c.ID, text):
			found = append(found, c)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("container %s: %w", text, db.ErrNotFound)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("the container ID %s is ambiguous: %d begin like it; type more of it", text, len(found))
}

// RemoveContainer removes a container. The image stays.
func (im *Images) RemoveContainer(id string) error {
	if _, err := im.db.Exec("DELETE FROM containers WHERE id = ?", id); err != nil {
		return fmt.Errorf("removing the container %s: %w", id, err)
	}
	return nil
}
