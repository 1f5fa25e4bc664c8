package tools

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// fitsCard is one line of a header. Value is the text of the value: T or F, a number, or a string without its quotes.
type fitsCard struct {
	key, value, comment string
	isText              bool
}

// fitsHeader is a header in its order. Where a keyword stands twice, the last one counts, as in the C library.
type fitsHeader struct {
	cards []fitsCard
	at    map[string]int
}

// readHeader reads the header that begins at offset at of a file of the given size and returns it with its length in
// bytes, a multiple of 2880. The last block may be cut after END.
func readHeader(r io.ReaderAt, at, size int64) (fitsHeader, int64, error) {
	h := fitsHeader{at: map[string]int{}}
	block := make([]byte, fitsBlock)
	for n := 0; n < fitsMaxBlocks; n++ {
		k, err := r.ReadAt(block, at+int64(n)*fitsBlock)
		if err != nil && err != io.EOF {
			return h, 0, errors.New(reason(err))
		}
		if n == 0 && at == 0 && !bytes.HasPrefix(block[:k], []byte("SIMPLE")) && !hasKeyword(block[:k], "SIMPLE") {
			return h, 0, fmt.Errorf("is not a FITS file: found %q at its start, expected SIMPLE", printable(block[:min(k, 8)]))
		}
		for i := 0; i+80 <= k; i += 80 {
			c := parseCard(string(block[i : i+80]))
			if c.key == "END" {
				return h, int64(n+1) * fitsBlock, nil
			}
			h.add(c)
		}
		if k < fitsBlock {
			return h, 0, fmt.Errorf("is truncated: its header has no END in %d bytes", size-at)
		}
	}
	return h, 0, fmt.Errorf("header has no END in %d blocks", fitsMaxBlocks)
}

// hasKeyword tells whether a card of the block begins with key.
func hasKeyword(block []byte, key string) bool {
	for i := 0; i+80 <= len(block); i += 80 {
		if strings.TrimRight(string(block[i:i+8]), " ") == key {
			return true
		}
	}
	return false
}

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
func parseCard(line string) fitsCard {
	c := fitsCard{key: strings.ToUpper(strings.TrimRight(line[:8], " \x00"))}
	if line[8] != '=' || c.key == "COMMENT" || c.key == "HISTORY" || c.key == "" {
		c.comment = strings.TrimRight(line[8:], " \x00")
		return c
	}
	rest := strings.TrimLeft(line[9:], " ")
	if !strings.HasPrefix(rest, "'") {
		value, comment, _ := strings.Cut(rest, "/")
		c.value, c.comment = strings.TrimSpace(value), strings.TrimSpace(comment)
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
	c.value = strings.TrimRight(b.String(), " ")
	if i < len(rest) {
		_, comment, _ := strings.Cut(rest[i:], "/")
		c.comment = strings.TrimSpace(comment)
	}
	return c
}

func (h *fitsHeader) add(c fitsCard) {
	if c.key != "" && c.key != "COMMENT" && c.key != "HISTORY" && c.key != "CONTINUE" {
		h.at[c.key] = len(h.cards)
	}
	h.cards = append(h.cards, c)
}

func (h *fitsHeader) has(key string) bool {
	_, ok := h.at[key]
	return ok
}

// text is the value of key as text.
func (h *fitsHeader) text(key string) (string, bool) {
	i, ok := h.at[key]
	if !ok {
		return "", false
	}
	return h.cards[i].value, true
}

// integer is the value of key as an integer; false when the keyword is not there or has no value.
func (h *fitsHeader) integer(key string) (int64, bool, error) {
	s, ok := h.text(key)
	if !ok || s == "" {
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

// number is the value of key as a number, def when the keyword is not there or has no value.
func (h *fitsHeader) number(key string, def float64) (float64, error) {
	s, ok := h.text(key)
	if !ok || s == "" {
		return def, nil
	}
	v, err := strconv.ParseFloat(strings.NewReplacer("D", "E", "d", "e").Replace(s), 64)
	if err != nil || v != v || v-v != 0 {
		return 0, fmt.Errorf("found %s = %.40q, expected a number", key, s)
	}
	return v, nil
}
