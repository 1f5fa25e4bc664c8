package adjoint

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"lenskit/internal/check"
	"lenskit/physics"
)

// evidenceCases are those of testdata/evidence.json, which evidence_cases.py beside it wrote.
type evidenceCases struct {
	Origin string `json:"origin"`
	Cases  []struct {
		Side          int                `json:"side"`
		Scale         float64            `json:"scale"`
		PSF           [][]float64        `json:"psf"`
		Data          []float64          `json:"data"`
		Sigma         []float64          `json:"sigma"`
		Mask          []int              `json:"mask"`
		Lens          map[string]float64 `json:"lens"`
		Shapes        []float64          `json:"shapes"` // e1, e2, x, y of each expansion
		Hyper         map[string]float64 `json:"hyper"`
		Box           []float64          `json:"box"` // x, y, side of each grid
		Splines       []int              `json:"splines"`
		Smoothness    int                `json:"smoothness"`
		Supersampling int                `json:"supersampling"`
		Widths        [2]float64         `json:"widths"`
		Value         float64            `json:"value"`
		Gradient      []float64          `json:"gradient"` // by theta_E, gamma, e1, e2, center_x, center_y, gamma1, gamma2
		Chi2          float64            `json:"chi2"`
		Active        int                `json:"active"`
		Coefficients  []float64          `json:"coefficients"`
	} `json:"cases"`
}

func TestEvidenceAgainstReference(t *testing.T) {
	data, err := os.ReadFile("testdata/evidence.json")
	if err != nil {
		t.Fatal(err)
	}
	var ref evidenceCases
	if err := json.Unmarshal(data, &ref); err != nil {
		t.Fatal(err)
	}
	for i, c := range ref.Cases {
		k := physics.NewImage(len(c.PSF[0]), len(c.PSF), 1)
		for j, row := range c.PSF {
			copy(k.Pix[j*k.W:], row)
		}
		o := Observation{W: c.Side, H: c.Side, PixelScale: c.Scale, Data: c.Data, Sigma: c.Sigma, PSF: physics.PSFSpec{Kernel: k}, Supersampling: []int{c.Supersampling}}
		for _, m := range c.Mask {
			o.Mask = append(o.Mask, m == 1)
		}
		values := map[string]float64{}
		fix := func(group, name string, v map[string]float64) priors {
			p := priors{}
			for key, x := range v {
				p[key], values[group+"."+name+"."+key] = physics.Normal(x, 1), x
			}
			return p
		}
		some := func(names ...string) map[string]float64 {
			v := map[string]float64{}
			for _, n := range names {
				v[n] = c.Lens[n]
			}
			return v
		}
		spec := PixelisedSpec{Smoothness: c.Smoothness, Components: len(c.Hyper) / 6}
		for g, n := range c.Splines {
			spec.Grids = append(spec.Grids, physics.SplineGrid{X: c.Box[3*g], Y: c.Box[3*g+1], Half: c.Box[3*g+2] / 2, N: n})
		}
		m := Model{Components: []Component{
			{Group: GroupLens, Name: "epl", Kind: "epl", Priors: fix(GroupLens, "epl", some("theta_E", "gamma", "e1", "e2", "center_x", "center_y"))},
			{Group: GroupLens, Name: "shear", Kind: "shear", Priors: fix(GroupLens, "shear", some("gamma1", "gamma2"))},
			{Group: GroupSource, Name: "pixels", Kind: KindPixelised, Pixelised: &spec, Priors: fix(GroupSource, "pixels", c.Hyper)},
		}}
		for s := 0; 4*s < len(c.Shapes); s++ {
			name := fmt.Sprintf("mge%d", s)
			m.Components = append(m.Components, Component{Group: GroupLensLight, Name: name, Kind: "mge", Amplitudes: AmplitudesNonNegative,
				Priors: fix(GroupLensLight, name, map[string]float64{"sigma_min": c.Widths[0], "sigma_max": c.Widths[1], "e1": c.Shapes[4*s],
					"e2": c.Shapes[4*s+1], "center_x": c.Shapes[4*s+2], "center_y": c.Shapes[4*s+3]})})
		}
		p := open(t, m, o, Options{Device: deviceReference})
		theta := make([]float64, len(p.Names()))
		for n, name := range p.Names() {
			theta[n] = values[name]
		}
		e, err := p.Eval(theta, true)
		if err != nil {
			t.Fatal(err)
		}
		check.Close(t, fmt.Sprintf("case %d: log evidence", i), e.LogLikelihood, c.Value, 1e-8, 0)
		check.Close(t, fmt.Sprintf("case %d: chi2", i), e.Chi2, c.Chi2, 1e-7, 0)
		for n, name := range []string{"epl.theta_E", "epl.gamma", "epl.e1", "epl.e2", "epl.center_x", "epl.center_y", "shear.gamma1", "shear.gamma2"} {
			check.Close(t, fmt.Sprintf("case %d: gradient by %s", i, name), e.GradLikelihood[index(t, p, "lens."+name)], c.Gradient[n], 1e-6, 1)
		}
		for j, s := range p.inv.s {
			check.Close(t, fmt.Sprintf("case %d: coefficient %d", i, j), s, c.Coefficients[j], 1e-5, 0.1)
		}
		active := 0
		for _, a := range p.inv.amp {
			if a > 0 {
				active++
			}
		}
		if active != c.Active {
			t.Errorf("case %d: %d amplitudes are positive, want %d", i, active, c.Active)
		}
	}
}
