package testbed

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/strata-build/strata/internal/layer/erofs"
)

// FormVariable says in which forms strata mounts layers (docs/store.md, Forms). A test that gives strata an environment
// of its own passes it on.
const FormVariable = "STRATA_LAYER_FORM"

// CheckForm returns an error if FormVariable asks for a form in which no layer of a store is, or for trees and there is
// an index. Steps ran in the store on several layers that have tars. A machine that cannot mount indexes lays out trees
// in their place: a test of indexes would test nothing there.
func CheckForm(root string) error {
	indexes, merged, err := countIndexes(root)
	if err != nil {
		return err
	}
	form := os.Getenv(FormVariable)
	good := true
	switch form {
	case "tree":
		good = indexes+merged == 0
	case "erofs":
		good = indexes > 0 && merged == 0
	case "merged":
		good = merged > 0
	}
	if !good {
		return fmt.Errorf("%s=%s, and the store has %d indexes of a layer and %d of several", FormVariable, form, indexes, merged)
	}
	return nil
}

// countIndexes counts the indexes of a store that are of one layer, and those that are of several.
func countIndexes(root string) (one, several int, err error) {
	for _, pattern := range []string{"erofs", "merged-*"} {
		paths, err := filepath.Glob(filepath.Join(root, "layers", "*", pattern))
		if err != nil {
			return 0, 0, err
		}
		for _, path := range paths {
			devices, err := devicesOf(path)
			if err != nil {
				return 0, 0, err
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), "delta")); err == nil {
				devices-- // the delta's base
			}
			if devices > 1 {
				several++
			} else {
				one++
			}
		}
	}
	return one, several, nil
}

// devicesOf is how many files an index has the contents of files in.
func devicesOf(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	devices, err := erofs.Devices(f)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return len(devices), nil
}
