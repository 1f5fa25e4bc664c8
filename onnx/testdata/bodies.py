"""Models whose bodies capture values of the graph around them, and their gradients by differences of onnxruntime.

python bodies.py writes bodies_*.onnx, in float32, and bodies.json: for the point z and the weights v of the output y the
gradient of sum(v*y) by z, as central differences of onnxruntime on the same model in float64. Made with onnx 1.23.2 and
onnxruntime 1.32.0.
"""
import json

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto as T, helper as h, numpy_helper as nh

N, V = h.make_node, h.make_tensor_value_info


def models(t, dtype):
    """Node lists and initialisers by name; t and dtype are the element type."""
    rng = np.random.default_rng(2)
    F = lambda n, a: nh.from_array(np.asarray(a, np.float32).astype(dtype), n)
    I = lambda n, a: nh.from_array(np.asarray(a, np.int64), n)
    w = F("w", rng.normal(size=(4, 6)) * 0.5)
    wide = [V("z", t, [1, 4])], [V("y", t, [1, 6])]
    a = N("MatMul", ["z", "w"], ["a"])
    branch = lambda name, op, out: h.make_graph([N(op, ["a"], [out])], name, [], [V(out, t, None)])

    def choice(op, out, *in_):
        nodes = [N("Mul", ["a", "a"], [out + "q"]), N(op, [out + "q"], [out + "r"]), N("Add", [out + "r", "z1"], [out])]
        return h.make_graph(nodes, out, [], [V(out, t, None)])

    z1 = [N("ReduceSum", ["z", "one"], ["z1"], keepdims=1)]
    yield "constant_if", [a, N("If", ["c"], ["y"], then_branch=branch("t", "Tanh", "tb"), else_branch=branch("e", "Relu", "eb"))], [
        w, nh.from_array(np.array(True), "c")], wide
    test = [N("ReduceSum", ["a"], ["sum"], keepdims=0), N("Greater", ["sum", "k"], ["c"])]
    for k in (-100, 100):
        yield f"if_{'else' if k > 0 else 'then'}", [a, *z1, *test, N("If", ["c"], ["y"], name="choice", then_branch=choice("Tanh", "tb"), else_branch=choice("Sigmoid", "eb"))], [w, F("k", k), I("one", [1])], wide
    turn = h.make_graph(
        [N("Mul", ["s", "a"], ["p"]), N("Tanh", ["p"], ["s1"]), N("Cast", ["i"], ["f"], to=t), N("Mul", ["s1", "f"], ["row"]), N("Identity", ["c"], ["c1"])],
        "turn", [V("i", T.INT64, []), V("c", T.BOOL, []), V("s", t, None)], [V("c1", T.BOOL, []), V("s1", t, None), V("row", t, None)])
    end = [N("ReduceSum", ["rows", "zero"], ["r"], keepdims=0), N("Add", ["r", "last"], ["y"])]
    yield "loop", [a, N("Loop", ["m", "", "a"], ["last", "rows"], name="turns", body=turn), *end], [w, I("m", 3), I("zero", [0])], wide
    step = h.make_graph(
        [N("Mul", ["x", "s0"], ["p"]), N("Add", ["p", "s"], ["q"]), N("Sin", ["q"], ["s1"]), N("Identity", ["s1"], ["row"])],
        "step", [V("s", t, None), V("x", t, None)], [V("s1", t, None), V("row", t, None)])
    yield "scan", [a, *z1, N("Squeeze", ["z1", "one"], ["s0"]),
                   N("Scan", ["s0", "a"], ["last", "rows"], name="steps", num_scan_inputs=1, scan_input_axes=[1], scan_output_axes=[1], body=step),
                   N("Unsqueeze", ["last", "one"], ["g"]), N("Mul", ["rows", "g"], ["y"])], [w, I("one", [1])], wide


def model(nodes, init, io):
    return h.make_model(h.make_graph(nodes, "bodies", *io, init), opset_imports=[h.make_opsetid("", 18)], ir_version=8)


z, v = np.array([[0.3, -0.7, 1.1, 0.4]]), np.array([[1, -0.5, 0.25, 2, -1, 0.75]])
out = {"z": z.ravel().tolist(), "v": v.ravel().tolist(), "gradient": {}}
doubles = {name: onnxruntime.InferenceSession(model(*rest).SerializeToString()) for name, *rest in models(T.DOUBLE, np.float64)}
for name, *rest in models(T.FLOAT, np.float32):
    m = model(*rest)
    onnx.checker.check_model(m)
    onnx.save(m, f"bodies_{name}.onnx")
    f = lambda z: float((v * doubles[name].run(None, {"z": z})[0]).sum())
    e, d = np.eye(4).reshape(4, 1, 4), 1e-4
    out["gradient"][name] = [(8 * (f(z + d * k) - f(z - d * k)) - f(z + 2 * d * k) + f(z - 2 * d * k)) / (12 * d) for k in e]
json.dump(out, open("bodies.json", "w"), indent=1)
