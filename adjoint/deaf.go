package adjoint

import "math/rand/v2"

// deafTries is the number of points at which a decoder's gradient is tried: the prior's median and draws from it.
const deafTries = 4

// deafDecoders are the names of the components whose latents are free although the gradient of their decoder by them is zero at every
// point tried. A decoder that cannot be computed there is left to those who need its image.
func (p *Posterior) deafDecoders() []string {
	if p.company != nil || p.scene == nil {
		return nil // the networks of a company run together, and its first posterior has told
	}
	var out []string
	for i := range p.scene.lights {
		if l := &p.scene.lights[i]; l.nz > 0 && !l.zFixed && p.deaf(l) {
			out = append(out, l.name)
		}
	}
	return out
}

// deaf tells whether the gradient of a light's decoder by its free latents is zero at every point tried.
func (p *Posterior) deaf(l *lightUnit) bool {
	rng := rand.New(rand.NewPCG(1, 2))
	u, theta := make([]float64, p.Dim()), make([]float64, len(p.Names()))
	img, gimg := make([]float64, len(l.img)), make([]float64, len(l.img))
	l.zValid = false // the decoder forgets its last image
	for range deafTries {
		p.Theta(theta, u)
		gz := make([]float64, l.nz)
		for i := range gimg {
			gimg[i] = rng.NormFloat64()
		}
		if l.dec.forward(img, theta[l.zFirst:l.zFirst+l.nz]) != nil || l.dec.reverse(gz, gimg) != nil {
			return false
		}
		for i, g := range gz {
			if g != 0 && p.Free()[l.zFirst+i] >= 0 {
				return false
			}
		}
		for i := range u {
			u[i] = rng.NormFloat64()
		}
	}
	return true
}
