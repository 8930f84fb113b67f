"""Laplacian, its parameter gradient and the biharmonic of a network (D-768-768-512-512-1, tanh) beside PyTorch's and JAX's.

Peers: nested derivatives (torch.func, jax under jit), standard and collapsed jets of jet-for-pytorch (as its graph rewrites make
them), jax.experimental.jet and folx under jit. Each peer runs in a process of its own on as many cores as we use threads.
Values are compared before anything is timed; rounds alternate between all systems; a figure is the median of the rounds'
medians.

Memory is compared apart from time: for each case every system starts in a fresh process, loads network and points, and `bytes` is the
growth of the process from there to its peak in its first run (what a system compiles then is its own, as it is for whoever uses
it); ours counts at least its planned scratch memory and its result.

Environment: TAYLOR_TIMES (default laplacian:1,..:8,..:32,..:128,gradient:32,biharmonic:1,biharmonic:32; empty: none), TAYLOR_MEMORY
(laplacian:128,gradient:32,biharmonic:32; empty: none), TAYLOR_ROUNDS (5), TAYLOR_THREADS (all cores), TAYLOR_DTYPES (f64,f32).
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
TIMES = "laplacian:1,laplacian:8,laplacian:32,laplacian:128,gradient:32,biharmonic:1,biharmonic:32"
MEMORY = "laplacian:128,gradient:32,biharmonic:32"


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


def cases(name, default):
    """Pairs of a case and its number of points."""
    return [(case, int(n)) for case, n in (entry.split(":") for entry in listed(name, default))]


def request(scratch, case, n, dtype, threads):
    """The arguments of our program, and its keys of seconds, scratch memory and growth."""
    operator = "biharmonic" if case == "biharmonic" else "laplacian"
    np.save(scratch / "x.npy", np.load(scratch / f"{case}.npz")["x"][:n])
    command = ["pde", "--model", scratch / case, "--points", scratch / "x.npy", "--operator", operator]
    command += ["--save", scratch / "o.npy", "--dtype", dtype, "--threads", threads]
    if case == "gradient":
        command += ["--parameter-gradient", scratch / "g.npy"]
        return command, ("gradient_seconds", "gradient_workspace_bytes", "gradient_peak_bytes")
    return command, ("run_seconds", "workspace_bytes", "peak_bytes")


def result_of(scratch, case):
    return np.load(scratch / ("g.npy" if case == "gradient" else "o.npy")).ravel()


def measure(out, binary, scratch, peers, case, n, dtype, threads, rounds):
    """One case: agreement, then alternating rounds."""
    command, (key, _, _) = request(scratch, case, n, dtype, threads)
    mine = [ours(binary, *command, "--repeat", 3)]
    result = result_of(scratch, case)
    label, active, worst = f"{case} {dtype}, N = {n}, {threads} threads", [], 0.0
    for peer in peers:
        first = peer.ask(case, n, 1) if not peer.gone else {"skipped": peer.gone}
        if "skipped" in first:
            print(f"{label}: {peer.system} skipped: {first['skipped']}")
            continue
        error = difference(np.load(peer.path).ravel().astype(float), result.astype(float))
        assert error <= TOLERANCE[dtype], f"{label}: {peer.system} differs by {error}"
        worst = max(worst, error)
        active.append((peer, error, []))
    for _ in range(rounds):
        mine.append(ours(binary, *command, "--repeat", 3))
        for peer, _, times in active:
            times.append(median(peer.ask(case, n, 3)["seconds"]))
    seconds = median([run[key] for run in mine[1:]])
    line(out, case=label, system="osculate", version="0.1.0", seconds=seconds, error=worst)
    for peer, error, times in active:
        line(out, case=label, system=peer.system, version=peer.version["version"], seconds=median(times), error=error)
        print(f"{label}: {peer.system} {median(times) / seconds:.2f} x")


def memory(out, binary, scratch, case, n, dtype, threads):
    """The memory of one case, every system in a fresh process."""
    command, (_, planned, grown) = request(scratch, case, n, dtype, threads)
    mine = ours(binary, *command, "--repeat", 1)
    result = result_of(scratch, case)
    used = max(mine[planned] + result.nbytes, mine[grown] or 0)
    label = f"memory of {case} {dtype}, N = {n}, {threads} threads"
    line(out, case=label, system="osculate", version="0.1.0", error=0.0, bytes=used)
    print(f"{label}: osculate {used / 2**20:.1f} MiB")
    for system in SYSTEMS:
        peer = Peer(system, threads, dtype, scratch)
        answer = peer.ask(case, n, 1) if not peer.gone else {"skipped": peer.gone}
        peer.close()
        if "skipped" in answer:
            print(f"{label}: {system} skipped: {answer['skipped']}")
            continue
        error = difference(np.load(peer.path).ravel().astype(float), result.astype(float))
        assert error <= TOLERANCE[dtype], f"{label}: {system} differs by {error}"
        fields = {"error": error, "bytes": answer["bytes"]}
        line(out, case=label, system=system, version=peer.version["version"], **fields)
        print(f"{label}: {system} {answer['bytes'] / 2**20:.1f} MiB, {answer['bytes'] / used:.1f} x")


def main():
    args = arguments()
    times, memories = cases("TAYLOR_TIMES", TIMES), cases("TAYLOR_MEMORY", MEMORY)
    rounds, threads = int(os.environ.get("TAYLOR_ROUNDS", "5")), int(os.environ.get("TAYLOR_THREADS", str(cores())))
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        for case, d in {"laplacian": 50, "gradient": 50, "biharmonic": 5}.items():
            config, tensors = linear_layers([d, *HIDDEN], "tanh", 0)
            write_model(scratch / case, config, tensors)
            arrays = list(tensors.values())
            weights = {f"w{k}": w for k, w in enumerate(arrays[0::2])} | {f"b{k}": b for k, b in enumerate(arrays[1::2])}
            x = np.random.default_rng(1).uniform(0.0, 1.0, (max([n for _, n in times + memories], default=1), d))
            np.savez(scratch / f"{case}.npz", x=x, **weights)
        for dtype in listed("TAYLOR_DTYPES", "f64,f32"):
            peers = [Peer(system, threads, dtype, scratch) for system in SYSTEMS] if times else []
            for case, n in times:
                measure(args.out, args.binary, scratch, peers, case, n, dtype, threads, rounds)
            for peer in peers:
                peer.close()
            for case, n in memories:
                memory(args.out, args.binary, scratch, case, n, dtype, threads)


if __name__ == "__main__":
    main()
