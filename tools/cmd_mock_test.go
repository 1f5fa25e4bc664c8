package tools

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lenskit/tools/internal/term"
	"lenskit/tools/mock"
)

const mockFilesModel = "data: {size: 12, pixel_scale: 0.2, noise: 0.1}\nlens: [{type: sie, priors: {theta_E: {truth: 0.8}}}]\nsource: [{type: sersic}]\n"

// What stands beside a mock and is not a mock's is kept; a mock may be made again, also with another seed.
func TestAMockSparesFilesThatAreNotItsOwn(t *testing.T) {
	for _, row := range []struct {
		name     string
		mine     string // a file of someone's own
		edited   string // a file of the mock that is changed by hand
		model    string // the config's name
		want     string // the file that the error names; "": none
		wantText string
		moved    bool // the file goes aside, and the mock is made
	}{
		{name: "own files", model: "model.yaml"},
		{name: "a config of someone's own", mine: "x.yaml", model: "model.yaml", want: "x.yaml", moved: true},
		{name: "parameters of someone's own", mine: "x.truth.json", model: "model.yaml", want: "x.truth.json", moved: true},
		{name: "an edited config", edited: "x.yaml", model: "model.yaml", want: "x.yaml", moved: true},
		{name: "edited parameters", edited: "x.truth.json", model: "model.yaml", want: "x.truth.json", moved: true},
		{name: "the model itself", model: "x.yaml", want: "x.yaml", wantText: "would overwrite the input"},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			at := func(name string) string { return filepath.Join(dir, name) }
			write := func(name, text string) {
				if err := os.WriteFile(at(name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			write(row.model, mockFilesModel)
			var told strings.Builder
			mock := func(seed uint64) error {
				told.Reset()
				_, err := mock.Simulate(context.Background(), mock.Options{Config: at(row.model), Output: at("x.fits"), Seed: seed}, term.NewProgress(&told, true))
				return err
			}
			if row.mine != "" {
				write(row.mine, "my own\n")
			} else if row.want == "" || row.edited != "" {
				for _, seed := range []uint64{1, 1, 2, 1} {
					if err := mock(seed); err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
				}
			}
			if row.want == "" {
				if err := os.Remove(at("x.fits")); err != nil { // as where the mock was killed before its image was written
					t.Fatal(err)
				}
				if err := mock(1); err != nil {
					t.Error(err)
				}
				return
			}
			if row.edited != "" {
				text, err := os.ReadFile(at(row.edited))
				if err != nil {
					t.Fatal(err)
				}
				write(row.edited, string(text)+"\n\n")
			}
			before := map[string]string{}
			for _, name := range []string{"x.fits", "x.yaml", "x.truth.json"} {
				text, _ := os.ReadFile(at(name))
				before[name] = string(text)
			}
			err := mock(3)
			if row.moved {
				kept, _ := os.ReadFile(at("before-1/" + row.want))
				if err != nil || string(kept) != before[row.want] || !strings.Contains(told.String(), row.want+" moved to ") {
					t.Errorf("got %v, told %q, kept %q", err, told.String(), kept)
				}
				if text, _ := os.ReadFile(at(row.want)); string(text) == before[row.want] || len(text) == 0 {
					t.Errorf("%s is not the mock's", row.want)
				}
				return
			}
			if term.ExitCode(err) != term.ExitBadInput || !strings.HasPrefix(err.Error(), at(row.want)+": ") || !strings.Contains(err.Error(), row.wantText) {
				t.Errorf("got %v, want %s: … %s", err, row.want, row.wantText)
			}
			for name, was := range before {
				if text, _ := os.ReadFile(at(name)); string(text) != was {
					t.Errorf("%s has changed", name)
				}
			}
		})
	}
}
