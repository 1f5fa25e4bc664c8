"""The Python half of bench-decoder: graphs FOLDER | time FOLDER | table FOLDER."""

import json
import os
import re
import statistics
import sys
import time
import warnings

import torch
from torch import nn

warnings.filterwarnings("ignore")
BATCHES = (1, 8, 32)
COLUMNS = 64


def decoder():
    """The paper's decoder (table D2) with fixed random weights, in inference."""
    torch.manual_seed(1)
    channels = [64, 512, 256, 128, 64, 1]
    layers = [nn.Unflatten(1, (64, 1, 1))]
    for i, (a, b) in enumerate(zip(channels, channels[1:])):
        layers.append(nn.ConvTranspose2d(a, b, 4, 1 if i == 0 else 2, 0 if i == 0 else 1, bias=False))
        if b > 1:
            norm = nn.BatchNorm2d(b)
            nn.init.normal_(norm.weight, 1, 0.1)
            nn.init.normal_(norm.bias, 0, 0.1)
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.8, 1.2)
            layers += [norm, nn.ReLU()]
    return nn.Sequential(*layers, nn.Tanh()).eval().requires_grad_(False)


def graphs(folder):
    """Writes decoder.onnx, and onnx-ad's derivatives where that package is there."""
    import onnx

    path = os.path.join(folder, "decoder.onnx")
    names = dict(input_names=["z"], output_names=["y"], opset_version=18, dynamo=False)
    torch.onnx.export(decoder(), (torch.zeros(2, 64),), path, dynamic_axes={"z": {0: "N"}, "y": {0: "N"}}, **names)
    try:
        import onnx_ad
    except ImportError:
        print("bench-decoder: no onnx-ad, so it is left out", file=sys.stderr)
        return
    for name, batch, derive, seeds in [(f"VJP_batch={b}", b, onnx_ad.reverse, 1) for b in BATCHES] + [
        (f"Jacobian_columns={COLUMNS}", 1, onnx_ad.forward, COLUMNS)
    ]:
        # onnx-ad needs shapes that are numbers.
        torch.onnx.export(decoder(), (torch.zeros(batch, 64),), path + ".fixed", **names)
        fixed = onnx.shape_inference.infer_shapes(onnx.load(path + ".fixed"))
        try:
            model = derive(fixed, layout="onnx")
        except Exception as e:
            print(f"bench-decoder: onnx-ad: {name}: {e}", file=sys.stderr)
            continue
        for value in list(model.graph.input) + list(model.graph.output):
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param:
                    dim.dim_value = seeds
        onnx.save(model, os.path.join(folder, f"onnx-ad_{name}.onnx"))
    os.remove(path + ".fixed")


def median_ms(f, seconds=1.0):
    f()
    times = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        t = time.perf_counter()
        f()
        times.append(1e3 * (time.perf_counter() - t))
    return statistics.median(times)


def timings(folder):
    """Appends PyTorch's times to py.txt."""
    torch.set_num_threads(int(os.environ["THREADS"]))
    model = decoder()
    out = {}

    def vjp(f, z, g):
        z = z.detach().requires_grad_()
        y = f(z)
        y.backward(g)
        return z.grad

    def jacobian(z):
        eye = torch.eye(64)
        return torch.func.vmap(lambda t: torch.func.jvp(model, (z,), (t[None],))[1])(eye)

    for kind in ("eager", "compiled"):
        try:
            f = model if kind == "eager" else torch.compile(model)
            for batch in BATCHES:
                z, g = torch.randn(batch, 64), torch.randn(batch, 1, 64, 64)
                out[f"{kind} VJP/batch={batch}"] = median_ms(lambda: vjp(f, z, g))
            z = torch.randn(1, 64)
            j = jacobian if kind == "eager" else torch.compile(jacobian)
            out[f"{kind} Jacobian/columns={COLUMNS}"] = median_ms(lambda: j(z))
        except Exception as e:
            print(f"bench-decoder: PyTorch {kind}: {str(e).splitlines()[0]}", file=sys.stderr)
    with open(os.path.join(folder, "py.txt"), "a") as f:
        f.write(json.dumps(out) + "\n")


def table(folder):
    """Prints medians over rounds, and ratios to the faster of lenskit's forms."""
    ms = {}
    with open(os.path.join(folder, "go.txt")) as f:
        for name, ns in re.findall(r"^BenchmarkDecoderVJP/(\S+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op", f.read(), re.M):
            ms.setdefault(name, []).append(float(ns) / 1e6)
    with open(os.path.join(folder, "py.txt")) as f:
        for line in f:
            for name, v in json.loads(line).items():
                ms.setdefault(name, []).append(v)
    ms = {k: statistics.median(v) for k, v in ms.items()}
    rows = [f"VJP/batch={b}" for b in BATCHES] + [f"Jacobian/columns={COLUMNS}"]
    heads = ["one graph", "split", "PyTorch eager", "PyTorch compiled", "onnx-ad"]
    print(f"milliseconds, {os.environ['THREADS']} threads, medians of {os.environ['ROUNDS']} rounds; x: lenskit is so many times faster")
    print(f"{'':22}" + "".join(f"{h:>22}" for h in heads))
    for row in rows:
        keys = [row, row.replace("VJP", "Split"), f"eager {row}", f"compiled {row}", "onnx-ad/" + row.replace("/", "_")]
        own = [ms[k] for k in dict.fromkeys(keys[:2]) if k in ms]
        cells = []
        for i, k in enumerate(keys):
            if k not in ms or (i == 1 and k == row):
                cells.append("-")
            elif i < 2 or not own:
                cells.append(f"{ms[k]:.2f}")
            else:
                cells.append(f"{ms[k]:.2f} ({ms[k] / min(own):.2f} x)")
        print(f"{row:22}" + "".join(f"{c:>22}" for c in cells))


if __name__ == "__main__":
    {"graphs": graphs, "time": timings, "table": table}[sys.argv[1]](sys.argv[2])
