package onnxtest

import (
	"archive/zip"
	"cmp"
	"io"
	"math"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"testing"

	"lenskit/internal/check"
)

var DecoderNames = []string{"dcgan", "dcgan_bias_lrelu", "up_nearest_gn_silu", "up_bilinear_bn_gelu", "pixshuf", "mlp_ln_gelu", "res_att", "stylemod"}

// BackendTest is one test of the ONNX standard: a model with inputs and outputs.
type BackendTest struct {
	Name  string
	Model []byte
	Sets  map[string]map[string][]byte // by data set, then by file name
}

// BackendTests reads a zip archive of backend tests.
func BackendTests(t *testing.T, file string) []*BackendTest {
	t.Helper()
	z, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	byName := map[string]*BackendTest{}
	for _, f := range z.File {
		parts := strings.Split(f.Name, "/")
		if len(parts) < 2 || strings.HasSuffix(f.Name, "/") {
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		b := byName[parts[0]]
		if b == nil {
			b = &BackendTest{Name: parts[0], Sets: map[string]map[string][]byte{}}
			byName[parts[0]] = b
		}
		switch {
		case path.Ext(f.Name) == ".onnx":
			b.Model = data
		case len(parts) == 3:
			if b.Sets[parts[1]] == nil {
				b.Sets[parts[1]] = map[string][]byte{}
			}
			b.Sets[parts[1]][parts[2]] = data
		}
	}
	var list []*BackendTest
	for _, b := range byName {
		list = append(list, b)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// MaxFuzzBytes is what folding a small file, taking its derivatives or running one node may allocate in all: a constant
// of a small graph has at most 2²² elements, and together with what it is made of it is counted several times.
const MaxFuzzBytes = 1 << 30

// Allocated is the number of bytes that f allocates.
func Allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func Near(t *testing.T, got, want []float64, tol float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	for i := range got {
		if !(math.Abs(got[i]-want[i]) <= tol) {
			t.Errorf("got %v, want %v", got, want)
			return
		}
	}
}

// PythonWithONNX is LENSKIT_PYTHON, or python3, where it has the onnx package; the test is skipped where it does not.
func PythonWithONNX(t *testing.T) string {
	t.Helper()
	python, err := exec.LookPath(cmp.Or(os.Getenv("LENSKIT_PYTHON"), "python3"))
	if err != nil || exec.Command(python, "-c", "import onnx").Run() != nil {
		t.Skip("neither LENSKIT_PYTHON nor python3 on PATH has the package onnx")
	}
	return python
}

// Decoders lists the shared decoder files.
func Decoders(t testing.TB) []string {
	dir := filepath.Dir(check.Shared(t, "decoders/README.md"))
	list, err := filepath.Glob(filepath.Join(dir, "*.onnx"))
	if err != nil || len(list) == 0 {
		t.Fatalf("no decoders in %s", dir)
	}
	return list
}
