"""Reference values of multiplane.json beside this script: python multiplane.py > multiplane.json

Rays through several lens planes by the recursion of Schneider, Ehlers & Falco (1992, eq. 9.7) with mpmath at 50 digits:
profiles in closed form, distances by quadrature, the convergence by differences of 1e-20 arcsec. Where the universe is
flat, lenstronomy's MultiPlane must agree to 1e-8 arcsec (its distances are differences of astropy's).
"""
import functools
import json

import astropy.cosmology
import lenstronomy
import mpmath
import numpy as np
from lenstronomy.LensModel.MultiPlane.multi_plane import MultiPlane
from mpmath import acos, acosh, arg, cos, hyp2f1, log, mp, mpc, mpf, quad, sin, sinh, sqrt

mp.dps = 50


def sis(x, y, theta_E, center_x, center_y):
    z = mpc(x - center_x, y - center_y)
    return theta_E * z / abs(z)


def point_mass(x, y, theta_E, center_x, center_y):
    z = mpc(x - center_x, y - center_y)
    return theta_E**2 * z / abs(z) ** 2


def shear(x, y, gamma1, gamma2):
    return mpc(gamma1, gamma2) * mpc(x, -y)


def nfw(x, y, r_s, alpha_rs, center_x, center_y):
    def g(u):
        if u == 1:
            return 1 + log(mpf(1) / 2)
        return log(u / 2) + (acosh(1 / u) / sqrt(1 - u * u) if u < 1 else acos(1 / u) / sqrt(u * u - 1))

    z = mpc(x - center_x, y - center_y)
    u = abs(z) / r_s
    return alpha_rs * g(u) / (u * g(mpf(1))) * z / abs(z)


def epl(x, y, theta_E, gamma, e1, e2, center_x, center_y):
    # Tessore & Metcalf (2015), eq. 13
    e = mpc(e1, e2)
    f, phi = abs(e), arg(e) / 2
    q, t = (1 - f) / (1 + f), gamma - 1
    turn = mpc(cos(phi), sin(phi))
    z = mpc(x - center_x, y - center_y) / turn
    w = mpc(q * z.real, z.imag)
    r, unit = abs(w), w / abs(w)
    b = theta_E * sqrt(q)
    return 2 * b / (1 + q) * (b / r) ** (t - 1) * unit * hyp2f1(1, t / 2, 2 - t / 2, -f * unit**2) * turn


PROFILES = {"sis": (sis, "SIS"), "point_mass": (point_mass, "POINT_MASS"), "shear": (shear, "SHEAR"), "nfw": (nfw, "NFW"), "epl": (epl, "EPL")}
NAMES = {"r_s": "Rs", "alpha_rs": "alpha_Rs"}


class Universe:
    def __init__(self, om, ol):
        self.om, self.ol = mpf(om), mpf(ol)
        self.ok = 1 - self.om - self.ol
        if abs(self.ok) < mpf(10) ** -12:
            self.ok = mpf(0)

    @functools.cache
    def d(self, z1, z2):
        """Transverse comoving distance in units of c/H0, divided by 1+z2."""
        e = lambda z: sqrt(self.om * (1 + z) ** 3 + self.ok * (1 + z) ** 2 + self.ol)
        chi = quad(lambda z: 1 / e(z), [z1, z2])
        if self.ok > 0:
            chi = sinh(sqrt(self.ok) * chi) / sqrt(self.ok)
        return chi / (1 + z2)


def beta(u, lenses, last, z, x, y):
    """Where the ray at (x, y) crosses redshift z."""
    out = mpc(x, y)
    for zi in sorted({l[1] for l in lenses if l[1] < z}):
        at = beta(u, lenses, last, zi, x, y)
        alpha = sum(PROFILES[l[0]][0](at.real, at.imag, **{k: mpf(v) for k, v in l[2].items()}) for l in lenses if l[1] == zi)
        out -= u.d(zi, z) * u.d(0, last) / (u.d(0, z) * u.d(zi, last)) * alpha
    return out


CASES = {
    "two": ((0.3, 0.7), [2.0], [
        ("epl", 0.5, dict(theta_E=1.2, gamma=2.1, e1=0.1, e2=-0.15, center_x=0.02, center_y=-0.01)),
        ("shear", 0.5, dict(gamma1=0.03, gamma2=-0.02)),
        ("nfw", 0.8, dict(r_s=3.0, alpha_rs=0.3, center_x=0.7, center_y=-0.4))]),
    "three": ((0.3, 0.7), [2.5, 0.9], [
        ("epl", 0.5, dict(theta_E=1.1, gamma=1.85, e1=-0.2, e2=0.1, center_x=0.0, center_y=0.05)),
        ("shear", 0.5, dict(gamma1=-0.02, gamma2=0.05)),
        ("sis", 0.2, dict(theta_E=0.1, center_x=-0.6, center_y=0.9)),
        ("point_mass", 1.3, dict(theta_E=0.2, center_x=0.5, center_y=0.45))]),
    "open": ((0.25, 0.3), [3.0, 0.6], [
        ("sis", 0.4, dict(theta_E=0.9, center_x=0.1, center_y=0.0)),
        ("epl", 1.1, dict(theta_E=0.4, gamma=2.2, e1=0.05, e2=0.1, center_x=-0.1, center_y=0.1)),
        ("nfw", 1.6, dict(r_s=2.0, alpha_rs=0.1, center_x=0.3, center_y=0.2))]),
}

out = []
for case, ((om, ol), sources, lenses) in CASES.items():
    u, last, rays = Universe(om, ol), max(sources), []
    rng = np.random.default_rng(5)
    for source in sources:
        for x, y in rng.uniform(-2, 2, (6, 2)):
            h = mpf(10) ** -20
            f = lambda a, b: beta(u, lenses, last, source, a, b)
            x, y = mpf(float(x)), mpf(float(y))
            b = f(x, y)
            kappa = 1 - ((f(x + h, y) - f(x - h, y)).real + (f(x, y + h) - f(x, y - h)).imag) / (4 * h)
            rays.append(dict(source=source, x=float(x), y=float(y), beta_x=float(b.real), beta_y=float(b.imag), kappa=float(kappa)))
            if u.ok == 0:
                near = [l for l in lenses if l[1] < source]
                m = MultiPlane(source, [PROFILES[l[0]][1] for l in near], [l[1] for l in near],
                               cosmo=astropy.cosmology.FlatLambdaCDM(70, om, Tcmb0=0), z_source_convention=last)
                kwargs = [{NAMES.get(k, k): v for k, v in l[2].items()} for l in near]
                bx, by = m.ray_shooting(float(x), float(y), kwargs)
                assert abs(bx - b.real) + abs(by - b.imag) < 1e-8, (case, source, bx, by, b)
    out.append(dict(name=case, omega_m=om, omega_lambda=ol, sources=sources, rays=rays,
                    lenses=[dict(kind=kind, redshift=z, params=params) for kind, z, params in lenses]))
print(json.dumps({"origin": f"multiplane.py, mpmath {mpmath.__version__} at 50 digits, lenstronomy {lenstronomy.__version__} in agreement where flat. "
                  "beta: where the ray at (x, y) crosses the plane of a source; kappa: half the trace of the derivative of (x, y) - beta", "cases": out}, indent=1))
