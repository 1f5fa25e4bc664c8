package galaxies

import (
	"math"
	"path/filepath"
	"strconv"

	"lenskit/tools/internal/fits"
	"lenskit/tools/internal/term"
)

// RealGalaxy is a row of a RealGalaxyCatalog.
type RealGalaxy struct {
	ID, File string
	Hdu      int
	Sigma    float64
}

// ReadRealGalaxies reads the catalogue.
func ReadRealGalaxies(path string) ([]RealGalaxy, error) {
	t, err := fits.ReadTable(path)
	if err != nil {
		return nil, err
	}
	files, err := t.Texts("GAL_FILENAME")
	if err != nil {
		return nil, err
	}
	numbers := map[string][]float64{}
	for _, name := range []string{"IDENT", "GAL_HDU", "NOISE_VARIANCE"} {
		if numbers[name], err = t.First(name); err != nil {
			return nil, err
		}
	}
	out := make([]RealGalaxy, t.Rows)
	for i := range out {
		hdu := numbers["GAL_HDU"][i]
		if !(hdu >= 0 && hdu < fits.MaxHDUs) {
			return nil, term.BadInput("%s: row %d: GAL_HDU is %g, expected 0 to %d", path, i+1, hdu, fits.MaxHDUs-1)
		}
		out[i] = RealGalaxy{
			ID: strconv.FormatFloat(numbers["IDENT"][i], 'f', -1, 64), File: filepath.Join(filepath.Dir(path), filepath.Base(files[i])),
			Hdu: int(hdu), Sigma: math.Sqrt(numbers["NOISE_VARIANCE"][i]),
		}
	}
	return out, nil
}

// ViableSersic reads which galaxies have a Sersic fit that succeeded and makes sense: the last FIT_STATUS, that of the
// Sersic fit, is 1 to 4, and of SERSICFIT intensity, half-light radius, index and axis ratio are those of a galaxy.
func ViableSersic(path string, rows int) ([]bool, error) {
	t, err := fits.ReadTable(path)
	if err != nil {
		return nil, err
	}
	if t.Rows != rows {
		return nil, term.BadInput("%s: found %d rows, expected %d as in the catalogue", path, t.Rows, rows)
	}
	fit, err := t.Numbers("SERSICFIT")
	if err != nil {
		return nil, err
	}
	status, err := t.Numbers("FIT_STATUS")
	if err != nil {
		return nil, err
	}
	flag := make([]float64, rows)
	if t.Has("viable_sersic") {
		if flag, err = t.First("viable_sersic"); err != nil {
			return nil, err
		}
	} else {
		for i := range flag {
			flag[i] = 1
		}
	}
	ok := make([]bool, rows)
	for i := range ok {
		if len(fit[i]) < 4 || len(status[i]) < 1 {
			return nil, term.BadInput("%s: found %d numbers of SERSICFIT and %d of FIT_STATUS, expected at least 4 and 1", path, len(fit[i]), len(status[i]))
		}
		last := status[i][len(status[i])-1]
		f := fit[i]
		ok[i] = flag[i] != 0 && last >= 1 && last <= 4
		for _, v := range f[:4] { // intensity, half-light radius, index, axis ratio
			ok[i] = ok[i] && v > 0 && term.Finite(v)
		}
		ok[i] = ok[i] && f[3] <= 1
	}
	return ok, nil
}

// Quarter averages an image over blocks of 4 x 4 pixels; what does not fill a block at the upper and right edges is left.
func Quarter(pix []float64, w, h int) (peak float64) {
	peak = math.Inf(-1)
	for j := 0; j+4 <= h; j += 4 {
		for i := 0; i+4 <= w; i += 4 {
			sum := 0.0
			for b := range 4 {
				for a := range 4 {
					sum += pix[(j+b)*w+i+a]
				}
			}
			peak = math.Max(peak, sum/16)
		}
	}
	return peak
}
