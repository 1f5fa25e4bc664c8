// Package galaxies has sets of images of galaxies to train decoders with: drawn ones, prepared and real ones (COSMOS), and the
// linear decoders of their principal components.
package galaxies
