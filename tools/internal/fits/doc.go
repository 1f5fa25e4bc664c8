// Package fits reads and writes FITS: images of all types, tile-compressed and packed ones too, tables, sky coordinates.
//
// A Request says what is read as what: Request{Role: RoleNoise}.Read("rms.fits[ERR]"). Files are taken with a guard (regular,
// of bounded size) and refused with the header card that is wrong. Parts of the standard are cited where they decide
// (FITS 4.0, Pence et al. 2010; Pence, White & Seaman 2010 for dithering).
package fits
