package starter

// #include "starter.h"
import "C"

import (
	"encoding/binary"
	"fmt"
	"syscall"
)

// Program is a list of system calls that a process makes one after the other, the last of which executes another
// program. The first that fails ends it.
type Program struct {
	calls    []*Call
	data     []byte
	pointers []int // places in data where an offset into data stands for a pointer
}

// Call is a system call of a program.
type Call struct {
	doing     string
	number    int
	arguments []Argument
	tolerated []syscall.Errno
	skip      int
}

// Argument is one of a call: Int, Last, or a pointer to data of the program.
type Argument struct {
	value uint64
	kind  argumentKind
}

type argumentKind int

const (
	plain argumentKind = iota
	pointer
	last
)

// CallError is the failure of a call.
type CallError struct {
	Doing string // what the call was to do
	Errno syscall.Errno
}

func (e *CallError) Error() string { return e.Doing + ": " + e.Errno.Error() }

func (e *CallError) Unwrap() error { return e.Errno }

// Int is a number as an argument.
func Int[T ~int | ~uintptr | ~uint64 | ~uint32](n T) Argument { return Argument{value: uint64(n)} }

// Last is the result of the call before, a descriptor for instance.
func Last() Argument { return Argument{kind: last} }

// Do adds a call. doing is what it does, for errors.
func (p *Program) Do(doing string, number int, arguments ...Argument) *Call {
	c := &Call{doing: doing, number: number, arguments: arguments}
	p.calls = append(p.calls, c)
	return c
}

// Wait adds a place at which the process waits until Process.Continue.
func (p *Program) Wait() { p.Do("wait", C.STARTER_WAIT) }

// Unless has the program go on after these errors, at most four, as if the call had succeeded but for what that skips.
func (c *Call) Unless(tolerated ...syscall.Errno) *Call {
	c.tolerated = tolerated
	return c
}

// Skip has the program leave out so many calls after this one has succeeded.
func (c *Call) Skip(calls int) *Call {
	c.skip = calls
	return c
}

// Text is a pointer to a string. It has no zero byte in it.
func (p *Program) Text(s string) Argument { return p.Bytes(append([]byte(s), 0)) }

// Bytes is a pointer to bytes, aligned as any type may be.
func (p *Program) Bytes(b []byte) Argument {
	for len(p.data)%8 != 0 {
		p.data = append(p.data, 0)
	}
	at := len(p.data)
	p.data = append(p.data, b...)
	return Argument{value: uint64(at), kind: pointer}
}

// Struct is a pointer to bytes that end in a pointer.
func (p *Program) Struct(b []byte, to Argument) Argument {
	s := p.Bytes(binary.NativeEndian.AppendUint64(b, to.value))
	p.pointers = append(p.pointers, int(s.value)+len(b))
	return s
}

// Texts is a pointer to an array of strings, with a null pointer as its end.
func (p *Program) Texts(texts []string) Argument {
	var array []byte
	for _, s := range texts {
		array = binary.NativeEndian.AppendUint64(array, p.Text(s).value)
	}
	a := p.Bytes(binary.NativeEndian.AppendUint64(array, 0))
	for i := range texts {
		p.pointers = append(p.pointers, int(a.value)+8*i)
	}
	return a
}

// block is the program in the form that starter.h describes.
func (p *Program) block() []byte {
	const head = C.sizeof_struct_starter_head
	places := append([]int(nil), p.pointers...)
	relocated := len(p.pointers)
	for _, c := range p.calls {
		for _, a := range c.arguments {
			if a.kind == pointer {
				relocated++
			}
		}
	}
	data := head + len(p.calls)*C.sizeof_struct_starter_call + 8*relocated
	for i := range places {
		places[i] += data
	}

	order := binary.NativeEndian
	b := make([]byte, 0, data+len(p.data))
	b = order.AppendUint32(b, uint32(len(p.calls)))
	b = order.AppendUint32(b, uint32(relocated))
	for _, c := range p.calls {
		var values [6]uint64
		var results uint32
		start := len(b) + C.sizeof_struct_starter_call - 8*len(values)
		for i, a := range c.arguments {
			values[i] = a.value
			switch a.kind {
			case pointer:
				values[i] += uint64(data)
				places = append(places, start+8*i)
			case last:
				results |= 1 << i
			}
		}
		b = order.AppendUint32(b, uint32(int32(c.number)))
		b = order.AppendUint32(b, results)
		b = order.AppendUint32(b, uint32(c.skip))
		for i := range C.STARTER_TOLERATED {
			var errno syscall.Errno
			if i < len(c.tolerated) {
				errno = c.tolerated[i]
			}
			b = order.AppendUint32(b, uint32(errno))
		}
		b = order.AppendUint32(b, 0)
		for _, v := range values {
			b = order.AppendUint64(b, v)
		}
	}
	for _, place := range places {
		b = order.AppendUint64(b, uint64(place))
	}
	b = append(b, p.data...)
	for _, place := range p.pointers {
		at := b[data+place:]
		order.PutUint64(at, order.Uint64(at)+uint64(data))
	}
	return b
}

// failure is the error of a call of the program, by its number.
func (p *Program) failure(call int, errno syscall.Errno) error {
	if call < 0 || call >= len(p.calls) {
		return fmt.Errorf("start a process: %w", errno)
	}
	return &CallError{p.calls[call].doing, errno}
}
