package tools

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"lenskit/internal/disk"
)

// lensRecord is what a survey takes from the fit.json of a lens, which may be anybody's.
type lensRecord struct {
	Status, Reason            string
	numbers                   [len(surveyNumbers)]float64 // NaN where the file has null
	Parameters, Uncertainties orderedValues
	EastOfNorth               orderedValues
	Options                   json.RawMessage
	Inputs                    []input
}

// surveyNumbers are the keys of fit.json that are columns of a catalogue beside the parameters.
var surveyNumbers = [...]string{"log_posterior", "chi2", "pixels", "reduced_chi2", "evaluations", "seconds"}

// number is one of surveyNumbers.
func (r *lensRecord) number(key string) float64 {
	return r.numbers[slices.Index(surveyNumbers[:], key)]
}

// longestRecord is the number of bytes that a fit.json and a survey-status.json may have.
const longestRecord = 32 << 20

// parameterName is what parameters are called.
var parameterName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,199}$`)

// readLensRecord reads the fit.json of a lens. A file that cannot be opened is a disk.ReadError.
func readLensRecord(dir string) (*lensRecord, error) {
	path := filepath.Join(dir, fileFitJSON)
	text, err := disk.Read(path, longestRecord)
	if err != nil {
		return nil, err
	}
	all := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, badInput("%s: %s", path, jsonReason(err))
	}
	rec := &lensRecord{Options: all["options"]}
	read := func(key, want string, to any) error {
		if err := json.Unmarshal(all[key], to); len(all[key]) > 0 && err != nil {
			return badInput("%s: %s: found %s, expected %s", path, key, shown(string(all[key])), want)
		}
		return nil
	}
	if err := errors.Join(read("status", "text", &rec.Status), read("reason", "text", &rec.Reason)); err != nil {
		return nil, err
	}
	if !slices.Contains([]string{statusConverged, statusNotConverged, statusFailed}, rec.Status) {
		return nil, badInput("%s: status: found \"%s\", expected converged, not_converged or failed", path, shown(rec.Status))
	}
	for _, v := range []struct {
		key string
		to  *orderedValues
	}{{"parameters", &rec.Parameters}, {"uncertainties", &rec.Uncertainties}, {"position_angles_east_of_north", &rec.EastOfNorth}} {
		if err := read(v.key, "an object of numbers", v.to); err != nil {
			return nil, err
		}
		for _, n := range v.to.names {
			if !parameterName.MatchString(n) {
				return nil, badInput("%s: %s: found \"%s\", expected the name of a parameter", path, v.key, shown(n))
			}
		}
	}
	if len(rec.Parameters.names) == 0 {
		return nil, badInput("%s: has no parameters, expected the record of a fit", path)
	}
	for i, key := range surveyNumbers {
		var v *float64
		text, ok := all[key]
		if !ok {
			return nil, badInput("%s: %s is missing, expected a number", path, key)
		}
		if err := read(key, "a number", &v); err != nil {
			return nil, err
		}
		if rec.numbers[i] = math.NaN(); v != nil {
			rec.numbers[i] = *v
		}
		if key != "log_posterior" && rec.numbers[i] < 0 {
			return nil, badInput("%s: %s: found %s, expected 0 or more", path, key, shown(string(text)))
		}
	}
	return rec, read("inputs", "a list of paths and sums", &rec.Inputs)
}

// readLensStatus reads how the last run of a lens stands; nil where there was none.
func readLensStatus(dir string) (*lensStatus, error) {
	path := filepath.Join(dir, fileLensStatus)
	text, err := disk.Read(path, longestRecord)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var st lensStatus
	if err := json.Unmarshal(text, &st); err != nil {
		return nil, badInput("%s: %s", path, jsonReason(err))
	}
	if !slices.Contains([]string{stateRunning, stateDone, stateFailed, stateInterrupted}, st.State) {
		return nil, badInput("%s: state: found \"%s\", expected running, done, failed or interrupted", path, shown(st.State))
	}
	return &st, nil
}

// sameJSON tells whether two JSON texts say the same.
func sameJSON(a, b []byte) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	p, err1 := json.Marshal(x)
	q, err2 := json.Marshal(y)
	return err1 == nil && err2 == nil && bytes.Equal(p, q)
}
