package trace_test

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/strata-build/strata/internal/event/trace"
)

// collector keeps what it gets. It decodes as OpenTelemetry's Collector does, with the Collector's own package, and
// over gRPC is served by grpc-go.
type collector struct {
	ptraceotlp.UnimplementedGRPCServer
	mu      sync.Mutex
	traces  []ptrace.Traces
	headers []string // X-Team of each request
	kinds   []string // Content-Type and Content-Encoding
	answer  func(n int, w http.ResponseWriter) bool
	status  func(n int) error
	reject  int64
}

func (c *collector) take(t ptrace.Traces, team, kind string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.traces, c.headers, c.kinds = append(c.traces, t), append(c.headers, team), append(c.kinds, kind)
}

func (c *collector) requests() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.kinds)
}

func (c *collector) response() ptraceotlp.ExportResponse {
	r := ptraceotlp.NewExportResponse()
	if c.reject > 0 {
		r.PartialSuccess().SetRejectedSpans(c.reject)
		r.PartialSuccess().SetErrorMessage("too many\nof them")
	}
	return r
}

// Export implements ptraceotlp.GRPCServer.
func (c *collector) Export(ctx context.Context, r ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	c.take(r.Traces(), strings.Join(md.Get("x-team"), ""), "grpc")
	if c.status != nil {
		if err := c.status(c.requests()); err != nil {
			return ptraceotlp.NewExportResponse(), err
		}
	}
	return c.response(), nil
}

// ServeHTTP implements http.Handler.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		body, _ = gzip.NewReader(r.Body)
	}
	data, err := io.ReadAll(body)
	if err != nil || r.URL.Path != "/v1/traces" || r.Method != http.MethodPost {
		http.Error(w, "not for this", http.StatusNotFound)
		return
	}
	request, kind := ptraceotlp.NewExportRequest(), r.Header.Get("Content-Type")
	if kind == "application/json" {
		err = request.UnmarshalJSON(data)
	} else {
		err = request.UnmarshalProto(data)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.take(request.Traces(), r.Header.Get("X-Team"), kind+r.Header.Get("Content-Encoding"))
	if c.answer != nil && c.answer(c.requests(), w) {
		return
	}
	w.Header().Set("Content-Type", kind)
	answer, _ := c.response().MarshalProto()
	if kind == "application/json" {
		answer, _ = c.response().MarshalJSON()
	}
	w.Write(answer)
}

// overHTTP and overGRPC serve a collector, and return its address.
func (c *collector) overHTTP(t *testing.T) string {
	s := httptest.NewServer(c)
	t.Cleanup(s.Close)
	return s.URL
}

func (c *collector) overGRPC(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	ptraceotlp.RegisterGRPCServer(s, c)
	go s.Serve(listener)
	t.Cleanup(s.Stop)
	return "http://" + listener.Addr().String()
}

// spans are all that came, by name.
func (c *collector) spans() map[string]ptrace.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[string]ptrace.Span{}
	for _, t := range c.traces {
		for i := range t.ResourceSpans().Len() {
			for k := range t.ResourceSpans().At(i).ScopeSpans().Len() {
				list := t.ResourceSpans().At(i).ScopeSpans().At(k).Spans()
				for n := range list.Len() {
					all[list.At(n).Name()] = list.At(n)
				}
			}
		}
	}
	return all
}

// start is a tracer of an environment, given as NAME=VALUE.
func start(t *testing.T, environment ...string) (*trace.Tracer, *trace.Config) {
	t.Helper()
	c, err := trace.FromEnvironment(lookup(environment))
	if err != nil {
		t.Fatal(err)
	}
	tracer, err := trace.New(c, trace.Program{Name: "strata", Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	return tracer, c
}

func lookup(environment []string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, e := range environment {
			if value, ok := strings.CutPrefix(e, name+"="); ok {
				return value, true
			}
		}
		return "", false
	}
}

func TestCollectorUnderstands(t *testing.T) {
	for _, test := range []struct {
		protocol, compression, kind string
	}{
		{"http/protobuf", "", "application/x-protobuf"}, {"http/protobuf", "gzip", "application/x-protobufgzip"},
		{"http/json", "", "application/json"}, {"http/json", "gzip", "application/jsongzip"},
		{"grpc", "", "grpc"}, {"grpc", "gzip", "grpc"},
	} {
		t.Run(test.protocol+test.compression, func(t *testing.T) {
			c := &collector{}
			endpoint := c.overHTTP
			if test.protocol == "grpc" {
				endpoint = c.overGRPC
			}
			tracer, config := start(t,
				"OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint(t), "OTEL_EXPORTER_OTLP_PROTOCOL="+test.protocol, "OTEL_EXPORTER_OTLP_COMPRESSION="+test.compression,
				"OTEL_EXPORTER_OTLP_HEADERS=x-team=a%20b,other=1", "OTEL_RESOURCE_ATTRIBUTES=ci.job=42,service.name=no", "OTEL_SERVICE_NAME=builds",
				"TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "TRACESTATE=vendor=1")
			began := time.Now()
			root := tracer.Begin(config.Parent, "root", trace.Attribute{"n", 7}, trace.Attribute{"empty", ""}, trace.Attribute{"no", false})
			child := root.Begin("child")
			child.Set(trace.Attribute{"list", []string{"a", ""}}, trace.Attribute{"seconds", 1.5}, trace.Attribute{"text", "x\xffy"})
			child.Event("happened", trace.Attribute{"yes", true})
			child.End(errors.New("it broke"))
			child.End(nil)
			root.End(nil)
			if err := tracer.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			all := c.spans()
			r, k := all["root"], all["child"]
			if len(all) != 2 {
				t.Fatalf("there are %d spans", len(all))
			}
			if got := r.TraceID().String() + r.ParentSpanID().String() + r.TraceState().AsRaw(); got != "0af7651916cd43dd8448eb211c80319c"+"b7ad6b7169203331"+"vendor=1" {
				t.Errorf("the root is in %s", got)
			}
			if k.TraceID() != r.TraceID() || k.ParentSpanID() != r.SpanID() || k.SpanID() == r.SpanID() || k.SpanID().IsEmpty() {
				t.Errorf("the child is not below the root")
			}
			if at := r.StartTimestamp().AsTime(); at.Before(began) || at.After(time.Now()) || r.EndTimestamp() < r.StartTimestamp() {
				t.Errorf("the root began at %v", at)
			}
			if got := fmt.Sprint(r.Attributes().AsRaw()); got != "map[n:7 no:false]" {
				t.Errorf("the root has %s", got)
			}
			if got := fmt.Sprint(k.Attributes().AsRaw()); got != "map[list:[a ] seconds:1.5 text:x\uFFFDy]" {
				t.Errorf("the child has %s", got)
			}
			if k.Status().Code() != ptrace.StatusCodeError || k.Status().Message() != "it broke" || r.Status().Code() != ptrace.StatusCodeUnset {
				t.Errorf("the child ended as %v %q", k.Status().Code(), k.Status().Message())
			}
			if k.Events().Len() != 1 || k.Events().At(0).Name() != "happened" || fmt.Sprint(k.Events().At(0).Attributes().AsRaw()) != "map[yes:true]" {
				t.Errorf("the child's events are others")
			}
			resource := c.traces[0].ResourceSpans().At(0).Resource().Attributes().AsRaw()
			if resource["service.name"] != "builds" || resource["service.version"] != "v1" || resource["ci.job"] != "42" || resource["host.name"] == nil {
				t.Errorf("the resource is %v", resource)
			}
			if c.headers[0] != "a b" || c.kinds[0] != test.kind {
				t.Errorf("the request has X-Team %q and is %q", c.headers[0], c.kinds[0])
			}
		})
	}
}

func TestManySpans(t *testing.T) {
	c := &collector{}
	tracer, _ := start(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.overHTTP(t), "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
	for i := range 2050 {
		tracer.Begin(trace.Parent{}, fmt.Sprint(i)).End(nil)
	}
	err := tracer.Close(t.Context())
	if err == nil || !strings.Contains(err.Error(), "2 spans of traces ended faster than") {
		t.Error(err)
	}
	if n := len(c.spans()); n != 2048 || len(c.traces) != 4 {
		t.Errorf("%d spans in %d requests", n, len(c.traces))
	}
}

func TestFailures(t *testing.T) {
	refuse := func(code int) func(int, http.ResponseWriter) bool {
		return func(_ int, w http.ResponseWriter) bool { http.Error(w, "go away\nnow", code); return true }
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	for name, test := range map[string]struct {
		collector *collector
		endpoint  string
		grpc      bool
		want      string // of the warning, "" for none
		requests  int
		within    time.Duration
	}{
		"no collector":         {endpoint: closed.URL, want: "1 span of traces are lost: sending to " + closed.URL + "/v1/traces: dial tcp", within: 200 * time.Millisecond},
		"no collector of gRPC": {endpoint: closed.URL, grpc: true, want: "connection refused; OTEL_SDK_DISABLED=true", within: 200 * time.Millisecond},
		"unauthorized":         {collector: &collector{answer: refuse(401)}, want: `answered 401 Unauthorized: "go away"`, requests: 1},
		"redirect": {collector: &collector{answer: func(_ int, w http.ResponseWriter) bool {
			w.Header().Set("Location", "http://elsewhere.invalid/")
			w.WriteHeader(307)
			return true
		}}, want: "answered 307 Temporary Redirect", requests: 1},
		"busy, then not": {collector: &collector{answer: func(n int, w http.ResponseWriter) bool { return n == 1 && refuse(503)(n, w) }}, requests: 2},
		"busy":           {collector: &collector{answer: refuse(429)}, want: "answered 429 Too Many Requests", requests: 2},
		"slow":           {collector: &collector{answer: func(int, http.ResponseWriter) bool { time.Sleep(time.Second); return true }}, want: "did not take 1 span of traces in time", requests: 1, within: time.Second},
		"some rejected":  {collector: &collector{reject: 1}, want: `1 span of traces are lost: http://127.0.0.1:`, requests: 1},
		"some rejected, in JSON": {collector: &collector{answer: func(_ int, w http.ResponseWriter) bool {
			w.Header().Set("Content-Type", "application/json")
			_, err := io.WriteString(w, `{"partialSuccess":{"rejectedSpans":"1","errorMessage":"too many"}}`)
			return err == nil
		}}, want: `rejected them: "too many"`, requests: 1},
		"gRPC denied": {grpc: true, collector: &collector{status: func(int) error { return status.Error(codes.PermissionDenied, "kein Schlüssel") }}, want: `answered with the gRPC status "7": "kein Schlüssel"`, requests: 1},
		"gRPC busy, then not": {grpc: true, collector: &collector{status: func(n int) error {
			if n == 1 {
				return status.Error(codes.Unavailable, "later")
			}
			return nil
		}}, requests: 2},
		"gRPC rejected": {grpc: true, collector: &collector{reject: 1}, want: `rejected them: "too many"`, requests: 1},
		"no gRPC there": {grpc: true, endpoint: "http", want: "grpc may not be what is spoken there: OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf is the other protocol"},
		"no HTTP there": {endpoint: "grpc", want: "http/protobuf may not be what is spoken there: OTEL_EXPORTER_OTLP_PROTOCOL=grpc is the other protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := test.collector
			if c == nil {
				c = &collector{}
			}
			protocol, endpoint := "http/protobuf", test.endpoint
			if test.grpc {
				protocol = "grpc"
			}
			switch {
			case endpoint == "http" || endpoint == "" && !test.grpc:
				endpoint = c.overHTTP(t)
			case endpoint == "" || endpoint == "grpc":
				endpoint = c.overGRPC(t)
			}
			tracer, _ := start(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol, "OTEL_EXPORTER_OTLP_TIMEOUT=600")
			tracer.Begin(trace.Parent{}, "root").End(nil)
			began := time.Now()
			err := tracer.Close(t.Context())
			if took := time.Since(began); test.within > 0 && took > test.within {
				t.Errorf("it took %v", took)
			}
			switch {
			case err == nil && test.want != "":
				t.Errorf("there is no warning, want %q", test.want)
			case err != nil && (test.want == "" || !strings.Contains(err.Error(), test.want)):
				t.Errorf("the warning is %q, want %q", err, test.want)
			}
			if n := c.requests(); n != test.requests && test.endpoint == "" {
				t.Errorf("there were %d requests, want %d", n, test.requests)
			}
		})
	}
}

func TestInterrupted(t *testing.T) {
	c := &collector{answer: func(int, http.ResponseWriter) bool { time.Sleep(time.Second); return true }}
	tracer, _ := start(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.overHTTP(t), "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
	tracer.Begin(trace.Parent{}, "root").End(nil)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	began := time.Now()
	if err := tracer.Close(ctx); err == nil || time.Since(began) > 600*time.Millisecond {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}

func TestSampling(t *testing.T) {
	parent := "TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"
	for _, test := range []struct {
		environment []string
		want        bool
	}{
		{nil, true},
		{[]string{parent + "0"}, false}, {[]string{parent + "1"}, true},
		{[]string{parent + "0", "OTEL_TRACES_SAMPLER=always_on"}, true},
		{[]string{"OTEL_TRACES_SAMPLER=always_off"}, false},
		{[]string{parent + "1", "OTEL_TRACES_SAMPLER=parentbased_always_off"}, true},
		{[]string{"OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=0"}, false},
		{[]string{"OTEL_TRACES_SAMPLER=traceidratio"}, true},
		// The ID's last 8 bytes without their lowest bit are 0.5175 of the whole.
		{[]string{parent + "0", "OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.52"}, true},
		{[]string{parent + "1", "OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.51"}, false},
	} {
		c := &collector{}
		tracer, config := start(t, append([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.overHTTP(t), "OTEL_EXPORTER_OTLP_PROTOCOL=http/json"}, test.environment...)...)
		root := tracer.Begin(config.Parent, "root")
		root.Begin("child").End(nil)
		root.End(nil)
		if err := tracer.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if n := len(c.spans()); n != 0 && n != 2 || test.want != (n == 2) {
			t.Errorf("%q: %d spans", test.environment, n)
		}
		if flag := root.Parent().String()[53:]; flag == "01" != test.want {
			t.Errorf("%q: its children elsewhere get the flags %s", test.environment, flag)
		}
	}
}

func TestNil(t *testing.T) {
	tracer, _ := start(t)
	if tracer != nil {
		t.Fatal("there is a tracer that nobody asked for")
	}
	root := tracer.Begin(trace.Parent{}, "root")
	root.Set(trace.Attribute{"a", "b"})
	root.Event("x")
	root.Begin("child").End(nil)
	root.End(nil)
	r := trace.Build(root)
	r.Close()
	if err := tracer.Close(t.Context()); err != nil || r != nil || !root.Parent().IsZero() || root.Parent().String() != "" {
		t.Error("something is there after all")
	}
	if ctx := t.Context(); trace.With(ctx, r) != ctx || !trace.ParentOf(ctx, nil).IsZero() {
		t.Error("the context holds something")
	}
}

func TestParseParent(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for text, want := range map[string]string{
		good: good, "cc" + good[2:] + "-what-comes": good,
		"": "", good + "-x": "", "ff" + good[2:]: "", strings.ToUpper(good): "", good[:54]: "", "00-" + strings.Repeat("0", 32) + good[35:]: "",
		good[:36] + strings.Repeat("0", 16) + "-01": "", strings.Replace(good, "a", "g", 1): "", "0-" + good[3:]: "",
	} {
		p, err := trace.ParseParent(text, "")
		if p.String() != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, p, err)
		}
	}
}

func FuzzParseParent(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=b")
	f.Fuzz(func(t *testing.T, text, state string) {
		p, err := trace.ParseParent(text, state)
		if err != nil {
			return
		}
		if again, err := trace.ParseParent(p.String(), state); err != nil || again != p {
			t.Errorf("%q is %v, and that %v: %v", text, p, again, err)
		}
	})
}

func TestEnvironment(t *testing.T) {
	for _, test := range []struct {
		environment []string
		want        string // what the warning of a collector that is not there names, or the error
	}{
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:1"}, "http://localhost:1/opentelemetry.proto"},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:1/otlp"}, "http://localhost:1/otlp/v1/traces"},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:1/otlp/?key=geheim", "OTEL_EXPORTER_OTLP_PROTOCOL=http/json"}, "http://localhost:1/otlp/v1/traces"},
		{[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://me:geheim@localhost:1/x", "OTEL_EXPORTER_OTLP_ENDPOINT=x"}, "sending to http://localhost:1/x:"},
		{[]string{"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"}, "http://localhost:4318/v1/traces"},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4317"}, "OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4317: it is an address that begins with http:// or https://"},
		{[]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=unix:///run/x"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=unix:///run/x: it is an address"},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=host?key=geheim"}, "OTEL_EXPORTER_OTLP_ENDPOINT=host: it is"},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=me:geheim@host"}, "OTEL_EXPORTER_OTLP_ENDPOINT=…@host: it is"},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://h", "OTEL_EXPORTER_OTLP_PROTOCOL=thrift"}, "OTEL_EXPORTER_OTLP_PROTOCOL=thrift: it is grpc, http/protobuf or http/json"},
		{[]string{"OTEL_TRACES_EXPORTER=jaeger"}, "OTEL_TRACES_EXPORTER=jaeger: strata sends traces with otlp only, or none"},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://h", "OTEL_EXPORTER_OTLP_HEADERS=geheim"}, "OTEL_EXPORTER_OTLP_HEADERS: it is a list of NAME=VALUE"},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://h", "OTEL_EXPORTER_OTLP_HEADERS=a=x%zz"}, "the value of a: a % has to be written as %25"},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://h", "OTEL_EXPORTER_OTLP_HEADERS=a=x%0ay"}, `the header "a" or its value has a character`},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://h", "OTEL_EXPORTER_OTLP_TIMEOUT=10s"}, "OTEL_EXPORTER_OTLP_TIMEOUT=10s: it is a number of milliseconds"},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://h", "OTEL_EXPORTER_OTLP_COMPRESSION=br"}, "OTEL_EXPORTER_OTLP_COMPRESSION=br: it is gzip or none"},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://h", "OTEL_TRACES_SAMPLER=jaeger_remote"}, "OTEL_TRACES_SAMPLER=jaeger_remote: it is always_on"},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://h", "OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=NaN"}, "OTEL_TRACES_SAMPLER_ARG=NaN: it is a number from 0 to 1"},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=https://h", "OTEL_EXPORTER_OTLP_CERTIFICATE=/no.pem"}, "reading OTEL_EXPORTER_OTLP_CERTIFICATE: open /no.pem"},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=https://h", "OTEL_EXPORTER_OTLP_CLIENT_KEY=/no.pem"}, "reading OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://h", "OTEL_SDK_DISABLED=true", "OTEL_EXPORTER_OTLP_PROTOCOL=thrift"}, ""},
		{[]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://h", "OTEL_TRACES_EXPORTER=none"}, ""},
		{[]string{"OTEL_EXPORTER_OTLP_HEADERS=a=b"}, ""},
	} {
		c, err := trace.FromEnvironment(lookup(append(slices.Clone(test.environment), "TRACEPARENT=nonsense")))
		var tracer *trace.Tracer
		if err == nil {
			tracer, err = trace.New(c, trace.Program{Name: "strata"})
		}
		if err == nil && tracer != nil {
			tracer.Begin(c.Parent, "root").End(nil)
			err = tracer.Close(t.Context())
		}
		got := fmt.Sprint(err)
		if err == nil {
			got = ""
		}
		if test.want == "" != (got == "") || !strings.Contains(got, test.want) || strings.Contains(got, "geheim") {
			t.Errorf("%q: %q, want %q", test.environment, got, test.want)
		}
	}
}
