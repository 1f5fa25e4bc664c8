package run

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"lenskit/internal/disk"
	"lenskit/onnx/ort"
	"lenskit/physics"
	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/problem"
	"lenskit/tools/search"
)

// Status of a fit.
const (
	Converged    = "converged"
	NotConverged = "not_converged"
	Failed       = "failed"
)

// Record is fit.json.
type Record struct {
	Status        string             `json:"status"` // converged, not_converged or failed
	Reason        string             `json:"reason"` // in words
	Doubts        search.Doubts      `json:"doubts"` // what the reason is made of, none when converged; nil of a file of before there were any
	Parameters    term.OrderedValues `json:"parameters"`
	Uncertainties term.OrderedValues `json:"uncertainties"` // standard deviations of the Gaussian approximation; 0 for fixed ones
	onBound       []string           // free parameters that sit on a bound of their prior
	latents       map[string]bool    // parameters that are latents of a decoder
	solved        map[string]bool    // amplitudes that are solved for
	// Limits are those of the parameters whose posterior lies on a bound of their prior.
	Limits map[string]*search.Limit `json:"limits,omitempty"`
	// EastOfNorth are the position angles on the sky, in radians, of the parameters that are angles or ellipticities,
	// where the image has sky coordinates.
	EastOfNorth  map[string]term.JSONFloat `json:"position_angles_east_of_north,omitempty"`
	LogPosterior term.JSONFloat            `json:"log_posterior"`
	Chi2         term.JSONFloat            `json:"chi2"`
	Pixels       int                       `json:"pixels"`
	ReducedChi2  term.JSONFloat            `json:"reduced_chi2"` // chi2 / pixels
	Iterations   int                       `json:"iterations"`
	Evaluations  int                       `json:"evaluations"`
	Seconds      term.JSONFloat            `json:"seconds"`
	Seed         uint64                    `json:"seed"`
	Starts       []term.JSONFloat          `json:"starts"`              // each start's final log posterior
	Lensing      *search.Lensed            `json:"lensing,omitempty"`   // where the lens shines, too
	Pixelised    map[string]*Pixelised     `json:"pixelised,omitempty"` // sources, by group.name
	Options      any                       `json:"options"`
	Settings     *search.Settings          `json:"settings,omitempty"` // of the search, all of them
	Notices      []string                  `json:"notices,omitempty"`
	Inputs       []rundir.Input            `json:"inputs"`
	Files        rundir.Sums               `json:"files,omitempty"` // the SHA-256 of those beside it
	Versions     map[string]string         `json:"versions"`
	Sum          string                    `json:"-"` // of the file that was read
}

// Versions tells what computed a result.
func Versions() map[string]string {
	v := map[string]string{"lenskit": term.Version(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
	if _, ort, err := ort.Library(); err == nil {
		v["onnxruntime"] = ort
	}
	return v
}

// Write writes the results at the named parameters theta into dir. An earlier fit.json goes first and the new one comes
// last, so that where it is, all is, and of one fit.
func Write(p *problem.Problem, dir string, theta []float64, rec *Record) error {
	if err := os.Remove(filepath.Join(dir, rundir.FitJSON)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &disk.WriteError{Path: filepath.Join(dir, rundir.FitJSON), Err: err}
	}
	if err := p.Config.Save(filepath.Join(dir, rundir.ConfigYAML)); err != nil {
		return err
	}
	if err := WriteImages(p, filepath.Join(dir, rundir.FitFITS), theta); err != nil {
		return err
	}
	var err error
	if rec.Files, err = rundir.SumsOf(dir, rundir.ConfigYAML, rundir.FitFITS); err != nil {
		return err
	}
	rec.EastOfNorth, rec.Pixelised = eastOfNorth(p, theta), pixelisedOf(p, theta)
	if err := drawRun(dir, rec); err != nil {
		return err
	}
	return rundir.WriteJSON(filepath.Join(dir, rundir.FitJSON), rec)
}

// ReadRecord reads the fit.json of a run.
func ReadRecord(dir string) (*Record, error) {
	path := filepath.Join(dir, rundir.FitJSON)
	data, err := disk.Read(path, term.MaxRecord)
	if err != nil {
		return nil, term.BadInput("%w, expected the folder of a fit", err)
	}
	rec := Record{Sum: disk.SumOf(data)}
	if err := json.Unmarshal(data, &rec); err != nil {
		return nil, term.BadInput("%s: %s", path, term.JSONReason(err))
	}
	if !slices.Contains([]string{Converged, NotConverged, Failed}, rec.Status) {
		return nil, term.BadInput("%s: status: found %q, expected %s, %s or %s", path, rec.Status, Converged, NotConverged, Failed)
	}
	rec.Reason = term.OneLine(rec.Reason)
	for i, v := range rec.Parameters.Values {
		if math.Abs(v) > term.MaxMagnitude {
			return nil, term.BadInput("%s: parameters: %s is %g, expected a number of size up to %g", path, term.Shown(rec.Parameters.Names[i]), v, term.MaxMagnitude)
		}
	}
	return &rec, nil
}

// WriteImages writes DATA, NOISE, MODEL, RESIDUAL, SOURCE, LENS_LIGHT and MASK at the named parameters theta; of pixelised sources
// also SOURCE_SD and SOURCE_SNR, their standard deviation and the source over it.
func WriteImages(p *problem.Problem, path string, theta []float64) error {
	m, err := p.Post.Images(theta)
	if err != nil {
		return term.Numerical("%s: the model cannot be drawn: %w", p.Config.File, err)
	}
	o := p.Obs
	place, unit := o.Frame()
	axes := []int{o.W, o.H}
	scale := fits.Key{Name: "PIXSCALE", Value: o.Scale, Comment: "arcsec per pixel"}
	flux := func(cards []fits.Key) []fits.Key {
		return append(append([]fits.Key(nil), cards...), fits.Key{Name: "BUNIT", Value: unit, Comment: ""}, scale)
	}
	for i, v := range m.Residual.Pix { // of float32
		m.Residual.Pix[i] = math.Max(-math.MaxFloat32, math.Min(math.MaxFloat32, v))
	}
	noise := p.Post.Noise()
	sigma, mask := make([]float64, o.W*o.H), make([]float64, o.W*o.H)
	for i := range sigma {
		sigma[i] = o.Sigma[min(i, len(o.Sigma)-1)]
		if noise.Used[i] {
			mask[i] = 1
		}
	}
	grid := append(append([]fits.Key(nil), place...), scale)
	out := []fits.Out{
		{},
		{Name: "DATA", Bitpix: -64, Axes: axes, Pix: o.Data, Cards: flux(place)},
		{Name: "NOISE", Bitpix: -64, Axes: axes, Pix: sigma, Cards: flux(place)},
		{Name: "MODEL", Bitpix: -64, Axes: axes, Pix: m.Model.Pix, Cards: flux(place)},
		{Name: "RESIDUAL", Axes: axes, Pix: m.Residual.Pix, Cards: append(append([]fits.Key(nil), grid...), fits.Key{Name: "BUNIT", Value: "sigma", Comment: "(data - model) / sigma"})},
	}
	if s := m.Source; s != nil {
		cards := append(fits.GridWCS(s.W, s.H, s.Scale, m.SourceX, m.SourceY), fits.Key{Name: "BUNIT", Value: unit, Comment: ""}, fits.Key{Name: "PIXSCALE", Value: s.Scale, Comment: "arcsec per pixel, source plane"})
		out = append(out, fits.Out{Name: "SOURCE", Bitpix: -64, Axes: []int{s.W, s.H}, Pix: s.Pix, Cards: cards})
		more, err := sourceErrors(p, theta, m, cards)
		if err != nil {
			return term.Numerical("%s: the errors of the source cannot be computed: %w", p.Config.File, err)
		}
		out = append(out, more...)
	}
	out = append(out,
		fits.Out{Name: "LENS_LIGHT", Bitpix: -64, Axes: axes, Pix: m.LensLight.Pix, Cards: flux(place)},
		fits.Out{Name: "MASK", Axes: axes, Pix: mask, Cards: append(append([]fits.Key(nil), grid...), fits.Key{Name: "BUNIT", Value: "", Comment: "1 = used"})})
	return fits.Write(path, out...)
}

// eastOfNorth turns the angles of the lenses and lights into position angles on the sky; nil without sky coordinates.
func eastOfNorth(p *problem.Problem, theta []float64) map[string]term.JSONFloat {
	if p.Obs.Header == nil {
		return nil
	}
	sky, ok := fits.SkyWCS(p.Obs.Header)
	if kind := p.Obs.Header.Text("CTYPE1"); !ok || kind == "" || kind == "LINEAR" {
		return nil
	}
	out := map[string]term.JSONFloat{}
	for _, comp := range p.Config.Components() {
		get := func(role physics.Role) (float64, bool) {
			i, ok := p.Index[comp.KeyOf(role)]
			if !ok {
				return 0, false
			}
			return theta[i], true
		}
		prefix := comp.Group + "." + comp.Name
		if phi, ok := get(physics.RoleAngle); ok {
			out[comp.KeyOf(physics.RoleAngle)] = term.JSONFloat(sky.EastOfNorth(phi))
		}
		for _, pair := range []struct {
			one, two physics.Role
			name     string
		}{{physics.RoleEllipticity1, physics.RoleEllipticity2, "e"}, {physics.RoleShear1, physics.RoleShear2, "gamma"}} {
			a, ok1 := get(pair.one)
			b, ok2 := get(pair.two)
			if ok1 && ok2 && (a != 0 || b != 0) {
				out[prefix+"."+pair.name] = term.JSONFloat(sky.EastOfNorth(0.5 * math.Atan2(b, a)))
			}
		}
	}
	return out
}

// ImageOf makes a physics image of a FITS plane.
func ImageOf(m *fits.Image, scale float64) (*physics.Image, error) {
	w, h, pix, err := m.Plane()
	if err != nil {
		return nil, err
	}
	return &physics.Image{W: w, H: h, Scale: scale, Pix: pix}, nil
}
