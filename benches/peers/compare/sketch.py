"""Sketches beside skerch, matfree, curvlinops and SciPy: equal matrices, equal products, error and time of each.

A stored symmetric positive definite matrix of size 2000 whose eigenvalues fall like 1/j^2, plus a diagonal for the last case. Every
system multiplies it as it likes; products are counted by column. `error` is the median over the seeds of the relative error
(Frobenius error for factors, largest entry for diagonals); `seconds` the median over rounds that alternate between the systems, each after a
warm-up. Two threads for all.
"""

import os

THREADS = min(2, len(os.sched_getaffinity(0)))
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(THREADS)
os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={'true' if THREADS > 1 else 'false'} intra_op_parallelism_threads={THREADS}"

import importlib.metadata
import tempfile
import time
from pathlib import Path

import curvlinops
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.sparse.linalg
import torch
from _shared import arguments, line, median, ours
from matfree import decomp, funm, stochtrace
from skerch.algorithms import seigh, xhutchpp

N, SEEDS, ROUNDS = 2000, 8, 5
jax.config.update("jax_enable_x64", True)
torch.set_num_threads(THREADS)


def matrix():
    rng = np.random.default_rng(0)
    q = scipy.linalg.qr(rng.standard_normal((N, N)), mode="economic", check_finite=False)[0]
    a = (q / np.arange(1.0, N + 1) ** 2) @ q.T
    return 0.5 * (a + a.T)


class Products:
    """What skerch asks of an operator."""

    def __init__(self, a):
        self.a, self.shape = a, tuple(a.shape)

    def __matmul__(self, x):
        return self.a @ x

    def __rmatmul__(self, x):
        return x @ self.a

    def t(self):
        return Products(self.a.T)


def skerch_trace(a):
    op = Products(torch.from_numpy(a))
    run = lambda seed, k: xhutchpp(op, "cpu", torch.float64, x_dims=k, seed=seed * 1000 + 1, meas_blocksize=k)
    return lambda seed, k: float(run(seed, k)["tr"])


def skerch_diagonal(a):
    op = Products(torch.from_numpy(a))

    def run(seed, k):
        found = xhutchpp(op, "cpu", torch.float64, x_dims=k, seed=seed * 1000 + 1, meas_blocksize=k)
        return found["diag"].numpy()

    return run


def skerch_eigh(a):
    op = Products(torch.from_numpy(a))

    def run(seed, k):
        values, vectors = seigh(op, "cpu", torch.float64, k, seed=seed * 1000 + 1, meas_blocksize=k)
        return values.numpy(), vectors.numpy()

    return run


def matfree_estimate(a, integrand):
    dense = jnp.asarray(a)
    compiled = {}

    def run(seed, k):
        if k not in compiled:
            sampler = stochtrace.sampler_signs(jnp.zeros(N), num=k)
            estimate = stochtrace.estimator_leave_one_out(integrand, sampler)
            compiled[k] = jax.jit(lambda key: estimate(lambda v: dense @ v, key))
        return np.asarray(jax.block_until_ready(compiled[k](jax.random.PRNGKey(seed))))

    return run


def matfree_logdet(a, steps):
    dense = jnp.asarray(a)
    compiled = {}

    def run(seed, runs):
        if runs not in compiled:
            integrand = funm.monte_carlo_funm_sym_logdet(decomp.tridiag_sym(steps))
            sampler = stochtrace.sampler_signs(jnp.zeros(N), num=runs)
            estimate = stochtrace.estimator_monte_carlo(integrand, sampler)
            compiled[runs] = jax.jit(lambda key: estimate(lambda v: dense @ v, key))
        return float(jax.block_until_ready(compiled[runs](jax.random.PRNGKey(seed))))

    return run


def torch_seeded(f):
    def run(seed, k):
        torch.manual_seed(seed)
        return f(k)

    return run


def scipy_eigh(a):
    def run(seed, k):
        start = np.random.default_rng(seed).standard_normal(N)
        return scipy.sparse.linalg.eigsh(a, k=k, v0=start, which="LM", tol=1e-3)

    return run


def version(name):
    return importlib.metadata.version(name)


def measured(work, seeds):
    """Median seconds of rounds after a warm-up, and the results of the seeds."""
    results = [work(seed) for seed in range(seeds)]
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work(0)
        times.append(time.perf_counter() - started)
    return median(times), results


class Case:
    def __init__(self, args, scratch, name, truth, distance):
        self.args, self.scratch, self.name, self.truth, self.distance = args, scratch, name, truth, distance

    def report(self, system, version, seconds, values, **more):
        error = median([self.distance(v, self.truth) for v in values])
        line(self.args.out, case=self.name, system=system, version=version, seconds=seconds, error=float(error), **more)
        print(f"{self.name}: {system} {seconds:.4f} s, error {error:.2e}", flush=True)

    def ours(self, file, read, *words, label=None):
        base = ["sketch", "--matrix", file, "--threads", THREADS, *words]
        values, last = [], None
        for seed in range(SEEDS):
            last = ours(self.args.binary, *base, "--seed", seed, "--save", self.scratch / "ours")
            values.append(read(last))
        seconds = median([ours(self.args.binary, *base, "--repeat", 3)["method_seconds"] for _ in range(ROUNDS)])
        spent = last["products"] + last["products_transposed"]
        self.report("osculate", "0.1.0" if label is None else f"0.1.0, {label}", seconds, values, products=spent)

    def peer(self, system, name, work, products, read=lambda x: x):
        seconds, values = measured(work, SEEDS)
        self.report(system, version(name), seconds, [read(v) for v in values], products=products)


def relative(value, truth):
    return abs(float(value) - truth) / abs(truth)


def largest(value, truth):
    return float(np.max(np.abs(np.asarray(value).ravel() - truth)) / np.max(np.abs(truth)))


def frobenius(value, truth):
    return float(np.linalg.norm(value - truth) / np.linalg.norm(truth))


def main():
    args = arguments()
    a = matrix()
    dense = torch.from_numpy(a)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        file = scratch / "a.npy"
        np.save(file, a)
        load = lambda name: np.load(scratch / f"ours.{name}.npy")

        k = 50
        case = Case(args, scratch, f"trace, XTrace, {2 * k} products", float(np.trace(a)), relative)
        case.ours(file, lambda r: r["value"], "--method", "trace", "--products", 2 * k)
        plain = matfree_estimate(a, stochtrace.leave_one_out_xtrace(apply_resphering=False))
        case.peer("matfree", "matfree", lambda s: plain(s, k), 2 * k)
        xtrace = torch_seeded(lambda m: curvlinops.xtrace(dense, m))
        case.peer("curvlinops", "curvlinops-for-pytorch", lambda s: xtrace(s, 2 * k), 2 * k)
        other = skerch_trace(a)
        case.peer("skerch (XDiag sum)", "skerch", lambda s: other(s, k), 2 * k)

        case = Case(args, scratch, "trace, Hutch++, 99 products", float(np.trace(a)), relative)
        case.ours(file, lambda r: r["value"], "--method", "trace", "--estimator", "hutch++", "--products", 99)
        hutch = torch_seeded(lambda m: curvlinops.hutchpp_trace(dense, m))
        case.peer("curvlinops", "curvlinops-for-pytorch", lambda s: hutch(s, 99), 99)

        case = Case(args, scratch, f"trace, XNysTrace, {2 * k} products", float(np.trace(a)), relative)
        case.ours(file, lambda r: r["value"], "--method", "trace", "--estimator", "xnystrace", "--products", 2 * k)
        nystrom = matfree_estimate(a, stochtrace.leave_one_out_xnystrace(apply_resphering=False))
        case.peer("matfree", "matfree", lambda s: nystrom(s, 2 * k), 2 * k)

        case = Case(args, scratch, f"diagonal, XDiag, {2 * k} products", np.diag(a), largest)
        case.ours(file, lambda r: r["value"], "--method", "diagonal", "--products", 2 * k)
        diagonal = matfree_estimate(a, stochtrace.leave_one_out_xdiag())
        average = lambda s: np.mean(np.atleast_2d(diagonal(s, k)), axis=0)
        case.peer("matfree", "matfree", average, 2 * k)
        xdiag = torch_seeded(lambda m: curvlinops.xdiag(dense, m))
        case.peer("curvlinops", "curvlinops-for-pytorch", lambda s: xdiag(s, 2 * k), 2 * k)
        other_diagonal = skerch_diagonal(a)
        case.peer("skerch", "skerch", lambda s: other_diagonal(s, k), 2 * k)

        case = Case(args, scratch, f"eigenvalues, two passes, {2 * k} products", a, frobenius)
        rebuilt = lambda _: (load("vectors") * load("values")) @ load("vectors").T
        case.ours(file, rebuilt, "--method", "eigh", "--products", 2 * k)
        found = skerch_eigh(a)
        pairs = lambda p: (p[1] * p[0]) @ p[1].T
        case.peer("skerch", "skerch", lambda s: found(s, k), 2 * k, pairs)
        low = torch_seeded(lambda k: torch.svd_lowrank(dense, q=k, niter=0))
        case.peer("torch.svd_lowrank", "torch", lambda s: low(s, k), 2 * k, lambda f: ((f[0] * f[1]) @ f[2].T).numpy())
        krylov = scipy_eigh(a)
        case.peer("scipy eigsh, 30 pairs, tol 1e-3", "scipy", lambda s: krylov(s, 30), "as it needs", pairs)

        steps, runs = 20, 30
        shifted = a + 1e-2 * np.eye(N)
        file_shifted = scratch / "b.npy"
        np.save(file_shifted, shifted)
        truth = float(np.linalg.slogdet(shifted)[1])
        case = Case(args, scratch, f"log-determinant, {runs} runs of {steps} steps", truth, relative)
        case.ours(file_shifted, lambda r: r["value"], "--method", "logdet", "--products", steps * runs)
        lanczos = matfree_logdet(shifted, steps)
        case.peer("matfree", "matfree", lambda s: lanczos(s, runs), steps * runs)

        rng = np.random.default_rng(1)
        d = rng.standard_normal(N)
        whole = a + np.diag(d * 10.0 * np.linalg.norm(a) / np.linalg.norm(d) / np.sqrt(N))
        file_whole = scratch / "c.npy"
        np.save(file_whole, whole)
        case = Case(args, scratch, "low rank plus diagonal, 100 products", whole, frobenius)

        def lord(_):
            return np.diag(load("d")) + load("u") @ load("core") @ load("u").T

        case.ours(file_whole, lord, "--method", "lord", "--estimator", "joint", "--products", 100)
        alone = skerch_eigh(whole)
        case.peer("skerch, low rank alone", "skerch", lambda s: alone(s, k), 100, pairs)
        only = skerch_diagonal(whole)
        case.peer("skerch, diagonal alone", "skerch", lambda s: only(s, k), 100, np.diag)


if __name__ == "__main__":
    main()
