package runner

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/sys/user"
)

// environment is that of the container's program, as libcontainer makes it (env.go): the last of equal keys counts,
// and HOME is that of the user's number where it is missing or empty.
func (a *assembly) environment() ([]string, error) {
	var env []string
	seen := map[string]bool{}
	home := false
	for _, kv := range slices.Backward(a.process.Env) {
		key, value, ok := strings.Cut(kv, "=")
		switch {
		case !ok:
			return nil, errors.New("invalid environment variable: missing '='")
		case key == "":
			return nil, errors.New("invalid environment variable: name cannot be empty")
		case strings.ContainsRune(kv, 0):
			return nil, fmt.Errorf("invalid environment variable %q: contains nul byte (\\x00)", key)
		case seen[key]:
			continue
		}
		seen[key] = true
		if key == "HOME" {
			if value == "" {
				continue
			}
			home = true
		}
		env = append(env, kv)
	}
	slices.Reverse(env)
	if !home {
		env = append(env, "HOME="+homeOf(a.config.Rootfs, a.process.UID))
	}
	return env, nil
}

// homeOf is the home of the first user of an image that has a number, "/" where there is none.
func homeOf(rootfs string, uid int) string {
	passwd, err := openUserFile(rootfs, "/etc/passwd")
	if err != nil || passwd.file == nil {
		return "/"
	}
	defer passwd.Close()
	users, err := user.ParsePasswdFilter(passwd.reader(), func(u user.User) bool { return u.Uid == uid })
	if err != nil || len(users) == 0 {
		return "/"
	}
	return users[0].Home
}

// valueOf is the value of a key in an environment that has it once; "" if it has not.
func valueOf(env []string, key string) string {
	for _, kv := range env {
		if value, ok := strings.CutPrefix(kv, key+"="); ok {
			return value
		}
	}
	return ""
}
