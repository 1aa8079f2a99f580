package trace

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// The messages and their numbers are those of opentelemetry-proto 1.x, trace/v1/trace.proto and common/v1/common.proto:
//
//	ExportTraceServiceRequest ─1→ ResourceSpans ─1→ Resource ─1→ KeyValue…
//	                                            ─2→ ScopeSpans ─1→ InstrumentationScope
//	                                                           ─2→ Span…
//
// Their JSON is https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: IDs in hexadecimal, numbers of 64 bits as
// text, enumerations as numbers.

// kindInternal is the SpanKind of all spans: nothing here is a call of a service that has spans of its own.
const kindInternal = 1

// Codes of a span's status; one that is not an error has none.
const statusError = 2

// flagSampled is the only flag of a span: it is exported.
const flagSampled = 1

// batch is what one request sends.
type batch struct {
	resource []Attribute
	program  Program
	spans    []*Span
}

// proto is the batch as protobuf.
func (b *batch) proto() []byte {
	scopeSpans := message(nil, 1, text(text(nil, 1, b.program.Name), 2, b.program.Version))
	for _, s := range b.spans {
		scopeSpans = message(scopeSpans, 2, s.proto())
	}
	resourceSpans := message(nil, 1, attributes(nil, 1, b.resource))
	return message(nil, 1, message(resourceSpans, 2, scopeSpans))
}

func (s *Span) proto() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := message(nil, 1, s.self.trace[:])
	b = message(b, 2, s.self.span[:])
	b = text(b, 3, s.self.state)
	if s.parent != [8]byte{} {
		b = message(b, 4, s.parent[:])
	}
	b = text(b, 5, s.name)
	b = protowire.AppendVarint(protowire.AppendTag(b, 6, protowire.VarintType), kindInternal)
	b = nanoseconds(b, 7, s.began)
	b = nanoseconds(b, 8, s.ended)
	b = attributes(b, 9, s.attributes)
	for _, e := range s.events {
		b = message(b, 11, attributes(text(nanoseconds(nil, 1, e.at), 2, e.name), 3, e.attributes))
	}
	if s.failed {
		status := protowire.AppendVarint(protowire.AppendTag(text(nil, 2, s.message), 3, protowire.VarintType), statusError)
		b = message(b, 15, status)
	}
	return protowire.AppendFixed32(protowire.AppendTag(b, 16, protowire.Fixed32Type), flagSampled)
}

// message appends a field that is a message, or bytes.
func message(b []byte, field protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), content)
}

// text appends a field that is a string, which is left out where it is empty.
func text(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func nanoseconds(b []byte, field protowire.Number, t time.Time) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), uint64(t.UnixNano()))
}

func attributes(b []byte, field protowire.Number, list []Attribute) []byte {
	for _, a := range list {
		b = message(b, field, message(text(nil, 1, a.Key), 2, anyValue(a.Value)))
	}
	return b
}

// anyValue is an AnyValue, whose fields are there even where they hold a zero.
func anyValue(value any) []byte {
	switch v := value.(type) {
	case string:
		return protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), v)
	case bool:
		return protowire.AppendVarint(protowire.AppendTag(nil, 2, protowire.VarintType), protowire.EncodeBool(v))
	case int64:
		return protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), uint64(v))
	case float64:
		return protowire.AppendFixed64(protowire.AppendTag(nil, 4, protowire.Fixed64Type), math.Float64bits(v))
	case []string:
		var list []byte
		for _, s := range v {
			list = message(list, 1, anyValue(s))
		}
		return message(nil, 5, list)
	}
	return nil
}

type object = map[string]any

// json is the batch as JSON.
func (b *batch) json() ([]byte, error) {
	var spans []object
	for _, s := range b.spans {
		spans = append(spans, s.json())
	}
	return json.Marshal(object{"resourceSpans": []object{{
		"resource": object{"attributes": attributesJSON(b.resource)},
		"scopeSpans": []object{{
			"scope": object{"name": b.program.Name, "version": b.program.Version},
			"spans": spans,
		}},
	}}})
}

func (s *Span) json() object {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := object{
		"traceId": hex.EncodeToString(s.self.trace[:]), "spanId": hex.EncodeToString(s.self.span[:]),
		"name": s.name, "kind": kindInternal, "flags": flagSampled,
		"startTimeUnixNano": nanosecondsJSON(s.began), "endTimeUnixNano": nanosecondsJSON(s.ended),
		"attributes": attributesJSON(s.attributes),
	}
	if s.parent != [8]byte{} {
		o["parentSpanId"] = hex.EncodeToString(s.parent[:])
	}
	if s.self.state != "" {
		o["traceState"] = s.self.state
	}
	var events []object
	for _, e := range s.events {
		events = append(events, object{"timeUnixNano": nanosecondsJSON(e.at), "name": e.name, "attributes": attributesJSON(e.attributes)})
	}
	if len(events) > 0 {
		o["events"] = events
	}
	if s.failed {
		o["status"] = object{"code": statusError, "message": s.message}
	}
	return o
}

func nanosecondsJSON(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

func attributesJSON(list []Attribute) []object {
	all := []object{}
	for _, a := range list {
		all = append(all, object{"key": a.Key, "value": valueJSON(a.Value)})
	}
	return all
}

func valueJSON(value any) object {
	switch v := value.(type) {
	case string:
		return object{"stringValue": v}
	case bool:
		return object{"boolValue": v}
	case int64:
		return object{"intValue": strconv.FormatInt(v, 10)}
	case float64:
		return object{"doubleValue": v}
	case []string:
		var list []object
		for _, s := range v {
			list = append(list, valueJSON(s))
		}
		return object{"arrayValue": object{"values": list}}
	}
	return object{}
}
