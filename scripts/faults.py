"""Tries the faults of a list again, and others of their kinds. See scripts/faults."""
import csv
import glob
import gzip
import io
import json
import math
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
import zipfile

try:
    import numpy as np
    import onnx
    import onnxruntime
    from astropy.io import fits
    from astropy.wcs import WCS
    from onnx import TensorProto as T
    from onnx import helper as h
    from onnx import numpy_helper as nh
except ImportError as e:
    sys.exit(f"faults: this Python has no {e.name}: pip install numpy onnx onnxruntime astropy, and name it by PYTHON")

from bounded import MIB, complaints, obey, run

warnings.simplefilter("ignore")
onnxruntime.set_default_logger_severity(4)
LENSKIT = os.environ["LENSKIT"]
REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CHECKS = []
N, V = h.make_node, h.make_tensor_value_info


def check(name):
    def add(f):
        CHECKS.append((name, f))
        return f
    return add


class Folder:
    """A scratch folder with a copy of a fault's files."""

    def __init__(self, shared, scratch, name):
        self.shared, self.path = shared, os.path.join(scratch, name)
        found = [d for d in os.listdir(shared) if d.split("-")[0] == name]
        self.origin = os.path.join(shared, found[0]) if found else None
        self.base = os.path.join(scratch, "base")
        if self.origin:
            self.copy(self.origin, self.path)
        os.makedirs(self.path, exist_ok=True)

    def copy(self, source, target):
        """Copies files, with the places that stand for paths filled in."""
        for root, _, names in os.walk(source):
            to = os.path.join(target, os.path.relpath(root, source))
            os.makedirs(to, exist_ok=True)
            for n in names:
                p = os.path.join(to, n)
                with open(os.path.join(root, n), "rb") as f:
                    b = f.read()
                if n.endswith((".yaml", ".csv", ".json", ".sh", ".sbatch")) and len(b) < 300000:
                    b = b.replace(b"REPO/", REPO.encode() + b"/").replace(b"BASE/", self.base.encode() + b"/").replace(b"FOLDER/16/", b"").replace(b"FOLDER/", b"")
                with open(p, "wb") as f:
                    f.write(b)
                os.chmod(p, 0o644)

    def at(self, name):
        return os.path.join(self.path, name)

    def write(self, name, data):
        os.makedirs(os.path.dirname(self.at(name)), exist_ok=True)
        with open(self.at(name), "w" if isinstance(data, str) else "wb") as f:
            f.write(data)

    def json(self, name):
        with open(self.at(name)) as f:
            return json.load(f, parse_constant=lambda s: math.nan)

    def size(self, *names):
        return sum(os.path.getsize(self.at(n)) for n in names)

    def run(self, *args, wall=90, rss=None, **kw):
        return run([LENSKIT, *args], self.path, wall=wall, rss=rss or 3000 * MIB, **kw)

    def sub(self, name):
        f = Folder.__new__(Folder)
        f.shared, f.base, f.origin, f.path = self.shared, self.base, None, os.path.join(self.path, name)
        shutil.rmtree(f.path, ignore_errors=True)
        os.makedirs(f.path)
        return f


def judged(r, size=0, codes=(0, 2, 3, 4), more="", **kw):
    """ok and what was found, for a run of which only the general things must hold."""
    bad = complaints(r, size, codes, **kw)
    return not bad, f"{r}; {r.rss // MIB} MiB, {r.cpu:.1f} s" + (f": {'; '.join(bad)}" if bad else "") + more


def F(name, a):
    return nh.from_array(np.asarray(a, np.float32), name)


def I(name, a):
    return nh.from_array(np.asarray(a, np.int64), name)


def save(path, nodes, inits, inputs=None, outputs=None, opset=18, meta=True):
    g = h.make_graph(nodes, "g", inputs or [V("z", T.FLOAT, [1, 4])], outputs or [V("y", T.FLOAT, [1, 1, 8, 8])], inits)
    m = h.make_model(g, opset_imports=[h.make_opsetid("", opset)], ir_version=8)
    onnx.save(m, path)


def image(path, data, **cards):
    fits.writeto(path, data, fits.Header(cards), overwrite=True)


DECODER = "data: {image: x.fits, noise: 1, pixel_scale: 0.1}\nlens: [{type: sis, priors: {theta_E: {fixed: 0.5}}}]\nsource: [{type: decoder, model: %s, interpolation: bicubic}]\n"
FLAT = "data: {image: %s, noise: %s, pixel_scale: 0.1%s}\nlens: [{type: sis}]\nsource: [{type: sersic, priors: {amp: {fixed: 0}}}]\n"


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def differences(path, z, weights):
    """The gradient of sum(y · weights) by central differences with onnxruntime."""
    s = session(path)
    f = lambda v: float((s.run(None, {"z": v.astype(np.float32)})[0].astype(float).ravel() * weights.ravel()).sum())
    out = []
    for k in range(z.size):
        d = np.zeros_like(z)
        d.ravel()[k] = 1e-2
        out.append((f(z + d) - f(z - d)) / 2e-2)
    return np.array(out)


# --- ONNX ---------------------------------------------------------------------------------------------------------------


@check("a01")
def bodies(f):
    want = [47.79, 131.79, 180.10, 170.75]
    for n in ("plain", "if"):
        r = f.run("eval", n + ".yaml", "--params", "P.json", "--grad", "--quiet")
        if n == "if" and r.rc == 2 and "no differentiation rule" in r.err:
            yield True, f"eval --grad of {n}.onnx", str(r)
            continue
        got = [json.loads(r.out)["gradient_log_likelihood"][f"source.decoder.z.{k}"] for k in (1, 2, 3, 4)] if r.rc == 0 else []
        yield len(got) == 4 and np.allclose(got, want, rtol=2e-3), f"eval --grad of {n}.onnx", f"{r}, gradient {np.round(got, 2).tolist()}, expected {want}"
    r = f.run("fit", "if.yaml", "-o", "o", "--starts", "1", "--iterations", "3", "--quiet")
    yield judged(r)[0] and (r.rc != 2 or "no differentiation rule" in r.err), "fit of if.onnx", str(r)
    rng = np.random.default_rng(3)
    w, s = F("w", rng.normal(size=(4, 64)) * .5), I("s", [1, 1, 8, 8])
    yes, three = nh.from_array(np.array(True), "yes"), nh.from_array(np.array(3, np.int64), "n")
    pre = [N("MatMul", ["z", "w"], ["a"])]
    # a loop and a scan whose bodies take an outer value, an If within an If, one whose branch holds the only use of z
    loop = h.make_graph([N("Mul", ["x", "a"], ["m"]), N("Tanh", ["m"], ["xo"]), N("Identity", ["cond"], ["co"])], "l",
                        [V("i", T.INT64, []), V("cond", T.BOOL, []), V("x", T.FLOAT, [1, 64])], [V("co", T.BOOL, []), V("xo", T.FLOAT, [1, 64])])
    scan = h.make_graph([N("Add", ["x", "a2"], ["p"]), N("Sin", ["p"], ["q"]), N("Identity", ["q"], ["so"])], "s", [V("x", T.FLOAT, [8])], [V("so", T.FLOAT, [8])])
    inner = h.make_graph([N("If", ["yes"], ["u"], then_branch=h.make_graph([N("Tanh", ["a"], ["tt"])], "tt", [], [V("tt", T.FLOAT, None)]),
                                   else_branch=h.make_graph([N("Relu", ["a"], ["ee"])], "ee", [], [V("ee", T.FLOAT, None)]))], "i", [], [V("u", T.FLOAT, None)])
    other = h.make_graph([N("Relu", ["a"], ["eb"])], "e", [], [V("eb", T.FLOAT, None)])
    branch = h.make_graph([N("MatMul", ["z", "w"], ["aa"]), N("Sin", ["aa"], ["tb"])], "t", [], [V("tb", T.FLOAT, None)])
    branch2 = h.make_graph([N("MatMul", ["z", "w"], ["ab"]), N("Cos", ["ab"], ["tc"])], "t2", [], [V("tc", T.FLOAT, None)])
    models = {
        "loop": pre + [N("Loop", ["n", "yes", "one"], ["b"], body=loop), N("Reshape", ["b", "s"], ["y"])],
        "scan": pre + [N("Reshape", ["a", "s8"], ["r"]), N("ReduceMean", ["r", "ax0"], ["a2"], keepdims=0), N("Scan", ["r"], ["b"], body=scan, num_scan_inputs=1), N("Reshape", ["b", "s"], ["y"])],
        "nested": pre + [N("If", ["yes"], ["b"], then_branch=inner, else_branch=other), N("Reshape", ["b", "s"], ["y"])],
        "branch": [N("If", ["yes"], ["b"], then_branch=branch, else_branch=branch2), N("Reshape", ["b", "s"], ["y"])],
    }
    z, g = rng.normal(size=(1, 4)), rng.normal(size=(1, 1, 8, 8))
    for n, nodes in models.items():
        p = f.at(n + ".onnx")
        save(p, nodes, [w, s, yes, three, F("one", np.ones((1, 64))), I("s8", [8, 8]), I("ax0", [0])])
        r = f.run("onnx", "vjp", p, "-o", "v.onnx", "--quiet")
        if r.rc == 2:
            yield "no differentiation rule" in r.err and judged(r)[0], f"onnx vjp of {n}", str(r)
            continue
        if r.rc:
            yield False, f"onnx vjp of {n}", str(r)
            continue
        want = differences(p, z, g)
        v = session(f.at("v.onnx"))
        feeds = {"z": z.astype(np.float32), "grad_y": g.astype(np.float32)}
        out = dict(zip([o.name for o in v.get_outputs()], v.run(None, {i.name: feeds[i.name] for i in v.get_inputs()})))
        got = out["grad_z"].ravel()
        yield np.allclose(got, want, rtol=3e-2, atol=3e-2 * abs(want).max()), f"onnx vjp of {n}", f"{np.round(got, 3).tolist()}, by differences {np.round(want, 3).tolist()}"
        image(f.at("x.fits"), rng.normal(size=(20, 20)).astype("f4"))
        f.write(n + ".yaml", DECODER % (n + ".onnx"))
        at = {f"source.decoder.z.{k}": 0.1 * k for k in (1, 2, 3, 4)}  # off the origin, where odd powers have no slope
        f.write("R.json", json.dumps(at))
        r = f.run("eval", n + ".yaml", "--params", "R.json", "--grad", "--quiet")
        r2 = f.run("eval", n + ".yaml", "--params", "R.json", "--grad", "--quiet", "--device", "reference")
        if r.rc or r2.rc:
            yield judged(r)[0] and judged(r2)[0], f"eval --grad of {n} on cpu and reference", f"{r}; {r2}"
            continue
        a, b = (np.array([json.loads(q.out)["gradient_log_likelihood"][f"source.decoder.z.{k}"] for k in (1, 2, 3, 4)]) for q in (r, r2))
        d = []
        for k in range(4):
            e = []
            for step in (1e-2, -1e-2):
                name = f"source.decoder.z.{k + 1}"
                f.write("Q.json", json.dumps({**at, name: at[name] + step}))
                e.append(json.loads(f.run("eval", n + ".yaml", "--params", "Q.json", "--quiet").out)["log_likelihood"])
            d.append((e[0] - e[1]) / 2e-2)
        ok = np.allclose(a, b, rtol=1e-2, atol=1e-2 * abs(b).max()) and np.allclose(a, d, rtol=3e-2, atol=3e-2 * np.abs(d).max())
        yield ok, f"eval --grad of {n} on cpu and reference", f"{np.round(a, 3).tolist()}, {np.round(b, 3).tolist()}, by differences {np.round(d, 3).tolist()}"


@check("a02")
def all_fixed(f):
    for args in (["fit", "all_fixed.yaml"], ["fit", "all_fixed.yaml", "--optimizer", "adam"], ["fit", "all_fixed.yaml", "--device", "reference"],
                 ["sample", "all_fixed.yaml"], ["sample", "all_fixed.yaml", "--sampler", "nuts", "--chains", "1"]):
        r = f.run(*args, "-o", "o", "--quiet")
        ok, found = judged(r)
        yield ok and r.rc != 4, " ".join(args), found
    # one parameter alone is free, and the decoder's latents are fixed
    image(f.at("x.fits"), np.random.default_rng(1).normal(size=(12, 12)).astype("f4"))
    fixed = "lens: [{type: sis, priors: {theta_E: {%s}, center_x: {fixed: 0}, center_y: {fixed: 0}}}]\nsource: [{type: gaussian, priors: {amp: {fixed: 1}, sigma: {fixed: 0.1}, e1: {fixed: 0}, e2: {fixed: 0}, center_x: {fixed: 0}, center_y: {fixed: 0}}}]\n"
    for name, prior, codes in (("one", "normal: [0.5, 0.1]", (0, 3)), ("none", "fixed: 0.5", (0, 2))):
        f.write(name + ".yaml", "data: {image: x.fits, noise: 1, pixel_scale: 0.1}\n" + fixed % prior)
        for args in (["fit"], ["sample", "--draws", "8", "--warmup", "8"]):
            r = f.run(args[0], name + ".yaml", *args[1:], "-o", "o" + name, "--quiet")
            yield (*judged(r, codes=codes), )[:1] + (f"{args[0]} with {name} parameter free", judged(r, codes=codes)[1])


def honest_fit(f, o, r):
    """A fit that must end with 0 or 3 and leave a fit.json that any JSON reader takes, beside every fit.fits."""
    ok, found = judged(r, codes=(0, 3))
    if not os.path.exists(f.at(o + "/fit.json")):
        return False, found + "; no fit.json"
    try:
        with open(f.at(o + "/fit.json")) as g:
            j = json.load(g, parse_constant=lambda s: (_ for _ in ()).throw(ValueError(s)))
    except ValueError as e:
        return False, found + f"; fit.json: {e}"
    reasons = [k for k in j if "reason" in k or "why" in k or "notice" in k or "warn" in k or "doubt" in k]
    told = any(j[k] for k in reasons)
    if r.rc == 3 and (j["status"] == "converged" or not told):
        return False, found + f"; status {j['status']}, reasons {[j.get(k) for k in reasons]}"
    if r.rc == 0 and j["status"] != "converged":
        return False, found + f"; status {j['status']} with exit code 0"
    return ok, found + f"; {j['status']}"


@check("a03")
def nan_fit(f):
    r = f.run("fit", "zero8.yaml", "--starts", "1", "-o", "o", "--quiet")
    ok, found = honest_fit(f, "o", r)
    yield ok and r.rc == 3, "zero8", found
    y, x = np.mgrid[:24, :24] - 11.5
    rng = np.random.default_rng(4)
    ring = np.exp(-(np.hypot(x, y) - 7) ** 2 / 3)
    model = "lens: [{type: sie}]\nsource: [{type: gaussian}]\nlens_light: [{type: sersic}]\n"
    for name, data, noise, sky in (("sky of -5", ring - 5 + .05 * rng.normal(size=ring.shape), .05, ""), ("wrong sign", -ring + .05 * rng.normal(size=ring.shape), .05, ""),
                                   ("noise 1000 times too large", ring, 50., ""), ("zeros", ring * 0, .05, "sky: {normal: [0, 0.1]}\n"), ("one value", ring * 0 + 7, .05, "")):
        n = name.replace(" ", "_")
        image(f.at(n + ".fits"), data.astype("f4"))
        f.write(n + ".yaml", f"data: {{image: {n}.fits, noise: {noise}, pixel_scale: 0.1}}\n" + model + sky)
        r = f.run("fit", n + ".yaml", "--starts", "1", "--iterations", "4", "-o", "o_" + n, "--quiet")
        ok, found = honest_fit(f, "o_" + n, r)
        yield ok and r.rc == 3, name, found


@check("a04")
def unsigned(f):
    def chi2(name, what, want, key="chi2"):
        r = f.run("eval", name, "--quiet")
        got = json.loads(r.out)[key] if r.rc == 0 else None
        return got is not None and abs(got - want) <= 1e-6 * abs(want), what, f"{r}, {key} {got}, expected {want}"
    yield chi2("u64.yaml", "unsigned of 64 bits", 328350)
    yield chi2("mask64.yaml", "mask of unsigned of 64 bits", 90, "pixels")
    a = np.arange(100).reshape(10, 10)
    for kind in ("uint8", "int8", "uint16", "uint32", "int16", "int32", "int64", "uint64", ">f4", ">f8"):
        n = kind.strip(">")
        fits.writeto(f.at(n + ".fits"), (a - 50 if n.startswith("int") else a).astype(kind), overwrite=True)
        f.write(n + ".yaml", FLAT % (n + ".fits", 1, ""))
        yield chi2(n + ".yaml", n, float((fits.getdata(f.at(n + ".fits")).astype(float) ** 2).sum()))
    m = np.ones((10, 10), np.uint32)
    m[:, 3] = 0
    fits.writeto(f.at("m32.fits"), m, overwrite=True)
    f.write("m32.yaml", FLAT % ("x.fits", 1, ", mask: {file: m32.fits}"))
    yield chi2("m32.yaml", "mask of unsigned of 32 bits", 90, "pixels")
    fits.writeto(f.at("n64.fits"), np.full((10, 10), 2, np.uint64), overwrite=True)
    f.write("n64.yaml", FLAT % ("x.fits", "n64.fits", ""))
    yield chi2("n64.yaml", "noise of unsigned of 64 bits", 25)
    hd = fits.PrimaryHDU(np.arange(100, dtype=np.int16).reshape(10, 10))
    hd.header["BLANK"] = 7
    hd.header["BSCALE"], hd.header["BZERO"] = .5, 3.
    hd.writeto(f.at("blank.fits"), overwrite=True)
    f.write("blank.yaml", FLAT % ("blank.fits", 1, ""))
    d = fits.getdata(f.at("blank.fits")).astype(float)
    yield chi2("blank.yaml", "BLANK with BSCALE and BZERO", float(np.nansum(d ** 2)))


@check("a05")
def wcs(f):
    d = .2 / 3600
    plain = dict(CRVAL1=150., CRVAL2=2., CRPIX1=21., CRPIX2=21., CD1_1=-d, CD1_2=0., CD2_1=0., CD2_2=d)
    more = {
        "tpv2": dict(plain, CTYPE1="RA---TPV", CTYPE2="DEC--TPV", CD1_2=d / 3, CD2_1=d / 3, PV1_1=1., PV1_4=30., PV1_2=.01, PV2_1=.99, PV2_5=-25., PV2_10=900.),
        "zpn2": dict(plain, CTYPE1="RA---ZPN", CTYPE2="DEC--ZPN", PV2_0=0., PV2_1=1., PV2_2=0., PV2_3=-80., PV2_5=1000.),
        "sin": dict(plain, CTYPE1="RA---SIN", CTYPE2="DEC--SIN", PV2_1=.3, PV2_2=-.2),
        "pc": dict(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=150., CRVAL2=2., CRPIX1=21., CRPIX2=21., CDELT1=-d, CDELT2=d, PC1_1=.8, PC1_2=-.6, PC2_1=.6, PC2_2=.8, LONPOLE=175., LATPOLE=2.),
        "sip": dict(plain, CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", A_ORDER=2, B_ORDER=2, A_2_0=1e-3, A_0_2=-2e-3, B_1_1=2e-3),
        "crota": dict(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=150., CRVAL2=2., CRPIX1=21., CRPIX2=21., CDELT1=-d, CDELT2=d, CROTA2=30.),
        "galactic": dict(plain, CTYPE1="GLON-CAR", CTYPE2="GLAT-CAR", PV1_1=0., PV1_2=3.),
    }
    for n, hdr in more.items():
        image(f.at(n + ".fits"), np.zeros((41, 41)), **hdr)
        f.write(n + ".yaml", f"data: {{image: {n}.fits, noise: 1, pixel_scale: 0.2}}\nlens: [{{type: sis}}]\nsource: [{{type: sersic}}]\n")
    for n in ["tpv", "zpn", "lonpole"] + list(more):
        r = f.run("eval", n + ".yaml", "-o", "out_" + n, "--quiet")
        if r.rc:
            yield r.rc == 2 and judged(r)[0] and n not in ("tpv", "zpn", "lonpole"), n, str(r)
            continue
        try:
            a, b = WCS(fits.getheader(f.at(n + ".fits"))), WCS(fits.getheader(f.at(f"out_{n}/model.fits"), "MODEL"))
            off = 0
            for x, y in ((0, 0), (40, 0), (20, 20), (3, 37)):
                p, q = np.array(a.all_pix2world(x, y, 0)), np.array(b.all_pix2world(x, y, 0))
                v = (p - q) * 3600
                off = max(off, math.hypot(v[0] * math.cos(math.radians(p[1])), v[1]))
            yield off < 1e-3, n, f"a pixel moves by up to {off:.4f} arcsec on the sky"
        except Exception as e:
            yield False, n, f"astropy: {str(e).strip()[:120]!r}"


@check("a06")
def psf(f):
    run([sys.executable, "make.py"], f.path)
    g = lambda n, m, s, cx, cy: np.exp(-((np.arange(n)[None] - cx) ** 2 + (np.arange(m)[:, None] - cy) ** 2) / 2 / s ** 2)
    body = ("data: {image: x.fits, noise: 1, psf: {file: %s.fits}}\nlens: [{type: sis}]\nsource: [{type: sersic, priors: {amp: {fixed: 0}}}]\nlens_light: [{type: gaussian, "
            "priors: {amp: {fixed: 1}, sigma: {fixed: 0.15}, e1: {fixed: 0}, e2: {fixed: 0}, center_x: {fixed: 0}, center_y: {fixed: 0}}}]\n")
    card = lambda s: dict(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CDELT1=-s / 3600, CDELT2=s / 3600)
    image(f.at("even2.fits"), g(14, 14, 1.4, 6.5, 6.5))
    image(f.at("mixed.fits"), g(10, 11, 1., 4.5, 5))
    image(f.at("coarse.fits"), g(9, 9, .6, 4, 4), **card(.2))
    image(f.at("negative.fits"), -g(9, 9, 1.2, 4, 4))
    image(f.at("tiny.fits"), g(9, 9, 1.2, 4, 4) - g(9, 9, 1.2, 4, 4).mean() * (1 - 1e-9))
    image(f.at("odd.fits"), g(11, 11, 1.2, 5, 5), **card(.1))
    image(f.at("off2.fits"), g(12, 12, 1.2, 7.5, 5.5))
    image(f.at("nan.fits"), np.where(g(9, 9, 1.2, 4, 4) > .99, np.nan, 1))
    for n in ("even2", "mixed", "coarse", "negative", "tiny", "odd", "off2", "nan"):
        f.write(n + ".yaml", body % n)
    y, x = np.mgrid[:40, :40] - 19.5
    for n, want, notice in (("sumzero", "error", ""), ("negative", "error", ""), ("tiny", "error", ""), ("nan", "error", ""), ("even", math.hypot(1.5, 1), ""), ("even2", math.hypot(1.5, 1.4), ""),
                            ("mixed", math.hypot(1.5, 1), ""), ("odd", math.hypot(1.5, 1.2), ""), ("off", math.hypot(1.5, 1.2), "pixel|off|centre|center|peak"), ("off2", math.hypot(1.5, 1.2), "pixel|off|centre|center|peak"),
                            ("fine", math.hypot(1.5, 1.2), "scale|arcsec"), ("coarse", math.hypot(1.5, 1.2), "scale|arcsec")):
        r = f.run("eval", n + ".yaml", "-o", "out_" + n)
        if want == "error":
            yield r.rc == 2 and judged(r)[0], n, str(r)
            continue
        if r.rc:
            yield bool(notice) and r.rc == 2 and judged(r)[0], n, str(r)
            continue
        m = fits.getdata(f.at(f"out_{n}/model.fits"), "MODEL").astype(float)
        t = m.sum()
        cx, cy = (m * x).sum() / t, (m * y).sum() / t
        width = math.sqrt(max(0, (m * ((x - cx) ** 2 + (y - cy) ** 2)).sum() / t / 2))
        told = bool(notice and re.search("(?i)psf", r.err) and re.search(notice, r.err))
        ok = told or (abs(width - want) < .01 and math.hypot(cx, cy) < .02)
        yield ok, n, f"width {width:.4f} of {want:.4f}, centroid {cx:.3f} {cy:.3f}, notice {r.err.strip()[:120]!r}"


@check("a07")
def batch_of_one(f):
    rng = np.random.default_rng(2)
    # a second one: its batch is 1 through a constant that has it
    save(f.at("one.onnx"), [N("MatMul", ["z", "w"], ["a"]), N("Reshape", ["a", "s"], ["r"]), N("Add", ["r", "b"], ["q"]), N("Sigmoid", ["q"], ["y"])],
         [F("w", rng.normal(size=(4, 64)) * .5), I("s", [1, 1, 8, 8]), F("b", rng.normal(size=(1, 1, 8, 8)) * .3)])
    f.write("one.yaml", DECODER % "one.onnx")
    for n in ("coord", "one"):
        yield judged(f.run("eval", n + ".yaml", "--grad", "--quiet"), codes=(0,))[0], f"eval of {n}", ""
        for args in ([], ["--optimizer", "adam"], ["--device", "reference"]):
            r = f.run("fit", n + ".yaml", "--starts", "1", "--iterations", "3", "-o", "o", "--quiet", *args)
            yield judged(r, codes=(0, 3))[0] and r.rc != 1, f"fit of {n} {' '.join(args)}", str(r)
        for chains in ("1", "4", "8"):
            r = f.run("sample", n + ".yaml", "-o", "s" + n + chains, "--draws", "4", "--warmup", "4", "--chains", chains, "--quiet")
            yield judged(r, codes=(0, 3))[0], f"sample of {n}, {chains} chains", str(r)
        for args in ([], ["--columns", "4"]):
            r = f.run("onnx", "jvp", n + ".onnx", "-o", "j.onnx", "--quiet", *args)
            yield judged(r, codes=(0,))[0], f"onnx jvp of {n} {' '.join(args)}", str(r)
            if r.rc == 0 and args:
                j, z = session(f.at("j.onnx")), rng.normal(size=(1, 4)).astype(np.float32)
                feeds = {"z": z, "tangent_z": np.eye(4, dtype=np.float32)}
                out = dict(zip([o.name for o in j.get_outputs()], j.run(None, {i.name: feeds[i.name] for i in j.get_inputs()})))
                got = out["tangent_y"].reshape(4, -1)
                s = session(f.at(n + ".onnx"))
                want = np.array([(s.run(None, {"z": z + 1e-2 * e})[0] - s.run(None, {"z": z - 1e-2 * e})[0]).ravel() / 2e-2 for e in np.eye(4, dtype=np.float32)[:, None]])
                yield np.allclose(got, want, rtol=5e-2, atol=2e-2 * abs(want).max()), f"columns of the Jacobian of {n}", f"largest difference {abs(got - want).max():.2g} of {abs(want).max():.2g}"


@check("a08")
def not_float32(f):
    rng = np.random.default_rng(3)
    w = F("w", rng.normal(size=(4, 64)) * .5)
    s = I("s", [1, 1, 8, 8])
    w64 = nh.from_array(rng.normal(size=(64, 64)) * .2, "w64")
    save(f.at("half.onnx"), [N("MatMul", ["z", "w"], ["a"]), N("Cast", ["a"], ["d"], to=T.FLOAT16), N("Tanh", ["d"], ["e"]), N("Cast", ["e"], ["f"], to=T.FLOAT), N("Reshape", ["f", "s"], ["y"])], [w, s])
    save(f.at("double.onnx"), [N("MatMul", ["z", "w"], ["a"]), N("Cast", ["a"], ["d"], to=T.DOUBLE), N("MatMul", ["d", "w64"], ["e"]), N("Tanh", ["e"], ["t"]), N("Cast", ["t"], ["f"], to=T.FLOAT), N("Reshape", ["f", "s"], ["y"])], [w, s, w64])
    save(f.at("where.onnx"), [N("MatMul", ["z", "w"], ["a"]), N("Greater", ["a", "o"], ["c"]), N("Cast", ["c"], ["k"], to=T.INT64), N("Cast", ["k"], ["m"], to=T.FLOAT), N("Mul", ["a", "m"], ["b"]), N("Reshape", ["b", "s"], ["y"])], [w, s, F("o", 0)])
    save(f.at("argmax.onnx"), [N("MatMul", ["z", "w"], ["a"]), N("TopK", ["a", "k"], ["t", "i"], axis=1), N("Reshape", ["t", "s"], ["y"])], [w, s, I("k", [64])])
    for n in ("half", "double", "where", "argmax"):
        f.write(n + ".yaml", DECODER % (n + ".onnx"))
    f.write("Q.json", json.dumps({f"source.decoder.z.{k + 1}": v for k, v in enumerate((.7, -.4, 1.1, .3))}))
    for n in ("maxpool", "f64", "half", "double", "where", "argmax"):
        a, b = (f.run("eval", n + ".yaml", "--params", "Q.json", "--grad", "--quiet", "--device", d) for d in ("cpu", "reference"))
        if a.rc or b.rc:
            yield a.rc == b.rc == 2 and judged(a)[0] and judged(b)[0] and n not in ("maxpool", "f64"), n + " on cpu and reference", f"{a}; {b}"
            continue
        x, y = json.loads(a.out), json.loads(b.out)
        tol = 1e-3 if n == "half" else 1e-4
        ok = abs(x["log_likelihood"] - y["log_likelihood"]) <= tol * abs(y["log_likelihood"])
        ga, gb = (np.array([q["gradient_log_likelihood"][k] for k in sorted(y["gradient_log_likelihood"])]) for q in (x, y))
        ok = ok and np.allclose(ga, gb, rtol=2e-2, atol=2e-2 * abs(gb).max())
        yield ok, n + " on cpu and reference", f"{x['log_likelihood']:.6g} and {y['log_likelihood']:.6g}, gradients differ by {abs(ga - gb).max():.2g} of {abs(gb).max():.2g}"
        r = f.run("fit", n + ".yaml", "--starts", "1", "--iterations", "3", "-o", "o", "--quiet")
        yield judged(r, codes=(0, 3))[0], f"fit of {n}", str(r)


@check("a09")
def group_norm(f):
    rng = np.random.default_rng(5)
    def make(name, groups, channels, opset):
        size = groups if opset < 21 else channels
        save(f.at(name), [N("MatMul", ["z", "w"], ["a"]), N("Reshape", ["a", "s"], ["x"]), N("GroupNormalization", ["x", "g2", "b2"], ["q"], num_groups=groups, epsilon=1e-3), N("ReduceMean", ["q", "ax"], ["y"])],
             [F("w", rng.normal(size=(4, channels * 16))), I("s", [1, channels, 4, 4]), F("g2", rng.normal(size=size)), F("b2", rng.normal(size=size)), I("ax", [1])], outputs=[V("y", T.FLOAT, [1, 1, 4, 4])], opset=opset)
    make("g4.onnx", 4, 8, 18)
    make("g3.onnx", 3, 6, 21)
    for n in ("groupnorm18.onnx", "g4.onnx", "g3.onnx"):
        try:
            want = session(f.at(n)).run(None, {"z": np.load(f.at("z.npy"))})[0]
        except Exception as e:
            yield None, n, f"onnxruntime refuses: {str(e)[:100]!r}"
            continue
        r = f.run("onnx", "inspect", n)
        yield judged(r, codes=(0,))[0], "inspect " + n, str(r)
        for device in ("cpu", "reference"):
            r = f.run("onnx", "run", n, "--input", "z=z.npy", "-o", "out", "--device", device, "--quiet")
            got = np.load(glob.glob(f.at("out/y*.npy"))[0]) if r.rc == 0 else None
            yield got is not None and np.allclose(got.ravel(), want.ravel(), rtol=1e-4, atol=1e-5), f"run {n} on {device}", f"{r}, {None if got is None else np.round(got.ravel()[:3], 4).tolist()}, onnxruntime {np.round(want.ravel()[:3], 4).tolist()}"
        g = rng.normal(size=want.shape)
        r = f.run("onnx", "vjp", n, "-o", "v.onnx", "--quiet")
        if r.rc == 0:
            z = np.load(f.at("z.npy"))
            d = differences(f.at(n), z.astype(float), g)
            v = session(f.at("v.onnx"))
            feeds = {"z": z, "grad_y": g.astype(np.float32)}
            out = dict(zip([o.name for o in v.get_outputs()], v.run(None, {i.name: feeds[i.name] for i in v.get_inputs()})))["grad_z"].ravel()
            yield np.allclose(out, d, rtol=3e-2, atol=3e-2 * abs(d).max()), "vjp of " + n, f"{np.round(out, 3).tolist()}, by differences {np.round(d, 3).tolist()}"
        else:
            yield judged(r)[0] and r.rc == 2, "vjp of " + n, str(r)


@check("a10")
def batch_mixing(f):
    run([sys.executable, "make.py"], f.path)
    rng = np.random.default_rng(8)
    with open(f.at("bneval.yaml")) as g:
        text = g.read()
    w, s = F("w", rng.normal(size=(4, 64)) * .5), I("s", [-1, 1, 8, 8])
    inp, out = [V("z", T.FLOAT, ["N", 4])], [V("y", T.FLOAT, ["N", 1, 8, 8])]
    pre = [N("MatMul", ["z", "w"], ["a"]), N("Tanh", ["a"], ["t"]), N("Reshape", ["t", "s"], ["x"])]
    more = {"softmax0": [N("Softmax", ["x"], ["y"], axis=0)], "cumsum0": [N("CumSum", ["x", "ax"], ["y"])], "max0": [N("ReduceMax", ["x", "ax1"], ["m"], keepdims=1), N("Sub", ["x", "m"], ["y"])]}
    for n, nodes in more.items():
        save(f.at(n + ".onnx"), pre + nodes, [w, s, nh.from_array(np.array(0, np.int64), "ax"), I("ax1", [0])], inp, out)
        f.write(n + ".yaml", text.replace("bneval", n))
    for n in ("bneval", "bntrain", "mean0") + tuple(more):
        shutil.rmtree(f.at("o"), ignore_errors=True)
        r = f.run("fit", n + ".yaml", "-o", "o", "--quiet", "--starts", "1", "--iterations", "20")
        if r.rc == 2 and n != "bneval":
            yield judged(r)[0], n + " is refused", str(r)
            continue
        for chains in (1, 4, 8):
            r = f.run("sample", "o", "--draws", "6", "--warmup", "10", "--chains", str(chains), "--quiet", "-o", f"s{chains}{n}")
            if r.rc == 2 and n != "bneval":
                yield judged(r)[0], f"{n}, {chains} chains, is refused", str(r)
                continue
            d = []
            for file in sorted(glob.glob(f.at(f"s{chains}{n}/samples*.csv")))[:3]:
                with open(file) as g:
                    rows = list(csv.DictReader([x for x in g if not x.startswith("#")]))
                for row in rows[-2:]:
                    p = {f"source.decoder.z.{k}": float(row[[c for c in row if c.endswith(f"z.{k}")][0]]) for k in (1, 2, 3, 4)}
                    f.write("P.json", json.dumps(p))
                    e = f.run("eval", n + ".yaml", "--params", "P.json", "--quiet")
                    d.append(float(row["lp__"]) - json.loads(e.out)["log_posterior"])
            # coordinates of the sampler may add one constant; the network works in float32
            yield bool(d) and np.ptp(d) < 0.02, f"{n}, {chains} chains: lp__ minus log_posterior is one constant", f"{r}, {np.round(d, 3).tolist()}"


# --- files written ------------------------------------------------------------------------------------------------------


def outputs(f):
    """Command lines that write a file out, and what they need."""
    f.copy(os.path.join(REPO, "models/linear"), f.at("b"))
    f.write("base.yaml", "data: {size: [12, 12], noise: 0.05, pixel_scale: 0.1}\nlens: [{type: sis}]\nsource: [{type: gaussian}]\n")
    run([LENSKIT, "dataset", "synth", "-o", "g.fits", "--count", "30", "--size", "16", "--quiet"], f.path)
    return {"onnx vjp": ["onnx", "vjp", "b/decoder.onnx", "-o"], "onnx jvp": ["onnx", "jvp", "b/decoder.onnx", "-o"], "mock": ["mock", "base.yaml", "-o"],
            "dataset synth": ["dataset", "synth", "--count", "4", "--size", "16", "-o"], "dataset show": ["dataset", "show", "g.fits", "-o"],
            "export-vae --to-torch": ["export-vae", "t.safetensors", "--to-torch"]}


@check("a11")
def device_node(f):
    cmds = outputs(f)
    del cmds["export-vae --to-torch"]
    if os.getuid():
        yield None, "device nodes are left alone", "needs root"
    for n, args in cmds.items():
        for kind in ("node", "fifo", "full"):
            p = f.at("out." + kind)
            if os.path.lexists(p):
                os.remove(p)
            try:
                if kind == "node":
                    os.mknod(p, 0o20644, os.makedev(1, 3))
                elif kind == "full":
                    os.symlink("/dev/full", p)
                else:
                    os.mkfifo(p)
            except OSError as e:
                if kind != "node":
                    raise
                continue
            before = os.lstat(p)
            r = f.run(*args, p, "--quiet", wall=15)
            after = os.lstat(p)
            yield judged(r)[0] and r.rc in (0, 2) and before.st_mode == after.st_mode and before.st_ino == after.st_ino and (r.rc == 2 or kind == "node"), f"{n} to a {kind}", str(r)


@check("a12")
def pixel_scale(f):
    rng = np.random.default_rng(1)
    image(f.at("tan.fits"), rng.normal(size=(30, 30)).astype("f4"), CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CDELT1=-.05, CDELT2=.05)
    image(f.at("cd.fits"), rng.normal(size=(30, 30)).astype("f4"), CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CD1_1=-.1, CD1_2=0., CD2_1=0., CD2_2=.1)
    for n in ("cdelt", "tan", "cd"):
        r = f.run("fit", n + ".fits", "--noise", "1", "--psf", "none", "-o", "o")
        yield judged(r, wordy=True)[0] and r.rc == 2 and "scale" in r.err and "--mask-neighbours" not in r.err, f"fit {n}.fits", str(r)
        f.write(n + ".yaml", f"data: {{image: {n}.fits, noise: 1}}\nlens: [{{type: sis}}]\nsource: [{{type: sersic}}]\n")
        r = f.run("eval", n + ".yaml")
        yield "scale" in r.err or "arcsec" in r.err, f"eval {n}.yaml says that the scale is odd", str(r)


# --- surveys, checkpoints, signals --------------------------------------------------------------------------------------


def plan(f, s, configs, *more):
    f.write(s + ".csv", "config\n" + "".join(c + "\n" for c in configs))
    return f.run("survey", "plan", s + ".csv", "-o", s, "--quiet", *more)


def small(f, n=24, latents=4, seed=1):
    """A small mock with its config m.yaml and a bundle b."""
    for line in (f"dataset synth -o g.fits --count 60 --size 16 --quiet", f"dataset bundle g.fits -o b --latents {latents} --quiet"):
        f.run(*line.split())
    f.write("base.yaml", f"data: {{size: [{n}, {n}], noise: 0.05, psf: {{gaussian: 0.1}}, pixel_scale: 0.15}}\nlens:\n  - type: sie\n    priors:\n      theta_E: {{normal: [0.9, 0.1], bounds: [0.5, 1.5], truth: 0.9}}\n"
            "source:\n  - {type: decoder, model: b, interpolation: bicubic}\n")
    f.run("mock", "base.yaml", "-o", "m.fits", "--seed", str(seed), "--quiet")


@check("b01")
def done_early(f):
    for name, config in (("mock", os.path.join(f.base, "mock.yaml")), ("m", "m.yaml")):
        small(f)
        for attempt in range(12):
            shutil.rmtree(f.at("s"), ignore_errors=True)
            plan(f, "s", [config])
            watch = ("fit.json", "fit.fits")[attempt % 2]
            r = f.run("survey", "run", "s", "--index", "1", "--quiet", sig=signal.SIGKILL, when=lambda: os.path.exists(f.at(f"s/{name}/{watch}")))
            if r.rc == -9:
                break
        else:
            yield None, f"{name}: SIGKILL between fit.json and the end", "the run was always over"
            continue
        p = f.at(f"s/{name}/survey-status.json")
        os.utime(p, (time.time() - 600,) * 2)
        r = f.run("survey", "run", "s", "--index", "1", "--quiet")
        yield judged(r, codes=(0, 3))[0], f"{name}: the second run goes on", str(r)
        yield os.path.exists(f.at(f"s/{name}/fit.png")), f"{name}: fit.png is made", " ".join(sorted(os.listdir(f.at(f"s/{name}"))))
        r = f.run("survey", "status", "s", "--json")
        yield '"lost"' not in re.sub(r'"lost":\s*0', "", r.out), f"{name}: status is not lost", re.sub(r"\s+", " ", r.out)[:150]
        r = f.run("survey", "status", "s", "--indices", "lost,interrupted,pending")
        yield r.out.strip() == "", f"{name}: nothing is to be handed in again", r.out.strip()[:80]
        r = f.run("survey", "merge", "s", "--quiet")
        with open(f.at("s/catalog.csv")) as g:
            row = list(csv.DictReader(g))[0]
        yield r.rc == 0 and row.get("status") in ("converged", "not_converged"), f"{name}: merge has the result", f"{r}, status {row.get('status')!r}"


@check("b02")
def yaml_bombs(f):
    f.write("P.csv", "x,y\n1,2\n")
    f.write("braces.yaml", "data: " + "{" * 125000 + "}" * 125000)
    f.write("keys.yaml", "".join(f"k{i}: 1\n" for i in range(200000)))
    f.write("questions.yaml", "lens:\n " + "? " * 20000 + "1\n")
    f.write("indent.yaml", "".join(" " * i + "a:\n" for i in range(3000)))
    f.write("quoted.yaml", "x: \"" + "}" * 100000 + "\"\ndata: " + "{a: " * 100000)
    f.write("aliases.yaml", "a0: &a0 [1, 1]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]\n" for i in range(40)) + "data: *a40\n")
    f.write("dashes40.yaml", "lens:\n " + "- " * 20000 + "1\n")
    for n in ("bypass", "dashes", "braces", "keys", "questions", "indent", "quoted", "aliases", "dashes40"):
        for args in (["eval"], ["fit"], ["deflect", "--points", "P.csv"]):
            if args[0] != "eval" and n not in ("bypass", "dashes40"):
                continue
            r = f.run(args[0], n + ".yaml", *args[1:], "--quiet", wall=60, rss=1500 * MIB, cpu=30)
            ok, found = judged(r, f.size(n + ".yaml"), codes=(2,))
            yield ok, f"{args[0]} {n}.yaml", found


@check("b03")
def zip_crc(f):
    yield f.run("weights", "pt_good.pt").rc == 0, "weights pt_good.pt", ""
    with open(f.at("pt_good.pt"), "rb") as g:
        good = g.read()
    with zipfile.ZipFile(io.BytesIO(good)) as z:
        records = z.infolist()
    files = ["zip_crc.pt"]
    for rec in records:
        name, size = rec.filename, rec.file_size
        # extra fields of the local header may be longer than those of the directory
        at = rec.header_offset + 30 + sum(struct.unpack("<HH", good[rec.header_offset + 26:rec.header_offset + 30]))
        if "data/" in name and size:
            for k in (0, size - 1):
                b = bytearray(good)
                b[at + k] ^= 0x10
                p = f"flip_{os.path.basename(name)}_{k}.pt"
                f.write(p, bytes(b))
                files.append(p)
    for p in files:
        for args in (["weights", p, "--json"], ["export-vae", p, "-o", "eb", "--quiet"]):
            r = f.run(*args)
            yield judged(r, codes=(2,))[0] and (args[0] != "weights" or re.search("(?i)checksum|crc|sum", r.err)), " ".join(args[:2]), str(r)


@check("b04")
def pipe_config(f):
    text = open(os.path.join(f.base, "mock.yaml")).read().replace("image: mock.fits", f"image: {f.base}/mock.fits")
    f.write("abs.yaml", text)
    for n in ("fit", "eval"):
        if os.path.lexists(f.at("c")):
            os.remove(f.at("c"))
        os.mkfifo(f.at("c"))
        feed = subprocess.Popen(["sh", "-c", "exec 3>c; cat abs.yaml >&3"], cwd=f.path, stderr=subprocess.DEVNULL)
        more = ["-o", "o", "--starts", "4"] if n == "fit" else []
        r = f.run(n, "c", *more, "--quiet", wall=25)
        feed.kill()
        feed.wait()
        yield judged(r)[0] and (r.rc in (0, 3) or "pipe" in r.err or "regular" in r.err), f"{n} of a pipe", str(r)
        r = run(["bash", "-c", f'exec "$0" {n} <(cat abs.yaml) {" ".join(more)} --quiet', LENSKIT], f.path, wall=25)
        yield judged(r)[0] and (r.rc in (0, 3) or "pipe" in r.err or "regular" in r.err), f"{n} <(cat abs.yaml)", str(r)
    for args in (["fit", "c"], ["eval", "c"], ["mock", "c", "-o", "o.fits"], ["fit", "c", "--noise", "1", "--psf", "none"], ["weights", "c"], ["train-vae", "c", "-o", "t"]):
        for s in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            if s != signal.SIGTERM and args[0] != "fit":
                continue
            r = f.run(*args, "--quiet", wall=10, sig=s, after=.5)
            yield not r.killed and (r.obeyed is None or r.obeyed < obey()), f"{' '.join(args[:2])}, a pipe that nobody fills: {s.name}", f"{r}, {r.obeyed and round(r.obeyed, 2)} s after it"


@check("b05")
def hash_special(f):
    os.mkfifo(f.at("pipe"))
    text = open(f.at("s2/mock/fit.json")).read()
    for kind, path in (("/dev/zero", "/dev/zero"), ("FIFO", f.at("pipe")), ("folder", f.path), ("/dev/full", "/dev/full"), ("/proc/kmsg", "/proc/kmsg")):
        f.write("s2/mock/fit.json", text.replace("/dev/zero", path))
        for args in (["survey", "run", "s2", "--index", "1"], ["survey", "status", "s2"]):
            r = f.run(*args, "--quiet", wall=30, cpu=25)
            ok, found = judged(r)
            yield ok, f"{' '.join(args[:2])}, an input is {kind}", found
        shutil.rmtree(f.at("s2/mock"))
        os.makedirs(f.at("s2/mock"))


@check("b06")
def clock(f):
    small(f)
    for name, pid, host, when in (("5 years ahead", 999999, os.uname().nodename, 5 * 365 * 86400), ("a moment ago, process gone", 999999, os.uname().nodename, 0), ("an hour ahead, another host", 4, "elsewhere", 3600 * 24 * 400)):
        shutil.rmtree(f.at("s"), ignore_errors=True)
        plan(f, "s", ["m.yaml"], "--starts", "2")
        f.write("s/m/survey-status.json", json.dumps({"state": "running", "exit_code": 0, "host": host, "pid": pid, "started": "2030-01-01T00:00:00Z"}))
        t = time.time() + when
        os.utime(f.at("s/m/survey-status.json"), (t, t))
        r = f.run("survey", "run", "s", "--index", "1", "--quiet")
        yield r.rc in (0, 3), f"a status of {name}", str(r)
    # a run that was killed is gone on with at once
    shutil.rmtree(f.at("s"), ignore_errors=True)
    plan(f, "s", ["m.yaml"], "--starts", "400")
    r = f.run("survey", "run", "s", "--index", "1", "--quiet", sig=signal.SIGKILL, after=.4)
    r2 = f.run("survey", "run", "s", "--index", "1", "--quiet")
    yield r.rc == -9 and r2.rc in (0, 3), "the run after a SIGKILL", f"{r}; {r2}"


def pickle_zip(path, pkl, records=(), method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as z:
        z.writestr("m/data.pkl", pkl)
        z.writestr("m/version", "3\n")
        for n, b in records:
            z.writestr("m/data/" + n, b)


@check("b07")
def pt_bombs(f):
    pickle_zip(f.at("deflate_pkl.pt"), b"\x80\x02" + b"N0" * (100 << 20) + b"N.", method=zipfile.ZIP_DEFLATED)
    pickle_zip(f.at("longtext.pt"), b"\x80\x02L" + b"7" * 3000000 + b"L\n.")
    pickle_zip(f.at("inttext.pt"), b"\x80\x02I" + b"7" * 3000000 + b"\n.")
    pickle_zip(f.at("long1.pt"), b"\x80\x02" + b"\x8b" + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20) + b".")
    pickle_zip(f.at("reduce_bytes.pt"), b"\x80\x02ccollections\nOrderedDict\n(B" + struct.pack("<i", 20 << 20) + b"\x01" * (20 << 20) + b"tR.")
    pickle_zip(f.at("reduce_text.pt"), b"\x80\x02ccollections\nOrderedDict\n(X" + struct.pack("<i", 20 << 20) + b"t" * (20 << 20) + b"tR.")
    pickle_zip(f.at("global_long.pt"), b"\x80\x02c" + b"m" * 1000000 + b"\n" + b"n" * 1000000 + b"\n.")
    pickle_zip(f.at("deep.pt"), b"\x80\x02" + b"]" * 1000000 + b"a" * 999999 + b".")
    pickle_zip(f.at("memo.pt"), b"\x80\x02]" + b"".join(b"q" + bytes([i]) + b"(h" + bytes([i]) + b"h" + bytes([i]) + b"l" for i in range(60)) + b".")
    for n in ("expand", "deflate_storage", "long4", "deflate_pkl", "longtext", "inttext", "long1", "reduce_bytes", "reduce_text", "global_long", "deep", "memo"):
        for args in (["weights", n + ".pt"], ["export-vae", n + ".pt", "-o", "eb", "--quiet"]):
            if args[0] == "export-vae" and n not in ("expand", "deflate_storage", "longtext", "reduce_text"):
                continue
            r = f.run(*args, wall=60, rss=1500 * MIB, cpu=25)
            ok, found = judged(r, f.size(n + ".pt"), codes=(2,))
            yield ok, " ".join(args[:2]), found


@check("b08")
def exit75(f):
    small(f)
    f.run("fit", "m.yaml", "-o", "fit", "--starts", "2", "--quiet")
    f.run("fit", os.path.join(f.base, "mock.yaml"), "-o", "fit48", "--starts", "4", "--quiet")
    for run_of, args in (("fit", ["--draws", "2000"]), ("fit48", ["--draws", "100"])):
        bad, seen = [], set()
        for k in range(10):
            shutil.rmtree(f.at("o"), ignore_errors=True)
            r = f.run("sample", run_of, "-o", "o", "--quiet", *args, sig=signal.SIGTERM, after=.05 + .05 * k)
            kept = os.path.exists(f.at("o/checkpoint"))
            seen.add(r.rc)
            if r.rc == 75 and not kept:
                bad.append(round(.05 + .05 * k, 2))
        yield not bad, f"sample {run_of}: exit code 75 only with a checkpoint", f"exit codes {sorted(seen)}, 75 without one when stopped after {bad} s" if bad else f"exit codes {sorted(seen)}"
    bad, seen = [], set()
    for k in range(10):
        shutil.rmtree(f.at("o"), ignore_errors=True)
        r = f.run("fit", "m.yaml", "-o", "o", "--quiet", "--starts", "400", sig=signal.SIGTERM, after=.02 + .04 * k)
        seen.add(r.rc)
        if r.rc == 75 and not os.path.exists(f.at("o/checkpoint")):
            bad.append(round(.02 + .04 * k, 2))
    yield not bad, "fit: exit code 75 only with a checkpoint", f"exit codes {sorted(seen)}, 75 without one when stopped after {bad} s" if bad else f"exit codes {sorted(seen)}"


def stop_in(f, args, o, file, start=.12):
    """Runs args until they have been stopped with their checkpoint written; the folder o is emptied before each try."""
    keep = f.at(o + ".before")
    shutil.rmtree(keep, ignore_errors=True)
    if os.path.exists(f.at(o)):
        shutil.copytree(f.at(o), keep)
    for k in range(14):
        r = f.run(*args, sig=signal.SIGTERM, after=start * 1.25 ** k)
        if r.rc == 75 and os.path.exists(f.at(o + "/" + file)):
            return True
        shutil.rmtree(f.at(o), ignore_errors=True)
        if os.path.exists(keep):
            shutil.copytree(keep, f.at(o))
    return False


@check("b09")
def lengths(f):
    small(f)
    cases = [("fit", ["fit", "m.yaml", "-o", "o", "--starts", "400", "--quiet"]), ("adam", ["fit", "m.yaml", "-o", "o", "--optimizer", "adam", "--quiet"])]
    for name, args in cases:
        shutil.rmtree(f.at("o"), ignore_errors=True)
        places = []

        def walk(v, path):
            if isinstance(v, list) and v:
                places.append(path)
                walk(v[0], path + [0])
            elif isinstance(v, dict):
                for k in sorted(v):
                    walk(v[k], path + [k])
        # one that was stopped early has little to change
        for start in (.12, .3, .5, .8, 1.2):
            shutil.rmtree(f.at("o"), ignore_errors=True)
            if not stop_in(f, args, "o", "checkpoint", start):
                break
            text = open(f.at("o/checkpoint")).read()
            places.clear()
            walk(json.loads(text), [])
            if len(places) > 3:
                break
        if not places:
            yield None, name, "could not be stopped with something in its checkpoint"
            continue
        step = max(1, len(places) // 12)
        for path in places[::step][:14]:
            for how in ("halved", "doubled"):
                root = json.loads(text)
                v = root
                for k in path[:-1]:
                    v = v[k]
                x = v[path[-1]]
                v[path[-1]] = x[:len(x) // 2] if how == "halved" else x + x
                shutil.rmtree(f.at("o"), ignore_errors=True)
                f.write("o/checkpoint", json.dumps(root))
                r = f.run(*args)
                ok, found = judged(r)
                if not ok:
                    yield False, f"{name}: {'/'.join(map(str, path))} {how}", found
                    break
        yield True, f"{name}: lists of a checkpoint halved and doubled", f"{len(places[::step][:14])} places"


@check("b10")
def bitflip(f):
    f.run("dataset", "synth", "-o", "g.fits", "--count", "64", "--quiet")
    train = ["train-vae", "g.fits", "--channels", "4,8,8,8", "--hidden", "16", "--latents", "8", "--samples", "1", "--rate", "1e-3", "--epochs", "60", "--batch", "16", "--quiet", "-o", "a"]
    body = lambda p: (lambda b: b[8 + int.from_bytes(b[:8], "little"):])(open(p, "rb").read())
    if not stop_in(f, train, "a", "checkpoint.safetensors"):
        yield None, "train-vae", "could not be stopped"
    else:
        shutil.copytree(f.at("a"), f.at("kept"))
        f.run(*train)
        want = body(f.at("a/best.safetensors"))
        b0 = open(f.at("kept/checkpoint.safetensors"), "rb").read()
        n = 8 + int.from_bytes(b0[:8], "little")
        for k, at in enumerate((n + 400, n + (len(b0) - n) // 2, len(b0) - 9, 40, n - 40)):
            shutil.rmtree(f.at("a"))
            shutil.copytree(f.at("kept"), f.at("a"))
            b = bytearray(b0)
            b[at] ^= 1 << (k + 2) % 8
            f.write("a/checkpoint.safetensors", bytes(b))
            r = f.run(*[x for x in train if x != "--quiet"])
            said = re.search("(?i)cannot be read|afresh|checksum|damaged|is not|changed|sum", r.err)
            same = r.rc == 0 and body(f.at("a/best.safetensors")) == want
            yield same or (r.rc == 2 and judged(r, wordy=True)[0]), f"train-vae, a bit of byte {at} turned", f"exit code {r.rc}, {'same weights' if same else 'OTHER weights'}, {'said' if said else 'unsaid'}"
    small(f)
    f.run("fit", "m.yaml", "-o", "o", "--starts", "2", "--quiet")
    sample = ["sample", "o", "--draws", "1500", "--warmup", "20", "--chains", "2", "--quiet"]
    if not stop_in(f, sample, "o", "checkpoint", .4):
        yield None, "sample", "could not be stopped"
        return
    shutil.rmtree(f.at("kept2"), ignore_errors=True)
    shutil.copytree(f.at("o"), f.at("kept2"))
    f.run(*sample)
    rows = lambda p: [x for x in open(p) if not x.startswith("#")]
    want = [rows(f.at(f"o/samples_{k}.csv")) for k in (1, 2)]
    text = open(f.at("kept2/checkpoint"), "rb").read()
    digits = [m.start() for m in re.finditer(rb"(?<=\d)\d(?=\d)", text)]
    for k in range(8):
        shutil.rmtree(f.at("o"))
        shutil.copytree(f.at("kept2"), f.at("o"))
        b = bytearray(text)
        at = digits[(2 * k + 1) * len(digits) // 16]
        b[at] ^= 1
        f.write("o/checkpoint", bytes(b))
        r = f.run(*sample)
        same = r.rc in (0, 3) and [rows(f.at(f"o/samples_{k}.csv")) for k in (1, 2)] == want
        yield same or (r.rc == 2 and judged(r)[0]), f"sample, a digit of the checkpoint at {at} changed", f"exit code {r.rc}, {'same' if same else 'OTHER'} draws"
    shutil.rmtree(f.at("o"))
    shutil.copytree(f.at("kept2"), f.at("o"))
    files = sorted(glob.glob(f.at("o/samples*.csv")))
    if files:
        lines = open(files[0]).read().split("\n")
        at = max(i for i, x in enumerate(lines) if x and not x.startswith("#")) - 2
        lines[at] = re.sub(r"\d(?=[^\d]*$)", lambda m: str((int(m.group()) + 1) % 10), lines[at])
        open(files[0], "w").write("\n".join(lines))
        r = f.run(*sample)
        same = r.rc in (0, 3) and [rows(f.at(f"o/samples_{k}.csv")) for k in (1, 2)] == want
        yield same or (r.rc == 2 and judged(r)[0]), "sample, a row of samples_1.csv changed between", f"exit code {r.rc}, {'same' if same else 'OTHER'} draws"


@check("b11")
def counters(f):
    for name, config in (("mock", "mock.yaml"), ("with lens light", "lite/mock.yaml")):
        if not os.path.exists(os.path.join(f.base, os.path.dirname(config), "mock.fits")):
            run([LENSKIT, "mock", "base.yaml", "-o", "mock.fits", "--quiet"], os.path.join(f.base, os.path.dirname(config)))
        args = ["fit", os.path.join(f.base, config), "-o", "o", "--quiet"]
        shutil.rmtree(f.at("o"), ignore_errors=True)
        r = f.run(*args)
        whole, total = f.json("o/fit.json"), r.wall
        rng = np.random.default_rng(7)
        for k in range(4):
            shutil.rmtree(f.at("o"))
            after = float(rng.uniform(.2, max(.3, total * .95)))
            stops = 0
            for _ in range(40):
                r = f.run(*args, sig=(signal.SIGTERM, signal.SIGUSR1)[k % 2], after=after) if stops < 1 + k % 2 else f.run(*args)
                if r.rc != 75:
                    break
                stops += 1
            j = f.json("o/fit.json")
            drop = ("seconds", "inputs", "versions")
            diff = [x for x in whole if x not in drop and whole[x] != j.get(x)]
            yield r.rc in (0, 3) and not diff, f"{name}, stopped {stops} times, first after {after:.2f} s", "the same" if not diff else ", ".join(f"{x} {str(j.get(x))[:40]} for {str(whole[x])[:40]}" for x in diff[:3])


def hidden(path):
    return [os.path.relpath(os.path.join(r, n), path) for r, _, names in os.walk(path) for n in names if n.startswith(".") and not n.endswith(".lock")]


@check("b12")
def leftovers(f):
    f.run("dataset", "synth", "-o", "g.fits", "--count", "40", "--quiet")
    args = ["train-vae", "g.fits", "-o", "vae", "--channels", "32,64,64,64", "--hidden", "256", "--latents", "16", "--samples", "1", "--batch", "4", "--save-every", "1ms", "--epochs"]
    most = 0
    for k in range(16):
        f.run(*args, "1000", "--quiet", sig=signal.SIGKILL, after=.5 + .061 * k)
        most = max(most, len(hidden(f.at("vae"))) if os.path.exists(f.at("vae")) else 0)
    yield most <= 2, "train-vae killed 16 times: temporary files do not pile up", f"{most} at most"
    shutil.rmtree(f.at("vae"), ignore_errors=True)
    few = args + ["2", "--quiet"]
    for k in range(10):
        f.run(*few, sig=signal.SIGKILL, after=.3 + .04 * k)
    r = f.run(*few)
    yield r.rc == 0 and not hidden(f.at("vae")), "train-vae, killed and run to its end, leaves none", f"{r}, {hidden(f.at('vae'))}"
    small(f)
    for args, o in ((["fit", "m.yaml", "-o", "fit", "--starts", "2", "--quiet"], "fit"), (["sample", "fit", "--draws", "30", "--warmup", "10", "--chains", "2", "--quiet"], "fit"),
                    (["mock", "big.yaml", "-o", "mk/m.fits", "--quiet"], "mk"), (["dataset", "synth", "--count", "3000", "-o", "ds/g.fits", "--quiet"], "ds")):
        os.makedirs(f.at(o), exist_ok=True)
        f.write("big.yaml", "data: {size: [1500, 1500], noise: 0.05, pixel_scale: 0.1}\nlens: [{type: sis}]\nsource: [{type: gaussian}]\n")
        whole = f.run(*args)
        for k in range(8):
            s = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[k % 3]
            # most often near the end, when files are written
            f.run(*args, sig=s, after=max(.02, whole.wall * (.5 + .07 * k)))
        r = f.run(*args)
        yield r.rc in (0, 3) and not hidden(f.at(o)), f"{' '.join(args[:2])}, killed and run to its end, leaves none", f"{r}, {hidden(f.at(o))}"


@check("b13")
def survey_options(f):
    text = open(f.at("s/survey.json")).read()
    for key, v in (("Starts", 10 ** 12), ("Starts", -5), ("Iterations", -9), ("Iterations", 2 ** 62), ("Optimizer", "\u001b[31m"), ("device", "pwn"), ("lenses_per_task", -1), ("lenses_per_task", 2 ** 62), ("Seed", -1)):
        j = json.loads(text)
        j["options"]["Starts"] = 4
        (j if key in j else j["options"])[key] = v
        f.write("s/survey.json", json.dumps(j))
        shutil.rmtree(f.at("s/mock"), ignore_errors=True)
        r = f.run("survey", "run", "s", "--index", "1", "--quiet", wall=40)
        ok, found = judged(r, codes=(2,))
        if key == "lenses_per_task" and v > 0:
            # more than there are lenses is one task
            ok, found = judged(r, codes=(0, 2, 3))
        yield ok and (r.rc != 2 or "survey.json" in r.err), f"{key} is {v!r}", found


@check("b14")
def big_prior(f):
    f.copy(os.path.join(REPO, "models/linear"), f.at("whole"))
    for n in ("decoder.onnx", "encoder.onnx"):
        shutil.copy(f.at("whole/" + n), f.at("b/" + n))
    good = f.json("whole/prior.json")
    n = len(good["mean"])
    eye = lambda v: [[v if i == j else 0 for j in range(n)] for i in range(n)]
    for name, mean, cov in (("stored", None, None), ("mean 1e308", [1e308] * n, eye(1.)), ("covariance 1e308", [0.] * n, eye(1e308)), ("mean -1e200", [-1e200] + [0.] * (n - 1), eye(1.)), ("covariance 1e40", [0.] * n, eye(1e40))):
        if mean is not None:
            f.write("b/prior.json", json.dumps({"mean": mean, "covariance": cov}))
        r = f.run("plot", "b", "-o", "o", "--quiet")
        ok, found = judged(r, f.size("b/decoder.onnx", "b/encoder.onnx"), codes=(2, 4))
        if name == "covariance 1e40":
            ok, found = judged(r, f.size("b/decoder.onnx", "b/encoder.onnx"))
        yield ok and (r.rc == 0 or "prior.json" in r.err), name, found


@check("b15")
def big_chain(f):
    r = f.run("plot", "run", "--quiet")
    ok, found = judged(r, f.size("run/samples_1.csv", "run/fit.fits"), codes=(2,))
    yield ok and "samples_1.csv" in r.err, "lp__ of 1e308", found
    small(f)
    f.run("fit", "m.yaml", "-o", "r", "--starts", "2", "--quiet")
    f.run("sample", "r", "--draws", "12", "--warmup", "12", "--chains", "2", "--quiet")
    lines = open(f.at("r/samples_1.csv")).read().split("\n")
    head = next(i for i, x in enumerate(lines) if x.startswith("lp__"))
    for col, v in ((0, "-1e308"), (0, "nan"), (0, "inf"), (7, "1e308"), (8, "-1e300"), (8, "1e-320"), (7, "nan"), (2, "1e308"), (9, "1e17")):
        out = list(lines)
        for i in range(head + 1, len(out)):
            c = out[i].split(",")
            if len(c) > col and not out[i].startswith("#"):
                c[col] = v
                out[i] = ",".join(c)
        f.write("r/samples_1.csv", "\n".join(out))
        r = f.run("plot", "r", "--quiet")
        ok, found = judged(r)
        yield ok and (r.rc == 0 or "samples_1.csv" in r.err), f"{lines[head].split(',')[col]} of {v}", found


@check("b16")
def onnx_bombs(f):
    image(f.at("i32.fits"), np.zeros((32, 32), "f4"))
    np.save(f.at("z.npy"), np.zeros((1, 4), "f4"))
    for m in sorted(glob.glob(f.at("*.onnx.yaml"))):
        n = os.path.basename(m)[:-5]
        ins = onnx.load(f.at(n)).graph.input
        shape = [d.dim_value or 1 for d in ins[0].type.tensor_type.shape.dim] if ins else [1, 4]
        np.save(f.at("zz.npy"), np.zeros(shape, "f4"))
        for args in (["eval", n + ".yaml"], ["onnx", "run", n, "--input", f"{ins[0].name if ins else 'z'}=zz.npy", "-o", "out"], ["onnx", "run", n, "--input", f"{ins[0].name if ins else 'z'}=zz.npy", "-o", "out", "--device", "reference"]):
            r = f.run(*args, "--quiet", wall=60, rss=1500 * MIB, cpu=25)
            ok, found = judged(r, f.size(n))
            yield ok, f"{' '.join(args[:2])} {n if args[0] == 'onnx' else ''}{' reference' if 'reference' in args else ''}", found
    w, s = F("w", np.ones((4, 64))), I("s", [1, 1, 8, 8])
    pre, fin = [N("MatMul", ["z", "w"], ["a"])], [N("ReduceMax", ["k"], ["q"], keepdims=0), N("Add", ["a", "q"], ["c"]), N("Reshape", ["c", "s"], ["y"])]
    cond = V("cond", T.BOOL, [])
    grow = h.make_graph([N("Identity", ["cond"], ["co"]), N("Concat", ["x", "x"], ["xo"], axis=0)], "l", [V("i", T.INT64, []), cond, V("x", T.FLOAT, ["K", 64])], [V("co", T.BOOL, []), V("xo", T.FLOAT, ["K", 64])])
    forever = h.make_graph([N("Identity", ["cond"], ["co"]), N("Identity", ["x"], ["xo"])], "l", [V("i", T.INT64, []), cond, V("x", T.FLOAT, [1, 64])], [V("co", T.BOOL, []), V("xo", T.FLOAT, [1, 64])])
    collect = h.make_graph([N("Identity", ["cond"], ["co"]), N("Identity", ["x"], ["xo"]), N("Identity", ["x"], ["so"])], "l", [V("i", T.INT64, []), cond, V("x", T.FLOAT, [1, 64])], [V("co", T.BOOL, []), V("xo", T.FLOAT, [1, 64]), V("so", T.FLOAT, [1, 64])])
    yes = nh.from_array(np.array(True), "yes")
    models = {
        "eye": (pre + [N("ConstantOfShape", ["big"], ["e0"]), N("EyeLike", ["e0"], ["k"])] + fin, [I("big", [65536, 65536])]),
        "range": (pre + [N("Range", ["r0", "r1", "r2"], ["k0"]), N("Cast", ["k0"], ["k"], to=T.FLOAT)] + fin, [nh.from_array(np.array(v, np.int64), n) for n, v in (("r0", 0), ("r1", 1 << 40), ("r2", 1))]),
        "einsum": (pre + [N("Einsum", ["a", "a", "a", "a"], ["k"], equation="na,nb,nc,nd->nabcd")] + fin, []),
        "tile": (pre + [N("Tile", ["a", "t"], ["k"])] + fin, [I("t", [1, 1 << 24])]),
        "resize": (pre + [N("Reshape", ["a", "s"], ["r"]), N("Resize", ["r", "", "", "to"], ["k"])] + fin, [I("to", [1, 1, 30000, 30000])]),
        "pad": (pre + [N("Reshape", ["a", "s"], ["r"]), N("Pad", ["r", "p"], ["k"])] + fin, [I("p", [0, 0, 16000, 16000, 0, 0, 16000, 16000])]),
        "many constants": (pre + [N("ConstantOfShape", ["big"], [f"k{i}"]) for i in range(12)] + [N("Sum", [f"k{i}" for i in range(12)], ["k"])] + fin, [I("big", [1 << 26])]),
        "growing loop": (pre + [N("Loop", ["n", "yes", "a"], ["k"], body=grow)] + fin, [nh.from_array(np.array(40, np.int64), "n"), yes]),
        "endless loop": (pre + [N("Loop", ["", "yes", "a"], ["k"], body=forever)] + fin, [yes]),
        "collecting loop": (pre + [N("Loop", ["n", "yes", "a"], ["x2", "k"], body=collect)] + fin, [nh.from_array(np.array(1 << 40, np.int64), "n"), yes]),
        "wide convolution": (pre + [N("Reshape", ["a", "s"], ["r"]), N("Conv", ["r", "kk"], ["k"], pads=[15000] * 4)] + fin, [F("kk", np.ones((1, 1, 1, 1)))]),
    }
    for n, (nodes, inits) in models.items():
        file = n.replace(" ", "_") + ".onnx"
        save(f.at(file), nodes, [w, s] + inits)
        f.write(n.replace(" ", "_") + ".yaml", DECODER % file)
        image(f.at("x.fits"), np.zeros((20, 20), "f4"))
        for args in (["eval", n.replace(" ", "_") + ".yaml"], ["onnx", "run", file, "--input", "z=z.npy", "-o", "out", "--device", "reference"]):
            r = f.run(*args, "--quiet", wall=60, rss=1500 * MIB, cpu=25)
            ok, found = judged(r, f.size(file))
            yield ok, f"{' '.join(args[:2])} {n}", found
    r = f.run("onnx", "inspect", "chain10000.onnx", wall=90, cpu=30)
    ok, found = judged(r, f.size("chain10000.onnx"))
    yield ok, "onnx inspect chain10000.onnx", found
    for count in (20000, 100000):
        nodes, last = list(pre), "a"
        for i in range(count):
            nodes.append(N(("Relu", "Tanh", "Neg")[i % 3], [last], [f"r{i}"]))
            last = f"r{i}"
        save(f.at("chain.onnx"), nodes + [N("Reshape", [last, "s"], ["y"])], [w, s])
        f.write("chain.yaml", DECODER % "chain.onnx")
        for args in (["eval", "chain.yaml", "--quiet"], ["onnx", "inspect", "chain.onnx"], ["onnx", "vjp", "chain.onnx", "-o", "v.onnx"]):
            r = f.run(*args, wall=90, rss=1500 * MIB, cpu=25)
            ok, found = judged(r, f.size("chain.onnx"))
            yield ok, f"{' '.join(args[:2])}, a chain of {count}", found


@check("b17")
def special_files(f):
    small(f)
    for line in ("fit m.yaml -o fit --starts 2 --quiet", "dataset synth -o g64.fits --count 20 --quiet"):
        f.run(*line.split())
    plan(f, "s", ["m.yaml"], "--starts", "2")
    f.run("survey", "run", "s", "--index", "1", "--quiet")
    f.write("P.csv", "x,y\n1,2\n")
    cases = [("w.pt", "weights w.pt"), ("w.pth", "weights w.pth"), ("w.safetensors", "weights w.safetensors"), ("w.pt", "export-vae w.pt -o eb"), ("m.fits", "eval m.yaml"), ("m.fits", "fit m.fits --noise 1 --psf none --pixel-scale 0.1 -o oo"),
             ("g64.fits", "dataset show g64.fits -o p.png"), ("g64.fits", "train-vae g64.fits -o t --epochs 1"), ("b/prior.json", "eval m.yaml"), ("b/prior.json", "plot b -o o"), ("b/decoder.onnx", "eval m.yaml"), ("b/card.md", "plot b -o o"),
             ("fit/fit.json", "plot fit"), ("fit/fit.json", "sample fit -o o --draws 2 --warmup 2 --chains 1"), ("fit/config.yaml", "sample fit -o o --draws 2 --warmup 2 --chains 1"), ("fit/fit.fits", "plot fit"), ("fit/checkpoint", "fit m.yaml -o fit --starts 2"),
             ("fit/checkpoint", "sample fit --draws 2 --warmup 2 --chains 1"), ("s/m/survey-status.json", "survey status s"), ("s/m/fit.json", "survey status s"), ("s/survey.json", "survey status s"), ("s/manifest.csv", "survey status s"), ("s/m/fit.json", "survey run s --index 1"),
             ("m.fits", "survey run s --index 1"), ("m.yaml", "survey run s --index 1"), ("s/m/fit.fits", "survey merge s"), ("P.json", "eval m.yaml --params P.json"), ("P.csv", "deflect m.yaml --points P.csv"), ("l.csv", "survey plan l.csv -o s3"), ("m.yaml", "eval m.yaml"),
             ("z.npy", "onnx run b/decoder.onnx --input z=z.npy -o out"), ("t/checkpoint.safetensors", "train-vae g64.fits -o t --epochs 1 --channels 4,4,4,4 --hidden 8 --latents 4 --samples 1"), ("b/decoder.onnx", "onnx inspect b/decoder.onnx")]
    os.makedirs(f.at("t"), exist_ok=True)
    for file, line in cases:
        p = f.at(file)
        kept = os.path.exists(p)
        if kept:
            os.rename(p, p + ".kept")
        for kind in ("FIFO", "/dev/zero"):
            if kind == "FIFO":
                os.mkfifo(p)
            else:
                os.symlink("/dev/zero", p)
            quiet = [] if line.startswith(("weights", "onnx inspect")) else ["--quiet"]
            r = f.run(*line.split(), *quiet, wall=12, rss=900 * MIB)
            ok, found = judged(r)
            # a status or checkpoint that is not a file may be passed over with words
            yield ok and (r.rc == 2 or re.search("checkpoint|status|card.md", file) is not None or line.startswith(("survey status", "survey merge", "survey run", "plot"))), f"{line}, {file} is {kind}", found
            os.remove(p)
        if kept:
            os.rename(p + ".kept", p)
    os.mkfifo(f.at("lib.so"))
    os.symlink("/dev/zero", f.at("zero.so"))
    for lib in ("lib.so", "zero.so"):
        for line in ("doctor", "eval m.yaml --quiet"):
            r = f.run(*line.split(), wall=12, env={"LENSKIT_ONNXRUNTIME": f.at(lib)})
            yield judged(r, codes=(2,))[0] if line != "doctor" else not r.killed and r.rc == 2, f"{line}, the onnxruntime library is {'a FIFO' if lib == 'lib.so' else '/dev/zero'}", str(r)


@check("b18")
def big_inputs(f):
    def bomb(name, total, bitpix=8, sides=(30000, 30000)):
        cards = [("SIMPLE", "T"), ("BITPIX", bitpix), ("NAXIS", 2), ("NAXIS1", sides[0]), ("NAXIS2", sides[1])]
        head = "".join(f"{k:<8}= {v:>20}".ljust(80) for k, v in cards) + "END".ljust(80)
        with gzip.open(f.at(name), "wb", 1) as g:
            g.write(head.ljust(2880).encode())
            for _ in range(total // MIB):
                g.write(bytes(MIB))
    def sparse(name, bitpix, w, hh, size):
        cards = [("SIMPLE", "T"), ("BITPIX", bitpix), ("NAXIS", 2), ("NAXIS1", w), ("NAXIS2", hh)]
        head = "".join(f"{k:<8}= {v:>20}".ljust(80) for k, v in cards) + "END".ljust(80)
        with open(f.at(name), "wb") as g:
            g.write(head.ljust(2880).encode())
            g.truncate(2880 + (size + 2879) // 2880 * 2880)
    bomb("gz900.fits.gz", 900 * 1000 * 1000)
    bomb("gz2000.fits.gz", 2000 * MIB)
    bomb("gz300.fits.gz", 300 * MIB, -64, (6000, 6000))
    sparse("s14000.fits", 8, 14000, 14000, 196000000)
    sparse("s20000.fits", 8, 20000, 20000, 400000000)
    sparse("s16000.fits", -32, 16000, 16000, 1024000000)
    sparse("s2T.fits", 8, 1000000, 1000000, 10 ** 12)
    for n in ("gz900.fits.gz", "gz2000.fits.gz", "gz300.fits.gz", "s14000.fits", "s20000.fits", "s16000.fits", "s2T.fits"):
        f.write("c.yaml", f"data: {{image: {n}, noise: 1, pixel_scale: 0.1}}\nlens: [{{type: sis}}]\nsource: [{{type: sersic}}]\n")
        size = min(f.size(n), 1100 * MIB)
        for args in (["dataset", "show", n, "-o", "p.png"], ["eval", "c.yaml"]):
            r = f.run(*args, "--quiet", wall=90, rss=size + 800 * MIB, cpu=30)
            ok, found = judged(r, size)
            yield ok, f"{' '.join(args[:2])} {n}", found
    np.save(f.at("bool.npy"), np.zeros(100 * MIB, bool))
    np.save(f.at("int8.npy"), np.zeros((25 * MIB, 4), np.int8))
    save(f.at("d.onnx"), [N("MatMul", ["z", "w"], ["a"]), N("Reshape", ["a", "s"], ["y"])], [F("w", np.ones((4, 64))), I("s", [1, 1, 8, 8])])
    for n in ("bool.npy", "int8.npy"):
        r = f.run("onnx", "run", "d.onnx", "--input", "z=" + n, "-o", "out", "--quiet", rss=1200 * MIB)
        ok, found = judged(r, f.size(n), codes=(2,))
        yield ok, "onnx run with " + n, found
    for kind, per in (("U8", 1), ("BOOL", 1), ("I8", 1), ("F16", 2)):
        n = 100 * MIB
        head = json.dumps({"w": {"dtype": kind, "shape": [n // per], "data_offsets": [0, n]}}).encode()
        with open(f.at("u8.safetensors"), "wb") as g:
            g.write(struct.pack("<Q", len(head)) + head)
            g.truncate(8 + len(head) + n)
        for args in (["weights", "u8.safetensors"], ["export-vae", "u8.safetensors", "-o", "eb", "--quiet"]):
            r = f.run(*args, rss=1200 * MIB)
            ok, found = judged(r, f.size("u8.safetensors"))
            yield ok, f"{args[0]} of 100 MiB of {kind}", found
    t = onnx.TensorProto(name="w2", data_type=T.FLOAT, dims=[1 << 30], data_location=onnx.TensorProto.EXTERNAL)
    for k, v in (("location", "w.bin"), ("offset", "0"), ("length", str(4 << 30))):
        t.external_data.add(key=k, value=v)
    g = h.make_graph([N("MatMul", ["z", "w"], ["a"]), N("ReduceMax", ["w2"], ["q"], keepdims=0), N("Add", ["a", "q"], ["c"]), N("Reshape", ["c", "s"], ["y"])], "g", [V("z", T.FLOAT, [1, 4])], [V("y", T.FLOAT, [1, 1, 8, 8])],
                     [F("w", np.ones((4, 64))), I("s", [1, 1, 8, 8]), t])
    with open(f.at("ext.onnx"), "wb") as o:
        o.write(h.make_model(g, opset_imports=[h.make_opsetid("", 18)], ir_version=8).SerializeToString())
    with open(f.at("w.bin"), "wb") as o:
        o.truncate(4 << 30)
    np.save(f.at("z.npy"), np.zeros((1, 4), "f4"))
    for args in (["onnx", "inspect", "ext.onnx"], ["onnx", "run", "ext.onnx", "--input", "z=z.npy", "-o", "out"]):
        r = f.run(*args, "--quiet", rss=(4 << 30) + 600 * MIB, cpu=30)
        ok, found = judged(r, 4 << 30)
        yield ok, f"{' '.join(args[:2])}, weights in a sparse file of 4 GiB", found


# --- words --------------------------------------------------------------------------------------------------------------

ESC = "\x1b]0;t\x07\x1b[31m"


@check("b19")
def escapes(f):
    small(f)
    f.run("fit", "m.yaml", "-o", "fit", "--starts", "2", "--quiet")
    plan(f, "s", ["m.yaml"], "--starts", "2")
    f.run("survey", "run", "s", "--index", "1", "--quiet")
    np.save(f.at("z.npy"), np.zeros((1, 4), "f4"))
    save(f.at("op.onnx"), [N("MatMul", ["z", "w"], ["a"]), N(ESC + "Op", ["a"], ["b" + ESC + "\nc"]), N("Reshape", ["b" + ESC + "\nc", "s"], ["y"])], [F("w", np.ones((4, 64))), I("s", [1, 1, 8, 8])])
    save(f.at("in.onnx"), [N("MatMul", [ESC + "z\nq", "w"], ["a"]), N("Reshape", ["a", "s"], [ESC + "y"])], [F("w", np.ones((4, 64))), I("s", [1, 1, 8, 8])], [V(ESC + "z\nq", T.FLOAT, [1, 4])], [V(ESC + "y", T.FLOAT, [1, 1, 8, 8])])
    head = json.dumps({"\x1b[31mw\nfake F32 [9]\r\u009b": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    f.write("st2.safetensors", struct.pack("<Q", len(head)) + head + bytes(16))
    f.write("name.yaml", "data: {image: m.fits, noise: 1, pixel_scale: 0.1}\nlens: [{type: sis, name: \"\\e[31mq\"}]\nsource: [{type: sersic}]\n")
    f.write("key.yaml", "data: {image: m.fits, noise: 1, pixel_scale: 0.1, \"\\e[31m\\r\\a\": 1}\nlens: [{type: sis}]\nsource: [{type: sersic}]\n")
    f.write("P.json", json.dumps({"\x1b[31m\nlens": 1}))
    f.write("p.csv", "x,y\n\x1b[31m,1\n")
    image(f.at("x.fits"), np.zeros((12, 12), "f4"))
    b = open(f.at("x.fits"), "rb").read().replace(b"END" + b" " * 77, b"CUNIT1  = '\x1b[31mx  '".ljust(80) + b"END" + b" " * 77, 1)
    f.write("esc.fits", b[:2880] + b[2960:] if len(b) % 2880 else b)
    for line in ("onnx inspect esc_output.onnx", "onnx inspect esc_names.onnx", "onnx run esc_names.onnx --input z=z.npy -o out", "onnx vjp esc_names.onnx -o v.onnx", "weights st_esc.safetensors", "eval esc_seq.yaml", "onnx inspect op.onnx",
                 "onnx run op.onnx --input z=z.npy -o out", "onnx vjp op.onnx -o v.onnx", "onnx inspect in.onnx", "onnx vjp in.onnx -o v.onnx", "weights st2.safetensors", "export-vae st2.safetensors -o eb", "eval name.yaml", "eval key.yaml", "eval m.yaml --params P.json",
                 "deflect m.yaml --points p.csv", "fit esc.fits --noise 1 --psf none -o o2"):
        r = f.run(*line.split())
        yield judged(r, wordy=True)[0], line, str(r)
    st = f.json("s/m/survey-status.json")
    fit = f.json("s/m/fit.json")
    for name, a, b in (("status", dict(st, state="failed", message="\x1b[31m\nfake done\r"), fit), ("state", dict(st, state="\x1b[31mrunning"), fit), ("host", dict(st, host="\x1b]0;x\x07", state="running"), fit), ("reason", st, dict(fit, status="failed", reason="\x1b[31m\nx", reasons=["\x1b[31m\nx"]))):
        f.write("s/m/survey-status.json", json.dumps(a))
        f.write("s/m/fit.json", json.dumps(b))
        for line in ("survey status s", "survey run s --index 1", "survey merge s"):
            r = f.run(*line.split())
            yield judged(r, wordy=True)[0] and "fake" not in [x.strip().split(" ")[0] for x in r.out.splitlines()], f"{line}, {name} with control characters", str(r)


@check("b20")
def stdout_full(f):
    small(f)
    f.run("fit", "m.yaml", "-o", "fit", "--starts", "2", "--quiet")
    f.write("P.csv", "x,y\n1,2\n")
    for line in ("mock base.yaml -o q.fits", "plot fit", "fit --help", "--help", "--version", "eval m.yaml", "fit m.yaml -o fit2 --starts 2", "sample fit --draws 4 --warmup 4 --chains 1", "dataset synth -o q2.fits --count 3 --size 16", "dataset show g.fits -o q.png", "weights x.safetensors",
                 "onnx inspect b/decoder.onnx", "onnx vjp b/decoder.onnx -o v.onnx", "deflect m.yaml --points P.csv", "doctor", "survey plan P2.csv -o s", "survey status s", "survey merge s", "export-coolest fit --lens-redshift 0.3 --source-redshift 1", "dataset --help", "onnx inspect --help"):
        if line.startswith("weights"):
            head = b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
            f.write("x.safetensors", struct.pack("<Q", len(head)) + head + bytes(16))
        f.write("P2.csv", "config\nm.yaml\n")
        with open("/dev/full", "w") as full:
            r = f.run(*line.split(), stdout=full)
        yield r.rc == 1 and "no space" in r.err or r.rc == 1 and "full" in r.err, line + " > /dev/full", str(r)


@check("b21")
def umask(f):
    cmds = outputs(f)
    del cmds["export-vae --to-torch"]
    for n, args in cmds.items():
        out = "o." + n.replace(" ", "_") + (".fits" if n in ("mock", "dataset synth") else "")
        old = os.umask(0o077)
        r = f.run(*args, out, "--quiet")
        os.umask(old)
        mode = os.stat(f.at(out)).st_mode & 0o777
        yield r.rc == 0 and mode == 0o600, f"umask 077; {n}", f"{r}, {mode:o}"
        os.chmod(f.at(out), 0o640)
        r = f.run(*args, out, "--quiet")
        mode = os.stat(f.at(out)).st_mode & 0o777
        yield r.rc == 0 and mode in (0o640, 0o644), f"{n} over a file of mode 640", f"{r}, {mode:o}"
    old = os.umask(0o027)
    small(f)
    f.run("fit", "m.yaml", "-o", "fit", "--starts", "2", "--quiet")
    os.umask(old)
    modes = {n: os.stat(f.at("fit/" + n)).st_mode & 0o777 for n in os.listdir(f.at("fit"))}
    yield modes and set(modes.values()) == {0o640} and os.stat(f.at("fit")).st_mode & 0o777 == 0o750, "umask 027; fit", f"{ {k: oct(v) for k, v in modes.items()} }, folder {os.stat(f.at('fit')).st_mode & 0o777:o}"


@check("b22")
def setup_signals(f):
    f.run("dataset", "synth", "-o", "g.fits", "--count", "64", "--quiet")
    for after in (.3, 1.5, 3.):
        r = f.run("train-vae", "g.fits", "-o", "t", "--channels", "1024,1024,1024,1024", "--hidden", "16", "--latents", "8", "--samples", "1", "--epochs", "1", "--quiet", sig=signal.SIGTERM, after=after, rss=5000 * MIB)
        yield not r.killed and (r.obeyed is None or r.obeyed < obey()), f"train-vae while it lays out a wide network, SIGTERM after {after} s", f"{r}, {r.obeyed and round(r.obeyed, 2)} s after it"
    f.write("bigbase.yaml", "data: {size: [2048, 2048], noise: 0.05, pixel_scale: 0.01}\nlens: [{type: sis}]\nsource: [{type: gaussian}]\n")
    f.run("mock", "bigbase.yaml", "-o", "big.fits", "--quiet")
    for s, after in ((signal.SIGTERM, .7), (signal.SIGINT, 2.), (signal.SIGUSR1, 4.)):
        for args in (["fit", "big.yaml", "-o", "o"], ["fit", "big.fits", "--noise", "0.05", "--psf", "none", "--pixel-scale", "0.01", "-o", "o"]):
            r = f.run(*args, "--quiet", sig=s, after=after)
            yield not r.killed and (r.obeyed is None or r.obeyed < obey()), f"{' '.join(args[:2])} of 2048 x 2048, {s.name} after {after} s", f"{r}, {r.obeyed and round(r.obeyed, 2)} s after it"


@check("b23")
def quoting(f):
    small(f)
    f.write("l.csv", "config\nm.yaml\n")
    f.write("bin/lenskit", "#!/bin/sh\nexit 0\n")
    os.chmod(f.at("bin/lenskit"), 0o755)
    for k, name in enumerate(("q`id>PWN0`", "q$(id>PWN1)", "q;id>PWN2;", "q&id>PWN3&", "q|tee${IFS}PWN4", "q>PWN5", "q<PWN6", "q(x)", "q*", "q?", "q#x", "q!x", "~q", "q\tx", "q\\x", "q{a,b}", "q[ab]", "-q", "q\nx", "q\x1bx", "q$HOME", "q'x", 'q"x', "q x")):
        for scheduler in ("slurm", "pbs", "lsf", "sge"):
            if k > 2 and scheduler != "slurm":
                continue
            shutil.rmtree(f.at(name), ignore_errors=True)
            r = f.run("survey", "plan", "l.csv", "--scheduler", scheduler, "--starts", "2", "--quiet", "-o", name)
            if r.rc:
                yield judged(r, codes=(2,))[0], f"folder {name!r}, {scheduler}", str(r)
                continue
            scripts = [p for p in glob.glob(os.path.join(glob.escape(f.at(name)), "survey.*")) if not p.endswith(".json")]
            q = subprocess.run(["bash", scripts[0]], cwd=f.path, capture_output=True, text=True, timeout=60, env=dict(os.environ, SLURM_ARRAY_TASK_ID="1", PBS_ARRAY_INDEX="1", LSB_JOBINDEX="1", SGE_TASK_ID="1"))
            pwn = [p for p in os.listdir(f.path) if p.startswith("PWN")]
            for p in pwn:
                os.remove(f.at(p))
            ran = os.path.exists(os.path.join(f.at(name), "m", "fit.json"))
            yield not pwn and ran and q.returncode == 0, f"job script of folder {name!r}, {scheduler}", f"exit code {q.returncode}, {'ran the lens' if ran else 'did not run the lens'}, {'ran ' + pwn[0] if pwn else 'ran nothing else'}, {q.stderr.strip()[:100]!r}"


@check("b24")
def full_disk(f):
    small(f)
    f.run("fit", "m.yaml", "-o", "fit", "--starts", "2", "--quiet")
    f.run("dataset", "synth", "-o", "g64.fits", "--count", "30", "--quiet")
    f.run("train-vae", "g64.fits", "-o", "t", "--epochs", "1", "--channels", "4,4,4,4", "--hidden", "8", "--latents", "4", "--samples", "1", "--batch", "16", "--quiet")
    f.copy(os.path.join(REPO, "models/linear"), f.at("big"))
    os.makedirs(f.at("M"))
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24k", "none", f.at("M")], capture_output=True).returncode:
        yield None, "a full disk", "a small disk cannot be mounted here"
        return
    try:
        for line in ("sample fit -o M/s --draws 400 --warmup 8 --chains 2", "onnx vjp big/decoder.onnx -o M/v.onnx", "export-vae t -o M/b", "mock base.yaml -o M/m.fits", "fit m.yaml -o M/f --starts 2", "dataset synth -o M/g.fits --count 50 --size 32", "train-vae g64.fits -o M/t --epochs 2 --channels 4,4,4,4 --hidden 8 --latents 4 --samples 1 --batch 16",
                     "export-coolest fit -o M/c --lens-redshift 0.3 --source-redshift 1", "export-vae t --to-torch M/x.safetensors", "plot big -o M/p", "eval m.yaml -o M/e", "dataset bundle g64.fits -o M/b2 --latents 8"):
            for n in os.listdir(f.at("M")):
                p = f.at("M/" + n)
                shutil.rmtree(p) if os.path.isdir(p) else os.remove(p)
            with open(f.at("M/fill"), "wb") as g:
                g.write(bytes(14000))
            r = f.run(*line.split(), "--quiet")
            ok = judged(r, codes=(1,))[0] and re.fullmatch(r"lenskit: \S*M/\S+: cannot be written: the disk is full\n?(hint: .*\n)?", r.err) is not None
            left = hidden(f.at("M"))
            yield ok and not left, line, f"{r}" + (f", left {left}" if left else "")
    finally:
        subprocess.run(["umount", f.at("M")], capture_output=True)


@check("b25")
def hash_late(f):
    small(f)
    text = open(f.at("m.yaml")).read()
    for what in ("config", "image"):
        f.write("m.yaml", text)
        shutil.rmtree(f.at("s"), ignore_errors=True)
        f.run("mock", "base.yaml", "-o", "m.fits", "--quiet")
        f.write("m.yaml", text)
        plan(f, "s", ["m.yaml"], "--starts", "400")
        def edit():
            time.sleep(.5)
            if what == "config":
                f.write("m.yaml", text.replace("noise: 0.05", "noise: 0.5"))
            else:
                with fits.open(f.at("m.fits")) as q:
                    q[0].data = q[0].data * 2
                    q.writeto(f.at("tmp.fits"), overwrite=True)
                os.replace(f.at("tmp.fits"), f.at("m.fits"))
        t = threading.Thread(target=edit)
        t.start()
        r = f.run("survey", "run", "s", "--index", "1", "--quiet")
        t.join()
        before = f.json("s/m/fit.json")["chi2"]
        r2 = f.run("survey", "run", "s", "--index", "1")
        after = f.json("s/m/fit.json")["chi2"]
        yield r.rc in (0, 3) and r.wall > .6 and abs(after / before - 1) > .1, f"{what} changed while it is fitted: the next run fits again", f"{r}; {r2}; chi2 {before:.1f}, then {after:.1f}, after {r.wall:.1f} s"


@check("b26")
def race(f):
    small(f)
    both, words, left = 0, set(), 0
    for k in range(8):
        shutil.rmtree(f.at("s"), ignore_errors=True)
        plan(f, "s", ["m.yaml"], "--starts", "200")
        ps = [subprocess.Popen([LENSKIT, "survey", "run", "s", "--index", "1"], cwd=f.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
        out = [p.communicate()[0] for p in ps]
        fitted = [p.returncode in (0, 3) and "done before" not in o for p, o in zip(ps, out)]
        both += all(fitted)
        left += not any(fitted)
        words |= {o.strip().splitlines()[-1][:100] for p, o in zip(ps, out) if p.returncode not in (0, 3) and o.strip()}
    yield both == 0 and left == 0, "two runs of one lens at one moment, 8 times: one fits it", f"both {both} times, none {left} times; {sorted(words)[:2]}"


# --- without folders of their own ---------------------------------------------------------------------------------------


@check("c1")
def one_folder(f):
    small(f)
    f.run("mock", "base.yaml", "-o", "m2.fits", "--seed", "5", "--quiet")
    f.run("fit", "m.yaml", "-o", "D", "--starts", "2", "--quiet")
    f.run("sample", "D", "--draws", "8", "--warmup", "8", "--chains", "2", "--quiet")
    draws = open(f.at("D/samples_1.csv")).read()
    r = f.run("fit", "m2.yaml", "-o", "D", "--starts", "2")
    r2 = f.run("plot", "D")
    mixed = "m2.fits" in open(f.at("D/config.yaml")).read() and os.path.exists(f.at("D/samples_1.csv")) and open(f.at("D/samples_1.csv")).read() == draws
    yield not (mixed and r.rc in (0, 3) and r2.rc == 0), "another config's fit in the folder of samples", f"{r}; plot: {r2}; {'m2 stands beside the draws of m' if mixed else 'not mixed'}"
    os.makedirs(f.at("mocks"))
    shutil.copy(f.at("m.fits"), f.at("mocks/m.fits"))
    r = f.run("fit", "m.yaml", "--starts", "2", "--quiet")
    before = f.json("m-fit/fit.json") if os.path.exists(f.at("m-fit/fit.json")) else {}
    r2 = f.run("fit", "mocks/m.fits", "--noise", "0.05", "--psf", "none", "--pixel-scale", "0.15", "--starts", "1", "--iterations", "2", "--quiet")
    after = f.json("m-fit/fit.json") if os.path.exists(f.at("m-fit/fit.json")) else {}
    kept = "m-fit/before-1/fit.json"
    yield r2.rc == 2 and judged(r2)[0] or before == after or os.path.exists(f.at(kept)) and f.json(kept) == before, "fit m.yaml and fit mocks/m.fits do not take each other's folder", f"{r}; {r2}"
    ps = [subprocess.Popen([LENSKIT, "fit", c, "-o", "E", "--starts", "600", "--quiet"], cwd=f.path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for c in ("m.yaml", "m2.yaml")]
    errs = [p.communicate()[1] for p in ps]
    codes = [p.returncode for p in ps]
    yield 2 in codes and not all(c in (0, 3) for c in codes), "two fits at one time in one folder", f"exit codes {codes}, {[e.strip()[:100] for e in errs]}"


@check("c2")
def many_images(f):
    a, b = np.ones((10, 10), "f4"), np.full((10, 10), 3, "f4")
    hl = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(a, name="SCI", ver=1), fits.ImageHDU(b, name="SCI", ver=2), fits.ImageHDU(a, name="ERR", ver=1)])
    hl.writeto(f.at("x.fits"), overwrite=True)
    fits.HDUList([fits.PrimaryHDU()] + [fits.ImageHDU(a * k, name=f"N{k}") for k in range(1, 25)]).writeto(f.at("many.fits"), overwrite=True)
    for spec, want in (("x.fits[SCI,1]", 100), ("x.fits[SCI,2]", 900), ("x.fits[sci,2]", 900), ("x.fits[2]", 900), ("x.fits[ERR]", 100), ("many.fits[N5]", 2500), ("x.fits[SCI,3]", None), ("x.fits[NO]", None)):
        f.write("c.yaml", FLAT % (f'"{spec}"', 1, ""))
        r = f.run("eval", "c.yaml", "--quiet")
        got = json.loads(r.out)["chi2"] if r.rc == 0 else None
        yield judged(r)[0] and got == want, spec, f"{r}, chi2 {got}, expected {want}"
    for n in ("x.fits", "many.fits"):
        f.write("c.yaml", FLAT % (n, 1, ""))
        r = f.run("eval", "c.yaml")
        yield bool(r.err.strip()) and judged(r, wordy=True)[0], f"{n} has several images: that is said", str(r)
        r = f.run("fit", n, "--noise", "1", "--psf", "none", "--pixel-scale", "0.1", "-o", "o", "--starts", "1", "--iterations", "1")
        yield re.search(r"(?i)images|extension|HDU|\[", r.err) is not None, f"fit {n}: that is said", str(r)


@check("c3")
def own_samples(f):
    small(f)
    f.run("fit", "m.yaml", "-o", "D", "--starts", "2", "--quiet")
    mine = ["samples_of_mine.csv", "samples_old.csv", "samples-2020.csv", "samples_1.csv.bak", "samples_12a.csv", "samples.old.csv"]
    for n in mine:
        f.write("D/" + n, "a,b\n1,2\n")
    f.run("sample", "D", "--draws", "8", "--warmup", "8", "--chains", "2", "--quiet")
    f.run("sample", "D", "--draws", "8", "--warmup", "8", "--chains", "1", "--quiet")
    gone = [n for n in mine if not os.path.exists(f.at("D/" + n))]
    yield not gone, "sample leaves a user's own files", f"gone: {gone}"
    f.run("fit", "m.yaml", "-o", "D", "--starts", "3", "--quiet")
    gone = [n for n in mine if not os.path.exists(f.at("D/" + n))]
    yield not gone, "fit leaves a user's own files", f"gone: {gone}"
    r = f.run("export-coolest", "D", "-o", "c", "--lens-redshift", "0.3", "--source-redshift", "1", "--quiet")
    f.run("sample", "D", "--draws", "8", "--warmup", "8", "--chains", "2", "--quiet")
    for n in mine:
        f.write("D/" + n, "a,b\n1,2\n")
    r = f.run("export-coolest", "D", "-o", "c", "--lens-redshift", "0.3", "--source-redshift", "1", "--quiet")
    rows = sum(1 for _ in open(f.at("c/coolest_chain.csv"))) - 1 if os.path.exists(f.at("c/coolest_chain.csv")) else None
    yield r.rc == 0 and rows == 16, "export-coolest takes lenskit's draws alone", f"{r}, {rows} draws of 16"


@check("c4")
def neighbours(f):
    y, x = np.mgrid[:121, :121] - 60.
    worst, told = 0, ""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        a = rng.normal(size=x.shape) * .1 + 5 * np.exp(-(x * x + y * y) / 50)
        for _ in range(8):
            r, t = rng.uniform(34, 56), rng.uniform(0, 2 * math.pi)
            a += rng.uniform(.25, 1.) * np.exp(-((x - r * math.cos(t)) ** 2 + (y - r * math.sin(t)) ** 2) / 2 / rng.uniform(1, 3) ** 2)
        masks = []
        for k in (0, 2):
            image(f.at("x.fits"), np.rot90(a, k).astype("f4"))
            s = rng.uniform(.09, .11, size=x.shape) if k == 0 else s
            image(f.at("n.fits"), np.rot90(s, k).astype("f4"))
            f.write("c.yaml", "data: {image: x.fits, noise: n.fits, pixel_scale: 0.1, mask: {neighbours: auto}}\nlens: [{type: sis}]\nsource: [{type: sersic}]\n")
            r = f.run("eval", "c.yaml", "-o", "e", "--quiet")
            if r.rc:
                told = str(r)
                masks.append(None)
                continue
            with fits.open(f.at("e/model.fits")) as q:
                m = [u for u in q if u.name == "MASK"]
                masks.append(np.rot90(m[0].data, -k) if m else json.loads(r.out)["pixels"])
        if any(m is None for m in masks):
            yield False, "mask of the image turned by 180 degrees", told
            return
        worst = max(worst, int(np.abs(np.asarray(masks[0], float) - np.asarray(masks[1], float)).sum()))
    yield worst == 0, "neighbours of six images and of these turned by 180 degrees", f"masks differ by up to {worst} pixels"


@check("c5")
def free_source(f):
    yield None, "the basin of the free source", "no input is known that tells; the project's own test holds it"


@check("c6")
def limits(f):
    small(f)
    f.run("fit", "m.yaml", "-o", "fit", "--starts", "2", "--quiet")
    for name, limit in (("ulimit -n 6", "ulimit -n 6"), ("ulimit -n 12", "ulimit -n 12"), ("ulimit -v 1200000", "ulimit -v 1200000"), ("ulimit -v 2500000", "ulimit -v 2500000")):
        for line in ("fit m.yaml -o o --starts 4 --quiet", "sample fit -o o2 --draws 20 --warmup 10 --chains 4 --quiet", "eval m.yaml --quiet", "train-vae g64.fits -o t --epochs 1 --channels 8,8,8,8 --hidden 16 --latents 4 --samples 1 --quiet"):
            if line.startswith("train") and not os.path.exists(f.at("g64.fits")):
                f.run("dataset", "synth", "-o", "g64.fits", "--count", "64", "--quiet")
            r = run(["bash", "-c", f'{limit}; exec "$0" {line}', LENSKIT], f.path, wall=40)
            # onnxruntime has words of its own when it cannot open what it wants
            r.err = "".join(x for x in r.err.splitlines(True) if "cpuinfo" not in x)
            ok, found = judged(r, codes=(0, 1, 2, 3, 4))
            yield ok, f"{name}; {line.split(' ')[0]}", found


@check("c7")
def on_bound(f):
    y, x = (np.mgrid[:30, :30] - 14.5) * .1
    rng = np.random.default_rng(5)
    f.write("base.yaml", "data: {size: [30, 30], noise: 0.05, pixel_scale: 0.12}\nlens: [{type: sie, priors: {theta_E: {normal: [1, 0.1], truth: 1}}}]\nsource: [{type: gaussian, priors: {amp: {normal: [1, 0.3], truth: 1}, sigma: {normal: [0.2, 0.05], bounds: [0.01, 1], truth: 0.2}}}]\n")
    f.run("mock", "base.yaml", "-o", "m.fits", "--quiet")
    text = open(f.at("m.yaml")).read()
    cases = {"subhalo": re.sub(r"^source:", "  - {type: sis, name: sub, priors: {theta_E: {uniform: [0, 0.5]}, center_x: {fixed: -1.5}, center_y: {fixed: 1.4}}}\nsource:", text, flags=re.M),
             "lens light": text + "lens_light: [{type: gaussian, priors: {amp: {normal: [0, 1], bounds: [0, 10]}, sigma: {fixed: 0.3}, e1: {fixed: 0}, e2: {fixed: 0}, center_x: {fixed: 0}, center_y: {fixed: 0}}}]\n"}
    for n, t in cases.items():
        f.write("c.yaml", t)
        shutil.rmtree(f.at("o"), ignore_errors=True)
        r = f.run("fit", "c.yaml", "-o", "o", "--starts", "8", "--iterations", "60")
        if r.rc not in (0, 3):
            yield False, n, str(r)
            continue
        j = f.json("o/fit.json")
        key = "lens.sub.theta_E" if n == "subhalo" else "lens_light.gaussian.amp"
        v, u = j["parameters"].get(key), (j.get("uncertainties") or {}).get(key)
        words = re.search(r"(?i)upper limit|limit|bound|<\s*\d", r.out + r.err + json.dumps({k: j[k] for k in j if k not in ("parameters", "uncertainties", "inputs")})) is not None
        # an error of less than a millionth of the prior's width is none
        free = v is not None and v > 3 * (u or 0) and v > 1e-3
        yield free or ((u is None or u > 1e-6) and words), f"{n} on its bound", f"{v} ± {u}, {'said' if words else 'unsaid'}, exit code {r.rc}"
        r = f.run("sample", "o", "--draws", "60", "--warmup", "60", "--chains", "2")
        s = f.json("o/summary.json")
        sd = s["parameters"].get(key, {}).get("sd")
        told = re.search(r"(?i)diverg|R.?hat|R̂|limit|bound", r.out + r.err) is not None
        yield sd is not None and sd > 1e-6 and (s["divergences"] < 5 or told), f"{n} on its bound, sampled", f"sd {sd}, {s['divergences']} divergences, exit code {r.rc}, {'said' if told else 'unsaid'}"


@check("c8")
def bar(f):
    import fcntl
    import pty
    import termios
    small(f)
    f.run("dataset", "synth", "-o", "g64.fits", "--count", "40", "--quiet")
    for line, want in (("fit m.yaml -o o --starts 600", True), ("dataset synth -o big.fits --count 3000", True), ("train-vae g64.fits -o t --epochs 40 --channels 4,4,4,4 --hidden 8 --latents 4 --samples 1 --batch 16", True)):
        pid, fd = pty.fork()
        if pid == 0:
            os.chdir(f.path)
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
            os.execv(LENSKIT, [LENSKIT] + line.split())
        text = b""
        while True:
            try:
                b = os.read(fd, 65536)
            except OSError:
                break
            if not b:
                break
            text += b
        os.waitpid(pid, 0)
        text = text.decode("utf-8", "replace")
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
        # what is drawn over; the lines that stay may be as long as they like
        redrawn = [x for y in plain.split("\r\n") for x in y.split("\r")[:-1]]
        long = [x for x in redrawn if len(x) > 60]
        yield (bool(redrawn) or not want) and not long, f"{' '.join(line.split()[:2])} on a terminal of 60 columns: a bar, in one line", f"{len(redrawn)} drawings, {len(long)} too long, longest {max(map(len, redrawn), default=0)}"


@check("c9")
def tiny(f):
    rng = np.random.default_rng(1)
    a = rng.normal(size=(30, 30)).astype("f8") * .05
    b = a.copy()
    b[7, 11] = 1e300
    for n, data in (("5 x 5", a[:5, :5]), ("1 x 1", a[:1, :1]), ("7 x 7", a[:7, :7]), ("3 x 40", np.resize(a, (3, 40))), ("pixel of 1e300", b), ("sky of 1e4", a + 1e4), ("pixel of inf", np.where(b > 1, np.inf, a)), ("nothing stands out", a)):
        image(f.at("x.fits"), data)
        r = f.run("fit", "x.fits", "--noise", "0.05", "--psf", "none", "--pixel-scale", "0.1", "-o", "o", "--starts", "1", "--iterations", "3", "--quiet")
        # the network in the binary takes some 300 MiB
        ok, found = judged(r, 400 * MIB)
        names = {"5 x 5": "5|pixels", "pixel of 1e300": "1e\\+?300|12|8"}.get(n)
        yield ok and (r.rc != 2 or names is None or re.search(names, r.err) is not None), n, found


@check("c10")
def subtracted(f):
    yield None, "lens-subtracted images", "judged with real lenses"


@check("c11")
def versions(f):
    small(f)
    r = f.run("--version")
    yield r.rc == 0 and "(devel)" not in r.out and r.out.strip() != "", "--version", r.out.strip()[:80]
    f.run("fit", "m.yaml", "-o", "o", "--starts", "2", "--quiet")
    v = f.json("o/fit.json").get("versions")
    yield "(devel)" not in json.dumps(v), "versions of fit.json", str(v)[:100]
    for c in ("onnx", "dataset", "survey"):
        r = f.run(c, "help")
        yield r.rc == 0 and "COMMANDS" in r.out, f"{c} help", str(r)
    f.write("c.yaml", "data: {image: m.fits, noise: 0.05, pixel_scale: 0.15}\nlens: [{type: sis}]\nsource: [{type: gaussian}]\n")
    for line in ("eval c.yaml --device cuda", "fit c.yaml --device cuda -o o2 --starts 1 --iterations 1"):
        r = f.run(*line.split())
        yield re.search("cuda|decoder|device", r.err) is not None and judged(r, wordy=True)[0], f"{line.split()[0]} --device cuda without a decoder", str(r)


@check("c12")
def compressed(f):
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:40, :50]
    smooth = 100 * np.exp(-((x - 24) ** 2 + (y - 20) ** 2) / 90.) + rng.normal(size=x.shape)
    ramp = 1 + .01 * x + .03 * y
    def compare(what, path, data):
        """chi2 with one noise and with a noise that differs from pixel to pixel must be those of astropy's reading."""
        d = np.asarray(data, float)
        fits.writeto(f.at("ramp.fits"), 1 + .01 * np.mgrid[:d.shape[0], :d.shape[1]][1] + .03 * np.mgrid[:d.shape[0], :d.shape[1]][0], overwrite=True)
        n = np.where(np.isfinite(d), fits.getdata(f.at("ramp.fits")), np.nan)
        for noise, want in (("1", float(np.nansum(d ** 2))), ("ramp.fits", float(np.nansum((d / n) ** 2)))):
            f.write("c.yaml", FLAT % (f'"{path}"', noise, ""))
            r = f.run("eval", "c.yaml", "--quiet")
            got = json.loads(r.out)["chi2"] if r.rc == 0 else None
            if got is None or abs(got - want) > 1e-6 * abs(want):
                return False, what, f"{r}, chi2 {got}, expected {want}"
        return True, what, "as astropy reads it"
    ints = np.round(smooth).astype(np.int32)
    for method in ("RICE_1", "GZIP_1", "GZIP_2", "PLIO_1", "HCOMPRESS_1"):
        for kind in ("uint8", "int16", "int32"):
            if kind == "uint8" and method == "HCOMPRESS_1":
                continue
            d = np.clip(ints, 0, 200).astype(kind) if method == "PLIO_1" or kind == "uint8" else ints.astype(kind)
            try:
                fits.CompImageHDU(d, compression_type=method).writeto(f.at("c.fits"), overwrite=True)
                want = fits.getdata(f.at("c.fits"), 1)
            except Exception as e:
                yield None, f"{method}, {kind}", f"astropy: {str(e)[:80]}"
                continue
            yield compare(f"{method}, {kind}", "c.fits[1]", want)
    with_nan = smooth.copy()
    with_nan[3, 4] = np.nan
    zeros = smooth.copy()
    zeros[10:14] = 0
    for method in ("RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1"):
        for q, name in ((None, "no dithering"), (1, "dithering 1"), (2, "dithering 2")):
            for what, d in (("float32", smooth.astype("f4")), ("float64", smooth), ("with NaN", with_nan.astype("f4")), ("with zeros", zeros.astype("f4"))):
                if method == "HCOMPRESS_1" and what in ("with NaN",):
                    continue
                try:
                    fits.CompImageHDU(d, compression_type=method, quantize_level=16, quantize_method=q or -1, dither_seed=77).writeto(f.at("c.fits"), overwrite=True)
                    want = fits.getdata(f.at("c.fits"), 1)
                except Exception as e:
                    yield None, f"{method}, {what}, {name}", f"astropy: {str(e)[:80]}"
                    continue
                yield compare(f"{method}, {what}, {name}", "c.fits[1]", want)
    for tile in ((7, 9), (50, 40), (16, 16)):
        fits.CompImageHDU(ints.astype(np.int16), compression_type="RICE_1", tile_shape=tile[::-1]).writeto(f.at("c.fits"), overwrite=True)
        yield compare(f"RICE_1, tiles of {tile}", "c.fits[1]", fits.getdata(f.at("c.fits"), 1))
    fits.CompImageHDU(smooth.astype("f4"), compression_type="GZIP_2", quantize_level=0).writeto(f.at("c.fits"), overwrite=True)
    yield compare("GZIP_2, floats not quantised", "c.fits[1]", fits.getdata(f.at("c.fits"), 1))
    u16 = (ints - ints.min()).astype(np.uint16)
    fits.CompImageHDU(u16, compression_type="RICE_1").writeto(f.at("c.fits"), overwrite=True)
    yield compare("RICE_1, unsigned of 16 bits", "c.fits[1]", fits.getdata(f.at("c.fits"), 1))
    real = os.path.join(os.path.dirname(f.shared), "data", "fits_odd")
    for p in sorted(glob.glob(os.path.join(real, "*.fit*"))):
        try:
            with fits.open(p) as hl:
                for k, u in enumerate(hl):
                    if isinstance(u, fits.CompImageHDU) and u.data is not None and u.data.ndim == 2:
                        shutil.copy(p, f.at("c.fits"))
                        yield compare(os.path.basename(p), f"c.fits[{k}]", u.data)
        except Exception:
            continue  # astropy does not read it either


@check("c13")
def one_step(f):
    small(f)
    text = open(f.at("m.yaml")).read().replace("theta_E: {normal: [0.9, 0.1], bounds: [0.5, 1.5], truth: 0.9}", "theta_E: {normal: [0.9, 0.1], bounds: [0.1, 3], init: 1.9}")
    f.write("c.yaml", text)
    f.run("fit", "c.yaml", "-o", "best", "--quiet")
    best = f.json("best/fit.json")["log_posterior"]
    for args in (["--optimizer", "adam", "--iterations", "1"], ["--optimizer", "adam", "--iterations", "3", "--starts", "1"]):
        shutil.rmtree(f.at("o"), ignore_errors=True)
        r = f.run("fit", "c.yaml", "-o", "o", *args)
        j = f.json("o/fit.json") if os.path.exists(f.at("o/fit.json")) else {}
        # converged may only be said at the maximum
        off = best - j["log_posterior"] if j else math.inf
        yield (r.rc == 3 and j.get("status") != "converged") or (r.rc == 0 and abs(off) < .5), f"fit {' '.join(args)}", f"exit code {r.rc}, {j.get('status')}, {off:.3g} below the maximum"


@check("c14")
def words(f):
    small(f)
    long = "long" * 300000
    data = "data: {image: m.fits, noise: 0.05, pixel_scale: 0.15}\n"
    f.write("type.yaml", data + f"lens: [{{type: {long}}}]\n")
    f.write("key.yaml", data + f"{long}: 1\nlens: [{{type: sis}}]\nsource: [{{type: sersic}}]\n")
    f.write("path.yaml", f"data: {{image: {long}, noise: 0.05, pixel_scale: 0.15}}\nlens: [{{type: sis}}]\nsource: [{{type: sersic}}]\n")
    f.write("number.yaml", f"data: {{image: m.fits, noise: {'9' * 1000000}x, pixel_scale: 0.15}}\nlens: [{{type: sis}}]\nsource: [{{type: sersic}}]\n")
    f.write("P.json", json.dumps({long: 1}))
    f.write("P2.json", '{"lens.sie.theta_E": ' + "9" * 1000000 + "}")
    f.write("P3.json", json.dumps({"lens.sie.theta_E": long}))
    f.write("p.csv", f"x,y\n{long},1\n")
    f.write("h.csv", f"{long},y\n1,1\n")
    f.write("l.csv", f"name,config\n{long},m.yaml\n")
    save(f.at("op.onnx"), [N("MatMul", ["z", "w"], ["a"]), N(long, ["a"], ["b"]), N("Reshape", ["b", "s"], ["y"])], [F("w", np.ones((4, 64))), I("s", [1, 1, 8, 8])])
    save(f.at("name.onnx"), [N("MatMul", ["z", "w"], ["a"]), N("Nope", ["a"], [long], name=long), N("Reshape", [long, "s"], ["y"])], [F("w", np.ones((4, 64))), I("s", [1, 1, 8, 8])])
    head = json.dumps({long: {"dtype": "F32", "shape": [5], "data_offsets": [0, 16]}}).encode()
    f.write("n.safetensors", struct.pack("<Q", len(head)) + head + bytes(16))
    head = json.dumps({"w": {"dtype": long, "shape": [4], "data_offsets": [0, 16]}}).encode()
    f.write("t.safetensors", struct.pack("<Q", len(head)) + head + bytes(16))
    for line in ("eval type.yaml", "eval key.yaml", "eval path.yaml", "eval number.yaml", "eval m.yaml --params P.json", "eval m.yaml --params P2.json", "eval m.yaml --params P3.json", "deflect m.yaml --points p.csv", "deflect m.yaml --points h.csv", "survey plan l.csv -o s", "onnx inspect op.onnx", "onnx vjp op.onnx -o v.onnx", "onnx vjp name.onnx -o v.onnx",
                 "weights n.safetensors", "weights t.safetensors", "fit " + "q" * 100000, "fit m.yaml -o o --optimizer " + "q" * 100000, "q" * 100000, "fit --" + "q" * 100000):
        r = f.run(*line.split())
        yield judged(r, codes=(0, 2))[0], line[:40], f"exit code {r.rc}, {r.err_size} bytes on stderr"
    # whoever reads the progress goes away
    q, w = os.pipe()
    r0 = subprocess.Popen([LENSKIT, "fit", "m.yaml", "-o", "closed", "--starts", "400"], cwd=f.path, stdout=subprocess.DEVNULL, stderr=w)
    os.close(w)
    os.close(q)
    code = r0.wait(timeout=60)
    yield code in (0, 3) and os.path.exists(f.at("closed/fit.json")), "fit whose stderr is a closed pipe", f"exit code {code}, {'with' if os.path.exists(f.at('closed/fit.json')) else 'no'} fit.json"
    for line in ("fit m.yaml --starts 2", "mock base.yaml", "dataset synth --count 2 --size 16", "eval m.yaml", "sample m.yaml --draws 2", "train-vae g.fits", "export-coolest m-fit"):
        r = f.run(*line.split(), "-o", "", "--quiet")
        yield r.rc == 2 and judged(r)[0], f"{line} -o ''", str(r)
    os.makedirs(f.at("real"))
    for args in (["mock", "base.yaml", "-o", "link.fits"], ["onnx", "vjp", "b/decoder.onnx", "-o", "link.onnx"], ["dataset", "synth", "--count", "2", "--size", "16", "-o", "link2.fits"]):
        link = args[-1]
        f.write("real/" + link, "old")
        os.symlink("real/" + link, f.at(link))
        r = f.run(*args, "--quiet")
        kept = os.path.islink(f.at(link))
        yield judged(r, codes=(0, 2))[0] and kept and (r.rc == 2 or os.path.getsize(f.at("real/" + link)) > 3), f"{args[0]} to a symbolic link", f"{r}, {'kept' if kept else 'the link is gone'}"


@check("c15")
def big_survey(f):
    small(f)
    count = 100000
    with open(f.at("l.csv"), "w") as g:
        g.write("name,config\n" + "".join(f"l{i},m.yaml\n" for i in range(count)))
    r = f.run("survey", "plan", "l.csv", "-o", "s", "--per-task", "200", "--starts", "2", "--quiet", wall=100)
    yield judged(r, f.size("l.csv"), codes=(0,))[0], f"survey plan of {count} lenses", judged(r)[1]
    f.run("survey", "run", "s", "--index", "1-2", "--quiet")
    for line in ("survey status s", "survey merge s", "survey status s --indices pending"):
        r = f.run(*line.split(), "--quiet", wall=100, cpu=60)
        yield judged(r, f.size("l.csv"), codes=(0,))[0], line, judged(r, f.size("l.csv"), codes=(0,))[1]


@check("c16")
def faint(f):
    f.write("base.yaml", "data: {size: [30, 30], noise: 0.05, pixel_scale: 0.12}\nlens: [{type: sie, priors: {theta_E: {normal: [1, 0.1], truth: 1}}}]\nsource: [{type: gaussian, priors: {amp: {fixed: 1e-5}, sigma: {fixed: 0.1}}}]\n")
    f.run("mock", "base.yaml", "-o", "m.fits", "--quiet")
    r = f.run("fit", "m.yaml", "-o", "o", "--quiet", wall=120)
    ok, found = honest_fit(f, "o", r)
    yield ok, "a source fixed below the noise", found


def main(args):
    shared, names = os.path.abspath(args[0]), args[1:]
    if not os.path.isdir(shared):
        sys.exit(f"faults: {shared}: is no folder")
    lib = os.path.join(REPO, "lib", "libonnxruntime.so")
    if not os.environ.get("LENSKIT_ONNXRUNTIME") and os.path.exists(lib):
        os.environ["LENSKIT_ONNXRUNTIME"] = lib
    scratch = tempfile.mkdtemp(prefix="faults-")
    count = dict(ok=0, FAIL=0, skip=0)
    failed, start = set(), time.time()

    def say(name, ok, what, found):
        word = "skip" if ok is None else "ok" if ok else "FAIL"
        count[word] += 1
        if word == "FAIL":
            failed.add(name)
        line = re.sub(r"[\x00-\x1f\x7f-\x9f]", "?", f"{word:4} {name} {what}" + (f": {found}" if found else ""))
        print(line.replace(scratch + "/", "")[:400], flush=True)

    try:
        base = Folder(shared, scratch, "none")
        base.copy(os.path.join(shared, "base"), base.base)
        for name, f in CHECKS:
            if names and not any(name.startswith(n) for n in names):
                continue
            folder = None
            try:
                folder = Folder(shared, scratch, name)
                for ok, what, found in f(folder):
                    say(name, ok if ok is None else bool(ok), what, found)
            except Exception as e:
                where = traceback.extract_tb(e.__traceback__)[-1]
                say(name, False, "the check itself", f"{type(e).__name__}: {e} (line {where.lineno})")
            if not os.environ.get("KEEP") and folder:
                shutil.rmtree(folder.path, ignore_errors=True)
    finally:
        if os.environ.get("KEEP"):
            print("kept in " + scratch)
        else:
            shutil.rmtree(scratch, ignore_errors=True)
    print(f"{count['ok']} ok, {count['FAIL']} FAIL, {count['skip']} skip; {len(failed)} faults with a FAIL: {' '.join(sorted(failed))}; {time.time() - start:.0f} s")
    sys.exit(1 if count["FAIL"] else 0)


main(sys.argv[1:])
