package tensors

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/termtest"
)

func number(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func sameTensor(t *testing.T, w *Stored, dtype string, shape []int64, first []string, sumText string) {
	t.Helper()
	if w.Elem.Name != dtype || !slices.Equal(w.Shape, shape) {
		t.Errorf("%s: got %s%v, want %s%v", w.Name, w.Elem.Name, w.Shape, dtype, shape)
		return
	}
	sum, n := 0.0, 0
	err := w.Each(func(i int, bits uint64) {
		v := w.Elem.Value(bits)
		sum += v
		if n++; i < len(first) {
			if want := number(t, first[i]); v != want {
				t.Errorf("%s[%d]: got %v, want %v", w.Name, i, v, want)
			}
		}
	})
	if err != nil || n < len(first) {
		t.Errorf("%s: read %d values (%v)", w.Name, n, err)
	}
	if sumText != "" {
		if want := number(t, sumText); math.Abs(sum-want) > 1e-12*(1+math.Abs(want)) {
			t.Errorf("%s: sum %v, want %v", w.Name, sum, want)
		}
	}
}

// listWeights is Open for a test: the tensors of a file that stays open while the test runs.
func listWeights(t *testing.T, path string) ([]Stored, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { f.Close() })
	return f.List, nil
}

func TestTorchFilesReadAsTheirReferenceSays(t *testing.T) {
	raw, err := os.ReadFile(check.Shared(t, "data/torch_files/expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Files []struct {
			File, Error string
			Tensors     map[string]struct {
				DType string
				Shape []int64
				First []string
				Sum   string
			}
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	for _, f := range doc.Files {
		ws, err := listWeights(t, check.Shared(t, "data/torch_files/"+f.File))
		if f.Error != "" {
			if term.ExitCode(err) != term.ExitBadInput {
				t.Errorf("%s: got %v, want a refusal", f.File, err)
			}
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if len(ws) != len(f.Tensors) {
			t.Errorf("%s: %d tensors, want %d", f.File, len(ws), len(f.Tensors))
		}
		for i := range ws {
			w := &ws[i]
			want, ok := f.Tensors[w.Name]
			if !ok {
				t.Errorf("%s: unexpected tensor %q", f.File, w.Name)
				continue
			}
			sameTensor(t, w, want.DType, want.Shape, want.First, want.Sum)
		}
	}
}

func TestSafetensorsVerdictsAgreeWithTheReferenceLibrary(t *testing.T) {
	raw, err := os.ReadFile(check.Shared(t, "data/safetensors/verdicts.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Cases []struct {
			File, Verdict string
			Tensors       map[string]json.RawMessage
		}
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	for _, c := range doc.Cases {
		ws, err := listWeights(t, check.Shared(t, "data/safetensors/"+c.File+".safetensors"))
		if accept := c.Verdict == "accept"; accept != (err == nil) {
			t.Errorf("%s: got error %v, want %s", c.File, err, c.Verdict)
			continue
		}
		if len(ws) != len(c.Tensors) {
			t.Errorf("%s: %d tensors, want %d", c.File, len(ws), len(c.Tensors))
		}
		for i := range ws {
			w := &ws[i]
			var want [3]json.RawMessage
			var dtype string
			var shape []int64
			var first []string
			if err := json.Unmarshal(c.Tensors[w.Name], &want); err != nil {
				t.Errorf("%s: tensor %q: %v", c.File, w.Name, err)
				continue
			}
			json.Unmarshal(want[0], &dtype)
			json.Unmarshal(want[1], &shape)
			json.Unmarshal(want[2], &first)
			sameTensor(t, w, dtype, shape, first, "")
		}
	}
}

func TestSafetensorsRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.safetensors")
	in := []Named{
		{Name: "b", DType: "float32", Tensor: onnx.FloatTensor([]float32{1, -2, 3.5, 0, 5, 6}, 2, 3)},
		{Name: "a", DType: "float32", Tensor: onnx.FloatTensor([]float32{42})},
	}
	if err := WriteSafetensors(path, in); err != nil {
		t.Fatal(err)
	}
	out, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != 2 {
		t.Fatalf("%d tensors, want 2", len(out))
	}
	for i, w := range out {
		if w.Name != in[i].Name || !slices.Equal(w.Tensor.Floats, in[i].Tensor.Floats) || w.Tensor.Size() != in[i].Tensor.Size() {
			t.Errorf("tensor %d: got %+v, want %+v", i, w, in[i])
		}
	}
}

func FuzzWeights(f *testing.F) {
	f.Add([]byte("PK\x03\x04"), false)
	f.Add([]byte("\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02}.\x80\x02]."), false)
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x00\x00{}"), true)
	f.Add([]byte("\x3a\x00\x00\x00\x00\x00\x00\x00{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}    \x00\x00\x80\x3f"), true)
	f.Fuzz(func(t *testing.T, data []byte, safe bool) {
		parse := parseTorch
		if safe {
			parse = parseSafetensors
		}
		before := termtest.Allocated()
		ws, err := parse(bytes.NewReader(data), int64(len(data)))
		if more := termtest.Allocated() - before; more > 64<<20+1000*uint64(len(data)) {
			t.Errorf("%d bytes reserved for a file of %d", more, len(data))
		}
		if err != nil {
			if len(err.Error()) > 4000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		for i := range ws {
			if ws[i].count > 1<<20 {
				continue
			}
			n := int64(0)
			if err := ws[i].Each(func(int, uint64) { n++ }); err != nil || n != ws[i].count {
				t.Errorf("%q: read %d values, expected %d (%v)", ws[i].Name, n, ws[i].count, err)
			}
		}
	})
}
