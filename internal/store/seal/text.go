package seal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
)

// SealText appends the seal of a small text to it, on a line of its own. name is what the text is of: under another
// name it is none.
func SealText(text []byte, name string) []byte {
	sum := sumOfText(text, name)
	return append(append(bytes.Clone(text), '\n'), sum...)
}

// OpenText returns a text that SealText sealed under a name; ok is false if it is not as it was, or has no seal.
func OpenText(sealed []byte, name string) (text []byte, ok bool) {
	at := bytes.LastIndexByte(sealed, '\n')
	if at < 0 || !bytes.Equal(sealed[at+1:], sumOfText(sealed[:at], name)) {
		return nil, false
	}
	return sealed[:at], true
}

func sumOfText(text []byte, name string) []byte {
	h := sha256.New()
	h.Write([]byte("strata seal of text 1\n" + name + "\n"))
	h.Write(text)
	return hex.AppendEncode(nil, h.Sum(nil)[:16])
}
