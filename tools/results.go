package tools

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"

	"lenskit/internal/disk"
	"lenskit/onnx"
	"lenskit/physics"
)

// orderedValues is a JSON object of numbers in the order of names. Numbers that JSON cannot write are null.
type orderedValues struct {
	names  []string
	values []float64
}

// MarshalJSON writes the object.
func (o orderedValues) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, n := range o.names {
		if i > 0 {
			b = append(b, ',')
		}
		key, err := json.Marshal(n)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, key...), ':'), numberText(o.values[i])...)
	}
	return append(b, '}'), nil
}

// UnmarshalJSON reads an object of numbers, keeping its order.
func (o *orderedValues) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	switch first, err := d.Token(); {
	case err != nil || first == nil:
		return err
	case first != json.Delim('{'):
		return &json.UnmarshalTypeError{Value: "no object", Type: reflect.TypeFor[map[string]float64]()}
	}
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return err
		}
		var v *float64
		if err := d.Decode(&v); err != nil {
			return err
		}
		o.names = append(o.names, k.(string))
		if v == nil {
			o.values = append(o.values, math.NaN())
		} else {
			o.values = append(o.values, *v)
		}
	}
	return nil
}

// jsonFloat is a number that JSON writes as null when it is not finite.
type jsonFloat float64

// MarshalJSON writes the shortest text that reads back the same.
func (f jsonFloat) MarshalJSON() ([]byte, error) { return []byte(numberText(float64(f))), nil }

// UnmarshalJSON reads a number; null, which a number that is not finite was written as, is NaN.
func (f *jsonFloat) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*f = jsonFloat(math.NaN())
		return nil
	}
	return json.Unmarshal(data, (*float64)(f))
}

func numberText(v float64) string {
	if !finite(v) {
		return "null"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// Status of a fit.
const (
	statusConverged    = "converged"
	statusNotConverged = "not_converged"
	statusFailed       = "failed"
)

// fitRecord is fit.json.
type fitRecord struct {
	Status        string        `json:"status"` // converged, not_converged or failed
	Reason        string        `json:"reason"` // in words
	Parameters    orderedValues `json:"parameters"`
	Uncertainties orderedValues `json:"uncertainties"` // standard deviations of the Gaussian approximation; 0 for fixed ones
	onBound       []string      // free parameters that sit on a bound of their prior
	// Limits are those of the parameters whose posterior lies on a bound of their prior.
	Limits map[string]*limit `json:"limits,omitempty"`
	// EastOfNorth are the position angles on the sky, in radians, of the parameters that are angles or ellipticities,
	// where the image has sky coordinates.
	EastOfNorth  map[string]jsonFloat `json:"position_angles_east_of_north,omitempty"`
	LogPosterior jsonFloat            `json:"log_posterior"`
	Chi2         jsonFloat            `json:"chi2"`
	Pixels       int                  `json:"pixels"`
	ReducedChi2  jsonFloat            `json:"reduced_chi2"` // chi2 / pixels
	Iterations   int                  `json:"iterations"`
	Evaluations  int                  `json:"evaluations"`
	Seconds      jsonFloat            `json:"seconds"`
	Seed         uint64               `json:"seed"`
	Starts       []jsonFloat          `json:"starts"`            // each start's final log posterior
	Lensing      *lensed              `json:"lensing,omitempty"` // where the lens shines, too
	Options      any                  `json:"options"`
	Notices      []string             `json:"notices,omitempty"`
	Inputs       []input              `json:"inputs"`
	Files        fileSums             `json:"files,omitempty"` // the SHA-256 of those beside it
	Versions     map[string]string    `json:"versions"`
	sum          string               // of the file that was read
}

// versions tells what computed a result.
func versions() map[string]string {
	v := map[string]string{"lenskit": version(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
	if _, ort, err := onnx.Library(); err == nil {
		v["onnxruntime"] = ort
	}
	return v
}

// Files of a run.
const (
	fileFitJSON    = "fit.json"
	fileFitFITS    = "fit.fits"
	fileFitPNG     = "fit.png"
	fileConfig     = "config.yaml"
	fileCheckpoint = "checkpoint"
)

// writeRun writes the results at the named parameters theta into dir. An earlier fit.json goes first and the new one comes
// last, so that where it is, all is, and of one fit.
func (p *problem) writeRun(dir string, theta []float64, rec *fitRecord) error {
	if err := os.Remove(filepath.Join(dir, fileFitJSON)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &disk.WriteError{Path: filepath.Join(dir, fileFitJSON), Err: err}
	}
	if err := p.Config.save(filepath.Join(dir, fileConfig)); err != nil {
		return err
	}
	if err := p.writeImages(filepath.Join(dir, fileFitFITS), theta); err != nil {
		return err
	}
	var err error
	if rec.Files, err = sumFiles(dir, fileConfig, fileFitFITS); err != nil {
		return err
	}
	rec.EastOfNorth = p.eastOfNorth(theta)
	if err := drawRun(dir, rec); err != nil {
		return err
	}
	return writeJSON(filepath.Join(dir, fileFitJSON), rec)
}

// readFitRecord reads the fit.json of a run.
func readFitRecord(dir string) (*fitRecord, error) {
	path := filepath.Join(dir, fileFitJSON)
	data, err := disk.Read(path, maxRecord)
	if err != nil {
		return nil, badInput("%w, expected the folder of a fit", err)
	}
	rec := fitRecord{sum: disk.SumOf(data)}
	if err := json.Unmarshal(data, &rec); err != nil {
		return nil, badInput("%s: %s", path, jsonReason(err))
	}
	if !slices.Contains([]string{statusConverged, statusNotConverged, statusFailed}, rec.Status) {
		return nil, badInput("%s: status: found %q, expected %s, %s or %s", path, rec.Status, statusConverged, statusNotConverged, statusFailed)
	}
	rec.Reason = oneLine(rec.Reason)
	for i, v := range rec.Parameters.values {
		if math.Abs(v) > maxMagnitude {
			return nil, badInput("%s: parameters: %s is %g, expected a number of size up to %g", path, shown(rec.Parameters.names[i]), v, maxMagnitude)
		}
	}
	return &rec, nil
}

// writeImages writes DATA, NOISE, MODEL, RESIDUAL, SOURCE, LENS_LIGHT and MASK at the named parameters theta.
func (p *problem) writeImages(path string, theta []float64) error {
	m, err := p.Post.Images(theta)
	if err != nil {
		return numerical("%s: the model cannot be drawn: %w", p.Config.file, err)
	}
	o := p.Obs
	place, unit := o.frame()
	axes := []int{o.W, o.H}
	scale := fitsKey{"PIXSCALE", o.Scale, "arcsec per pixel"}
	flux := func(cards []fitsKey) []fitsKey {
		return append(append([]fitsKey(nil), cards...), fitsKey{"BUNIT", unit, ""}, scale)
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
	plain := append(append([]fitsKey(nil), place...), scale)
	out := []fitsOut{
		{},
		{Name: "DATA", Bitpix: -64, Axes: axes, Pix: o.Data, Cards: flux(place)},
		{Name: "NOISE", Bitpix: -64, Axes: axes, Pix: sigma, Cards: flux(place)},
		{Name: "MODEL", Bitpix: -64, Axes: axes, Pix: m.Model.Pix, Cards: flux(place)},
		{Name: "RESIDUAL", Axes: axes, Pix: m.Residual.Pix, Cards: append(append([]fitsKey(nil), plain...), fitsKey{"BUNIT", "sigma", "(data - model) / sigma"})},
	}
	if s := m.Source; s != nil {
		cards := append(gridWCS(s.W, s.H, s.Scale, m.SourceX, m.SourceY), fitsKey{"BUNIT", unit, ""}, fitsKey{"PIXSCALE", s.Scale, "arcsec per pixel, source plane"})
		out = append(out, fitsOut{Name: "SOURCE", Bitpix: -64, Axes: []int{s.W, s.H}, Pix: s.Pix, Cards: cards})
	}
	out = append(out,
		fitsOut{Name: "LENS_LIGHT", Bitpix: -64, Axes: axes, Pix: m.LensLight.Pix, Cards: flux(place)},
		fitsOut{Name: "MASK", Axes: axes, Pix: mask, Cards: append(append([]fitsKey(nil), plain...), fitsKey{"BUNIT", "", "1 = used"})})
	return writeFITS(path, out...)
}

// eastOfNorth turns the angles of the lenses and lights into position angles on the sky; nil without sky coordinates.
func (p *problem) eastOfNorth(theta []float64) map[string]jsonFloat {
	if p.Obs.Header == nil {
		return nil
	}
	sky, ok := skyWCS(p.Obs.Header)
	if kind := p.Obs.Header.text("CTYPE1"); !ok || kind == "" || kind == "LINEAR" {
		return nil
	}
	out := map[string]jsonFloat{}
	for _, comp := range p.Config.components() {
		get := func(name string) (float64, bool) {
			i, ok := p.index[comp.key(name)]
			if !ok {
				return 0, false
			}
			return theta[i], true
		}
		prefix := comp.Group + "." + comp.Name
		if phi, ok := get("phi"); ok {
			out[prefix+".phi"] = jsonFloat(sky.eastOfNorth(phi))
		}
		for _, pair := range [][3]string{{"e1", "e2", "e"}, {"gamma1", "gamma2", "gamma"}} {
			a, ok1 := get(pair[0])
			b, ok2 := get(pair[1])
			if ok1 && ok2 && (a != 0 || b != 0) {
				out[prefix+"."+pair[2]] = jsonFloat(sky.eastOfNorth(0.5 * math.Atan2(b, a)))
			}
		}
	}
	return out
}

// imageOf makes a physics image of a FITS plane.
func imageOf(m *fitsImage, scale float64) (*physics.Image, error) {
	w, h, pix, err := m.plane()
	if err != nil {
		return nil, err
	}
	return &physics.Image{W: w, H: h, Scale: scale, Pix: pix}, nil
}
