package tools

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"lenskit/onnx"
	"lenskit/tools/config"
	"lenskit/tools/coolest"
	"lenskit/tools/galaxies"
	"lenskit/tools/internal/tensors"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/termtest"
	"lenskit/tools/problem"
	"lenskit/tools/run"
	"lenskit/tools/sample"
	"lenskit/tools/vae"

	"gonum.org/v1/gonum/mat"
)

func TestNoReaderWaitsForAPipeOrTakesAnythingButAFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no pipes with names")
	}
	dir := t.TempDir()
	special := map[string]string{}
	special["a pipe"] = filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(special["a pipe"], 0o600); err != nil {
		t.Skip(err)
	}
	if l, err := net.Listen("unix", filepath.Join(dir, "s")); err == nil {
		defer l.Close()
		special["a socket"] = filepath.Join(dir, "s")
	}
	special["a device"] = "/dev/zero"
	special["a folder"] = filepath.Join(dir, "folder")
	if err := os.Mkdir(special["a folder"], 0o777); err != nil {
		t.Fatal(err)
	}
	// each reader with the name that its file has
	readers := map[string]func(path string) error{
		"w.pt":          func(p string) error { _, err := tensors.Open(p); return err },
		"w.pth":         func(p string) error { _, err := tensors.Read(p); return err },
		"w.safetensors": func(p string) error { _, err := tensors.Read(p); return err },
		"v.safetensors": func(p string) error { _, err := vae.LoadExport(p, &bytes.Buffer{}); return err },
		"x.npy":         func(p string) error { _, err := tensors.ReadNPY(p); return err },
		"c.yaml":        func(p string) error { problem.IsFITS(p); _, err := config.Load(p); return err },
		"P.json":        func(p string) error { _, err := config.ReadParams(p); return err },
		"points.csv": func(p string) error {
			return deflect(t.Context(), deflectOptions{Config: filepath.Join(dir, "lens.yaml"), Points: p}, &bytes.Buffer{})
		},
		"galaxies.csv": func(p string) error { return galaxies.ReadGalaxyTable(p, nil, nil) },
		"fit.json":     func(p string) error { _, err := run.ReadRecord(filepath.Dir(p)); return err },
		"samples_1.csv": func(p string) error {
			_, err := sample.ReadDraws(filepath.Dir(p), filepath.Base(p))
			return err
		},
		"samples.csv": func(p string) error {
			return (&coolest.Exporter{Opt: coolest.Options{Dir: filepath.Dir(p)}, Rec: &run.Record{}}).ReadSamples()
		},
		"prior.json": func(p string) error {
			return (&config.Bundle{Path: filepath.Dir(p), Latents: 2}).Prior(os.DirFS(filepath.Dir(p)), filepath.Dir(p))
		},
		"net/decoder.onnx": func(p string) error { _, err := config.LoadBundle(filepath.Dir(p)); return err },
	}
	if err := os.WriteFile(filepath.Join(dir, "lens.yaml"), []byte("lens: [{type: sis}]"), 0o666); err != nil {
		t.Fatal(err)
	}
	for kind, target := range special {
		for name, read := range readers {
			if kind == "a folder" && name == "v.safetensors" {
				continue // a training run is a folder
			}
			link := filepath.Join(dir, strings.ReplaceAll(kind, " ", "-")+"-"+strings.ReplaceAll(name, "/", "-"), name)
			if err := os.MkdirAll(filepath.Dir(link), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, link); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- read(link) }()
			select {
			case err := <-done:
				termtest.Refused(t, name+", "+kind, err, name, kind)
			case <-time.After(2 * time.Second):
				t.Errorf("%s, %s: no answer after 2 s", name, kind)
			}
		}
	}
}

func TestSafetensorsDecodeOnlyWhatIsAskedFor(t *testing.T) {
	const n = 64 << 20
	head := fmt.Sprintf(`{"w":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}`, n, n)
	path := filepath.Join(t.TempDir(), "w.safetensors")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	f.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(head))))
	f.WriteString(head)
	f.Truncate(int64(8 + len(head) + n))
	f.Close()
	before := termtest.Allocated()
	ws, err := tensors.Read(path)
	if err != nil || len(ws) != 1 || ws[0].DType != "uint8" {
		t.Fatalf("got %v, %v", ws, err)
	}
	file, err := tensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if s, err := summarise(&file.List[0]); err != nil || s.Sum != 0. || len(s.First) != 6 {
		t.Errorf("got %+v, %v", s, err)
	}
	if more := termtest.Allocated() - before; more > 8<<20 {
		t.Errorf("%d MB reserved for %d MB of integers that nobody wants", more>>20, n>>20)
	}
}

func TestAbsurdNumbersAreRefusedByNameAndPlace(t *testing.T) {
	for text, want := range map[string]string{
		`{"a": 1e308}`: "a: found 1e308", `{"a": -1e999}`: "a: found -1e999", `{"\u001b[31m": null}`: `\x1b[31m: found null`,
	} {
		_, err := config.ParseParams([]byte(text))
		termtest.Refused(t, text, err, want)
	}
	for text, want := range map[string]string{
		`{"a": [1, {"b": 1e308}]}`: "line 1, column 17: a.1.b: found 1e308", strings.Repeat("[", 1000): "in each other", "[" + strings.Repeat("1,", 1e6) + "1]": "keys and values",
	} {
		termtest.Refused(t, text[:min(len(text), 40)], config.CheckJSON([]byte(text)), want)
	}
	if err := config.CheckJSON([]byte(`{"a": [1, {"b": -1e30}], "c": {"a": []}}`)); err != nil {
		t.Error(err)
	}
	newBundle := func() *config.Bundle {
		return &config.Bundle{Latents: 2, Mean: make([]float64, 2), Cov: mat.NewSymDense(2, nil)}
	}
	for text, want := range map[string]string{
		`{"mean": [0, 1e308], "covariance": [[1, 0], [0, 1]]}`:             "mean[1]: found 1e+308",
		`{"mean": [0, 0], "covariance": [[1e300, 0], [0, 1]]}`:             "covariance[0][0]: found 1e+300",
		`{"mean": [0, 0], "covariance": [[1, 1e999], [0, 1]]}`:             "covariance[0][1]: found number 1e999",
		`{"mean": [0, NaN], "covariance": [[1, 0], [0, 1]]}`:               "not valid JSON",
		`{"mean": [0, null], "covariance": [[1, 0], [0, 1]]}`:              "mean[1]: found null",
		`{"mean": [0], "covariance": [[1, 0], [0, 1]]}`:                    "mean: found 1 numbers, expected 2",
		`{"mean": [0, 0, 0], "covariance": [[1, 0], [0, 1]]}`:              "mean: found more than 2",
		`{"mean": [0, 0], "covariance": [[1, 0], [0, 1], [0, 1]]}`:         "covariance: found more than 2 rows",
		`{"mean": [0, 0], "covariance": [[1, 0]]}`:                         "covariance: found 1 rows",
		`{"mean": [0, 0], "covariance": [[1, 2], [0, 1]]}`:                 "not symmetric",
		`{"mean": [0, 0], "mean": [0, 0], "covariance": [[1, 2], [0, 1]]}`: "twice",
		`{"mean": [0, 0]}`: "no covariance", `[1]`: "found a list", ``: "ends too soon", `{"mean": {}}`: "found an object",
	} {
		termtest.Refused(t, text, newBundle().ParsePrior(strings.NewReader(text)), want)
	}
	b := newBundle()
	if err := b.ParsePrior(strings.NewReader(`{"note": {"a": [1]}, "mean": [1, -2], "covariance": [[4, 1], [1, 9]]}`)); err != nil || b.Mean[1] != -2 || b.Cov.At(0, 1) != 1 || b.Cov.At(1, 1) != 9 {
		t.Errorf("got %v %v, %v", b.Mean, b.Cov, err)
	}
	dir := t.TempDir()
	for name, rows := range map[string]string{"lp__": "1e308,0.5,1\n", "a": "-3,0.5,1e200\n", "a ": "-3,0.5,nan\n"} {
		if err := os.WriteFile(filepath.Join(dir, "samples.csv"), []byte("lp__,accept_stat__,a\n-3,0.5,1\n"+rows), 0o666); err != nil {
			t.Fatal(err)
		}
		_, err := sample.ReadDraws(dir, "samples.csv")
		termtest.Refused(t, rows, err, "samples.csv: draw 2: "+strings.TrimSpace(name))
	}
	for text, want := range map[string]string{
		"x,y\n1,1e308": "p.csv:2:3: found \"1e308\"", "1,2\n3": "p.csv:2: found 1 fields, expected 2", "1,2\n3, x\x1b": `p.csv:2:4: found "x\\x1b"`,
		"a,b\n": "found columns a,b", "": "has no points", "1": "found one column", strings.Repeat("1", 5<<20): "found a line of more than",
	} {
		_, _, err := readPoints("p.csv", strings.NewReader(text))
		termtest.Refused(t, text[:min(len(text), 40)], err, want)
	}
	x, y, err := readPoints("p.csv", strings.NewReader("\ufeff# points\nname, y ,x\r\n\n\"a\", 2, \"1\"\nb,4,3\n"))
	if err != nil || fmt.Sprint(x, y) != "[1 3] [2 4]" {
		t.Errorf("got %v %v, %v", x, y, err)
	}
}

func TestNamesOfTensorsCannotFakeRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.safetensors")
	name := "a\x1b[31m\nfake  float32  [1]  7"
	if err := tensors.WriteSafetensors(path, []tensors.Named{{Name: name, DType: "float32", Tensor: onnx.FloatTensor([]float32{1, 2}, 2)}}); err != nil {
		t.Fatal(err)
	}
	var out, log bytes.Buffer
	if code := Run(t.Context(), []string{"lenskit", "weights", path}, &out, &log); code != 0 || strings.Count(out.String(), "\n") != 2 || strings.Contains(out.String(), "\x1b") {
		t.Errorf("exit %d:\n%q\n%s", code, out.String(), log.String())
	}
	out.Reset()
	if code := Run(t.Context(), []string{"lenskit", "weights", "--json", path}, &out, &log); code != 0 || !strings.Contains(out.String(), `"a\u001b[31m\nfake  float32  [1]  7"`) {
		t.Errorf("exit %d: %s", code, out.String())
	}
}

func FuzzPoints(f *testing.F) {
	f.Add("x,y\n1,2\n# c\n\"3\", 4\r\n")
	f.Add("1,2,\n3,1e999")
	f.Fuzz(func(t *testing.T, text string) {
		x, y, err := readPoints("p.csv", strings.NewReader(text))
		if err == nil && (len(x) != len(y) || len(x) == 0) || err != nil && term.ExitCode(err) != term.ExitBadInput {
			t.Errorf("got %v %v, %v", x, y, err)
		}
	})
}
