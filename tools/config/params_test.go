package config

import (
	"strings"
	"testing"
)

func TestParamsAreReadOrRefusedWithTheirPlace(t *testing.T) {
	for _, text := range []string{`{"a": 1.5, "b.c": -2e-3}`, `{"status": "x", "parameters": {"a": 1.5, "b.c": -2e-3}}`} {
		v, err := ParseParams([]byte(text))
		if err != nil || len(v) != 2 || v["a"] != 1.5 || v["b.c"] != -2e-3 {
			t.Errorf("%s: got %v, %v", text, v, err)
		}
	}
	for _, row := range []struct{ text, want string }{
		{``, "line 1, column 1: is not valid JSON: it ends too soon"},
		{`[1]`, "line 1, column 1: found a list, expected an object of parameter names and numbers"},
		{"{\"a\": 1,\n \"b\": null}", "line 2, column 7: b: found null, expected a number"},
		{`{"a": {"x": 1}}`, "line 1, column 7: a: found an object, expected a number"},
		{`{"a": 1, "a": 2}`, "line 1, column 10: a stands here a second time"},
		{`{"a": 1e999}`, "a: found 1e999, expected a number"},
		{`{"a": 1`, "is not valid JSON: it ends too soon"},
		{`{"a": 1} 2`, "line 1, column 10: found more after the object"},
		{`{"a": nan}`, "is not valid JSON"},
		{`{"a": [1, 2]}`, "line 1, column 7: a: found a list, expected numbers by the names a.1, a.2"},
	} {
		if _, err := ParseParams([]byte(row.text)); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %q", row.text, err, row.want)
		}
	}
}

func FuzzParams(f *testing.F) {
	f.Add([]byte(`{"a": 1, "parameters": {"x": 2}}`))
	f.Add([]byte("{\"a\": [1, \n2]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		ParseParams(data)
	})
}
