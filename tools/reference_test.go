package tools

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"lenskit/internal/check"
	"lenskit/onnx"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/tensors"
	"lenskit/tools/internal/termtest"
	"lenskit/tools/internal/testkit"
)

// referenceRow is a row of a reference table by column.
type referenceRow map[string]float64

// referenceTable reads a table of reference/public.
func referenceTable(t *testing.T, name string) []referenceRow {
	t.Helper()
	f, err := os.Open(check.Shared(t, "reference/public/"+name+".csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out []referenceRow
	for _, line := range lines[1:] {
		row := referenceRow{}
		for i, name := range lines[0] {
			if row[name], err = strconv.ParseFloat(line[i], 64); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, row)
	}
	return out
}

// TestDeflectGivesTheReferenceTables sends every row of the reference tables through the command line: config,
// parameters and points in files, the answer in CSV. The columns alpha_x_mp and alpha_y_mp, where there are any, come
// from 40-digit arithmetic.
func TestDeflectGivesTheReferenceTables(t *testing.T) {
	elliptical := func(r referenceRow) map[string]float64 {
		e1, e2 := termtest.Ellipticity(r["q"], r["phi"])
		return map[string]float64{"theta_E": r["theta_E"], "e1": e1, "e2": e2, "center_x": r["center_x"], "center_y": r["center_y"]}
	}
	round := func(r referenceRow) map[string]float64 {
		return map[string]float64{"theta_E": r["theta_E"], "center_x": r["center_x"], "center_y": r["center_y"]}
	}
	for _, c := range []struct {
		table, lens string
		alpha       float64 // tolerance, relative to the size of the deflection
		kappa       float64 // tolerance of the convergence; 0: the table's has too few digits
		params      func(referenceRow) map[string]float64
	}{
		{"epl", "epl", 1e-10, 1e-8, func(r referenceRow) map[string]float64 {
			p := elliptical(r)
			p["gamma"] = r["gamma"]
			return p
		}},
		{"epl", "sple", 1e-10, 1e-8, func(r referenceRow) map[string]float64 {
			return map[string]float64{"r_ein": r["theta_E"] / math.Sqrt(r["q"]), "q": r["q"], "phi": r["phi"], "gamma": r["gamma"], "x": r["center_x"], "y": r["center_y"]}
		}},
		{"sie", "sie", 1e-8, 0, elliptical},
		{"sis", "sis", 1e-10, 1e-10, round},
		{"point_mass", "point_mass", 1e-10, 0, round},
		{"shear", "shear", 1e-10, 1e-10, func(r referenceRow) map[string]float64 {
			return map[string]float64{"gamma1": r["gamma1"], "gamma2": r["gamma2"]}
		}},
	} {
		t.Run(c.lens, func(t *testing.T) {
			dir := t.TempDir()
			config := termtest.WriteText(t, filepath.Join(dir, "c.yaml"), "data: {pixel_scale: 0.05}\nlens: [{type: %s}]\n", c.lens)
			rows := referenceTable(t, c.table)
			for len(rows) > 0 {
				set := 0
				points := "x,y\n"
				for set < len(rows) && rows[set]["set"] == rows[0]["set"] {
					r := rows[set] // a shear is about the origin, that of the table about (ra_0, dec_0)
					points += fmt.Sprintf("%.17g,%.17g\n", r["x"]-r["ra_0"], r["y"]-r["dec_0"])
					set++
				}
				named := map[string]float64{}
				for k, v := range c.params(rows[0]) {
					named["lens."+c.lens+"."+k] = v
				}
				params := filepath.Join(dir, "p.json")
				if err := rundir.WriteJSON(params, named); err != nil {
					t.Fatal(err)
				}
				out := testkit.MustRun(t, "deflect", config, "--params", params, "--points", termtest.WriteText(t, filepath.Join(dir, "points.csv"), "%s", points))
				lines := strings.Split(strings.TrimSpace(out), "\n")
				if len(lines) != set+1 || lines[0] != "x,y,alpha_x,alpha_y,kappa" {
					t.Fatalf("set %g: found %d lines, the first %q", rows[0]["set"], len(lines), lines[0])
				}
				for i, line := range lines[1:] {
					var v [5]float64
					for k, s := range strings.Split(line, ",") {
						v[k], _ = strconv.ParseFloat(s, 64)
					}
					r := rows[i]
					ax, ay := r["alpha_x"], r["alpha_y"]
					if _, ok := r["alpha_x_mp"]; ok {
						ax, ay = r["alpha_x_mp"], r["alpha_y_mp"]
					}
					if miss := math.Hypot(v[2]-ax, v[3]-ay); !(miss <= c.alpha*math.Hypot(ax, ay)) {
						t.Errorf("set %g at (%g, %g): α misses by %.2g of %.3g", r["set"], r["x"], r["y"], miss, math.Hypot(ax, ay))
					}
					if c.kappa > 0 && !(math.Abs(v[4]-r["kappa"]) <= c.kappa*math.Max(1, math.Abs(r["kappa"]))) {
						t.Errorf("set %g at (%g, %g): κ = %.12g, want %.12g", r["set"], r["x"], r["y"], v[4], r["kappa"])
					}
				}
				rows = rows[set:]
			}
		})
	}
}

// TestDeflectIsFiniteWhereFormulasAreNot asks for the centre, round and flat lenses and the ends of the slopes.
func TestDeflectIsFiniteWhereFormulasAreNot(t *testing.T) {
	dir := t.TempDir()
	points := termtest.WriteText(t, filepath.Join(dir, "points.csv"), "x,y\n0,0\n1e-300,0\n0,-1e-12\n0.7,0\n0,0.7\n-1e6,1e6\n")
	for _, lens := range []string{
		"epl, priors: {theta_E: {fixed: 1.3}, gamma: {fixed: %g}, e1: {fixed: 0}, e2: {fixed: 0}, center_x: {fixed: 0}, center_y: {fixed: 0}}",
		"epl, priors: {theta_E: {fixed: 1.3}, gamma: {fixed: %g}, e1: {fixed: 0.6666666666666667}, e2: {fixed: 0}, center_x: {fixed: 0}, center_y: {fixed: 0}}",
		"sple, priors: {r_ein: {fixed: 1.3}, gamma: {fixed: %g}, q: {fixed: 1}, phi: {fixed: 0.3}, x: {fixed: 0}, y: {fixed: 0}}",
		"sple, priors: {r_ein: {fixed: 1.3}, gamma: {fixed: %g}, q: {fixed: 0.2}, phi: {fixed: 0.3}, x: {fixed: 0}, y: {fixed: 0}}",
		"sie, priors: {theta_E: {fixed: %g}, e1: {fixed: 0}, e2: {fixed: 0}, center_x: {fixed: 0}, center_y: {fixed: 0}}",
		"sis, priors: {theta_E: {fixed: %g}, center_x: {fixed: 0}, center_y: {fixed: 0}}",
		"point_mass, priors: {theta_E: {fixed: %g}, center_x: {fixed: 0}, center_y: {fixed: 0}}",
	} {
		for _, slope := range []float64{1.2, 2, 2.8} {
			config := termtest.WriteText(t, filepath.Join(dir, "c.yaml"), "lens: [{type: "+lens+"}]\n", slope)
			out := testkit.MustRun(t, "deflect", config, "--points", points)
			if low := strings.ToLower(out); strings.Contains(low, "nan") || strings.Contains(low, "inf") {
				t.Errorf("%s: slope %g:\n%s", lens, slope, out)
			}
		}
	}
}

// constantDecoder writes a decoder whose output is pix whatever its one latent is, a plane of w x h.
func constantDecoder(t *testing.T, path string, pix []float64, w, h int) {
	t.Helper()
	n := int64(len(pix))
	image := make([]float32, n)
	for i, v := range pix {
		image[i] = float32(v)
	}
	batch := onnx.Dim{N: 1, Sym: "N"}
	g := &onnx.Graph{
		Name: "constant", Opset: map[string]int{"": 18},
		Inputs:  []onnx.Value{{Name: "z", Type: onnx.Float32, Shape: []onnx.Dim{batch, {N: 1}}}},
		Outputs: []onnx.Value{{Name: "image", Type: onnx.Float32, Shape: []onnx.Dim{batch, {N: 1}, {N: int64(h)}, {N: int64(w)}}}},
		Nodes: []*onnx.Node{
			{Op: "MatMul", In: []string{"z", "zero"}, Out: []string{"none"}},
			{Op: "Add", In: []string{"none", "pix"}, Out: []string{"flat"}},
			{Op: "Reshape", In: []string{"flat", "shape"}, Out: []string{"image"}},
		},
		Init: map[string]*onnx.Tensor{
			"zero": onnx.FloatTensor(make([]float32, n), 1, n), "pix": onnx.FloatTensor(image, 1, n),
			"shape": onnx.IntTensor([]int64{-1, 1, int64(h), int64(w)}, 4),
		},
	}
	if err := g.Save(path); err != nil {
		t.Fatal(err)
	}
}

// TestEvalDrawsTheReferenceImages compares the model image that eval writes with those of another code
// (reference/public/images.json): Sersic sources, and images of a source as decoders that return it.
func TestEvalDrawsTheReferenceImages(t *testing.T) {
	raw, err := os.ReadFile(check.Shared(t, "reference/public/images.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ref struct {
		N          int
		PixelScale float64 `json:"pixel_scale"`
		Images     []struct {
			File, Unblurred, Source string
			EPL                     map[string]float64 `json:"lens_EPL"`
			Shear                   map[string]float64 `json:"lens_SHEAR"`
			Kwargs                  map[string]float64 `json:"source_kwargs"`
		}
	}
	if err := json.Unmarshal(raw, &ref); err != nil {
		t.Fatal(err)
	}
	array := func(name string) []float64 {
		v, err := tensors.ReadNPY(check.Shared(t, "reference/public/"+name))
		if err != nil {
			t.Fatal(err)
		}
		return floats64(t, v)
	}
	dir := t.TempDir()
	source, psf := array("source_image.npy"), array("psf.npy")
	side := func(v []float64) int { return int(math.Sqrt(float64(len(v)))) }
	image := filepath.Join(dir, "zero.fits")
	for _, f := range []struct {
		path string
		pix  []float64
	}{{image, make([]float64, ref.N*ref.N)}, {filepath.Join(dir, "psf.fits"), psf}} {
		if err := fits.Write(f.path, fits.Out{Bitpix: -64, Axes: []int{side(f.pix), side(f.pix)}, Pix: f.pix}); err != nil {
			t.Fatal(err)
		}
	}
	constantDecoder(t, filepath.Join(dir, "source.onnx"), source, side(source), side(source))
	for i, c := range ref.Images {
		named := map[string]float64{"lens.shear.gamma1": c.Shear["gamma1"], "lens.shear.gamma2": c.Shear["gamma2"]}
		for _, k := range strings.Fields("theta_E gamma e1 e2 center_x center_y") {
			named["lens.epl."+k] = c.EPL[k]
		}
		kind, tol := "sersic", 1e-10
		k := c.Kwargs
		if c.Source == "SERSIC_ELLIPSE" {
			for name, key := range map[string]string{"amp": "amp", "r_sersic": "R_sersic", "n": "n_sersic", "e1": "e1", "e2": "e2", "center_x": "center_x", "center_y": "center_y"} {
				named["source.sersic."+name] = k[key]
			}
		} else {
			kind, tol = "decoder, model: source.onnx", 1e-7 // of a decoder's float32
			for name, v := range map[string]float64{"x": k["center_x"], "y": k["center_y"], "s": k["pixel_scale"] * float64(side(source)), "iota": k["amp"], "z.1": 0.3} {
				named["source.decoder."+name] = v
			}
		}
		params := filepath.Join(dir, "p.json")
		if err := rundir.WriteJSON(params, named); err != nil {
			t.Fatal(err)
		}
		for _, v := range []struct{ psf, want string }{{"none", c.Unblurred}, {"{file: psf.fits}", c.File}} {
			config := termtest.WriteText(t, filepath.Join(dir, "c.yaml"), "data: {image: zero.fits, noise: 1, pixel_scale: %g, psf: %s}\nlens: [{type: epl}, {type: shear}]\nsource: [{type: %s}]\n",
				ref.PixelScale, v.psf, kind)
			testkit.MustRun(t, "eval", config, "--params", params, "-o", dir, "--device", "reference")
			got, err := fits.Read(filepath.Join(dir, "model.fits[MODEL]"))
			if err != nil {
				t.Fatal(err)
			}
			compareImages(t, fmt.Sprintf("image %d, PSF %s", i, v.psf), got.Pix, array(v.want), tol)
		}
	}
}
