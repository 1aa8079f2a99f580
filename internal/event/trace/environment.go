package trace

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config is what the environment asks for, as of
// https://opentelemetry.io/docs/specs/otel/protocol/exporter/ and
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
type Config struct {
	// Parent is the span that the process is started in, zero if in none: TRACEPARENT.
	Parent Parent

	endpoint *url.URL // where a request goes to, path included
	protocol protocol
	headers  map[string]string
	gzip     bool
	tls      certificates
	timeout  time.Duration // of a request
	flush    time.Duration // how long Close waits
	service  string        // "" where it is the program's name
	resource []Attribute
	sampler  sampler
}

// certificates are files of a TLS connection in PEM, each "" for the usual: the collector's authorities, and what strata
// shows of itself.
type certificates struct{ authorities, certificate, key string }

// protocol is how a batch is carried, as OTEL_EXPORTER_OTLP_PROTOCOL has it.
type protocol string

const (
	overGRPC  protocol = "grpc"
	overProto protocol = "http/protobuf"
	overJSON  protocol = "http/json"
)

const (
	// defaultTimeout is that of the specification.
	defaultTimeout = 10 * time.Second
	// defaultFlush is how long a build that is done waits for a collector, where no timeout is set.
	defaultFlush = 2 * time.Second
)

// FromEnvironment reads what the environment asks for. As with buildx, that is traces where an endpoint is set or
// OTEL_TRACES_EXPORTER is otlp; else the Config is nil. What cannot be done is an error, which names the variable.
func FromEnvironment(lookup func(string) (string, bool)) (*Config, error) {
	env := environment(func(name string) string {
		value, _ := lookup(name)
		return strings.TrimSpace(value)
	})
	if strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") {
		return nil, nil
	}
	exporter := env("OTEL_TRACES_EXPORTER")
	switch exporter {
	case "none":
		return nil, nil
	case "", "otlp":
	default:
		return nil, fmt.Errorf("OTEL_TRACES_EXPORTER=%s: strata sends traces with otlp only, or none", exporter)
	}
	if env.of("ENDPOINT") == "" && exporter == "" {
		return nil, nil
	}
	c := &Config{
		timeout: defaultTimeout, flush: defaultFlush, service: env("OTEL_SERVICE_NAME"),
		tls: certificates{env.of("CERTIFICATE"), env.of("CLIENT_CERTIFICATE"), env.of("CLIENT_KEY")},
	}
	for _, read := range []func(environment) error{c.readEndpoint, c.readOptions, c.readResource, c.readParent} {
		if err := read(env); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// environment is the value of a variable, "" where it is not set.
type environment func(name string) string

// of is what a variable of the exporter says for traces, or else for all signals.
func (env environment) of(name string) string {
	return cmp.Or(env("OTEL_EXPORTER_OTLP_TRACES_"+name), env("OTEL_EXPORTER_OTLP_"+name))
}

// named is the name of the variable that of reads.
func (env environment) named(name string) string {
	if env("OTEL_EXPORTER_OTLP_TRACES_"+name) != "" {
		return "OTEL_EXPORTER_OTLP_TRACES_" + name
	}
	return "OTEL_EXPORTER_OTLP_" + name
}

// grpcMethod is the path of a call of OTLP over gRPC.
const grpcMethod = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

// readEndpoint reads where traces go to, and how. Where no protocol is set it is gRPC, as with buildx, unless the address
// has the port or a path of OTLP over HTTP.
func (c *Config) readEndpoint(env environment) error {
	name, text := env.named("ENDPOINT"), env.of("ENDPOINT")
	c.protocol = protocol(env.of("PROTOCOL"))
	if text == "" {
		text = "http://localhost:4317"
		if c.protocol == overProto || c.protocol == overJSON {
			text = "http://localhost:4318"
		}
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%s=%s: it is an address that begins with http:// or https://", name, withoutUser(text))
	}
	path := strings.Trim(u.Path, "/")
	switch c.protocol {
	case "":
		c.protocol = overGRPC
		if u.Port() == "4318" || path != "" {
			c.protocol = overProto
		}
	case overGRPC, overProto, overJSON:
	default:
		return fmt.Errorf("%s=%s: it is grpc, http/protobuf or http/json", env.named("PROTOCOL"), c.protocol)
	}
	switch {
	case c.protocol == overGRPC:
		u.Path = grpcMethod
	case env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "":
		u = u.JoinPath("v1", "traces")
	case u.Path == "":
		u.Path = "/" // that of traces is taken as it is
	}
	c.endpoint = u
	return nil
}

// withoutUser is an address that cannot be read, as it may be shown.
func withoutUser(text string) string {
	text, _, _ = strings.Cut(text, "?")
	if i := strings.LastIndex(text, "@"); i >= 0 {
		return "…" + text[i:]
	}
	return text
}

// address is the endpoint as it may be shown: without a password and a query, which may hold a key.
func (c *Config) address() string {
	u := *c.endpoint
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

func (c *Config) readOptions(env environment) (err error) {
	if c.headers, err = pairs(env, env.named("HEADERS")); err != nil {
		return err
	}
	for name, value := range c.headers {
		if strings.ContainsFunc(name, notToken) || strings.ContainsFunc(value, notPrintable) {
			return fmt.Errorf("%s: the header %q or its value has a character that HTTP does not allow", env.named("HEADERS"), name)
		}
	}
	switch how := env.of("COMPRESSION"); how {
	case "", "none":
	case "gzip":
		c.gzip = true
	default:
		return fmt.Errorf("%s=%s: it is gzip or none", env.named("COMPRESSION"), how)
	}
	if text := env.of("TIMEOUT"); text != "" {
		ms, err := strconv.ParseInt(text, 10, 32)
		if err != nil || ms <= 0 {
			return fmt.Errorf("%s=%s: it is a number of milliseconds", env.named("TIMEOUT"), text)
		}
		c.timeout = time.Duration(ms) * time.Millisecond
		c.flush = c.timeout
	}
	c.sampler, err = parseSampler(env("OTEL_TRACES_SAMPLER"), env("OTEL_TRACES_SAMPLER_ARG"))
	return err
}

func notToken(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}
func notPrintable(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

func (c *Config) readResource(env environment) error {
	all, err := pairs(env, "OTEL_RESOURCE_ATTRIBUTES")
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if name == "service.name" {
			c.service = cmp.Or(c.service, all[name])
			continue
		}
		c.resource = append(c.resource, Attribute{name, all[name]})
	}
	return nil
}

// readParent reads the span that strata is started in, from the variables of
// https://opentelemetry.io/docs/specs/otel/context/env-carriers/ or those that buildctl had before. One that cannot be
// read counts as none, as the specification asks.
func (c *Config) readParent(env environment) error {
	c.Parent, _ = ParseParent(cmp.Or(env("TRACEPARENT"), env("OTEL_TRACE_PARENT")), cmp.Or(env("TRACESTATE"), env("OTEL_TRACE_STATE")))
	return nil
}

// pairs reads a variable that is a list of NAME=VALUE, separated by commas, whose values are encoded as in an address. An
// error does not quote a value, which may be a secret.
func pairs(env environment, variable string) (map[string]string, error) {
	all := map[string]string{}
	for entry := range strings.SplitSeq(env(variable), ",") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		name, value, ok := strings.Cut(entry, "=")
		name, err := url.PathUnescape(strings.TrimSpace(name))
		if !ok || err != nil || name == "" {
			return nil, fmt.Errorf("%s: it is a list of NAME=VALUE, separated by commas", variable)
		}
		if all[name], err = url.PathUnescape(strings.TrimSpace(value)); err != nil {
			return nil, fmt.Errorf("%s: the value of %s: a %% has to be written as %%25", variable, name)
		}
	}
	return all, nil
}

// sampler decides whether a trace is sent.
type sampler struct {
	byParent bool   // what was decided for the parent counts, where there is one
	below    uint64 // of 1<<63, which traces are sent by their ID
}

// parseSampler reads the name of a sampler and its argument. None is parentbased_always_on, the default.
func parseSampler(name, argument string) (sampler, error) {
	kind, byParent := strings.CutPrefix(cmp.Or(name, "parentbased_always_on"), "parentbased_")
	s := sampler{byParent: byParent, below: 1 << 63}
	switch kind {
	case "always_on":
	case "always_off":
		s.below = 0
	case "traceidratio":
		ratio, err := strconv.ParseFloat(cmp.Or(argument, "1"), 64)
		if err != nil || !(ratio >= 0 && ratio <= 1) {
			return s, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG=%s: it is a number from 0 to 1", argument)
		}
		s.below = uint64(math.Round(ratio * (1 << 63)))
	default:
		return s, fmt.Errorf("OTEL_TRACES_SAMPLER=%s: it is always_on, always_off or traceidratio, or one of them with parentbased_ in front", name)
	}
	return s, nil
}

// samples says whether a span is sent: by its parent, or by the last bytes of the trace's ID, as all of OpenTelemetry's
// SDKs decide, so that the parts of a trace from several programs are there or not together.
func (s sampler) samples(parent Parent, trace [16]byte) bool {
	if s.byParent && !parent.IsZero() {
		return parent.sampled
	}
	return binary.BigEndian.Uint64(trace[8:])>>1 < s.below
}
