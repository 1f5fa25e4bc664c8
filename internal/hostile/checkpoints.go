//go:build unix

package hostile

import (
	"encoding/json"
	"fmt"
	"sort"
)

// altered is a JSON document changed at one place.
type altered struct {
	name string
	text []byte
}

// shortened changes a JSON document at each of its places by turns: lists are halved, emptied and doubled, numbers become
// large, negative and 2^62, objects lose their keys. Of lists only the first and last elements are entered, and no more than
// a hundred and fifty documents, evenly spread, are given back.
func shortened(text []byte) (out []altered) {
	var root any
	if json.Unmarshal(text, &root) != nil {
		return nil
	}
	emit := func(name string) {
		if b, err := json.Marshal(root); err == nil {
			out = append(out, altered{name, b})
		}
	}
	var walk func(path string, v any, set func(any))
	walk = func(path string, v any, set func(any)) {
		try := func(name string, w any) {
			set(w)
			emit(path + " " + name)
			set(v)
		}
		switch v := v.(type) {
		case map[string]any:
			var keys []string
			for k := range v {
				keys = append(keys, k)
			}
			sort.Strings(keys)
			try("empty", map[string]any{})
			for i, k := range keys {
				if path == "" && k == "key" || i > 40 {
					continue
				}
				walk(path+"/"+k, v[k], func(w any) { v[k] = w })
			}
		case []any:
			if len(v) == 0 {
				try("filled", []any{1.0, 2.0, 3.0})
				return
			}
			try("halved", v[:len(v)/2])
			try("doubled", append(append([]any{}, v...), v...))
			try("null", nil)
			walk(path+"/0", v[0], func(w any) { v[0] = w })
		case float64:
			try("of 1e308", 1e308)
			try("of -1", -1.0)
			try("of 2^62", json.RawMessage(fmt.Sprint(int64(1)<<62)))
		case string:
			try("changed", v+"x")
		case bool:
			try("turned", !v)
		}
	}
	walk("", root, func(any) {})
	const most = 150
	if len(out) > most {
		spread := make([]altered, most)
		for i := range spread {
			spread[i] = out[i*len(out)/most]
		}
		out = spread
	}
	return out
}
