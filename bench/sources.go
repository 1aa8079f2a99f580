package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// writeSources writes a tree of 20,000 files: sources of Go, Java and C that are compiled, packages of npm that are
// installed, and others that nobody reads.
func writeSources(dir string) error {
	w := &sources{dir: dir}
	w.write("py/requirements.txt", "bottle\n")
	w.write("go/go.mod", "module example.org/app\n\ngo 1.19\n")
	var imports, calls strings.Builder
	for p := range 100 {
		fmt.Fprintf(&imports, "\t\"example.org/app/p%03d\"\n", p)
		fmt.Fprintf(&calls, "\tprintln(p%03d.F0(1))\n", p)
		for f := range 10 {
			w.write(fmt.Sprintf("go/p%03d/f%d.go", p, f), fmt.Sprintf("package p%03d\n\nimport \"strings\"\n\nfunc F%d(n int) string { return strings.Repeat(\"x\", n+%d) }\n", p, f, f))
		}
	}
	w.write("go/main.go", "package main\n\nimport (\n"+imports.String()+")\n\nfunc main() {\n"+calls.String()+"}\n")
	for p := range 50 {
		for c := range 20 {
			w.write(fmt.Sprintf("java/p%02d/C%02d.java", p, c),
				fmt.Sprintf("package p%02d;\n\npublic class C%02d {\n\tpublic static String f(int n) { return \"x\".repeat(n + %d) + C%02d.class; }\n}\n", p, c, c, (c+1)%20))
		}
	}
	for d := range 20 {
		for f := range 10 {
			w.write(fmt.Sprintf("c/d%02d/f%d.h", d, f), fmt.Sprintf("int d%02d_f%d(int);\n", d, f))
			w.write(fmt.Sprintf("c/d%02d/f%d.c", d, f), fmt.Sprintf("#include <stdio.h>\n#include \"f%d.h\"\n\nint d%02d_f%d(int n) { return printf(\"%%d\", n + %d); }\n", f, d, f, f))
		}
	}
	w.packages(40)
	for i := 0; w.files < manyFiles && w.err == nil; i++ {
		w.write("other/"+nameOf(i), strings.Repeat(fmt.Sprintf("line of file %d\n", i), 40+i%200))
	}
	return w.err
}

// sources writes files until one fails.
type sources struct {
	dir   string
	files int
	err   error
}

func (w *sources) write(name, text string) {
	if w.err != nil {
		return
	}
	path := filepath.Join(w.dir, name)
	if w.err = os.MkdirAll(filepath.Dir(path), 0o755); w.err == nil {
		w.err = os.WriteFile(path, []byte(text), 0o644)
	}
	w.files++
}

// packages writes an npm project with so many packages of its own, and the lock of it.
func (w *sources) packages(n int) {
	var dependencies, linked []string
	for p := range n {
		name := fmt.Sprintf("lib%02d", p)
		w.write("js/packages/"+name+"/package.json", fmt.Sprintf(`{"name": %q, "version": "1.0.0", "main": "index.js"}`+"\n", name))
		for f := range 20 {
			w.write(fmt.Sprintf("js/packages/%s/lib/f%02d.js", name, f), fmt.Sprintf("module.exports = %d\n", f))
		}
		dependencies = append(dependencies, fmt.Sprintf("%q: \"file:packages/%s\"", name, name))
		linked = append(linked, fmt.Sprintf(`"node_modules/%[1]s": {"resolved": "packages/%[1]s", "link": true}, "packages/%[1]s": {"version": "1.0.0"}`, name))
	}
	all := "{" + strings.Join(dependencies, ", ") + "}"
	w.write("js/package.json", `{"name": "app", "version": "1.0.0", "dependencies": `+all+"}\n")
	w.write("js/package-lock.json", `{"name": "app", "version": "1.0.0", "lockfileVersion": 3, "requires": true, "packages": {`+
		`"": {"name": "app", "version": "1.0.0", "dependencies": `+all+"}, "+strings.Join(linked, ", ")+"}}\n")
}
