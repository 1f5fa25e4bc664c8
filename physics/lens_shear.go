package physics

import "lenskit/physics/internal/kern"

// shear is the external shear about the origin, eq. 13 of Chianese et al. (2020):
//
//	α = (γ1 x + γ2 y, γ2 x - γ1 y)
//
// with parameters gamma1, gamma2.
type shear struct{ k kern.Shear }

var shearParams = []Param{anywhere("gamma1", RoleShear1, One).likely(Normal(0, 0.05)), anywhere("gamma2", RoleShear2, One).likely(Normal(0, 0.05))}

func (l *shear) Params() []Param { return shearParams }

func (l *shear) Set(p []float64) error {
	if err := checkParams("shear", shearParams, p); err != nil {
		return err
	}
	l.k.G1, l.k.G2 = p[0], p[1]
	return nil
}

func (l *shear) Deflect(ax, ay, x, y []float64) { l.k.Deflect(ax, ay, x, y) }

func (l *shear) DeflectVJP(gp, gx, gy, gax, gay, x, y []float64) {
	g1, g2 := kern.ShearVJP(gax, gay, x, y)
	gp[0] += g1
	gp[1] += g2
	if gx != nil {
		l.k.Deflect(gx, gy, gax, gay) // the shear's matrix is symmetric
	}
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
