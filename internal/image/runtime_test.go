package image

import (
	"reflect"
	"testing"
)

// A copy shares nothing with the original, whatever fields the specification gets.
func TestCloneRuntime(t *testing.T) {
	var c Runtime
	fill(reflect.ValueOf(&c).Elem())
	d := CloneRuntime(c)
	if !reflect.DeepEqual(c, d) {
		t.Fatalf("%+v, want %+v", d, c)
	}
	apart(t, "Runtime", reflect.ValueOf(c), reflect.ValueOf(d))
}

// fill sets every field to something that is not zero.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	default:
		v.SetInt(1)
	}
}

// apart finds memory that two equal values have in common.
func apart(t *testing.T, name string, a, b reflect.Value) {
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			apart(t, name+"."+a.Type().Field(i).Name, a.Field(i), b.Field(i))
		}
	case reflect.Pointer, reflect.Slice, reflect.Map:
		if a.Pointer() == b.Pointer() {
			t.Errorf("%s is shared", name)
		}
		if a.Kind() == reflect.Pointer {
			apart(t, name, a.Elem(), b.Elem())
		}
	}
}
