package history

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/strata-build/strata/internal/builder/dockerfile"
	"github.com/strata-build/strata/internal/image"
	"github.com/strata-build/strata/internal/store"
)

func TestDockerfile(t *testing.T) {
	s := openStore(t)
	c := config(
		"+/bin/sh -c #(nop) ADD file:0123456789abcdef0123 in / ",
		`/bin/sh -c #(nop)  CMD ["bash"]`,
		"# debian.sh --arch 'amd64' out/",
		`ENV PATH=/x:$HOME NOTE=say "hi" you`,
		"/bin/sh -c #(nop)  LABEL a.b=c d=",
		"+/bin/sh -c set -eux; \t\tapt-get update && apt-get install -y --no-install-recommends ca-certificates curl 'a && b' && rm -rf /var/lib/apt/lists/*; \tpip --version",
		"+RUN |2 V=1 W=a b /bin/sh -c make $V # buildkit",
		"+RUN /bin/busybox true # buildkit",
		"SHELL [/bin/bash -o pipefail -c]",
		"+RUN /bin/bash -o pipefail -c set -e | cat # buildkit",
		"+COPY --chown=1:1 a b /app/ # buildkit",
		"+COPY --parents a <<EOF <<b /app/ # buildkit",
		"+/bin/sh -c #(nop) COPY --chown=1:1dir:0123456789abcdef0123 in /app ",
		"EXPOSE map[53/udp:{} 8000/tcp:{}]",
		"VOLUME [/data /logs]",
		"HEALTHCHECK {[CMD-SHELL curl -f localhost] 5s 3s 0s 0s 2}",
		"WORKDIR /app",
		"USER nobody",
		"STOPSIGNAL SIGINT",
		`ENTRYPOINT ["/bin/bash" "-o" "pipefail" "-c" "exec app | cat"]`,
		`CMD ["a \"b\"" "c"]`,
		"ONBUILD RUN x",
		"MAINTAINER Somebody <s@example.org>",
		"+bazel build ...",
		"+/bin/sh -c echo \"one\ntwo\"",
	)
	c.Config.Env = []string{"PATH=/x:$HOME", `NOTE=say "hi" you`}
	c.Config.Healthcheck = &image.Healthcheck{Test: []string{"CMD-SHELL", "curl -f localhost"}, Interval: 5 * time.Second, Timeout: 3 * time.Second, Retries: 2}
	c.Config.Labels = map[string]string{"a.b": "c", "d": ""}
	id := putConfig(t, s, c, "", store.Image)
	got := Dockerfile(rowsOf(t, s, id))
	want := `FROM scratch

# image ` + image.ShortID(id) + `
ADD file:0123456789ab /
CMD ["bash"]
# # debian.sh --arch 'amd64' out/
ENV PATH="/x:\$HOME" NOTE="say \"hi\" you"
LABEL a.b=c d=""
RUN set -eux; \
		apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl 'a && b' \
    && rm -rf /var/lib/apt/lists/*; \
	pip --version
RUN make $V
RUN ["/bin/busybox", "true"]
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN set -e | cat
COPY --chown=1:1 a b /app/
COPY --parents a EOF b /app/
COPY --chown=1:1 dir:0123456789ab /app
EXPOSE 53/udp 8000
VOLUME ["/data", "/logs"]
HEALTHCHECK --interval=5s --timeout=3s --retries=2 CMD curl -f localhost
WORKDIR /app
USER nobody
STOPSIGNAL SIGINT
ENTRYPOINT exec app | cat
CMD ["a \"b\"", "c"]
ONBUILD RUN x
MAINTAINER Somebody <s@example.org>
# bazel build ...
RUN ["/bin/sh", "-c", "echo \"one\ntwo\""]
`
	want = strings.Replace(want, `\"one`+"\n"+`two\"`, `\"one\ntwo\"`, 1)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := dockerfile.Parse([]byte(got), "Dockerfile"); err != nil {
		t.Errorf("it does not parse: %v", err)
	}
}

// Whatever a row says, the result has one FROM, parses, and has no control characters.
func FuzzDockerfile(f *testing.F) {
	for _, text := range []string{
		"/bin/sh -c #(nop)  ENV A=b", "RUN |1 A=b /bin/sh -c x \t\ty && z # buildkit", "ENV A b", "LABEL =", "CMD [\"a", "EXPOSE 1-3/tcp", "HEALTHCHECK &{[\"CMD\" \"x\"] \"5s\"}",
		"COPY a", "RUN <<EOF\nx\nEOF", "ONBUILD ONBUILD RUN x", "SHELL [a]", "ENV A=\x1b[2J", "USER \nFROM x", "RUN --mount=type=bind x", "|9 /bin/sh -c x", "WORKDIR $(x", "STOPSIGNAL ", "RUN \\", "/bin/sh -c \\",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := config("+"+text, text)
		c.Config.Env = []string{"A=b"}
		data, err := image.Encode(c)
		if err != nil {
			t.Skip()
		}
		rows := layOut(c)
		rows[1].ID, rows[1].Config = "sha256:0000000000000000000000000000000000000000000000000000000000000000", data
		if err := rebuild(rows); err != nil {
			t.Fatal(err)
		}
		got := Dockerfile(rows)
		if strings.ContainsFunc(got, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' }) {
			t.Errorf("control characters: %q", got)
		}
		for line := range strings.Lines(got) {
			if strings.HasPrefix(line, "FROM") && line != "FROM scratch\n" {
				t.Errorf("a second FROM: %q", got)
			}
		}
	})
}

func TestAssignments(t *testing.T) {
	final := map[string]string{"A": "b", "C": "d e", "F": "x A=1", "Q": "v w"}
	for _, test := range []struct {
		args string
		want []pair
	}{
		{"A=b", []pair{{"A", "b"}}},
		{"A=b C=d e", []pair{{"A", "b"}, {"C", "d e"}}},
		{"A=old C=other text X=1 F=x A=1", []pair{{"A", "old"}, {"C", "other text X=1"}, {"F", "x A=1"}}},
		{"A b", []pair{{"A", "b"}}},
		{`Q="v w" A=b`, []pair{{"Q", "v w"}, {"A", "b"}}},
		{"A=", []pair{{"A", ""}}},
		{"", nil},
		{"=", []pair{{"", ""}}},
	} {
		got := assignments(test.args, final)
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(pair{})); diff != "" {
			t.Errorf("%q: %s", test.args, diff)
		}
	}
}
