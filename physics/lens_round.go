package physics

// radial is a circular mass profile as a function of r² (arcsec²), at the parameters it was set to.
type radial interface {
	// at gives the profile at r² > 0.
	at(r2 float64) radialValue
}

// radialValue is a circular profile at one radius: α = A ζ, with the mean convergence A inside the radius, the
// convergence κ, and the derivatives of A by the profile's own parameters.
type radialValue struct {
	a, kappa float64
	da       [3]float64
}

// round turns a radial profile with own parameters 0 … m-1, followed by center_x and center_y, into a lens. At the
// centre itself (r < 1e-12 arcsec) the deflection and its derivatives are zero and the convergence is that at 1e-12.
type round struct {
	prof   radial
	m      int
	cx, cy float64
}

func (l *round) Deflect(ax, ay, x, y []float64) {
	ax, ay, y = ax[:len(x)], ay[:len(x)], y[:len(x)]
	for i := range x {
		dx, dy := x[i]-l.cx, y[i]-l.cy
		if r2 := dx*dx + dy*dy; r2 >= centreR2 {
			v := l.prof.at(r2)
			ax[i] += v.a * dx
			ay[i] += v.a * dy
		}
	}
}

// shearOf gives Γ = (κ - A) ζ²/r², the derivative of α by ζ̄.
func (v *radialValue) shearOf(dx, dy, r2 float64) (gx, gy float64) {
	s := (v.kappa - v.a) / r2
	return s * (dx*dx - dy*dy), s * 2 * dx * dy
}

func (l *round) DeflectVJP(gp, gx, gy, gax, gay, x, y []float64) {
	gax, gay, y = gax[:len(x)], gay[:len(x)], y[:len(x)]
	var sum [3]float64
	var sx, sy float64
	for i := range x {
		dx, dy := x[i]-l.cx, y[i]-l.cy
		r2 := dx*dx + dy*dy
		if r2 < centreR2 {
			continue
		}
		v := l.prof.at(r2)
		hx, hy := gax[i], gay[i]
		dot := hx*dx + hy*dy
		for k := range sum {
			sum[k] += dot * v.da[k]
		}
		px, py := v.shearOf(dx, dy, r2)
		zx, zy := v.kappa*hx+px*hx+py*hy, v.kappa*hy+py*hx-px*hy
		sx += zx
		sy += zy
		if gx != nil {
			gx[i] += zx
			gy[i] += zy
		}
	}
	for k := range l.m {
		gp[k] += sum[k]
	}
	gp[l.m] -= sx
	gp[l.m+1] -= sy
}

func (l *round) DeflectJac(jx, jy [][]float64, x, y []float64) {
	y = y[:len(x)]
	for i := range x {
		dx, dy := x[i]-l.cx, y[i]-l.cy
		r2 := dx*dx + dy*dy
		var v radialValue
		var px, py float64
		if r2 >= centreR2 {
			v = l.prof.at(r2)
			px, py = v.shearOf(dx, dy, r2)
		}
		for k := range l.m {
			if jx[k] != nil {
				jx[k][i], jy[k][i] = v.da[k]*dx, v.da[k]*dy
			}
		}
		if k := l.m; jx[k] != nil {
			jx[k][i], jy[k][i] = -(v.kappa + px), -py
		}
		if k := l.m + 1; jx[k] != nil {
			jx[k][i], jy[k][i] = -py, -(v.kappa - px)
		}
	}
}

func (l *round) Convergence(kappa, x, y []float64) {
	y = y[:len(x)]
	for i := range x {
		dx, dy := x[i]-l.cx, y[i]-l.cy
		kappa[i] += l.prof.at(max(dx*dx+dy*dy, centreR2)).kappa
	}
}
