"""Compresses small images in tiles with astropy and writes what astropy reads back from them to expected.json.

python make.py (needs numpy and astropy 8.0.2)
"""
import json
import os
import warnings

import numpy as np
from astropy.io import fits

warnings.simplefilter("ignore")
here = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(7)
y, x = np.mgrid[:29, :37]
smooth = 900 * np.exp(-((x - 20) ** 2 + (y - 12) ** 2) / 60) + rng.normal(0, 4, x.shape)
ints = np.round(smooth + 50).astype(int)
mask = (x // 7 + y // 5) % 3 * 40
floats = (smooth / 10).astype("f4")
floats[3, 4] = np.nan
floats[10:14, 6:12] = 0
noise = np.exp(rng.normal(0, 30, x.shape))  # does not become integers
cube = np.round(rng.normal(0, 300, (3, 7, 11))).astype("i4")
out = {}


def make(name, data, **how):
    hdu = fits.CompImageHDU(data, **how)
    hdu.header["OBJECT"] = "tile test"
    for key, value in how.pop("cards", {}).items():
        hdu.header[key] = value
    path = os.path.join(here, name + ".fits")
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path, overwrite=True)
    with fits.open(path, disable_image_compression=True) as f:
        h = f[1].header
        assert h["ZCMPTYPE"].rstrip() == how["compression_type"], h["ZCMPTYPE"]
        names = list(f[1].columns.names)
    read(name, how["compression_type"], names)


def read(name, kind, names, hdu=1):
    a = fits.getdata(os.path.join(here, name + ".fits"), hdu)
    v = a.astype("f8").ravel()
    ok = np.isfinite(v)
    k = np.arange(1, v.size + 1)
    out[name + ".fits"] = {
        "kind": kind, "columns": names, "axes": list(a.shape[::-1]), "nan": int((~ok).sum()), "sum": float(v[ok].sum()),
        "weighted": float((v * k)[ok].sum()), "first": [float(t) if np.isfinite(t) else None for t in v[:5]], "last": float(v[-1]),
    }


for bits, data in (("u8", (ints % 251).astype("u1")), ("i16", ints.astype("i2")), ("u16", (ints * 50).astype("u2")), ("i32", (ints * 70001).astype("i4"))):
    make("rice_" + bits, data, compression_type="RICE_1", tile_shape=(6, 10))
    make("gzip2_" + bits, data, compression_type="GZIP_2", tile_shape=(29, 37))
make("rice_noise", rng.integers(-2 ** 31, 2 ** 31, (9, 70)).astype("i4"), compression_type="RICE_1")
make("gzip1_i16", ints.astype("i2"), compression_type="GZIP_1")
make("gzip1_u64", ints.astype("u8") + np.uint64(2 ** 63 + 2 ** 40), compression_type="GZIP_1", tile_shape=(10, 10))
make("gzip2_i64", ints.astype("i8") * 2 ** 40, compression_type="GZIP_2", tile_shape=(10, 10))
make("plio", mask.astype("i2"), compression_type="PLIO_1", tile_shape=(4, 37))
make("plio_high", (mask * 70000).astype("i4"), compression_type="PLIO_1", tile_shape=(29, 37))
make("hcompress", ints.astype("i2"), compression_type="HCOMPRESS_1", tile_shape=(29, 37))
make("hcompress_edge", ints.astype("i4"), compression_type="HCOMPRESS_1", tile_shape=(12, 16))
make("hcompress_lossy", ints.astype("i2"), compression_type="HCOMPRESS_1", tile_shape=(29, 37), hcomp_scale=20)
make("hcompress_smooth", ints.astype("i2"), compression_type="HCOMPRESS_1", tile_shape=(29, 37), hcomp_scale=40, hcomp_smooth=1)
make("nocompress", ints.astype("i2"), compression_type="NOCOMPRESS")
make("cube", cube, compression_type="RICE_1", tile_shape=(2, 3, 4))
for method, name in ((-1, "none"), (1, "one"), (2, "two")):
    for kind, short in (("RICE_1", "rice"), ("GZIP_2", "gzip2"), ("HCOMPRESS_1", "hcompress")):
        tile = (29, 37) if kind == "HCOMPRESS_1" else (8, 37)
        make(f"dither_{name}_{short}", floats if kind != "HCOMPRESS_1" else np.nan_to_num(floats), compression_type=kind, tile_shape=tile,
             quantize_level=8, quantize_method=method, dither_seed=9999 if method > 0 else 0)
make("dither_f8", np.tile(smooth, (1, 12)), compression_type="RICE_1", tile_shape=(29, 444), quantize_level=16, quantize_method=1, dither_seed=7)
make("lossless_f4", floats, compression_type="GZIP_2", quantize_level=0, tile_shape=(29, 37))
make("lossless_f8", smooth, compression_type="GZIP_1", quantize_level=0)
make("fallback", np.where(y < 14, noise, smooth), compression_type="RICE_1", quantize_level=16, quantize_method=1, dither_seed=3)
with open(os.path.join(here, "expected.json"), "w") as f:
    json.dump(out, f, indent=1)
