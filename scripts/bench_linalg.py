"""The Python half of bench-linalg: OpenBLAS through scipy, in the words of go test's benchmarks."""

import os
import time

import numpy as np
from scipy.linalg import blas, lapack

CALLS = 8


def measure(name, call):
    call()
    walls, used = [], time.process_time()
    for _ in range(CALLS):
        start = time.perf_counter()
        call()
        walls.append(time.perf_counter() - start)
    used = time.process_time() - used
    print(f"Benchmark{name}/openblas,threads={os.environ['OPENBLAS_NUM_THREADS']} {1e3 * min(walls)} min-ms {1e3 * used / CALLS} cpu-ms")


rng = np.random.default_rng(1)
x, y = (np.asfortranarray(rng.normal(size=(1024, 1024))) for _ in range(2))
z = np.asfortranarray(rng.normal(size=(1600, 1600)))
a = np.asfortranarray(z @ z.T / 1600 + 0.01 * np.eye(1600))
l, _ = lapack.dpotrf(a, lower=1)
measure("Gemm1024", lambda: blas.dgemm(1, x, y))
measure("Cholesky1600", lambda: lapack.dpotrf(a, lower=1))
measure("Inverse1600", lambda: lapack.dpotri(l, lower=1))
