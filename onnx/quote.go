package onnx

import (
	"strconv"
)

// longestName is how many characters of a name a message shows.
const longestName = 80

// Quote writes a name that a file gives for a message: between quotes, with its control characters spelt out, and of a
// long one the beginning and the end.
func Quote(name string) string {
	if len(name) > longestName {
		if r := []rune(name); len(r) > longestName {
			name = string(r[:longestName*3/4]) + "…" + string(r[len(r)-longestName/4:])
		}
	}
	return strconv.Quote(name)
}
