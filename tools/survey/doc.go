// Package survey plans, runs, tells and merges fits of many lenses under a batch system. It starts no jobs itself: a plan has the
// script, Run does one index of it, Merge makes the catalogue.
package survey
