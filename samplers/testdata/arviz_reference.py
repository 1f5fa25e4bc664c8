"""Writes arviz.json: draws and what ArviZ says of them. Run: pip install arviz==0.23.4; python arviz_reference.py"""
import json
import os

import arviz as az
import numpy as np

rng = np.random.default_rng(20261123)


def ar1(chains, draws, rho):
    x = np.zeros((chains, draws))
    for t in range(1, draws):
        x[:, t] = rho * x[:, t - 1] + rng.normal(size=chains)
    return x


draws = {
    "independent": rng.normal(size=(4, 100)),
    "slow": ar1(4, 150, 0.9),
    "antithetic": ar1(4, 100, -0.5),
    "shifted chain": ar1(3, 101, 0.3) + np.array([[0.0], [0.0], [2.0]]),
    "wider chain": rng.normal(size=(4, 80)) * np.array([[1.0], [1.0], [1.0], [4.0]]),
    "heavy tails": rng.standard_cauchy(size=(4, 120)),
    "one chain, odd": ar1(1, 201, 0.6),
    "ties": np.round(ar1(4, 90, 0.5)),
    "stuck": np.cumsum(rng.normal(size=(2, 60)), axis=1),
}
cases = []
for name, d in draws.items():
    d = np.round(d, 6)
    want = dict(
        rhat=float(az.rhat(d)), ess_bulk=float(az.ess(d, method="bulk")), ess_tail=float(az.ess(d, method="tail")),
        ess_mean=float(az.ess(d, method="mean")), mcse_mean=float(az.mcse(d, method="mean")), mcse_sd=float(az.mcse(d, method="sd")),
        mcse_q10=float(az.mcse(d, method="quantile", prob=0.1)), mcse_q50=float(az.mcse(d, method="quantile", prob=0.5)),
        mean=float(d.mean()), sd=float(d.std(ddof=1)), q5=float(np.quantile(d, 0.05)))
    if len(d) == 1:  # ArviZ wants two chains for this, though it splits them
        del want["rhat"]
    cases.append(dict(Name=name, Draws=d.tolist(), Want=want))
energy = np.round(ar1(1, 200, 0.5)[0], 6)
weights = []
for name, lw in {
    "light": rng.normal(scale=0.3, size=400),
    "heavy": rng.standard_exponential(size=500) * 0.8,
    "hopeless": rng.normal(scale=5, size=300),
    "few": rng.normal(size=60),
}.items():
    raw = np.round(lw, 6)
    smooth, k = az.psislw(raw.copy())
    weights.append(dict(Name=name, Raw=raw.tolist(), Smoothed=np.asarray(smooth).tolist(), K=float(k)))
out = dict(Provenance=f"ArviZ {az.__version__}, numpy {np.__version__}, arviz_reference.py", Cases=cases, Energy=energy.tolist(),
           BFMI=float(np.asarray(az.bfmi(energy))[()] if np.ndim(az.bfmi(energy)) == 0 else az.bfmi(energy)[0]), Weights=weights)
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "arviz.json"), "w") as f:
    json.dump(out, f, separators=(",", ":"))
    f.write("\n")
