"""One optimiser step beside PyTorch's implementations: KL-Shampoo and KL-SOAP transcribed here from the published rules,
SOAP, Shampoo and Muon of pytorch_optimizer, KL-Shampoo, SOAP and Muon of HeavyBall, AdamW of torch.

Rounds alternate between the systems; a figure is the median of the rounds' medians, of a period of ten steps with one refresh,
in single precision, with equal numbers of threads. Where a peer follows the same rule, both are first run along the same
gradients in double precision. The row `products` (`memory` for AdamW) is the machine's limit: our products of the flops of
a step without its refresh, a pass over the memory that it touches. Muon's peers iterate in bfloat16, and so do we in `muon-bfloat16`;
in `muon` their code is kept in single precision. On 768x3072 the long axis has no dense factor; `-dense` gives it one.

Environment: OPTIM_SHAPES (256x256,512x512,1024x1024,768x3072,many,768x3072-dense), OPTIM_METHODS
(soap,kl-shampoo,shampoo,muon,muon-bfloat16,adamw), OPTIM_THREADS (1,2), OPTIM_ROUNDS (3). Cases that the file has already are left out: with
COMPARE_KEEP a long run can be made in slices. `--quick` takes the smallest shapes and one round. Systems that are not installed are
left out, and said so.
"""

import functools
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _shared import arguments, cores, difference, line, listed, median

PERIOD, WARM, ROUNDS = 10, 21, 3
PERIODS = {"256x256": 8, "512x512": 4, "many": 4}
LARGE = ("768x3072", "768x3072-dense")
QUICK = {"256x256": 2, "many": 1}
METHODS = "soap,kl-shampoo,shampoo,muon,muon-bfloat16,adamw"
SHAPES = "256x256,512x512,1024x1024,768x3072,many,768x3072-dense"
LONGEST = 2048
TOLERANCE = 1e-9


def sides(case):
    if case == "many":
        return [(32, 32), (32,)] * 200
    return [tuple(map(int, case.split("-")[0].split("x")))]


class Kl(torch.optim.Optimizer):
    """KL-Shampoo (`free` False) and KL-SOAP of arXiv:2509.03378, the order of operations of the released code, for
    matrices; axes beyond `longest` keep their own basis (our rule for long axes), vectors go to AdamW."""

    def __init__(
        self, params, free=False, lr=1e-4, b1=0.9, b2=0.98, eps=1e-8, decay=0.01, start=0.1, cap=4000.0, longest=10**6
    ):
        self.longest = longest
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
            for k, side, moment in (("a", m, lambda: g @ g.T / n), ("b", n, lambda: g.T @ g / m)):
                s["e" + k], s["q" + k] = torch.full((side,), self.begin**-0.5, dtype=g.dtype), None
                if side <= self.longest:
                    s["s" + k] = (1 - self.b2) * moment()
                    tiny = 1e-30 * torch.eye(side, dtype=g.dtype)
                    s["q" + k] = torch.linalg.eigh(s["s" + k] + tiny)[1].flip(1)
            s["m"], s["v"], s["t"] = torch.zeros_like(g), torch.zeros_like(g), 0
            return
        s["t"] += 1
        qa, qb, ea, eb = s["qa"], s["qb"], s["ea"], s["eb"]
        # Into the basis from either side and back; an axis without one stays.
        rows = lambda x: x if qa is None else qa.T @ x
        columns = lambda x: x if qb is None else x @ qb
        back = lambda x: (lambda y: y if qb is None else y @ qb.T)(x if qa is None else qa @ x)
        p = columns(rows(g))
        if self.free:
            s["m"].lerp_(p, 1 - self.b1)
            s["v"].mul_(self.b2).addcmul_(p, p, value=1 - self.b2)
            d = back(s["m"] / (s["v"].sqrt() + self.eps))
        else:
            s["m"].lerp_(g, 1 - self.b1)
            e = torch.outer(ea, eb)
            d = back(columns(rows(s["m"])) * (e / (1 + self.eps * e)))
        if qa is not None:
            x = columns(g) * eb
            s["sa"].mul_(self.b2).add_(x @ x.T, alpha=(1 - self.b2) / n)
        if qb is not None:
            y = ea[:, None] * rows(g)
            s["sb"].mul_(self.b2).add_(y.T @ y, alpha=(1 - self.b2) / m)
        for k, delta in (("a", (p * eb).square().mean(1)), ("b", (p * ea[:, None]).square().mean(0))):
            value = self.b2 / s["e" + k].square() + (1 - self.b2) * delta
            bound = max(10.0, min(len(value), self.cap))
            s["e" + k] = value.rsqrt().clamp(max=bound).nan_to_num(0.0, 0.0, 0.0)
        if s["t"] % PERIOD == 0:
            old = back(s["m"]) if self.free else None
            for k in "ab":
                if s["q" + k] is not None:
                    s["q" + k] = torch.linalg.qr(s["s" + k] @ s["q" + k])[0]
            if self.free:
                qa, qb = s["qa"], s["qb"]
                old = old if qa is None else qa.T @ old
                s["m"] = old if qb is None else old @ qb
        w.sub_(d, alpha=lr)
        w.mul_(1 - lr * self.decay)


def muon(p, **options):
    """Muon of pytorch_optimizer, which takes matrices and the rest apart."""
    import pytorch_optimizer as po

    groups = [{"params": [w for w in p if w.ndim == 2], "use_muon": True}]
    rest = [w for w in p if w.ndim < 2]
    return po.Muon(groups + ([{"params": rest, "use_muon": False}] if rest else []), **options)


class Widened:
    """Keeps a peer's Newton-Schulz iteration in the precision of its parameters while it steps."""

    def __init__(self, optimizer, module, name, replacement):
        self.optimizer, self.module, self.name, self.replacement = optimizer, module, name, replacement

    def step(self):
        released = getattr(self.module, self.name)
        setattr(self.module, self.name, self.replacement)
        try:
            self.optimizer.step()
        finally:
            setattr(self.module, self.name, released)


def muon_widened(p, dtype, **options):
    from pytorch_optimizer.optimizer.muon import base

    wide = functools.partial(base.zero_power_via_newton_schulz_5, dtype=dtype)
    return Widened(muon(p, **options), base, "zero_power_via_newton_schulz_5", wide)


def systems(method, dense):
    """Constructors of the systems that have the method, by name and version."""
    found = {}
    longest = 10**6 if dense else LONGEST
    if method == "adamw":
        found["torch"] = (torch.__version__, lambda p: torch.optim.AdamW(p, lr=1e-3))
    if method in ("kl-shampoo", "kl-soap"):
        found["rules in torch"] = (torch.__version__, lambda p: Kl(p, free=method == "kl-soap", longest=longest))
    try:
        import pytorch_optimizer as po

        version = getattr(po, "__version__", None) or installed("pytorch_optimizer")
        # As interpreted by default a matrix of no more elements than a block is a vector, which gets no factors.
        shampoo = {"preconditioning_compute_steps": PERIOD, "start_preconditioning_step": 1, "block_size": 4096,
                   "shape_interpretation": False}
        soap = {"precondition_frequency": PERIOD, "max_precondition_dim": longest}
        ours = {
            "soap": {"pytorch_optimizer": lambda p: po.SOAP(p, lr=3e-3, **soap)},
            "shampoo": {"pytorch_optimizer": lambda p: po.ScalableShampoo(p, lr=1e-3, **shampoo)},
            "muon": {"pytorch_optimizer (float32)": lambda p: muon_widened(p, torch.float32)},
            "muon-bfloat16": {"pytorch_optimizer": muon},
        }
        found |= {name: (version, make) for name, make in ours.get(method, {}).items()}
    except ImportError:
        print("pytorch_optimizer is not installed and is left out")
    try:
        import heavyball

        heavyball.utils.compile_mode = None
        options = {"precondition_frequency": PERIOD, "max_precond_dim": longest}
        plain = lambda ref, source=None: ref if source is None else source.to(ref.dtype)
        ours = {
            "soap": {"heavyball": lambda p: heavyball.SOAP(p, lr=3e-3, **options)},
            "kl-shampoo": {"heavyball": lambda p: heavyball.KLShampoo(p, lr=1e-3, **options)},
            "kl-soap": {"heavyball": lambda p: heavyball.KLSOAP(p, lr=1e-3, **options)},
            "muon": {
                "heavyball (float32)": lambda p: Widened(
                    heavyball.Muon(p, lr=1e-3), heavyball.utils, "stochastic_round_", plain
                )
            },
            "muon-bfloat16": {"heavyball": lambda p: heavyball.Muon(p, lr=1e-3)},
        }
        found |= {name: (installed("heavyball"), make) for name, make in ours.get(method, {}).items()}
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
        self.steps(2 if case in LARGE else WARM)

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


SHAMPOO = {"beta1": 0.0, "beta2": 0.999, "bias_correction": False, "initial": 1e-6, "eps": 0.0, "period": PERIOD,
           "root": {"pseudo-inverse": {"rtol": 0.0, "atol": 0.0}}, "start": PERIOD, "graft": "sgd",
           "late_momentum": 0.9, "nesterov": True}


def agreement(program, scratch):
    """Largest difference of the weights after 40 steps from ones on 17 x 16, by system and method, where the rule is the same."""
    g = np.random.default_rng(3).standard_normal((40, 17, 16))
    np.save(scratch / "g.npy", g)
    # (system, method): our settings, learning rate, theirs, tolerance.
    peers = {
        ("torch", "adamw"): ("adamw", {}, 0.01, lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.01), TOLERANCE),
        ("rules in torch", "kl-shampoo"): ("kl-shampoo-reference", {}, 0.01, lambda p: Kl(p, lr=0.01), TOLERANCE),
        ("rules in torch", "kl-soap"): ("kl-soap-reference", {}, 0.01, lambda p: Kl(p, free=True, lr=0.01), TOLERANCE),
    }
    try:
        import pytorch_optimizer as po

        roots = {"start_preconditioning_step": 1, "preconditioning_compute_steps": PERIOD, "use_svd": True,
                 "shape_interpretation": False}
        # It rounds its QR to single precision, which the bases keep.
        peers["pytorch_optimizer", "soap"] = ("soap-reference", {}, 0.01, lambda p: po.SOAP(p, lr=0.01), 1e-5)
        # With its roots by SVD: the iteration that it is timed with stops at a residual of 1e-3.
        peers["pytorch_optimizer", "shampoo"] = (
            "shampoo", SHAMPOO, 0.01, lambda p: po.ScalableShampoo(p, lr=0.01, **roots), TOLERANCE
        )
        # It is the larger of the norm and 1e-7 that it divides by, not their sum.
        peers["pytorch_optimizer (float32)", "muon"] = (
            "muon", {"eps": 0.0}, 0.01, lambda p: muon_widened(p, torch.float64, lr=0.01), TOLERANCE
        )
        # Entries of directions are near 1/4 and at most 2 % apart, as rounding has it: 40 steps of 0.01 move weights apart by 2e-3 at most.
        peers["pytorch_optimizer", "muon-bfloat16"] = ("muon-bfloat16", {"eps": 0.0}, 0.01, lambda p: muon(p, lr=0.01), 2e-3)
    except ImportError:
        pass
    errors = {}
    for (system, method), (ours, changes, lr, make, tolerance) in peers.items():
        w = torch.nn.Parameter(torch.ones(17, 16, dtype=torch.float64))
        optimizer = make([w])
        for row in g:
            w.grad = torch.tensor(row)
            optimizer.step()
        decay = {"weight_decay": 0.0 if method in ("shampoo", "muon", "muon-bfloat16") else 0.01}
        run_ours(program, ours, scratch / "g.npy", scratch / "w.npy", lr, json.dumps(changes | decay))
        error = difference(np.load(scratch / "w.npy"), w.detach().numpy())
        print(f"{method}: {system} differs by {error:.1e}")
        assert error <= tolerance, f"{method}: the weights of {system} differ by {error}"
        errors[system, method] = error
    return errors


def measure(program, out, errors, method, case, threads, periods, rounds):
    """One case: the peers that can be set up, and alternating rounds."""
    label = f"{method} {case}, f32, {threads} thread{'s' if threads > 1 else ''}"
    if label in done(out):
        return
    dense = case.endswith("-dense")
    shape, own = case.removesuffix("-dense"), f"{method}-dense" if dense else method
    found = systems(method, dense)
    steppers = {}
    for name, (_, make) in found.items():
        try:
            steppers[name] = Stepper(make, case)
        except Exception as e:  # A peer's failure is its result, and no reason to stop.
            print(f"{name} {method} {case}: {type(e).__name__}: {e}")
    mine, theirs = [], {name: [] for name in steppers}
    for _ in range(rounds):
        mine.append(run_ours(program, own, shape, "f32", threads, periods))
        for name, stepper in steppers.items():
            theirs[name].append(stepper.timed(periods))
    worst = max((errors[name, method] for name in steppers if (name, method) in errors), default=None)
    middle = lambda key: median([run[key] for run in mine])
    rows = [("osculate", "0.1.0", middle("seconds"), middle("cpu_seconds"), worst)]
    if mine[0]["limit_seconds"]:
        limit = "memory" if method == "adamw" else "products"
        rows.append((limit, "0.1.0", middle("limit_seconds"), None, None))
    for name, times in theirs.items():
        wall, cpu = (median([t[k] for t in times]) for k in (0, 1))
        rows.append((name, found[name][0], wall, cpu, errors.get((name, method))))
    for name, version, wall, cpu, error in rows:
        line(out, case=label, system=name, version=version, seconds=wall, cpu_seconds=cpu, error=error)
    print(f"{label}: " + ", ".join(f"{r[0]} {r[2] / rows[0][2]:.2f}" for r in rows[1:]), flush=True)


def done(out):
    """Cases that an earlier slice has measured."""
    if not Path(out).exists():
        return set()
    return {json.loads(row)["case"] for row in Path(out).read_text().splitlines() if row.strip()}


def main():
    args = arguments()
    shapes = list(QUICK) if args.quick else listed("OPTIM_SHAPES", SHAPES)
    methods = listed("OPTIM_METHODS", METHODS)
    rounds = 1 if args.quick else int(os.environ.get("OPTIM_ROUNDS", ROUNDS))
    counts = [int(n) for n in listed("OPTIM_THREADS", ",".join(map(str, sorted({1, min(2, cores())}))))]
    program = build_ours(args.binary)
    with tempfile.TemporaryDirectory() as scratch:
        errors = agreement(program, Path(scratch))
    for threads in counts:
        torch.set_num_threads(threads)
        for case in shapes:
            dense = case.endswith("-dense")
            for method in methods:
                # A dense long axis is a matter of the methods with a refresh, and of one number of threads: it takes minutes.
                if dense and (method not in ("soap", "kl-shampoo") or threads != counts[0]):
                    continue
                periods = QUICK.get(case) if args.quick else PERIODS.get(case, 1)
                measure(program, args.out, errors, method, case, threads, periods, 1 if case in LARGE else rounds)


if __name__ == "__main__":
    main()
