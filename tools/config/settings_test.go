package config

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestSettingsAreWrittenAsTheyAreRead(t *testing.T) {
	const model = "\nlens: [{type: sis}]"
	for _, row := range []struct{ text, want string }{
		{"", ""},
		{"search: {}", ""},
		{"search: {draw_steps: 20, kept_fall: 1e-3}", "search:\n  draw_steps: 20\n  kept_fall: 0.001\n"},
		{"search:\n  source_reach: 1.5\n  polish_rate: 0.00001\n  coarse_side: 64\n", "search:\n  source_reach: 1.5\n  polish_rate: 0.00001\n  coarse_side: 64\n"},
	} {
		c, err := Parse("c.yaml", []byte(row.text+model))
		if err != nil {
			t.Fatal(err)
		}
		text := c.Text(".")
		if _, got, _ := strings.Cut(text, "search:"); row.want != "" && "search:"+got != row.want || row.want == "" && strings.Contains(text, "search") {
			t.Errorf("%s: got\n%s", row.text, text)
		}
		back, err := Parse("c.yaml", []byte(text))
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if !reflect.DeepEqual(c.Search, back.Search) || c.Settings() != back.Settings() {
			t.Errorf("%s: read back %+v", row.text, back.Search)
		}
	}
	c, err := Parse("c.yaml", []byte("search: {draw_steps: 20, kept_fall: 0.25}"+model))
	if err != nil {
		t.Fatal(err)
	}
	want := DefaultSettings()
	want.DrawSteps, want.KeptFall = 20, 0.25
	if got := c.Settings(); got != want {
		t.Errorf("got %+v", got)
	}
}

func TestBadSettingsAreRefused(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"search: {draw_step: 20}", `c.yaml:1:10: unknown key "draw_step": did you mean "draw_steps"?`},
		{"serch: {draw_steps: 20}", `unknown key "serch": did you mean "search"?`},
		{"search: {draw_steps: 0}", `c.yaml:1:22: search.draw_steps: found "0", expected a whole number from 1 to 10000`},
		{"search: {draw_steps: 1.5}", `search.draw_steps: found "1.5", expected a whole number`},
		{"search: {same_lens: -1}", `search.same_lens: found "-1", expected a number from 0 to 100 (unit: arcsec)`},
		{"search: {same_lens: .inf}", "search.same_lens: found \".inf\", expected a finite number"},
		{"search: {same_lens: near}", `search.same_lens: found "near", expected a number`},
		{"search: {lenses: 2, lenses: 3}", "lenses"},
		{"search: 3", `search: found "3", expected a mapping of settings`},
	} {
		_, err := Parse("c.yaml", []byte(row.text+"\nlens: [{type: sis}]"))
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %s", row.text, err, row.want)
		}
	}
}

// value is the setting among all of them.
func (s *setting) value(all *Settings) float64 {
	v := reflect.ValueOf(all).Elem().Field(s.field)
	if s.Whole {
		return float64(v.Int())
	}
	return v.Float()
}

// settingRows are the rows of docs/search.md by key: what settings.go says of each field, with keys in place of fields.
func settingRows(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "settings.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	names := reflect.TypeFor[Settings]()
	var keys []string
	for i := range names.NumField() {
		keys = append(keys, names.Field(i).Name, "`"+names.Field(i).Tag.Get("json")+"`")
	}
	means := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		if f, ok := n.(*ast.Field); ok && f.Tag != nil { // Settings alone has tags
			means[f.Names[0].Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
		}
		return true
	})
	rows := map[string]string{}
	for _, s := range settingList {
		name := names.Field(s.field).Name
		what, ok := strings.CutPrefix(means[name], name+" is ")
		if !ok {
			if what, ok = strings.CutPrefix(means[name], name+" are "); !ok {
				t.Errorf("%s: found %q, expected a comment that begins with %s is or %[1]s are", name, means[name], name)
			}
		}
		what = strings.NewReplacer(keys...).Replace(strings.TrimSuffix(what, "."))
		rows[s.Key] = fmt.Sprintf("| `%s` | %g | %s | %g to %g | %s |", s.Key, s.Default, s.Unit, s.Lo, s.Hi, what)
	}
	return rows
}

// withRows is a page with those rows of settings in place of the ones that it has, and new ones below the setting before.
func withRows(text string, rows map[string]string) string {
	lines := strings.Split(text, "\n")
	keyOf := func(line string) string {
		rest, _ := strings.CutPrefix(line, "| `")
		key, _, is := strings.Cut(rest, "` | ")
		if !is || rest == line {
			return ""
		}
		return key
	}
	there := map[string]bool{}
	for _, line := range lines {
		there[keyOf(line)] = true
	}
	var want []string
	for _, line := range lines {
		key := keyOf(line)
		if key == "" {
			want = append(want, line)
			continue
		}
		for k := slices.IndexFunc(settingList, func(s setting) bool { return s.Key == key }); k >= 0 && k < len(settingList); k++ {
			if s := settingList[k]; s.Key == key || !there[s.Key] {
				want = append(want, rows[s.Key])
				continue
			}
			break
		}
	}
	return strings.Join(want, "\n")
}

// TestEverySettingIsDocumented: each has its default within its range, and its row in docs/search.md says what the struct says.
func TestEverySettingIsDocumented(t *testing.T) {
	for i := range reflect.TypeFor[Settings]().NumField() {
		tag := reflect.TypeFor[Settings]().Field(i).Tag
		lo, hi, _ := strings.Cut(tag.Get("range"), ",")
		for _, text := range []string{tag.Get("default"), lo, hi} {
			if _, err := strconv.ParseFloat(text, 64); err != nil {
				t.Errorf("%s: %v", tag, err)
			}
		}
	}
	all := DefaultSettings()
	for _, s := range settingList {
		if v := s.value(&all); v != s.Default || !(v >= s.Lo && v <= s.Hi) || s.Unit == "" {
			t.Errorf("%s is %g %s by default, its range %g to %g", s.Key, v, s.Unit, s.Lo, s.Hi)
		}
	}
	const path = "../../docs/search.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := withRows(string(text), settingRows(t))
	if n := strings.Count(page, "\n| `"); n != len(settingList) {
		t.Errorf("docs/search.md has %d rows for %d settings", n, len(settingList))
	}
	if *update {
		if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if string(text) != page {
		t.Errorf("docs/search.md has other rows than settings.go: run with -update and look at the change")
	}
	written, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]float64
	if err := json.Unmarshal(written, &keys); err != nil || len(keys) != len(settingList) {
		t.Errorf("%d keys are written for %d settings (%v)", len(keys), len(settingList), err)
	}
	var back Settings
	if err := json.Unmarshal(written, &back); err != nil || back != all {
		t.Errorf("read back %+v (%v)", back, err)
	}
}
