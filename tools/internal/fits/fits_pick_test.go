package fits

import (
	"bytes"
	"path/filepath"
	"regexp"
	"testing"

	"lenskit/tools/internal/term"
)

// Who names no image, several, or none that is there, is given an example, and the example works.
func TestRefusedExtensionsComeWithAnExample(t *testing.T) {
	example := regexp.MustCompile(`(\S+\.fits\[[^\]]+\]) takes `)
	for _, c := range []struct {
		names   []string // of the images
		version []int
		ext     string
		role    Role
		want    string // the extension of the example
	}{
		{[]string{"SCI", "SCI"}, []int{1, 2}, "", RoleImage, "SCI,1"},
		{[]string{"SCI", "SCI"}, []int{1, 2}, "[SCI]", RoleImage, "SCI,1"},
		{[]string{"A", "B"}, nil, "", RoleImage, "A"},
		{[]string{"SCI", "ERR", "ERR"}, []int{1, 1, 2}, "", RoleNoise, "ERR,1"},
		{[]string{"SCI", "SCI"}, nil, "", RoleImage, "0"},      // both are SCI,1
		{[]string{"SCI", "SCI"}, nil, "[SCI]", RoleImage, "0"}, // likewise
		{[]string{"", ""}, nil, "", RoleImage, "0"},
		{[]string{"7", "8"}, nil, "", RoleImage, "0"}, // a name that is read as a number
		{[]string{"a]b", "c"}, nil, "", RoleImage, "0"},
		{[]string{"SCI", "ERR"}, nil, "[SCX]", RoleImage, "SCI"},
		{[]string{"SCI", "ERR"}, nil, "[9]", RoleImage, "SCI"},
		{[]string{"SCI", "SCI"}, []int{1, 2}, "[SCI,3]", RoleImage, "SCI,1"},
	} {
		path := filepath.Join(t.TempDir(), "a.fits")
		var out []Out
		for i, name := range c.names {
			o := Out{Name: name, Bitpix: -64, Axes: []int{3, 2}, Pix: make([]float64, 6)}
			if c.version != nil {
				o.Cards = []Key{{"EXTVER", c.version[i], ""}}
			}
			out = append(out, o)
		}
		if err := Write(path, out...); err != nil {
			t.Fatal(err)
		}
		_, err := Request{Role: c.role}.Read(path + c.ext)
		if term.ExitCode(err) != term.ExitBadInput {
			t.Errorf("%q%s: got %v", c.names, c.ext, err)
			continue
		}
		var b bytes.Buffer
		term.Report(&b, err)
		found := example.FindStringSubmatch(b.String())
		if found == nil {
			t.Errorf("%q%s: no example in %s", c.names, c.ext, &b)
			continue
		}
		if want := path + "[" + c.want + "]"; found[1] != want {
			t.Errorf("%q%s: got the example %s, want %s", c.names, c.ext, found[1], want)
		}
		if _, err := (Request{Role: c.role}).Read(found[1]); err != nil {
			t.Errorf("%q%s: the example %s does not work: %v", c.names, c.ext, found[1], err)
		}
	}
}
