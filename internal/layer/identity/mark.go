package identity

import (
	"fmt"
	"strings"
)

// overlayfs keeps its marks in attributes of upper directories and lower layers. They are trusted.*, which only root of
// the machine may set; in a user name space they are user.* (kernel, Documentation/filesystems/overlayfs, "User
// xattr").
const (
	trustedMarks = "trusted.overlay."
	userMarks    = "user.overlay."
	// escapedMarks is how overlayfs shows user.overlay.* of an image's own in layers whose marks are of that name (the
	// same, "Nesting overlayfs mounts").
	escapedMarks = userMarks + "overlay."
	// deviceMark says which device an empty file stands for.
	deviceMark = "user.strata.device"
)

// Mark is what an attribute on the disk means for a layer.
type Mark int

// What an attribute on the disk is.
const (
	NoMark       Mark = iota // an attribute of the image, or of the machine
	OpaqueMark               // of a directory, with the value "y": it hides what the layers below have in it
	WhiteoutMark             // of an empty file: it hides the name of the layers below
	SpecialMark              // of an empty file: it stands for a device, which ParseDevice reads
	OwnerMark                // of a file or directory: its owner in the image, which ParseOwner reads
	OtherMark                // overlayfs's own, without a meaning for a layer
)

// OpaqueMark is the name of the attribute of directories that hide what lies below them.
func (id *Identity) OpaqueMark() string { return id.marks() + "opaque" }

func (id *Identity) marks() string {
	if id.place.mapped {
		return userMarks
	}
	return trustedMarks
}

// ReadMark says what an attribute on the disk is, and, of an attribute that may be the image's, the name it has there.
func (id *Identity) ReadMark(name string) (Mark, string) {
	if id.place.mapped {
		if own, ok := strings.CutPrefix(name, escapedMarks); ok {
			return NoMark, userMarks + own
		}
		switch {
		case name == deviceMark:
			return SpecialMark, ""
		case name == OwnerXattr && id.Marked():
			return OwnerMark, ""
		}
	}
	mark, ok := strings.CutPrefix(name, id.marks())
	switch {
	case !ok:
		return NoMark, name
	case mark == "opaque":
		return OpaqueMark, ""
	case mark == "whiteout":
		return WhiteoutMark, ""
	}
	return OtherMark, ""
}

// diskXattr is the name on the disk of an attribute of an image.
func (id *Identity) diskXattr(name string) string {
	if own, ok := strings.CutPrefix(name, userMarks); ok && id.place.mapped {
		return escapedMarks + own
	}
	return name
}

// Device is a device of an image by its numbers.
type Device struct {
	Block        bool
	Major, Minor uint32
}

// String is the form that ParseDevice reads.
func (d Device) String() string {
	kind := "c"
	if d.Block {
		kind = "b"
	}
	return fmt.Sprintf("%s %d %d", kind, d.Major, d.Minor)
}

// ParseDevice reads the value of a SpecialMark; false if it says no device.
func ParseDevice(text string) (Device, bool) {
	var d Device
	var kind string
	if n, err := fmt.Sscanf(text, "%s %d %d", &kind, &d.Major, &d.Minor); err != nil || n != 3 || kind != "b" && kind != "c" {
		return Device{}, false
	}
	d.Block = kind == "b"
	return d, true
}
