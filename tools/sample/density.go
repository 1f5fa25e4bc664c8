package sample

import (
	"math"
	"slices"

	"lenskit/tools/internal/term"
)

// Smoothing of draws into densities: kernels of the shape of the draws, with the draws drawn toward their mean so that
// kernel and draws together have the draws' variance (West 1993).

// Density1 is a smoothed density of one parameter on a grid.
type Density1 struct {
	lo, step float64
	p        []float64 // normalised to ∫ = 1
}

const (
	cells1 = 512
	cells2 = 192
)

// NewDensity1 smooths draws that count as n independent ones; nil where they do not vary, or beyond all numbers.
func NewDensity1(v []float64, n float64) *Density1 {
	mean, sd := meanAndSD(v)
	if !(sd > 0) || !term.Finite(sd) || !term.Finite(mean) {
		return nil
	}
	// 1.06 n^-1/5 is the best width for a normal density (Silverman 1986, eq. 3.28)
	h := 1.06 * math.Pow(math.Max(n, 4), -0.2)
	shrink := 1 / math.Sqrt(1+h*h)
	lo, hi := slices.Min(v), slices.Max(v)
	pad := 4 * h * sd
	d := &Density1{lo: lo - pad, step: (hi - lo + 2*pad) / (cells1 - 1), p: make([]float64, cells1)}
	for _, x := range v {
		x = mean + shrink*(x-mean)
		t := (x - d.lo) / d.step
		i := min(max(int(t), 0), cells1-2)
		f := t - float64(i)
		d.p[i] += 1 - f
		d.p[i+1] += f
	}
	Smooth(d.p, 1, cells1, h*shrink*sd/d.step)
	sum := 0.0
	for _, p := range d.p {
		sum += p
	}
	for i := range d.p {
		d.p[i] /= sum * d.step
	}
	return d
}

// at interpolates.
func (d *Density1) at(x float64) float64 {
	t := (x - d.lo) / d.step
	if t < 0 || t >= float64(len(d.p)-1) {
		return 0
	}
	i := int(t)
	return d.p[i] + (t-float64(i))*(d.p[i+1]-d.p[i])
}

func (d *Density1) max() float64 { return slices.Max(d.p) }

// Density2 is a smoothed density of two parameters on a grid of whitened coordinates w, v = mean + L w.
type Density2 struct {
	mx, my        float64
	l11, l21, l22 float64
	lo, step      float64 // the same on both axes
	p             []float64
}

// NewDensity2 smooths pairs of draws that count as n independent ones; nil where they do not vary, or beyond all numbers.
func NewDensity2(x, y []float64, n float64) *Density2 {
	mx, sx := meanAndSD(x)
	my, sy := meanAndSD(y)
	if !(sx > 0 && sy > 0) || !term.Finite(sx+sy+mx+my) {
		return nil
	}
	c := 0.0
	for i := range x {
		c += (x[i] - mx) / sx * (y[i] - my) / sy
	}
	c /= math.Max(1, float64(len(x)-1))
	d := &Density2{mx: mx, my: my, l11: sx, l21: c * sy, l22: sy * math.Sqrt(math.Max(1-c*c, 1e-8))}
	// n^-1/6 is the best width for a normal density in two dimensions (Silverman 1986, table 4.1)
	h := math.Pow(math.Max(n, 4), -1.0/6)
	shrink := 1 / math.Sqrt(1+h*h)
	reach := 0.0
	w := make([]float64, 2*len(x))
	for i := range x {
		w[2*i] = (x[i] - mx) / d.l11
		w[2*i+1] = (y[i] - my - d.l21*w[2*i]) / d.l22
		w[2*i], w[2*i+1] = shrink*w[2*i], shrink*w[2*i+1]
		reach = math.Max(reach, math.Max(math.Abs(w[2*i]), math.Abs(w[2*i+1])))
	}
	reach = math.Min(reach, 12) + 4*h
	d.lo, d.step, d.p = -reach, 2*reach/(cells2-1), make([]float64, cells2*cells2)
	for i := range x {
		u, v := (w[2*i]-d.lo)/d.step, (w[2*i+1]-d.lo)/d.step
		a, b := int(u), int(v)
		if u < 0 || v < 0 || a >= cells2-1 || b >= cells2-1 {
			continue
		}
		u, v = u-float64(a), v-float64(b)
		k := b*cells2 + a
		d.p[k] += (1 - u) * (1 - v)
		d.p[k+1] += u * (1 - v)
		d.p[k+cells2] += (1 - u) * v
		d.p[k+cells2+1] += u * v
	}
	width := h * shrink / d.step
	for j := range cells2 {
		Smooth(d.p[j*cells2:], 1, cells2, width)
	}
	for i := range cells2 {
		Smooth(d.p[i:], cells2, cells2, width)
	}
	return d
}

// at interpolates; the density is not normalised.
func (d *Density2) at(x, y float64) float64 {
	w := (x - d.mx) / d.l11
	u, v := (w-d.lo)/d.step, ((y-d.my-d.l21*w)/d.l22-d.lo)/d.step
	if !(u >= 0 && v >= 0 && u < cells2-1 && v < cells2-1) {
		return 0
	}
	a, b := int(u), int(v)
	u, v = u-float64(a), v-float64(b)
	k := b*cells2 + a
	return (1-v)*((1-u)*d.p[k]+u*d.p[k+1]) + v*((1-u)*d.p[k+cells2]+u*d.p[k+cells2+1])
}

// level is the density above which a fraction f of the draws lies.
func (d *Density2) level(f float64) float64 {
	s := slices.Clone(d.p)
	slices.Sort(s)
	total := 0.0
	for _, p := range s {
		total += p
	}
	sum := 0.0
	for i := len(s) - 1; i >= 0; i-- {
		if sum += s[i]; sum >= f*total {
			return s[i]
		}
	}
	return 0
}

// Smooth convolves n values, every stride-th of v, with a normal density of standard deviation sd, in steps. What falls
// off the ends is lost.
func Smooth(v []float64, stride, n int, sd float64) {
	if !(sd > 0) {
		return
	}
	half := min(int(math.Min(4*sd, float64(n)))+1, n-1)
	kernel := make([]float64, half+1)
	sum := 0.0
	for i := range kernel {
		kernel[i] = math.Exp(-0.5 * float64(i*i) / (sd * sd))
		sum += kernel[i]
		if i > 0 {
			sum += kernel[i]
		}
	}
	out := make([]float64, n)
	for i := range n {
		a := v[i*stride]
		if a == 0 {
			continue
		}
		for k := -half; k <= half; k++ {
			if j := i + k; j >= 0 && j < n {
				out[j] += a * kernel[max(k, -k)] / sum
			}
		}
	}
	for i := range n {
		v[i*stride] = out[i]
	}
}

// meanAndSD are the mean and the standard deviation, divisor n − 1, whose sum is finite where the numbers are.
func meanAndSD(v []float64) (mean, sd float64) {
	for _, x := range v {
		mean += x / float64(len(v))
	}
	for _, x := range v {
		sd += (x - mean) * (x - mean)
	}
	return mean, math.Sqrt(sd / math.Max(1, float64(len(v)-1)))
}
