package load

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// variants is how many contexts there are that differ in what their files hold.
const variants = 4

// targets are the stages that are built. The last one has a step that runs anew for each N but always gives the same.
var targets = []string{"files", "made", "top"}

const dockerfile = `FROM busybox:latest AS files
COPY c /c
FROM files AS made
RUN mkdir /made && cp -r /c /made/c && cat /c/* | sha256sum > /sum
WORKDIR /srv
RUN cat /c/* /sum > all && ln -s /made /link
FROM files AS cached
RUN --mount=type=cache,target=/k,id=VARIANT \
	[ -e /k/done ] || { cat /c/* > /k/all; touch /k/done; }; cat /k/all | sha256sum > /kept
FROM made AS top
ARG N
COPY --from=cached /kept /kept
RUN cat /c/* /sum /kept | sha256sum > /top
`

// writeContexts writes what the builds read.
func (b *bench) writeContexts() error {
	for v := range variants {
		files := map[string]string{"Dockerfile": strings.ReplaceAll(dockerfile, "VARIANT", fmt.Sprint(v))}
		for i := range 12 {
			files[fmt.Sprint("c/f", i)] = strings.Repeat(fmt.Sprintln("variant", v, "file", i), 1+200*i)
		}
		for name, data := range files {
			path := b.path(fmt.Sprint("context", v), name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// madeOf says what an image was built of.
func madeOf(variant int, target string) string { return fmt.Sprint(target, variant) }

// context is what is built, as arguments of build.
func (b *bench) context(variant int, target string) []string {
	return []string{"--target", target, b.path(fmt.Sprint("context", variant))}
}
