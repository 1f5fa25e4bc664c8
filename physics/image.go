package physics

import "fmt"

// Image is a W x H picture stored row by row, lowest y first; Scale is the width of a pixel in arcsec.
type Image struct {
	W, H  int
	Scale float64
	Pix   []float64
}

// NewImage makes an image of zeros.
func NewImage(w, h int, scale float64) *Image {
	return &Image{W: w, H: h, Scale: scale, Pix: make([]float64, w*h)}
}

// Validate tells whether the shape is sensible and holds as many pixels as it says.
func (m *Image) Validate() error {
	if m.W <= 0 || m.H <= 0 || len(m.Pix) != m.W*m.H {
		return fmt.Errorf("physics: image of %d x %d has %d pixels", m.W, m.H, len(m.Pix))
	}
	return nil
}

// At is the value of pixel (i, j), column i of row j.
func (m *Image) At(i, j int) float64 { return m.Pix[j*m.W+i] }
