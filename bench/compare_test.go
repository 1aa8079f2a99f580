package main

import (
	"strings"
	"testing"
)

func TestReportChanges(t *testing.T) {
	same, worse, missing := &scenario{name: "the same"}, &scenario{name: "worse"}, &scenario{name: "new"}
	now := contender{&strata{label: "strata"}, []*scenario{same, worse, missing}}
	before := contender{&strata{label: "v1"}, nil}
	r := results{
		key(same, now): times(100, 101, 99, 100, 100), key(same, before): times(100, 99, 101, 100, 100),
		key(worse, now): times(130, 131, 130, 140, 130), key(worse, before): times(100, 99, 101, 100, 100),
		key(missing, now): times(100, 100, 100, 100, 100),
	}
	var out strings.Builder
	err := reportChanges(&out, []contender{now, before}, r)
	if err == nil || !strings.Contains(err.Error(), "slower by more than 10 % than v1: worse") {
		t.Errorf("error %v", err)
	}
	for _, want := range []string{
		"| the same | 0.100 s | 0.100 s | 1.00 (0.98 to 1.02) |  |  |\n",
		"| worse | 0.100 s | 0.130 s | 1.30 (1.29 to 1.40) | slower by more than 10 % |  |\n",
		"| new | fails | 0.100 s | | | |\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no line %q in\n%s", want, out.String())
		}
	}
	now.scenarios = []*scenario{same, missing}
	if err := reportChanges(&out, []contender{now, before}, r); err != nil {
		t.Errorf("nothing got slower: %v", err)
	}
}
