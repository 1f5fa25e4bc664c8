package coolest

import (
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"lenskit/adjoint"
	"lenskit/internal/check"
	"lenskit/internal/disk"
	"lenskit/physics"
	"lenskit/samplers"
	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/internal/testkit"
	"lenskit/tools/problem"
	"lenskit/tools/run"
	"lenskit/tools/sample"
)

var updateCOOLEST = flag.Bool("update-coolest", false, "write testdata/coolest/folder anew; then run testdata/coolest/check.py")

// coolestModel has every profile that the standard has a place for, but the NFW, which the coolest package does not evaluate.
const coolestModel = `
data: {size: 24, pixel_scale: 0.25, noise: 0.05, psf: {gaussian: 0.15}}
lens:
  - {type: sple, priors: {r_ein: {truth: 1.6}, q: {truth: 0.7}, phi: {truth: 0.6}, gamma: {truth: 2.1}, x: {truth: 0.05}, y: {truth: -0.03}}}
  - {type: epl, priors: {theta_E: {truth: 0.3}, gamma: {truth: 1.8}, e1: {truth: -0.1}, e2: {truth: -0.2}, center_x: {truth: 1.5}, center_y: {truth: 1}}}
  - {type: sie, priors: {theta_E: {truth: 0.2}, e1: {truth: 0.1}, e2: {truth: 0.05}, center_x: {truth: -1}, center_y: {fixed: 0.5}}}
  - {type: sis, priors: {theta_E: {fixed: 0.1}, center_x: {fixed: 0.3}, center_y: {fixed: -1.2}}}
  - {type: shear, priors: {gamma1: {truth: -0.04}, gamma2: {truth: 0.001}}}
  - {type: convergence, priors: {kappa: {truth: 0.02}}}
source:
  - {type: sersic, priors: {amp: {truth: 1}, r_sersic: {truth: 0.3}, n: {fixed: 1}, e1: {truth: 0.2}, e2: {truth: 0.1}, center_x: {truth: 0.1}, center_y: {truth: -0.1}}}
lens_light:
  - {type: sersic, priors: {amp: {truth: 2}, r_sersic: {truth: 0.8}, n: {truth: 3}, e1: {truth: 0.05}, e2: {truth: -0.1}}}
sky: {normal: [0, 0.1], truth: 0.01}
`

// coolestRun leaves the folder of a run of a model at its truth, with a chain about it whose draws reach across the cut
// of the angles.
func coolestRun(t *testing.T, dir, model string) {
	t.Helper()
	path := filepath.Join(dir, "model.yaml")
	if err := os.WriteFile(path, []byte(model), 0o644); err != nil {
		t.Fatal(err)
	}
	code, _, msg := testkit.RunCommand(t, "mock", path, "-o", filepath.Join(dir, "mock.fits"), "--quiet", "--device", "reference")
	if code != 0 {
		t.Fatalf("mock: %d: %s", code, msg)
	}
	cfg, err := config.Load(filepath.Join(dir, "mock.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := problem.New(cfg, adjoint.Options{Device: "reference"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	theta, err := p.Start("", nil)
	if err != nil {
		t.Fatal(err)
	}
	sigma := make([]float64, len(theta))
	for i := range sigma {
		if p.Post.Free()[i] >= 0 {
			sigma[i] = 0.01
		}
	}
	rec := &run.Record{Status: run.Converged, Reason: "made by a test", Parameters: p.Named(theta), Uncertainties: p.Named(sigma), LogPosterior: -1,
		ReducedChi2: 1, Versions: map[string]string{"lenskit": "test"}}
	job := filepath.Join(dir, "run")
	if err := os.MkdirAll(job, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := run.Write(p, job, theta, rec); err != nil {
		t.Fatal(err)
	}
	names := p.Post.Names()
	rng := rand.New(rand.NewPCG(1, 2))
	drawn := rundir.Sums{}
	for chain := range 2 {
		var b strings.Builder
		b.WriteString("lp__")
		for _, n := range names {
			b.WriteString("," + strings.ReplaceAll(n, ".", ":"))
		}
		b.WriteString("\n")
		for range 20 {
			b.WriteString("0")
			for i, v := range theta {
				fmt.Fprintf(&b, ",%v", v+sigma[i]*rng.NormFloat64())
			}
			b.WriteString("\n")
		}
		text := strings.ReplaceAll(b.String(), ":", ".")
		name := filepath.Base(rundir.ChainFile(job, chain, 2))
		if err := os.WriteFile(filepath.Join(job, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		drawn[name] = disk.SumOf([]byte(text))
	}
	if rec, err = run.ReadRecord(job); err != nil {
		t.Fatal(err)
	}
	if err := rundir.WriteJSON(filepath.Join(job, rundir.SummaryJSON), &sample.Summary{Chains: 2, Files: drawn, FitSum: rec.Sum}); err != nil {
		t.Fatal(err)
	}
	// a file of someone's own is no chain
	if err := os.WriteFile(filepath.Join(job, "samples_mine.csv"), []byte("not draws"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// coolestReference is testdata/coolest/reference.json, what the coolest package found in testdata/coolest/folder.
type coolestReference struct {
	Program               string
	Parameters            map[string]float64
	X, Y, Kappa           []float64
	AlphaX                []float64 `json:"alpha_x"`
	AlphaY                []float64 `json:"alpha_y"`
	LightLens             []float64 `json:"light_lens"`
	LightSource           []float64 `json:"light_source"`
	Draws                 int
	WeightSum             float64 `json:"weight_sum"`
	Mean                  []map[string]float64
	DeflectionDifference  float64 `json:"deflection_difference"`
	ConvergenceDifference float64 `json:"convergence_difference"`
}

// stripRun takes out of a template what differs from machine to machine.
func stripRun(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	delete(v["meta"].(map[string]any), "lenskit")
	text, err = json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheCOOLESTPackageFindsOurDeflectionsAndSamples(t *testing.T) {
	dir := t.TempDir()
	coolestRun(t, dir, coolestModel)
	stored := filepath.Join(check.Root(), "testdata", "coolest")
	out := filepath.Join(dir, "out")
	if *updateCOOLEST {
		out = filepath.Join(stored, "folder")
	}
	code, stdout, msg := testkit.RunCommand(t, "export-coolest", filepath.Join(dir, "run"), "-o", out, "--lens-redshift", "0.3", "--source-redshift", "1.2")
	if code != 0 {
		t.Fatalf("got exit code %d: %s", code, msg)
	}
	if lines := strings.Fields(stdout); len(lines) != 5 || filepath.Base(lines[0]) != rundir.FileCOOLEST {
		t.Errorf("got files %q", lines)
	}
	ref := coolestReference{}
	text, err := os.ReadFile(filepath.Join(stored, "reference.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &ref); err != nil {
		t.Fatal(err)
	}
	// The points at which the package evaluated the model.
	points := filepath.Join(dir, "points.csv")
	var b strings.Builder
	b.WriteString("x,y\n")
	for i := range ref.X {
		fmt.Fprintf(&b, "%v,%v\n", ref.X[i], ref.Y[i])
	}
	if err := os.WriteFile(points, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	code, stdout, msg = testkit.RunCommand(t, "deflect", filepath.Join(dir, "run", rundir.ConfigYAML), "--params", filepath.Join(dir, "run", rundir.FitJSON), "--points", points)
	if code != 0 {
		t.Fatalf("deflect: got exit code %d: %s", code, msg)
	}
	if *updateCOOLEST {
		if err := os.WriteFile(filepath.Join(stored, "deflections.csv"), []byte(stdout), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Skip("wrote the folder: run check.py on it")
	}
	if got, want := stripRun(t, filepath.Join(out, rundir.FileCOOLEST)), stripRun(t, filepath.Join(stored, "folder", rundir.FileCOOLEST)); !sameNumbers(got, want) {
		t.Errorf("the template differs from the one that the package read: got\n%s\nwant\n%s", got, want)
	}
	rows, err := csv.NewReader(strings.NewReader(stdout)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(ref.X) < 20 || len(rows) != len(ref.X)+1 {
		t.Fatalf("got %d points", len(ref.X))
	}
	for i, row := range rows[1:] {
		var v [5]float64
		for k := range v {
			fmt.Sscan(row[k], &v[k])
		}
		if d := math.Hypot(v[2]-ref.AlphaX[i], v[3]-ref.AlphaY[i]); d > 1e-9 {
			t.Errorf("at (%g, %g): deflections differ by %g", v[0], v[1], d)
		}
		if d := math.Abs(v[4]/ref.Kappa[i] - 1); d > 1e-9 {
			t.Errorf("at (%g, %g): convergence differs by a factor of 1 + %g", v[0], v[1], d)
		}
	}
	for group, want := range map[string][]float64{"lens_light": ref.LightLens, "source": ref.LightSource} {
		cfg, err := config.Load(filepath.Join(dir, "run", rundir.ConfigYAML))
		if err != nil {
			t.Fatal(err)
		}
		comp := map[string]config.Component{"lens_light": cfg.LensLight[0], "source": cfg.Source[0]}[group]
		p := make([]float64, len(comp.Params))
		for i := range p {
			p[i] = comp.Params[i].Prior.Centre()
			if v := comp.Params[i].Prior.Truth; v != nil {
				p[i] = v[0]
			}
		}
		l, err := physics.NewLight(comp.Type)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Set(p); err != nil {
			t.Fatal(err)
		}
		got := make([]float64, len(ref.X))
		l.Brightness(got, ref.X, ref.Y)
		for i := range got {
			if math.Abs(got[i]-want[i]) > 1e-9*(math.Abs(want[i])+1e-12) {
				t.Errorf("%s at (%g, %g): got brightness %g, want %g", group, ref.X[i], ref.Y[i], got[i], want[i])
			}
		}
	}
	if ref.Draws != 40 || math.Abs(ref.WeightSum-1) > 1e-12 || len(ref.Mean) != 6 {
		t.Errorf("the package read %d draws of %d profiles with weight %g, expected 40 of 6 with 1", ref.Draws, len(ref.Mean), ref.WeightSum)
	}
	// A direction near the cut stays near the fit's: 1.6 degrees, where an average over the cut would be anything.
	for k, m := range ref.Mean {
		if v, ok := m["phi_ext"]; ok && math.Abs(v-ref.Parameters["0-massfield-mass-0-ExternalShear-phi_ext"]) > 5 {
			t.Errorf("profile %d: the mean of phi_ext is %g, the fit has %g", k, v, ref.Parameters["0-massfield-mass-0-ExternalShear-phi_ext"])
		}
	}
}

// sameNumbers compares two JSON texts of one form whose numbers may differ by rounding.
func sameNumbers(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	var same func(x, y any) bool
	same = func(x, y any) bool {
		switch v := x.(type) {
		case float64:
			w, ok := y.(float64)
			return ok && math.Abs(v-w) <= 1e-9*(1+math.Abs(v))
		case map[string]any:
			w, ok := y.(map[string]any)
			if !ok || len(v) != len(w) {
				return false
			}
			for k := range v {
				if !same(v[k], w[k]) {
					return false
				}
			}
			return true
		case []any:
			w, ok := y.([]any)
			if !ok || len(v) != len(w) {
				return false
			}
			for k := range v {
				if !same(v[k], w[k]) {
					return false
				}
			}
			return true
		}
		return x == y
	}
	return same(x, y)
}

func TestCOOLESTChainHasAColumnForEachParameterAndEqualWeights(t *testing.T) {
	dir := t.TempDir()
	coolestRun(t, dir, coolestModel)
	out := filepath.Join(dir, "out")
	if _, _, err := Export(Options{Dir: filepath.Join(dir, "run"), Output: out, LensRedshift: math.NaN(), SourceRedshift: math.NaN()}); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(out, rundir.FileCOOLESTChain))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	head := rows[0]
	if len(rows) != 41 || head[len(head)-1] != "probability_weights" {
		t.Fatalf("got %d lines, last column %q", len(rows), head[len(head)-1])
	}
	text, err := os.ReadFile(filepath.Join(out, rundir.FileCOOLEST))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range head[:len(head)-1] {
		if !strings.Contains(string(text), `"id": "`+id+`"`) {
			t.Errorf("column %q is no parameter of the template", id)
		}
	}
	if want := 4*6 + 2 + 1 + 2*7; len(head)-1 != want {
		t.Errorf("got %d columns, want %d", len(head)-1, want)
	}
	// theta_E = √q r_ein, draw by draw
	s, err := os.Open(filepath.Join(dir, "run", "samples_1.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	d, err := samplers.ReadStanCSV(s)
	if err != nil {
		t.Fatal(err)
	}
	column := func(id string) int {
		for i := range head {
			if head[i] == id {
				return i
			}
		}
		t.Fatalf("no column %s", id)
		return 0
	}
	at := map[string]int{}
	for i, n := range d.Names {
		at[n] = i
	}
	for i, x := range d.X {
		var got float64
		fmt.Sscan(rows[i+1][column("1-galaxy-mass-0-PEMD-theta_E")], &got)
		if want := math.Sqrt(x[at["lens.sple.q"]]) * x[at["lens.sple.r_ein"]]; math.Abs(got-want) > 1e-12 {
			t.Errorf("draw %d: got theta_E = %g, want %g", i, got, want)
		}
	}
}

func TestAConfigMadeOfACOOLESTTemplateHasTheSameLikelihood(t *testing.T) {
	dir := t.TempDir()
	coolestRun(t, dir, coolestModel[:strings.Index(coolestModel, "sky:")])
	out := filepath.Join(dir, "out")
	if code, _, msg := testkit.RunCommand(t, "export-coolest", filepath.Join(dir, "run"), "-o", out); code != 0 {
		t.Fatal(msg)
	}
	likelihood := func(config string) float64 {
		code, stdout, msg := testkit.RunCommand(t, "eval", config, "--params", filepath.Join(dir, "empty.json"), "--device", "reference")
		if code != 0 {
			t.Fatalf("eval %s: %s", config, msg)
		}
		var v struct {
			LogLikelihood float64 `json:"log_likelihood"`
		}
		if err := json.Unmarshal([]byte(stdout), &v); err != nil {
			t.Fatal(err)
		}
		return v.LogLikelihood
	}
	if err := os.WriteFile(filepath.Join(dir, "empty.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	want, got := likelihood(filepath.Join(dir, "mock.yaml")), likelihood(filepath.Join(out, rundir.FileCOOLEST))
	if math.Abs(got-want) > 1e-7*math.Abs(want) {
		t.Errorf("got log likelihood %.12g, want %.12g", got, want)
	}
	c, err := config.Load(filepath.Join(out, rundir.FileCOOLEST))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Lens) != 6 || len(c.Source) != 1 || len(c.LensLight) != 1 || c.Lens[1].Name != "convergence" {
		t.Errorf("got %d lenses, %d sources, %d lens lights", len(c.Lens), len(c.Source), len(c.LensLight))
	}
	// What it says is a config that reads back the same.
	again, err := config.Parse(filepath.Join(out, "x.yaml"), []byte(c.Text(out)))
	if err != nil {
		t.Fatal(err)
	}
	if a, b := c.Text(out), again.Text(out); a != b {
		t.Errorf("got\n%s\nwant\n%s", b, a)
	}
}

func TestADecoderIsWrittenAsItsPixels(t *testing.T) {
	dir := t.TempDir()
	coolestRun(t, dir, `
data: {size: [24, 20], pixel_scale: 0.25, noise: 0.05}
lens: [{type: sie}]
source: [{type: decoder, priors: {s: {fixed: 2}, x: {fixed: 0.2}, y: {fixed: -0.1}}}]
`)
	run := filepath.Join(dir, "run")
	for name, own := range map[string]bool{"own": true, "fine": false} {
		out := filepath.Join(dir, name)
		args := []string{"export-coolest", run, "-o", out, "--quiet"}
		if own {
			args = append(args, "--own-pixels")
		}
		if code, _, msg := testkit.RunCommand(t, args...); code != 0 {
			t.Fatal(msg)
		}
		img, err := fits.Read(filepath.Join(out, "source.fits"))
		if err != nil {
			t.Fatal(err)
		}
		src, err := fits.Read(filepath.Join(run, rundir.FitFITS) + "[SOURCE]")
		if err != nil {
			t.Fatal(err)
		}
		var v coolestTemplate
		text, err := os.ReadFile(filepath.Join(out, rundir.FileCOOLEST))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		var g coolestGrid
		light := v.Entities[len(v.Entities)-1].Light
		if len(light) != 1 || light[0].Type != "PixelatedRegularGrid" {
			t.Fatalf("got light %+v", light)
		}
		if err := json.Unmarshal(light[0].Parameters["pixels"], &g); err != nil {
			t.Fatal(err)
		}
		// light per pixel times its area is the same flux
		flux := func(pix []float64, area float64) (s float64) {
			for _, p := range pix {
				s += p * area
			}
			return s
		}
		a, b := flux(img.Pix, g.pixelSize()*g.pixelSize()), flux(src.Pix, 4./64/64)
		switch {
		case own && (g.NX != 64 || math.Abs(g.X[0]+0.8) > 1e-12 || math.Abs(g.X[1]-1.2) > 1e-12 || math.Abs(g.Y[0]+1.1) > 1e-12 || a != b):
			t.Errorf("own pixels: got grid %+v, flux %g, want %g", g, a, b)
		case !own && (g.X != g.Y || math.Abs(g.X[0]+1.2) > 1e-12 || math.Abs(a/b-1) > 0.01):
			t.Errorf("finer grid: got grid %+v, flux %g, want %g", g, a, b)
		}
		if o := v.Observation.Pixels; o.NX != 24 || o.NY != 24 || o.Y != [2]float64{-3, 3} {
			t.Errorf("the image is not padded to a square: %+v", o)
		}
		if d, ok := v.Meta["decoder"].(map[string]any); !ok || d["s"] != 2.0 || len(d["z"].([]any)) == 0 {
			t.Errorf("got decoder %v", v.Meta["decoder"])
		}
	}
}

func TestWhatCOOLESTHasNoPlaceForIsSaid(t *testing.T) {
	dir := t.TempDir()
	coolestRun(t, dir, `
data: {size: 16, pixel_scale: 0.25, noise: 0.05}
lens: [{type: sie}, {type: point_mass, priors: {theta_E: {fixed: 0.1}}}]
source: [{type: sersic}, {type: gaussian, priors: {center_x: {fixed: 0.2}}}]
`)
	run, out := filepath.Join(dir, "run"), filepath.Join(dir, "out")
	code, stdout, msg := testkit.RunCommand(t, "export-coolest", run, "-o", out)
	if code != term.ExitBadInput || stdout != "" || !strings.Contains(msg, "no place for lens.point_mass (point_mass)") {
		t.Errorf("got %d, %q, %q", code, stdout, msg)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("left a folder behind")
	}
	if code, _, msg = testkit.RunCommand(t, "export-coolest", run, "-o", out, "--partial"); code != 0 || !strings.Contains(msg, "left out") {
		t.Errorf("--partial: got %d, %q", code, msg)
	}
	// A profile of light without a place is an image.
	if img, err := fits.Read(filepath.Join(out, "source_gaussian.fits")); err != nil || slices.Max(img.Pix) <= 0 {
		t.Errorf("the Gaussian source: got %v", err)
	}
}

func TestBadCOOLESTTemplatesAreRefusedInOneLine(t *testing.T) {
	dir := t.TempDir()
	good := `{"standard":"COOLEST","mode":"MAP","instrument":{"pixel_size":0.1,"psf":{"type":null}},"observation":{"pixels":{"fits_file":{"path":"d.fits"}},
"noise":{"type":"UniformGaussianNoise","std_dev":0.1}},"meta":{},"lensing_entities":[{"type":"Galaxy","name":"a","redshift":0.3,"light_model":[],
"mass_model":[{"type":"SIE","parameters":{"theta_E":{"point_estimate":{"value":1.1},"prior":{"type":"UniformPrior","min_value":0.5,"max_value":2}},
"q":{"point_estimate":{"value":0.8}},"phi":{"point_estimate":{"value":30}},"center_x":{"point_estimate":{"value":0.01}},"center_y":{"point_estimate":{"value":0},"fixed":true}}}]}]}`
	c, err := parseAny(filepath.Join(dir, "good.json"), good)
	if err != nil {
		t.Fatal(err)
	}
	if p := find(&c.Lens[0], "theta_E").Prior; p.Family != physics.FamilyUniform || p.A != 0.5 || p.B != 2 || p.Init[0] != 1.1 {
		t.Errorf("theta_E: got %+v", p)
	}
	if p := find(&c.Lens[0], "center_y").Prior; !p.IsFixed() {
		t.Errorf("center_y: got %+v", p)
	}
	if e1, e2 := find(&c.Lens[0], "e1").Prior.Init[0], find(&c.Lens[0], "e2").Prior.Init[0]; math.Abs(e1+1./18) > 1e-12 || math.Abs(e2+math.Sqrt(3)/18) > 1e-12 {
		t.Errorf("got e = %g, %g: the major axis is 30 degrees from +y towards -x", e1, e2)
	}
	for _, bad := range []struct{ old, new, want string }{
		{`"COOLEST"`, `"WARM"`, `standard: found "WARM", expected COOLEST`},
		{`"UniformGaussianNoise"`, `"DrizzledNoise"`, "observation.noise.type: found \"DrizzledNoise\""},
		{`"std_dev":0.1`, `"std_dev":-1`, "std_dev: found -1"},
		{`"SIE"`, `"NFW"`, "lensing_entities[0].mass_model[0].type: found \"NFW\""},
		{`"value":0.8`, `"value":1.8`, "expected an axis ratio"},
		{`"q":{`, `"Q":{`, "has no q"},
		{`"pixel_size":0.1`, `"pixel_size":"x"`, "expected a float64"},
		{`"pixel_size":0.1`, `"pixel_size":`, "line 1"},
		{`"UniformPrior"`, `"JeffreysPrior"`, "found \"JeffreysPrior\""},
		{`"Galaxy"`, `"Galaxies"`, "lensing_entities[0].type"},
		{`{"path":"d.fits"}`, `{}`, "has no fits_file"},
	} {
		text := strings.Replace(good, bad.old, bad.new, 1)
		if text == good {
			t.Fatalf("%q is not in the template", bad.old)
		}
		_, err := parseAny(filepath.Join(dir, "bad.json"), text)
		if err == nil || term.ExitCode(err) != term.ExitBadInput || !strings.Contains(err.Error(), bad.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s for %s: got %v, want %q", bad.new, bad.old, err, bad.want)
		}
	}
}

func TestPixelScaleAndOriginAreThoseOfAstropy(t *testing.T) {
	base := map[string]string{"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": "12.5", "CRPIX2": "-40.0", "CRVAL1": "359.999", "CRVAL2": "63.35"}
	for name, cards := range map[string]map[string]string{
		"CD":           {"CD1_1": "-1.1973792922037505e-05", "CD1_2": "5.062438450012457e-06", "CD2_1": "5.062438450012457e-06", "CD2_2": "1.1973792922037505e-05"},
		"CDELT, CROTA": {"CDELT1": "-1.3e-5", "CDELT2": "1.3e-5", "CROTA2": "-22.91831180523293"},
		"CDELT, PC": {"CDELT1": "-1.3D-5", "CDELT2": "1.3D-5", "PC1_1": "0.9210609940028851", "PC1_2": "-0.3894183423086505", "PC2_1": "0.3894183423086505",
			"PC2_2": "0.9210609940028851"},
	} {
		h := fits.Header{}
		for _, m := range []map[string]string{base, cards} {
			for k, v := range m {
				h[k] = fits.Card{Key: k, Value: v}
			}
		}
		w, ok := fits.SkyWCS(h)
		if !ok || math.Abs(w.Scale()-0.0468) > 1e-12 || !w.Square() {
			t.Errorf("%s: got %g arcsec per pixel, want 0.0468", name, w.Scale())
		}
		// WCS(header).all_pix2world at ((nx+1)/2, (ny+1)/2) of astropy 8.0
		ra, dec, ok := centre(w, h, 201, 151)
		if !ok || math.Abs(ra-359.9979466517472) > 1e-9 || math.Abs(dec-63.35183698189972) > 1e-9 {
			t.Errorf("%s: got centre %.12g, %.12g", name, ra, dec)
		}
	}
	for v, want := range map[float64]string{-0.5: "-00d30m00.0000000s", 63.99999999999: "+64d00m00.0000000s"} {
		if got := sexagesimal(v, "d", true); got != want {
			t.Errorf("%g degrees: got %s, want %s", v, got, want)
		}
	}
}

// parseAny writes text to path and loads it as a config.
func parseAny(path, text string) (*config.Config, error) {
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return config.Load(path)
}

func FuzzCOOLEST(f *testing.F) {
	f.Add([]byte(`{"standard":"COOLEST","lensing_entities":[{"type":"Galaxy","mass_model":[{"type":"PEMD","parameters":{"q":null}}]}],
"observation":{"pixels":{"fits_file":{"path":"d"}},"noise":{"type":"UniformGaussianNoise","std_dev":1}},"instrument":{"pixel_size":1,"psf":{"type":null}}}`))
	f.Add([]byte(`{"standard":"COOLEST","lensing_entities":[{"type":"Galaxy","light_model":[{"type":"Sersic","parameters":{}},{"type":"Uniform"}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := coolestConfig("fuzz.json", text)
		if err != nil {
			if term.ExitCode(err) != term.ExitBadInput {
				t.Fatalf("got exit code %d: %v", term.ExitCode(err), err)
			}
			return
		}
		if _, err := config.Parse("fuzz.yaml", []byte(c.Text("."))); err != nil {
			t.Fatalf("its config cannot be read: %v\n%s", err, c.Text("."))
		}
	})
}
