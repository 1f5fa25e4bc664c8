// Package tools is what the command lenskit does: one file per subcommand, and what they share: the config, FITS and
// result files, progress lines, figures.
//
// Results go to stdout, progress and notices to stderr. Every failure is one line on stderr, `lenskit: …`, with at most
// one more line that begins with `hint: `.
package tools
