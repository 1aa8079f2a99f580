package attest

import (
	"reflect"
	"strings"
	"testing"
)

func TestOptions(t *testing.T) {
	var o Options
	for _, text := range []string{"type=sbom", "type=provenance,mode=max,builder-id=https://ci.example/1"} {
		if err := o.Set(text); err != nil {
			t.Fatal(err)
		}
	}
	want := Options{Provenance: &ProvenanceOptions{Max: true, BuilderID: "https://ci.example/1"}, SBOM: &SBOMOptions{}}
	if !reflect.DeepEqual(o, want) {
		t.Errorf("%+v, want %+v", o, want)
	}
	// The last one of a kind counts, whole.
	if err := o.SetKind("provenance", "true"); err != nil || !reflect.DeepEqual(o.Provenance, &ProvenanceOptions{}) {
		t.Errorf("%+v, %v", o.Provenance, err)
	}
	if err := o.SetKind("provenance", "false"); err != nil || o.Provenance != nil {
		t.Errorf("%+v, %v", o.Provenance, err)
	}
	if err := o.Set("type=sbom,disabled=true"); err != nil || o.SBOM != nil {
		t.Errorf("%+v, %v", o.SBOM, err)
	}
}

func TestOptionsRefuse(t *testing.T) {
	for text, want := range map[string]string{
		"mode=max":                        "type=: it is provenance or sbom",
		"type=provenance,mode":            `"mode" is not NAME=VALUE`,
		"type=provenance,reproducible=si": "reproducible=si: it is true or false",
		"type=sbom,generator=me/scanner":  "runs no image for it",
		"type=provenance,disabled=maybe":  "disabled=maybe: it is true or false",
	} {
		var o Options
		if err := o.Set(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestWithoutUser(t *testing.T) {
	for source, want := range map[string]string{
		"https://me:secret@host.example/a.git": "https://host.example/a.git",
		"https://host.example/a.git":           "https://host.example/a.git",
		"git@host.example:a.git":               "git@host.example:a.git",
		"https://token@host.example/a@b":       "https://host.example/a@b",
	} {
		if got := withoutUser(source); got != want {
			t.Errorf("%s: %s, want %s", source, got, want)
		}
	}
}
