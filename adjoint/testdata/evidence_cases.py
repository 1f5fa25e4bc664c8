"""Writes evidence.json: evidences of pixelised sources by another program, for TestEvidenceAgainstReference.

    python evidence_cases.py FOLDER > evidence.json

FOLDER holds evidence.py, a NumPy program for the evidence of a lens with a pixelised source, of the reference data's folder
source-proto. Its power law is replaced here by the closed form with a hypergeometric function (Tessore & Metcalf 2015, eq. 13),
and its constant sky is left out.
"""
import json, sys
import numpy as np
from scipy.special import hyp2f1

sys.path.insert(0, sys.argv[1])
import evidence as ev  # noqa: E402


def epl(x, y, p, al, dal):
    tE, g, e1, e2, xc, yc, g1, g2 = p[:8]
    t, f, ph = g - 1, np.hypot(e1, e2), .5 * np.arctan2(e2, e1)
    q = (1 - f) / (1 + f)
    z = ((x - xc) + 1j * (y - yc)) * np.exp(-1j * ph)
    R, u = np.hypot(q * z.real, z.imag), np.arctan2(z.imag, q * z.real)
    b = tE * np.sqrt(q)
    a = 2 * b / (1 + q) * (b / R) ** (t - 1) * np.exp(1j * u) * hyp2f1(1, t / 2, 2 - t / 2, -f * np.exp(2j * u)) * np.exp(1j * ph)
    al[:, 0] = a.real + g1 * x + g2 * y
    al[:, 1] = a.imag + g2 * x - g1 * y


class Problem(ev.Problem):
    def lightcols(s, t):
        G, dG = super().lightcols(t)
        return (G[:-2], dG[:-2]) if s.nlight else (G, dG)


original, rng, n, pix = ev.epl, np.random.default_rng(7), 24, .13
X, Y = np.meshgrid((np.arange(n) - (n - 1) / 2) * pix, (np.arange(n) - (n - 1) / 2) * pix)
k = np.arange(-2, 3)
psf = np.exp(-.4 * (k[:, None] - .3) ** 2 - .6 * (k + .1) ** 2) + .01 * (k == 1)
psf /= psf.sum()
lens = dict(theta_E=.95, gamma=2.1, e1=.12, e2=-.07, center_x=.02, center_y=-.03, gamma1=.04, gamma2=.02)
p = np.array(list(lens.values()))
al, dal = np.zeros((n * n, 2)), np.zeros((n * n, 2, ev.NL))
epl(X.ravel(), Y.ravel(), p, al, dal)
bx, by = X - al[:, 0].reshape(n, n), Y - al[:, 1].reshape(n, n)
d = np.exp(-((bx - .1) ** 2 + (by + .05) ** 2) / .03) + .5 * np.exp(-((bx + .15) ** 2 + by ** 2) / .01)
light = 2 * np.exp(-np.hypot(X, Y) / .25)
cases = []
for case in range(2):
    sig = np.full((n, n), .08) if case == 0 else .06 + .04 * rng.random((n, n))
    data = np.round(d + case * light + sig * rng.standard_normal((n, n)), 6)
    sig = np.round(sig, 6)
    mask = np.hypot(X, Y) < 1.5
    mask[3:5, 7] = False
    if case == 0:
        kw = dict(k=11, alpha=3, ss=2, nlight=0)
        box = (.02, .01, 1.6)
        hyper = dict(sigma_1=.7, length_1=.35)
        shapes, hy = [], np.log([.7, .35])
    else:
        kw = dict(k=9, kf=8, alpha=2, ss=1, nlight=2, env=True, sigmas=np.geomspace(.05, 1.3, 10))
        box = (0, .03, 2.2, .05, -.02, .8)
        hyper = dict(sigma_1=.5, length_1=.4, sigma_2=1.2, length_2=.15, envelope_x_1=.08, envelope_y_1=-.03, envelope_radius_1=.25, envelope_fall_1=3.5)
        shapes = [.1, .05, .01, -.02, -.15, .1, 0, .01]
        v = list(hyper.values())
        hy = np.r_[np.log(v[:4]), v[4:6], np.log(v[6:])]
    s = Problem(data, sig, psf, pix, mask, box=box, **kw)
    t = np.r_[p, shapes, hy]
    ev.epl = epl
    value = s.eval(t, grad=False)[0]
    ev.epl = original
    grad = s.eval(t)[1]
    out = dict(side=n, scale=pix, psf=psf.tolist(), data=data.ravel().tolist(), sigma=sig.ravel().tolist(), mask=mask.ravel().astype(int).tolist(),
               lens=lens, shapes=shapes, hyper=hyper, box=box, splines=s.ks, smoothness=kw['alpha'] - 1, supersampling=kw['ss'],
               widths=[.05, 1.3], value=value, gradient=grad[:8].tolist(), chi2=s.chi2, active=int((s.a > 0).sum()), coefficients=s.sv.tolist())
    cases.append(out)
json.dump(dict(origin='evidence.py with NumPy %s' % np.__version__, cases=cases), sys.stdout)
