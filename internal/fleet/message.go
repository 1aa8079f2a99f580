package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/strata-build/strata/internal/builder/dialect"
	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/builder/exec"
	"github.com/strata-build/strata/internal/sandbox/network"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/transfer"
)

// letter is an order in the queue, and its secrets, which are sealed for one worker: confidences.
type letter struct {
	Order  json.RawMessage `json:"order"`
	Sealed []byte          `json:"sealed,omitempty"`
}

// order is a step on its way to a worker.
type order struct {
	// ID is the step's in the queue: BUILD.NUMBER, two words of letters and digits.
	ID string `json:"id"`
	// From is the machine that sends it.
	From string `json:"from"`
	// Sent is when; only for people, as clocks differ.
	Sent time.Time `json:"sent"`
	// Key is the step's on all machines, "" for one that is to run whatever is known of it.
	Key digest.Digest `json:"key,omitempty"`
	// Avoid are layers that cannot be had any more: a result with one of them does not serve.
	Avoid []digest.Digest `json:"avoid,omitempty"`
	// Trace is the span that the worker's is below, as a traceparent; "" for none.
	Trace string `json:"trace,omitempty"`
	// Cache is the depot that the layers are in, as Presence.Cache.
	Cache string `json:"cache"`
	// Layers are all that its states have, and where they can be had.
	Layers []orderLayer `json:"layers"`
	Step   orderStep    `json:"step"`
}

// orderLayer is a layer and its compressed forms.
type orderLayer struct {
	DiffID digest.Digest `json:"diffID"`
	// Depot is its form in the depot, nil if it is not there.
	Depot *ocispec.Descriptor `json:"depot,omitempty"`
	// Elsewhere are those of registries and other stores.
	Elsewhere []place `json:"elsewhere,omitempty"`
}

// place is where a form of a layer can be had, as transfer.Mover.NoteAt takes it.
type place struct {
	Descriptor ocispec.Descriptor `json:"descriptor"`
	Location   string             `json:"location"`
}

// orderStep is an exec.Step, and what exec.Config says of all steps of a build.
type orderStep struct {
	Chain   []digest.Digest     `json:"chain"`
	Volumes map[string]struct{} `json:"volumes,omitempty"`
	OS      string              `json:"os"`
	Arch    string              `json:"arch"`
	Run     dockerfile.Run      `json:"run"`
	Network runner.Network      `json:"network"`
	Mounts  []orderMount        `json:"mounts,omitempty"`
	Fresh   bool                `json:"fresh,omitempty"`
	Observe []bool              `json:"observe,omitempty"`
	Common  common              `json:"common"`
}

// common is what the steps of a build have in common.
type common struct {
	Machine   runner.Machine `json:"machine"`
	Allow     []string       `json:"allow,omitempty"` // as network.ParseAllow reads it
	Limited   bool           `json:"limited,omitempty"`
	Log       *exec.LogLimit `json:"log,omitempty"`
	Rules     dialect.Run    `json:"rules"`
	KeepEmpty bool           `json:"keepEmpty,omitempty"`
}

// orderMount is a mount; Chain is the state that a bind mount shows, nil for others.
type orderMount struct {
	Mount dockerfile.Mount `json:"mount"`
	Chain []digest.Digest  `json:"chain"`
	State bool             `json:"state,omitempty"`
}

// result is what came of an order.
type result struct {
	ID     string        `json:"id"`
	Worker string        `json:"worker"`
	Took   time.Duration `json:"took"`
	// Layer is what the step made, and Blob its form in the depot; of a step that failed, what it left.
	Layer digest.Digest       `json:"layer,omitempty"`
	Blob  *ocispec.Descriptor `json:"blob,omitempty"`
	// Inputs are what it read, as observed.Inputs are encoded; nil where that is not known.
	Inputs  []byte          `json:"inputs,omitempty"`
	Network *network.Report `json:"network,omitempty"`
	// Failure is set where the step ended with an error of its own.
	Failure *failure `json:"failure,omitempty"`
	// Refused says why the worker could not run the step, "" where it has run. Lacks are layers that it could not have.
	Refused string          `json:"refused,omitempty"`
	Lacks   []digest.Digest `json:"lacks,omitempty"`

	// known says that it was there already.
	known bool
}

// sound says whether a result can be what a worker wrote.
func (r *result) sound() bool {
	return (r.Layer == "" || r.Layer.Validate() == nil) && (r.Blob == nil || r.Blob.Digest.Validate() == nil && r.Blob.Size >= 0) &&
		r.Worker != "" && token(r.Worker) == r.Worker
}

// resultKey is under what a result is found by the step's key. It is good with its depot only.
func resultKey(key digest.Digest, depot string) string {
	return "key." + depotHash(depot) + "." + key.Encoded()
}

// depotHash stands for a depot in names.
func depotHash(depot string) string { return digest.FromString(depot).Encoded()[:12] }

// failure is an exec.Failure.
type failure struct {
	ExitCode int    `json:"exitCode"`
	Cause    string `json:"cause,omitempty"`
	Shortage string `json:"shortage,omitempty"`
	Kept     bool   `json:"kept,omitempty"`
}

// Presence is what a worker says of itself every few seconds.
type Presence struct {
	Name string `json:"name"`
	// Version is strata's, for people; Protocol is that of the messages.
	Version  string `json:"version"`
	Protocol string `json:"protocol"`
	// Platforms are those that it runs, as "linux/amd64".
	Platforms []string `json:"platforms"`
	// Slots are how many steps it runs at once, and Free how many more it could begin now.
	Slots int `json:"slots"`
	Free  int `json:"free"`
	// Leaving says that it finishes what it runs, and begins nothing more.
	Leaving bool `json:"leaving,omitempty"`
	// Cache says where its depot is, as --cache-to does, without credentials.
	Cache string `json:"cache"`
	// Key is the public key that secrets are sealed for.
	Key string `json:"key"`
	// Has are layers that are on its disk, as the first letters of their digests.
	Has []string `json:"has,omitempty"`
}

// shortLayer is a layer in Presence.Has.
func shortLayer(d digest.Digest) string { return d.Encoded()[:12] }

// subjectFor is the subject of steps of a platform for whoever is free.
func subjectFor(os, arch string) string { return stepsSubject + ".any." + os + "." + arch }

// subjectTo is the subject of steps for one worker.
func subjectTo(worker string) string { return stepsSubject + ".to." + worker }

// consumerFor is the consumer of the workers of a platform.
func consumerFor(os, arch string) string { return "steps-" + os + "-" + arch }

// token makes a name one that a subject can have as a part: letters, digits, - and _.
func token(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, name)
}

// decodeOrder reads an order that came through the queue, from whomever. With an error there is an order nevertheless, if it
// has an ID by which its build can be told.
func decodeOrder(data []byte) (*order, error) {
	var o order
	if err := json.Unmarshal(data, &o); err != nil {
		return nil, fmt.Errorf("reading a step of the queue: %w", err)
	}
	build, number, ok := strings.Cut(o.ID, ".")
	if !ok || build == "" || number == "" || token(build) != build || token(number) != number {
		return nil, fmt.Errorf("reading a step of the queue: its ID %.40q is none", o.ID)
	}
	return &o, o.check()
}

// check says why an order is none that a worker takes.
func (o *order) check() error {
	if o.Key != "" && o.Key.Validate() != nil {
		return fmt.Errorf("reading a step of the queue: its key is none")
	}
	known := map[digest.Digest]bool{}
	for _, l := range o.Layers {
		if l.DiffID.Validate() != nil || l.Depot != nil && l.Depot.Digest.Validate() != nil {
			return fmt.Errorf("reading a step of the queue: a layer has no digest")
		}
		for _, p := range l.Elsewhere {
			if p.Descriptor.Digest.Validate() != nil {
				return fmt.Errorf("reading a step of the queue: a layer has no digest")
			}
			if transfer.IsOfMachine(p.Location) {
				return fmt.Errorf("reading a step of the queue: it has a layer from a place of one machine")
			}
		}
		known[l.DiffID] = true
	}
	for _, chain := range o.Step.chains() {
		for _, d := range chain {
			if !known[d] {
				return fmt.Errorf("reading a step of the queue: it does not say where the layer %.80q is", d)
			}
		}
	}
	if err := o.Step.check(); err != nil {
		return fmt.Errorf("reading a step of the queue: %w", err)
	}
	return nil
}

// check says why a step is none that a worker runs, whoever sent it: workers give no step more than a build gives it that was
// not told to.
func (s *orderStep) check() error {
	script := s.Run.Script
	switch {
	case len(s.Run.Args) == 0:
		return errors.New("it runs nothing")
	case len(s.Observe) != 0 && len(s.Observe) != len(s.Chain):
		return errors.New("it observes other layers than it has")
	case s.Run.Insecure, s.Network == runner.NetworkHost:
		return errors.New("it wants rights on the worker's machine")
	case s.Common.Machine.CgroupParent != "", len(s.Common.Machine.Publish) > 0, hasGateway(s.Common.Machine.Hosts):
		return errors.New("it names what is of another machine")
	case script != nil && (script.Name == "" || script.Name == "." || script.Name == ".." || strings.Contains(script.Name, "/")):
		return errors.New("the name of its script is no file's")
	}
	for _, m := range s.Run.Mounts {
		if m.Type == dockerfile.MountSSH {
			return errors.New("it has an ssh agent")
		}
	}
	for _, m := range s.Mounts {
		switch {
		case m.Mount.Type == dockerfile.MountBind && m.State && path.IsAbs(m.Mount.Source):
		case m.Mount.Type == dockerfile.MountTmpfs, m.Mount.Type == dockerfile.MountCache:
		default:
			return fmt.Errorf("it does not say what is mounted on %.80q", m.Mount.Target)
		}
		if !path.IsAbs(m.Mount.Target) || path.Clean(m.Mount.Target) != m.Mount.Target || m.Mount.Target == "/" {
			return fmt.Errorf("%.80q is no place for a mount", m.Mount.Target)
		}
	}
	return nil
}

// hasGateway says whether one of the hosts is the machine that a step runs on.
func hasGateway(hosts []runner.Host) bool {
	return slices.ContainsFunc(hosts, func(h runner.Host) bool { return h.IP == runner.HostGateway })
}

// chains are those of all states that a step has.
func (s *orderStep) chains() [][]digest.Digest {
	all := [][]digest.Digest{s.Chain}
	for _, m := range s.Mounts {
		all = append(all, m.Chain)
	}
	return all
}
