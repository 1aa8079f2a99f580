package cli

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-connections/nat"
	"github.com/docker/go-units"
	"github.com/spf13/pflag"

	"github.com/strata-build/strata/internal/sandbox/enter"
	"github.com/strata-build/strata/internal/sandbox/network"
	"github.com/strata-build/strata/internal/sandbox/runner"
	"github.com/strata-build/strata/internal/store"
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
	init                              bool
	cidFile                           string
	dns                               runner.DNS
	unsupported                       map[string]*listFlag
}

func (f *dockerRunFlags) register(fl *pflag.FlagSet) {
	f.limits.register(fl, "the command")
	fl.StringVar(&f.cpus, "cpus", "", "`NUMBER` of processors whose time the command may use, such as 1.5")
	fl.BoolVar(&f.privileged, "privileged", false, "take the sandbox's protection away: whoever is root in it is root of this machine")
	fl.Var((*listFlag)(&f.capAdd), "cap-add", "add a Linux `CAPABILITY`, such as SYS_PTRACE, or ALL")
	fl.Var((*listFlag)(&f.capDrop), "cap-drop", "drop a Linux `CAPABILITY`, or ALL")
	fl.Var((*listFlag)(&f.security), "security-opt", "no-new-privileges: programs give no more rights than their caller has (`OPTION`)")
	fl.Var((*listFlag)(&f.tmpfs), "tmpfs", "mount an empty file system in memory, as `TARGET[:size=SIZE,ro]`")
	fl.Var((*listFlag)(&f.mounts), "mount", "mount, as `type=bind,source=PATH,target=TARGET[,readonly]` type=volume,source=NAME,target=TARGET or type=tmpfs,target=TARGET[,tmpfs-size=SIZE]")
	fl.StringVar(&f.pull, "pull", "missing", "whether the image's registry is asked: `always`, missing or never")
	fl.VarP((*listFlag)(&f.labels), "label", "l", "ignored: a label of the container, which is not kept (`NAME=VALUE`)")
	fl.BoolVarP(&f.detach, "detach", "d", false, "not supported: the command runs in the foreground")
	fl.VarP((*listFlag)(&f.publish), "publish", "p", "have a `PORT` of the command at one of this machine, as [[IP:]PORT:]PORT")
	fl.BoolVarP(&f.publishAll, "publish-all", "P", false, "not supported: name the ports with -p")
	fl.BoolVar(&f.init, "init", false, "let this machine's docker-init or tini-static be process 1, which waits for orphans and passes signals on")
	fl.StringVar(&f.cidFile, "cidfile", "", "write an ID of the container to this `FILE`, which must not be there yet")
	fl.Var((*listFlag)(&f.dns.Servers), "dns", "name server of the command, instead of this machine's (`IP`)")
	fl.Var((*listFlag)(&f.dns.Search), "dns-search", "search domain of the command, instead of this machine's (`DOMAIN`)")
	fl.Var((*listFlag)(&f.dns.Options), "dns-option", "option of the resolver, instead of this machine's (`OPTION`)")
	fl.Var((*listFlag)(&f.dns.Options), "dns-opt", "another name of --dns-option")
	_ = fl.MarkHidden("dns-opt")
	f.registerOthers(fl)
}

// registerOthers takes the flags of docker run that mean nothing for a command in the foreground, and those that
// ask for what is not here, which are an error with a reason.
func (f *dockerRunFlags) registerOthers(fl *pflag.FlagSet) {
	for _, name := range []string{
		"annotation", "detach-keys", "expose", "health-cmd", "health-interval", "health-retries", "health-start-interval",
		"health-start-period", "health-timeout", "label-file", "log-driver", "log-opt", "network-alias", "net-alias", "restart", "stop-signal", "stop-timeout",
		"blkio-weight", "cgroupns", "domainname", "isolation", "kernel-memory", "memory-reservation", "memory-swappiness", "oom-score-adj",
		"pids-limit", "storage-opt",
	} {
		fl.Var(new(listFlag), name, "ignored: it means nothing for a command in the foreground (`VALUE`)")
		_ = fl.MarkHidden(name)
	}
	fl.VarP(new(listFlag), "attach", "a", "ignored: the command's output and errors are shown, its input with -i (`STREAM`)")
	_ = fl.MarkHidden("attach")
	for _, name := range []string{"no-healthcheck", "oom-kill-disable", "sig-proxy", "quiet", "disable-content-trust"} {
		fl.Bool(name, false, "ignored: it means nothing for a command in the foreground")
		_ = fl.MarkHidden(name)
	}
	f.unsupported = map[string]*listFlag{}
	for name := range notInRun {
		f.unsupported[name] = new(listFlag)
		fl.Var(f.unsupported[name], name, "not supported")
		_ = fl.MarkHidden(name)
	}
}

// notInRun are the flags of docker run that strata does not have, and what to do instead.
var notInRun = map[string]string{
	"device":             "a device is shown with --privileged, or bound as a file with -v",
	"gpus":               "a device is shown with --privileged",
	"group-add":          "give a group with -u USER:GROUP",
	"ip":                 "the command's network is made for it, or this machine's with --network host",
	"ip6":                "the command's network is made for it, or this machine's with --network host",
	"ipc":                "the command has its own",
	"device-cgroup-rule": "a device is shown with --privileged",
	"link-local-ip":      "the command's network is made for it, or this machine's with --network host",
	"volume-driver":      "a volume is a directory of the store",
	"link":               "no containers run side by side here",
	"mac-address":        "the command's network is made for it, or this machine's with --network host",
	"pid":                "the command has its own",
	"runtime":            "there is only one",
	"sysctl":             "the command's network is made for it, or this machine's with --network host",
	"userns":             "the command's users are this machine's",
	"uts":                "give a host name with --hostname",
	"volumes-from":       "name the volume with -v NAME:TARGET",
}

// asItIs are the values of flags in notInRun that ask for what every command has.
var asItIs = map[string][]string{
	"ipc":           {"", "private", "shareable"},
	"runtime":       {"runc", "io.containerd.runc.v2"},
	"userns":        {"", "host"},
	"volume-driver": {"local"},
}

// writeCID writes the file of --cidfile.
func (f *runFlags) writeCID(id string) error {
	if f.docker.cidFile == "" {
		return nil
	}
	file, err := os.OpenFile(f.docker.cidFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("--cidfile %s: the file is there already; remove it, or name another", f.docker.cidFile)
	}
	if err != nil {
		return fmt.Errorf("--cidfile: %w", err)
	}
	_, err = file.WriteString(id)
	return errors.Join(err, file.Close())
}

// apply parses the flags into o.
func (f *dockerRunFlags) apply(o *enter.Options) error {
	switch {
	case f.detach:
		return usageError("-d: strata has no daemon that keeps a container; the command runs in the foreground, so leave -d out, or let the shell run it in the background with &")
	case f.publishAll:
		return usageError("-P: strata publishes the ports that are named with -p")
	case f.pull != "missing" && f.pull != "always" && f.pull != "never":
		return usageError("--pull %s: it is one of always, missing, never", f.pull)
	}
	for _, name := range slices.Sorted(maps.Keys(f.unsupported)) {
		for _, given := range *f.unsupported[name] {
			if !slices.Contains(asItIs[name], given) {
				return usageError("--%s %s: it is not supported; %s", name, given, notInRun[name])
			}
		}
	}
	o.Init, o.Machine.DNS = f.init, f.dns
	for _, text := range f.publish {
		ports, err := parsePublish(text)
		if err != nil {
			return usageError("-p %s: %w", text, err)
		}
		o.Machine.Publish = append(o.Machine.Publish, ports...)
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
		if err := addMount(o, text); err != nil {
			return usageError("--mount %s: %w", text, err)
		}
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

// parsePublish reads a -p: [[IP:]PORT:]PORT[/tcp], where PORT may be a range.
func parsePublish(text string) ([]network.Port, error) {
	mappings, err := nat.ParsePortSpec(text)
	if err != nil {
		return nil, err
	}
	var ports []network.Port
	for _, m := range mappings {
		if m.Port.Proto() != "tcp" {
			return nil, errors.New("only TCP is published; with --network host its ports are this machine's")
		}
		at, err := nat.ParsePort(m.Binding.HostPort)
		if err != nil {
			return nil, err
		}
		ports = append(ports, network.Port{On: m.Binding.HostIP, At: uint16(at), Port: uint16(m.Port.Int())})
	}
	return ports, nil
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

// addMount adds what a --mount says: docker's form, whose values may be quoted as in CSV.
func addMount(o *enter.Options, text string) error {
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return err
	}
	kind, source, empty := "volume", "", false
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
				return errors.New("readonly is true or false")
			}
			b.ReadOnly = on || !hasValue
		case "tmpfs-size":
			if err := setTmpfsSize(&b, value); err != nil {
				return err
			}
		case "volume-nocopy":
			empty = value != "false"
		case "bind-propagation", "consistency", "tmpfs-mode", "volume-driver", "volume-label", "volume-opt": // as usual
		default:
			return errors.New("there is no " + key + "; the keys are type, source, target, readonly, tmpfs-size and volume-nocopy")
		}
	}
	if !filepath.IsAbs(b.Target) {
		return errors.New("it needs target=, an absolute path")
	}
	switch kind {
	case "tmpfs":
		b.Tmpfs = true
	case "bind":
		if b.Source, err = bindSource(source, false); err != nil {
			return err
		}
	case "volume":
		if source == "" {
			return addVolume(o, b.Target)
		}
		if !store.VolumeName.MatchString(source) {
			return errors.New("source= is the name of a volume, of letters, digits, _, . and -; a path goes with type=bind")
		}
		o.Volumes = append(o.Volumes, enter.Volume{Name: source, Target: b.Target, ReadOnly: b.ReadOnly, Empty: empty})
		return nil
	default:
		return errors.New("its type is bind, volume or tmpfs")
	}
	o.Binds = append(o.Binds, b)
	return nil
}
