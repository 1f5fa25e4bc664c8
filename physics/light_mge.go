package physics

import (
	"fmt"
	"math"

	"lenskit/physics/internal/kern"
)

// mgeTerms is how many Gaussians a multi-Gaussian expansion has.
const mgeTerms = 10

// mge is a multi-Gaussian expansion (Emsellem, Monnet & Bacon 1994),
//
//	I = Σ_k amp_k/(2π σ_k²) exp(-R²/(2σ_k²)),
//
// ten Gaussians on shared ellipses with widths in geometric progression from sigma_min to sigma_max; amp_k is the flux of
// the k-th. Parameters: amp_1 … amp_10, sigma_min, sigma_max, e1, e2, center_x, center_y.
type mge struct {
	terms [mgeTerms]*gaussian
	sigma [2]float64           // σ_min, σ_max
	share [mgeTerms][2]float64 // ∂σ_k/∂σ_min, ∂σ_k/∂σ_max
}

func newMGE() *mge {
	l := &mge{}
	for k := range l.terms {
		l.terms[k] = newGaussian()
	}
	return l
}

// The least and the largest width of an expansion in arcsec, where nobody says: from about a pixel of a space telescope to
// beyond the light of a lens, or of a galaxy behind one. They are not held likely far from that, as the amplitudes tell
// what lies between (Cappellari 2002 has the widths fixed).
const (
	mgeSpread                      = 0.5 // of the logarithm of a width
	mgeNarrow, mgeWide             = 0.05, 4
	mgeNarrowSource, mgeWideSource = 0.02, 1
)

// mgeAmplitude is the default prior of the flux of term k between two widths. A galaxy's brightness falls about as the
// radius grows, so that the peak of each Gaussian times its width is the same, a tenth of the image's brightness at 1 arcsec;
// the prior is wide, and a term that is not needed goes towards zero.
func mgeAmplitude(k int, narrow, wide float64) Prior {
	width := narrow * math.Pow(wide/narrow, float64(k)/(mgeTerms-1))
	return logNormal(0.1*2*math.Pi*width, 2).OfBrightness()
}

var mgeParams = func() []Param {
	var own []Param
	for k := range mgeTerms {
		own = append(own, anywhere(fmt.Sprintf("amp_%d", k+1), RoleTermAmplitude, Flux).
			likely(mgeAmplitude(k, mgeNarrow, mgeWide)).inSource(mgeAmplitude(k, mgeNarrowSource, mgeWideSource)))
	}
	return ellipseParams(append(own,
		positive("sigma_min", RoleLeastSize, Arcsec).likely(logNormal(mgeNarrow, mgeSpread)).inSource(logNormal(mgeNarrowSource, mgeSpread)),
		positive("sigma_max", RoleLargestSize, Arcsec).likely(logNormal(mgeWide, mgeSpread)).inSource(logNormal(mgeWideSource, mgeSpread)))...)
}()

var mgeLinear = func() []int {
	var k []int
	for i := range mgeTerms {
		k = append(k, i)
	}
	return k
}()

func (l *mge) Params() []Param { return mgeParams }

func (l *mge) Set(p []float64) error {
	if err := checkParams("mge", mgeParams, p); err != nil {
		return err
	}
	if err := checkEllipticity("mge", p[mgeTerms+2], p[mgeTerms+3]); err != nil {
		return err
	}
	l.sigma = [2]float64(p[mgeTerms : mgeTerms+2])
	for k, g := range l.terms {
		t := float64(k) / (mgeTerms - 1)
		s := math.Pow(l.sigma[0], 1-t) * math.Pow(l.sigma[1], t)
		l.share[k] = [2]float64{(1 - t) * s / l.sigma[0], t * s / l.sigma[1]}
		g.set(p[k], s, p[mgeTerms+2:])
	}
	return nil
}

func (l *mge) Brightness(dst, x, y []float64) {
	for _, g := range l.terms {
		g.Brightness(dst, x, y)
	}
}

func (l *mge) BrightnessVJP(gp, gx, gy, gdst, x, y []float64) {
	for k, g := range l.terms {
		var own [6]float64
		g.BrightnessVJP(own[:], gx, gy, gdst, x, y)
		gp[k] += own[0]
		gp[mgeTerms] += own[1] * l.share[k][0]
		gp[mgeTerms+1] += own[1] * l.share[k][1]
		for i, v := range own[2:] {
			gp[mgeTerms+2+i] += v
		}
	}
}

func (l *mge) BrightnessJac(jp [][]float64, jx, jy, x, y []float64) {
	n := len(x)
	y = y[:n]
	var s kern.LightSlopes
	for lo := 0; lo < n; lo += kern.Block {
		hi := min(lo+kern.Block, n)
		for _, j := range jp[mgeTerms:] {
			if j != nil {
				clear(j[lo:hi])
			}
		}
		if jx != nil {
			clear(jx[lo:hi])
		}
		if jy != nil {
			clear(jy[lo:hi])
		}
		for k, g := range l.terms {
			g.blockOf(&s, x[lo:hi], y[lo:hi])
			if jp[k] != nil {
				copy(jp[k][lo:hi], s[0][:])
			}
			addScaled(jp[mgeTerms], lo, hi, l.share[k][0], &s[1])
			addScaled(jp[mgeTerms+1], lo, hi, l.share[k][1], &s[1])
			addScaled(jp[mgeTerms+2], lo, hi, 1, &s[2])
			addScaled(jp[mgeTerms+3], lo, hi, 1, &s[3])
			addScaled(jp[mgeTerms+4], lo, hi, -1, &s[4])
			addScaled(jp[mgeTerms+5], lo, hi, -1, &s[5])
			addScaled(jx, lo, hi, 1, &s[4])
			addScaled(jy, lo, hi, 1, &s[5])
		}
	}
}

// addScaled adds c times a block to dst[lo:hi]; a nil dst is left out.
func addScaled(dst []float64, lo, hi int, c float64, v *[kern.Block]float64) {
	if dst == nil {
		return
	}
	for i := range dst[lo:hi] {
		dst[lo+i] += c * v[i&(kern.Block-1)]
	}
}
