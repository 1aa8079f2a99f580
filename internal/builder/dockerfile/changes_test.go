package dockerfile

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/image"
)

// Every instruction, with the config that docker import --change gives (Docker 20.10).
func TestChanges(t *testing.T) {
	for _, test := range []struct {
		lines []string
		want  string
	}{
		{nil, `{}`},
		{[]string{`CMD ["sh"]`}, `{"Cmd":["sh"]}`},
		{[]string{`CMD echo hi`}, `{"Cmd":["/bin/sh","-c","echo hi"]}`},
		{[]string{`ENTRYPOINT ["/init"]`, `CMD ["a"]`}, `{"Entrypoint":["/init"],"Cmd":["a"]}`},
		{[]string{"ENV A=1 B=2\nENV C=$A"}, `{"Env":["A=1","B=2","C=1"]}`},
		{[]string{"ENV PATH=/x"}, `{"Env":["PATH=/x"]}`},
		{[]string{"EXPOSE 80 53/udp"}, `{"ExposedPorts":{"53/udp":{},"80/tcp":{}}}`},
		{[]string{`HEALTHCHECK CMD true`}, `{"Healthcheck":{"Test":["CMD-SHELL","true"]}}`},
		{[]string{`LABEL a=b c="d e"`}, `{"Labels":{"a":"b","c":"d e"}}`},
		{[]string{`ONBUILD RUN true`}, `{"OnBuild":["RUN true"]}`},
		{[]string{`STOPSIGNAL SIGINT`}, `{"StopSignal":"SIGINT"}`},
		{[]string{`USER www:data`}, `{"User":"www:data"}`},
		{[]string{`VOLUME /data`}, `{"Volumes":{"/data":{}}}`},
		{[]string{`WORKDIR /srv`, `WORKDIR app`}, `{"WorkingDir":"/srv/app"}`},
		{[]string{`workdir /srv`}, `{"WorkingDir":"/srv"}`},
	} {
		got, err := ApplyChanges(test.lines)
		if err != nil {
			t.Errorf("%q: %v", test.lines, err)
			continue
		}
		var want image.Runtime
		if err := json.Unmarshal([]byte(test.want), &want); err != nil {
			t.Fatal(err)
		}
		wantJSON, _ := json.Marshal(want)
		gotJSON, _ := json.Marshal(got)
		if diff := cmp.Diff(string(wantJSON), string(gotJSON)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.lines, diff)
		}
	}
}

func TestBadChanges(t *testing.T) {
	for line, want := range map[string]string{
		"RUN true":     "RUN is not an instruction that changes",
		"COPY a b":     "COPY is not",
		"FROM debian":  "FROM is not",
		"ARG A":        "ARG is not",
		"CMMD sh":      "did you mean CMD",
		"EXPOSE 80/ab": "80/ab",
		"ENV":          "ENV",
	} {
		_, err := ApplyChanges([]string{line})
		if err == nil || !strings.HasPrefix(err.Error(), "--change: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
	}
}
