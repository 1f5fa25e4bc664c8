package term

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// JSONReason says what is wrong with a JSON text, with the place where there is one.
func JSONReason(err error) string {
	var s *json.SyntaxError
	var t *json.UnmarshalTypeError
	switch {
	case errors.As(err, &s):
		return fmt.Sprintf("is not valid JSON: at byte %d: %v", s.Offset, s)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "is not valid JSON: it ends too soon"
	case errors.As(err, &t):
		want := map[reflect.Kind]string{reflect.Struct: "an object", reflect.Map: "an object", reflect.Slice: "a list", reflect.String: "text", reflect.Bool: "true or false",
			reflect.Int: "a whole number", reflect.Uint64: "a whole number of 0 or more"}[t.Type.Kind()]
		return fmt.Sprintf("at byte %d: %s: found %s, expected %s", t.Offset, cmp.Or(t.Field, "the whole"), t.Value, cmp.Or(want, "a number in the range of float64"))
	}
	return "is not valid JSON: " + err.Error()
}

// JSONNumbers are numbers of which those that JSON cannot write are null.
type JSONNumbers []float64

func (v JSONNumbers) MarshalJSON() ([]byte, error) {
	b := []byte{'['}
	for i, x := range v {
		if i > 0 {
			b = append(b, ',')
		}
		if !Finite(x) {
			b = append(b, "null"...)
		} else {
			b = strconv.AppendFloat(b, x, 'g', 17, 64)
		}
	}
	return append(b, ']'), nil
}

// AsFlag is the flag of an option.
func AsFlag(name string) string { return "--" + strings.ToLower(name) }

// Padded writes a number with so many decimals, or shortly where that would be long.
func Padded(v float64, width, decimals int) string {
	if math.Abs(v) < 1e9 {
		return fmt.Sprintf("%*.*f", width, decimals, v)
	}
	return fmt.Sprintf("%*.3g", width, v)
}

const (
	largeNumber = 1e6
	hugeNumber  = 1e9
)

// WithDigits writes v to two digits of its uncertainty s, a large v to at most nine digits.
func WithDigits(v, s float64) string {
	if !(s > 0) || math.IsInf(s, 0) {
		return fmt.Sprintf("%.6g", v)
	}
	digits := 1 - int(math.Floor(math.Log10(s)))
	if a := math.Abs(v); a >= largeNumber && !math.IsInf(a, 0) {
		return fmt.Sprintf("%.*g", max(3, min(9, int(math.Floor(math.Log10(a)))+digits+1)), v)
	}
	if digits < 0 || digits > 12 {
		return fmt.Sprintf("%.3g", v)
	}
	return fmt.Sprintf("%.*f", digits, v)
}

// Decimals writes v to so many decimals, a huge one to six digits.
func Decimals(v float64, n int) string {
	if math.Abs(v) >= hugeNumber {
		return fmt.Sprintf("%.6g", v)
	}
	return fmt.Sprintf("%.*f", n, v)
}

// Counted is "1 thing" or "2 things".
func Counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// JSONText describes a token.
func JSONText(t json.Token) string {
	switch v := t.(type) {
	case nil:
		return "null"
	case json.Delim:
		return map[json.Delim]string{'{': "an object", '[': "a list"}[v]
	case string:
		return strconv.Quote(v)
	}
	return fmt.Sprint(t)
}

// OrderedValues is a JSON object of numbers in the order of names. Numbers that JSON cannot write are null.
type OrderedValues struct {
	Names  []string
	Values []float64
}

// Get is the value of a name, and whether there is one.
func (o OrderedValues) Get(name string) (float64, bool) {
	i := slices.Index(o.Names, name)
	if i < 0 {
		return 0, false
	}
	return o.Values[i], true
}

// All goes through names and values in their order.
func (o OrderedValues) All() iter.Seq2[string, float64] {
	return func(yield func(string, float64) bool) {
		for i, name := range o.Names {
			if !yield(name, o.Values[i]) {
				return
			}
		}
	}
}

// MarshalJSON writes the object.
func (o OrderedValues) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, n := range o.Names {
		if i > 0 {
			b = append(b, ',')
		}
		key, err := json.Marshal(n)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, key...), ':'), NumberText(o.Values[i])...)
	}
	return append(b, '}'), nil
}

// UnmarshalJSON reads an object of numbers, keeping its order.
func (o *OrderedValues) UnmarshalJSON(data []byte) error {
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
		o.Names = append(o.Names, k.(string))
		if v == nil {
			o.Values = append(o.Values, math.NaN())
		} else {
			o.Values = append(o.Values, *v)
		}
	}
	return nil
}

// JSONFloat is a number that JSON writes as null when it is not finite.
type JSONFloat float64

// MarshalJSON writes the shortest text that reads back the same.
func (f JSONFloat) MarshalJSON() ([]byte, error) { return []byte(NumberText(float64(f))), nil }

// UnmarshalJSON reads a number; null, which a number that is not finite was written as, is NaN.
func (f *JSONFloat) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*f = JSONFloat(math.NaN())
		return nil
	}
	return json.Unmarshal(data, (*float64)(f))
}

func NumberText(v float64) string {
	if !Finite(v) {
		return "null"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// SameJSON tells whether two JSON texts say the same.
func SameJSON(a, b []byte) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	p, err1 := json.Marshal(x)
	q, err2 := json.Marshal(y)
	return err1 == nil && err2 == nil && bytes.Equal(p, q)
}

func Finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
