package search

import (
	"errors"
	"math"

	"lenskit/onnx/diff"
	"lenskit/onnx/ort"
	"lenskit/tools/config"
	"lenskit/tools/internal/term"
)

// encoder turns source images into latents with a bundle's encoder.
type encoder struct {
	run  *ort.Session
	in   []float32
	out  []float32
	w, h int
}

// newEncoder opens the encoder of a bundle: one float32 input [N, 1, H, W] (or [N, H, W], [N, H·W]) and the latents'
// means as its first output. It is nil when the bundle has none.
func newEncoder(b *config.Bundle, w, h int) (*encoder, error) {
	if b.Encoder == nil {
		return nil, nil
	}
	g, err := b.Encoder()
	if err != nil {
		return nil, err
	}
	if len(g.Inputs) != 1 || len(g.Outputs) == 0 {
		return nil, term.BadInput("%s: encoder has %d inputs and %d outputs, expected one image in and the latents' means out", b.Path, len(g.Inputs), len(g.Outputs))
	}
	shape := []int64{1, 1, int64(h), int64(w)}
	switch len(g.Inputs[0].Shape) {
	case 2:
		shape = []int64{1, int64(h * w)}
	case 3:
		shape = []int64{1, int64(h), int64(w)}
	}
	g, err = diff.BindInput(g, g.Inputs[0].Name, shape)
	if err != nil {
		return nil, term.BadInput("%s: encoder: %v", b.Path, err)
	}
	run, err := ort.Open(g, ort.Options{Threads: 1})
	if err != nil {
		return nil, term.BadInput("%s: encoder: %v", b.Path, err)
	}
	e := &encoder{run: run, in: run.Input(g.Inputs[0].Name), out: run.Output(g.Outputs[0].Name), w: w, h: h}
	if len(e.in) != w*h || len(e.out) != b.Latents {
		run.Close()
		return nil, term.BadInput("%s: encoder takes %d numbers and gives %d, expected %d pixels and %d latents", b.Path, len(e.in), len(e.out), w*h, b.Latents)
	}
	return e, nil
}

// errNoLight says that within a frame there is nothing to encode.
var errNoLight = errors.New("tools: encode: the source image has no light")

// encode returns the latents of an image, which it divides by its peak as the decoders' training images are, and the
// peak.
func (e *encoder) encode(img []float64) (z []float64, peak float64, err error) {
	for _, v := range img {
		peak = math.Max(peak, v)
	}
	if !(peak > 0) {
		return nil, 0, errNoLight
	}
	for i, v := range img {
		e.in[i] = float32(math.Max(-1, v/peak))
	}
	if err := e.run.Run(); err != nil {
		return nil, 0, err
	}
	z = make([]float64, len(e.out))
	for i, v := range e.out {
		z[i] = float64(v)
	}
	return z, peak, nil
}

func (e *encoder) close() {
	if e != nil {
		e.run.Close()
	}
}
