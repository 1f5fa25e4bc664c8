// Package term is how lenskit speaks: errors that name a place, what was found and what was expected, with a hint and an
// exit code; notices and progress; signals; numbers as text; the version.
//
// It is the lowest room of tools and knows nothing of lenses.
package term
