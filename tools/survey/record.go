package survey

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"lenskit/internal/disk"
	"lenskit/tools/internal/rundir"
	"lenskit/tools/internal/term"
	"lenskit/tools/run"
)

// LensRecord is what a survey takes from the fit.json of a lens, which may be anybody's.
type LensRecord struct {
	Status, Reason            string
	numbers                   [len(surveyNumbers)]float64 // NaN where the file has null
	Parameters, Uncertainties term.OrderedValues
	EastOfNorth               term.OrderedValues
	Options                   json.RawMessage
	Inputs                    []rundir.Input
}

// surveyNumbers are the keys of fit.json that are columns of a catalogue beside the parameters.
var surveyNumbers = [...]string{"log_posterior", "chi2", "pixels", "reduced_chi2", "evaluations", "seconds"}

// Number is one of surveyNumbers.
func (r *LensRecord) Number(key string) float64 {
	return r.numbers[slices.Index(surveyNumbers[:], key)]
}

// longestRecord is the number of bytes that a fit.json and a survey-status.json may have.
const longestRecord = 32 << 20

// parameterName is what parameters are called.
var parameterName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,199}$`)

// ReadLensRecord reads the fit.json of a lens. A file that cannot be opened is a disk.ReadError.
func ReadLensRecord(dir string) (*LensRecord, error) {
	path := filepath.Join(dir, rundir.FitJSON)
	text, err := disk.Read(path, longestRecord)
	if err != nil {
		return nil, err
	}
	all := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, term.BadInput("%s: %s", path, term.JSONReason(err))
	}
	rec := &LensRecord{Options: all["options"]}
	read := func(key, want string, to any) error {
		if err := json.Unmarshal(all[key], to); len(all[key]) > 0 && err != nil {
			return term.BadInput("%s: %s: found %s, expected %s", path, key, term.Shown(string(all[key])), want)
		}
		return nil
	}
	if err := errors.Join(read("status", "text", &rec.Status), read("reason", "text", &rec.Reason)); err != nil {
		return nil, err
	}
	if !slices.Contains([]string{run.Converged, run.NotConverged, run.Failed}, rec.Status) {
		return nil, term.BadInput("%s: status: found \"%s\", expected converged, not_converged or failed", path, term.Shown(rec.Status))
	}
	for _, v := range []struct {
		key string
		to  *term.OrderedValues
	}{{"parameters", &rec.Parameters}, {"uncertainties", &rec.Uncertainties}, {"position_angles_east_of_north", &rec.EastOfNorth}} {
		if err := read(v.key, "an object of numbers", v.to); err != nil {
			return nil, err
		}
		for _, n := range v.to.Names {
			if !parameterName.MatchString(n) {
				return nil, term.BadInput("%s: %s: found \"%s\", expected the name of a parameter", path, v.key, term.Shown(n))
			}
		}
	}
	if len(rec.Parameters.Names) == 0 {
		return nil, term.BadInput("%s: has no parameters, expected the record of a fit", path)
	}
	for i, key := range surveyNumbers {
		var v *float64
		text, ok := all[key]
		if !ok {
			return nil, term.BadInput("%s: %s is missing, expected a number", path, key)
		}
		if err := read(key, "a number", &v); err != nil {
			return nil, err
		}
		if rec.numbers[i] = math.NaN(); v != nil {
			rec.numbers[i] = *v
		}
		if key != "log_posterior" && rec.numbers[i] < 0 {
			return nil, term.BadInput("%s: %s: found %s, expected 0 or more", path, key, term.Shown(string(text)))
		}
	}
	return rec, read("inputs", "a list of paths and sums", &rec.Inputs)
}

// readLensStatus reads how the last run of a lens stands; nil where there was none.
func readLensStatus(dir string) (*LensStatus, error) {
	path := filepath.Join(dir, fileLensStatus)
	text, err := disk.Read(path, longestRecord)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var st LensStatus
	if err := json.Unmarshal(text, &st); err != nil {
		return nil, term.BadInput("%s: %s", path, term.JSONReason(err))
	}
	if !slices.Contains([]string{stateRunning, stateDone, stateFailed, stateInterrupted}, st.State) {
		return nil, term.BadInput("%s: state: found \"%s\", expected running, done, failed or interrupted", path, term.Shown(st.State))
	}
	return &st, nil
}
