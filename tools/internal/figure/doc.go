// Package figure draws: panels of images with colour bars, pages, colour maps, ticks. A figure is written whole or not at
// all, and the same bytes come of the same numbers.
package figure
