package onnx_test

import (
	"fmt"
	"strings"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/checker"
	"lenskit/onnx/internal/graphtest"
)

func TestNamesOfFilesAreQuotedAndCut(t *testing.T) {
	if got := onnx.Quote("a\x1b[31m\nb"); got != `"a\x1b[31m\nb"` {
		t.Errorf("found %s", got)
	}
	if got := onnx.Quote(strings.Repeat("long", 1000)); len(got) > 100 {
		t.Errorf("found %d bytes: %s", len(got), got)
	}
	n := &onnx.Node{Op: "Bo\x1bmb\n" + strings.Repeat("x", 1e6)}
	g := &onnx.Graph{Opset: map[string]int{"": 18}, Inputs: []onnx.Value{{Name: "z", Type: onnx.Float32, Shape: graphtest.DimsOf(1)}}, Nodes: []*onnx.Node{n}, Outputs: []onnx.Value{{Name: "z"}}}
	err := checker.Graph(g)
	if err == nil || strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 400 {
		t.Errorf("found %.500s", fmt.Sprint(err))
	}
}
