package adjoint

import (
	"fmt"
	"math"
	"sync"

	"lenskit/onnx"
	"lenskit/onnx/diff"
	"lenskit/onnx/eval"
	"lenskit/onnx/footprint"
	"lenskit/onnx/ort"
	"lenskit/onnx/rewrite"
)

// keptGraphs is what has been made of a DecoderSpec.
type keptGraphs struct {
	sync.Mutex
	shape     *decoderShape
	sessions  *derived // for onnxruntime
	reference *derived
}

// shape is shapeOf, once.
func (spec *DecoderSpec) shape() (*decoderShape, error) {
	spec.kept.Lock()
	defer spec.kept.Unlock()
	if spec.kept.shape == nil {
		s, err := shapeOf(spec)
		if err != nil {
			return nil, err
		}
		spec.kept.shape = s
	}
	return spec.kept.shape, nil
}

// derive is derive of the spec's shape, once.
func (spec *DecoderSpec) derive(o Options) (*derived, error) {
	s, err := spec.shape()
	if err != nil {
		return nil, err
	}
	spec.kept.Lock()
	defer spec.kept.Unlock()
	kept := &spec.kept.sessions
	if o.Device == deviceReference {
		kept = &spec.kept.reference
	}
	if *kept == nil {
		d, err := derive(s, o)
		if err != nil {
			return nil, err
		}
		if o.Device != deviceReference && rewrite.InDouble(s.graph) && !d.opens(o) {
			// onnxruntime has few operators of float64
			if d, err = derive(s.inSingle(), o); err != nil {
				return nil, err
			}
		}
		*kept = d
	}
	return *kept, nil
}

// MaxSide is the largest width and height of a decoder's images in pixels.
const MaxSide = 2048

// MaxNodes is the largest number of nodes of a decoder: as many as are differentiated and opened in seconds.
const MaxNodes = 20480

// decoderShape is a decoder's graph, for one image at a time, and what its input and output look like.
type decoderShape struct {
	file    string
	unbound *onnx.Graph // as given
	graph   *onnx.Graph // with N = 1
	in, out string
	inShape []int64 // [1, L] or [1, L, 1, 1]
	latents int
	w, h    int
}

// shapeOf checks that the graph is a decoder and reads its shapes.
func shapeOf(spec *DecoderSpec) (*decoderShape, error) {
	g := spec.Graph
	file := spec.File
	if file == "" {
		file = fmt.Sprintf("graph %q", g.Name)
	}
	if len(g.Nodes) > MaxNodes {
		return nil, fmt.Errorf("decoder %s: found %d nodes, expected at most %d", file, len(g.Nodes), MaxNodes)
	}
	if len(g.Inputs) != 1 {
		return nil, fmt.Errorf("decoder %s: found %d inputs %s, expected one, of latents", file, len(g.Inputs), listed(g.Inputs))
	}
	if len(g.Outputs) != 1 {
		return nil, fmt.Errorf("decoder %s: found %d outputs %s, expected one, of images", file, len(g.Outputs), listed(g.Outputs))
	}
	in := g.Inputs[0]
	const inWanted = "expected float32 of shape [N, L] or [N, L, 1, 1]"
	wrong := func(kind string, v onnx.Value, wanted string) error {
		return fmt.Errorf("decoder %s: %s %q: found %s, %s", file, kind, v.Name, described(v), wanted)
	}
	rank := len(in.Shape)
	ok := in.Type == onnx.Float32 && (rank == 2 || rank == 4) && in.Shape[1].Known() && in.Shape[1].N > 0
	if ok && rank == 4 {
		ok = in.Shape[2] == onnx.Dim{N: 1} && in.Shape[3] == onnx.Dim{N: 1}
	}
	if !ok || in.Shape[0].Known() && in.Shape[0].N != 1 {
		return nil, wrong("input", in, inWanted)
	}
	s := &decoderShape{file: file, unbound: g, in: in.Name, latents: int(in.Shape[1].N)}
	s.inShape = []int64{1, in.Shape[1].N}
	if rank == 4 {
		s.inShape = append(s.inShape, 1, 1)
	}
	var err error
	if s.graph, err = diff.BindInput(g, in.Name, s.inShape); err != nil {
		return nil, fmt.Errorf("decoder %s: %w", file, err)
	}
	out := s.graph.Outputs[0]
	s.out = out.Name
	const outWanted = "expected float32 of shape [N, 1, H, W], [N, H, W] or [N, H·W]"
	var d []int
	for _, e := range out.Shape {
		if !e.Known() || e.N <= 0 {
			return nil, wrong("output", out, outWanted)
		}
		d = append(d, int(e.N))
	}
	switch {
	case out.Type != onnx.Float32 || len(d) < 2 || d[0] != 1:
		return nil, wrong("output", out, outWanted)
	case len(d) == 2:
		side := int(math.Round(math.Sqrt(float64(d[1]))))
		if side*side != d[1] {
			return nil, wrong("output", out, "expected a square number of pixels in [N, H·W]")
		}
		s.w, s.h = side, side
	case len(d) == 3:
		s.h, s.w = d[1], d[2]
	case len(d) == 4 && d[1] == 1:
		s.h, s.w = d[2], d[3]
	default:
		return nil, wrong("output", out, outWanted)
	}
	if max(s.w, s.h) > MaxSide {
		return nil, wrong("output", out, fmt.Sprintf("expected images of at most %d x %d pixels", MaxSide, MaxSide))
	}
	return s, nil
}

// inSingle is the decoder with float32 in the place of float64 inside, or the decoder as it is where that cannot be had.
func (s *decoderShape) inSingle() *decoderShape {
	c := *s
	var err, err2 error
	c.graph, err = rewrite.InSingle(s.graph)
	c.unbound, err2 = rewrite.InSingle(s.unbound)
	if err != nil || err2 != nil {
		return s
	}
	return &c
}

// opens tells whether onnxruntime takes the decoder's graphs.
func (d *derived) opens(o Options) bool {
	s, err := newSessionDecoder(d, o)
	if err != nil {
		return false
	}
	defer s.close()
	n := d.latents
	imgs := make([][]float64, n)
	for k := range imgs {
		imgs[k] = make([]float64, d.w*d.h)
	}
	return s.jacobian(imgs, make([]float64, n*n), make([]float64, n)) == nil
}

func described(v onnx.Value) string {
	if v.Shape == nil {
		return fmt.Sprintf("%v of unknown shape", v.Type)
	}
	return fmt.Sprintf("%v of shape %v", v.Type, v.Shape)
}

func listed(vs []onnx.Value) string {
	s := "("
	for i, v := range vs {
		if i > 0 {
			s += ", "
		}
		s += v.Name
	}
	return s + ")"
}

// derived is a decoder's graphs, made once and shared by clones.
type derived struct {
	*decoderShape
	pair    *diff.Pair                  // forward and backward
	vjp     *onnx.Graph                 // both in one, for the reference
	columns func() (*onnx.Graph, error) // all columns of the Jacobian in one run, or one column; made when first asked for
	alone   func() error                // why images run one at a time; nil where a batch is the same
}

func derive(s *decoderShape, o Options) (*derived, error) {
	d := &derived{decoderShape: s}
	reference := o.Device == deviceReference
	opt := diff.Options{Wrt: []string{s.in}, Of: []string{s.out}, Exact: reference}
	var err error
	if reference {
		d.vjp, err = diff.VJP(s.graph, opt)
	} else {
		d.pair, err = diff.Split(s.graph, opt)
	}
	if err != nil {
		return nil, fmt.Errorf("decoder %s: %w", s.file, err)
	}
	d.alone = sync.OnceValue(func() error {
		run := ort.SessionRunner(o.session())
		if reference {
			run = nil
		}
		return diff.Apart(s.unbound, diff.Options{Wrt: opt.Wrt, Of: opt.Of}, run)
	})
	d.columns = sync.OnceValues(func() (*onnx.Graph, error) {
		bit := 0
		if reference {
			bit = 1 // its numbers are twice as wide
		}
		var g *onnx.Graph
		var err error
		if d.alone() == nil {
			opt.Columns, opt.Apart = s.latents, true
			g, err = diff.Jacobian(s.graph, opt)
			if err == nil && !footprint.Fits(g, footprint.BatchRoom>>bit) {
				opt.Columns, opt.Apart, g = 0, false, nil
			}
		}
		if g == nil && err == nil {
			g, err = diff.JVP(s.graph, opt)
		}
		if err != nil {
			return nil, fmt.Errorf("decoder %s: %w", s.file, err)
		}
		return g, nil
	})
	return d, nil
}

// decoder computes images of latents. It keeps what the reverse pass needs: reverse and jacobian belong to the last
// forward. Latents and images are float64; this file alone converts to the network's float32 and back.
type decoder interface {
	// forward writes the image of z, lowest row first.
	forward(img, z []float64) error
	// reverse adds (∂image/∂z)ᵀ gimg to gz.
	reverse(gz, gimg []float64) error
	// jacobian writes (∂image/∂z) v to each image for each direction v; directions are L of L latents, row by row.
	jacobian(imgs [][]float64, directions, z []float64) error
	close() error
}

// newDecoder opens a decoder on a device.
func newDecoder(d *derived, opt Options) (decoder, error) {
	if opt.Device == deviceReference {
		return newReferenceDecoder(d)
	}
	return newSessionDecoder(d, opt)
}

// sessionPair is a network's forward and backward sessions: the latter reads the activations where the former left them.
type sessionPair struct {
	*derived
	fwd, bwd       *ort.Session
	z, img, gi, gz []float32
}

func (s *sessionPair) start(graphs *diff.Pair, d *derived, opt ort.Options) (err error) {
	s.derived = d
	defer func() {
		if err != nil {
			s.stop()
			err = fmt.Errorf("decoder %s: %w", d.file, err)
		}
	}()
	if opt.Room == 0 {
		opt.Room = d.room()
	}
	if s.fwd, err = ort.Open(graphs.Forward, opt); err != nil {
		return err
	}
	opt.Share = s.fwd
	if s.bwd, err = ort.Open(graphs.Backward, opt); err != nil {
		return err
	}
	s.z, s.img = s.fwd.Input(d.in), s.fwd.Output(d.out)
	s.gi, s.gz = s.bwd.Input("grad_"+d.out), s.bwd.Output("grad_"+d.in)
	return nil
}

// run runs one direction.
func (s *sessionPair) run(reverse bool) error {
	session := s.fwd
	if reverse {
		session = s.bwd
	}
	if err := session.Run(); err != nil {
		return fmt.Errorf("decoder %s: %w", s.file, err)
	}
	return nil
}

func (s *sessionPair) stop() error {
	err := closeAll(s.bwd, s.fwd)
	s.fwd, s.bwd = nil, nil
	return err
}

// closeAll closes the sessions that are open and returns the first error.
func closeAll(sessions ...*ort.Session) error {
	var first error
	for _, x := range sessions {
		if x != nil {
			if err := x.Close(); err != nil && first == nil {
				first = err
			}
		}
	}
	return first
}

// narrow rounds to the network's numbers.
func narrow(dst []float32, src []float64) {
	for i, v := range src {
		dst[i] = float32(v)
	}
}

// widen is the way back.
func widen(dst []float64, src []float32) {
	for i, v := range src {
		dst[i] = float64(v)
	}
}

// addWide adds.
func addWide(dst []float64, src []float32) {
	for i, v := range src {
		dst[i] += float64(v)
	}
}

// session are the options of a network's sessions.
func (o Options) session() ort.Options {
	return ort.Options{Threads: o.Threads, Device: o.Device, NoSpin: true}
}

// room is what the values of the decoder's graphs may take: more for large images.
func (s *decoderShape) room() int64 {
	return max(footprint.DefaultRoom, min(footprint.BatchRoom, 256*int64(s.w)*int64(s.h)))
}

// sessionDecoder runs on onnxruntime.
type sessionDecoder struct {
	*derived
	opt           ort.Options
	pair          sessionPair
	jac           *ort.Session
	jz, jv, jimgs []float32
}

func newSessionDecoder(d *derived, opt Options) (*sessionDecoder, error) {
	s := &sessionDecoder{derived: d, opt: opt.session()}
	if err := s.pair.start(d.pair, d, s.opt); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *sessionDecoder) forward(img, z []float64) error {
	narrow(s.pair.z, z)
	if err := s.pair.run(false); err != nil {
		return err
	}
	widen(img, s.pair.img)
	return nil
}

func (s *sessionDecoder) reverse(gz, gimg []float64) error {
	narrow(s.pair.gi, gimg)
	if err := s.pair.run(true); err != nil {
		return err
	}
	addWide(gz, s.pair.gz)
	return nil
}

func (s *sessionDecoder) jacobian(imgs [][]float64, directions, z []float64) error {
	if s.jac == nil {
		g, err := s.columns()
		if err != nil {
			return err
		}
		opt := s.opt
		opt.Room = footprint.BatchRoom
		if s.jac, err = ort.Open(g, opt); err != nil {
			return fmt.Errorf("decoder %s: %w", s.file, err)
		}
		s.jz, s.jv, s.jimgs = s.jac.Input(s.in), s.jac.Input("tangent_"+s.in), s.jac.Output("tangent_"+s.out)
	}
	narrow(s.jz, z[:len(s.jz)]) // absent where the network is linear
	n := s.w * s.h
	rows := len(s.jimgs) / n // all columns, or one
	for k := 0; k < len(imgs); k += rows {
		narrow(s.jv, directions[k*s.latents:(k+rows)*s.latents])
		if err := s.jac.Run(); err != nil {
			return fmt.Errorf("decoder %s: %w", s.file, err)
		}
		for i, img := range imgs[k:min(k+rows, len(imgs))] {
			widen(img, s.jimgs[i*n:(i+1)*n])
		}
	}
	return nil
}

func (s *sessionDecoder) close() error {
	first := s.pair.stop()
	if err := closeAll(s.jac); first == nil {
		first = err
	}
	s.jac = nil
	return first
}

// referenceDecoder runs the same graphs in float64 in Go. It allocates.
type referenceDecoder struct {
	*derived
	fwd, vjp, jac *eval.Evaluator
	z             []float64
}

func newReferenceDecoder(d *derived) (*referenceDecoder, error) {
	r := &referenceDecoder{derived: d, z: make([]float64, d.latents)}
	var err error
	if r.fwd, err = eval.NewIn(d.graph, d.room()); err == nil {
		r.vjp, err = eval.NewIn(d.vjp, d.room())
	}
	if err != nil {
		return nil, fmt.Errorf("decoder %s: %w", d.file, err)
	}
	return r, nil
}

func (r *referenceDecoder) forward(img, z []float64) error {
	copy(r.z, z)
	out, err := r.fwd.Run(map[string]*eval.Array{r.in: eval.FloatArray(r.z, r.inShape...)})
	if err != nil {
		return fmt.Errorf("decoder %s: %w", r.file, err)
	}
	copy(img, out[r.out].F)
	return nil
}

func (r *referenceDecoder) reverse(gz, gimg []float64) error {
	var shape []int64
	for _, d := range r.graph.Outputs[0].Shape {
		shape = append(shape, d.N)
	}
	in := map[string]*eval.Array{r.in: eval.FloatArray(r.z, r.inShape...), "grad_" + r.out: eval.FloatArray(gimg, shape...)}
	out, err := r.vjp.Run(in)
	if err != nil {
		return fmt.Errorf("decoder %s: %w", r.file, err)
	}
	for i, v := range out["grad_"+r.in].F {
		gz[i] += v
	}
	return nil
}

func (r *referenceDecoder) jacobian(imgs [][]float64, directions, z []float64) error {
	g, err := r.columns()
	if err != nil {
		return err
	}
	if r.jac == nil {
		if r.jac, err = eval.NewIn(g, footprint.BatchRoom); err != nil {
			return fmt.Errorf("decoder %s: %w", r.file, err)
		}
	}
	in := map[string]*eval.Array{}
	var shape []int64 // of the tangents: all, or one
	for _, v := range g.Inputs {
		switch v.Name {
		case r.in:
			in[v.Name] = eval.FloatArray(z, r.inShape...)
		case "tangent_" + r.in:
			for _, d := range v.Shape {
				shape = append(shape, d.N)
			}
		}
	}
	n := r.w * r.h
	rows := int(shape[0])
	for k := 0; k < len(imgs); k += rows {
		in["tangent_"+r.in] = eval.FloatArray(directions[k*r.latents:(k+rows)*r.latents], shape...)
		out, err := r.jac.Run(in)
		if err != nil {
			return fmt.Errorf("decoder %s: %w", r.file, err)
		}
		for i, img := range imgs[k:min(k+rows, len(imgs))] {
			copy(img, out["tangent_"+r.out].F[i*n:(i+1)*n])
		}
	}
	return nil
}

func (r *referenceDecoder) close() error { return nil }

// ImageSize is the width and height in pixels of a decoder's images.
func ImageSize(decoder *onnx.Graph) (w, h int, err error) {
	s, err := shapeOf(&DecoderSpec{Graph: decoder})
	if err != nil {
		return 0, 0, fmt.Errorf("adjoint: %w", err)
	}
	return s.w, s.h, nil
}
