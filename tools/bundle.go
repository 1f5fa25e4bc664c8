package tools

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"sync"

	"gonum.org/v1/gonum/mat"

	"lenskit/models"
	"lenskit/onnx"
)

// bundle is a decoder with what is known of its latents.
type bundle struct {
	Path    string // folder or .onnx file; "shipped:NAME" for the one in the binary
	Decoder *onnx.Graph
	// Encoder gives the encoder; nil when the bundle has none. The shipped one is read when it is first asked for.
	Encoder func() (*onnx.Graph, error)
	Latents int
	// Mean and Cov are the latents' prior as the bundle states it, N(0, I) where it states none.
	Mean   []float64
	Cov    *mat.SymDense
	Inputs []input // the files read; none for the shipped bundle
}

// maxPriorFile bounds prior.json: a covariance of a few thousand latents.
const maxPriorFile = 1 << 28

// loadBundle reads the bundle at p, a folder or an .onnx file; an empty p is the shipped one. Every file is checked
// before onnxruntime sees it.
func loadBundle(p string) (*bundle, error) {
	if p == "" {
		sub, err := fs.Sub(models.Files, models.Shipped)
		if err != nil {
			return nil, err
		}
		return readBundle("shipped:"+models.Shipped, sub, "")
	}
	info, err := os.Stat(p)
	switch {
	case err != nil:
		return nil, badInput("%s: %s, expected a decoder bundle or an .onnx file", p, reason(err))
	case info.IsDir():
		return readBundle(p, os.DirFS(p), p)
	}
	b := &bundle{Path: p}
	if b.Decoder, err = onnx.Load(p); err != nil {
		return nil, asBadInput(err)
	}
	if err := b.addInput(p); err != nil {
		return nil, err
	}
	return b, b.standard()
}

// readBundle reads a bundle from a file system. dir is the folder on disk, "" where there is none.
func readBundle(name string, files fs.FS, dir string) (*bundle, error) {
	b := &bundle{Path: name}
	var err error
	if b.Decoder, err = b.model(files, dir, "decoder.onnx"); err != nil {
		return nil, err
	}
	if b.Decoder == nil {
		return nil, badInput("%s: has no decoder.onnx, expected a decoder bundle", name)
	}
	if _, err := fs.Stat(files, "encoder.onnx"); dir == "" && err == nil {
		b.Encoder = sync.OnceValues(func() (*onnx.Graph, error) { return b.model(files, dir, "encoder.onnx") })
	} else if e, err := b.model(files, dir, "encoder.onnx"); err != nil {
		return nil, err
	} else if e != nil {
		b.Encoder = func() (*onnx.Graph, error) { return e, nil }
	}
	if err := b.standard(); err != nil {
		return nil, err
	}
	return b, b.prior(files, dir)
}

// model reads an ONNX file of the bundle; nil when it is not there.
func (b *bundle) model(files fs.FS, dir, file string) (*onnx.Graph, error) {
	if dir != "" {
		full := filepath.Join(dir, file)
		if _, err := os.Stat(full); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		g, err := onnx.Load(full)
		if err != nil {
			return nil, asBadInput(err)
		}
		return g, b.addInput(full)
	}
	data, err := fs.ReadFile(files, file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	g, err := onnx.Parse(data, "")
	if err != nil {
		return nil, asBadInput(err)
	}
	return g, nil
}

func (b *bundle) addInput(file string) error {
	sum, err := hashFile(file)
	if err != nil {
		return err
	}
	b.Inputs = append(b.Inputs, input{file, sum})
	return nil
}

// standard finds the number of latents and sets their prior to N(0, I).
func (b *bundle) standard() error {
	in := b.Decoder.Inputs
	if len(in) != 1 {
		return badInput("%s: decoder has %d inputs, expected one: the latents", b.Path, len(in))
	}
	if len(b.Decoder.Outputs) != 1 {
		return badInput("%s: decoder has %d outputs, expected one: the image", b.Path, len(b.Decoder.Outputs))
	}
	shape := in[0].Shape
	ok := in[0].Type == onnx.Float32 && (len(shape) == 2 || len(shape) == 4) && shape[1].Known() && shape[1].N > 0
	for _, d := range shape[min(2, len(shape)):] {
		ok = ok && d.Known() && d.N == 1
	}
	if !ok {
		return badInput("%s: decoder input %q is %s, expected float32 [N L] or [N L 1 1] with a number for L", b.Path, in[0].Name, typeText(in[0]))
	}
	for _, n := range b.Decoder.Nodes {
		switch n.Op {
		case "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial":
			return badInput("%s: decoder node %q (%s, opset %d) draws random numbers, expected a decoder whose image depends on the latents alone", b.Path, n.Name, n.Op, b.Decoder.Opset[n.Domain])
		}
	}
	b.Latents = int(shape[1].N)
	if b.Latents > 4096 {
		return badInput("%s: decoder has %d latents, expected at most 4096", b.Path, b.Latents)
	}
	b.Mean = make([]float64, b.Latents)
	b.Cov = mat.NewSymDense(b.Latents, nil)
	for i := range b.Latents {
		b.Cov.SetSym(i, i, 1)
	}
	return nil
}

// typeText writes a value's type and shape.
func typeText(v onnx.Value) string {
	s := map[onnx.DType]string{
		onnx.Float32: "float32", onnx.Float64: "float64", onnx.Float16: "float16", onnx.BFloat16: "bfloat16", onnx.Int64: "int64", onnx.Int32: "int32",
	}[v.Type]
	if s == "" {
		s = "of another type"
	}
	if v.Shape == nil {
		return s + " of unknown rank"
	}
	s += " ["
	for i, d := range v.Shape {
		if i > 0 {
			s += " "
		}
		s += d.String()
	}
	return s + "]"
}

// prior reads prior.json: {"mean": [...], "covariance": [[...], ...]}.
func (b *bundle) prior(files fs.FS, dir string) error {
	const file = "prior.json"
	name := path.Join(filepath.ToSlash(b.Path), file)
	info, err := fs.Stat(files, file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && info.Size() > maxPriorFile {
		return badInput("%s: found %d MB, expected at most %d", name, info.Size()>>20, maxPriorFile>>20)
	}
	var data []byte
	if err == nil {
		data, err = fs.ReadFile(files, file)
	}
	if err != nil {
		return badInput("%s: %s", name, reason(err))
	}
	var p struct {
		Mean       []float64   `json:"mean"`
		Covariance [][]float64 `json:"covariance"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&p); err != nil {
		return badInput("%s: %s", name, jsonReason(err))
	}
	n := b.Latents
	if len(p.Mean) != n || len(p.Covariance) != n {
		return badInput("%s: found a mean of %d and a covariance of %d rows, expected %d, the decoder's latents", name, len(p.Mean), len(p.Covariance), n)
	}
	copy(b.Mean, p.Mean)
	for i, row := range p.Covariance {
		if len(row) != n {
			return badInput("%s: covariance row %d has %d numbers, expected %d", name, i, len(row), n)
		}
		for j := range row[:i+1] {
			a, t := row[j], p.Covariance[j][i]
			if math.Abs(a-t) > 1e-6*(math.Abs(a)+math.Abs(t))+1e-12 {
				return badInput("%s: covariance is not symmetric: [%d][%d] is %g, [%d][%d] is %g", name, i, j, a, j, i, t)
			}
			b.Cov.SetSym(i, j, (a+t)/2)
		}
	}
	var chol mat.Cholesky
	if !chol.Factorize(b.Cov) {
		return badInput("%s: covariance is not positive definite", name)
	}
	if dir != "" {
		return b.addInput(filepath.Join(dir, file))
	}
	return nil
}

// jsonReason says what is wrong with a JSON text, with the place where there is one.
func jsonReason(err error) string {
	var s *json.SyntaxError
	var t *json.UnmarshalTypeError
	switch {
	case errors.As(err, &s):
		return fmt.Sprintf("is not valid JSON: at byte %d: %v", s.Offset, s)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "is not valid JSON: it ends too soon"
	case errors.As(err, &t):
		want := map[reflect.Kind]string{reflect.Struct: "an object", reflect.Map: "an object", reflect.Slice: "a list", reflect.String: "text", reflect.Bool: "true or false",
			reflect.Int: "a whole number", reflect.Uint64: "a whole number of 0 or more"}[t.Type.Kind()]
		return fmt.Sprintf("at byte %d: %s: found %s, expected %s", t.Offset, cmp.Or(t.Field, "the whole"), t.Value, cmp.Or(want, "a number in the range of float64"))
	}
	return "is not valid JSON: " + err.Error()
}
