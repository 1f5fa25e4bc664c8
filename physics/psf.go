package physics

import (
	"fmt"
	"math"

	"lenskit/physics/internal/kern"
)

// PSF is a convolution of a plane of w x h pixels, stored row by row, with zeros outside. A PSF has scratch space: it
// serves one caller at a time.
type PSF interface {
	// Margin is how far, in pixels along x and y, a pixel's light spreads.
	Margin() (rx, ry int)
	// Blur writes the blurred src to dst; the two must not overlap.
	Blur(dst, src []float64)
	// BlurAdj writes the adjoint of Blur applied to gdst to gsrc; the two must not overlap.
	BlurAdj(gsrc, gdst []float64)
}

// PSFSpec says which PSF: at most one of Gaussian and Kernel is set; neither means no blurring.
type PSFSpec struct {
	Gaussian float64 // standard deviation in arcsec of a round Gaussian
	Kernel   *Image  // its centre at the middle
	// Sampling is the number of the PSF's pixels along a side of the image's, 0 being 1. With more than 1 the source of
	// Blur and BlurAdj is a plane of Sampling·w x Sampling·h pixels, as a Grid refined by Sampling makes it.
	Sampling int
}

// gaussianRadius is where a Gaussian's taps end, in standard deviations: 6e-7 of its weight lies beyond.
const gaussianRadius = 5

// rankTolerance is how far, in parts of its peak, a kernel may be from a product of a row and a column to be run as one.
const rankTolerance = 1e-13

// NewPSF builds the PSF of a plane of w x h pixels of `scale` arcsec. The notices say what was changed in a kernel:
// normalised, centred. The pool may be nil.
//
// A Gaussian is sampled at pixel centres up to ceil(5σ/scale) pixels from its own and normalised to sum 1. A kernel is
// normalised to sum 1 and, where a side is even, padded or interpolated by half a pixel so that its middle is a pixel; it
// runs as two one-dimensional passes when it is a product of a row and a column, and otherwise directly or by FFT,
// whichever is faster at its size.
func NewPSF(spec PSFSpec, w, h int, scale float64, pool *Pool) (psf PSF, notices []string, err error) {
	switch {
	case spec.Kernel != nil && spec.Gaussian != 0:
		return nil, nil, fmt.Errorf("physics: psf: found both a Gaussian and a kernel, expected one")
	case spec.Sampling < 0:
		return nil, nil, fmt.Errorf("physics: psf: found sampling %d, expected at least 1", spec.Sampling)
	case spec.Sampling > 1:
		return newFinePSF(spec, w, h, scale, pool)
	case spec.Kernel != nil:
		k, notices, err := centredKernel(spec.Kernel)
		if err != nil {
			return nil, nil, err
		}
		return kernelPSF(k, w, h, pool), notices, nil
	case spec.Gaussian == 0:
		return noPSF{}, nil, nil
	}
	taps, err := gaussianTaps(spec.Gaussian, scale)
	if err != nil {
		return nil, nil, err
	}
	return newSeparable(taps, taps, w, h, pool), nil, nil
}

// gaussianTaps samples a Gaussian of standard deviation sigma at multiples of scale.
func gaussianTaps(sigma, scale float64) ([]float64, error) {
	if !(sigma > 0) || !(scale > 0) || !(sigma/scale < 1e4) {
		return nil, fmt.Errorf("physics: psf: gaussian: found sigma %g arcsec at %g arcsec per pixel, expected a positive width of some pixels", sigma, scale)
	}
	r := int(math.Ceil(gaussianRadius * sigma / scale))
	taps := make([]float64, 2*r+1)
	sum := 0.0
	for i := range taps {
		t := float64(i-r) * scale / sigma
		taps[i] = math.Exp(-0.5 * t * t)
		sum += taps[i]
	}
	for i := range taps {
		taps[i] /= sum
	}
	return taps, nil
}

// kernelPSF picks the fastest way to convolve with a centred, odd-sized kernel.
func kernelPSF(k *Image, w, h int, pool *Pool) PSF {
	if row, col, ok := factor(k); ok {
		return newSeparable(row, col, w, h, pool)
	}
	if directCost(k, w, h) <= fftCost(k, w, h) {
		return newDirect(k, w, h, pool)
	}
	return newFFTPSF(k, w, h, pool)
}

// Costs in nanoseconds on one core; only their ratio matters.
func directCost(k *Image, w, h int) float64 {
	each := 0.35
	if kern.Accelerated() {
		each = 0.06
	}
	return each * float64(w*h) * float64(k.W*k.H)
}

func fftCost(k *Image, w, h int) float64 {
	n := float64(fastLen(w+k.W/2) * fastLen(h+k.H/2))
	return 5.6 * n * math.Log2(n)
}

// factor tells whether k is the product of a row and a column, and returns them.
func factor(k *Image) (row, col []float64, ok bool) {
	pivot := 0
	for i, v := range k.Pix {
		if math.Abs(v) > math.Abs(k.Pix[pivot]) {
			pivot = i
		}
	}
	peak := k.Pix[pivot]
	pi, pj := pivot%k.W, pivot/k.W
	row, col = make([]float64, k.W), make([]float64, k.H)
	for i := range row {
		row[i] = k.At(i, pj) / peak
	}
	for j := range col {
		col[j] = k.At(pi, j)
	}
	for j := range col {
		for i := range row {
			if math.Abs(k.At(i, j)-row[i]*col[j]) > rankTolerance*math.Abs(peak) {
				return nil, nil, false
			}
		}
	}
	return row, col, true
}

// centredKernel returns k with odd sides, its middle at a pixel, without empty borders, and with sum 1.
func centredKernel(k *Image) (*Image, []string, error) {
	if err := k.Validate(); err != nil {
		return nil, nil, fmt.Errorf("physics: psf: %w", err)
	}
	sum, total, mx, my := 0.0, 0.0, 0.0, 0.0
	for j := range k.H {
		for i := range k.W {
			v := k.At(i, j)
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return nil, nil, fmt.Errorf("physics: psf: kernel pixel (%d, %d) is %g, expected a number", i, j, v)
			}
			sum += v
			total += math.Abs(v)
			mx += v * float64(i)
			my += v * float64(j)
		}
	}
	if !(sum > 0) || math.IsInf(sum, 0) {
		return nil, nil, fmt.Errorf("physics: psf: the kernel's sum is %g, expected a positive number", sum)
	}
	if sum < leastSum*total || math.IsInf(total, 0) {
		return nil, nil, fmt.Errorf("physics: psf: the kernel's sum is %.3g, and %.3g without signs: expected a PSF, positive for the most part", sum, total)
	}
	var notices []string
	if math.Abs(sum-1) > 1e-6 {
		notices = append(notices, fmt.Sprintf("psf: the kernel's sum was %.6g; normalised to 1", sum))
	}
	out := &Image{W: k.W, H: k.H, Scale: k.Scale, Pix: make([]float64, len(k.Pix))}
	for i, v := range k.Pix {
		out.Pix[i] = v / sum
	}
	out, dx, notices := oddWidth(out, mx/sum, "x", notices)
	out, dy, notices := oddWidth(transposed(out), my/sum, "y", notices)
	if math.Abs(dx) > farCentroid || math.Abs(dy) > farCentroid {
		notices = append(notices, fmt.Sprintf("psf: the kernel's centroid is (%.2f, %.2f) pixels off its middle: the model moves by as much", dx, dy))
	}
	return trimmed(transposed(out)), notices, nil
}

const (
	leastSum    = 0.1 // of a kernel, in parts of the sum of its absolute values
	farCentroid = 0.1 // pixels: a centroid further from the middle is told
)

// halfPixel interpolates between pixels: the value halfway between 12 of them by the polynomial through these. Moments up to
// the eleventh, and with them sum, centroid and width, stay as they are; unlike the sinc, whose ripples reach to the edge
// of the image, it keeps what a sharp kernel makes ring within six pixels. From the middle outwards, on either side:
// (-1)ⁱ 160083/(2¹⁸ (2i+1)) C(11, 5-i)/462.
var halfPixel = func() (taps [12]float64) {
	choose := [...]float64{462, 330, 165, 55, 11, 1}
	for i, c := range choose {
		v := 160083.0 / (1 << 18) / float64(2*i+1) * c / 462
		if i%2 == 1 {
			v = -v
		}
		taps[5-i], taps[6+i] = v, v
	}
	return taps
}()

// oddWidth gives a kernel of even width an odd one, and tells how far its centroid is then off its middle. A kernel whose
// centroid lies at one of the two middle pixels, to a quarter of a pixel, gets a column of zeros on the side that makes this
// pixel the middle; one that is centred between them is moved by half a pixel.
func oddWidth(k *Image, centroid float64, axis string, notices []string) (out *Image, off float64, said []string) {
	at := float64(k.W)/2 - 0.5
	if k.W%2 == 1 {
		return k, centroid - at, notices
	}
	var how string
	taps := []float64{1} // the middle of the kernel goes to that of the widened one
	shift := 0
	switch {
	case math.Abs(centroid-(at+0.5)) < 0.25:
		how, at = "added a line of zeros at the end", at+0.5
	case math.Abs(centroid-(at-0.5)) < 0.25:
		how, shift, at = "added a line of zeros at the start", 1, at-0.5
	default:
		how, taps = "moved it by half a pixel, by interpolation that keeps its width", halfPixel[:]
	}
	out = NewImage(k.W+max(1, len(taps)-1), k.H, k.Scale)
	for j := range k.H {
		for i := range k.W {
			for n, t := range taps {
				out.Pix[j*out.W+i+n+shift] += t * k.At(i, j)
			}
		}
	}
	return out, centroid - at, append(notices, fmt.Sprintf("psf: the kernel is even along %s (%d pixels) and was centred: %s", axis, k.W, how))
}

func transposed(k *Image) *Image {
	out := NewImage(k.H, k.W, k.Scale)
	for j := range k.H {
		for i := range k.W {
			out.Pix[i*k.H+j] = k.At(i, j)
		}
	}
	return out
}

// trimmed leaves out empty rings, the same number of pixels at both ends of a side.
func trimmed(k *Image) *Image {
	rx, ry := 0, 0
	for j := range k.H {
		for i := range k.W {
			if k.At(i, j) != 0 {
				rx = max(rx, absInt(i-k.W/2))
				ry = max(ry, absInt(j-k.H/2))
			}
		}
	}
	out := NewImage(2*rx+1, 2*ry+1, k.Scale)
	for j := range out.H {
		for i := range out.W {
			out.Pix[j*out.W+i] = k.At(i+k.W/2-rx, j+k.H/2-ry)
		}
	}
	return out
}

func absInt(i int) int { return max(i, -i) }

// noPSF leaves the plane as it is.
type noPSF struct{}

func (noPSF) Margin() (rx, ry int)         { return 0, 0 }
func (noPSF) Blur(dst, src []float64)      { copy(dst, src) }
func (noPSF) BlurAdj(gsrc, gdst []float64) { copy(gsrc, gdst) }
