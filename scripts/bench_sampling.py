"""The Python half of bench-sampling: problem MODEL.npz FOLDER | ess SUMMARY.json PEER.jsonl."""

import json
import sys

import numpy as np

NPIX, FOV, SIGMA_N = 256, 10.0, 0.0333
PIX = FOV / NPIX
LENS = ["x", "y", "r_ein", "q", "phi", "gamma", "gamma1", "gamma2"]


def envelope():
    u = (np.arange(64) + 0.5) / 64 - 0.5
    ux, uy = np.meshgrid(u, u)
    return np.exp(-0.5 * (ux**2 + uy**2) / 0.12**2).astype(np.float32)


def psf():
    k = np.exp(-0.5 * (np.arange(-5, 6) * PIX / 0.05) ** 2)
    return np.outer(k, k) / k.sum() ** 2


def problem(path, folder):
    """Writes the peers' data, network, priors and start (the truth) as a config of lenskit."""
    import onnx
    from astropy.io import fits
    from onnx import TensorProto, helper, numpy_helper

    m = dict(np.load(path))
    nodes, init = [], []

    def const(name, v, kind=np.float32):
        init.append(numpy_helper.from_array(np.ascontiguousarray(v, kind), name))
        return name

    nodes.append(helper.make_node("Reshape", ["z", const("shape", [-1, 64, 1, 1], np.int64)], ["x0"]))
    for i in range(5):
        at = dict(kernel_shape=[4, 4], strides=[1, 1] if i == 0 else [2, 2], pads=[0 if i == 0 else 1] * 4)
        w = m[f"w{i}"]
        nodes.append(helper.make_node("ConvTranspose", [f"x{i}", const(f"w{i}", w)], [f"c{i}"], **at))
        if i == 4:
            break
        c = w.shape[1]
        of = [const(f"one{i}", np.ones(c)), const(f"zero{i}", np.zeros(c)), const(f"mean{i}", m[f"mean{i}"]), const(f"var{i}", m[f"var{i}"])]
        nodes.append(helper.make_node("BatchNormalization", [f"c{i}", *of], [f"n{i}"], epsilon=1e-5))
        nodes.append(helper.make_node("Relu", [f"n{i}"], [f"x{i + 1}"]))
    nodes.append(helper.make_node("Tanh", ["c4"], ["t"]))
    nodes.append(helper.make_node("Mul", ["t", const("envelope", envelope())], ["image"]))
    graph = helper.make_graph(
        nodes, "decoder",
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 64])],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 64, 64])], init)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), f"{folder}/decoder.onnx")
    fits.writeto(f"{folder}/mock.fits", m["obs"], overwrite=True)
    fits.writeto(f"{folder}/psf.fits", psf(), overwrite=True)
    t = m["truth"]
    q = t[71]
    with open(f"{folder}/config.yaml", "w") as f:
        f.write(f"""data: {{image: mock.fits, noise: {SIGMA_N}, psf: {{file: psf.fits}}, pixel_scale: {PIX}}}
lens:
  - type: sple
    priors:
      x: {{normal: [0, 0.5], init: {t[68]}}}
      y: {{normal: [0, 0.5], init: {t[69]}}}
      r_ein: {{normal: [1.5, 0.5], bounds: [0.1, 5], init: {t[70] / np.sqrt(q)}}}
      q: {{normal: [0.5, 0.5], bounds: [0.2, 0.999], init: {q}}}
      phi: {{normal: [0, 1], init: {t[72]}}}
      gamma: {{normal: [2, 0.5], bounds: [1.2, 2.8], init: {t[73]}}}
  - type: shear
    priors:
      gamma1: {{normal: [0, 1], init: {t[74]}}}
      gamma2: {{normal: [0, 1], init: {t[75]}}}
source:
  - type: decoder
    model: decoder.onnx
    priors:
      z: {{normal: [0, 1], init: {[float(v) for v in t[:64]]}}}
      x: {{normal: [0, 0.1], init: {t[64]}}}
      y: {{normal: [0, 0.1], init: {t[65]}}}
      s: {{normal: [5, 1], init: {t[66]}}}
      iota: {{normal: [1, 0.5], init: {t[67]}}}
""")


def ess(summary, peer):
    """Prints effective draws per second of the slowest lens parameter, ours and theirs."""
    s = json.load(open(summary))
    own = {k: v["ess_bulk"] for k, v in s["parameters"].items() if k.startswith("lens.")}
    assert len(own) == len(LENS), sorted(own)
    slowest = min(own, key=own.get)
    rate = own[slowest] / s["seconds"]
    # what comes before the first draw, the curvature at the maximum aside, is gradients like the others
    alone = rate / (1 - s["warmup_gradients"] / s["gradients"])
    print(f"lenskit, {s['chains']} chain(s) of {s['draws']} draws: {s['seconds']:.1f} s with warm-up, {s['gradients']} gradients, {s['divergences']} divergences")
    print(f"  slowest lens parameter {slowest}: ESS {own[slowest]:.0f}, {s['gradients'] / own[slowest]:.1f} gradients each, {alone:.1f} a second, {rate:.1f} with warm-up")
    warmup = 0.0
    for line in open(peer):
        r = json.loads(line) if line.startswith("{") else {}
        if r.get("name", "").endswith(".warmup"):
            warmup = r["seconds"]
        if r.get("name", "").endswith(".sampling"):
            other, whole = r["ess_lens_per_s"], r["min_bulk_ess_lens"] / (r["seconds"] + warmup)
            print(f"NumPyro {r['name']}: {r['transitions']} draws, {warmup:.1f} s of warm-up, {r['seconds']:.1f} s, {r['gradients']} gradients, {r['divergent']} divergences")
            print(f"  slowest lens parameter: ESS {r['min_bulk_ess_lens']:.0f}, {r['grads_per_ess_lens']:.1f} gradients each, {other:.2f} a second, {whole:.2f} with warm-up")
            print(f"ratio of effective draws a second, warm-up counted in both: {rate / whole:.1f}; in neither: {alone / other:.1f}; in lenskit's alone: {rate / other:.1f}")
            for i, name in enumerate(LENS):
                key = f"lens.{'shear' if name.startswith('gamma') and name != 'gamma' else 'sple'}.{name}"
                p = s["parameters"][key]
                mean, sd = r["mean_lens"][4 + i], r["sd_lens"][4 + i]
                if name != "r_ein":
                    print(f"  {key:18} lenskit {p['mean']:.5f} ± {p['sd']:.5f}   NumPyro {mean:.5f} ± {sd:.5f}")


if __name__ == "__main__":
    {"problem": problem, "ess": ess}[sys.argv[1]](*sys.argv[2:])
