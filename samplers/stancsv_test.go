package samplers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/internal/disk"
)

var update = flag.Bool("update", false, "write testdata/stan-*.csv")

var csvNames = []string{"lens.sple.r_ein", "source.decoder.z.1", "source.decoder.z.2", "sky"}

func csvChain(t *testing.T, id int) *Chain {
	t.Helper()
	c, err := NewChain(quartic(4), make([]float64, 4), nil, Options{Warmup: 100, Draws: 50}, 6, id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestStanCSVIsReadBackAndByArviZ compares the files with stored ones, which ArviZ has read: testdata/from_cmdstan.py
// stored the statistics it found in testdata/from_cmdstan.json.
func TestStanCSVIsReadBackAndByArviZ(t *testing.T) {
	var chains [][][]float64 // parameter, chain, draw
	for range csvNames {
		chains = append(chains, nil)
	}
	for id := 0; id < 2; id++ {
		stored := filepath.Join("testdata", []string{"stan-1.csv", "stan-2.csv"}[id])
		path := filepath.Join(t.TempDir(), "samples.csv")
		c := csvChain(t, id)
		w, err := CreateStanCSV(path, c, csvNames, nil)
		if err != nil {
			t.Fatal(err)
		}
		var trace Trace
		both := RecorderFunc(func(d Draw) error {
			if err := trace.Record(d); err != nil {
				return err
			}
			return w.Record(d)
		})
		if err := Sample(context.Background(), []*Chain{c}, both); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(stored, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		d, err := ReadStanCSV(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		kept := trace.Chains()[id]
		for i := range kept.Info {
			kept.Info[i].place, kept.Info[i].energyError = nil, 0
		}
		if !reflect.DeepEqual(d.Names, csvNames) || !reflect.DeepEqual(d.X, kept.X) || !reflect.DeepEqual(d.LogProb, kept.LogProb) || !reflect.DeepEqual(d.Info, kept.Info) {
			t.Errorf("chain %d is not read back as it was written", id)
		}
		if d.Settings["num_samples"] != "50" || d.Settings["engine"] != "nuts" || d.Settings["seed"] != "6" || d.Settings["Step size"] != float(c.StepSize()) {
			t.Errorf("settings: %v", d.Settings)
		}
		old, err := os.ReadFile(stored)
		if err != nil {
			t.Fatal(err)
		}
		od, err := ReadStanCSV(bytes.NewReader(old))
		if err != nil {
			t.Fatal(err)
		}
		if len(od.X) != 50 {
			t.Errorf("%s has %d draws", stored, len(od.X))
		}
		for k := range csvNames {
			chains[k] = append(chains[k], od.Column(k))
		}
	}
	text, err := os.ReadFile("testdata/from_cmdstan.json")
	if err != nil {
		t.Fatal(err)
	}
	var ref struct {
		Shapes map[string][]int
		Stats  map[string]struct{ Mean, RHat, ESSBulk float64 }
	}
	if err := json.Unmarshal(text, &ref); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(ref.Shapes["source_decoder_z"], []int{2, 50, 2}) || !reflect.DeepEqual(ref.Shapes["lens_sple_r_ein"], []int{2, 50}) {
		t.Errorf("ArviZ found shapes %v", ref.Shapes)
	}
	for k, name := range csvNames {
		s := Summarize(name, chains[k])
		want, ok := ref.Stats[StanColumn(name)]
		if !ok {
			t.Fatalf("ArviZ found no %s", name)
		}
		check.Close(t, name+" mean", s.Mean, want.Mean, 1e-10, 1)
		check.Close(t, name+" R̂", s.RHat, want.RHat, 1e-9, 0)
		check.Close(t, name+" bulk ESS", s.ESSBulk, want.ESSBulk, 1e-9, 0)
	}
}

func TestStanCSVResumesFromAnyRow(t *testing.T) {
	dir := t.TempDir()
	write := func(path string) []byte {
		c := csvChain(t, 0)
		w, err := CreateStanCSV(path, c, csvNames, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := Sample(context.Background(), []*Chain{c}, w); err != nil {
			t.Fatal(err)
		}
		w.Close()
		text, _ := os.ReadFile(path)
		return text
	}
	whole := write(filepath.Join(dir, "whole.csv"))
	for _, rows := range []int{0, 1, 17, 50} {
		// Make the chain's state after so many draws; the file is ahead of it and ends in a torn line.
		c := csvChain(t, 0)
		for c.Counts().Draws < rows || c.Warming() {
			if _, err := c.Step(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(dir, "cut.csv")
		if err := os.WriteFile(path, whole[:len(whole)-11], 0o644); err != nil {
			t.Fatal(err)
		}
		end, err := findRow(bytes.NewReader(whole), rows, stanColumns(csvNames))
		if err != nil {
			t.Fatal(err)
		}
		sum := disk.SumOf(whole[:end])
		if rows == 50 {
			if _, err := ResumeStanCSV(path, rows, sum, csvNames, nil); err == nil || !strings.Contains(err.Error(), "found 49 whole draws, expected 50") {
				t.Errorf("got %v", err)
			}
			continue
		}
		// an edited row is noticed, and the file stays as it is
		edited := bytes.Clone(whole[:len(whole)-11])
		edited[end-3] ^= 1
		if err := os.WriteFile(path, edited, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ResumeStanCSV(path, rows, sum, csvNames, nil); !errors.Is(err, ErrChanged) {
			t.Errorf("a changed file of %d rows: got %v", rows, err)
		}
		if got, _ := os.ReadFile(path); !bytes.Equal(got, edited) {
			t.Error("a changed file was cut")
		}
		if err := os.WriteFile(path, whole[:len(whole)-11], 0o644); err != nil {
			t.Fatal(err)
		}
		w, err := ResumeStanCSV(path, rows, sum, csvNames, nil)
		if err != nil {
			t.Fatal(err)
		}
		if w.Sum() != sum {
			t.Errorf("resumed after %d rows, the sum is %s, want %s", rows, w.Sum(), sum)
		}
		if err := Sample(context.Background(), []*Chain{c}, w); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if w.Sum() != disk.SumOf(whole) {
			t.Errorf("resumed after %d rows, the sum is not the file's", rows)
		}
		if got, _ := os.ReadFile(path); !bytes.Equal(got, whole) {
			t.Errorf("resumed after %d rows, the file differs", rows)
		}
	}
	if _, err := ResumeStanCSV(filepath.Join(dir, "whole.csv"), 1, "", []string{"a"}, nil); err == nil || !strings.Contains(err.Error(), "found columns") {
		t.Errorf("got %v", err)
	}
}

func TestStanColumns(t *testing.T) {
	for name, want := range map[string]string{
		"source.decoder.z.7": "source_decoder_z.7", "lens.sple.r_ein": "lens_sple_r_ein", "sky": "sky", "a.2.3": "a.2.3", "a.0": "a_0", "a.2.b": "a_2_b", "7": "7",
	} {
		if got := StanColumn(name); got != want {
			t.Errorf("StanColumn(%q) = %q, want %q", name, got, want)
		}
	}
	c := csvChain(t, 0)
	for _, names := range [][]string{{"a", "b", "a", "c"}, {"a.b", "a_b", "c", "d"}, {"a,b", "c", "d", "e"}, {"", "a", "b", "c"}, {"lp__", "a", "b", "c"}, {}, {"a"}} {
		if _, err := CreateStanCSV(filepath.Join(t.TempDir(), "x.csv"), c, names, nil); err == nil {
			t.Errorf("accepted %q", names)
		}
	}
}

func TestReadStanCSVSaysWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "found no line of columns",
		"# only = comments\n":     "found no line of columns",
		"lp__,a\n1,2,3\n":         "line 2: found 3 fields, expected 2",
		"lp__,a\n1,2\n1,banana\n": "line 3: field 2: found \"banana\", expected a number",
	} {
		if _, err := ReadStanCSV(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", text, err)
		}
	}
	d, err := ReadStanCSV(strings.NewReader("# num_warmup = 1\n# save_warmup = 1\nlp__,a,b.1\n-1,2,3\n-4,5,6\n-7,8"))
	if err != nil || len(d.X) != 1 || d.X[0][1] != 6 || d.LogProb[0] != -4 {
		t.Errorf("got %+v, %v", d, err)
	}
}

func FuzzReadStanCSV(f *testing.F) {
	f.Add("# a = b\nlp__,energy__,x.1\n1,2,3\n")
	f.Add("lp__,a\n1,nan\n# Step size = 3\n1e400,-inf\n")
	f.Add("# save_warmup = true\n# num_warmup = -7\n# thin = 0\na\n1\n")
	f.Add("#\n\n,\n,\n")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ReadStanCSV(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, x := range d.X {
			if len(x) != len(d.Names) {
				t.Fatalf("%d values for %d names", len(x), len(d.Names))
			}
		}
		if len(d.X) != len(d.Info) || len(d.X) != len(d.LogProb) {
			t.Fatal("columns of different lengths")
		}
	})
}
