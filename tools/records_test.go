package tools

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"

	"lenskit/tools/internal/figure"
	"lenskit/tools/internal/term"
	"lenskit/tools/run"
	"lenskit/tools/sample"
	"lenskit/tools/search"
	"lenskit/tools/survey"
	"lenskit/tools/vae"
)

// TestRecordsHoldNoNumberThatJSONRefuses: every float of a record that a run leaves is of a type that is written as null where
// it is not finite, and is read back as NaN.
func TestRecordsHoldNoNumberThatJSONRefuses(t *testing.T) {
	marshaler := reflect.TypeFor[json.Marshaler]()
	var walk func(path string, k reflect.Type)
	walk = func(path string, k reflect.Type) {
		if k.Implements(marshaler) || reflect.PointerTo(k).Implements(marshaler) {
			return
		}
		switch k.Kind() {
		case reflect.Float64, reflect.Float32:
			t.Errorf("%s is a %v", path, k)
		case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
			walk(path, k.Elem())
		case reflect.Struct:
			for i := range k.NumField() {
				if f := k.Field(i); f.IsExported() && f.Tag.Get("json") != "-" {
					walk(path+"."+f.Name, f.Type)
				}
			}
		}
	}
	for _, k := range []reflect.Type{reflect.TypeFor[run.Record](), reflect.TypeFor[sample.Summary](), reflect.TypeFor[evaluation](), reflect.TypeFor[survey.LensStatus](),
		reflect.TypeFor[survey.SurveyRan](), reflect.TypeFor[vae.Numbers](), reflect.TypeFor[search.Options]()} {
		walk(k.Name(), k)
	}
	nan := term.JSONFloat(math.NaN())
	text, err := json.Marshal(&run.Record{LogPosterior: nan, Lensing: &search.Lensed{Magnification: term.JSONFloat(math.Inf(1))}, EastOfNorth: map[string]term.JSONFloat{"a": nan}, Limits: map[string]*search.Limit{"b": search.NewLimit(math.NaN(), 0, true)}})
	if err != nil || strings.Contains(string(text), "NaN") {
		t.Fatalf("%v: %s", err, text)
	}
	var back run.Record
	if err := json.Unmarshal(text, &back); err != nil || !math.IsNaN(float64(back.LogPosterior)) || !math.IsNaN(float64(back.Lensing.Magnification)) {
		t.Errorf("read back %v, %v", back.LogPosterior, err)
	}
}

// TestFiguresOfNumbersBeyondAllBounds: what no scale can show is left out of a figure, and nothing panics.
func TestFiguresOfNumbersBeyondAllBounds(t *testing.T) {
	huge := make([]float64, 100)
	for i := range huge {
		huge[i] = 1e308 * math.Cos(float64(i))
	}
	if sample.NewDensity1(huge, 50) != nil || sample.NewDensity2(huge, huge, 50) != nil {
		t.Error("a density of draws whose variance is beyond all numbers")
	}
	for _, sd := range []float64{math.NaN(), math.Inf(1), 1e300, 0, -1} {
		v := make([]float64, 64)
		v[3] = 1
		sample.Smooth(v, 1, 64, sd)
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		figure.Inferno(v)
		figure.BlueRed()(v)
	}
}
