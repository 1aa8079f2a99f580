package main

import "testing"

func TestDistance(t *testing.T) {
	s := &scenario{name: "row", limit: &limit{name: "tar to sha256sum"}}
	r := results{}
	if got := r.distance(s, times(300)); got != "" {
		t.Errorf("a limit that was not measured: %q", got)
	}
	r[limitKey(s)] = times(100, 90, 200)
	if got, want := r.limit(s), "0.100 s"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := r.distance(s, times(250, 240, 900)), "×2.50"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestLimitsMeasure(t *testing.T) {
	dir := t.TempDir()
	if err := writeFiles(dir+"/files", 20, 20_000); err != nil {
		t.Fatal(err)
	}
	if err := unpackBusybox(t.Context(), dir+"/busybox"); err != nil {
		t.Fatal(err)
	}
	for _, l := range []*limit{
		processStart("/bin/true"), statFiles(dir + "/files"), tarSum(dir + "/files"), hashing(2 << 20),
		writing(1_000_000, dir+"/dd", dir+"/busybox"), writingAndCopying(1_000_000, dir+"/dd", dir+"/busybox"),
	} {
		if took, err := l.measure(t.Context()); err != nil || took <= 0 {
			t.Errorf("%s: %v, %v", l.name, took, err)
		}
	}
	if _, err := statFiles(dir + "/dd").measure(t.Context()); err == nil {
		t.Error("dd's folder is still there")
	}
}
