package onnx_test

import (
	"os"
	"path/filepath"
	"testing"

	"lenskit/onnx"
	"lenskit/onnx/internal/graphtest"
	"lenskit/onnx/internal/onnxtest"
)

func TestDecodersSurviveARoundTrip(t *testing.T) {
	for _, path := range onnxtest.Decoders(t) {
		g, err := onnx.Load(path)
		if err != nil {
			t.Error(err)
			continue
		}
		graphtest.RoundTrip(t, filepath.Base(path), g)
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
