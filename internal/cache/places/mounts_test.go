package places

import "testing"

func TestCheckMounts(t *testing.T) {
	for value, ok := range map[string]bool{
		"all": true, "none": true, "a": true, "a;/b": true, "a,b": true,
		"": false, ";": false, ",": false, "/": false, "a; ;b": false, "all;x": false, "x;none": false, "all;all": false,
	} {
		if err := checkMounts(value); (err == nil) != ok {
			t.Errorf("mounts=%s: %v", value, err)
		}
	}
}
