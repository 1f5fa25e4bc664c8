"""Holds a COOLEST folder against lenskit's own numbers, by the coolest package.

    lenskit export-coolest RUN -o FOLDER
    lenskit deflect RUN/config.yaml --params RUN/fit.json --points points.csv > deflections.csv
    python check.py FOLDER deflections.csv [RUN/fit.fits] > reference.json

Loads FOLDER/coolest.json, evaluates the deflections of all its mass profiles at the points, reads the light of lens and
source and the posterior samples, and writes what the package found. Fails where deflections differ by more than 1e-9.
Made with coolest 0.1.11, numpy 2.4, astropy 8.0 (pip install "coolest[opt]" pandas).
"""
import contextlib
import csv
import json
import os
import sys

import numpy as np
from astropy.io import fits
from importlib.metadata import version
from coolest.api.composable_models import ComposableLightModel, ComposableMassModel, ComposableLensModel
from coolest.template.json import JSONSerializer

folder = os.path.abspath(sys.argv[1])
with contextlib.redirect_stdout(sys.stderr):
    c = JSONSerializer(os.path.join(folder, "coolest")).load(skip_jsonpickle=True)
with open(sys.argv[2]) as f:
    rows = list(csv.DictReader(f))
col = {k: np.array([float(r[k]) for r in rows]) for k in rows[0]}

out = {"program": "coolest " + version("coolest"), "parameters": {}}
masses = [i for i, e in enumerate(c.lensing_entities) if len(e.mass_model) > 0]
has_chain = "chain_file_name" in c.meta
m = ComposableMassModel(c, folder, entity_selection=masses, load_posterior_samples=has_chain)
ax, ay = m.evaluate_deflection(col["x"], col["y"])
kappa = m.evaluate_convergence(col["x"], col["y"])
for p in c.lensing_entities.get_parameters():
    if hasattr(p, "point_estimate"):
        out["parameters"][p.id] = p.point_estimate.value
out["deflection_difference"] = float(max(np.abs(ax - col["alpha_x"]).max(), np.abs(ay - col["alpha_y"]).max()))
out["convergence_difference"] = float(np.abs(kappa / col["kappa"] - 1).max())
for k, v in {"x": col["x"], "y": col["y"], "alpha_x": ax, "alpha_y": ay, "kappa": kappa}.items():
    out[k] = v.tolist()

for i, e in enumerate(c.lensing_entities):
    if e.type != "Galaxy" or not len(e.light_model):
        continue
    light = ComposableLightModel(c, folder, entity_selection=[i])
    out["light_" + e.name] = light.evaluate_surface_brightness(col["x"], col["y"]).tolist()
if has_chain:
    w = np.asarray(m.post_weights)
    out["draws"], out["weight_sum"] = len(w), float(w.sum())
    out["mean"] = [{k: float(np.sum(w * [d[j][k] for d in m.post_param_list])) for k in m.post_param_list[0][j]} for j in range(m.num_profiles)]
if len(sys.argv) > 3 and c.instrument.psf.type == "PixelatedPSF":
    # The lensed source, with the package's interpolation of pixelated sources, against lenskit's.
    with fits.open(sys.argv[3]) as f:
        want = f["MODEL"].data - f["LENS_LIGHT"].data - c.meta.get("sky_background", 0)
    src = [i for i, e in enumerate(c.lensing_entities) if e.name == "source"]
    lens = ComposableLensModel(c, folder, {"entity_selection": src}, {"entity_selection": masses})
    got, _ = lens.model_image(supersampling=c.meta["lenskit"]["supersampling"])
    out["model_difference"] = float(np.abs(got - want).max() / np.abs(want).max())
json.dump(out, sys.stdout, indent=1)
print()
if out["deflection_difference"] > 1e-9:
    sys.exit("deflections differ by %g" % out["deflection_difference"])
