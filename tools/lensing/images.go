package lensing

import (
	"math"
)

// Image is where a point of the source plane is seen.
type Image struct {
	X, Y          float64 // arcsec
	Magnification float64 // without its sign
}

// faintImage is the magnification below which an image is none: a singular lens has one such in its centre.
const faintImage = 0.05

// ImagesOf finds the images of a point of the source plane within half-sides w, h around the origin, on a grid of the
// given step: each cell is cut into two triangles, and those whose corners surround the point hold an image.
func (s Sum) ImagesOf(bx, by, w, h, step float64) []Image {
	nx, ny := int(2*w/step)+2, int(2*h/step)+2
	x, y := make([]float64, nx*ny), make([]float64, nx*ny)
	for k := range x {
		x[k] = (float64(k%nx) - 0.5*float64(nx-1)) * step
		y[k] = (float64(k/nx) - 0.5*float64(ny-1)) * step
	}
	u, v := s.Source(x, y)
	for k := range u {
		u[k] -= bx
		v[k] -= by
	}
	var out []Image
	triangle := func(a, b, c int) {
		area := (u[b]-u[a])*(v[c]-v[a]) - (u[c]-u[a])*(v[b]-v[a])
		// the weights of the corners at the point
		wa, wb, wc := (u[b]*v[c]-u[c]*v[b])/area, (u[c]*v[a]-u[a]*v[c])/area, (u[a]*v[b]-u[b]*v[a])/area
		if !(wa >= 0 && wb >= 0 && wc >= 0) {
			return
		}
		if mu := step * step / math.Abs(area); mu > faintImage {
			out = append(out, Image{wa*x[a] + wb*x[b] + wc*x[c], wa*y[a] + wb*y[b] + wc*y[c], mu})
		}
	}
	for j := range ny - 1 {
		for i := range nx - 1 {
			k := j*nx + i
			triangle(k, k+1, k+nx)
			triangle(k+nx+1, k+nx, k+1)
		}
	}
	return out
}

// EinsteinRadius is that of the circle around the origin, of at most the given radius, within which the mean convergence
// is 1: by Gauss's theorem, where the mean deflection inward is the radius.
func (s Sum) EinsteinRadius(most float64) float64 {
	const n = 72
	x, y := make([]float64, n), make([]float64, n)
	inward := func(r float64) float64 { // less the radius
		for k := range n {
			sin, cos := math.Sincos(2 * math.Pi * float64(k) / n)
			x[k], y[k] = r*cos, r*sin
		}
		u, v := s.Source(x, y)
		sum := 0.0
		for k := range n {
			sum += (u[k]*x[k] + v[k]*y[k]) / r
		}
		return -sum / n
	}
	lo, hi := 1e-3*most, most
	if inward(hi) > 0 {
		return hi
	}
	for range 50 {
		if mid := 0.5 * (lo + hi); inward(mid) > 0 {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}
