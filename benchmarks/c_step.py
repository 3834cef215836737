"""The practical limit: a training step in plain C, compiled here, with NumPy's BLAS and the updates folded into its
products. Like the engines it notes the mean loss of each step and stops at one that is not finite. It does nothing
else: no check of gradients, no weights, no choice of float type or of an optimiser beyond these two."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.cases import MOMENTUM, REG, Work
from benchmarks.contestants import Ready
from twolayer.network.model import Params, flat_copy, flat_zeros
from twolayer.utils.blas import gemm_of_numpy

SOURCE = r"""
#include <math.h>
#include <stdint.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif
typedef void (*Gemm)(const char*, const char*, const int64_t*, const int64_t*, const int64_t*, const float*,
                     const float*, const int64_t*, const float*, const int64_t*, const float*, float*, const int64_t*);
static Gemm blas;
/* C (n, m) <- alpha A B + beta C, row after row; ta, tb: the matrix is stored transposed. */
static void gemm(int ta, int tb, int64_t n, int64_t k, int64_t m, float alpha, const float* A, const float* B,
                 float beta, float* C) {
    int64_t lda = ta ? n : k, ldb = tb ? k : m;
    if (n * k * m > 4096) {
        blas(tb ? "T" : "N", ta ? "T" : "N", &m, &n, &k, &alpha, B, &ldb, A, &lda, &beta, C, &m);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < m; j++) C[i * m + j] *= beta;
        for (int64_t p = 0; p < k; p++) {
            float a = alpha * (ta ? A[p * n + i] : A[i * k + p]);
            if (tb) for (int64_t j = 0; j < m; j++) C[i * m + j] += a * B[j * k + p];
            else for (int64_t j = 0; j < m; j++) C[i * m + j] += a * B[p * m + j];
        }
    }
}
/* W <- W - a (A^T G + r W), or v <- mu v - a (...), W <- W + v */
static void update(int64_t n, int64_t k, int64_t m, const float* A, const float* G, float* W, float* v, float a,
                   float r, float mu) {
    if (mu == 0) { gemm(1, 0, n, k, m, -a, A, G, 1 - a * r, W); return; }
    for (int64_t i = 0; i < n * m; i++) v[i] = mu * v[i] - a * r * W[i];
    gemm(1, 0, n, k, m, -a, A, G, 1, v);
    for (int64_t i = 0; i < n * m; i++) W[i] += v[i];
}
static void update_bias(int64_t k, int64_t m, const float* G, float* b, float* v, float a, float mu) {
    for (int64_t j = 0; j < m; j++) v[j] *= mu;
    for (int64_t p = 0; p < k; p++) for (int64_t j = 0; j < m; j++) v[j] -= a * G[p * m + j];
    for (int64_t j = 0; j < m; j++) b[j] += v[j];
}
int64_t run(void* address, int64_t steps, int64_t B, int64_t D, int64_t H, int64_t C, const float* X, const int64_t* y,
            float** q, float** v, float* A1, float* S, float* dZ1, float a, float r, float mu,
            double* losses) { /* returns the steps done */
    int64_t step = 0;
    blas = (Gemm)address;
#ifdef __SSE__ /* results too small for a normal number become 0, as x86 takes many times as long with them */
    unsigned control = _mm_getcsr();
    _mm_setcsr(control | 0x8000);
#endif
    for (; step < steps; step++, X += B * D, y += B) {
        double loss = 0;
        for (int64_t i = 0; i < B * H; i++) A1[i] = 0;
        gemm(0, 0, B, D, H, 1, X, q[0], 0, A1);
        for (int64_t i = 0; i < B; i++) for (int64_t j = 0; j < H; j++) {
            float z = A1[i * H + j] + q[1][j];
            A1[i * H + j] = z > 0 ? z : 0;
        }
        for (int64_t i = 0; i < B * C; i++) S[i] = 0;
        gemm(0, 0, B, H, C, 1, A1, q[2], 0, S);
        for (int64_t i = 0; i < B; i++) {
            float* s = S + i * C, top = -INFINITY, total = 0, own;
            for (int64_t j = 0; j < C; j++) { s[j] += q[3][j]; top = s[j] > top ? s[j] : top; }
            own = s[y[i]] - top;
            for (int64_t j = 0; j < C; j++) { s[j] = expf(s[j] - top); total += s[j]; }
            for (int64_t j = 0; j < C; j++) s[j] /= total * B;
            s[y[i]] -= 1.0f / B;
            loss += logf(total) - own;
        }
        losses[step] = loss / B;
        if (!isfinite(loss)) break;
        for (int64_t i = 0; i < B * H; i++) dZ1[i] = 0;
        gemm(0, 1, B, C, H, 1, S, q[2], 0, dZ1);
        for (int64_t i = 0; i < B * H; i++) dZ1[i] = A1[i] > 0 ? dZ1[i] : 0;
        update(H, B, C, A1, S, q[2], v[2], a, r, mu);
        update_bias(B, C, S, q[3], v[3], a, mu);
        update(D, B, H, X, dZ1, q[0], v[0], a, r, mu);
        update_bias(B, H, dZ1, q[1], v[1], a, mu);
    }
#ifdef __SSE__
    _mm_setcsr(control);
#endif
    return step;
}
"""


def plain_c(work: Work) -> Ready:
    """One call of C for each pass.

    Raises:
        RuntimeError: without a C compiler or an OpenBLAS of NumPy's.
    """
    compiler, gemm = shutil.which("cc") or shutil.which("gcc"), gemm_of_numpy(np.dtype(np.float32))
    if not compiler or not gemm:
        raise RuntimeError("a C compiler (cc) and NumPy with OpenBLAS are needed")
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "step.c"), Path(folder, "step.so")
        source.write_text(SOURCE)
        # -ffast-math would make the whole process flush subnormal numbers to zero as soon as the library is loaded.
        flags = ["-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC"]
        subprocess.run([compiler, *flags, str(source), "-o", str(library), "-lm"], check=True, capture_output=True)
        run = ctypes.CDLL(str(library)).run
    run.restype = ctypes.c_int64
    D, H, C, B = work.case.shape
    flat, slots = flat_copy(work.params), flat_zeros(D, H, C, np.float32)
    pointer = ctypes.POINTER(ctypes.c_float)

    def pointers(params: Params) -> ctypes.Array[ctypes._Pointer[ctypes.c_float]]:
        W1, b1, W2, b2 = params
        return (pointer * 4)(*(ctypes.cast(each.ctypes.data, pointer) for each in (W1, b1, W2, b2) if each is not None))

    q, v = pointers(flat.params), pointers(slots.params)
    scratch = [np.empty((B, width), np.float32) for width in (H, C, H)]
    y = np.ascontiguousarray(work.y, np.int64)
    a = ctypes.c_float(work.case.learning_rate)
    mu = ctypes.c_float(MOMENTUM if work.case.optimizer == "momentum" else 0)
    sizes = [ctypes.c_int64(each) for each in (B, D, H, C)]

    def address(array: np.ndarray) -> ctypes.c_void_p:  # type: ignore[type-arg]
        return ctypes.c_void_p(array.ctypes.data)

    def run_pass(_kept: object = slots) -> None:  # pointers keep no array alive
        losses = np.empty(len(y) // B)
        run(ctypes.c_void_p(gemm), ctypes.c_int64(len(y) // B), *sizes, address(work.X), address(y), q, v,
            *map(address, scratch), a, ctypes.c_float(REG), mu, address(losses))  # fmt: skip

    return Ready(run_pass, flat.params.copy)
