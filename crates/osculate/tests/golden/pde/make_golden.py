"""Reference values for differential operators of small sequential models, made with PyTorch's nested reverse mode in float64.

For every activation and depth, `ACTIVATION-DEPTH/` holds a model (config.json, model.safetensors) on D = 3 coordinates with C = 2
outputs, and `ACTIVATION-DEPTH.safetensors` holds

    points              [N, D]
    matrix              [D, D]  symmetric, indefinite
    drift               [D]
    gradient            [N, C, D]
    laplacian           [N, C]  sum_i d_ii f
    weighted            [N, C]  sum_ij A_ij d_ij f + b . grad f
    biharmonic          [N, C]  sum_ij d_iijj f
    mixed               [N, C]  1.5 d_xxy f - 0.5 d_xyz f
    parameter_gradient  [P]  of (1/2N) sum_n sum_c (laplacian)^2, layer order, weight before bias

Activations are written out with functions whose higher derivatives PyTorch has right. The script checks itself: derivatives of
odd order agree with central differences of those one order below, and the Laplacian with the trace of torch.func's Hessian.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

D, C, N, WIDTH, SEED = 3, 2, 5, 6, 20264
ACTIVATIONS = {
    "tanh": torch.tanh,
    "sin": torch.sin,
    "sigmoid": torch.sigmoid,
    "softplus": lambda x: torch.log1p(torch.exp(x)),
    "silu": lambda x: x * torch.sigmoid(x),
    "gelu": lambda x: 0.5 * x * (1.0 + torch.erf(x / math.sqrt(2.0))),
}


def network(activation, layers):
    def f(x):
        for k, (weight, bias) in enumerate(layers):
            x = x @ weight.T + bias
            if k + 1 < len(layers):
                x = ACTIVATIONS[activation](x)
        return x

    return f


def derivative(y, x):
    """d y / d x of a batched scalar [N] in points [N, D], differentiable again."""
    if not y.requires_grad:
        return torch.zeros_like(x)
    (g,) = torch.autograd.grad(y.sum(), x, create_graph=True, allow_unused=True)
    return torch.zeros_like(x) if g is None else g


def partial(y, x, axes):
    for axis in axes:
        y = derivative(y, x)[:, axis]
    return y


def operators(f, x, matrix, drift):
    out = {}
    x = x.clone().requires_grad_(True)
    y = f(x)
    per = [y[:, c] for c in range(C)]
    stack = lambda parts: torch.stack(parts, 1)
    out["gradient"] = torch.stack([derivative(p, x) for p in per], 1)
    second = [[[partial(p, x, (i, j)) for j in range(D)] for i in range(D)] for p in per]
    out["laplacian"] = stack([sum(s[i][i] for i in range(D)) for s in second])
    first = out["gradient"] @ drift
    out["weighted"] = first + stack(
        [sum(matrix[i, j] * s[i][j] for i in range(D) for j in range(D)) for s in second]
    )
    out["biharmonic"] = stack(
        [sum(partial(p, x, (i, i, j, j)) for i in range(D) for j in range(D)) for p in per]
    )
    out["mixed"] = stack([1.5 * partial(p, x, (0, 0, 1)) - 0.5 * partial(p, x, (0, 1, 2)) for p in per])
    return out


def check(f, x, out):
    hessians = torch.func.vmap(torch.func.hessian(lambda z: f(z[None])[0]))(x)
    trace = hessians.diagonal(dim1=-2, dim2=-1).sum(-1)
    assert torch.allclose(trace, out["laplacian"], rtol=1e-10, atol=1e-12)
    h = 1e-5
    mixed = torch.zeros_like(out["mixed"])
    for (axis, pair), c in {(1, (0, 0)): 1.5, (0, (1, 2)): -0.5}.items():
        for sign in (1.0, -1.0):
            z = x.clone()
            z[:, axis] += sign * h
            z.requires_grad_(True)
            y = f(z)
            mixed += c * sign / (2 * h) * torch.stack([partial(y[:, k], z, pair) for k in range(C)], 1)
    assert torch.allclose(mixed, out["mixed"], rtol=1e-5, atol=1e-7)


def main():
    rng = np.random.default_rng(SEED)
    for activation in ACTIVATIONS:
        for depth in (1, 2, 3):
            sizes = [D] + [WIDTH] * depth + [C]
            arrays, layers, config, tensors = [], [], [], {}
            for k in range(len(sizes) - 1):
                fan_in, fan_out = sizes[k], sizes[k + 1]
                weight = rng.uniform(-1.2, 1.2, (fan_out, fan_in)) / math.sqrt(fan_in) * 1.5
                bias = rng.uniform(-0.5, 0.5, fan_out)
                arrays += [weight, bias]
                if k:
                    config.append({"type": activation})
                index = len(config)
                config.append({"type": "linear", "in": fan_in, "out": fan_out, "bias": True})
                tensors[f"{index}.weight"], tensors[f"{index}.bias"] = weight, bias
            params = [torch.tensor(a, requires_grad=True) for a in arrays]
            layers = list(zip(params[::2], params[1::2]))
            f = network(activation, layers)
            x = torch.tensor(rng.uniform(-1.0, 1.0, (N, D)))
            matrix = rng.uniform(-1.0, 1.0, (D, D))
            matrix = torch.tensor(matrix + matrix.T)
            drift = torch.tensor(rng.uniform(-1.0, 1.0, D))
            out = operators(f, x, matrix, drift)
            check(f, x, {k: v.detach() for k, v in out.items()})
            loss = 0.5 / N * (out["laplacian"] ** 2).sum()
            gradient = torch.autograd.grad(loss, params, allow_unused=True)
            flat = [(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(params, gradient)]
            name = f"{activation}-{depth}"
            folder = HERE / name
            folder.mkdir(exist_ok=True)
            text = json.dumps({"model_type": "sequential", "input": [D], "layers": config}, indent=1)
            (folder / "config.json").write_text(text + "\n")
            save_file(tensors, folder / "model.safetensors")
            result = {k: np.ascontiguousarray(v.detach().numpy()) for k, v in out.items()}
            result |= {"points": x.numpy(), "matrix": matrix.numpy(), "drift": drift.numpy()}
            result["parameter_gradient"] = torch.cat(flat).detach().numpy()
            save_file(result, HERE / f"{name}.safetensors")


if __name__ == "__main__":
    main()
