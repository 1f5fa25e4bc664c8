"""Writes a FITS image with 4 bytes a pixel, value 1000 j + i at (i, j), packed in three ways. python make.py (numpy, astropy)"""
import bz2
import gzip
import io
import lzma
import os

import numpy as np
from astropy.io import fits

here = os.path.dirname(os.path.abspath(__file__))
y, x = np.mgrid[:40, :50]
b = io.BytesIO()
fits.HDUList([fits.PrimaryHDU((1000 * y + x).astype("i4")), fits.ImageHDU((x + 0.5).astype("f8"), name="HALF")]).writeto(b)
for name, pack in (("small.fits.gz", gzip.compress), ("small.fits.bz2", bz2.compress), ("small.fits.xz", lzma.compress)):
    with open(os.path.join(here, name), "wb") as f:
        f.write(pack(b.getvalue()))
# two streams with padding, the second of which has a window of 1.5 GB
wide = lzma.compress(b"x" * 100, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 3 << 29}])
with open(os.path.join(here, "wide.fits.xz"), "wb") as f:
    f.write(lzma.compress(b.getvalue()) + bytes(8) + wide)
