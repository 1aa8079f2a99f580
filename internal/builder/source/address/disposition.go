package address

import (
	"mime"
	"path/filepath"
	"strings"
)

// DispositionName is the file name that a Content-Disposition header gives (RFC 6266), without any directory; "" if it
// gives none.
func DispositionName(header string) string {
	_, params, err := mime.ParseMediaType(header)
	if err != nil {
		return ""
	}
	name := params["filename"]
	if name == "" || strings.HasSuffix(name, "/") {
		return ""
	}
	return safeName(filepath.Base(name))
}
