package sbom

import (
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

// knownLicences are identifiers of SPDX's list (spdx.org/licenses): those that packages name most. Others are given as
// references with their text.
var knownLicences = sync.OnceValue(func() map[string]bool {
	known := map[string]bool{}
	for id := range strings.FieldsSeq(`0BSD AFL-2.1 AGPL-3.0 AGPL-3.0-only AGPL-3.0-or-later Apache-1.1 Apache-2.0 Artistic-1.0 Artistic-1.0-Perl Artistic-2.0
		BSD-1-Clause BSD-2-Clause BSD-2-Clause-Patent BSD-3-Clause BSD-3-Clause-Clear BSD-4-Clause BSL-1.0 BlueOak-1.0.0 CC-BY-3.0
		CC-BY-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0 CC0-1.0 CDDL-1.0 CDDL-1.1 CPL-1.0 ECL-2.0 EPL-1.0 EPL-2.0 EUPL-1.1 EUPL-1.2 FTL
		GFDL-1.1-or-later GFDL-1.2-only GFDL-1.2-or-later GFDL-1.3-only GFDL-1.3-or-later GPL-1.0-only GPL-1.0-or-later GPL-2.0
		GPL-2.0+ GPL-2.0-only GPL-2.0-or-later GPL-3.0 GPL-3.0+ GPL-3.0-only GPL-3.0-or-later HPND ICU IJG ISC JSON LGPL-2.0-only
		LGPL-2.0-or-later LGPL-2.1 LGPL-2.1+ LGPL-2.1-only LGPL-2.1-or-later LGPL-3.0 LGPL-3.0+ LGPL-3.0-only LGPL-3.0-or-later
		LPL-1.02 Libpng MIT MIT-0 MIT-CMU MPL-1.0 MPL-1.1 MPL-2.0 MS-PL NCSA NTP OFL-1.1 OLDAP-2.8 OpenSSL PHP-3.01 PSF-2.0
		PostgreSQL Python-2.0 Python-2.0.1 Ruby SGI-B-2.0 SMLNJ SSPL-1.0 Sleepycat TCL UPL-1.0 Unicode-3.0 Unicode-DFS-2016 Unlicense
		Vim W3C WTFPL X11 XFree86-1.1 ZPL-2.1 Zlib bzip2-1.0.6 curl libtiff zlib-acknowledgement`) {
		known[id] = true
	}
	return known
})

// expression says whether a licence as a package names it is an SPDX expression (SPDX 2.3, annex D) of known licences.
func expression(text string) bool {
	open, operand := 0, true
	for word := range strings.FieldsSeq(strings.NewReplacer("(", " ( ", ")", " ) ").Replace(text)) {
		switch {
		case word == "(" && operand:
			open++
		case word == ")" && !operand && open > 0:
			open--
		case !operand && (word == "AND" || word == "OR"):
			operand = true
		case operand && knownLicences()[word]:
			operand = false
		default:
			return false
		}
	}
	return !operand && open == 0
}

// reference is an identifier for a licence that is no expression (SPDX 2.3, 10.1: letters, digits, "." and "-").
func reference(text string) string {
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.':
			b.WriteByte(c)
		default:
			b.WriteByte('-')
		}
		if b.Len() == 40 {
			break
		}
	}
	return "LicenseRef-" + b.String() + "-" + digest.FromString(text).Encoded()[:8]
}
