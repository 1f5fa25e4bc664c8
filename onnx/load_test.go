package onnx

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"lenskit/internal/check"
)

// decoders lists the shared decoder files.
func decoders(t testing.TB) []string {
	dir := filepath.Dir(check.Shared(t, "decoders/README.md"))
	list, err := filepath.Glob(filepath.Join(dir, "*.onnx"))
	if err != nil || len(list) == 0 {
		t.Fatalf("no decoders in %s", dir)
	}
	return list
}

func TestDecodersSurviveARoundTrip(t *testing.T) {
	for _, path := range decoders(t) {
		g, err := Load(path)
		if err != nil {
			t.Error(err)
			continue
		}
		roundTrip(t, filepath.Base(path), g)
		if testing.Short() {
			continue
		}
		out := filepath.Join(t.TempDir(), "x.onnx")
		if err := g.Save(out); err != nil {
			t.Error(err)
		}
		data, _ := os.ReadFile(out)
		if b, _ := g.Marshal(); string(b) != string(data) {
			t.Errorf("%s: Save and Marshal differ", path)
		}
	}
}

// roundTrip fails unless the graph that is read back from g's bytes equals g.
func roundTrip(t *testing.T, name string, g *Graph) {
	t.Helper()
	b, err := g.Marshal()
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	h, err := Parse(b, "")
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if d := differ(g, h); d != "" {
		t.Errorf("%s: after a round trip %s differ", name, d)
	}
}

// differ names what differs between two graphs, leaving out what inference found.
func differ(a, b *Graph) string {
	switch {
	case a.Name != b.Name && (a.Name != "" || b.Name != "graph"):
		return "names"
	case len(a.Opset)+len(b.Opset) > 0 && a.Opset != nil && !reflect.DeepEqual(a.Opset, b.Opset):
		return "operator sets"
	case !reflect.DeepEqual(a.Inputs, b.Inputs):
		return "inputs"
	case !reflect.DeepEqual(a.Outputs, b.Outputs):
		return "outputs"
	case len(a.Init) != len(b.Init) || len(a.Nodes) != len(b.Nodes) || len(a.Meta) != len(b.Meta):
		return "sizes"
	}
	for k, v := range a.Init {
		if b.Init[k] == nil || !sameTensor(v, b.Init[k]) {
			return "initialisers " + k
		}
	}
	for i, n := range a.Nodes {
		m := b.Nodes[i]
		if n.Op != m.Op || n.Domain != m.Domain || n.Name != m.Name || len(n.Attr) != len(m.Attr) ||
			!sameStrings(n.In, m.In) || !sameStrings(n.Out, m.Out) {
			return "nodes " + n.Name
		}
		for k, x := range n.Attr {
			if y, ok := m.Attr[k]; !ok || !sameAttr(x, y) {
				return "attributes " + n.Name + "." + k
			}
		}
	}
	return ""
}

func sameStrings(a, b []string) bool { return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b) }

// sameTensor compares two tensors by what is written of them.
func sameTensor(a, b *Tensor) bool {
	return sameFile(&Graph{Init: map[string]*Tensor{"x": a}}, &Graph{Init: map[string]*Tensor{"x": b}})
}

func sameAttr(a, b Attr) bool {
	if a.Graph != nil {
		return b.Graph != nil && differ(a.Graph, b.Graph) == ""
	}
	of := func(a Attr) *Graph { return &Graph{Nodes: []*Node{{Op: "It", Attr: map[string]Attr{"a": a}}}} }
	return sameFile(of(a), of(b))
}

func sameFile(a, b *Graph) bool {
	x, err1 := a.Marshal()
	y, err2 := b.Marshal()
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}
