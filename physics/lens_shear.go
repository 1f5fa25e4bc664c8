package physics

// shear is the external shear about the origin, eq. 13 of Chianese et al. (2020):
//
//	α = (γ1 x + γ2 y, γ2 x - γ1 y)
//
// with parameters gamma1, gamma2.
type shear struct{ g1, g2 float64 }

var shearParams = []Param{anywhere("gamma1", One), anywhere("gamma2", One)}

func (l *shear) Params() []Param { return shearParams }

func (l *shear) Set(p []float64) error {
	if err := checkParams("shear", shearParams, p); err != nil {
		return err
	}
	l.g1, l.g2 = p[0], p[1]
	return nil
}

func (l *shear) Deflect(ax, ay, x, y []float64) {
	ax, ay, y = ax[:len(x)], ay[:len(x)], y[:len(x)]
	for i := range x {
		ax[i] += l.g1*x[i] + l.g2*y[i]
		ay[i] += l.g2*x[i] - l.g1*y[i]
	}
}

func (l *shear) DeflectVJP(gp, gx, gy, gax, gay, x, y []float64) {
	gax, gay, y = gax[:len(x)], gay[:len(x)], y[:len(x)]
	var s1, s2 float64
	for i := range x {
		hx, hy := gax[i], gay[i]
		s1 += hx*x[i] - hy*y[i]
		s2 += hx*y[i] + hy*x[i]
		if gx != nil {
			gx[i] += hx*l.g1 + hy*l.g2
			gy[i] += hx*l.g2 - hy*l.g1
		}
	}
	gp[0] += s1
	gp[1] += s2
}

func (l *shear) DeflectJac(jx, jy [][]float64, x, y []float64) {
	for i := range x {
		if jx[0] != nil {
			jx[0][i], jy[0][i] = x[i], -y[i]
		}
		if jx[1] != nil {
			jx[1][i], jy[1][i] = y[i], x[i]
		}
	}
}

// Convergence adds nothing: a shear has no mass.
func (l *shear) Convergence(kappa, x, y []float64) {}
