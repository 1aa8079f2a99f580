package bake

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tonistiigi/go-csvvalue"
)

// Secret is a secret that RUN --mount=type=secret may ask for.
type Secret struct {
	ID  string `json:"id,omitempty"`
	Src string `json:"src,omitempty"`
	Env string `json:"env,omitempty"`
}

// Secrets are secrets, one of each ID.
type Secrets []Secret

func (s Secret) id() string { return s.ID }

// Text is the secret as --secret has it.
func (s Secret) Text() string {
	attrs := map[string]string{}
	for name, value := range map[string]string{"id": s.ID, "src": s.Src, "env": s.Env} {
		if value != "" {
			attrs[name] = value
		}
	}
	return attributesText(attrs)
}

func parseSecret(text string) (s Secret, err error) {
	fields, err := csvvalue.Fields(text, nil)
	if err != nil {
		return s, fmt.Errorf("%q: %w", text, err)
	}
	kind := ""
	for _, field := range fields {
		name, value, ok := strings.Cut(field, "=")
		if !ok {
			return s, fmt.Errorf("%q: %s is not NAME=VALUE", text, field)
		}
		switch strings.ToLower(name) {
		case "type":
			kind = value
		case "id":
			s.ID = value
		case "src", "source":
			s.Src = value
		case "env":
			s.Env = value
		default:
			return s, fmt.Errorf("%q: a secret has id, src, env and type, and no %s", text, name)
		}
	}
	switch {
	case kind != "" && kind != "file" && kind != "env":
		return s, fmt.Errorf("%q: the type of a secret is file or env", text)
	case kind == "env" && s.Env == "":
		s.Env, s.Src = s.Src, ""
	}
	return s, nil
}

// SSH is an agent, or keys, that RUN --mount=type=ssh may ask for.
type SSH struct {
	ID    string   `json:"id,omitempty"`
	Paths []string `json:"paths,omitempty"`
}

// SSHKeys are agents, one of each ID.
type SSHKeys []SSH

func (s SSH) id() string { return s.ID }

// Text is the agent as --ssh has it.
func (s SSH) Text() string {
	if len(s.Paths) == 0 {
		return s.ID
	}
	return s.ID + "=" + strings.Join(s.Paths, ",")
}

func parseSSH(text string) SSH {
	id, paths, ok := strings.Cut(text, "=")
	s := SSH{ID: id}
	if ok {
		s.Paths = strings.Split(paths, ",")
	}
	return s
}

func compareSSH(a, b SSH) int {
	if c := strings.Compare(a.ID, b.ID); c != 0 {
		return c
	}
	return slices.Compare(a.Paths, b.Paths)
}

// Resources are limits of each RUN, by the names that --resource has.
type Resources map[string]string

// resourceNumbers says which limits there are, and which are numbers in JSON.
var resourceNumbers = map[string]bool{
	"memory": false, "memory-swap": false, "cpuset-cpus": false, "cpuset-mems": false,
	"cpu-shares": true, "cpu-period": true, "cpu-quota": true,
}

func (r Resources) check() error {
	for name, value := range r {
		number, ok := resourceNumbers[name]
		if !ok {
			return fmt.Errorf("resources has no %s", name)
		}
		if _, err := strconv.ParseInt(value, 10, 64); number && err != nil {
			return fmt.Errorf("resources: %s=%s: it takes a number", name, value)
		}
	}
	return nil
}

// MarshalJSON writes numbers as numbers, in buildx's order.
func (r Resources) MarshalJSON() ([]byte, error) {
	number := func(name string) json.Number { return json.Number(r[name]) }
	return json.Marshal(struct {
		Memory     string      `json:"memory,omitempty"`
		MemorySwap string      `json:"memory-swap,omitempty"`
		Shares     json.Number `json:"cpu-shares,omitempty"`
		Period     json.Number `json:"cpu-period,omitempty"`
		Quota      json.Number `json:"cpu-quota,omitempty"`
		CPUs       string      `json:"cpuset-cpus,omitempty"`
		Mems       string      `json:"cpuset-mems,omitempty"`
	}{
		r["memory"], r["memory-swap"], number("cpu-shares"), number("cpu-period"), number("cpu-quota"), r["cpuset-cpus"], r["cpuset-mems"],
	})
}
