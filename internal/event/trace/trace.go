// Package trace tells a collector of OpenTelemetry what a process did and when: as spans, over OTLP.
//
//	config, err := trace.FromEnvironment(os.LookupEnv) // nil where nobody asks for traces
//	t, err := trace.New(config, trace.Program{Name: "strata", Version: version})
//	root := t.Begin(config.Parent, "strata build")
//	build := trace.Build(root) // an event.Sink
//	…
//	build.Close()
//	root.End(err)
//	warning := t.Close(ctx)
//
// Sending never fails or holds up what is traced: spans that have ended wait in a bounded buffer, a goroutine sends them
// every few seconds, Close waits a short while for the rest, and what could not be sent is one warning.
//
// A nil Tracer, Span or Recorder does nothing, so who is traced need not know whether somebody asked for it. Nothing of
// a step's output, of secrets and of the values of build arguments is in a span; texts go through redact.Mask.
//
// OpenTelemetry's own SDK is not used: with its exporters it adds 6 MB to the program and work to each start, for
// messages of six types and an HTTP request. Its protobuf is written in otlp.go and tested against the Collector's decoder.
package trace

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/strata-build/strata/internal/human/redact"
)

// Parent is the span that others are below, here or in another process: a SpanContext in OpenTelemetry's words. The zero
// value is none.
type Parent struct {
	trace   [16]byte
	span    [8]byte
	sampled bool
	state   string // the tracestate, passed on as it came
}

// IsZero says that there is no span.
func (p Parent) IsZero() bool { return p == Parent{} }

// String is the traceparent of https://www.w3.org/TR/trace-context/, version 00; "" for none.
func (p Parent) String() string {
	if p.IsZero() {
		return ""
	}
	flags := "00"
	if p.sampled {
		flags = "01"
	}
	return fmt.Sprintf("00-%x-%x-%s", p.trace, p.span, flags)
}

// ParseParent reads a traceparent and the tracestate that belongs to it, which may be "". What is no traceparent is an
// error; one of a later version is read as far as it is known, as the specification asks.
func ParseParent(traceparent, tracestate string) (Parent, error) {
	wrong := fmt.Errorf("%q is no traceparent, such as 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", traceparent)
	fields := strings.SplitN(traceparent, "-", 5)
	if len(fields) < 4 || len(fields) > 4 && fields[0] == "00" || fields[0] == "ff" || len(fields[0]) != 2 || len(fields[3]) != 2 {
		return Parent{}, wrong
	}
	var p Parent
	var version, flags [1]byte
	for i, into := range [][]byte{version[:], p.trace[:], p.span[:], flags[:]} {
		text := fields[i]
		if len(text) != 2*len(into) || strings.ToLower(text) != text {
			return Parent{}, wrong
		}
		if _, err := hex.Decode(into, []byte(text)); err != nil {
			return Parent{}, wrong
		}
	}
	if p.trace == [16]byte{} || p.span == [8]byte{} {
		return Parent{}, wrong
	}
	p.sampled = flags[0]&1 != 0
	if len(tracestate) <= maxState {
		p.state = tracestate
	}
	return p, nil
}

const (
	maxState      = 512     // characters of a tracestate that have to be passed on
	maxText       = 4 << 10 // bytes of an attribute that are kept
	maxAttributes = 64      // of a span, and the most events that it has
)

// Span is something that began and ends. Several goroutines may use it at once.
type Span struct {
	tracer *Tracer
	self   Parent
	parent [8]byte
	name   string
	began  time.Time

	mu         sync.Mutex // of all below
	ended      time.Time  // zero while it goes on
	attributes []Attribute
	events     []happening
	failed     bool
	message    string // why it failed
}

// Attribute is what a span or event says of itself. The value is a string, bool, int, float64 or []string.
type Attribute struct {
	Key   string
	Value any
}

// happening is an event of a span: what happened, and when.
type happening struct {
	name       string
	at         time.Time
	attributes []Attribute
}

// Begin begins a span below another, which may be of another process, or below none.
func (t *Tracer) Begin(parent Parent, name string, attributes ...Attribute) *Span {
	return t.beginAt(parent, name, time.Now(), attributes)
}

func (t *Tracer) beginAt(parent Parent, name string, at time.Time, attributes []Attribute) *Span {
	if t == nil {
		return nil
	}
	s := &Span{tracer: t, self: parent, parent: parent.span, name: clip(redact.Mask(name)), began: at}
	if parent.IsZero() {
		rand.Read(s.self.trace[:])
	}
	s.self.sampled = t.config.sampler.samples(parent, s.self.trace)
	rand.Read(s.self.span[:])
	s.Set(attributes...)
	return s
}

// Begin begins a span below s.
func (s *Span) Begin(name string, attributes ...Attribute) *Span {
	if s == nil {
		return nil
	}
	return s.tracer.Begin(s.self, name, attributes...)
}

// Parent is s for those who begin spans below it, in other processes too.
func (s *Span) Parent() Parent {
	if s == nil {
		return Parent{}
	}
	return s.self
}

// Set adds attributes, or replaces those that are there. Empty texts and lists are left out.
func (s *Span) Set(attributes ...Attribute) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range clean(attributes) {
		i := slices.IndexFunc(s.attributes, func(b Attribute) bool { return b.Key == a.Key })
		switch {
		case i >= 0:
			s.attributes[i] = a
		case len(s.attributes) < maxAttributes:
			s.attributes = append(s.attributes, a)
		}
	}
}

// Event says that something happened now.
func (s *Span) Event(name string, attributes ...Attribute) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.events) < maxAttributes {
		s.events = append(s.events, happening{clip(redact.Mask(name)), time.Now(), clean(attributes)})
	}
}

// End ends s, as failed where err is not nil. Of two calls the first counts.
func (s *Span) End(err error) { s.endAt(time.Now(), err) }

func (s *Span) endAt(at time.Time, err error) {
	if s == nil {
		return
	}
	s.mu.Lock()
	if !s.ended.IsZero() {
		s.mu.Unlock()
		return
	}
	s.ended = at
	if err != nil {
		s.failed, s.message = true, clip(redact.Mask(err.Error()))
	}
	s.mu.Unlock()
	if s.self.sampled {
		s.tracer.keep(s)
	}
}

// clean is the attributes without those that say nothing, and with texts that may leave the machine.
func clean(attributes []Attribute) []Attribute {
	var kept []Attribute
	for _, a := range attributes {
		switch v := a.Value.(type) {
		case string:
			if v == "" {
				continue
			}
			a.Value = clip(redact.Mask(v))
		case []string:
			if len(v) == 0 {
				continue
			}
			var texts []string
			for _, text := range v[:min(len(v), maxAttributes)] {
				texts = append(texts, clip(redact.Mask(text)))
			}
			a.Value = texts
		case int:
			a.Value = int64(v)
		}
		kept = append(kept, a)
	}
	return kept
}

// clip is a text as a span may hold it: valid UTF-8, and no longer than maxText.
func clip(text string) string {
	if len(text) > maxText {
		text = text[:maxText-3] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
