"""Reads stan-1.csv and stan-2.csv with ArviZ's from_cmdstan and writes what it found to from_cmdstan.json.
Run after go test -run StanCSV -update: pip install arviz==0.23.4; python from_cmdstan.py"""
import json
import os

import arviz as az

here = os.path.dirname(os.path.abspath(__file__))
data = az.from_cmdstan([os.path.join(here, f"stan-{i}.csv") for i in (1, 2)])
print(data)
print(data.sample_stats)
stats = {}
for name, v in data.posterior.data_vars.items():
    columns = {name: v} if v.ndim == 2 else {f"{name}.{k + 1}": v[:, :, k] for k in range(v.shape[2])}
    for column, d in columns.items():
        d = d.values
        stats[column] = dict(Mean=float(d.mean()), RHat=float(az.rhat(d)), ESSBulk=float(az.ess(d, method="bulk")))
out = dict(Provenance=f"ArviZ {az.__version__}, from_cmdstan.py", Shapes={n: list(v.shape) for n, v in data.posterior.data_vars.items()},
           SampleStats=sorted(data.sample_stats.data_vars), Divergences=int(data.sample_stats.diverging.sum()), Stats=stats)
with open(os.path.join(here, "from_cmdstan.json"), "w") as f:
    json.dump(out, f, indent=1)
    f.write("\n")
