package trace

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxAnswer is how much of a collector's answer is read.
const maxAnswer = 64 << 10

// busyError is a refusal after which a collector asks to be tried again.
type busyError struct{ error }

func (e *busyError) Unwrap() error { return e.error }

// unreachableError is a collector that does not answer.
type unreachableError struct{ error }

func (e *unreachableError) Unwrap() error { return e.error }

// partialError is that a collector took a batch but for some spans.
type partialError struct {
	rejected int
	error
}

// rejected is how many of n spans that were sent are lost with an error.
func rejected(err error, n int) int {
	var partial *partialError
	if errors.As(err, &partial) {
		return min(partial.rejected, n)
	}
	return n
}

// sender sends batches to a collector.
type sender struct {
	config *Config
	client *http.Client
}

func newSender(c *Config) (*sender, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ForceAttemptHTTP2 = true
	if c.protocol == overGRPC {
		// gRPC is HTTP/2, which without TLS nobody negotiates.
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetHTTP2(true)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	var err error
	if transport.TLSClientConfig, err = c.tls.config(); err != nil {
		return nil, err
	}
	// The headers are for the endpoint, and for nobody whom it names.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &sender{c, &http.Client{Transport: transport, CheckRedirect: stay}}, nil
}

// config reads the files, nil where there are none.
func (c certificates) config() (*tls.Config, error) {
	if c == (certificates{}) {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.authorities != "" {
		pem, err := os.ReadFile(c.authorities)
		if err != nil {
			return nil, fmt.Errorf("reading OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: there is no certificate in %s", c.authorities)
		}
	}
	if c.certificate != "" || c.key != "" {
		own, err := tls.LoadX509KeyPair(c.certificate, c.key)
		if err != nil {
			return nil, fmt.Errorf("reading OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and OTEL_EXPORTER_OTLP_CLIENT_KEY: %w", err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}

// send sends a batch. The error is a busyError or unreachableError where it may be sent again later.
func (s *sender) send(ctx context.Context, b *batch) error {
	if s.config.protocol == overGRPC {
		return s.sendGRPC(ctx, b.proto())
	}
	body, kind := b.proto(), "application/x-protobuf"
	if s.config.protocol == overJSON {
		var err error
		if body, err = b.json(); err != nil {
			return err
		}
		kind = "application/json"
	}
	header := http.Header{"Content-Type": {kind}}
	if s.config.gzip {
		header.Set("Content-Encoding", "gzip")
		body = compressed(body)
	}
	resp, answer, err := s.post(ctx, header, body)
	if err != nil {
		return err
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return &busyError{s.refused(resp, answer)}
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return s.refused(resp, answer)
	}
	switch kind := resp.Header.Get("Content-Type"); {
	case strings.HasPrefix(kind, "application/x-protobuf"):
		return s.partial(parsePartial(answer))
	case strings.HasPrefix(kind, "application/json"):
		return s.partial(parsePartialJSON(answer))
	}
	return nil
}

// refused is the error of an answer that is none of success.
func (s *sender) refused(resp *http.Response, answer []byte) error {
	err := fmt.Errorf("%s answered %s", s.config.address(), resp.Status)
	if kind := resp.Header.Get("Content-Type"); strings.HasPrefix(kind, "text/plain") && len(answer) > 0 {
		err = fmt.Errorf("%w: %s", err, line(string(answer)))
	}
	return err
}

// sendGRPC makes the call of a gRPC service that has one message in and one out:
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
func (s *sender) sendGRPC(ctx context.Context, message []byte) error {
	header := http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
	var flag byte
	if s.config.gzip {
		header.Set("Grpc-Encoding", "gzip")
		message, flag = compressed(message), 1
	}
	body := append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(message))), message...)
	resp, answer, err := s.post(ctx, header, body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/grpc") {
		return fmt.Errorf("%w; %s", s.refused(resp, nil), s.other())
	}
	status, text := resp.Trailer.Get("Grpc-Status"), resp.Trailer.Get("Grpc-Message")
	if status == "" { // of an answer without a message, the trailers are its headers
		status, text = resp.Header.Get("Grpc-Status"), resp.Header.Get("Grpc-Message")
	}
	if status == "0" {
		if len(answer) < 5 || answer[0] != 0 {
			return nil
		}
		return s.partial(parsePartial(answer[5:]))
	}
	if decoded, err := url.PathUnescape(text); err == nil {
		text = decoded
	}
	err = fmt.Errorf("%s answered with the gRPC status %s: %s", s.config.address(), strconv.Quote(status), line(text))
	switch status {
	case "1", "4", "10", "11", "14", "15": // those that OTLP says can be tried again
		return &busyError{err}
	}
	return err
}

// post sends a body, and reads the answer whole, so that its trailers are there too.
func (s *sender) post(ctx context.Context, header http.Header, body []byte) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.config.endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header = header
	req.Header.Set("User-Agent", "OTel-OTLP-Exporter-Strata")
	for name, value := range s.config.headers {
		req.Header.Set(name, value)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, nil, &unreachableError{s.explain(err)}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, nil, &unreachableError{fmt.Errorf("reading the answer of %s: %w", s.config.address(), err)}
	}
	return resp, answer, nil
}

// other is what to do where a collector does not speak the protocol.
func (s *sender) other() string {
	other := overGRPC
	if s.config.protocol == overGRPC {
		other = overProto
	}
	return fmt.Sprintf("%s may not be what is spoken there: OTEL_EXPORTER_OTLP_PROTOCOL=%s is the other protocol", s.config.protocol, other)
}

// explain is an error of http.Client without its address, which may hold a password.
func (s *sender) explain(err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err
	}
	err = fmt.Errorf("sending to %s: %w", s.config.address(), err)
	var connecting *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &connecting), errors.As(err, &certificate), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return fmt.Errorf("%w; %s", err, s.other())
}

// partial is the error of an ExportTraceServiceResponse: nil where the collector took all spans. Its partial_success says how
// many it rejected and why; one without a number is a remark, which nobody needs here.
func (s *sender) partial(rejected int, text string) error {
	if rejected <= 0 {
		return nil
	}
	return &partialError{rejected, fmt.Errorf("%s rejected them: %s", s.config.address(), line(text))}
}

// parsePartialJSON is parsePartial for an answer in JSON, which has 64-bit numbers as text (protobuf's JSON mapping); a number
// does as well.
func parsePartialJSON(answer []byte) (rejected int, text string) {
	var r struct {
		PartialSuccess struct {
			RejectedSpans json.RawMessage `json:"rejectedSpans"`
			ErrorMessage  string          `json:"errorMessage"`
		} `json:"partialSuccess"`
	}
	if json.Unmarshal(answer, &r) != nil {
		return 0, ""
	}
	n, err := strconv.ParseInt(strings.Trim(string(r.PartialSuccess.RejectedSpans), `"`), 10, 64)
	if err != nil || n < 0 {
		n = 0
	}
	return int(min(n, maxBatch)), r.PartialSuccess.ErrorMessage
}

// parsePartial reads the number and the text of an answer, whose partial_success is field 1; 0 and "" of what is none.
func parsePartial(answer []byte) (rejected int, text string) {
	fields(answer, func(field protowire.Number, _ uint64, content []byte) {
		if field != 1 {
			return
		}
		fields(content, func(field protowire.Number, number uint64, content []byte) {
			switch field {
			case 1:
				rejected = int(min(number, maxBatch))
			case 2:
				text = string(content)
			}
		})
	})
	return rejected, text
}

// fields calls f for each field of a message that is a number or has a length, until the message ends or is none.
func fields(b []byte, f func(field protowire.Number, number uint64, content []byte)) {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return
		}
		b = b[n:]
		var number uint64
		var content []byte
		switch kind {
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			content, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(field, kind, b)
		}
		if n < 0 {
			return
		}
		f(field, number, content)
		b = b[n:]
	}
}

func compressed(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

// line is the first line of a collector's text, as an error can hold it.
func line(text string) string {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	return strconv.Quote(text[:min(len(text), 200)])
}
