// Package tools is the command lenskit: one file per subcommand. What the commands do lives in the rooms below, each of which
// imports only rooms above it in this list:
//
//	internal/term, internal/rundir            messages, folders of results
//	internal/fits, internal/tensors           files of others
//	lensing, internal/figure                  critical curves, figures
//	config, observation, problem              a model, its data, the posterior of both
//	mock, search, run, sample                 simulate, find the maximum, keep it, draw from the posterior
//	galaxies, vae                             images of galaxies and decoders of them
//	survey, coolest                           many lenses; the standard of other codes
//
// Results go to stdout, progress and notices to stderr. Every failure is one line on stderr, `lenskit: …`, with at most
// one more line that begins with `hint: `.
package tools
