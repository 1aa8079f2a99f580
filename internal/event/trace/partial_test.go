package trace

import (
	"testing"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

func FuzzParsePartial(f *testing.F) {
	r := ptraceotlp.NewExportResponse()
	r.PartialSuccess().SetRejectedSpans(3)
	r.PartialSuccess().SetErrorMessage("too many")
	answer, err := r.MarshalProto()
	if err != nil {
		f.Fatal(err)
	}
	if n, text := parsePartial(answer); n != 3 || text != "too many" {
		f.Fatalf("%d %q", n, text)
	}
	f.Add(answer)
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, answer []byte) {
		if n, text := parsePartial(answer); n < 0 || n > maxBatch || len(text) > len(answer) {
			t.Errorf("%d %q", n, text)
		}
	})
}

func FuzzParsePartialJSON(f *testing.F) {
	r := ptraceotlp.NewExportResponse()
	r.PartialSuccess().SetRejectedSpans(3)
	r.PartialSuccess().SetErrorMessage("too many")
	answer, err := r.MarshalJSON()
	if err != nil {
		f.Fatal(err)
	}
	number := []byte(`{"partialSuccess": {"rejectedSpans": 3, "errorMessage": "too many"}}`)
	for _, one := range [][]byte{answer, number} {
		if n, text := parsePartialJSON(one); n != 3 || text != "too many" {
			f.Fatalf("%d %q of %s", n, text, one)
		}
		f.Add(one)
	}
	for _, none := range []string{"", "{}", `{"partialSuccess":{"rejectedSpans":"-3"}}`, `{"partialSuccess":{"rejectedSpans":"x"}}`, "[]"} {
		if n, _ := parsePartialJSON([]byte(none)); n != 0 {
			f.Fatalf("%d of %s", n, none)
		}
		f.Add([]byte(none))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		if n, _ := parsePartialJSON(answer); n < 0 || n > maxBatch {
			t.Errorf("%d", n)
		}
	})
}
