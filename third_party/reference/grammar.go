package reference

import "strings"

// The grammar is that of the OCI distribution specification, as Docker has it:
//
//	reference = name [ ":" tag ] [ "@" digest ]
//	name      = [ host [ ":" port ] "/" ] component { "/" component }
//	component = words of a-z0-9 with ".", "_", "__" or any number of "-" between them

func isLower(c byte) bool    { return 'a' <= c && c <= 'z' }
func isUpper(c byte) bool    { return 'A' <= c && c <= 'Z' }
func isLetter(c byte) bool   { return isLower(c) || isUpper(c) }
func isDecimal(c byte) bool  { return '0' <= c && c <= '9' }
func isHex(c byte) bool      { return isLowerHex(c) || 'A' <= c && c <= 'F' }
func isLowerHex(c byte) bool { return isDecimal(c) || 'a' <= c && c <= 'f' }

// all says whether s is not empty and has only bytes that is takes.
func all(s string, is func(byte) bool) bool {
	for i := range len(s) {
		if !is(s[i]) {
			return false
		}
	}
	return s != ""
}

// isIdentifier says whether s could be the ID of an image.
func isIdentifier(s string) bool { return len(s) == 64 && all(s, isLowerHex) }

// isHost says whether s is a host, by name or by address, with a port or without.
func isHost(s string) bool {
	if strings.HasPrefix(s, "[") {
		address, rest, closed := strings.Cut(s[1:], "]")
		port, hasPort := strings.CutPrefix(rest, ":")
		return closed && all(address, func(c byte) bool { return isHex(c) || c == ':' }) && (rest == "" || hasPort && all(port, isDecimal))
	}
	name, port, hasPort := strings.Cut(s, ":")
	if hasPort && !all(port, isDecimal) {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if !all(label, func(c byte) bool { return isLetter(c) || isDecimal(c) || c == '-' }) || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}

// isPath says whether s is one component or several.
func isPath(s string) bool {
	for component := range strings.SplitSeq(s, "/") {
		if !isComponent(component) {
			return false
		}
	}
	return true
}

func isComponent(s string) bool {
	for {
		n := 0
		for n < len(s) && (isLower(s[n]) || isDecimal(s[n])) {
			n++
		}
		switch s = s[n:]; {
		case n == 0:
			return false
		case s == "":
			return true
		case s[0] == '-':
			s = strings.TrimLeft(s, "-")
		case strings.HasPrefix(s, "__"):
			s = s[2:]
		case s[0] == '.' || s[0] == '_':
			s = s[1:]
		default:
			return false
		}
	}
}

// splitName takes a name apart into host, "" without one, and path.
func splitName(s string) (host, path string, ok bool) {
	if host, path, ok = strings.Cut(s, "/"); ok && isHost(host) && isPath(path) {
		return host, path, true
	}
	return "", s, isPath(s)
}

func isTag(s string) bool {
	word := func(c byte) bool { return isLetter(c) || isDecimal(c) || c == '_' }
	return len(s) <= 128 && all(s, func(c byte) bool { return word(c) || c == '.' || c == '-' }) && word(s[0])
}

// isDigest says whether s has the form of a digest, whatever its algorithm.
func isDigest(s string) bool {
	algorithm, hex, ok := strings.Cut(s, ":")
	if !ok || len(hex) < 32 || !all(hex, isHex) {
		return false
	}
	for part := range strings.FieldsFuncSeq(algorithm, isSeparator) {
		if !isLetter(part[0]) || !all(part, func(c byte) bool { return isLetter(c) || isDecimal(c) }) {
			return false
		}
	}
	// No separator stands at an end or beside another.
	before := true
	for _, c := range algorithm {
		separates := isSeparator(c)
		if separates && before {
			return false
		}
		before = separates
	}
	return !before
}

func isSeparator(c rune) bool { return strings.ContainsRune("-_+.", c) }

// split takes a reference apart. What is not there is "".
func split(s string) (n name, tag, digest string, ok bool) {
	s, digest, hasDigest := strings.Cut(s, "@")
	if hasDigest && !isDigest(digest) {
		return n, "", "", false
	}
	last := strings.LastIndexByte(s, '/') + 1
	if at := strings.IndexByte(s[last:], ':'); at >= 0 {
		s, tag = s[:last+at], s[last+at+1:]
		if !isTag(tag) {
			return n, "", "", false
		}
	}
	n.domain, n.path, ok = splitName(s)
	return n, tag, digest, ok
}
