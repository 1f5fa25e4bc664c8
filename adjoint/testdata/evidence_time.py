"""Times one evidence with its gradient by another program, for what BenchmarkMarginal15000x1600 times: the same number of rays,
splines and columns of light, and the same PSF.

    python evidence_time.py FOLDER

FOLDER holds evidence.py, as for evidence_cases.py. Its own threads are those of OpenBLAS (OPENBLAS_NUM_THREADS).
"""
import sys, time
import numpy as np

sys.path.insert(0, sys.argv[1])
import evidence as ev  # noqa: E402

w, h, pix = 125, 120, .05
k = np.arange(15) - 7
X, Y = np.meshgrid(k, k)
psf = np.exp(-.35 * (X * X + 1.1 * Y * Y + .2 * X * Y)) + .003 * np.exp(-.05 * (X * X + Y * Y))
rng = np.random.default_rng(1)
x, y = np.meshgrid((np.arange(w) - (w - 1) / 2) * pix, (np.arange(h) - (h - 1) / 2) * pix)
r = np.hypot(x, y)
d = np.exp(-50 * (r - 1.2) ** 2) * (1 + x / r) + 3 * np.exp(-r / .3) + .05 * rng.standard_normal((h, w))
s = ev.Problem(d, np.full((h, w), .05), psf, pix, np.ones((h, w), bool), k=24, kf=32, alpha=2, ss=1, box=(0, 0, 3, .1, 0, 1.1), nlight=2, env=True,
               sigmas=np.geomspace(.06, 1, 8))
t = np.r_[1.2, 2, .1, -.05, 0, 0, .03, -.02, .1, .05, 0, 0, -.1, 0, .01, 0, np.log([.5, .3, .5, .15]), .1, 0, -1.2, 1]
s.eval(t)
for _ in range(5):
    wall, cpu = time.time(), time.process_time()
    s.eval(t)
    print('%.3f s, %.3f s of the processor' % (time.time() - wall, time.process_time() - cpu), flush=True)
