package coolest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/gonum/stat"
	"lenskit/internal/disk"
	"lenskit/physics"
	"lenskit/tools/config"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/observation"
	"lenskit/tools/run"
	"lenskit/tools/sample"
	"lenskit/tools/survey"
)

// Options says what Export writes.
type Options struct {
	Dir            string // folder of a run
	Output         string // folder to write; "": DIR/coolest
	SIE            bool   // isothermal ellipsoids as SIE, not as PEMD of slope 2
	Partial        bool   // leave out lenses that the standard cannot express
	OwnPixels      bool   // the source in its own pixels, not on a finer grid about the origin
	LensRedshift   float64
	SourceRedshift float64 // both NaN: as the config states them, if it does
	Instrument     string
	Band           string
}

// Exporter is a run on its way into a template.
type Exporter struct {
	Opt     Options
	out     string
	Rec     *run.Record
	cfg     *config.Config
	planes  map[string]run.Plane
	header  fits.Header // of the data
	scale   float64
	size    int // side of the images, which the package reads only as squares
	left    [2]int
	values  map[string]float64
	names   []string    // of the samples
	draws   [][]float64 // of all chains; nil where the run has none
	columns []coolestColumn
	meta    map[string]any
	made    []string
	notices []string
}

// coolestColumn is a column of the chain.
type coolestColumn struct {
	id     string
	values []float64 // one per draw; nil where there are no draws
	value  float64
}

// Export writes the run in opt.Dir as a COOLEST folder and returns the files it wrote and what the standard had
// no place for.
func Export(opt Options) (made, notices []string, err error) {
	x := &Exporter{Opt: opt, out: opt.Output, meta: map[string]any{}}
	if x.out == "" {
		x.out = filepath.Join(opt.Dir, rundir.FolderCOOLEST)
	}
	if opt.Output == "" && rundir.Exists(opt.Dir) {
		release, err := disk.Lock(opt.Dir)
		if err != nil {
			return nil, nil, err
		}
		defer release()
	}
	if err := x.read(); err != nil {
		return nil, nil, err
	}
	leave, err := rundir.Own(context.Background(), x.out)
	if err != nil {
		return nil, nil, err
	}
	defer leave()
	if err := x.write(); err != nil {
		return nil, nil, err
	}
	return x.made, x.notices, nil
}

// read reads the files of the run.
func (x *Exporter) read() (err error) {
	dir := x.Opt.Dir
	if info, err := os.Stat(dir); err != nil {
		return term.BadInput("%s: %s", dir, term.Reason(err))
	} else if !info.IsDir() {
		return term.BadInput("%s: is a file, expected the folder of a run", dir)
	}
	if x.Rec, err = run.ReadRecord(dir); err == nil {
		err = x.Rec.AsWritten(dir)
	}
	if err != nil {
		return err
	}
	if x.cfg, err = config.Load(filepath.Join(dir, rundir.ConfigYAML)); err != nil {
		return err
	}
	if x.cfg.SeveralPlanes() {
		return term.BadInput("%s: lenses or sources stand at several redshifts, expected one lens plane and one source plane: programs that read COOLEST know no others", x.cfg.File)
	}
	if math.IsNaN(x.Opt.LensRedshift) && math.IsNaN(x.Opt.SourceRedshift) && x.cfg.HasRedshifts() {
		lenses, sources := x.cfg.Redshifts()
		if len(lenses) > 0 {
			x.Opt.LensRedshift = lenses[0]
		}
		if len(sources) > 0 {
			x.Opt.SourceRedshift = sources[0]
		}
	}
	path := filepath.Join(dir, rundir.FitFITS)
	if x.planes, _, err = run.ReadPlanes(path, run.ImagePlanes); err != nil {
		return err
	}
	data, err := fits.Read(path + "[DATA]")
	if err != nil {
		return err
	}
	x.header = data.Header
	d := x.planes["DATA"]
	x.scale, x.size = d.Scale, max(d.W, d.H)
	x.left = [2]int{(x.size - d.W) / 2, (x.size - d.H) / 2}
	if d.W != d.H {
		x.notices = append(x.notices, fmt.Sprintf("the image of %d x %d pixels is padded to %d x %d: the coolest package reads squares only", d.W, d.H, x.size, x.size))
	}
	x.values = map[string]float64{}
	for i, n := range x.Rec.Parameters.Names {
		x.values[n] = x.Rec.Parameters.Values[i]
	}
	if err := x.checkRecord(); err != nil {
		return err
	}
	return x.ReadSamples()
}

// checkRecord holds the record of the fit, which may be anybody's, against what a record says and against the config.
func (x *Exporter) checkRecord() error {
	if _, err := survey.ReadLensRecord(x.Opt.Dir); err != nil {
		return err
	}
	names := []string{}
	for _, comp := range x.cfg.Components() {
		for i := range comp.Params {
			names = append(names, comp.NameOf(&comp.Params[i], 0))
		}
	}
	for _, l := range x.cfg.Scalars() {
		names = append(names, l.Name)
	}
	for _, n := range names {
		v, ok := x.values[n]
		switch {
		case !ok:
			return term.BadInput("%s: has no parameter %s, expected the fit of the model in %s", filepath.Join(x.Opt.Dir, rundir.FitJSON), n, x.cfg.File)
		case math.IsNaN(v):
			return term.BadInput("%s: %s: found null, expected a number", filepath.Join(x.Opt.Dir, rundir.FitJSON), n)
		}
	}
	return nil
}

// ReadSamples gathers the draws of the run's chains, if it has any.
func (x *Exporter) ReadSamples() error {
	draws, err := run.DrawnIn(x.Opt.Dir)
	if err != nil {
		return err
	}
	var paths []string
	switch {
	case draws != nil:
		if err := draws.Check(x.Opt.Dir); err != nil {
			return err
		}
		for _, name := range draws.Names {
			paths = append(paths, filepath.Join(x.Opt.Dir, name))
		}
	case x.Rec.Files == nil: // of an earlier version, or made by hand
		if paths, err = filepath.Glob(filepath.Join(escapeGlob(x.Opt.Dir), "samples*.csv")); err != nil {
			return err
		}
		slices.Sort(paths)
	}
	for _, path := range paths {
		d, err := sample.ReadChain(path)
		if err != nil {
			return err
		}
		if x.names != nil && !slices.Equal(x.names, d.Names) {
			return term.BadInput("%s: its parameters differ from those of %s, expected chains of one posterior", path, paths[0])
		}
		for _, n := range d.Names {
			if _, ok := x.values[n]; !ok {
				return term.BadInput("%s: parameter %q is not in %s, expected draws of the same model", path, term.Shown(n), rundir.FitJSON)
			}
		}
		x.names = d.Names
		x.draws = append(x.draws, d.X...)
	}
	return nil
}

// escapeGlob takes the meaning out of the characters of a path that filepath.Glob would read as a pattern.
func escapeGlob(path string) string {
	if filepath.Separator == '\\' {
		return path
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// write writes the images, the chain and the template, which comes last.
func (x *Exporter) write() error {
	t := coolestTemplate{Standard: "COOLEST", Mode: "MAP", Origin: x.origin(), Meta: x.meta}
	if err := x.entities(&t); err != nil {
		return err
	}
	if err := x.images(&t); err != nil {
		return err
	}
	x.meta["modeling_code"] = "lenskit"
	run := map[string]any{
		"version": x.Rec.Versions["lenskit"], "status": x.Rec.Status, "reason": x.Rec.Reason, "parameters": x.Rec.Parameters,
		"uncertainties": x.Rec.Uncertainties, "log_posterior": x.Rec.LogPosterior, "reduced_chi2": x.Rec.ReducedChi2, "inputs": x.Rec.Inputs,
		"supersampling": x.cfg.Data.Supersampling,
	}
	if x.notices != nil {
		run["notices"] = x.notices
	}
	x.meta["lenskit"] = run
	if u := x.header.Text("BUNIT"); u != "" {
		x.meta["image_unit"] = u
	}
	if x.draws != nil {
		if err := x.chain(); err != nil {
			return err
		}
	}
	path := filepath.Join(x.out, rundir.FileCOOLEST)
	if err := rundir.WriteJSON(path, &t); err != nil {
		return err
	}
	x.made = append([]string{path}, x.made...)
	return nil
}

// origin is the sky position of the image's centre, and puts the orientation of the image into meta.
func (x *Exporter) origin() coolestOrigin {
	unknown := coolestOrigin{"00h00m00s", "+00d00m00s"}
	w, ok := fits.SkyWCS(x.header)
	kind := x.header.Text("CTYPE1")
	if !ok || !strings.HasPrefix(kind, "RA") {
		x.meta["coordinates_origin_known"] = false
		return unknown
	}
	x.meta["y_axis_east_of_north"] = w.EastOfNorth(math.Pi/2) * 180 / math.Pi
	x.meta["x_axis_east_of_north"] = w.EastOfNorth(0) * 180 / math.Pi
	d := x.planes["DATA"]
	ra, dec, ok := centre(w, x.header, d.W, d.H)
	if p := fits.NewProjection(x.header, w.Cd); !ok || p != nil && !p.PlainTAN(x.header) {
		x.meta["coordinates_origin_known"] = false
		return unknown
	}
	return coolestOrigin{sexagesimal(ra/15, "h", false), sexagesimal(dec, "d", true)}
}

// centre is the sky position of the middle of an image in degrees, by the gnomonic projection (Calabretta & Greisen 2002,
// eqs 14, 15 and 54, with the pole at its default).
func centre(w fits.WCS, h fits.Header, nx, ny int) (ra, dec float64, ok bool) {
	var v [4]float64
	for i, key := range []string{"CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2"} {
		if !h.Has(key) {
			return 0, 0, false
		}
		var err error
		if v[i], err = h.Number(key, 0); err != nil {
			return 0, 0, false
		}
	}
	const arcsec = math.Pi / (180 * 3600)
	dx, dy := float64(nx+1)/2-v[0], float64(ny+1)/2-v[1]
	xi := (w.Cd[0][0]*dx + w.Cd[0][1]*dy) * arcsec
	eta := (w.Cd[1][0]*dx + w.Cd[1][1]*dy) * arcsec
	s0, c0 := math.Sincos(v[3] * math.Pi / 180)
	ra = v[2] + math.Atan2(xi, c0-eta*s0)*180/math.Pi
	dec = math.Atan2(s0+eta*c0, math.Hypot(xi, c0-eta*s0)) * 180 / math.Pi
	ra = math.Mod(ra, 360)
	if ra < 0 {
		ra += 360
	}
	return ra, dec, math.Abs(dec) <= 90
}

// sexagesimal writes hours or degrees with minutes and seconds, to 1e-7 of a second.
func sexagesimal(v float64, unit string, sign bool) string {
	s := ""
	if sign {
		s = "+"
		if v < 0 {
			s = "-"
		}
	}
	n := int64(math.Round(math.Abs(v) * 3600e7))
	return fmt.Sprintf("%s%02d%s%02dm%02d.%07ds", s, n/3600e7, unit, n/60e7%60, n/1e7%60, n%1e7)
}

// entities writes the mass and light models: a MassField of shear and convergence, the lens galaxy, the source galaxy.
func (x *Exporter) entities(t *coolestTemplate) error {
	var missing []string
	field := coolestEntity{Type: coolestMassField, Name: "external field", Redshift: known(x.Opt.LensRedshift), Mass: []coolestProfile{}}
	lens := coolestEntity{Type: coolestGalaxy, Name: "lens", Redshift: field.Redshift, Light: []coolestProfile{}, Mass: []coolestProfile{}}
	source := coolestEntity{Type: coolestGalaxy, Name: "source", Redshift: known(x.Opt.SourceRedshift), Light: []coolestProfile{}, Mass: []coolestProfile{}}
	forms := make([]*coolestForm, len(x.cfg.Lens))
	fields := 0
	for i := range x.cfg.Lens {
		if forms[i] = x.form(&x.cfg.Lens[i]); forms[i] == nil {
			missing = append(missing, fmt.Sprintf("lens.%s (%s)", x.cfg.Lens[i].Name, x.cfg.Lens[i].Type))
		} else if forms[i].field {
			fields = 1
		}
	}
	if len(missing) > 0 {
		if !x.Opt.Partial {
			return term.WithHint(term.BadInput("%s: COOLEST has no place for %s", x.Opt.Dir, strings.Join(missing, ", ")), "--partial leaves it out and says so in the file")
		}
		x.notices = append(x.notices, "left out, as COOLEST has no place for it: "+strings.Join(missing, ", "))
	}
	for i := range x.cfg.Lens {
		e, index, kind := &lens, fields, "galaxy"
		switch {
		case forms[i] == nil:
			continue
		case forms[i].field:
			e, index, kind = &field, 0, "massfield"
		}
		p, err := x.profile(&x.cfg.Lens[i], forms[i], fmt.Sprintf("%d-%s-mass-%d", index, kind, len(e.Mass)))
		if err != nil {
			return err
		}
		e.Mass = append(e.Mass, *p)
		if forms[i].kind == "nfw" {
			x.meta["NFW_rho_c_unit"] = "critical surface density per arcsec"
		}
	}
	if err := x.lights(&lens, x.cfg.LensLight, fields, "lens_light"); err != nil {
		return err
	}
	if err := x.lights(&source, x.cfg.Source, fields+1, "source"); err != nil {
		return err
	}
	if fields == 1 {
		t.Entities = append(t.Entities, field)
	}
	t.Entities = append(t.Entities, lens, source)
	for _, l := range x.cfg.Scalars() {
		if l.Role == physics.RoleSky {
			x.meta["sky_background"] = term.JSONFloat(x.values[l.Name])
		}
	}
	return nil
}

func known(z float64) *float64 {
	if math.IsNaN(z) {
		return nil
	}
	return &z
}

// form finds how a lens is written, nil where the standard has no place for it.
func (x *Exporter) form(comp *config.Component) *coolestForm {
	for _, f := range coolestForms {
		if f.kind != comp.Type {
			continue
		}
		if x.Opt.SIE {
			f = coolestSIE(f)
		}
		if !x.fits(comp, &f) {
			return nil
		}
		return &f
	}
	return nil
}

// fits tells whether the values of a component lie in the ranges of the standard.
func (x *Exporter) fits(comp *config.Component, f *coolestForm) bool {
	p := x.parameters(comp, nil)
	for _, r := range f.rules {
		if v := r.value(p, x.scale); !(v >= r.lo && v <= r.hi) {
			return false
		}
	}
	return true
}

// parameters are the values of a component's parameters, latents apart: of a draw, or of the fit.
func (x *Exporter) parameters(comp *config.Component, draw map[string]float64) []float64 {
	var p []float64
	for i := range comp.Params {
		if comp.Params[i].Vector {
			continue
		}
		key := comp.Key(comp.Params[i].Name)
		v, ok := draw[key]
		if !ok {
			v = x.values[key]
		}
		p = append(p, v)
	}
	return p
}

// profile writes a component, and adds its parameters to the chain.
func (x *Exporter) profile(comp *config.Component, f *coolestForm, prefix string) (*coolestProfile, error) {
	out := &coolestProfile{Type: f.profile, ID: prefix + "-" + f.profile, Parameters: map[string]json.RawMessage{}}
	best := x.parameters(comp, nil)
	drawn := make([][]float64, len(f.rules))
	at := map[string]float64{}
	for _, d := range x.draws {
		for k, n := range x.names {
			at[n] = d[k]
		}
		p := x.parameters(comp, at)
		for k, r := range f.rules {
			drawn[k] = append(drawn[k], r.value(p, x.scale))
		}
	}
	for k, r := range f.rules {
		v := r.value(best, x.scale)
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, term.BadInput("%s: %s: found no finite value for %s", filepath.Join(x.Opt.Dir, rundir.FitJSON), comp.Group+"."+comp.Name, r.name)
		}
		p := coolestParameter{Fixed: true, ID: out.ID + "-" + r.name}
		p.Point.Value = &v
		for _, i := range r.uses {
			p.Fixed = p.Fixed && comp.Params[i].Prior.IsFixed()
		}
		if r.angle {
			for i := range drawn[k] {
				drawn[k][i] = coolestNear(drawn[k][i], v)
			}
		}
		switch {
		case p.Fixed:
		case drawn[k] != nil:
			p.Posterior = statistics(drawn[k])
		case r.factor != nil:
			p.Posterior = x.gaussian(comp.Key(comp.Params[r.uses[0]].Name), v, r.factor(x.scale))
		}
		if r.factor != nil && len(r.uses) == 1 {
			p.Prior = coolest(&comp.Params[r.uses[0]].Prior.Prior, r.factor(x.scale))
		}
		text, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		out.Parameters[r.name] = text
		x.columns = append(x.columns, coolestColumn{p.ID, drawn[k], v})
	}
	return out, nil
}

// statistics are those of equally weighted draws; none where they are beyond all numbers.
func statistics(v []float64) coolestPosterior {
	if !sample.FiniteAll(v) || !term.Finite(stat.Mean(v, nil)) {
		return coolestPosterior{}
	}
	s := slices.Clone(v)
	slices.Sort(s)
	quantile := func(p float64) *float64 {
		q := stat.Quantile(p, stat.LinInterp, s, nil)
		return &q
	}
	mean := stat.Mean(s, nil)
	return coolestPosterior{&mean, quantile(0.5), quantile(0.16), quantile(0.84)}
}

// gaussian are the statistics of the fit's Gaussian approximation of a parameter, times factor.
func (x *Exporter) gaussian(name string, v, factor float64) coolestPosterior {
	i := slices.Index(x.Rec.Uncertainties.Names, name)
	if i < 0 {
		return coolestPosterior{}
	}
	s := math.Abs(factor) * x.Rec.Uncertainties.Values[i]
	if !(s > 0) || math.IsInf(s, 0) {
		return coolestPosterior{}
	}
	lo, hi := v-s, v+s
	return coolestPosterior{&v, &v, &lo, &hi}
}

// coolest is the prior of the parameter times factor; a fixed one, or one the standard has no name for, is null. The
// standard has no truncated priors: bounds are left out.
func coolest(p *physics.Prior, factor float64) coolestPrior {
	name := map[physics.Family]string{physics.FamilyNormal: "GaussianPrior", physics.FamilyUniform: "UniformPrior", physics.FamilyLogNormal: "LogNormalPrior"}[p.Family]
	if name == "" {
		return coolestPrior{}
	}
	a, b := p.A*factor, p.B*factor
	switch p.Family {
	case physics.FamilyUniform:
		return coolestPrior{Type: &name, Min: &a, Max: &b}
	case physics.FamilyLogNormal:
		a, b = p.A+math.Log(factor), p.B
	}
	return coolestPrior{Type: &name, Mean: &a, Width: &b}
}

// lights writes the light of a galaxy: Sersic profiles as such, everything else as images.
func (x *Exporter) lights(e *coolestEntity, comps []config.Component, index int, what string) error {
	var drawn []string // decoders and pixels, of which fit.fits has the image
	for i := range comps {
		comp := &comps[i]
		id := fmt.Sprintf("%d-galaxy-light-%d", index, len(e.Light))
		switch {
		case comp.Type == "sersic" && x.fits(comp, &coolestSersic):
			p, err := x.profile(comp, &coolestSersic, id)
			if err != nil {
				return err
			}
			e.Light = append(e.Light, *p)
			continue
		case comp.Type == "decoder", comp.Type == config.TypePixels:
			drawn = append(drawn, comp.Name)
			continue
		}
		img, err := x.render(comp, what)
		if err != nil {
			return err
		}
		if err := x.grid(e, img, id, what+"_"+comp.Name+".fits"); err != nil {
			return err
		}
	}
	if drawn == nil {
		return nil
	}
	if what == "source" && x.cfg.HasPixels() {
		if err := x.pixels(); err != nil {
			return err
		}
	}
	if len(comps) > 1 || what == "lens_light" && len(drawn) > 0 {
		return x.whole(e, comps, index, what)
	}
	if comps[0].Type == config.TypePixels {
		return x.whole(e, comps, index, what)
	}
	x.meta["decoder"] = x.decoder(&comps[0])
	img, err := x.centred(x.planes["SOURCE"], comps[0].Interpolation)
	if err != nil {
		return err
	}
	return x.grid(e, img, fmt.Sprintf("%d-galaxy-light-0", index), "source.fits")
}

// Pixels are looked up on so many times finer ones, and sources drawn on at most so many along a side.
const (
	coolestFiner = 3
	coolestSide  = 768
)

// sourceGrid is an empty image about the origin that holds the source s. The coolest package takes the edges in x of a
// pixelated source for those in y and the other way round when it looks up brightness: on a square about the origin they
// are the same.
func sourceGrid(s run.Plane, finer float64) run.Plane {
	half := float64(s.W) * s.Scale / 2
	half += math.Max(math.Abs(s.X), math.Abs(s.Y))
	n := int(math.Ceil(2 * half * finer / s.Scale))
	n = min(max(n, 2), coolestSide)
	return run.Plane{Image: physics.NewImage(n, n, 2*half/float64(n))}
}

// centred looks the source s up on a grid about the origin.
func (x *Exporter) centred(s run.Plane, interpolation string) (run.Plane, error) {
	if x.Opt.OwnPixels || s.W != s.H || s.X == s.Y {
		return s, nil
	}
	p, err := physics.NewPixels(interpolation, s.W, s.H)
	if err != nil {
		return s, err
	}
	p.SetImage(s.Pix)
	if err := p.Set([]float64{1, float64(s.W) * s.Scale, s.X, s.Y}); err != nil {
		return s, term.BadInput("%s: SOURCE: %w", filepath.Join(x.Opt.Dir, rundir.FitFITS), err)
	}
	out := sourceGrid(s, coolestFiner)
	px, py := rays(out)
	p.Brightness(out.Pix, px, py)
	x.meta["pixelated_light"] = "the source is drawn on a grid about the origin by the interpolation that lenskit fits with"
	return out, nil
}

// rays are the centres of the pixels.
func rays(p run.Plane) (x, y []float64) {
	x, y = make([]float64, len(p.Pix)), make([]float64, len(p.Pix))
	for k := range x {
		x[k] = p.X + (float64(k%p.W)-float64(p.W-1)/2)*p.Scale
		y[k] = p.Y + (float64(k/p.W)-float64(p.H-1)/2)*p.Scale
	}
	return x, y
}

// pixels tells of sources of type pixels what their image does not: the standard deviation of each of its pixels, in a file
// beside it, and the sources as a config has them, with the values of the fit as where to start.
func (x *Exporter) pixels() error {
	sd, ok := x.planes["SOURCE_SD"]
	if !ok {
		return term.BadInput("%s: has no extension SOURCE_SD, expected that of a source of type %s", filepath.Join(x.Opt.Dir, rundir.FitFITS), config.TypePixels)
	}
	sd, err := x.centred(sd, "bilinear")
	if err != nil {
		return err
	}
	side := max(sd.W, sd.H)
	g, err := x.image(sd, side, [2]int{}, 0, "source_sd.fits")
	if err != nil {
		return err
	}
	x.meta[metaSD] = g
	c := x.cfg.Clone()
	c.Data, c.Lens, c.LensLight, c.Sky, c.NoiseScale, c.Search = config.DataConfig{Supersampling: 1}, nil, nil, nil, nil, nil
	for _, comp := range c.Components() {
		comp.Redshift = 0 // stands in the template
		for i := range comp.Params {
			p := &comp.Params[i]
			if p.Prior.IsFixed() {
				continue
			}
			p.Prior.Truth, p.Prior.Init = nil, nil
			for k := 0; ; k++ {
				v, ok := x.values[comp.NameOf(p, k)]
				if !ok {
					break
				}
				if p.Prior.Init = append(p.Prior.Init, v); !p.Vector {
					break
				}
			}
		}
	}
	x.meta[metaSource] = c.Text(x.out)
	return nil
}

// Keys of meta: the image of the standard deviation of the source's, and the sources as YAML of a config.
const (
	metaSD     = "pixelated_light_standard_deviation"
	metaSource = "lenskit_source"
)

// whole writes the light of several components, among them a decoder or pixels, as one image: it takes the place of those
// written so far.
func (x *Exporter) whole(e *coolestEntity, comps []config.Component, index int, what string) error {
	e.Light = nil
	prefix := fmt.Sprintf("%d-galaxy-light-", index)
	x.columns = slices.DeleteFunc(x.columns, func(c coolestColumn) bool { return strings.HasPrefix(c.id, prefix) })
	var img run.Plane
	if what == "lens_light" {
		img = x.planes["LENS_LIGHT"]
		x.meta["lens_light"] = "drawn with the PSF"
		x.notices = append(x.notices, "the light of the lens, among it a decoder, is written as one image with the PSF in it")
	} else {
		var err error
		how := "bilinear"
		if x.cfg.HasPixels() {
			how = "bicubic"
		}
		if img, err = x.centred(x.planes["SOURCE"], how); err != nil {
			return err
		}
	}
	for i := range comps {
		if comps[i].Type == "decoder" {
			x.meta["decoder_"+comps[i].Group+"_"+comps[i].Name] = x.decoder(&comps[i])
		}
	}
	return x.grid(e, img, prefix+"0", what+".fits")
}

// decoder tells of a decoder what its image does not.
func (x *Exporter) decoder(comp *config.Component) map[string]any {
	out := map[string]any{"model": comp.Model, "interpolation": comp.Interpolation}
	if comp.Model == "" {
		out["model"] = "shipped"
	} else {
		path := x.cfg.Path(comp.Model)
		for _, in := range x.Rec.Inputs {
			if strings.HasSuffix(in.Path, ".onnx") && sameFolder(in.Path, path) {
				out["sha256"] = in.SHA256
			}
		}
	}
	for i := range comp.Params {
		p := &comp.Params[i]
		if !p.Vector {
			out[p.Name] = term.JSONFloat(x.values[comp.Key(p.Name)])
			continue
		}
		var z term.JSONNumbers
		for k := 0; ; k++ {
			v, ok := x.values[comp.NameOf(p, k)]
			if !ok {
				break
			}
			z = append(z, v)
		}
		out[p.Name] = z
	}
	return out
}

// sameFolder tells whether file is path or lies in it.
func sameFolder(file, path string) bool {
	a, err1 := filepath.Abs(file)
	b, err2 := filepath.Abs(path)
	return err1 == nil && err2 == nil && (a == b || filepath.Dir(a) == b)
}

// render draws a light on the plane of the source or of the lens.
func (x *Exporter) render(comp *config.Component, what string) (run.Plane, error) {
	d := x.planes["DATA"]
	out := run.Plane{Image: physics.NewImage(d.W, d.H, d.Scale)}
	if s, ok := x.planes["SOURCE"]; ok && what == "source" {
		out = sourceGrid(s, 1)
	}
	l, err := physics.NewLight(comp.Type)
	if err != nil {
		return out, term.AsBadInput(err)
	}
	if err := l.Set(x.parameters(comp, nil)); err != nil {
		return out, term.BadInput("%s: %s.%s: %w", filepath.Join(x.Opt.Dir, rundir.FitJSON), comp.Group, comp.Name, err)
	}
	px, py := rays(out)
	l.Brightness(out.Pix, px, py)
	return out, nil
}

// grid adds an image to the light of a galaxy.
func (x *Exporter) grid(e *coolestEntity, img run.Plane, id, file string) error {
	side := max(img.W, img.H)
	g, err := x.image(img, side, [2]int{(side - img.W) / 2, (side - img.H) / 2}, 0, file)
	if err != nil {
		return err
	}
	text, err := json.Marshal(g)
	if err != nil {
		return err
	}
	const kind = "PixelatedRegularGrid"
	e.Light = append(e.Light, coolestProfile{Type: kind, ID: id + "-" + kind, Parameters: map[string]json.RawMessage{"pixels": text}})
	x.meta["pixelated_light_unit"] = "brightness in the unit of the image"
	return nil
}

// image writes a FITS file of side x side pixels, left[0] columns and left[1] rows of fill before those of img.
func (x *Exporter) image(img run.Plane, side int, left [2]int, fill float64, file string) (*coolestGrid, error) {
	pix := make([]float64, side*side)
	for k := range pix {
		i, j := k%side-left[0], k/side-left[1]
		pix[k] = fill
		if i >= 0 && j >= 0 && i < img.W && j < img.H {
			pix[k] = img.Pix[j*img.W+i]
		}
	}
	g := &coolestGrid{NX: side, NY: side}
	g.File.Path = file
	for axis, c := range [2]float64{img.X, img.Y} {
		n := [2]int{img.W, img.H}[axis]
		lo := c - (float64(n)/2+float64(left[axis]))*img.Scale
		hi := c + (float64(n)/2+float64(side-n-left[axis]))*img.Scale
		if axis == 0 {
			g.X = [2]float64{lo, hi}
		} else {
			g.Y = [2]float64{lo, hi}
		}
	}
	cards := fits.GridWCS(side, side, img.Scale, (g.X[0]+g.X[1])/2, (g.Y[0]+g.Y[1])/2)
	path := filepath.Join(x.out, file)
	if err := fits.Write(path, fits.Out{Bitpix: -64, Axes: []int{side, side}, Pix: pix, Cards: cards}); err != nil {
		return nil, err
	}
	x.made = append(x.made, path)
	return g, nil
}

// images writes data, noise, mask and PSF.
func (x *Exporter) images(t *coolestTemplate) error {
	data, mask := x.planes["DATA"], x.planes["MASK"]
	clean := run.Plane{Image: physics.NewImage(data.W, data.H, data.Scale)}
	for i, v := range data.Pix {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			clean.Pix[i] = v
		}
	}
	noise := run.Plane{Image: physics.NewImage(data.W, data.H, data.Scale)}
	for i, v := range x.planes["NOISE"].Pix {
		if noise.Pix[i] = v; !(v > 0) || v > 10*physics.MaskedSigma {
			noise.Pix[i] = 10 * physics.MaskedSigma
		}
	}
	o := &t.Observation
	for _, f := range []struct {
		img  run.Plane
		fill float64
		name string
		to   func(*coolestGrid)
	}{
		{clean, 0, "data.fits", func(g *coolestGrid) { o.Pixels = *g }},
		{noise, 10 * physics.MaskedSigma, "noise.fits", func(g *coolestGrid) { o.Noise.Type, o.Noise.Map = "NoiseMap", g }},
		{mask, 0, "mask.fits", func(g *coolestGrid) {
			t.Likelihoods = []coolestLikelihood{{Type: "ImagingDataLikelihood", Mask: g}}
		}},
	} {
		g, err := x.image(f.img, x.size, x.left, f.fill, f.name)
		if err != nil {
			return err
		}
		f.to(g)
	}
	t.Instrument = coolestInstrument{Name: x.Opt.Instrument, Band: x.Opt.Band, PixelSize: x.scale}
	return x.psf(&t.Instrument.PSF)
}

func (x *Exporter) psf(p *coolestPSF) error {
	d := &x.cfg.Data
	switch {
	case d.PSFFile != "":
		m, err := fits.Request{Role: fits.RolePSF}.Read(x.cfg.Path(d.PSFFile))
		if err != nil {
			return observation.WithPlace(x.cfg, "data.psf.file", err)
		}
		img, err := run.ImageOf(m, x.scale/float64(max(1, d.PSFSampling)))
		if err != nil {
			return observation.WithPlace(x.cfg, "data.psf.file", err)
		}
		sum := 0.0
		for _, v := range img.Pix {
			sum += v
		}
		if !(sum > 0) {
			return x.cfg.Fail("data.psf.file", "its pixels sum to %g, expected more than 0", sum)
		}
		for i := range img.Pix {
			img.Pix[i] /= sum
		}
		side := max(img.W, img.H)
		g, err := x.image(run.Plane{Image: img}, side, [2]int{(side - img.W) / 2, (side - img.H) / 2}, 0, "psf.fits")
		if err != nil {
			return err
		}
		kind := "PixelatedPSF"
		p.Type, p.Pixels = &kind, g
	case d.PSFSigma > 0:
		kind, fwhm := "GaussianPSF", d.PSFSigma/x.scale*fwhmOfSigma
		p.Type, p.FWHM = &kind, &fwhm
	}
	return nil
}

// fwhmOfSigma is the full width at half maximum of a Gaussian of standard deviation 1, 2√(2 ln 2).
var fwhmOfSigma = 2 * math.Sqrt(2*math.Ln2)

// chain writes the draws, equally weighted.
func (x *Exporter) chain() error {
	path := filepath.Join(x.out, rundir.FileCOOLESTChain)
	weight := 1 / float64(len(x.draws))
	err := rundir.WriteAtomic(path, func(w io.Writer) error {
		b := bufio.NewWriter(w)
		for _, c := range x.columns {
			b.WriteString(c.id + ",")
		}
		b.WriteString("probability_weights\n")
		var line []byte
		for i := range x.draws {
			line = line[:0]
			for _, c := range x.columns {
				line = append(strconv.AppendFloat(line, c.values[i], 'g', -1, 64), ',')
			}
			line = append(strconv.AppendFloat(line, weight, 'g', -1, 64), '\n')
			if _, err := b.Write(line); err != nil {
				return err
			}
		}
		return b.Flush()
	})
	if err != nil {
		return err
	}
	x.meta["chain_file_name"] = rundir.FileCOOLESTChain
	x.made = append(x.made, path)
	return nil
}
