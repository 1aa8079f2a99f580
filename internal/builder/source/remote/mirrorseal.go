package remote

import (
	"context"
	"os"
	"path/filepath"

	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/store/seal"
)

// git compares no object with its name when it lays out a commit. So a mirror is sealed after each fetch; one that is
// not as it was sealed is checked by git fsck, which reads all of it, and set aside if anything is wrong.

// sealName is the file with the seal of the mirror.
func (m *mirror) sealName() string { return m.dir + ".seal" }

// sum is the seal of the mirror as it is.
func (m *mirror) sum() (seal.Seals, error) {
	name := filepath.Base(m.dir)
	sum, err := seal.Of(m.dir, m.url+" "+name)
	return seal.Seals{name: sum}, err
}

// seal seals the mirror. One that cannot be sealed is checked by the next build.
func (m *mirror) seal() error {
	now, err := m.sum()
	if err != nil {
		return err
	}
	return m.putSeal(now)
}

func (m *mirror) putSeal(now seal.Seals) error {
	temporary := filepath.Join(filepath.Dir(m.dir), ".seal")
	if err := now.Write(temporary); err != nil {
		return err
	}
	return os.Rename(temporary, m.sealName())
}

// trust sees to it that the mirror, if there is one, is as it was fetched, and sets it aside otherwise.
func (m *mirror) trust(ctx context.Context) error {
	if !disk.Exists(m.dir) {
		return nil
	}
	now, err := m.sum()
	if err != nil {
		return err
	}
	was, name := seal.Read(m.sealName()), filepath.Base(m.dir)
	if was[name] == now[name] && !m.fetcher.Distrust {
		return nil
	}
	if _, err := m.run(ctx, "fsck", "--full", "--no-dangling", "--no-progress"); err == nil {
		return m.putSeal(now)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m.fetcher.Store.Note("what was fetched of the git repository " + m.url + " was damaged and is fetched again")
	trash, err := m.fetcher.Store.Trash()
	if err != nil {
		return err
	}
	if err := trash.Take(m.dir); err != nil {
		return err
	}
	return trash.Close()
}
