package config

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"sync"

	"lenskit/internal/disk"
	"lenskit/models"
	"lenskit/onnx"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"

	"gonum.org/v1/gonum/mat"
)

// Bundle is a decoder with what is known of its latents.
type Bundle struct {
	Path    string // folder or .onnx file; "shipped:NAME" for the one in the binary
	Decoder *onnx.Graph
	// Encoder gives the encoder; nil when the bundle has none. The shipped one is read when it is first asked for.
	Encoder func() (*onnx.Graph, error)
	Latents int
	// Mean and Cov are the latents' prior as the bundle states it, N(0, I) where it states none.
	Mean   []float64
	Cov    *mat.SymDense
	Inputs []rundir.Input // the files read; none for the shipped bundle
}

// LoadBundle reads the bundle at p, a folder or an .onnx file; an empty p is the shipped one. Every file is checked
// before onnxruntime sees it.
func LoadBundle(p string) (*Bundle, error) {
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
		return nil, term.BadInput("%s: %s, expected a decoder bundle or an .onnx file", p, term.Reason(err))
	case info.IsDir():
		return readBundle(p, os.DirFS(p), p)
	}
	b := &Bundle{Path: p}
	if b.Decoder, err = onnx.Load(p); err != nil {
		return nil, term.AsBadInput(err)
	}
	if err := b.addInput(p); err != nil {
		return nil, err
	}
	return b, b.Standard()
}

// readBundle reads a bundle from a file system. dir is the folder on disk, "" where there is none.
func readBundle(name string, files fs.FS, dir string) (*Bundle, error) {
	b := &Bundle{Path: name}
	var err error
	if b.Decoder, err = b.model(files, dir, rundir.FileDecoder); err != nil {
		return nil, err
	}
	if b.Decoder == nil {
		return nil, term.BadInput("%s: has no decoder.onnx, expected a decoder bundle", name)
	}
	if _, err := fs.Stat(files, rundir.FileEncoder); dir == "" && err == nil {
		b.Encoder = sync.OnceValues(func() (*onnx.Graph, error) { return b.model(files, dir, rundir.FileEncoder) })
	} else if e, err := b.model(files, dir, rundir.FileEncoder); err != nil {
		return nil, err
	} else if e != nil {
		b.Encoder = func() (*onnx.Graph, error) { return e, nil }
	}
	if err := b.Standard(); err != nil {
		return nil, err
	}
	return b, b.Prior(files, dir)
}

// model reads an ONNX file of the bundle; nil when it is not there.
func (b *Bundle) model(files fs.FS, dir, file string) (*onnx.Graph, error) {
	if dir != "" {
		full := filepath.Join(dir, file)
		if _, err := os.Stat(full); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		g, err := onnx.Load(full)
		if err != nil {
			return nil, term.AsBadInput(err)
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
		return nil, term.AsBadInput(err)
	}
	return g, nil
}

func (b *Bundle) addInput(file string) error {
	sum, err := disk.Sum(file)
	if err != nil {
		return err
	}
	b.Inputs = append(b.Inputs, rundir.Input{Path: file, SHA256: sum})
	return nil
}

// Standard finds the number of latents and sets their prior to N(0, I).
func (b *Bundle) Standard() error {
	in := b.Decoder.Inputs
	if len(in) != 1 {
		return term.BadInput("%s: decoder has %d inputs, expected one: the latents", b.Path, len(in))
	}
	if len(b.Decoder.Outputs) != 1 {
		return term.BadInput("%s: decoder has %d outputs, expected one: the image", b.Path, len(b.Decoder.Outputs))
	}
	shape := in[0].Shape
	ok := in[0].Type == onnx.Float32 && (len(shape) == 2 || len(shape) == 4) && shape[1].Known() && shape[1].N > 0
	for _, d := range shape[min(2, len(shape)):] {
		ok = ok && d.Known() && d.N == 1
	}
	if !ok {
		return term.BadInput("%s: decoder input %q is %s, expected float32 [N L] or [N L 1 1] with a number for L", b.Path, term.Shown(in[0].Name), TypeText(in[0]))
	}
	for _, n := range b.Decoder.Nodes {
		switch n.Op {
		case "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial":
			return term.BadInput("%s: decoder node %q (%s, opset %d) draws random numbers, expected a decoder whose image depends on the latents alone", b.Path, term.Shown(n.Name), n.Op, b.Decoder.Opset[n.Domain])
		}
	}
	b.Latents = int(shape[1].N)
	if b.Latents > 4096 {
		return term.BadInput("%s: decoder has %d latents, expected at most 4096", b.Path, b.Latents)
	}
	b.Mean = make([]float64, b.Latents)
	b.Cov = mat.NewSymDense(b.Latents, nil)
	for i := range b.Latents {
		b.Cov.SetSym(i, i, 1)
	}
	return nil
}

// TypeText writes a value's type and shape.
func TypeText(v onnx.Value) string {
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
		s += term.Shown(d.String())
	}
	return s + "]"
}

// Prior reads prior.json: {"mean": [...], "covariance": [[...], ...]}.
func (b *Bundle) Prior(files fs.FS, dir string) error {
	const file = "prior.json"
	name := path.Join(filepath.ToSlash(b.Path), file)
	info, err := fs.Stat(files, file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return term.BadInput("%s: %s", name, term.Reason(err))
	}
	var f io.ReadCloser
	size := info.Size()
	if dir == "" {
		f, err = files.Open(file)
	} else {
		name = filepath.Join(dir, file)
		f, size, err = disk.Open(name)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if size > term.MaxPriorFile {
		return term.BadInput("%s: found %s, expected at most %s", name, disk.Size(size), disk.Size(term.MaxPriorFile))
	}
	if err := b.ParsePrior(f); err != nil {
		return term.BadInput("%s: %w", name, err)
	}
	var chol mat.Cholesky
	if !chol.Factorize(b.Cov) {
		return term.BadInput("%s: covariance is not positive definite", name)
	}
	if dir != "" {
		return b.addInput(filepath.Join(dir, file))
	}
	return nil
}

// Bounds of a latent prior: the networks that take the latents compute in float32.
const (
	maxLatentMean     = 1e6
	maxLatentVariance = 1e12
)

// ParsePrior reads the text of prior.json. It takes no more memory than the numbers of b.Latents latents, whatever the
// text holds.
func (b *Bundle) ParsePrior(r io.Reader) error {
	n := b.Latents
	var mean, cov []float64
	p := priorReader{json.NewDecoder(bufio.NewReaderSize(io.LimitReader(r, term.MaxPriorFile), 1<<16))}
	if err := p.open('{', "the whole"); err != nil {
		return err
	}
	for p.More() {
		t, err := p.Token()
		if err != nil {
			return errors.New(term.JSONReason(err))
		}
		switch key := t.(string); {
		case key == "mean" && mean != nil, key == "covariance" && cov != nil:
			return fmt.Errorf("%s stands there twice", key)
		case key == "mean":
			mean, err = p.numbers(key, n, maxLatentMean, make([]float64, 0, n))
		case key == "covariance":
			cov, err = p.rows(key, n)
		default:
			err = p.skip()
		}
		if err != nil {
			return err
		}
	}
	if err := p.end(); err != nil {
		return err
	}
	if mean == nil || cov == nil {
		return fmt.Errorf("found no mean or no covariance, expected {\"mean\": %d numbers, \"covariance\": %d rows of %d}", n, n, n)
	}
	copy(b.Mean, mean)
	for i := range n {
		for j := range i + 1 {
			a, t := cov[i*n+j], cov[j*n+i]
			if math.Abs(a-t) > 1e-6*(math.Abs(a)+math.Abs(t))+1e-12 {
				return fmt.Errorf("covariance is not symmetric: [%d][%d] is %g, [%d][%d] is %g", i, j, a, j, i, t)
			}
			b.Cov.SetSym(i, j, (a+t)/2)
		}
	}
	return nil
}

// priorReader reads prior.json token by token.
type priorReader struct{ *json.Decoder }

// open reads the bracket that opens an object or a list.
func (p priorReader) open(bracket json.Delim, what string) error {
	t, err := p.Token()
	if err != nil {
		return errors.New(term.JSONReason(err))
	}
	if t != bracket {
		return fmt.Errorf("%s: found %s, expected %s", what, term.Shown(term.JSONText(t)), term.JSONText(bracket))
	}
	return nil
}

// numbers reads a list of n numbers of at most limit behind into.
func (p priorReader) numbers(key string, n int, limit float64, into []float64) ([]float64, error) {
	if err := p.open('[', key); err != nil {
		return nil, err
	}
	i := 0
	for ; p.More(); i++ {
		t, err := p.Token()
		var v *json.UnmarshalTypeError
		if err != nil && !errors.As(err, &v) {
			return nil, errors.New(term.JSONReason(err))
		}
		x, ok := t.(float64)
		switch {
		case i >= n:
			return nil, fmt.Errorf("%s: found more than %d numbers, expected %d, the decoder's latents", key, n, n)
		case err != nil || ok && !(math.Abs(x) <= limit):
			found := fmt.Sprint(x)
			if err != nil {
				found = term.Shown(v.Value)
			}
			return nil, fmt.Errorf("%s[%d]: found %s, expected a number of size up to %g", key, i, found, limit)
		case !ok:
			return nil, fmt.Errorf("%s[%d]: found %s, expected a number", key, i, term.Shown(term.JSONText(t)))
		}
		into = append(into, x)
	}
	if i != n {
		return nil, fmt.Errorf("%s: found %d numbers, expected %d, the decoder's latents", key, i, n)
	}
	if _, err := p.Token(); err != nil {
		return nil, errors.New(term.JSONReason(err))
	}
	return into, nil
}

// rows reads the rows of a covariance of n latents.
func (p priorReader) rows(key string, n int) ([]float64, error) {
	if err := p.open('[', key); err != nil {
		return nil, err
	}
	var out []float64
	i := 0
	for ; p.More(); i++ {
		if i >= n {
			return nil, fmt.Errorf("%s: found more than %d rows, expected %d, the decoder's latents", key, n, n)
		}
		var err error
		if out, err = p.numbers(fmt.Sprintf("%s[%d]", key, i), n, maxLatentVariance, out); err != nil {
			return nil, err
		}
	}
	if i != n {
		return nil, fmt.Errorf("%s: found %d rows, expected %d, the decoder's latents", key, i, n)
	}
	_, err := p.Token()
	return out, err
}

// skip reads a value and forgets it.
func (p priorReader) skip() error {
	for open := 0; ; {
		t, err := p.Token()
		if err != nil {
			return errors.New(term.JSONReason(err))
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			open++
		case json.Delim('}'), json.Delim(']'):
			open--
		}
		if open == 0 {
			return nil
		}
	}
}

// end reads the bracket that closes the whole, and makes sure that nothing follows.
func (p priorReader) end() error {
	if _, err := p.Token(); err != nil {
		return errors.New(term.JSONReason(err))
	}
	if _, err := p.Token(); err != io.EOF {
		return fmt.Errorf("found more after the object")
	}
	return nil
}

// WritePrior writes a bundle's prior.json.
func WritePrior(path string, mean []float64, cov *mat.SymDense) error {
	p := struct {
		Mean       []float64   `json:"mean"`
		Covariance [][]float64 `json:"covariance"`
	}{Mean: mean}
	for i := range mean {
		row := make([]float64, len(mean))
		for j := range row {
			row[j] = cov.At(i, j)
		}
		p.Covariance = append(p.Covariance, row)
	}
	return rundir.WriteAtomic(path, func(w io.Writer) error { return json.NewEncoder(w).Encode(p) })
}
