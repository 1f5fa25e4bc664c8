package eval

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"lenskit/internal/check"
	"lenskit/onnx"
)

var npyHeader = regexp.MustCompile(`'descr': '<f([48])', 'fortran_order': False, 'shape': \(([0-9, ]*)\)`)

// readNPZ reads the float arrays of an .npz file: little-endian, row-major.
func readNPZ(t testing.TB, file string) map[string]*Array {
	t.Helper()
	z, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	out := map[string]*Array{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		n := 10 + int(binary.LittleEndian.Uint16(data[8:]))
		m := npyHeader.FindSubmatch(data[:n])
		if m == nil {
			t.Fatalf("%s: %s: header %q is not understood", file, f.Name, data[:n])
		}
		var shape []int64
		for _, s := range strings.Split(strings.ReplaceAll(string(m[2]), " ", ""), ",") {
			if s != "" {
				d, _ := strconv.ParseInt(s, 10, 64)
				shape = append(shape, d)
			}
		}
		a := &Array{Type: onnx.Float32, Shape: shape, F: make([]float64, volume(shape))}
		if string(m[1]) == "8" {
			a.Type = onnx.Float64
			err = binary.Read(bytes.NewReader(data[n:]), binary.LittleEndian, a.F)
		} else {
			v := make([]float32, len(a.F))
			err = binary.Read(bytes.NewReader(data[n:]), binary.LittleEndian, v)
			for i := range v {
				a.F[i] = float64(v[i])
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(path.Base(f.Name), ".npy")] = a
	}
	return out
}

// maxDifference is the greatest |a-b| relative to the greatest |b|.
func maxDifference(a, b []float64) float64 {
	d, scale := 0.0, 0.0
	for i := range b {
		d, scale = max(d, math.Abs(a[i]-b[i])), max(scale, math.Abs(b[i]))
	}
	return d / scale
}

// Where an exporter folds BatchNormalization into the weights, or a constant such as a slope or ε is stored as
// float32, the file is another function than the float64 network at the level of float32 rounding.
func TestEvaluatorMatchesDecodersInFloat64(t *testing.T) {
	const folded, constant, exact = 1e-6, 1e-7, 1e-9
	tolerance := map[string]float64{
		"dcgan.dynamo": folded, "dcgan_bias_lrelu.dynamo": constant,
		"up_bilinear_bn_gelu.dynamo": constant, "up_bilinear_bn_gelu.legacy": constant,
	}
	for _, name := range []string{"dcgan", "dcgan_bias_lrelu", "mlp_ln_gelu", "pixshuf", "res_att", "stylemod", "up_bilinear_bn_gelu", "up_nearest_gn_silu"} {
		data := readNPZ(t, check.Shared(t, "decoders/"+name+".npz"))
		for _, exporter := range []string{"dynamo", "legacy"} {
			file := fmt.Sprintf("%s.%s", name, exporter)
			g, err := onnx.Load(check.Shared(t, "decoders/"+file+".onnx"))
			if err != nil {
				t.Fatal(err)
			}
			e, err := New(g)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			out, err := e.Run(map[string]*Array{g.Inputs[0].Name: data["z"]})
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			took := time.Since(start)
			tol, ok := tolerance[file]
			if !ok {
				tol = exact
			}
			got := out[g.Outputs[0].Name]
			d := maxDifference(got.F, data["x64"].F)
			t.Logf("%s: %.2g, %v", file, d, took)
			if !(d <= tol) {
				t.Errorf("%s: differs by %.3g of the greatest value, want %g", file, d, tol)
			}
		}
	}
}
