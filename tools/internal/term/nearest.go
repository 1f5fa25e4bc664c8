package term

import (
	"strings"

	"github.com/xrash/smetrics"
)

// nearest returns the choice that word is most likely a misspelling of, or "" when none is near: at most one edit in
// three letters, letter case apart.
func nearest(word string, choices []string) string {
	best, at := "", len(word)/3+1
	for _, c := range choices {
		d := smetrics.WagnerFischer(strings.ToLower(word), strings.ToLower(c), 1, 1, 1)
		if d <= at && d < max(len(word), len(c)) && (best == "" || d < at) {
			best, at = c, d
		}
	}
	return best
}

// DidYouMean returns `: did you mean "x"?`, or "" when no choice is near word.
func DidYouMean(word string, choices []string) string {
	if c := nearest(word, choices); c != "" {
		return `: did you mean "` + c + `"?`
	}
	return ""
}
