"""The gradient of a multilayer perceptron (784-1024-512-256-128-64-10, ReLU, cross-entropy, batch 512) beside PyTorch's.

Rounds alternate between the two programs; a figure is the median of the rounds' medians. Equal numbers of threads. The
gradients are compared before anything is timed. Processor seconds are those of all threads of a program, of one gradient.
`--quick` takes a small network and one round.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
from _shared import arguments, cores, difference, line, linear_layers, median, ours, seconds_of, write_model

WIDTHS, QUICK_WIDTHS = [784, 1024, 512, 256, 128, 64, 10], [784, 64, 10]
BATCH, ROUNDS, REPETITIONS = 512, 7, 5
TOLERANCE = {"f64": 1e-10, "f32": 1e-4}


def torch_gradient(tensors, x, y, dtype):
    params = [torch.tensor(v, dtype=dtype, requires_grad=True) for v in tensors.values()]
    x, y = torch.tensor(x, dtype=dtype), torch.tensor(y)

    def work():
        h = x
        for k in range(0, len(params), 2):
            h = torch.nn.functional.linear(h, params[k], params[k + 1])
            if k + 2 < len(params):
                h = torch.relu(h)
        return torch.autograd.grad(torch.nn.functional.cross_entropy(h, y), params)

    return work


def main():
    args = arguments()
    widths, rounds = (QUICK_WIDTHS, 1) if args.quick else (WIDTHS, ROUNDS)
    config, tensors = linear_layers(widths, "relu", 0)
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0.0, 1.0, (BATCH, widths[0])), rng.integers(0, 10, BATCH)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        write_model(scratch / "model", config, tensors)
        np.savez(scratch / "data.npz", inputs=x, targets=y)
        base = ["curvature", "--model", scratch / "model", "--data", scratch / "data.npz", "--loss", "cross-entropy"]
        for dtype, kind in {"f64": torch.float64, "f32": torch.float32}.items():
            work = torch_gradient(tensors, x, y, kind)
            reference = np.concatenate([g.flatten().numpy() for g in work()])
            ours(args.binary, *base, "--gradient", "--save", scratch / "g.npy", "--dtype", dtype)
            error = difference(np.load(scratch / "g.npy"), reference)
            assert error <= TOLERANCE[dtype], f"the gradients differ by {error}"
            for threads in sorted({1, min(2, cores())}):
                torch.set_num_threads(threads)
                mine, theirs, cpu, own_cpu = [], [], [], []
                for _ in range(rounds):
                    command = [*base, "--gradient", "--save", scratch / "g.npy", "--dtype", dtype, "--threads", threads]
                    run = ours(args.binary, *command)
                    mine.append(run["gradient_seconds"])
                    own_cpu.append(run["gradient_cpu_seconds"])
                    wall, processor = seconds_of(work, REPETITIONS)
                    theirs.append(median(wall))
                    cpu.append(processor)
                case = f"{dtype}, {threads} thread{'s' if threads > 1 else ''}"
                line(
                    args.out,
                    case=case,
                    system="osculate",
                    version="0.1.0",
                    seconds=median(mine),
                    cpu_seconds=median(own_cpu),
                    error=error,
                )
                line(
                    args.out,
                    case=case,
                    system="torch",
                    version=torch.__version__,
                    seconds=median(theirs),
                    cpu_seconds=median(cpu),
                    error=error,
                )


if __name__ == "__main__":
    main()
