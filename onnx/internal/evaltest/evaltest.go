package evaltest

import (
	"archive/zip"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/eval"
	"lenskit/onnx/internal/onnxpb"
)

// Npz reads the float arrays of a NumPy archive.
func Npz(t *testing.T, path string) map[string]*eval.Array {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	out := map[string]*eval.Array{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		size := int(binary.LittleEndian.Uint16(b[8:]))
		head, data := string(b[10:10+size]), b[10+size:]
		_, tuple, _ := strings.Cut(head, "'shape': (")
		tuple, _, _ = strings.Cut(tuple, ")")
		a := eval.FloatArray(nil)
		n := 1
		for _, s := range strings.Split(tuple, ",") {
			if s = strings.TrimSpace(s); s != "" {
				d, err := strconv.Atoi(s)
				if err != nil {
					t.Fatal(err)
				}
				a.Shape = append(a.Shape, int64(d))
				n *= d
			}
		}
		for i := range n {
			switch {
			case strings.Contains(head, "'<f4'"):
				a.F = append(a.F, float64(math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))))
			case strings.Contains(head, "'<f8'"):
				a.F = append(a.F, math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:])))
			default:
				t.Fatalf("%s: %s", f.Name, head)
			}
		}
		out[strings.TrimSuffix(f.Name, ".npy")] = a
	}
	return out
}

// ApartBy is the largest difference of a and b relative to the largest magnitude of b.
func ApartBy(t *testing.T, a, b *eval.Array) float64 {
	t.Helper()
	if !slices.Equal(a.Shape, b.Shape) {
		t.Fatalf("found shape %v, expected %v", a.Shape, b.Shape)
	}
	worst, scale := 0.0, 0.0
	for i := range b.F {
		worst = max(worst, math.Abs(a.F[i]-b.F[i]))
		scale = max(scale, math.Abs(b.F[i]))
	}
	return worst / scale
}

// ReadTensor reads a TensorProto and the element type that it has in the file.
func ReadTensor(data []byte) (*eval.Array, onnx.DType, error) {
	t, err := onnx.ParseTensor(data)
	if err != nil {
		return nil, 0, err
	}
	p, err := onnxpb.UnmarshalTensor(data)
	if err != nil {
		return nil, 0, err
	}
	a, err := eval.ArrayOf(t)
	return a, onnx.DType(p.Type), err
}

// evalOn runs g in the evaluator on standard normal inputs drawn from seed; symbols are 2.
func evalOn(t *testing.T, g *onnx.Graph, seed uint64) map[string]*eval.Array {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	feed := map[string]*eval.Array{}
	for _, v := range g.Inputs {
		n := int64(1)
		shape := []int64{}
		for _, d := range v.Shape {
			e := d.N
			if !d.Known() {
				e *= 2
			}
			shape = append(shape, e)
			n *= e
		}
		a := &eval.Array{Type: v.Type, Shape: shape}
		for range n {
			if v.Type.IsFloat() {
				a.F = append(a.F, rng.NormFloat64())
			} else {
				a.I = append(a.I, 1)
			}
		}
		feed[v.Name] = a
	}
	e, err := eval.New(g)
	if err != nil {
		t.Fatal(err)
	}
	out, err := e.Run(feed)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// SameResults fails unless two graphs give the same outputs to tol times the largest value.
func SameResults(t *testing.T, a, b *onnx.Graph, tol float64) {
	t.Helper()
	want, got := evalOn(t, a, 7), evalOn(t, b, 7)
	for name, w := range want {
		g := got[name]
		if g == nil || len(g.F) != len(w.F) {
			t.Errorf("output %q: shapes differ", name)
			continue
		}
		scale, worst := 0.0, 0.0
		for i := range w.F {
			scale = max(scale, math.Abs(w.F[i]))
			worst = max(worst, math.Abs(w.F[i]-g.F[i]))
		}
		if !(worst <= tol*scale) {
			t.Errorf("output %q: differs by %g of %g", name, worst, scale)
		}
	}
}

// Run evaluates g on one input x and returns its first output.
func Run(t *testing.T, g *onnx.Graph, x *eval.Array) []float64 {
	t.Helper()
	e, err := eval.New(g)
	if err != nil {
		t.Fatal(err)
	}
	out, err := e.Run(map[string]*eval.Array{"x": x})
	if err != nil {
		t.Fatal(err)
	}
	return out[g.Outputs[0].Name].F
}

func RunGraph(t *testing.T, g *onnx.Graph, in map[string]*eval.Array) map[string]*eval.Array {
	t.Helper()
	e, err := eval.New(g)
	if err != nil {
		t.Fatal(err)
	}
	feed := map[string]*eval.Array{}
	for _, v := range g.Inputs {
		if in[v.Name] == nil {
			t.Fatalf("no value for input %q", v.Name)
		}
		feed[v.Name] = in[v.Name]
	}
	out, err := e.Run(feed)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range g.Outputs {
		a := out[v.Name]
		if v.Shape == nil {
			continue
		}
		if len(v.Shape) != len(a.Shape) {
			t.Fatalf("output %s has shape %v, declared %v", v.Name, a.Shape, v.Shape)
		}
		for i, d := range v.Shape {
			if d.Known() && d.N != a.Shape[i] {
				t.Fatalf("output %s has shape %v, declared %v", v.Name, a.Shape, v.Shape)
			}
		}
	}
	return out
}
