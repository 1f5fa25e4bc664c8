package rundir

import (
	"bytes"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"lenskit/tools/internal/term"
)

// JSON lets U+007F to U+009F stand in strings, where terminals act on them.
func TestJSONHasNoControlCharacters(t *testing.T) {
	in := map[string]string{"a\u009b\u007f\x1b": "é\u0080"}
	var b bytes.Buffer
	if err := EncodeJSON(&b, in); err != nil {
		t.Fatal(err)
	}
	if got := term.Visible(strings.ReplaceAll(b.String(), "\n", "")); got != strings.ReplaceAll(b.String(), "\n", "") {
		t.Errorf("got %s", got)
	}
	out := map[string]string{}
	if err := json.Unmarshal(b.Bytes(), &out); err != nil || !maps.Equal(in, out) {
		t.Errorf("read back %q, %v", out, err)
	}
}
