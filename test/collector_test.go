package test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"google.golang.org/grpc"
)

// collector grpc|http stands in for OpenTelemetry's Collector, with its own code for what is received, and sets
// COLLECTOR to its address. `collector spans` prints the spans that came since it was asked last, a line for each:
//
//	NAME of the span above > NAME: key=value, …; event, …; error MESSAGE
func collector(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: collector grpc|http|spans")
	}
	got := *ts.Value(collectorKey{}).(**received)
	if args[0] == "spans" {
		if got == nil {
			ts.Fatalf("collector: there is none yet")
		}
		for _, line := range got.lines() {
			fmt.Fprintln(ts.Stdout(), line)
		}
		return
	}
	got = &received{}
	*ts.Value(collectorKey{}).(**received) = got
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	if args[0] == "grpc" {
		server := grpc.NewServer()
		ptraceotlp.RegisterGRPCServer(server, got)
		go server.Serve(listener)
		ts.Defer(server.Stop)
	} else {
		server := &http.Server{Handler: got}
		go server.Serve(listener)
		ts.Defer(func() { server.Close() })
	}
	ts.Setenv("COLLECTOR", "http://"+listener.Addr().String())
}

// collectorKey is under what a script has its *received, in a variable.
type collectorKey struct{}

// received are the spans that came.
type received struct {
	ptraceotlp.UnimplementedGRPCServer
	mu       sync.Mutex
	requests []ptrace.Traces
}

// Export implements ptraceotlp.GRPCServer.
func (r *received) Export(_ context.Context, request ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, request.Traces())
	return ptraceotlp.NewExportResponse(), nil
}

// ServeHTTP implements http.Handler.
func (r *received) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	data, err := io.ReadAll(request.Body)
	export := ptraceotlp.NewExportRequest()
	if err == nil && request.Header.Get("Content-Type") == "application/json" {
		err = export.UnmarshalJSON(data)
	} else if err == nil {
		err = export.UnmarshalProto(data)
	}
	if err != nil || request.URL.Path != "/v1/traces" {
		http.Error(w, fmt.Sprint("no request for traces: ", err), http.StatusBadRequest)
		return
	}
	r.Export(request.Context(), export)
}

// lines are the spans in the order in which they began, and none of them again.
func (r *received) lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []ptrace.Span
	for _, t := range r.requests {
		for i := range t.ResourceSpans().Len() {
			for k := range t.ResourceSpans().At(i).ScopeSpans().Len() {
				list := t.ResourceSpans().At(i).ScopeSpans().At(k).Spans()
				for n := range list.Len() {
					all = append(all, list.At(n))
				}
			}
		}
	}
	r.requests = nil
	slices.SortStableFunc(all, func(a, b ptrace.Span) int { return int(a.StartTimestamp()) - int(b.StartTimestamp()) })
	names := map[pcommon.SpanID]string{}
	for _, s := range all {
		names[s.SpanID()] = s.Name()
	}
	var lines []string
	for _, s := range all {
		above := names[s.ParentSpanID()]
		if above == "" {
			above = s.ParentSpanID().String()
		}
		line := fmt.Sprintf("%s > %s: %s; %s", above, s.Name(), attributes(s.Attributes()), events(s))
		if s.Status().Code() == ptrace.StatusCodeError {
			line += "; error " + s.Status().Message()
		}
		lines = append(lines, line)
	}
	return lines
}

func attributes(m pcommon.Map) string {
	var list []string
	for k, v := range m.All() {
		list = append(list, k+"="+v.AsString())
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func events(s ptrace.Span) string {
	var list []string
	for i := range s.Events().Len() {
		list = append(list, s.Events().At(i).Name())
	}
	return strings.Join(list, ", ")
}
