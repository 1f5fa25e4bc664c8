#!/usr/bin/env python3
"""Makes real_galaxy_catalog.fits, real_galaxy_catalog_fits.fits and real_galaxy_images.fits beside this file: a catalogue in the
format that GalSim documents, with drawn galaxies. Run with astropy 8."""
import os
import numpy as np
from astropy.io import fits

here = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(4)
# per galaxy: stamp shape, amplitude over the noise, Sersic status, Sersic index
rows = [((72, 80), 30, 1, 1.0), ((72, 72), 30, 0, 1.0), ((40, 72), 30, 1, 1.0), ((66, 66), 5, 1, 1.0), ((64, 64), 300, 1, 1.0),
        ((64, 70), 40, 3, 2.0), ((64, 64), 30, 5, 1.0), ((64, 64), 30, 1, -1.0), ((65, 65), 35, 2, 4.0), ((64, 64), 45, 4, 0.5)]
hdus, sigma = [], 0.01
for shape, amp, _, _ in rows:
    y, x = np.indices(shape)
    r2 = (x - (shape[1] - 1) / 2) ** 2 + (y - (shape[0] - 1) / 2) ** 2
    hdus.append((sigma * (amp * np.exp(-r2 / 200) + 0.1 * rng.standard_normal(shape))).astype('f4'))
fits.HDUList([fits.PrimaryHDU(hdus[0])] + [fits.ImageHDU(h) for h in hdus[1:]]).writeto(os.path.join(here, 'real_galaxy_images.fits'), overwrite=True)
n = len(rows)
C = fits.Column
fits.BinTableHDU.from_columns([
    C('IDENT', 'J', array=np.arange(n) + 100), C('MAG', 'D', array=np.full(n, 22.5)), C('BAND', '5A', array=['F814W'] * n),
    C('GAL_FILENAME', '40A', array=['real_galaxy_images.fits'] * n), C('GAL_HDU', 'I', array=np.arange(n)),
    C('PIXEL_SCALE', 'D', array=np.full(n, 0.03)), C('NOISE_VARIANCE', 'D', array=np.full(n, sigma ** 2)),
]).writeto(os.path.join(here, 'real_galaxy_catalog.fits'), overwrite=True)
fit = np.array([[1, 10, s, 0.7, 0, 32, 32, 0.3] for _, _, _, s in rows], 'f8')
status = np.array([[1, 1, 1, 1, s] for _, _, s, _ in rows], 'i4')
fits.BinTableHDU.from_columns([C('IDENT', 'J', array=np.arange(n) + 100), C('FIT_STATUS', '5J', array=status), C('SERSICFIT', '8D', array=fit)]).writeto(
    os.path.join(here, 'real_galaxy_catalog_fits.fits'), overwrite=True)
