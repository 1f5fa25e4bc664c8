package onnx

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lenskit/onnx/internal/onnxpb"
	"lenskit/onnx/internal/onnxtest"
)

// Weights in a file of their own take what the file has: tensors that share it, or that are wider in memory, cannot take
// more without end. The file is sparse.
func TestExternalDataTakesNoMoreThanItsFiles(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "w.bin"))
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	f.Close()
	tensor := func(typ DType, width int64) *onnxpb.Tensor {
		return &onnxpb.Tensor{Name: "w", Dims: []int64{size / width}, Type: int32(typ), Location: 1, External: []onnxpb.Entry{{Key: "location", Value: "w.bin"}}}
	}
	read := func(r *reader, p *onnxpb.Tensor) (took uint64, err error) {
		took = onnxtest.Allocated(func() { _, err = r.tensor(p) })
		return took, err
	}
	r := &reader{dir: dir}
	if took, err := read(r, tensor(Float32, 4)); err != nil || took > size+8<<20 {
		t.Errorf("float32: took %d bytes for %d, %v", took, size, err)
	}
	if took, err := read(&reader{dir: dir}, tensor(Uint8, 1)); err == nil || took > 8<<20 {
		t.Errorf("uint8: took %d bytes for %d, %v, expected a refusal", took, size, err)
	}
	for k := range 20 {
		if _, err = read(r, tensor(Float32, 4)); err != nil {
			if k < 2 || !strings.Contains(err.Error(), "w.bin") {
				t.Errorf("after %d tensors: %v", k+1, err)
			}
			break
		}
	}
	if err == nil {
		t.Error("20 tensors of one file were read, expected a refusal")
	}
}
