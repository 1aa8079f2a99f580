package image

import (
	"reflect"
	"testing"
)

// FuzzParse reads any bytes as a config: what is taken can be written and read again, and says of
// every row which layer it made.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"architecture":"amd64","os":"linux","config":{"Env":["A=1"],"Healthcheck":{"Interval":1}},"rootfs":{"type":"layers","diff_ids":["sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"]},"history":[{"created_by":"x"},{"empty_layer":true}]}`))
	f.Add([]byte(`{"rootfs":{"diff_ids":null},"history":[{}]}`))
	f.Add([]byte(`{"rootfs":{"type":"layers","diff_ids":["sha256:.."]},"created":"0000-00-00T00:00:00Z"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			return
		}
		for i := range c.History {
			LayerOf(c, i)
		}
		Created(c)
		ChainID(c.RootFS.DiffIDs)
		first, err := Encode(Clone(c))
		if err != nil {
			return // a time that JSON has no form for
		}
		again, err := Parse(first)
		if err != nil {
			t.Fatalf("%s: %v", first, err)
		}
		second, err := Encode(again)
		if err != nil || !reflect.DeepEqual(first, second) {
			t.Errorf("%s is read and written as %s, %v", first, second, err)
		}
	})
}
