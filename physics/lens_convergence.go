package physics

// convergence is a sheet of constant convergence, α = κ (x, y) about the origin, with parameter kappa.
type convergence struct{ kappa float64 }

var convergenceParams = []Param{anywhere("kappa", RoleConvergence, One).likely(Normal(0, 0.05))}

func (l *convergence) Params() []Param { return convergenceParams }

func (l *convergence) Set(p []float64) error {
	if err := checkParams("convergence", convergenceParams, p); err != nil {
		return err
	}
	l.kappa = p[0]
	return nil
}

func (l *convergence) Deflect(ax, ay, x, y []float64) {
	ax, ay, y = ax[:len(x)], ay[:len(x)], y[:len(x)]
	for i := range x {
		ax[i] += l.kappa * x[i]
		ay[i] += l.kappa * y[i]
	}
}

func (l *convergence) DeflectVJP(gp, gx, gy, gax, gay, x, y []float64) {
	gax, gay, y = gax[:len(x)], gay[:len(x)], y[:len(x)]
	var s float64
	for i := range x {
		s += gax[i]*x[i] + gay[i]*y[i]
		if gx != nil {
			gx[i] += l.kappa * gax[i]
			gy[i] += l.kappa * gay[i]
		}
	}
	gp[0] += s
}

func (l *convergence) DeflectJac(jx, jy [][]float64, x, y []float64) {
	if jx[0] != nil {
		copy(jx[0], x)
		copy(jy[0], y)
	}
}

func (l *convergence) Convergence(kappa, x, y []float64) {
	for i := range x {
		kappa[i] += l.kappa
	}
}
