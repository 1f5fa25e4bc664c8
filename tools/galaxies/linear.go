package galaxies

import (
	"context"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"

	"lenskit/onnx"
	"lenskit/onnx/diff"
	"lenskit/onnx/footprint"
	"lenskit/onnx/ort"
	"lenskit/tools/config"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"

	"gonum.org/v1/gonum/mat"
)

// LinearModel is the mean of a set of images and its leading principal components.
type LinearModel struct {
	w, h    int
	mean    []float64
	vectors *mat.Dense // pixels x components, orthonormal columns, by falling variance
	sigma   []float64  // standard deviation of the images along each
	Kept    float64    // share of the variance that the components hold
}

// heldBackImage tells whether image i takes no part in making a model.
func heldBackImage(i int) bool { return i%20 == 19 }

// PrincipalComponents finds the leading components of the images that are not held back by subspace iteration on their
// covariance C = Xᵀ X / N from a random start (Halko, Martinsson & Tropp 2011, algorithms 4.4 and 5.3), without forming C.
// The number of iterations gives the leading components to a part in 10⁴ of the spectrum's fall.
func PrincipalComponents(ctx context.Context, set *Cube, count int, seed uint64, report *term.Progress) (*LinearModel, error) {
	report = report.OrSilent()
	pixels := set.W * set.H
	p := &LinearModel{w: set.W, h: set.H, mean: make([]float64, pixels)}
	var used []int
	for i := range set.N {
		if !heldBackImage(i) {
			used = append(used, i)
		}
	}
	for _, i := range used {
		for k, v := range set.Plane(i) {
			p.mean[k] += float64(v) / float64(len(used))
		}
	}
	total := 0.0
	for _, i := range used {
		for k, v := range set.Plane(i) {
			d := float64(v) - p.mean[k]
			total += d * d / float64(len(used))
		}
	}
	width := min(count+24, pixels, len(used))
	rng := rand.New(rand.NewPCG(seed, 0x11a))
	v := mat.NewDense(pixels, width, nil)
	for i := range pixels {
		for j := range width {
			v.Set(i, j, rng.NormFloat64())
		}
	}
	// product returns C v, reading the images in blocks.
	const block = 1024
	x := make([]float64, block*pixels)
	product := func(v *mat.Dense) *mat.Dense {
		sum := mat.NewDense(pixels, width, nil)
		var y, part mat.Dense
		for from := 0; from < len(used); from += block {
			rows := min(block, len(used)-from)
			for r, i := range used[from : from+rows] {
				for k, f := range set.Plane(i) {
					x[r*pixels+k] = float64(f) - p.mean[k]
				}
			}
			b := mat.NewDense(rows, pixels, x[:rows*pixels])
			y.Reset()
			part.Reset()
			y.Mul(b, v)
			part.Mul(b.T(), &y)
			sum.Add(sum, &part)
		}
		sum.Scale(1/float64(len(used)), sum)
		return sum
	}
	const iterations = 5
	for k := range iterations {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var err error
		if v, err = orthonormal(product(v)); err != nil {
			return nil, err
		}
		report.Say("principal components: iteration %d of %d", k+1, iterations)
	}
	// Within the subspace the components are the eigenvectors of vᵀ C v (Rayleigh and Ritz).
	var small mat.Dense
	small.Mul(v.T(), product(v))
	sym := mat.NewSymDense(width, nil)
	for i := range width {
		for j := range i + 1 {
			sym.SetSym(i, j, (small.At(i, j)+small.At(j, i))/2)
		}
	}
	var eig mat.EigenSym
	if !eig.Factorize(sym, true) {
		return nil, term.Numerical("dataset bundle: the principal components could not be found")
	}
	values := eig.Values(nil) // rising
	var turn, all mat.Dense
	eig.VectorsTo(&turn)
	all.Mul(v, &turn)
	p.vectors = mat.NewDense(pixels, count, nil)
	for j := range count {
		from := width - 1 - j
		variance := max(values[from], 0)
		if !(variance > 1e-12*total) {
			return nil, term.BadInput("dataset bundle: the images have only %d independent components, expected %d: ask for fewer latents", j, count)
		}
		p.sigma = append(p.sigma, math.Sqrt(variance))
		p.Kept += variance / total
		// The sign is free: the largest element is positive.
		sign, largest := 1.0, 0.0
		for i := range pixels {
			if a := math.Abs(all.At(i, from)); a > largest {
				largest, sign = a, math.Copysign(1, all.At(i, from))
			}
		}
		for i := range pixels {
			p.vectors.Set(i, j, sign*all.At(i, from))
		}
	}
	return p, nil
}

// orthonormal returns as many orthonormal columns as a has, a basis of these where they are independent. Where they are not, as
// those of few images or of images that are alike, the left singular vectors are, of which those of the value 0 are any.
func orthonormal(a *mat.Dense) (*mat.Dense, error) {
	rows, cols := a.Dims()
	// Q = A R⁻¹ needs no square matrix; a second round takes off what rounding left of a first.
	var qr mat.QR
	q := mat.DenseCopyOf(a)
	for range 2 {
		var r mat.Dense
		qr.Factorize(q)
		qr.RTo(&r)
		tri := mat.NewTriDense(cols, mat.Upper, nil)
		for i := range cols {
			for j := i; j < cols; j++ {
				tri.SetTri(i, j, r.At(i, j))
			}
		}
		var t mat.Dense
		if err := t.Solve(tri.T(), q.T()); err != nil {
			var svd mat.SVD
			if !svd.Factorize(a, mat.SVDThinU) {
				return nil, term.Numerical("dataset bundle: the principal components could not be found")
			}
			var u mat.Dense
			svd.UTo(&u)
			return &u, nil
		}
		q = mat.NewDense(rows, cols, nil)
		q.Copy(t.T())
	}
	return q, nil
}

// HeldBack is the rms, over pixels and held-back images, of the difference between image and reconstruction.
func (p *LinearModel) HeldBack(set *Cube) float64 {
	pixels := p.w * p.h
	_, count := p.vectors.Dims()
	d, z, back := mat.NewVecDense(pixels, nil), mat.NewVecDense(count, nil), mat.NewVecDense(pixels, nil)
	sum, n := 0.0, 0
	for i := range set.N {
		if !heldBackImage(i) {
			continue
		}
		for k, v := range set.Plane(i) {
			d.SetVec(k, float64(v)-p.mean[k])
		}
		z.MulVec(p.vectors.T(), d)
		back.MulVec(p.vectors, z)
		d.SubVec(d, back)
		sum += mat.Dot(d, d)
		n++
	}
	if n == 0 {
		return 0
	}
	return math.Sqrt(sum / float64(n*pixels))
}

// decoder is image = mean + Σ z_k σ_k v_k.
func (p *LinearModel) decoder() *onnx.Graph {
	pixels := int64(p.w * p.h)
	_, count := p.vectors.Dims()
	weight := make([]float32, 0, int(pixels)*count)
	for k := range count {
		for i := range int(pixels) {
			weight = append(weight, float32(p.sigma[k]*p.vectors.At(i, k)))
		}
	}
	bias := make([]float32, pixels)
	for i, v := range p.mean {
		bias[i] = float32(v)
	}
	n := onnx.Dim{N: 1, Sym: "N"}
	return &onnx.Graph{
		Name:    "linear_decoder",
		Opset:   map[string]int{"": 18},
		Inputs:  []onnx.Value{{Name: "z", Type: onnx.Float32, Shape: []onnx.Dim{n, {N: int64(count)}}}},
		Outputs: []onnx.Value{{Name: "image", Type: onnx.Float32, Shape: []onnx.Dim{n, {N: 1}, {N: int64(p.h)}, {N: int64(p.w)}}}},
		Nodes: []*onnx.Node{
			{Op: "Gemm", Name: "components", In: []string{"z", "weight", "mean"}, Out: []string{"flat"}},
			{Op: "Reshape", Name: "square", In: []string{"flat", "shape"}, Out: []string{"image"}},
		},
		Init: map[string]*onnx.Tensor{
			"weight": onnx.FloatTensor(weight, int64(count), pixels),
			"mean":   onnx.FloatTensor(bias, pixels),
			"shape":  onnx.IntTensor([]int64{-1, 1, int64(p.h), int64(p.w)}, 4),
		},
	}
}

// encoder is z_k = v_k · (image - mean) / σ_k.
func (p *LinearModel) encoder() *onnx.Graph {
	pixels := int64(p.w * p.h)
	_, count := p.vectors.Dims()
	weight := make([]float32, int(pixels)*count)
	bias := make([]float32, count)
	for k := range count {
		dot := 0.0
		for i := range int(pixels) {
			v := p.vectors.At(i, k) / p.sigma[k]
			weight[i*count+k] = float32(v)
			dot += v * p.mean[i]
		}
		bias[k] = float32(-dot)
	}
	n := onnx.Dim{N: 1, Sym: "N"}
	return &onnx.Graph{
		Name:    "linear_encoder",
		Opset:   map[string]int{"": 18},
		Inputs:  []onnx.Value{{Name: "image", Type: onnx.Float32, Shape: []onnx.Dim{n, {N: 1}, {N: int64(p.h)}, {N: int64(p.w)}}}},
		Outputs: []onnx.Value{{Name: "z", Type: onnx.Float32, Shape: []onnx.Dim{n, {N: int64(count)}}}},
		Nodes: []*onnx.Node{
			{Op: "Reshape", Name: "flatten", In: []string{"image", "shape"}, Out: []string{"flat"}},
			{Op: "Gemm", Name: "project", In: []string{"flat", "weight", "offset"}, Out: []string{"z"}},
		},
		Init: map[string]*onnx.Tensor{
			"weight": onnx.FloatTensor(weight, pixels, int64(count)),
			"offset": onnx.FloatTensor(bias, int64(count)),
			"shape":  onnx.IntTensor([]int64{-1, pixels}, 2),
		},
	}
}

// Write writes the bundle into dir.
func (p *LinearModel) Write(dir string, k Card) error {
	if err := p.decoder().Save(filepath.Join(dir, rundir.FileDecoder)); err != nil {
		return term.AsBadInput(err)
	}
	if err := p.encoder().Save(filepath.Join(dir, rundir.FileEncoder)); err != nil {
		return term.AsBadInput(err)
	}
	n := len(p.sigma)
	unit := mat.NewSymDense(n, nil)
	for i := range n {
		unit.SetSym(i, i, 1)
	}
	if err := config.WritePrior(filepath.Join(dir, rundir.FilePrior), make([]float64, n), unit); err != nil {
		return err
	}
	return rundir.WriteAtomic(filepath.Join(dir, rundir.FileCard), func(w io.Writer) error {
		_, err := io.WriteString(w, k.Text())
		return err
	})
}

// Reconstruction holds images as the encoder takes them and what the decoder makes of their latents.
type Reconstruction struct{ Originals, Decoded [][]float64 }

// Reconstruct sends the images through the encoder and the decoder of b. Images without a peak are left out.
func Reconstruct(b *config.Bundle, set *Cube) (*Reconstruction, error) {
	if b.Encoder == nil {
		return nil, term.BadInput("%s: has no encoder.onnx, expected a bundle with an encoder", b.Path)
	}
	r := &Reconstruction{}
	pixels := set.W * set.H
	for i := range set.N {
		if p := Normalised(set.Plane(i), set.W, set.H); slices.Max(p) > 0 {
			r.Originals = append(r.Originals, p)
		}
	}
	n := len(r.Originals)
	if n == 0 {
		return nil, term.BadInput("dataset check: no image has a peak above its border")
	}
	in := make([]float32, 0, n*pixels)
	for _, p := range r.Originals {
		for _, v := range p {
			in = append(in, float32(v))
		}
	}
	run := func(g *onnx.Graph, shape []int64, data []float32) ([]float32, error) {
		g, err := diff.BindInput(g, g.Inputs[0].Name, shape)
		if err != nil {
			return nil, term.BadInput("%s: %w", b.Path, err)
		}
		s, err := ort.Open(g, ort.Options{Room: footprint.AllRoom, Bind: map[string][]float32{g.Inputs[0].Name: data}})
		if err != nil {
			return nil, term.AsBadInput(err)
		}
		defer s.Close()
		if err := s.Run(); err != nil {
			return nil, err
		}
		return s.Output(g.Outputs[0].Name), nil
	}
	e, err := b.Encoder()
	if err != nil {
		return nil, err
	}
	z, err := run(e, []int64{int64(n), 1, int64(set.H), int64(set.W)}, in)
	if err != nil {
		return nil, err
	}
	if len(z) != n*b.Latents {
		return nil, term.BadInput("%s: encoder gives %d numbers for an image, expected %d", b.Path, len(z)/n, b.Latents)
	}
	shape := []int64{int64(n), int64(b.Latents)}
	for range len(b.Decoder.Inputs[0].Shape) - 2 {
		shape = append(shape, 1)
	}
	out, err := run(b.Decoder, shape, z)
	if err != nil {
		return nil, err
	}
	if len(out) != n*pixels {
		return nil, term.BadInput("%s: decoder gives %d pixels, expected %d x %d", b.Path, len(out)/n, set.W, set.H)
	}
	for i := range n {
		p := make([]float64, pixels)
		for k := range p {
			p[k] = float64(out[i*pixels+k])
		}
		r.Decoded = append(r.Decoded, p)
	}
	return r, nil
}
