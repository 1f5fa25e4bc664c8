package config

import (
	"bytes"
	"flag"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of docs/config.md and docs/search.md anew")

// The tables of docs/config.md, from its first one on, are those that configs are read by.
func TestReferenceIsDocumented(t *testing.T) {
	const file = "../../docs/config.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := bytes.Cut(text, []byte("\n## "))
	want := string(head) + "\n" + Reference()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(text) != want {
		t.Errorf("docs/config.md is not what configs are read by: go test ./tools/config -run Reference -update")
	}
}

// every calls f for the rows of a mapping and of all below it.
func every(s section, f func(r row)) {
	for _, r := range s.rows() {
		f(r)
		if r.sub != nil {
			every(r.sub, f)
		}
	}
}

// A config that states each parameter of docs/config.md with the default prior that the page has for it is read, and leaves no
// parameter of its type that the page has not.
func TestConfigsCanBeWrittenFromTheReference(t *testing.T) {
	text, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	written := 0
	for _, section := range strings.Split(string(text), "\n## Parameters of ")[1:] {
		section, _, _ = strings.Cut(section, "\n## ")
		title, body, _ := strings.Cut(section, "\n")
		for column, group := range strings.Split(strings.Trim(title, "`"), "`, `") {
			kind, priors := "", map[string][]string{}
			for _, line := range strings.Split(body, "\n") {
				cells := strings.Split(line, " | ")
				if len(cells) < 6 || cells[1] == "parameter" {
					continue
				}
				if k := strings.Trim(cells[0], "|` "); k != "" {
					kind = k
				}
				prior := strings.Split(cells[5+column], "`")[1]
				priors[kind] = append(priors[kind], strings.Trim(cells[1], "`")+": "+prior)
			}
			for kind, list := range priors {
				written++
				c, err := Parse("", []byte("data: {size: 8, noise: 1, pixel_scale: 1}\n"+group+": [{type: "+kind+", priors: {"+strings.Join(list, ", ")+"}}]\n"))
				if err != nil {
					t.Errorf("%s %s: %v", group, kind, err)
				} else if n := len(c.Components()[0].Params); n != len(list) {
					t.Errorf("%s %s: %d parameters are documented, it has %d", group, kind, len(list), n)
				}
			}
		}
	}
	if want := len(KindNames("lens")) + len(KindNames("source")) + len(KindNames("lens_light")); written != want {
		t.Errorf("docs/config.md has %d types of the groups, expected %d", written, want)
	}
}

func TestEveryKeyIsExplained(t *testing.T) {
	keys := map[string]bool{}
	every(topFields, func(r row) {
		keys[r.key] = true
		if r.value == "" || r.help == "" || strings.ContainsAny(r.value+r.without+r.help, "|\n") {
			t.Errorf("%s: found the value %q and the meaning %q, expected both on one line", r.key, r.value, r.help)
		}
	})
	// keys of the documents that users start from
	text, err := os.ReadFile("../../docs/noise.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Join(regexp.MustCompile("(?s)```yaml.*?```").FindAllString(string(text), -1), "\n")
	blocks = regexp.MustCompile(`#.*`).ReplaceAllString(blocks, "")
	said := regexp.MustCompile(`(?m)(?:[{ ]|^)([a-z_]+): `).FindAllStringSubmatch(blocks, -1)
	if len(said) < 20 {
		t.Fatalf("docs/noise.md: found %d keys", len(said))
	}
	for _, m := range said {
		if !keys[m[1]] {
			t.Errorf("docs/noise.md has the key %s, which no table has", m[1])
		}
	}
}

// A default that the tables state is what a config gets where it leaves the key out.
func TestDefaultsAreAsStated(t *testing.T) {
	for _, d := range []struct{ key, with, without string }{
		{"gain", "data: {noise: {exposure: 1, background: 1, gain: DEFAULT}}", "data: {noise: {exposure: 1, background: 1}}"},
		{"fraction", "data: {noise: {sigma: 1, fraction: DEFAULT}}", "data: {noise: {sigma: 1}}"},
		{"tolerance", "data: {supersampling: {adaptive: 4, tolerance: DEFAULT}}", "data: {supersampling: {adaptive: 4}}"},
		{"psf", "data: {psf: DEFAULT}", "data: {}"},
		{"center", "data: {mask: {circle: 1, center: DEFAULT}}", "data: {mask: {circle: 1}}"},
		{"nu", "likelihood: {student_t: {nu: DEFAULT}}", "likelihood: {student_t: {}}"},
		{"likelihood", "likelihood: DEFAULT", ""},
		{"H0", "cosmology: {H0: DEFAULT}", ""},
		{"Omega_m", "cosmology: {Omega_m: DEFAULT}", ""},
		{"interpolation", "source: [{type: decoder, interpolation: DEFAULT}]", "source: [{type: decoder}]"},
		{"smoothness", "source: [{type: pixels, smoothness: DEFAULT}]", "source: [{type: pixels}]"},
		{"envelope", "source: [{type: pixels, envelope: DEFAULT}]", "source: [{type: pixels}]"},
		{"amplitudes", "source: [{type: sersic, amplitudes: DEFAULT}]", "source: [{type: sersic}]"},
		{"scale", "source: [{type: decoder, priors: {z: {bundle: {scale: DEFAULT}}}}]", "source: [{type: decoder, priors: {z: {bundle: }}}]"},
	} {
		stated := ""
		every(topFields, func(r row) {
			if r.key == d.key && stated == "" { // an envelope has an interpolation too
				stated = r.without
			}
		})
		if stated == "" {
			t.Errorf("%s: found no default", d.key)
			continue
		}
		var read []*Config
		for _, text := range []string{strings.Replace(d.with, "DEFAULT", stated, 1), d.without} {
			c, err := Parse("c.yaml", []byte("lens: [{type: sis}]\n"+text))
			if err != nil {
				t.Fatal(err)
			}
			c.Where = nil
			read = append(read, c)
		}
		if !reflect.DeepEqual(read[0], read[1]) {
			t.Errorf("%s: %s is not what %q leaves out", d.key, stated, d.without)
		}
	}
}
