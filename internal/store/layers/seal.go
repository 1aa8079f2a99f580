package layers

import (
	"context"
	"maps"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/strata-build/strata/internal/layer"
	"github.com/strata-build/strata/internal/store/disk"
	"github.com/strata-build/strata/internal/store/seal"
)

// A layer's folder has a file "seal", by which a process sees, before it uses a form for the first time, whether
// somebody has written to it since it was made or verified (package seal). A form that is as it was sealed is trusted.
// Another one, or one without a seal, as in a copy of a store, is verified down to its bytes, and sealed or set aside.
//
// A table of contents is sealed by its bytes, which are read anyway; a tar and a tree by what the kernel keeps of them.

// The forms of a layer that lie in its folder, and its table of contents, by the names of their files.
const (
	formTOC  = "toc"
	formTar  = "tar"
	formTree = "fs"
)

const sealFile = "seal"

// sealOf is the seal of a form of a layer, which is in dir.
func (ls *Layers) sealOf(dir string, diffID digest.Digest, form string) (seal.Sum, error) {
	path, name := filepath.Join(dir, form), string(diffID)+" "+form
	switch {
	case form == formTOC:
		return seal.OfContents(path, name)
	case form == formTar && tarPathIn(dir) != path:
		return ls.sealOfDelta(dir, diffID)
	}
	return seal.Of(path, name)
}

// sealForms seals the forms of a layer that are in dir. What cannot be sealed is left out.
func (ls *Layers) sealForms(dir string, diffID digest.Digest) seal.Seals {
	seals := seal.Seals{}
	for _, form := range []string{formTOC, formTar, formTree} {
		if sum, err := ls.sealOf(dir, diffID, form); err == nil {
			seals[form] = sum
		}
	}
	return seals
}

// asSealed says whether a form of a layer is as it was when it was sealed. A process looks once.
func (ls *Layers) asSealed(diffID digest.Digest, form string) (bool, error) {
	return ls.memory.trusted(diffID, form, func() (bool, error) {
		want := seal.Read(ls.Path(diffID, sealFile))[form]
		if want == "" {
			return false, nil
		}
		got, err := ls.sealOf(ls.Path(diffID), diffID, form)
		if disk.IsLocal(err) {
			return false, err
		}
		return err == nil && got == want, nil
	})
}

// trust sees to it that a form of the layer, if it is here, can be relied on: one that is not as it was sealed is
// verified, and sealed, or set aside. It says whether the form is here then.
func (l *Layer) trust(ctx context.Context, form string) (here bool, err error) {
	ls := l.layers
	if ok, err := ls.usable(l.DiffID, form); ok || err != nil {
		return ok, err
	}
	if form == formTar {
		if err := l.trustBase(ctx); err != nil {
			return false, err
		}
	}
	unlock := ls.memory.lock(l.DiffID)
	defer unlock()
	if !disk.Exists(ls.formPath(l.DiffID, form)) {
		return false, nil
	}
	if ok, err := ls.usable(l.DiffID, form); ok || err != nil {
		return ok, err
	}
	if form == formTOC && ls.trustTOC(l.DiffID) {
		return true, nil
	}
	if _, err := ls.mend(ctx, l.DiffID); err != nil {
		return false, err
	}
	return ls.has(l.DiffID, form), nil
}

// usable says whether a form of a layer is as it was sealed, and here. The base of a delta may have been set aside
// since this process looked at the seal.
func (ls *Layers) usable(diffID digest.Digest, form string) (bool, error) {
	ok, err := ls.asSealed(diffID, form)
	if ok && form == formTar && !ls.has(diffID, form) {
		ls.memory.forget(diffID)
		ok = false
	}
	return ok, err
}

// trustBase is trust of the tar that the layer's tar is a delta of, if it is one.
func (l *Layer) trustBase(ctx context.Context) error {
	d, err := l.layers.delta(l.DiffID)
	if err != nil || d == nil {
		return nil // a delta that cannot be read is damaged
	}
	base := &Layer{DiffID: d.Base, layers: l.layers}
	if !base.inFolder() {
		return nil
	}
	_, err = base.trust(ctx, formTar)
	return err
}

// mendBase is mend of the layer that a delta is of, which was found damaged: the base may be why, and would be taken
// for the next delta again.
func (ls *Layers) mendBase(ctx context.Context, d *layer.TarDelta) error {
	if d == nil || !disk.Exists(ls.Path(d.Base)) {
		return nil
	}
	unlock := ls.memory.lock(d.Base)
	defer unlock()
	_, err := ls.mend(ctx, d.Base)
	return err
}

// trustTOC seals a table of contents that has the content ID that is known of the layer.
func (ls *Layers) trustTOC(diffID digest.Digest) bool {
	sum, err := ls.sealOf(ls.Path(diffID), diffID, formTOC)
	if err != nil {
		return false
	}
	want, err := ls.contentID(diffID)
	if err != nil || want == "" {
		return false
	}
	if _, err := ls.verifyTOC(diffID, want); err != nil {
		return false
	}
	ls.sealVerified(diffID, seal.Seals{formTOC: sum})
	return true
}

// mend verifies a layer that is here, sets aside what is damaged of it, and seals the rest. It returns what was
// damaged, nil if nothing was.
func (ls *Layers) mend(ctx context.Context, diffID digest.Digest) (*Damage, error) {
	// What is written from here on makes the seal a wrong one.
	seals := ls.sealForms(ls.Path(diffID), diffID)
	of, _ := ls.delta(diffID)
	damage, err := ls.setAsideDamaged(ctx, diffID)
	if damage != nil && err == nil {
		err = ls.mendBase(ctx, of)
	}
	if err != nil || damage != nil && damage.Whole {
		return damage, err
	}
	if damage != nil {
		for _, form := range damage.Forms {
			delete(seals, form)
		}
		if sum, err := ls.sealOf(ls.Path(diffID), diffID, formTOC); err == nil {
			seals[formTOC] = sum // it may have been made again
		}
	}
	ls.sealVerified(diffID, seals)
	return damage, nil
}

// sealVerified seals forms that turned out to be right. Nobody knows whether their bytes are on the disk, and a seal
// must not be there before them. A store that cannot be written to has no seal: the next process verifies the forms
// again.
func (ls *Layers) sealVerified(diffID digest.Digest, seals seal.Seals) {
	if err := ls.session.MarkUnsynced(ls.Path(diffID)); err == nil {
		_ = ls.putSeals(diffID, seals)
	}
	ls.trustAll(diffID, seals)
}

// trustAll notes that this process can rely on forms.
func (ls *Layers) trustAll(diffID digest.Digest, seals seal.Seals) {
	for form := range seals {
		ls.memory.trust(diffID, form)
	}
}

// putSeals writes seals beside those that the layer has.
func (ls *Layers) putSeals(diffID digest.Digest, seals seal.Seals) error {
	path := ls.Path(diffID, sealFile)
	all := seal.Read(path)
	if all == nil {
		all = seal.Seals{}
	}
	maps.Copy(all, seals)
	return ls.placeSeals(all, path)
}

func (ls *Layers) placeSeals(seals seal.Seals, path string) error {
	dir, err := ls.session.Temp("seal")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, sealFile)
	if err := seals.Write(name); err != nil {
		return err
	}
	return os.Rename(name, path)
}
