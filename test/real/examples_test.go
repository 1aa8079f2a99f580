package real

import "os/exec"

// goProgram is this machine's go, and goProxy where it asks for modules.
var goProgram, goProxy string

// An example is a directory of examples/real, and what is known about it.
type example struct {
	name  string
	bases []string // of test/real/bases
	quick bool     // is built in few seconds and fetches little: a part of `make test`
	args  func(*bench) []string
	// check is a stage that runs the example's own tests, "" for none.
	check string
	// edits are made one after the other, each followed by a build.
	edits []edit
	// changes are shell scripts that edit the files further, as people do: a comment, what the program needs, a new
	// file, one that is renamed or only touched, and what is for people or tests. Each is followed by a build.
	changes []string
	// runs looks at what was built.
	runs func(*bench)
}

// An edit replaces the first old of a file by new. The steps that then run again are those that have one of ran in
// their instruction; all others have to come from the cache.
type edit struct {
	file, old, new string
	ran            []string
}

var examples = []example{
	{
		name: "go", bases: []string{"golang"}, check: "test",
		args: func(b *bench) []string {
			return []string{"--build-arg", "GOPROXY=" + goProxy, "--build-arg", "VERSION=1.2.3"}
		},
		edits: []edit{
			{"internal/links/links.go", `"ok"`, `"fine"`, []string{"go build", "COPY --link --from=build"}},
		},
		changes: []string{
			`echo '// more' >>internal/links/links.go`,
			`echo '// checked' >>go.mod`,
			`echo 'package links' >internal/links/unit.go`,
			`mv internal/links/unit.go internal/links/units.go`,
			`echo '# Links' >README.md`,
		},
		runs: func(b *bench) {
			s := b.serve()
			s.get("/version", "1.2.3")
			s.get("/healthz", "fine")
			s.healthy()
		},
	},
	{
		name: "node", bases: []string{"node"}, check: "test", args: npmConfig,
		edits: []edit{
			{"src/server.ts", "bread", "butter", []string{"COPY src", "npm run build", "--from=build"}},
		},
		changes: []string{
			`echo '// more' >>src/list.ts`,
			`sed -i 's/"1.0.0"/"1.0.1"/' package.json`,
			`echo 'export const unit = 1;' >src/unit.ts`,
			`touch src/*`,
			`echo '// more' >>test/list.test.js`,
		},
		runs: func(b *bench) {
			s := b.serve()
			s.get("/items", `[{"name":"butter","count":1}]`)
			s.healthy()
			if got := b.run("sh", "-c", "id -un; ls node_modules | grep -c typescript; true"); got != "node\n0\n" {
				b.t.Errorf("user, and number of compilers in the image: %q", got)
			}
		},
	},
	{
		name: "python", bases: []string{"python"}, check: "test",
		edits: []edit{
			{"quotes/__init__.py", "Simplicity is", "Simplicity is a", []string{"COPY --link quotes"}},
			{"requirements.txt", "bottle", "# the web\nbottle", []string{"pip install", "--from=venv"}},
		},
		changes: []string{
			`echo '# more' >>quotes/__main__.py`,
			`echo '# the web' >>requirements.txt`,
			`echo 'UNIT = 1' >quotes/unit.py`,
			`mv quotes/unit.py quotes/units.py`,
			`echo '# more' >>tests/test_quotes.py`,
		},
		runs: func(b *bench) {
			s := b.serve()
			s.get("/quotes/dijkstra", "Simplicity is a prerequisite")
			s.get("/quotes", `["dijkstra", "hopper", "knuth"]`)
			s.healthy()
		},
	},
	{
		name: "nginx", bases: []string{"debian"}, quick: true,
		edits: []edit{
			{"site/index.html", "is older", "is the older", []string{"COPY site .", "[site 4/4] RUN", "--from=site"}},
			{"site.conf.template", "1h", "2h", []string{"site.conf.template", "nginx -t"}},
		},
		changes: []string{
			`echo '/* more */' >>site/style.css`,
			`echo '# more' >>nginx.conf`,
			`echo '<p>new' >site/new.html`,
			`mv site/new.html site/news.html`,
			`echo '# Site' >README.md`,
		},
		runs: func(b *bench) {
			s := b.serve()
			s.get("/", "What lies deeper is the older")
			if got := s.header("/style.css", "Content-Encoding", "gzip"); got != "gzip" {
				b.t.Errorf("the stylesheet comes with Content-Encoding %q", got)
			}
			if got := s.header("/style.css", "Cache-Control", ""); got != "max-age=7200" {
				b.t.Errorf("the stylesheet comes with Cache-Control %q", got)
			}
			s.healthy()
		},
	},
	{
		name: "non-root", bases: []string{"debian"}, quick: true,
		edits: []edit{
			{"redis.conf", "64mb", "32mb", []string{"COPY --chown=root:redis", "COPY --chmod=755", "WORKDIR"}},
		},
		changes: []string{
			`echo '# more' >>docker-entrypoint`,
			`echo 'timeout 60' >>redis.conf`,
			`echo 'timeout 30' >other.conf`,
			`touch redis.conf docker-entrypoint`,
			`echo '# Redis' >README.md`,
		},
		runs: func(b *bench) {
			if got := b.run("id", "-un"); got != "redis\n" {
				b.t.Errorf("runs as %q", got)
			}
			if got := b.run("sh", "-c", "find / -xdev -perm /6000 -type f 2>/dev/null; true"); got != "" {
				b.t.Errorf("files that give rights:\n%s", got)
			}
			s := b.serve()
			s.healthy()
			if got := b.run("redis-cli", "-p", s.port, "config", "get", "maxmemory"); got != "maxmemory\n33554432\n" {
				b.t.Errorf("redis answers %q", got)
			}
		},
	},
	{
		name: "private-index", bases: []string{"python"}, quick: true,
		args:  privateIndex,
		edits: []edit{{"invoice.py", "'total':<20", "'sum':<20", []string{"COPY --link invoice.py"}}},
		changes: []string{
			`echo '# more' >>invoice.py`,
			`echo '# the house' >>requirements.txt`,
			`echo 'UNIT = 1' >unit.py`,
			`touch invoice.py requirements.txt`,
			`echo '# Invoice' >README.md`,
		},
		runs: func(b *bench) {
			want := "tea                       3.10\ncake                      4.25\nsum                       7.35\n"
			if got := b.run("tea=3.10", "cake=4.25"); got != want {
				b.t.Errorf("got\n%swant\n%s", got, want)
			}
			b.findsNothing("password", b.secret)
		},
	},
	{
		name: "java", bases: []string{"debian", "java"}, check: "test",
		edits: []edit{
			// jlink runs again and makes the same Java as before: its layer is kept.
			{"src/com/example/tides/Server.java", "03:00:00Z", "04:00:00Z", []string{
				"COPY src", "[build 4/4] RUN", "[runtime 1/1] RUN", "--from=build",
			}},
			{"test/com/example/tides/TidesTest.java", "Instant high", "final Instant high", nil},
		},
		changes: []string{
			`echo '// more' >>src/com/example/tides/Health.java`,
			`sed -i 's/"ok"/"fine"/' src/com/example/tides/Server.java`,
			`echo 'package com.example.tides; class Unit {}' >src/com/example/tides/Unit.java`,
			`rm src/com/example/tides/Unit.java`,
			`echo '// more' >>test/com/example/tides/TidesTest.java`,
		},
		runs: func(b *bench) {
			s := b.serve()
			s.get("/next/2024-01-01T04:00:01Z", "2024-01-01T16:25:14Z")
			s.healthy()
		},
	},
	{
		name: "c", bases: []string{"debian"},
		edits: []edit{
			{"src/main.c", "usage:", "how to use it:", []string{
				"COPY src", "make -j", "COPY test", "make check", "COPY --link --from=build",
			}},
		},
		changes: []string{
			`echo '// more' >>src/count.c`,
			`echo '# more' >>Makefile`,
			`echo '// new' >src/unit.c`,
			`mv src/unit.c src/units.c`,
			`echo 'How they are run' >test/README`,
		},
		runs: func(b *bench) {
			out := b.input("To be, or not to be\n", ":memory:")
			if want := "     2 be\n     2 to\n     1 not\n     1 or\n"; out != want {
				b.t.Errorf("got\n%swant\n%s", out, want)
			}
		},
	},
	{
		name: "distroless", bases: []string{"debian"},
		edits: []edit{
			{"clock.cpp", "%F %R %Z", "%R %Z", []string{
				"COPY clock.cpp", "g++ -std", "COPY --link --from=build",
			}},
		},
		changes: []string{
			`echo '// more' >>clock.cpp`,
			`sed -i 's/no zone/unknown zone/' clock.cpp`,
			`echo '// new' >unit.cpp`,
			`touch clock.cpp`,
			`echo '# Clock' >README.md`,
		},
		runs: func(b *bench) {
			want := "Europe/Berlin       23:13 CET\nAsia/Tokyo          07:13 JST\n"
			if got := b.run("1700000000", "Europe/Berlin", "Asia/Tokyo"); got != want {
				b.t.Errorf("got\n%swant\n%s", got, want)
			}
			if out, err := exec.Command("strata", "run", "--entrypoint", "/bin/sh", b.image).CombinedOutput(); err == nil {
				b.t.Errorf("there is a shell: %s", out)
			}
		},
	},
	{
		name: "monorepo", bases: []string{"node"}, args: npmConfig,
		edits: []edit{
			{"apps/worker/index.js", "reminder", "remember", nil},
			{"packages/dates/README.md", "Days", "Dates", nil},
			{"apps/api/index.js", "}\\n` : \"\"", "}!\\n` : \"\"", []string{"apps/api ./", "WORKDIR /repo/apps/api"}},
		},
		changes: []string{
			`echo '// more' >>apps/api/index.js`,
			`sed -i 's/"private": true/"private": true, "version": "1.0.0"/' package.json`,
			`echo 'exports.unit = 1;' >packages/log/unit.js`,
			`mv packages/log/unit.js packages/log/units.js`,
			`echo 'More.' >>packages/dates/README.md`,
		},
		runs: func(b *bench) {
			s := b.serve()
			s.get("/due/2024-05-17/3", "2024-05-22!")
			s.healthy()
			b.build("--target", "worker", "--build-arg", "APP=worker")
			want := `{"event":"remember","day":"2024-05-17","due":"2024-05-24"}` + "\n"
			if got := b.run("2024-05-17"); got != want {
				b.t.Errorf("the worker prints %q", got)
			}
		},
	},
}
