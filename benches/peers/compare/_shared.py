"""What the comparisons share: arguments, our binary as a subprocess, alternating rounds, result lines."""

import argparse
import json
import math
import os
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds: does it work?")
    return parser.parse_args()


def ours(binary, *words):
    """One run of our program; its JSON object."""
    run = subprocess.run([binary, *map(str, words), "--json", "--quiet"], capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}: {run.stderr.strip()}")
    return json.loads(run.stdout)


def seconds_of(work, repetitions):
    """Wall seconds of each repetition after one warm-up, and processor seconds of one on average."""
    work()
    wall, cpu = [], time.process_time()
    for _ in range(repetitions):
        started = time.perf_counter()
        work()
        wall.append(time.perf_counter() - started)
    return wall, (time.process_time() - cpu) / repetitions


def difference(a, b):
    """Largest difference relative to the largest entry of `b`."""
    return float(np.max(np.abs(a - b)) / max(np.max(np.abs(b)), 1e-300))


def line(out, **fields):
    with open(out, "a") as file:
        file.write(json.dumps(fields) + "\n")


def linear_layers(widths, activation, seed):
    """A `sequential` configuration and its tensors, with PyTorch's default initialisation."""
    rng = np.random.default_rng(seed)
    layers, tensors = [], {}
    for k, (fan_in, fan_out) in enumerate(zip(widths, widths[1:])):
        if k:
            layers.append({"type": activation})
        bound = 1.0 / math.sqrt(fan_in)
        tensors[f"{len(layers)}.weight"] = rng.uniform(-bound, bound, (fan_out, fan_in))
        tensors[f"{len(layers)}.bias"] = rng.uniform(-bound, bound, fan_out)
        layers.append({"type": "linear", "in": fan_in, "out": fan_out, "bias": True})
    return {"model_type": "sequential", "input": [widths[0]], "layers": layers}, tensors


def write_model(folder, config, tensors):
    from safetensors.numpy import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, folder / "model.safetensors")


def listed(name, default):
    """Words of an environment variable, separated by commas."""
    return [word for word in os.environ.get(name, default).split(",") if word]


def median(values):
    return statistics.median(values)


def cores():
    return len(os.sched_getaffinity(0))
