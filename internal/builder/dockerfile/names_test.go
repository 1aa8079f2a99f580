package dockerfile

import (
	"reflect"
	"testing"
)

func TestNames(t *testing.T) {
	f, err := Parse([]byte(`ARG BASE=debian
FROM $BASE AS build
ARG VERSION=1 DEBUG
RUN --mount=type=secret,id=npm --mount=type=ssh --mount=type=secret,target=/run/secrets/pip true
FROM scratch AS test
ARG VERSION
RUN --mount=type=ssh,id=github --mount=type=secret,id=npm true
FROM build
`), "Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	want := Names{
		Stages: []string{"build", "test"}, Args: []string{"BASE", "VERSION", "DEBUG"},
		Secrets: []string{"npm", "pip"}, SSH: []string{"default", "github"},
	}
	if got := f.Names(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
