package sample

import (
	"context"
	"encoding/binary"
	"math"
	"sync"

	"gonum.org/v1/gonum/mat"
	"lenskit/samplers"
)

// journal remembers, in their order, what the evaluations of a computation gave that is the same each time it is made. Made
// anew after a stop it gets to where it was without them. It serves one goroutine; Data may be taken by another.
type journal struct {
	ctx  context.Context
	tell func() error // after each evaluation

	mu   sync.Mutex
	data []byte
	at   int // where the next answer is to be found
}

// What an entry is of.
const (
	journalValue = iota + 1
	journalGradient
	journalCurvature
)

// Data is what there is so far.
func (j *journal) Data() []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.data[:len(j.data):len(j.data)]
}

// An entry has the kind, the length of the text of an error that rejects the point, that text, and else the numbers: the
// log density, the gradient and the upper triangle of the curvature.
func (j *journal) replay(kind byte, grad []float64, hess *mat.SymDense) (lp float64, err error, ok bool) {
	rest := j.data[j.at:]
	if len(rest) < 5 || rest[0] != kind {
		return 0, nil, false
	}
	text := int(binary.LittleEndian.Uint32(rest[1:]))
	if rest = rest[5:]; text > len(rest) {
		return 0, nil, false
	}
	if text > 0 {
		j.at += 5 + text
		return 0, rejection(rest[:text]), true
	}
	n := 1 + len(grad)
	if hess != nil {
		m := hess.SymmetricDim()
		n += m * (m + 1) / 2
	}
	if len(rest) < 8*n {
		return 0, nil, false
	}
	next := func() float64 {
		v := math.Float64frombits(binary.LittleEndian.Uint64(rest))
		rest = rest[8:]
		return v
	}
	lp = next()
	for i := range grad {
		grad[i] = next()
	}
	if hess != nil {
		for i := range hess.SymmetricDim() {
			for k := i; k < hess.SymmetricDim(); k++ {
				hess.SetSym(i, k, next())
			}
		}
	}
	j.at += 5 + 8*n
	return lp, nil, true
}

// rejection is the error of a point that was rejected before.
type rejection string

func (r rejection) Error() string { return string(r) }

func (r rejection) Recoverable() bool { return true }

// take gives what an evaluation gave before, or makes and remembers it.
func (j *journal) take(kind byte, grad []float64, hess *mat.SymDense, evaluate func() (float64, error)) (float64, error) {
	if lp, err, ok := j.replay(kind, grad, hess); ok {
		return lp, err
	}
	if err := j.ctx.Err(); err != nil {
		return 0, err
	}
	lp, err := evaluate()
	text := ""
	if err != nil {
		if text = err.Error(); !samplers.Recoverable(err) || text == "" {
			return lp, err
		}
	}
	j.mu.Lock()
	j.data = append(j.data[:j.at], kind)
	j.data = binary.LittleEndian.AppendUint32(j.data, uint32(len(text)))
	j.data = append(j.data, text...)
	put := func(v float64) { j.data = binary.LittleEndian.AppendUint64(j.data, math.Float64bits(v)) }
	if text == "" {
		put(lp)
		for _, v := range grad {
			put(v)
		}
		if hess != nil {
			for i := range hess.SymmetricDim() {
				for k := i; k < hess.SymmetricDim(); k++ {
					put(hess.At(i, k))
				}
			}
		}
	}
	j.at = len(j.data)
	j.mu.Unlock()
	if terr := j.tell(); terr != nil {
		return lp, terr
	}
	return lp, err
}

// noted is a density whose evaluations are noted in a journal.
type noted struct {
	*reparametrisedPosterior
	*journal
}

// LogProb is the log density of v.
func (n noted) LogProb(grad, v []float64) (float64, error) {
	kind := byte(journalValue)
	if grad != nil {
		kind = journalGradient
	}
	return n.take(kind, grad, nil, func() (float64, error) { return n.reparametrisedPosterior.LogProb(grad, v) })
}

// LogProbHess is LogProb with the Gauss-Newton matrix of v.
func (n noted) LogProbHess(grad []float64, hess *mat.SymDense, v []float64) (float64, error) {
	return n.take(journalCurvature, grad, hess, func() (float64, error) { return n.reparametrisedPosterior.LogProbHess(grad, hess, v) })
}

// LogProbHessFrom is LogProbHess with the decoders' Jacobians computed at origin.
func (n noted) LogProbHessFrom(grad []float64, hess *mat.SymDense, v, origin []float64) (float64, error) {
	return n.take(journalCurvature, grad, hess, func() (float64, error) { return n.reparametrisedPosterior.LogProbHessFrom(grad, hess, v, origin) })
}

// forgetful is a journal that nothing is to be gone on from.
func forgetful(ctx context.Context) *journal {
	return &journal{ctx: ctx, tell: func() error { return nil }}
}
