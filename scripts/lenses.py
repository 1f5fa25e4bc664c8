"""Lists real lenses for a survey, and holds its results against published ones. See scripts/lenses."""
import csv
import json
import os
import sys


def rows(path):
    with open(path, newline="") as f:
        return list(csv.DictReader(f))


def lens_list(root, path, sets):
    """Writes the list of a survey: images with noise, PSF and pixel scale, nothing else."""
    sets = sets or ["f814w", "f555w", "euclid"]
    anchors = {r["name"] for r in rows(os.path.join(root, "anchors.csv"))}
    out = []

    def add(name, file, image, noise, psf, scale):
        file = os.path.abspath(os.path.join(root, file))
        out.append([name] + [f"{file}[{e}]" for e in (image, noise, psf)] + [scale])

    for r in sorted(rows(os.path.join(root, "slacs_f814w", "catalogue.csv")), key=lambda r: r["name"] not in anchors):
        if "f814w" in sets or "anchors" in sets and r["name"] in anchors:
            add(r["name"], f"slacs_f814w/{r['name']}.fits", "IMAGE", "NOISE", "PSF", 0.05)
    if "f555w" in sets:
        for f in sorted(os.listdir(os.path.join(root, "slacs_f555w"))):
            if f.endswith(".fits"):
                add(f[:-5], f"slacs_f555w/{f}", "IMAGE", "NOISE", "PSF", 0.0465)
    if "euclid" in sets:
        for f, image in (("102018665_NEG570040238507752998", "VIS_BGSUB"), ("102020532_NEG589257492489565961_VIS", "VIS_FLUX")):
            add(f"Euclid_{f[:9]}", f"euclid_q1/{f}.fits", image, "VIS_RMS", "VIS_PSF", 0.1)
    with open(path, "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(["name", "image", "noise", "psf", "pixel_scale"])
        w.writerows(out)


def fit(out, name):
    path = os.path.join(out, "fits", name, "fit.json")
    if not os.path.exists(path):
        return None
    with open(path) as f:
        return json.load(f)


def verdict(r):
    return "converged" if r["status"] == "converged" else "not converged: " + r["reason"]


def share(n, of):
    return f"{n} of {of} ({100 * n / max(of, 1):.0f} %)"


def slacs_table(root, out):
    anchors = {r["name"] for r in rows(os.path.join(root, "anchors.csv"))}
    n = dict.fromkeys("all near flagged converged wrong anchors anchors_near anchors_wrong auto_near auto_far auto".split(), 0)
    seconds = []
    lines = ["| lens | anchor | θ_E | Bolton et al. | ratio | published automatic run, ratio | seconds | verdict |", "|---|---|---|---|---|---|---|---|"]
    for c in rows(os.path.join(root, "slacs_f814w", "catalogue.csv")):
        r = fit(out, c["name"])
        if r is None:
            continue
        ref, got = float(c["b_SIE_bolton08"]), r["parameters"]["lens.epl.theta_E"]
        off, good, anchor = abs(got / ref - 1), r["status"] == "converged", c["name"] in anchors
        auto = float(c["thetaE_tinylens_med"]) / ref if c["thetaE_tinylens_med"] else None
        seconds.append(r["seconds"])
        n["all"] += 1
        n["near"] += off < 0.05
        n["converged"] += good
        n["flagged"] += not good
        n["wrong"] += good and off >= 0.05
        n["anchors"] += anchor
        n["anchors_near"] += anchor and off < 0.03
        n["anchors_wrong"] += anchor and good and off >= 0.03
        if auto:
            n["auto"] += 1
            n["auto_near"] += abs(auto - 1) < 0.05
            n["auto_far"] += abs(auto - 1) >= 0.2
        lines.append(f"| {c['name']} | {'yes' if anchor else ''} | {got:.3f} | {ref:.2f} | {got / ref:.3f} | {'' if auto is None else f'{auto:.3f}'} | {r['seconds']:.0f} | {verdict(r)} |")
    if not n["all"]:
        return
    seconds.sort()
    print("\n".join(lines))
    print(f"\nWithin 5 % of Bolton et al.: {share(n['near'], n['all'])}; not converged: {share(n['flagged'], n['all'])}; "
          f"called converged and off by 5 % or more: {share(n['wrong'], n['all'])}, {share(n['wrong'], n['converged'])} of those called converged.")
    print(f"Anchors within 3 %: {share(n['anchors_near'], n['anchors'])}; called converged and off by 3 % or more: {n['anchors_wrong']}.")
    print(f"The published automatic run: within 5 % {share(n['auto_near'], n['auto'])}, off by 20 % or more {n['auto_far']}.")
    print(f"Seconds: median {seconds[len(seconds) // 2]:.0f}, {seconds[0]:.0f} to {seconds[-1]:.0f}.")


def f555w_table(root, out):
    lines = ["| lens | θ_E | published | ratio | γ | published | seconds | verdict |", "|---|---|---|---|---|---|---|---|"]
    for f in sorted(os.listdir(os.path.join(root, "slacs_f555w"))):
        if not f.endswith("_published_model.json"):
            continue
        name = f[: -len("_published_model.json")]
        r = fit(out, name + "_F555W")
        if r is None:
            continue
        with open(os.path.join(root, "slacs_f555w", f)) as g:
            want = json.load(g)[0]["kwargs_lens"][0]
        p, s = r["parameters"], r["uncertainties"]["lens.epl.gamma"]
        error = f" ± {s:.2f}" if s else ""
        lines.append(f"| {name} | {p['lens.epl.theta_E']:.3f} | {want['theta_E']:.3f} | {p['lens.epl.theta_E'] / want['theta_E']:.3f} | "
                     f"{p['lens.epl.gamma']:.2f}{error} | {want['gamma']:.2f} | {r['seconds']:.0f} | {verdict(r)} |")
    if len(lines) > 2:
        print("\n" + "\n".join(lines))


def euclid_table(out):
    lines = ["| lens | θ_E | seconds | verdict |", "|---|---|---|---|"]
    for c in rows(os.path.join(out, "lenses.csv")):
        r = fit(out, c["name"])
        if c["name"].startswith("Euclid") and r:
            lines.append(f"| {c['name']} | {r['parameters']['lens.epl.theta_E']:.3f} | {r['seconds']:.0f} | {verdict(r)} |")
    if len(lines) > 2:
        print("\n" + "\n".join(lines))


def main(args):
    if len(args) >= 3 and args[0] == "list":
        lens_list(args[1], args[2], args[3:])
    elif len(args) == 3 and args[0] == "table":
        slacs_table(args[1], args[2])
        f555w_table(args[1], args[2])
        euclid_table(args[2])
    else:
        sys.exit("usage: lenses.py list LENSES FILE.csv [SET…] | table LENSES OUT")


main(sys.argv[1:])
