package onnx_test

import (
	"archive/zip"
	"io"
	"slices"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx"
	"lenskit/onnx/checker"
	"lenskit/onnx/internal/graphtest"
)

// backendModels reads every model of the shared archives of the ONNX backend tests.
func backendModels(t testing.TB, archive string) map[string][]byte {
	r, err := zip.OpenReader(check.Shared(t, archive))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	models := map[string][]byte{}
	for _, f := range r.File {
		name, ok := strings.CutSuffix(f.Name, "/model.onnx")
		if !ok {
			continue
		}
		rc, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if models[name], err = io.ReadAll(rc); err != nil {
			t.Fatal(err)
		}
		rc.Close()
	}
	return models
}

var archives = []string{"data/onnx_node/onnx_node.zip", "data/onnx_pytorch/onnx_pytorch.zip"}

// refused tells why a model of the backend tests is outside of what lenskit reads.
func refused(name string, err error) bool {
	for _, s := range []string{"float8", "uint4", "int4", "float4", "uint2", "int2", "found a sequence", "found a optional", "type 25", "type 26"} {
		if strings.Contains(err.Error(), s) {
			return true
		}
	}
	return false
}

func TestBackendModelsSurviveARoundTripAndInfer(t *testing.T) {
	for _, a := range archives {
		models := backendModels(t, a)
		read, unknown := 0, 0
		for _, name := range onnx.SortedKeys(models) {
			g, err := onnx.Parse(models[name], "")
			if err != nil {
				if !refused(name, err) {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			read++
			if err := checker.Graph(g); err != nil {
				if refused(name, err) {
					continue
				}
				t.Errorf("%s: %v", name, err)
			}
			graphtest.RoundTrip(t, name, g)
			want := slices.Clone(g.Outputs)
			if err := g.Infer(); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			unknown += agree(t, name, g, want)
		}
		t.Logf("%s: %d of %d models read, %d outputs of unknown shape", a, read, len(models), unknown)
	}
}

// agree compares inferred outputs with declared ones and counts those of which too little is known to compare.
func agree(t *testing.T, name string, g *onnx.Graph, want []onnx.Value) (unknown int) {
	for i, v := range g.Outputs {
		w := want[i]
		if w.Type != onnx.Undefined && v.Type != w.Type {
			t.Errorf("%s: output %q: inferred %s, declared %s", name, v.Name, v.Type, w.Type)
		}
		got := onnx.Value{}
		f := onnx.NewInferer(&onnx.Graph{Inputs: g.Inputs, Init: g.Init, Info: g.Info, Opset: g.Opset})
		for _, n := range g.Nodes {
			if slices.Contains(n.Out, v.Name) {
				delete(f.G.Info, v.Name)
				if err := f.Node(n); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				got = f.G.Info[v.Name]
			}
		}
		if got.Shape == nil {
			unknown++
			t.Logf("%s: shape of output %q is unknown (%s)", name, v.Name, g.Nodes[len(g.Nodes)-1].Op)
			continue
		}
		if w.Shape == nil {
			continue
		}
		if len(v.Shape) != len(w.Shape) {
			t.Errorf("%s: output %q: inferred %v, declared %v", name, v.Name, v.Shape, w.Shape)
			continue
		}
		for k, d := range v.Shape {
			if d.Known() && w.Shape[k].Known() && d != w.Shape[k] {
				t.Errorf("%s: output %q: inferred %v, declared %v", name, v.Name, v.Shape, w.Shape)
			}
			if !d.Known() && d.Sym[0] == '?' {
				unknown++
				t.Logf("%s: output %q: inferred %v, declared %v", name, v.Name, v.Shape, w.Shape)
			}
		}
	}
	return unknown
}
