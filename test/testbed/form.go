package testbed

import (
	"fmt"
	"os"
	"path/filepath"
)

// FormVariable says in which forms strata mounts layers (docs/store.md, Forms). A test that gives strata an environment
// of its own passes it on.
const FormVariable = "STRATA_LAYER_FORM"

// CheckForm returns an error if the layers of a store, in which steps ran on more than one of them, are in other forms
// than FormVariable asks for: a machine that cannot mount indexes lays trees out, and a test of indexes there tests nothing.
func CheckForm(root string) error {
	form := os.Getenv(FormVariable)
	for _, index := range []struct{ form, files string }{{"erofs", "erofs"}, {"merged", "merged-*"}} {
		found, err := filepath.Glob(filepath.Join(root, "layers", "*", index.files))
		if err != nil {
			return err
		}
		if form == index.form && len(found) == 0 {
			return fmt.Errorf("%s=%s, and no layer has %s: this machine does not mount them", FormVariable, form, index.files)
		}
		if form == "tree" && len(found) > 0 {
			return fmt.Errorf("%s=%s, and %s is there", FormVariable, form, found[0])
		}
	}
	return nil
}
