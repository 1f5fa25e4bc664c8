//go:build unix

package golden

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// What may differ between two runs of one commit, and nothing else.
var (
	// keys are those of JSON objects, and columns of CSV and FITS tables, whose values tell the time, the version, who ran, or are
	// the hash of a file that holds such a value or, a job script, the program's path.
	keys = regexp.MustCompile(`^(seconds|seconds_.*|.*_seconds|.*_per_second|elapsed.*|versions?|commit|host|hostname|pid|started|ended|fit_sha256|lenskit_sha256|samples(_\d+)?\.csv|survey\.(sbatch|pbs|lsf|sge))$`)
	// passing are lines of stderr that are written as time goes by.
	passing = regexp.MustCompile(`(?m)^lenskit: .*: step \d+( of|,).*\n`)
	// rates, and what is estimated only when there is time for it, are left out of what is said; they come and go.
	rates = regexp.MustCompile(` \([0-9.e+]+/s\)|[,;] [0-9.e+]+ [a-z]+/s|, ESS \d+ \([^)]*\)`)
	// lengths of time become the word TIME.
	lengths = regexp.MustCompile(`\b\d+(\.\d+)?(e[-+]\d+)? ?(h \d\d min|min \d\d s|seconds?|min|ms|µs|s)\b`)
	// clocks are comments of a CSV table with a time in them.
	clocks = regexp.MustCompile(`(?i)elapsed|seconds|(start|end)_datetime|version`)
	// sums are hashes of files that tell the time, in a bundle's card.
	sums = regexp.MustCompile(`\.safetensors, sha256 [0-9a-f]{64}`)
	// loose are figures of which so many pixels may differ by more than looseLevels: commits that drew contours with gonum/plot
	// shaded the edges of lines a little otherwise, and not the same each time.
	loose = map[string]int{"corner.png": 40}
)

// looseLevels is 32 of 255 levels, as image/color counts them.
const looseLevels = 32 * 0x101

// normal is a file without what may differ; its name tells the format.
func normal(name string, b []byte) []byte {
	switch path.Ext(name) {
	case ".stdout", ".stderr":
		if json.Valid(b) {
			return normalJSON(b)
		}
		b = passing.ReplaceAll(b, nil)
		return lengths.ReplaceAll(rates.ReplaceAll(b, nil), []byte("TIME"))
	case ".json":
		return normalJSON(b)
	case ".csv":
		return normalCSV(b)
	case ".fits":
		return normalFITS(b)
	case ".md":
		return sums.ReplaceAll(b, []byte(".safetensors"))
	case ".safetensors":
		if len(b) < 8 {
			return b
		}
		if n := binary.LittleEndian.Uint64(b); n <= uint64(len(b)-8) {
			// the header is padded
			header := bytes.TrimRight(normalJSON(b[8:8+n]), " ")
			return append(header[:len(header):len(header)], b[8+n:]...)
		}
	}
	return b
}

// normalJSON writes null for the values of keys that may differ, in texts that are JSON themselves too, and leaves every other byte.
func normalJSON(b []byte) []byte {
	dec := json.NewDecoder(bytes.NewReader(b))
	var out []byte
	done := 0
	// replace writes text for what lies between the last token and the next.
	replace := func(from int, text []byte) {
		out = append(append(out, b[done:from]...), text...)
		done = int(dec.InputOffset())
	}
	type level struct{ object, value bool }
	var open []level
	for {
		from := int(dec.InputOffset())
		t, err := dec.Token()
		if err != nil {
			break
		}
		if d, ok := t.(json.Delim); ok {
			switch d {
			case '{', '[':
				open = append(open, level{object: d == '{'})
				continue
			default:
				open = open[:len(open)-1]
			}
		} else if s, ok := t.(string); ok && len(open) > 0 && open[len(open)-1].object && !open[len(open)-1].value {
			if !keys.MatchString(s) {
				open[len(open)-1].value = true
				continue
			}
			from = int(dec.InputOffset())
			var value json.RawMessage
			if dec.Decode(&value) != nil {
				return b
			}
			replace(from, []byte(": null"))
			continue
		} else if ok && strings.HasPrefix(s, "{") && json.Valid([]byte(s)) {
			// the separator before the text stays out of both sides alike
			replace(from, normalJSON([]byte(s)))
		}
		if len(open) > 0 {
			open[len(open)-1].value = false
		}
	}
	return append(out, b[done:]...)
}

// normalCSV empties columns that may differ, and leaves out comments that tell the time.
func normalCSV(b []byte) []byte {
	var out []string
	var skip map[int]bool
	for line := range strings.SplitSeq(string(b), "\n") {
		if strings.HasPrefix(line, "#") {
			if !clocks.MatchString(line) {
				out = append(out, line)
			}
			continue
		}
		cells := strings.Split(line, ",")
		if skip == nil {
			skip = map[int]bool{}
			for i, c := range cells {
				skip[i] = keys.MatchString(strings.TrimSpace(c))
			}
		} else {
			for i := range cells {
				if skip[i] {
					cells[i] = ""
				}
			}
		}
		out = append(out, strings.Join(cells, ","))
	}
	return []byte(strings.Join(out, "\n"))
}

// normalFITS writes zeros for the columns of binary tables that may differ.
func normalFITS(b []byte) []byte {
	const block, card = 2880, 80
	out := bytes.Clone(b)
	for at := 0; at < len(b); {
		number := map[string]int{"GCOUNT": 1}
		text := map[string]string{}
		ended := false
		for !ended && at+block <= len(b) {
			for i := at; i < at+block; i += card {
				key := strings.TrimSpace(string(b[i : i+8]))
				value, _, _ := strings.Cut(string(b[i+10:i+card]), "/")
				value = strings.Trim(value, "' ")
				ended = ended || key == "END"
				if n, err := strconv.Atoi(value); err == nil {
					number[key] = n
				}
				text[key] = strings.TrimSpace(value)
			}
			at += block
		}
		if !ended {
			return b
		}
		size := 0
		if number["NAXIS"] > 0 {
			size = max(number["BITPIX"], -number["BITPIX"]) / 8 * number["GCOUNT"]
			elements := 1
			for i := range number["NAXIS"] {
				elements *= number[fmt.Sprintf("NAXIS%d", i+1)]
			}
			size *= number["PCOUNT"] + elements
		}
		if size < 0 || at+size > len(b) {
			return b
		}
		if text["XTENSION"] == "BINTABLE" {
			column := 0
			for i := 1; i <= number["TFIELDS"]; i++ {
				form := text[fmt.Sprintf("TFORM%d", i)]
				digits := strings.TrimRight(form, "ABDEIJKL")
				count, err := strconv.Atoi(digits)
				if len(form) != len(digits)+1 || err != nil {
					return b
				}
				width := count * map[byte]int{'A': 1, 'B': 1, 'L': 1, 'I': 2, 'J': 4, 'E': 4, 'K': 8, 'D': 8}[form[len(digits)]]
				if keys.MatchString(text[fmt.Sprintf("TTYPE%d", i)]) && column+width <= number["NAXIS1"] {
					for row := range number["NAXIS2"] {
						clear(out[at+row*number["NAXIS1"]+column:][:width])
					}
				}
				column += width
			}
		}
		at += (size + block - 1) / block * block
	}
	return out
}
