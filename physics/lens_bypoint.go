package physics

// pointwise is a mass profile given ray by ray, for profiles whose cost per ray is large enough that nothing is gained
// by looping inside.
type pointwise interface {
	// deflectAt gives α at (dx, dy) from the centre.
	deflectAt(dx, dy float64) (ax, ay float64)
	// slopesAt gives the derivatives at (dx, dy) from the centre.
	slopesAt(dx, dy float64) pointSlopes
	// kappaAt gives κ at (dx, dy) from the centre.
	kappaAt(dx, dy float64) float64
}

// pointSlopes are a ray's derivatives: dα = κ dζ + Γ dζ̄ + Σ (px, py)_k dp_k.
type pointSlopes struct {
	kappa, gx, gy float64
	px, py        [4]float64
}

// byPoint turns a pointwise profile with own parameters 0 … m-1, followed by center_x and center_y, into a lens. At the
// centre itself (nearer than 1e-12 arcsec) a profile with singular set has neither deflection nor derivatives, and one
// without is taken at 1e-12 arcsec.
type byPoint struct {
	prof     pointwise
	m        int
	singular bool
	cx, cy   float64
}

// offset gives the ray relative to the centre and whether it is seen there at all.
func (l *byPoint) offset(x, y float64) (dx, dy float64, seen bool) {
	dx, dy = x-l.cx, y-l.cy
	if dx*dx+dy*dy < centreR2 {
		return 1e-12, 0, !l.singular
	}
	return dx, dy, true
}

func (l *byPoint) Deflect(ax, ay, x, y []float64) {
	ax, ay, y = ax[:len(x)], ay[:len(x)], y[:len(x)]
	for i := range x {
		if dx, dy, seen := l.offset(x[i], y[i]); seen {
			vx, vy := l.prof.deflectAt(dx, dy)
			ax[i] += vx
			ay[i] += vy
		}
	}
}

func (l *byPoint) DeflectVJP(gp, gx, gy, gax, gay, x, y []float64) {
	gax, gay, y = gax[:len(x)], gay[:len(x)], y[:len(x)]
	var sum [4]float64
	var sx, sy float64
	for i := range x {
		dx, dy, seen := l.offset(x[i], y[i])
		if !seen {
			continue
		}
		o := l.prof.slopesAt(dx, dy)
		hx, hy := gax[i], gay[i]
		for k := range l.m {
			sum[k] += hx*o.px[k] + hy*o.py[k]
		}
		zx, zy := o.kappa*hx+o.gx*hx+o.gy*hy, o.kappa*hy+o.gy*hx-o.gx*hy
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

func (l *byPoint) DeflectJac(jx, jy [][]float64, x, y []float64) {
	y = y[:len(x)]
	for i := range x {
		var o pointSlopes
		if dx, dy, seen := l.offset(x[i], y[i]); seen {
			o = l.prof.slopesAt(dx, dy)
		}
		for k := range l.m {
			if jx[k] != nil {
				jx[k][i], jy[k][i] = o.px[k], o.py[k]
			}
		}
		if k := l.m; jx[k] != nil {
			jx[k][i], jy[k][i] = -(o.kappa + o.gx), -o.gy
		}
		if k := l.m + 1; jx[k] != nil {
			jx[k][i], jy[k][i] = -o.gy, -(o.kappa - o.gx)
		}
	}
}

func (l *byPoint) Convergence(kappa, x, y []float64) {
	y = y[:len(x)]
	for i := range x {
		dx, dy, _ := l.offset(x[i], y[i])
		kappa[i] += l.prof.kappaAt(dx, dy)
	}
}
