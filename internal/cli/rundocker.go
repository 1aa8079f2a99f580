package cli

import (
	"encoding/csv"
	"errors"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/docker/go-units"
	"github.com/spf13/pflag"

	"github.com/strata-build/strata/internal/sandbox/enter"
	"github.com/strata-build/strata/internal/sandbox/runner"
)

// dockerRunFlags are options of docker run that scripts use: limits, rights, file systems in memory, and those of which
// strata can only say what it does in their place.
type dockerRunFlags struct {
	limits                            limitFlags
	cpus                              string
	privileged                        bool
	capAdd, capDrop, security, labels []string
	tmpfs, mounts                     []string
	pull                              string
	detach, publishAll                bool
	publish                           []string
}

func (f *dockerRunFlags) register(fl *pflag.FlagSet) {
	f.limits.register(fl, "the command")
	fl.StringVar(&f.cpus, "cpus", "", "`NUMBER` of processors whose time the command may use, such as 1.5")
	fl.BoolVar(&f.privileged, "privileged", false, "take the sandbox's protection away: whoever is root in it is root of this machine")
	fl.StringArrayVar(&f.capAdd, "cap-add", nil, "add a Linux `CAPABILITY`, such as SYS_PTRACE, or ALL")
	fl.StringArrayVar(&f.capDrop, "cap-drop", nil, "drop a Linux `CAPABILITY`, or ALL")
	fl.StringArrayVar(&f.security, "security-opt", nil, "no-new-privileges: programs give no more rights than their caller has (`OPTION`)")
	fl.StringArrayVar(&f.tmpfs, "tmpfs", nil, "mount an empty file system in memory, as `TARGET[:size=SIZE,ro]`")
	fl.StringArrayVar(&f.mounts, "mount", nil, "mount, as `type=bind,source=PATH,target=TARGET[,readonly]` or type=tmpfs,target=TARGET[,tmpfs-size=SIZE]")
	fl.StringVar(&f.pull, "pull", "missing", "whether the image's registry is asked: `always`, missing or never")
	fl.StringArrayVarP(&f.labels, "label", "l", nil, "ignored: a label of the container, which is not kept (`NAME=VALUE`)")
	fl.BoolVarP(&f.detach, "detach", "d", false, "not supported: the command runs in the foreground")
	fl.StringArrayVarP(&f.publish, "publish", "p", nil, "not supported: ports of the command are this machine's (`PORT:PORT`)")
	fl.BoolVarP(&f.publishAll, "publish-all", "P", false, "not supported, as -p")
}

// apply parses the flags into o.
func (f *dockerRunFlags) apply(o *enter.Options) error {
	switch {
	case f.detach:
		return usageError("-d: strata has no daemon that keeps a container; the command runs in the foreground, so leave -d out, or let the shell run it in the background with &")
	case f.publishAll || len(f.publish) > 0:
		return usageError("-p: the command is on this machine's network (--network host, the default), where its ports are reached as they are; leave -p out")
	case f.pull != "missing" && f.pull != "always" && f.pull != "never":
		return usageError("--pull %s: it is one of always, missing, never", f.pull)
	}
	if err := f.applyRights(o); err != nil {
		return err
	}
	if err := f.applyLimits(o); err != nil {
		return err
	}
	for _, text := range f.tmpfs {
		target, options, _ := strings.Cut(text, ":")
		b, err := parseTmpfs(target, options)
		if err != nil {
			return usageError("--tmpfs %s: %w", text, err)
		}
		o.Binds = append(o.Binds, b)
	}
	for _, text := range f.mounts {
		b, err := parseMount(text)
		if err != nil {
			return usageError("--mount %s: %w", text, err)
		}
		o.Binds = append(o.Binds, b)
	}
	return nil
}

func (f *dockerRunFlags) applyLimits(o *enter.Options) error {
	o.Machine.Limits = f.limits.limits
	if f.cpus == "" {
		return nil
	}
	const period = 100_000 // µs, docker's
	n, err := strconv.ParseFloat(f.cpus, 64)
	if err != nil || !(n >= 0.01 && n <= 1<<16) {
		return usageError("--cpus %s: it takes a number of processors, such as 1.5, of at least 0.01", f.cpus)
	}
	if o.Machine.Limits.CPUQuota != 0 || o.Machine.Limits.CPUPeriod != 0 {
		return usageError("--cpus and --cpu-quota or --cpu-period say the same: give one")
	}
	o.Machine.Limits.CPUPeriod, o.Machine.Limits.CPUQuota = period, int64(n*period)
	return nil
}

func (f *dockerRunFlags) applyRights(o *enter.Options) error {
	o.Rights.Insecure = f.privileged
	for _, list := range []struct {
		flag   string
		values []string
		names  *[]string
	}{{"--cap-add", f.capAdd, &o.Rights.AddCapabilities}, {"--cap-drop", f.capDrop, &o.Rights.DropCapabilities}} {
		for _, text := range list.values {
			name, err := runner.ParseCapability(text)
			if err != nil {
				return usageError("%s %w", list.flag, err)
			}
			*list.names = append(*list.names, name)
		}
	}
	for _, text := range f.security {
		switch text {
		case "no-new-privileges", "no-new-privileges=true", "no-new-privileges:true":
			o.Rights.NoNewPrivileges = true
		case "no-new-privileges=false", "no-new-privileges:false":
			o.Rights.NoNewPrivileges = false
		default:
			return usageError("--security-opt %s: it is no-new-privileges; without the sandbox's protection a command runs with --privileged", text)
		}
	}
	return nil
}

// parseTmpfs reads the two parts of a --tmpfs. File systems in memory are always nosuid and nodev here.
func parseTmpfs(target, options string) (runner.Bind, error) {
	b := runner.Bind{Tmpfs: true, Target: target}
	if !filepath.IsAbs(target) {
		return b, errors.New("it takes an absolute path, with options behind a colon")
	}
	if options == "" {
		return b, nil
	}
	for option := range strings.SplitSeq(options, ",") {
		size, isSize := strings.CutPrefix(option, "size=")
		switch {
		case isSize:
			if err := setTmpfsSize(&b, size); err != nil {
				return b, err
			}
		case option == "ro":
			b.ReadOnly = true
		case option == "rw" || option == "exec" || option == "nosuid" || option == "nodev":
		default:
			return b, errors.New("the options are size=SIZE, ro, rw, exec, nosuid and nodev")
		}
	}
	return b, nil
}

func setTmpfsSize(b *runner.Bind, text string) error {
	size, err := units.RAMInBytes(text)
	if err != nil || size <= 0 {
		return errors.New("its size is one such as 64m")
	}
	b.Size = size
	return nil
}

// parseMount reads a --mount: docker's form, whose values may be quoted as in CSV.
func parseMount(text string) (runner.Bind, error) {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return runner.Bind{}, err
	}
	kind, source := "volume", ""
	b := runner.Bind{}
	for _, field := range fields {
		key, value, hasValue := strings.Cut(field, "=")
		switch strings.ToLower(key) {
		case "type":
			kind = strings.ToLower(value)
		case "source", "src":
			source = value
		case "target", "dst", "destination":
			b.Target = value
		case "readonly", "ro":
			on, err := strconv.ParseBool(value)
			if hasValue && err != nil {
				return b, errors.New("readonly is true or false")
			}
			b.ReadOnly = on || !hasValue
		case "tmpfs-size":
			if err := setTmpfsSize(&b, value); err != nil {
				return b, err
			}
		default:
			return b, errors.New("there is no " + key + "; the keys are type, source, target, readonly and tmpfs-size")
		}
	}
	if !filepath.IsAbs(b.Target) {
		return b, errors.New("it needs target=, an absolute path")
	}
	switch kind {
	case "tmpfs":
		b.Tmpfs = true
		return b, nil
	case "bind":
		b.Source, err = bindSource(source)
		return b, err
	case "volume":
		return b, errNoVolumes
	}
	return b, errors.New("its type is bind or tmpfs")
}

// errNoVolumes says what strata has no volumes for.
var errNoVolumes = errors.New("strata keeps no volumes, since it keeps no containers: give a directory, such as ./data, with type=bind or -v ./data:/data")
