package anatomy

import (
	"fmt"
	"io"

	"github.com/strata-build/strata/internal/layer"
)

// verified reads a file and compares its digest at the end.
func verified(r io.ReadCloser, e *layer.Entry) io.ReadCloser {
	return layer.Verified(r, e, func(*layer.DamageError) error {
		return fmt.Errorf("/%s: its contents do not match the layer's table of contents; the layer was changed or is damaged: get the image again", e.Path)
	})
}
