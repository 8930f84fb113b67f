"""Laplacian, its parameter gradient and the biharmonic of a network (D-768-768-512-512-1, tanh) beside PyTorch's and JAX's.

Peers: nested derivatives (torch.func, jax under jit), standard and collapsed jets of jet-for-pytorch (as its graph rewrites make
them), jax.experimental.jet and folx under jit. Each peer runs in a process of its own on as many cores as we use threads.
Values are compared before anything is timed; rounds alternate between all systems; a figure is the median of the rounds'
medians. `bytes` is a peer's growth to its peak during the first run; ours is the scratch memory of the run.

Environment: TAYLOR_POINTS (default 1,8,32,128), TAYLOR_ROUNDS (5), TAYLOR_THREADS (all cores), TAYLOR_DTYPES (f64,f32).
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _shared import arguments, cores, difference, line, linear_layers, median, ours, write_model
from _taylor_peers import SYSTEMS

HIDDEN = [768, 768, 512, 512, 1]
TOLERANCE = {"f64": 1e-9, "f32": 5e-3}
GRADIENT_POINTS, BIHARMONIC_POINTS = [32], [1, 32]


class Peer:
    """A system's process."""

    def __init__(self, system, threads, dtype, scratch):
        script = Path(__file__).with_name("_taylor_peers.py")
        command = [sys.executable, str(script), system, str(threads), dtype, str(scratch)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, text=True, **pipes)
        self.system, self.path = system, scratch / f"{system}.npy"
        self.version = self.answer()
        self.gone = self.version.get("skipped")

    def answer(self):
        text = self.process.stdout.readline()
        return json.loads(text) if text else {"skipped": "the process ended"}

    def ask(self, case, n, repetitions):
        self.process.stdin.write(f"{case} {n} {repetitions}\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def listed(name, default):
    return [word for word in os.environ.get(name, default).split(",") if word]


def measure(out, binary, scratch, peers, case, n, dtype, threads, rounds):
    """One case: agreement, then alternating rounds."""
    operator = "biharmonic" if case == "biharmonic" else "laplacian"
    np.save(scratch / "x.npy", np.load(scratch / f"{case}.npz")["x"][:n])
    command = ["pde", "--model", scratch / case, "--points", scratch / "x.npy", "--operator", operator]
    command += ["--save", scratch / "o.npy", "--dtype", dtype, "--threads", threads]
    key, size = "run_seconds", "workspace_bytes"
    if case == "gradient":
        command += ["--parameter-gradient", scratch / "g.npy"]
        key, size = "gradient_seconds", "gradient_workspace_bytes"
    mine = [ours(binary, *command, "--repeat", 3)]
    result = np.load(scratch / ("g.npy" if case == "gradient" else "o.npy")).ravel()
    label, active, worst = f"{case} {dtype}, N = {n}, {threads} threads", [], 0.0
    for peer in peers:
        first = peer.ask(case, n, 1) if not peer.gone else {"skipped": peer.gone}
        if "skipped" in first:
            print(f"{label}: {peer.system} skipped: {first['skipped']}")
            continue
        error = difference(np.load(peer.path).ravel().astype(float), result.astype(float))
        assert error <= TOLERANCE[dtype], f"{label}: {peer.system} differs by {error}"
        worst = max(worst, error)
        active.append((peer, error, first["bytes"], []))
    for _ in range(rounds):
        mine.append(ours(binary, *command, "--repeat", 3))
        for peer, _, _, times in active:
            times.append(median(peer.ask(case, n, 3)["seconds"]))
    seconds = median([run[key] for run in mine[1:]])
    line(out, case=label, system="osculate", version="0.1.0", seconds=seconds, error=worst, bytes=mine[0][size])
    for peer, error, used, times in active:
        version = peer.version["version"]
        line(out, case=label, system=peer.system, version=version, seconds=median(times), error=error, bytes=used)
        print(f"{label}: {peer.system} {median(times) / seconds:.2f} x, {used / 2**20:.0f} MiB")


def main():
    args = arguments()
    points = [int(n) for n in listed("TAYLOR_POINTS", "1,8,32,128")]
    rounds, threads = int(os.environ.get("TAYLOR_ROUNDS", "5")), int(os.environ.get("TAYLOR_THREADS", str(cores())))
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        for case, d in {"laplacian": 50, "gradient": 50, "biharmonic": 5}.items():
            config, tensors = linear_layers([d, *HIDDEN], "tanh", 0)
            write_model(scratch / case, config, tensors)
            arrays = list(tensors.values())
            weights = {f"w{k}": w for k, w in enumerate(arrays[0::2])} | {f"b{k}": b for k, b in enumerate(arrays[1::2])}
            x = np.random.default_rng(1).uniform(0.0, 1.0, (max([*points, 32]), d))
            np.savez(scratch / f"{case}.npz", x=x, **weights)
        for dtype in listed("TAYLOR_DTYPES", "f64,f32"):
            peers = [Peer(system, threads, dtype, scratch) for system in SYSTEMS]
            plan = [("laplacian", n) for n in points]
            plan += [("gradient", n) for n in GRADIENT_POINTS] + [("biharmonic", n) for n in BIHARMONIC_POINTS]
            for case, n in plan:
                measure(args.out, args.binary, scratch, peers, case, n, dtype, threads, rounds)
            for peer in peers:
                peer.close()


if __name__ == "__main__":
    main()
