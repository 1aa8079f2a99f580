// Package binfmt knows how programs of another architecture run here: which interpreters the kernel has for them
// (Documentation/admin-guide/binfmt-misc.rst), and which of QEMU's could be one.
package binfmt

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// machine is what the ELF header of an architecture's programs says, and QEMU's name for it.
type machine struct {
	qemu   string
	bits64 bool
	big    bool   // big endian
	number uint16 // e_machine
}

// machines are those of the Go architectures (elf.h, EM_*; QEMU's scripts/qemu-binfmt-conf.sh).
var machines = map[string]machine{
	"386":      {"i386", false, false, 3},
	"amd64":    {"x86_64", true, false, 62},
	"arm":      {"arm", false, false, 40},
	"arm64":    {"aarch64", true, false, 183},
	"loong64":  {"loongarch64", true, false, 258},
	"mips64":   {"mips64", true, true, 8},
	"mips64le": {"mips64el", true, false, 8},
	"ppc64le":  {"ppc64le", true, false, 21},
	"riscv64":  {"riscv64", true, false, 243},
	"s390x":    {"s390x", true, true, 22},
}

func machineOf(arch string) (machine, bool) {
	m, ok := machines[arch]
	return m, ok
}

// Architectures are those, besides this machine's own, whose programs run here: by the processor itself or by a handler
// of the kernel.
func Architectures() []string {
	var handlers fs.FS
	if dir, err := Open(); err == nil {
		defer dir.Close()
		handlers = dir.FS()
	}
	var all []string
	for _, arch := range slices.Sorted(maps.Keys(machines)) {
		if arch == runtime.GOARCH {
			continue
		}
		runs := Native(arch)
		if !runs && handlers != nil {
			h, err := Registered(handlers, arch)
			runs = err == nil && h != nil
		}
		if runs {
			all = append(all, arch)
		}
	}
	return all
}

// Native says whether the processor runs an architecture's programs itself.
func Native(arch string) bool {
	return arch == "" || arch == runtime.GOARCH || runtime.GOARCH == "amd64" && arch == "386"
}

// header is how an executable begins: as much of the ELF header as handlers look at.
func (m machine) header() []byte {
	h := append([]byte("\x7fELF\x01\x01\x01"), make([]byte, 13)...)
	order := binary.ByteOrder(binary.LittleEndian)
	if m.bits64 {
		h[4] = 2
	}
	if m.big {
		h[5], order = 2, binary.BigEndian
	}
	order.PutUint16(h[16:], 2) // ET_EXEC
	order.PutUint16(h[18:], m.number)
	return h
}

// mask says which bits of the header count: not the system (EI_OSABI), and ET_DYN is as good as ET_EXEC.
func (m machine) mask() []byte {
	mask := bytes.Repeat([]byte{0xff}, 20)
	mask[7] = 0
	if m.big {
		mask[17] = 0xfe
	} else {
		mask[16] = 0xfe
	}
	return mask
}

// Registration is the line that makes interpreter the handler of an architecture's programs. O hands it the program
// opened, C runs set-user-ID programs as who they belong to, P keeps the name by which a program was called, and F opens
// the interpreter now, so that it need not be in a container.
func Registration(arch, interpreter string) (string, error) {
	m, ok := machineOf(arch)
	if !ok {
		return "", fmt.Errorf("the architecture %s is not known", arch)
	}
	escape := func(b []byte) string {
		var s strings.Builder
		for _, c := range b {
			fmt.Fprintf(&s, `\x%02x`, c)
		}
		return s.String()
	}
	return fmt.Sprintf(":strata-%s:M::%s:%s:%s:OPCF", m.qemu, escape(m.header()), escape(m.mask()), interpreter), nil
}

// Handler is one of the kernel's interpreters.
type Handler struct {
	Interpreter string
	Fixed       bool // opened already: it need not be in the container
	enabled     bool
	offset      int
	magic, mask []byte
}

// Registered returns the handler that the kernel has for an architecture's programs, nil if it has none. dir is
// binfmt_misc.
func Registered(dir fs.FS, arch string) (*Handler, error) {
	m, ok := machineOf(arch)
	if !ok {
		return nil, nil
	}
	if status, err := fs.ReadFile(dir, "status"); err != nil || strings.TrimSpace(string(status)) != "enabled" {
		return nil, err
	}
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Name() == "register" || e.Name() == "status" {
			continue
		}
		data, err := fs.ReadFile(dir, e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		if h := parseHandler(data); h.matches(m.header()) {
			return h, nil
		}
	}
	return nil, nil
}

// parseHandler reads what the kernel says of a handler. What cannot be read matches nothing.
func parseHandler(data []byte) *Handler {
	h := &Handler{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), " ")
		var err error
		switch key {
		case "enabled":
			h.enabled = true
		case "interpreter":
			h.Interpreter = value
		case "flags:":
			h.Fixed = strings.Contains(value, "F")
		case "offset":
			h.offset, err = strconv.Atoi(value)
		case "magic":
			h.magic, err = hex.DecodeString(value)
		case "mask":
			h.mask, err = hex.DecodeString(value)
		}
		if err != nil {
			return &Handler{}
		}
	}
	return h
}

func (h *Handler) matches(header []byte) bool {
	if !h.enabled || len(h.magic) == 0 || h.offset < 0 || h.offset+len(h.magic) > len(header) || h.mask != nil && len(h.mask) != len(h.magic) {
		return false
	}
	for i, want := range h.magic {
		mask := byte(0xff)
		if h.mask != nil {
			mask = h.mask[i]
		}
		if (header[h.offset+i]^want)&mask != 0 {
			return false
		}
	}
	return true
}

// IsProgram says whether r begins as an architecture's executables do.
func IsProgram(r io.Reader, arch string) bool {
	m, ok := machineOf(arch)
	head := make([]byte, 20)
	if _, err := io.ReadFull(r, head); err != nil || !ok {
		return false
	}
	h := &Handler{enabled: true, magic: m.header(), mask: m.mask()}
	return h.matches(head)
}

// Package is the Debian package whose interpreters need nothing of the container.
const Package = "qemu-user-static"

// Emulator finds QEMU's statically linked interpreter of an architecture's programs on this machine; "" if it is not
// there.
func Emulator(arch string) string {
	m, ok := machineOf(arch)
	if !ok {
		return ""
	}
	path, err := exec.LookPath("qemu-" + m.qemu + "-static")
	if err != nil {
		return ""
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() || strings.ContainsAny(path, ":\n\\") {
		return ""
	}
	return path
}
