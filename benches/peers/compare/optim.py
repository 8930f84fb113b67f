"""One optimiser step beside PyTorch's implementations: KL-Shampoo and KL-SOAP transcribed here from the published rules,
SOAP, Shampoo and Muon of pytorch_optimizer, KL-Shampoo, SOAP and Muon of HeavyBall, AdamW of torch.

Rounds alternate between the systems; a figure is the median of the rounds' medians, of a period of ten steps with one refresh,
in single precision, with equal numbers of threads. Where a peer follows the same published rule, both are first
run along the same gradients in double precision. `--quick` takes the smallest shapes and one round. Systems that are not installed are
left out, and said so.
"""

import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _shared import arguments, cores, difference, line, median

PERIOD, WARM, ROUNDS = 10, 21, 3
SHAPES = {"256x256": 8, "512x512": 4, "1024x1024": 2, "768x3072": 2, "many": 4}
QUICK = {"256x256": 2, "many": 1}
TOLERANCE = 1e-9


def sides(case):
    if case == "many":
        return [(32, 32), (32,)] * 200
    return [tuple(map(int, case.split("x")))]


class Kl(torch.optim.Optimizer):
    """KL-Shampoo (`free` False) and KL-SOAP of arXiv:2509.03378, the order of operations of the released code, for
    matrices; vectors go to AdamW."""

    def __init__(self, params, free=False, lr=1e-4, b1=0.9, b2=0.98, eps=1e-8, decay=0.01, start=0.1, cap=4000.0):
        super().__init__(params, {"lr": lr})
        self.free, self.b1, self.b2, self.eps, self.decay = free, b1, b2, eps, decay
        self.begin, self.cap = start, cap
        vectors = [p for g in self.param_groups for p in g["params"] if p.ndim < 2]
        self.vectors = torch.optim.AdamW(vectors) if vectors else None

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for w in group["params"]:
                if w.ndim == 2:
                    self.matrix(w, w.grad, self.state[w], group["lr"])
        if self.vectors:
            self.vectors.step()

    def matrix(self, w, g, s, lr):
        m, n = g.shape
        if not s:
            s["sa"], s["sb"] = (1 - self.b2) / n * g @ g.T, (1 - self.b2) / m * g.T @ g
            for k in "ab":
                tiny = 1e-30 * torch.eye(len(s["s" + k]), dtype=g.dtype)
                s["q" + k] = torch.linalg.eigh(s["s" + k] + tiny)[1].flip(1)
                s["e" + k] = torch.full((len(tiny),), self.begin**-0.5, dtype=g.dtype)
            s["m"], s["v"], s["t"] = torch.zeros_like(g), torch.zeros_like(g), 0
            return
        s["t"] += 1
        qa, qb, ea, eb = s["qa"], s["qb"], s["ea"], s["eb"]
        p = qa.T @ g @ qb
        if self.free:
            s["m"].lerp_(p, 1 - self.b1)
            s["v"].mul_(self.b2).addcmul_(p, p, value=1 - self.b2)
            d = qa @ (s["m"] / (s["v"].sqrt() + self.eps)) @ qb.T
        else:
            s["m"].lerp_(g, 1 - self.b1)
            e = torch.outer(ea, eb)
            d = qa @ ((qa.T @ s["m"] @ qb) * (e / (1 + self.eps * e))) @ qb.T
        x, y = (g @ qb) * eb, ea[:, None] * (qa.T @ g)
        s["sa"].mul_(self.b2).add_(x @ x.T, alpha=(1 - self.b2) / n)
        s["sb"].mul_(self.b2).add_(y.T @ y, alpha=(1 - self.b2) / m)
        for k, delta in (("a", (p * eb).square().mean(1)), ("b", (p * ea[:, None]).square().mean(0))):
            value = self.b2 / s["e" + k].square() + (1 - self.b2) * delta
            bound = max(10.0, min(len(value), self.cap))
            s["e" + k] = value.rsqrt().clamp(max=bound).nan_to_num(0.0, 0.0, 0.0)
        if s["t"] % PERIOD == 0:
            new = [torch.linalg.qr(s["s" + k] @ s["q" + k])[0] for k in "ab"]
            if self.free:
                s["m"] = new[0].T @ (qa @ s["m"] @ qb.T) @ new[1]
            s["qa"], s["qb"] = new
        w.sub_(d, alpha=lr)
        w.mul_(1 - lr * self.decay)


def systems(method):
    """Constructors of the systems that have the method, by name and version."""
    found = {}
    if method == "adamw":
        found["torch"] = (torch.__version__, lambda p: torch.optim.AdamW(p, lr=1e-3))
    if method in ("kl-shampoo", "kl-soap"):
        found["rules in torch"] = (torch.__version__, lambda p: Kl(p, free=method == "kl-soap"))
    try:
        import pytorch_optimizer as po

        version = getattr(po, "__version__", None) or installed("pytorch_optimizer")
        shampoo = {"preconditioning_compute_steps": PERIOD, "start_preconditioning_step": 1, "block_size": 4096}
        ours = {
            "soap": lambda p: po.SOAP(p, lr=3e-3, precondition_frequency=PERIOD),
            "shampoo": lambda p: po.ScalableShampoo(p, lr=1e-3, **shampoo),
            "muon": lambda p: po.Muon([{"params": [w for w in p if w.ndim == 2], "use_muon": True}]
                                      + [{"params": v, "use_muon": False} for v in [[w for w in p if w.ndim < 2]] if v]),
        }
        if method in ours:
            found["pytorch_optimizer"] = (version, ours[method])
    except ImportError:
        print("pytorch_optimizer is not installed and is left out")
    try:
        import heavyball

        heavyball.utils.compile_mode = None
        options = {"precondition_frequency": PERIOD}
        ours = {
            "soap": lambda p: heavyball.SOAP(p, lr=3e-3, **options),
            "kl-shampoo": lambda p: heavyball.KLShampoo(p, lr=1e-3, **options),
            "kl-soap": lambda p: heavyball.KLSOAP(p, lr=1e-3, **options),
            "muon": lambda p: heavyball.Muon(p, lr=1e-3),
        }
        if method in ours:
            found["heavyball"] = (installed("heavyball"), ours[method])
    except ImportError:
        print("heavyball is not installed and is left out")
    return found


def installed(name):
    from importlib.metadata import version

    return version(name)


class Stepper:
    """An optimiser with parameters and three gradients that take turns, warmed up over two refreshes."""

    def __init__(self, make, case):
        rng = torch.Generator().manual_seed(0)
        draw = lambda shape: 1e-2 * torch.randn(shape, generator=rng, dtype=torch.float32)
        self.params = [torch.nn.Parameter(draw(s)) for s in sides(case)]
        self.gradients = [[draw(p.shape) for p in self.params] for _ in range(3)]
        self.optimizer, self.done = make(self.params), 0
        self.steps(WARM)

    def steps(self, count):
        for _ in range(count):
            for p, g in zip(self.params, self.gradients[self.done % 3]):
                p.grad = g
            self.optimizer.step()
            self.done += 1

    def timed(self, periods):
        wall, cpu = [], time.process_time()
        for _ in range(periods):
            started = time.perf_counter()
            self.steps(PERIOD)
            wall.append((time.perf_counter() - started) / PERIOD)
        return median(wall), (time.process_time() - cpu) / (periods * PERIOD)


def build_ours(binary):
    """The program that steps our optimisers, beside the binary that was built before."""
    cargo = os.environ.get("CARGO", "cargo")
    subprocess.run([cargo, "build", "--quiet", "--release", "-p", "benches", "--bin", "optimizer-steps"], check=True)
    return Path(binary).parent / "optimizer-steps"


def run_ours(program, *words):
    import json

    run = subprocess.run([program, *map(str, words)], capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: {run.stderr.strip()}")
    return json.loads(run.stdout) if run.stdout else None


def agreement(program, scratch):
    """Largest difference of the weights after 40 steps from ones on 17 x 16, by method, where the rule is the same."""
    g = np.random.default_rng(3).standard_normal((40, 17, 16))
    np.save(scratch / "g.npy", g)
    peers = {
        "adamw": ("adamw", 0.01, lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.01)),
        "kl-shampoo": ("kl-shampoo-reference", 0.01, lambda p: Kl(p, lr=0.01)),
        "kl-soap": ("kl-soap-reference", 0.01, lambda p: Kl(p, free=True, lr=0.01)),
    }
    errors = {}
    for method, (ours, lr, make) in peers.items():
        w = torch.nn.Parameter(torch.ones(17, 16, dtype=torch.float64))
        optimizer = make([w])
        for row in g:
            w.grad = torch.tensor(row)
            optimizer.step()
        run_ours(program, ours, scratch / "g.npy", scratch / "w.npy", lr, 0.01)
        errors[method] = difference(np.load(scratch / "w.npy"), w.detach().numpy())
        assert errors[method] <= TOLERANCE, f"{method}: the weights differ by {errors[method]}"
    return errors


def main():
    args = arguments()
    shapes, rounds = (QUICK, 1) if args.quick else (SHAPES, ROUNDS)
    program = build_ours(args.binary)
    with tempfile.TemporaryDirectory() as scratch:
        errors = agreement(program, Path(scratch))
    for threads in sorted({1, min(2, cores())}):
        torch.set_num_threads(threads)
        for case, periods in shapes.items():
            for method in ("soap", "kl-shampoo", "shampoo", "muon", "adamw"):
                found = systems(method)
                steppers, mine, theirs = {}, [], {name: [] for name in found}
                for name, (_, make) in found.items():
                    try:
                        steppers[name] = Stepper(make, case)
                    except Exception as e:  # A peer's failure is its result, and no reason to stop.
                        print(f"{name} {method} {case}: {type(e).__name__}: {e}")
                for _ in range(rounds):
                    run = run_ours(program, method, case, "f32", threads, periods)
                    mine.append((run["seconds"], run["cpu_seconds"]))
                    for name, stepper in steppers.items():
                        theirs[name].append(stepper.timed(periods))
                label = f"{method} {case}, f32, {threads} thread{'s' if threads > 1 else ''}"
                error = errors.get(method)
                rows = [("osculate", "0.1.0", mine)] + [(n, found[n][0], theirs[n]) for n in steppers]
                for name, version, times in rows:
                    wall, cpu = (median([t[k] for t in times]) for k in (0, 1))
                    same = error if name in ("osculate", "torch", "rules in torch") else None
                    line(args.out, case=label, system=name, version=version, seconds=wall, cpu_seconds=cpu, error=same)


if __name__ == "__main__":
    main()
