package physics

// confocal is the geometry that mass profiles with elliptical isodensity contours R² = q x'² + y'²/q share, written so
// that it is smooth where they are round. With ζ = dx + i dy from the centre, e = e1 + i e2, f = |e| and
// u = ζ - e ζ̄, the deflection of κ(R) is (Bourassa & Kantowski 1975)
//
//	ᾱ = 2 ∫_0^R κ(m) m dm/√(ζ² - K m²),   K = 4e/(1-f²),   R² = |u|²/(1-f²),
//
// and at the upper end √(ζ² - K R²) = V = ((1+f²)ζ - 2eζ̄)/(1-f²), with Re(V ζ̄) = R².
type confocal struct {
	e1, e2 float64
	e, k   complex128
	norm   float64       // 1/(1-f²)
	dk     [2]complex128 // ∂K/∂e1, ∂K/∂e2
}

func newConfocal(e1, e2 float64) confocal {
	c := confocal{e1: e1, e2: e2, e: complex(e1, e2)}
	c.norm = 1 / (1 - (e1*e1 + e2*e2))
	c.k = complex(4*c.norm, 0) * c.e
	s := complex(4*c.norm, 0)
	c.dk[0] = s + c.k*complex(2*c.norm*e1, 0)
	c.dk[1] = s*1i + c.k*complex(2*c.norm*e2, 0)
	return c
}

// at gives R² and V.
func (c *confocal) at(dx, dy float64) (r2 float64, v complex128) {
	ux, uy := dx-(c.e1*dx+c.e2*dy), dy-(c.e2*dx-c.e1*dy)
	// V = ζ - 2e ū/(1-f²)
	v = complex(dx, dy) - 0.5*c.k*complex(ux, -uy)
	return (ux*ux + uy*uy) * c.norm, v
}

// frameSlopes are the derivatives of R² and V: by ζ and ζ̄, and by e1 and e2.
type frameSlopes struct {
	r2z      complex128 // ∂R²/∂ζ; that by ζ̄ is its conjugate
	vz, vzb  complex128 // ∂V/∂ζ, ∂V/∂ζ̄
	r2e      [2]float64
	ve       [2]complex128
	r2       float64
	v        complex128
	zeta, zb complex128
}

// slopes gives the derivatives at (dx, dy).
func (c *confocal) slopes(dx, dy float64) (o frameSlopes) {
	o.r2, o.v = c.at(dx, dy)
	o.zeta, o.zb = complex(dx, dy), complex(dx, -dy)
	ux, uy := dx-(c.e1*dx+c.e2*dy), dy-(c.e2*dx-c.e1*dy)
	u := complex(ux, uy)
	f2 := real(c.e)*real(c.e) + imag(c.e)*imag(c.e)
	n := complex(c.norm, 0)
	// ∇R² = 2(u - e ū)/(1-f²) and ∂/∂ζ is half the conjugate of the gradient.
	g := n * (u - c.e*complex(ux, -uy))
	o.r2z = complex(real(g), -imag(g))
	o.vz, o.vzb = complex((1+f2)*c.norm, 0), -0.5*c.k
	for j, ej := range [2]float64{c.e1, c.e2} {
		unit := complex(1, 0)
		if j == 1 {
			unit = 1i
		}
		// ∂R²/∂e_j = (2 e_j R² - 2 Re(u ζ conj(unit)))/(1-f²), ∂V/∂e_j = (2 e_j (ζ + V) - 2 unit ζ̄)/(1-f²)
		uz := u * o.zeta
		if j == 1 {
			uz = complex(imag(uz), 0)
		}
		o.r2e[j] = 2 * c.norm * (ej*o.r2 - real(uz))
		o.ve[j] = n * (complex(2*ej, 0)*(o.zeta+o.v) - 2*unit*o.zb)
	}
	return o
}
