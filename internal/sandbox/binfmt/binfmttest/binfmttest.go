// Package binfmttest makes programs of another architecture for tests, without a compiler for it.
package binfmttest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// base is where the program is loaded.
const base = 0x400000

// ARM64 returns a statically linked Linux program for arm64 that writes text and ends. text has at most 65535 bytes.
func ARM64(text string) []byte {
	code := []uint32{
		0xd2800020,                        // mov x0, #1      standard output
		0x100000e1,                        // adr x1, +28     the text, behind the code
		0xd2800002 | uint32(len(text))<<5, // mov x2, #length
		0xd2800808,                        // mov x8, #64     write
		0xd4000001,                        // svc #0
		0xd2800000,                        // mov x0, #0
		0xd2800ba8,                        // mov x8, #93     exit
		0xd4000001,                        // svc #0
	}
	const head = 64 + 56 // ELF header and one program header
	size := uint64(head + 4*len(code) + len(text))
	var b bytes.Buffer
	for _, part := range []any{
		elf.Header64{
			Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
			Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_AARCH64), Version: uint32(elf.EV_CURRENT), Entry: base + head, Phoff: 64,
			Ehsize: 64, Phentsize: 56, Phnum: 1,
		},
		elf.Prog64{
			Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Vaddr: base, Paddr: base, Filesz: size, Memsz: size, Align: 0x10000,
		},
		code, []byte(text),
	} {
		_ = binary.Write(&b, binary.LittleEndian, part) // to memory, of sizes that are fixed: cannot fail
	}
	return b.Bytes()
}
