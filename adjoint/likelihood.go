package adjoint

import (
	"fmt"
	"math"

	"lenskit/physics"
)

// The noise of a model. Its residuals are r = (d − m)/(sσ) with the stated σ and the factor s, noise.scale, which is 1
// unless the model has it. With s and Gaussian residuals the log likelihood is
//
//	−½ Σ r² − Σ log(sσ√2π)
//
// and with Student's t that of physics.StudentT. Constants, Σ log s among them, are all there.

// noiseScale is the name of the factor.
const noiseScale = "noise.scale"

// maxNu bounds the degrees of freedom: beyond, Student's t is a Gaussian for all purposes.
const maxNu = 1000

// likelihood is the distribution of the residuals. It is not changed once it is made.
type likelihood struct {
	nu      physics.StudentT // 0: Gaussian
	pixels  float64
	norm    float64 // log likelihood at r = 0 and s = 1
	typical float64 // deviance of a true model: the number of pixels for a Gaussian
	scaleAt int     // index of the noise's factor in θ, -1 when there is none

	// expected information of a pixel about its mean, in units of 1/(sσ)², and about log s
	mean, logScale float64
}

func newLikelihood(m *Model, noise *physics.Noise, ps *params) (*likelihood, error) {
	l := &likelihood{nu: physics.StudentT(m.StudentT), pixels: float64(noise.Pixels), norm: noise.LogNorm, typical: float64(noise.Pixels), scaleAt: -1, mean: 1, logScale: 2}
	if m.NoiseScale != nil {
		l.scaleAt = len(ps.names) - 1 // the last of all
	}
	if l.nu == 0 {
		return l, nil
	}
	if !(l.nu >= 1 && l.nu <= maxNu) {
		return nil, fmt.Errorf("adjoint: model: found Student's t with %g degrees of freedom, expected 1 to %d", m.StudentT, maxNu)
	}
	l.norm += l.pixels * (logSqrt2Pi + l.nu.LogNorm())
	l.typical *= l.nu.Deviance()
	l.mean, l.logScale = l.nu.Information()
	return l, nil
}

// likely is a likelihood at a point.
type likely struct {
	chi2     float64 // Σ ((d − m)/σ)²
	deviance float64 // what the log likelihood loses to that at r = 0, times 2
	pull     float64 // −½ of its derivative by log s
	s        float64
	base     float64 // log likelihood at r = 0
}

// value is the log likelihood.
func (v *likely) value() float64 { return v.base - 0.5*v.deviance }

// at reads the factor of the noise.
func (l *likelihood) at(v *likely, theta []float64) error {
	v.s, v.base = 1, l.norm
	if l.scaleAt < 0 {
		return nil
	}
	if v.s = theta[l.scaleAt]; !(v.s > 0) {
		return rejected("%s = %g, expected a positive factor: %w", noiseScale, v.s, physics.ErrRange)
	}
	v.base -= l.pixels * math.Log(v.s)
	return nil
}

// gradient turns what the chain's reverse left in gTheta into the gradient of the log likelihood.
func (l *likelihood) gradient(gTheta []float64, v *likely) {
	if l.scaleAt < 0 {
		return
	}
	if l.nu == 0 { // the chain went backward from −½χ² with s = 1
		f := 1 / (v.s * v.s)
		for i := range gTheta {
			gTheta[i] *= f
		}
	}
	gTheta[l.scaleAt] = (v.pull - l.pixels) / v.s
}

// relax is the log likelihood of Relaxed, and what the derivatives of the deviance are multiplied by.
func (l *likelihood) relax(v *likely) (relaxed, factor float64) {
	if v.deviance <= l.typical {
		return v.value(), 1
	}
	return v.base - 0.5*l.typical*(1+math.Log(v.deviance/l.typical)), l.typical / v.deviance
}

// unrelaxed adds to the gradient by log s, after the factor of relax, what the factor is not for: that of Σ log s.
func (l *likelihood) unrelaxed(factor float64) float64 { return l.pixels * (factor - 1) }

// residualChunk compares a stretch of the model with the data.
func (c *chain) residualChunk(k int) {
	from, to := k*rowPixels, min((k+1)*rowPixels, len(c.model))
	var g []float64
	if c.wantGrad {
		g = c.gModel[from:to]
	}
	if nu := c.like.nu; nu == 0 {
		c.rowChi2[k] = physics.Residual(g, c.model[from:to], c.data[from:to], c.weight[from:to])
	} else {
		c.rowDeviance[k], c.rowPull[k], c.rowChi2[k] = nu.Residual(g, c.model[from:to], c.data[from:to], c.weight[from:to], 1/c.fit.s)
	}
	if c.wantGrad && c.scene.skyAt >= 0 {
		s := 0.0
		for _, v := range g {
			s += v
		}
		c.rowSky[k] = s
	}
}

// misfit compares the model left by forward with the data; grad says whether reverse will follow. fit.s is set.
func (c *chain) misfit(grad bool) {
	c.wantGrad = grad
	if grad {
		c.pool.Run(c.rowChunks, c.runResidual)
	} else {
		c.pool.RunLast(c.rowChunks, c.runResidual)
	}
	v := &c.fit
	v.chi2, v.deviance, v.pull = 0, 0, 0
	for _, x := range c.rowChi2 {
		v.chi2 += x
	}
	if c.like.nu == 0 {
		v.deviance = v.chi2 / (v.s * v.s)
		v.pull = v.deviance
		return
	}
	v.chi2 *= v.s * v.s
	for k, x := range c.rowDeviance {
		v.deviance += x
		v.pull += c.rowPull[k]
	}
}
