"""One peer of the Taylor comparison in a process of its own: `python _taylor_peers.py SYSTEM THREADS DTYPE SCRATCH`.

Commands come one a line on standard input (`CASE N REPETITIONS`), answers go one JSON object a line to standard output. A process of
its own keeps the systems' thread pools apart and gives each its own peak of memory (with what compiling takes, where a system compiles). The network and the points are read from
`SCRATCH/CASE.npz`. What a system cannot do is answered by `{"skipped": why}`.
"""

import json
import os
import sys
import time
from pathlib import Path


def limit(threads):
    """Before any library starts its threads."""
    cores = sorted(os.sched_getaffinity(0))[:threads]
    os.sched_setaffinity(0, cores)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)


def memory(key):
    for text in Path("/proc/self/status").read_text().splitlines():
        if text.startswith(key):
            return int(text.split()[1]) * 1024
    return 0


class Torch:
    """PyTorch: nested derivatives, or jet-for-pytorch's jets, as they are or collapsed by its rewrites."""

    def __init__(self, how, threads, dtype):
        import torch

        torch.set_num_threads(threads)
        self.torch, self.how = torch, how
        self.kind = torch.float64 if dtype == "f64" else torch.float32
        self.version = torch.__version__
        if how != "nested":
            import importlib.metadata

            import jet  # noqa: F401

            self.version = importlib.metadata.version("jet-for-pytorch")

    def network(self, data):
        torch = self.torch
        layers = []
        count = sum(1 for k in data.files if k.startswith("w"))
        for k in range(count):
            weight = torch.tensor(data[f"w{k}"], dtype=self.kind)
            linear = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=self.kind)
            linear.weight.data, linear.bias.data = weight, torch.tensor(data[f"b{k}"], dtype=self.kind)
            layers += [torch.nn.Tanh()] if k else []
            layers.append(linear)
        return torch.nn.Sequential(*layers)

    def second(self, f, mock):
        """The Laplacian of one point."""
        torch = self.torch
        if self.how == "nested":
            hessian = torch.func.hessian(f)
            return lambda x: torch.einsum("...ii->...", hessian(x))
        from jet.laplacian import laplacian
        from jet.simplify import simplify

        graph = simplify(laplacian(f, mock), mock, pull_sum=self.how == "collapsed")
        return lambda x: graph(x)[2]

    def prepare(self, case, data, n):
        torch = self.torch
        f = self.network(data)
        x = torch.tensor(data["x"][:n], dtype=self.kind)
        mock = x[0]
        if case == "biharmonic":
            if self.how == "nested":
                one = self.second(self.second(f, mock), mock)
            else:
                from jet.bilaplacian import bilaplacian
                from jet.simplify import simplify

                one = simplify(bilaplacian(f, mock), mock, pull_sum=self.how == "collapsed")
        else:
            one = self.second(f, mock)
        batched = torch.func.vmap(one)
        if case == "gradient":
            params = list(f.parameters())

            def gradient():
                loss = 0.5 * batched(x).pow(2).mean()
                # The last bias does not move a derivative.
                slopes = torch.autograd.grad(loss, params, materialize_grads=True)
                return torch.cat([g.flatten() for g in slopes])

            return gradient

        def value():
            with torch.no_grad():
                return batched(x)

        return value

    def numbers(self, result):
        return result.detach().numpy()


class Jax:
    """JAX under jit: nested derivatives, its jets, or folx's forward Laplacian."""

    def __init__(self, how, threads, dtype):
        os.environ["JAX_PLATFORMS"] = "cpu"
        import jax

        jax.config.update("jax_enable_x64", dtype == "f64")
        self.jax, self.how, self.dtype = jax, how, dtype
        self.version = jax.__version__
        if how == "folx":
            import importlib.metadata

            import folx  # noqa: F401

            self.version = importlib.metadata.version("folx")

    def second(self, f):
        jax, numpy = self.jax, self.jax.numpy
        if self.how == "nested":
            return lambda x: numpy.trace(jax.hessian(f)(x))
        if self.how == "folx":
            import folx

            return lambda x: folx.ForwardLaplacianOperator(0)(f)(x)[0]
        from jax.experimental.jet import jet

        def laplacian(x):
            along = lambda v: jet(f, (x,), ((v, numpy.zeros_like(v)),))[1][1]  # noqa: E731
            return jax.vmap(along)(numpy.eye(x.shape[0], dtype=x.dtype)).sum()

        return laplacian

    def prepare(self, case, data, n):
        jax, numpy = self.jax, self.jax.numpy
        kind = numpy.float64 if self.dtype == "f64" else numpy.float32
        count = sum(1 for k in data.files if k.startswith("w"))
        params = [(numpy.asarray(data[f"w{k}"], kind), numpy.asarray(data[f"b{k}"], kind)) for k in range(count)]
        x = numpy.asarray(data["x"][:n], kind)

        def network(params, x):
            for k, (w, b) in enumerate(params):
                x = (numpy.tanh(x) if k else x) @ w.T + b
            return x[0]

        def one(params, x):
            f = lambda x: network(params, x)  # noqa: E731
            second = self.second(self.second(f)) if case == "biharmonic" else self.second(f)
            return second(x)

        batched = jax.vmap(one, in_axes=(None, 0))
        if case == "gradient":
            loss = jax.jit(jax.grad(lambda params: 0.5 * numpy.mean(batched(params, x) ** 2)))
            flat = lambda: jax.tree.map(lambda g: g.block_until_ready(), loss(params))  # noqa: E731
            return lambda: [g for pair in flat() for g in pair]
        compiled = jax.jit(batched)
        return lambda: compiled(params, x).block_until_ready()

    def numbers(self, result):
        import numpy

        if isinstance(result, list):
            return numpy.concatenate([numpy.asarray(g).ravel() for g in result])
        return numpy.asarray(result)


SYSTEMS = {
    "torch nested": (Torch, "nested"),
    "jet-for-pytorch standard": (Torch, "standard"),
    "jet-for-pytorch collapsed": (Torch, "collapsed"),
    "jax nested": (Jax, "nested"),
    "jax.jet": (Jax, "jet"),
    "folx": (Jax, "folx"),
}


def main():
    system, threads, dtype, scratch = sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    limit(threads)
    import numpy

    answer = lambda **fields: print(json.dumps(fields), flush=True)  # noqa: E731
    kind, how = SYSTEMS[system]
    try:
        peer = kind(how, threads, dtype)
    except ImportError as e:
        return answer(skipped=f"cannot be imported: {e}")
    answer(version=peer.version)
    ready = {}
    for text in sys.stdin:
        case, n, repetitions = text.split()
        key, n = (case, n), int(n)
        try:
            if key not in ready:
                # One prepared case at a time: the peak of memory is this one's.
                ready.clear()
                work = peer.prepare(case, numpy.load(scratch / f"{case}.npz"), n)
                before = memory("VmRSS")
                Path("/proc/self/clear_refs").write_text("5")
                result = peer.numbers(work())
                ready[key] = (work, memory("VmHWM") - before)
                numpy.save(scratch / f"{system}.npy", result)
            work, bytes_used = ready[key]
            seconds = []
            for _ in range(int(repetitions)):
                started = time.perf_counter()
                work()
                seconds.append(time.perf_counter() - started)
            answer(seconds=seconds, bytes=bytes_used)
        except Exception as e:  # noqa: BLE001: a peer that fails is reported, and the others go on.
            answer(skipped=f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"[:200])


if __name__ == "__main__":
    main()
