package tools

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"maps"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"gonum.org/v1/gonum/mat"

	"lenskit/onnx"
)

// allocated is the number of bytes that the process has reserved so far, given back or not.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// refused fails the test unless err is bad input, of one short line, with the words.
func refused(t *testing.T, what string, err error, words ...string) {
	t.Helper()
	if err == nil || exitCode(asBadInput(err)) != exitBadInput || len(err.Error()) > longestLine {
		t.Errorf("%s: got %.300v, want one line of bad input", what, err)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: got %q, want it to hold %q", what, err, w)
		}
	}
}

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
		"w.pt":          func(p string) error { _, err := openWeights(p); return err },
		"w.pth":         func(p string) error { _, err := readWeights(p); return err },
		"w.safetensors": func(p string) error { _, err := readWeights(p); return err },
		"v.safetensors": func(p string) error { _, err := loadExport(p, &bytes.Buffer{}); return err },
		"x.npy":         func(p string) error { _, err := readNPY(p); return err },
		"c.yaml":        func(p string) error { isFITS(p); _, err := loadConfig(p); return err },
		"P.json":        func(p string) error { _, err := readParams(p); return err },
		"points.csv": func(p string) error {
			return Deflect(t.Context(), DeflectOptions{Config: filepath.Join(dir, "lens.yaml"), Points: p}, &bytes.Buffer{})
		},
		"galaxies.csv":  func(p string) error { return readGalaxyTable(p, nil, nil) },
		"fit.json":      func(p string) error { _, err := readFitRecord(filepath.Dir(p)); return err },
		"samples_1.csv": func(p string) error { _, err := readDraws(filepath.Dir(p), []string{filepath.Base(p)}); return err },
		"samples.csv": func(p string) error {
			return (&coolestExport{opt: CoolestOptions{Dir: filepath.Dir(p)}, rec: &fitRecord{}}).readSamples()
		},
		"prior.json": func(p string) error {
			return (&bundle{Path: filepath.Dir(p), Latents: 2}).prior(os.DirFS(filepath.Dir(p)), filepath.Dir(p))
		},
		"net/decoder.onnx": func(p string) error { _, err := loadBundle(filepath.Dir(p)); return err },
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
				refused(t, name+", "+kind, err, name, kind)
			case <-time.After(2 * time.Second):
				t.Errorf("%s, %s: no answer after 2 s", name, kind)
			}
		}
	}
}

// torchFile packs a pickle and storages as torch.save does.
func torchFile(t testing.TB, pickle string, stores map[string][]byte, method uint16) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	add := func(name string, data []byte) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	add("m/data.pkl", []byte(pickle))
	for key, data := range stores {
		add("m/data/"+key, data)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tensorPickle is the pickle, protocol 2, of a float32 tensor over storage "0" of n elements: pickletools.dis of Python
// reads it as torch.save writes it.
func tensorPickle(n, offset int, shape, stride string) string {
	return "\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" +
		number4(n) + "tQ" + number4(offset) + shape + stride + "\x89N" + "tR."
}

func number4(n int) string { return "J" + string(binary.LittleEndian.AppendUint32(nil, uint32(n))) }

func TestTorchRecordsAreWhatTheFileSays(t *testing.T) {
	values := make([]byte, 24)
	for i := range 6 {
		binary.LittleEndian.PutUint32(values[4*i:], math.Float32bits(float32(i)))
	}
	parse := func(data []byte) ([]stored, error) { return parseTorch(bytes.NewReader(data), int64(len(data))) }
	good := torchFile(t, tensorPickle(6, 1, "K\x02K\x02\x86", "K\x03K\x01\x86"), map[string][]byte{"0": values}, zip.Store)
	ws, err := parse(good)
	if err != nil || len(ws) != 1 {
		t.Fatalf("got %v, %v", ws, err)
	}
	// numpy: np.arange(6, dtype='f4')[1:].reshape... as_strided(offset 1, shape (2, 2), strides (3, 1)) is [[1, 2], [4, 5]]
	x, err := ws[0].tensor()
	if err != nil || fmt.Sprint(x.Floats) != "[1 2 4 5]" {
		t.Errorf("got %v, %v, want [1 2 4 5]", x.Floats, err)
	}
	damaged := bytes.Clone(good)
	damaged[bytes.Index(good, values)+5] ^= 0x40
	long := map[string][]byte{"0": append(bytes.Clone(values), 0)}
	for _, row := range []struct {
		what string
		data []byte
		want string
	}{
		// zipfile.ZipFile.testzip of Python names the record: Bad CRC-32
		{"a changed byte", damaged, "checksum"},
		{"a long record", torchFile(t, tensorPickle(6, 0, "K\x06\x85", "K\x01\x85"), long, zip.Store), "has 25 bytes, expected 24"},
		{"a short record", torchFile(t, tensorPickle(7, 0, "K\x06\x85", "K\x01\x85"), map[string][]byte{"0": values}, zip.Store), "has 24 bytes, expected 28"},
		{"a packed record", torchFile(t, tensorPickle(6, 0, "K\x06\x85", "K\x01\x85"), map[string][]byte{"0": values}, zip.Deflate), "compressed"},
		{"a view beyond its storage", torchFile(t, tensorPickle(6, 3, "K\x06\x85", "K\x01\x85"), map[string][]byte{"0": values}, zip.Store), "reaches element 8"},
		{"an expanded view", torchFile(t, tensorPickle(6, 0, "J\x00\x00\x00\x08\x85", "K\x00\x85"), map[string][]byte{"0": values}, zip.Store), "expanded"},
		{"no storage", torchFile(t, tensorPickle(6, 0, "K\x06\x85", "K\x01\x85"), nil, zip.Store), "is not in the file"},
	} {
		_, err := parse(row.data)
		refused(t, row.what, err, row.want)
	}
	pt, err := os.ReadFile(filepath.Join("testdata", "vae_small.pt")) // by PyTorch
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parse(pt); err != nil {
		t.Error(err)
	}
	pt[len(pt)/2] ^= 1
	_, err = parse(pt)
	refused(t, "a changed byte of PyTorch's file", err)
}

func TestPicklesAreReadInTimeAndMemory(t *testing.T) {
	long4 := func(n int) string {
		return "\x8b" + string(binary.LittleEndian.AppendUint32(nil, uint32(n))) + strings.Repeat("\x7f", n)
	}
	for what, p := range map[string]string{
		"a long integer":            "\x80\x02" + long4(1<<21) + ".",
		"a long integer in digits":  "L" + strings.Repeat("7", 3_000_000) + "L\n.",
		"an int in digits":          "I" + strings.Repeat("7", 3_000_000) + "\n.",
		"many lists":                strings.Repeat("]", 1<<24) + ".",
		"many dictionaries":         strings.Repeat("}", 1<<23) + ".",
		"many marks":                strings.Repeat("(", 1<<24),
		"bytes called":              "C\xff" + strings.Repeat("\x01", 255) + ")R.",
		"a list of bytes called":    "(C\xff" + strings.Repeat("\x01", 255) + strings.Repeat("2", 1<<20) + "l)R.",
		"an argument beyond":        "\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
		"an argument past the sign": "\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
		"an empty stack":            "R.",
		"no end":                    strings.Repeat("N", 1000),
		"bytes as a key":            "}(]K\x01ssu.",
	} {
		before, start := allocated(), time.Now()
		_, _, err := unpickle([]byte(p), nil)
		if err == nil {
			t.Errorf("%s: read, want an error", what)
			continue
		}
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("%s: %v", what, d)
		}
		if more := allocated() - before; more > 1<<30 {
			t.Errorf("%s: %d MB reserved", what, more>>20)
		}
		refused(t, what, err)
	}
	// Python 3: pickle.loads of these gives the same
	for p, want := range map[string]any{
		"\x80\x02\x8a\x02\xff\x00.":          int64(255),
		"\x80\x02\x8a\x01\x80.":              int64(-128),
		"\x80\x02\x8a\x00.":                  int64(0),
		"L-12345678901L\n.":                  int64(-12345678901),
		"I01\n.":                             true,
		"F2.5\n.":                            2.5,
		"G\x40\x04\x00\x00\x00\x00\x00\x00.": 2.5,
		"J\xfe\xff\xff\xff.":                 int64(-2),
		"S'a\\x62\\n'\np0\n0g0\n.":           "ab\n",
		"V\\u00e9\n.":                        "é",
		"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01q\x94.": "q",
	} {
		if v, n, err := unpickle([]byte(p), nil); err != nil || v != want || n != len(p) {
			t.Errorf("%q: got %v (%d bytes, %v), want %v", p, v, n, err, want)
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
	before := allocated()
	ws, err := readWeights(path)
	if err != nil || len(ws) != 1 || ws[0].DType != "uint8" {
		t.Fatalf("got %v, %v", ws, err)
	}
	file, err := openWeights(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if s, err := summarise(&file.list[0]); err != nil || s.Sum != 0. || len(s.First) != 6 {
		t.Errorf("got %+v, %v", s, err)
	}
	if more := allocated() - before; more > 8<<20 {
		t.Errorf("%d MB reserved for %d MB of integers that nobody wants", more>>20, n>>20)
	}
}

func TestNPYOfAnotherTypeIsRefusedBeforeItsValues(t *testing.T) {
	const n = 64 << 20
	data := npy(1, fmt.Sprintf("{'descr': '|b1', 'fortran_order': False, 'shape': (%d,), }", n))
	path := filepath.Join(t.TempDir(), "x.npy")
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, int64(len(data)+n)); err != nil {
		t.Fatal(err)
	}
	before := allocated()
	_, err := readNPY(path, func(d onnx.DType, _ []int64) error {
		if d != onnx.Float32 {
			return errors.New("found bool, expected float32")
		}
		return nil
	})
	refused(t, "bool", err, "found bool")
	_, err = readNPY(path) // wanted, but eight bytes a value
	refused(t, "many bools", err, "in memory")
	if more := allocated() - before; more > 1<<20 {
		t.Errorf("%d kB reserved", more>>10)
	}
}

func TestConfigsThatNestOrGoOnAreRefusedAtOnce(t *testing.T) {
	many := func(format string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	var steps strings.Builder
	for i := range 700 {
		steps.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	for what, text := range map[string]string{
		"brackets":                        "lens: " + strings.Repeat("[", 200_000),
		"brackets behind a comment":       "# " + strings.Repeat("]", 100_000) + "\nlens: " + strings.Repeat("[", 100_000),
		"brackets behind a string":        "a: '" + strings.Repeat("]", 100_000) + "'\nlens: " + strings.Repeat("[", 100_000),
		"brackets in what looks a string": "a: b '\n" + strings.Repeat("[", 100_000),
		"closed in comments":              strings.Repeat("[ # ]\n", 30_000),
		"braces":                          strings.Repeat("{a: ", 60_000),
		"dashes":                          strings.Repeat("- ", 100_000),
		"question marks":                  strings.Repeat("? ", 100_000),
		"steps":                           steps.String(),
		"keys":                            many("k%d: 1\n", 20_000),
		"200,000 keys":                    many("k%d: 1\n", 200_000),
		"items":                           "lens: {" + strings.Repeat("a,", 100_000),
		"empty lines":                     "lens: |\n " + strings.Repeat("\n", 200_000),
		"laughs":                          "a: &a [x]\n" + many("b: &b [*a, *a, *a]\n", 10_000),
	} {
		before, start := allocated(), time.Now()
		_, err := parseConfig("c.yaml", []byte(text))
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s: %v", what, d)
		}
		if more := allocated() - before; more > 256<<20 {
			t.Errorf("%s: %d MB reserved", what, more>>20)
		}
		refused(t, what, err, "c.yaml")
	}
	// what a large model needs is read
	big := "lens:\n" + many("  - {type: sis, name: l%d, priors: {theta_E: {normal: [1, 0.5], bounds: [0.1, 5]}}} # [one], {of} many\n", 1000)
	if _, err := parseConfig("c.yaml", []byte(big)); err != nil {
		t.Error(err)
	}
}

func TestAbsurdNumbersAreRefusedByNameAndPlace(t *testing.T) {
	for text, want := range map[string]string{
		`{"a": 1e308}`: "a: found 1e308", `{"a": -1e999}`: "a: found -1e999", `{"\u001b[31m": null}`: `\x1b[31m: found null`,
	} {
		_, err := parseParams([]byte(text))
		refused(t, text, err, want)
	}
	for text, want := range map[string]string{
		`{"a": [1, {"b": 1e308}]}`: "line 1, column 17: a.1.b: found 1e308", strings.Repeat("[", 1000): "in each other", "[" + strings.Repeat("1,", 1e6) + "1]": "keys and values",
	} {
		refused(t, text[:min(len(text), 40)], checkJSON([]byte(text)), want)
	}
	if err := checkJSON([]byte(`{"a": [1, {"b": -1e30}], "c": {"a": []}}`)); err != nil {
		t.Error(err)
	}
	newBundle := func() *bundle { return &bundle{Latents: 2, Mean: make([]float64, 2), Cov: mat.NewSymDense(2, nil)} }
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
		refused(t, text, newBundle().parsePrior(strings.NewReader(text)), want)
	}
	b := newBundle()
	if err := b.parsePrior(strings.NewReader(`{"note": {"a": [1]}, "mean": [1, -2], "covariance": [[4, 1], [1, 9]]}`)); err != nil || b.Mean[1] != -2 || b.Cov.At(0, 1) != 1 || b.Cov.At(1, 1) != 9 {
		t.Errorf("got %v %v, %v", b.Mean, b.Cov, err)
	}
	dir := t.TempDir()
	for name, rows := range map[string]string{"lp__": "1e308,0.5,1\n", "a": "-3,0.5,1e200\n", "a ": "-3,0.5,nan\n"} {
		if err := os.WriteFile(filepath.Join(dir, "samples.csv"), []byte("lp__,accept_stat__,a\n-3,0.5,1\n"+rows), 0o666); err != nil {
			t.Fatal(err)
		}
		_, err := readDraws(dir, []string{"samples.csv"})
		refused(t, rows, err, "samples.csv: draw 2: "+strings.TrimSpace(name))
	}
	for text, want := range map[string]string{
		"x,y\n1,1e308": "p.csv:2:3: found \"1e308\"", "1,2\n3": "p.csv:2: found 1 fields, expected 2", "1,2\n3, x\x1b": `p.csv:2:4: found "x\\x1b"`,
		"a,b\n": "found columns a,b", "": "has no points", "1": "found one column", strings.Repeat("1", 5<<20): "found a line of more than",
	} {
		_, _, err := readPoints("p.csv", strings.NewReader(text))
		refused(t, text[:min(len(text), 40)], err, want)
	}
	x, y, err := readPoints("p.csv", strings.NewReader("\ufeff# points\nname, y ,x\r\n\n\"a\", 2, \"1\"\nb,4,3\n"))
	if err != nil || fmt.Sprint(x, y) != "[1 3] [2 4]" {
		t.Errorf("got %v %v, %v", x, y, err)
	}
}

func TestColoursAndDensitiesOfNoNumber(t *testing.T) {
	nan := math.NaN()
	for _, c := range []colorMap{inferno, blueRed()} {
		for _, v := range []float64{nan, math.Inf(1), math.Inf(-1), 1e308, -1e308} {
			if got := c(v); math.IsNaN(v) != (got == noData) || got == (color.RGBA{}) {
				t.Errorf("%g: got colour %v", v, got)
			}
		}
	}
	for _, v := range [][]float64{{1e308, 1e308, -1e308, 3}, {nan, 1, 2, 3}, {1e308, 1e308, 1e308, 1e308}, {math.Inf(1), 1, 2, 3}} {
		if newDensity1(v, 4) != nil || newDensity2(v, []float64{1, 2, 3, 5}, 4) != nil {
			t.Errorf("%v: got a density", v)
		}
	}
}

func TestNamesOfTensorsCannotFakeRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.safetensors")
	name := "a\x1b[31m\nfake  float32  [1]  7"
	if err := writeSafetensors(path, []weight{{Name: name, DType: "float32", Tensor: onnx.FloatTensor([]float32{1, 2}, 2)}}); err != nil {
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

// FuzzPrior, FuzzPoints, FuzzChain and FuzzPickle hold readers to: no panic, no memory beyond some times the text.

func FuzzPrior(f *testing.F) {
	f.Add([]byte(`{"mean": [0, 1], "covariance": [[1, 0], [0, 1]], "x": [{}]}`))
	f.Add([]byte(`{"mean": [0, 1e308], "covariance": [[1]]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		b := &bundle{Latents: 2, Mean: make([]float64, 2), Cov: mat.NewSymDense(2, nil)}
		if b.parsePrior(bytes.NewReader(text)) == nil && !(math.Abs(b.Mean[0]) <= maxLatentMean && math.Abs(b.Cov.At(1, 1)) <= maxLatentVariance) {
			t.Errorf("took %v %v", b.Mean, b.Cov)
		}
	})
}

func FuzzPoints(f *testing.F) {
	f.Add("x,y\n1,2\n# c\n\"3\", 4\r\n")
	f.Add("1,2,\n3,1e999")
	f.Fuzz(func(t *testing.T, text string) {
		x, y, err := readPoints("p.csv", strings.NewReader(text))
		if err == nil && (len(x) != len(y) || len(x) == 0) || err != nil && exitCode(err) != exitBadInput {
			t.Errorf("got %v %v, %v", x, y, err)
		}
	})
}

func FuzzChain(f *testing.F) {
	f.Add("# method = sample\nlp__,accept_stat__,a.1,a.2\n-1,0.9,1,2\n-2,0.8,3,4\n")
	f.Add("lp__,a\n1e308,nan\n")
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "samples.csv"), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		d, err := readDraws(dir, []string{"samples.csv"})
		if err != nil {
			if exitCode(err) != exitBadInput {
				t.Error(err)
			}
			return
		}
		for k := range d.Names {
			for _, v := range d.column(k) {
				if len(v) > 0 {
					newDensity1(v, float64(len(v)))
				}
			}
		}
	})
}

func FuzzPickle(f *testing.F) {
	f.Add([]byte(tensorPickle(6, 1, "K\x02K\x02\x86", "K\x03K\x01\x86")))
	f.Add([]byte("\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01q\x94."))
	f.Add([]byte("ccollections\nOrderedDict\n)Rq\x00(X\x01\x00\x00\x00aK\x01u."))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := allocated()
		v, n, err := unpickle(data, func([]any) (any, error) { return &storage{elem: elementTypes[0], filled: true}, nil })
		if more := allocated() - before; more > 1<<20+1000*uint64(len(data)) {
			t.Errorf("%d bytes reserved for a pickle of %d", more, len(data))
		}
		if err != nil {
			if len(err.Error()) > longestLine {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if n > len(data) {
			t.Errorf("read %d of %d bytes", n, len(data))
		}
		c := collector{names: map[string]bool{}}
		c.walk("", v, 0)
	})
}

// JSON lets U+007F to U+009F stand in strings, where terminals act on them.
func TestJSONHasNoControlCharacters(t *testing.T) {
	in := map[string]string{"a\u009b\u007f\x1b": "é\u0080"}
	var b bytes.Buffer
	if err := encodeJSON(&b, in); err != nil {
		t.Fatal(err)
	}
	if got := visible(strings.ReplaceAll(b.String(), "\n", "")); got != strings.ReplaceAll(b.String(), "\n", "") {
		t.Errorf("got %s", got)
	}
	out := map[string]string{}
	if err := json.Unmarshal(b.Bytes(), &out); err != nil || !maps.Equal(in, out) {
		t.Errorf("read back %q, %v", out, err)
	}
}
