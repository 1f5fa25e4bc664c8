package fits

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"lenskit/tools/internal/term"
)

// Card is one line of a header. Value is the text of the value: T or F, a number, or a string without its quotes. The
// rest is the line as it stands behind the keyword.
type Card struct {
	Key, Value, comment, rest string
	isText                    bool
}

// Header are the cards of a header by keyword. Where a keyword stands twice, the last one counts, as in the C library.
type Header map[string]Card

// readHeader reads the header that begins at offset at of a file of the given size and returns it with its length in
// bytes, a multiple of 2880. The last block may be cut after END.
func readHeader(r io.ReaderAt, at, size int64) (Header, int64, error) {
	h := Header{}
	block := make([]byte, Block)
	for n := 0; n < fitsMaxBlocks; n++ {
		k, err := r.ReadAt(block, at+int64(n)*Block)
		if err != nil && err != io.EOF {
			return h, 0, errors.New(term.Reason(err))
		}
		first := "SIMPLE"
		if at > 0 {
			first = "XTENSION"
		}
		if n == 0 && !bytes.HasPrefix(block[:k], fmt.Appendf(nil, "%-8s", first)) {
			return h, 0, noHeader{fmt.Errorf("is not a FITS file: found %q at its start, expected %s", printable(block[:min(k, 8)]), first)}
		}
		for i := 0; i+80 <= k; i += 80 {
			c := parseCard(string(block[i : i+80]))
			if c.Key == "END" {
				return h, int64(n+1) * Block, nil
			}
			h[c.Key] = c
		}
		if k < Block {
			return h, 0, noHeader{fmt.Errorf("is truncated: its header has no END in %d bytes", n*Block+k)}
		}
	}
	return h, 0, noHeader{fmt.Errorf("header has no END in %d blocks", fitsMaxBlocks)}
}

// noHeader is the error of bytes that are no header, where they could be read.
type noHeader struct{ error }

// printable replaces what is not printable ASCII.
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, string(b))
}

// parseCard splits a line of 80 characters. Keywords are taken in upper case.
func parseCard(line string) Card {
	c := Card{Key: strings.ToUpper(strings.TrimRight(line[:8], " \x00")), rest: line[8:]}
	if line[8] != '=' || c.Key == "COMMENT" || c.Key == "HISTORY" || c.Key == "" {
		c.comment = strings.TrimRight(line[8:], " \x00")
		return c
	}
	rest := strings.TrimLeft(line[9:], " ")
	if !strings.HasPrefix(rest, "'") {
		value, comment, _ := strings.Cut(rest, "/")
		c.Value, c.comment = strings.TrimSpace(value), strings.TrimSpace(comment)
		return c
	}
	c.isText = true
	var b strings.Builder
	i := 1
	for ; i < len(rest); i++ {
		if rest[i] == '\'' {
			if i+1 >= len(rest) || rest[i+1] != '\'' {
				break
			}
			i++ // '' inside a string is one quote
		}
		b.WriteByte(rest[i])
	}
	c.Value = strings.TrimRight(b.String(), " ")
	if i < len(rest) {
		_, comment, _ := strings.Cut(rest[i:], "/")
		c.comment = strings.TrimSpace(comment)
	}
	return c
}

func (h Header) Has(key string) bool {
	_, ok := h[key]
	return ok
}

// Text is the value of key as text, empty when the keyword is not there.
func (h Header) Text(key string) string { return h[key].Value }

// integer is the value of key as an integer; false when the keyword is not there or has no value.
func (h Header) integer(key string) (int64, bool, error) {
	s := h.Text(key)
	if s == "" {
		return 0, false, nil
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		// 4.0E1 is not allowed where an integer is demanded, yet writers exist that do so.
		f, ferr := strconv.ParseFloat(s, 64)
		if ferr != nil || f != float64(int64(f)) || f > 1<<53 || f < -1<<53 {
			return 0, false, fmt.Errorf("found %s = %.40q, expected an integer", key, s)
		}
		v = int64(f)
	}
	return v, true, nil
}

// needed is integer for a keyword that must be there.
func (h Header) needed(key string) (int64, error) {
	v, ok, err := h.integer(key)
	if err == nil && !ok {
		err = fmt.Errorf("missing keyword %s", key)
	}
	return v, err
}

// Number is the value of key as a number, def when the keyword is not there or has no value.
func (h Header) Number(key string, def float64) (float64, error) {
	s := h.Text(key)
	if s == "" {
		return def, nil
	}
	v, err := strconv.ParseFloat(strings.NewReplacer("D", "E", "d", "e").Replace(s), 64)
	if err != nil || v != v || v-v != 0 {
		return 0, fmt.Errorf("found %s = %.40q, expected a number", key, s)
	}
	return v, nil
}
