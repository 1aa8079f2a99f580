package copier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/moby/sys/user"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/layer"
)

// maxAccounts bounds the /etc/passwd and /etc/group of an image.
const maxAccounts = 16 << 20

// lookupOwner finds the owner that "user", "user:group", or the same by numbers, means in a state; nil for "".
// A user without a group has the group of the same number, or the one that /etc/passwd gives it (Dockerfile
// reference, "COPY --chown --chmod"). With an unknownError the owner is there too: an unknown user stands for root, and an unknown
// group for that of the user, as in BuildKit (readUser in solver/llbsolver/ops/user_linux.go).
func lookupOwner(ctx context.Context, state layer.Tree, text string) (*owner, error) {
	if text == "" {
		return nil, nil
	}
	name, group, hasGroup := strings.Cut(text, ":")
	o := &owner{}
	var unknown error
	if id, err := parseID(name); err == nil {
		o.uid, o.gid = id, id
	} else if name == "" {
		// ":group" leaves root as the user.
	} else {
		users, err := readAccounts(ctx, state, "etc/passwd", func(r io.Reader) ([]user.User, error) {
			return user.ParsePasswdFilter(r, func(u user.User) bool { return u.Name == name })
		})
		if err != nil {
			return nil, err
		}
		if len(users) == 0 {
			unknown = unknownError{"user", name, "/etc/passwd"}
		} else {
			o.uid, o.gid = users[0].Uid, users[0].Gid
		}
	}
	if !hasGroup {
		return o, unknown
	}
	if group == "" {
		o.gid = 0 // "user:" names the group 0 (UserOpt.marshal in client/llb/fileop.go)
		return o, unknown
	}
	if id, err := parseID(group); err == nil {
		o.gid = id
		return o, unknown
	}
	groups, err := readAccounts(ctx, state, "etc/group", func(r io.Reader) ([]user.Group, error) {
		return user.ParseGroupFilter(r, func(g user.Group) bool { return g.Name == group })
	})
	if err != nil {
		return nil, err
	}
	if len(groups) == 0 {
		return o, cmp.Or(unknown, error(unknownError{"group", group, "/etc/group"}))
	}
	o.gid = groups[0].Gid
	return o, unknown
}

// unknownError says that an image does not know a user or group.
type unknownError struct{ kind, name, file string }

func (e unknownError) Error() string {
	return fmt.Sprintf("no %s %q in the image's %s: create it in an earlier step, or give its number", e.kind, e.name, e.file)
}

// copyOwner is the owner that --chown gives. With --link there is no state to look names up in.
func (k *Copier) copyOwner(ctx context.Context, below layer.Tree, c *dockerfile.Copy) (*owner, error) {
	if c.Link {
		for name := range strings.SplitSeq(c.Chown, ":") {
			if _, err := parseID(name); err != nil && name != "" {
				return nil, fmt.Errorf("--chown=%s beside --link: what is copied is independent of the image below, so that the name %q cannot be looked up in it; give its number", c.Chown, name)
			}
		}
	}
	text := c.Chown
	if k.rules.GroupIsUser && text != "" {
		var err error
		if text, err = ownerWithGroup(text); err != nil {
			return nil, err
		}
	}
	return lookupOwner(ctx, below, text)
}

// ownerWithGroup completes a --chown as Docker's classic builder reads it: a user without a group has the group of the
// same name or number, whatever /etc/passwd says (parseChownFlag in builder/dockerfile/internals_linux.go).
func ownerWithGroup(text string) (string, error) {
	name, group, hasGroup := strings.Cut(text, ":")
	if !hasGroup {
		group = name
	}
	if name == "" || group == "" {
		return "", fmt.Errorf("--chown=%s names no user or no group: write user:group", text)
	}
	return name + ":" + group, nil
}

// parseID reads a number. BuildKit takes root for 0, whatever the image says (parseUID in client/llb/fileop.go).
func parseID(s string) (int, error) {
	if s == "root" {
		return 0, nil
	}
	id, err := strconv.ParseUint(s, 10, 31)
	return int(id), err
}

func readAccounts[T any](ctx context.Context, state layer.Tree, name string, parse func(io.Reader) ([]T, error)) ([]T, error) {
	_, e, err := layer.Resolve(ctx, state, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f, err := state.Open(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("reading the image's /%s: %w", name, err)
	}
	defer f.Close()
	accounts, err := parse(io.LimitReader(f, maxAccounts))
	if err != nil {
		return nil, fmt.Errorf("reading the image's /%s: %w", name, err)
	}
	return accounts, nil
}
