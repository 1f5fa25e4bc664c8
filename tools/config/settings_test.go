package config

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
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

// TestEverySettingIsDocumented: each has its default within its range, and its row in docs/search.md says what the struct says.
func TestEverySettingIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/search.md")
	if err != nil {
		t.Fatal(err)
	}
	all := DefaultSettings()
	for _, s := range settingList {
		v := s.Value(&all)
		if !(v >= s.Lo && v <= s.Hi) || s.Unit == "" {
			t.Errorf("%s is %g %s by default, its range %g to %g", s.Key, v, s.Unit, s.Lo, s.Hi)
		}
		if row := fmt.Sprintf("\n| `%s` | %g | %s | %g to %g | ", s.Key, v, s.Unit, s.Lo, s.Hi); !strings.Contains(string(text), row) {
			t.Errorf("docs/search.md has no row %s", strings.TrimSpace(row))
		}
	}
	if n := strings.Count(string(text), "\n| `"); n != len(settingList) {
		t.Errorf("docs/search.md has %d rows for %d settings", n, len(settingList))
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
