"""Reference values for curvature products of small sequential models, made with PyTorch's double backward in float64.

For every model, loss and reduction the file `MODEL/CASE-REDUCTION.safetensors` holds (P parameters, flattened in the order of
the layers, weight before bias, row-major):

    vector              [P]  a fixed direction v
    outputs             [N, C]  the model's outputs f
    loss                [1]  L = kappa * sum_t w_t l_t
    gradient            [P]  of L
    hessian_vector      [P]  H v with H the Hessian of L
    ggn_vector          [P]  G v with G = J^T (Hessian of L with respect to f) J
    hessian_diagonal, ggn_diagonal            [P]
    hessian_largest, ggn_largest              [6]  eigenvalues, descending
    hessian_smallest                          [6]  eigenvalues, ascending
    jacobian_vector           [N S C]  J v, rows by datum, position, output
    empirical_fisher_vector       [P]  kappa * sum_t w_t g_t (g_t . v), g_t the gradient of the loss term l_t
    datum_fisher_vector           [P]  (several terms a datum) the same with g_n = sum_t sqrt(w_t) g_t for each datum
    class_weights, pos_weight                 [C]  (cases that use them)

and `case` in its metadata: a JSON object with loss, reduction and options. The data are in `MODEL/CASE.npz`, the model in
`MODEL/config.json` and `MODEL/model.safetensors`. A program that walks over mini-batches, ragged ones too, must get the same.

The script checks itself before it writes: dense matrices are symmetric, the GGN agrees with one formed from the explicit Jacobian
and the textbook loss Hessian, the Hessian agrees with central differences, mini-batches add up.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

MODELS = {
    "mlp": {
        "input": [5],
        "layers": [
            {"type": "linear", "in": 5, "out": 7, "bias": True},
            {"type": "tanh"},
            {"type": "linear", "in": 7, "out": 6, "bias": True},
            {"type": "tanh"},
            {"type": "linear", "in": 6, "out": 4, "bias": True},
        ],
    },
    "cnn": {
        "input": [2, 8, 8],
        "layers": [
            {"type": "conv2d", "in": 2, "out": 3, "kernel": 3, "stride": 1, "padding": 1, "bias": True},
            {"type": "relu"},
            {"type": "avgpool2d", "kernel": 2, "stride": 2},
            {"type": "conv2d", "in": 3, "out": 4, "kernel": 3, "stride": 2, "padding": 1, "bias": False},
            {"type": "tanh"},
            {"type": "flatten"},
            {"type": "linear", "in": 16, "out": 3, "bias": True},
        ],
    },
    "zoo": {
        "input": [4],
        "layers": [
            {"type": "linear", "in": 4, "out": 6, "bias": True},
            {"type": "gelu"},
            {"type": "linear", "in": 6, "out": 5, "bias": False},
            {"type": "layernorm", "shape": [5], "eps": 1e-5},
            {"type": "silu"},
            {"type": "linear", "in": 5, "out": 5, "bias": True},
            {"type": "sin"},
            {"type": "linear", "in": 5, "out": 4, "bias": True},
            {"type": "gelu_tanh"},
            {"type": "linear", "in": 4, "out": 4, "bias": True},
            {"type": "softplus"},
            {"type": "linear", "in": 4, "out": 4, "bias": True},
            {"type": "sigmoid"},
            {"type": "linear", "in": 4, "out": 3, "bias": True},
        ],
    },
}

MODELS["pixels"] = {
    "input": [2, 4, 4],
    "layers": [
        {"type": "conv2d", "in": 2, "out": 3, "kernel": 3, "stride": 1, "padding": 1, "bias": True},
        {"type": "tanh"},
        {"type": "conv2d", "in": 3, "out": 3, "kernel": 2, "stride": 1, "padding": 0, "bias": True},
    ],
}

MODELS["tokens"] = {
    "input": [3],
    "layers": [
        {"type": "embedding", "num": 7, "dim": 4},
        {"type": "flatten"},
        {"type": "linear", "in": 12, "out": 5, "bias": True},
        {"type": "elu", "alpha": 0.7},
        {"type": "linear", "in": 5, "out": 4, "bias": True},
        {"type": "leaky_relu", "slope": 0.1},
        {"type": "identity"},
        {"type": "linear", "in": 4, "out": 3, "bias": True},
    ],
}
MODELS["pools"] = {
    "input": [2, 6, 6],
    "layers": [
        {"type": "maxpool2d", "kernel": 2, "stride": 1},
        {"type": "conv2d", "in": 2, "out": 3, "kernel": 2, "stride": 1, "padding": 0, "bias": True},
        {"type": "maxpool2d", "kernel": 2},
        {"type": "softplus", "beta": 2.0},
        {"type": "flatten"},
        {"type": "linear", "in": 12, "out": 3, "bias": True},
    ],
}

# Cases of a model: loss and options. The first three are plain.
PLAIN = {
    "mse": {"loss": "mse"},
    "cross-entropy": {"loss": "cross-entropy"},
    "bce": {"loss": "bce"},
}
OPTIONS = {
    "mse-weighted": {"loss": "mse", "weights": True},
    "cross-entropy-weighted": {"loss": "cross-entropy", "weights": True},
    "cross-entropy-ignored": {"loss": "cross-entropy", "ignored": True},
    "cross-entropy-classes": {"loss": "cross-entropy", "class_weights": True, "label_smoothing": 0.1},
    "bce-positive": {"loss": "bce", "pos_weight": True},
}
# One label for every pixel of an image.
LABELS = {
    "labels": {"loss": "cross-entropy"},
    "labels-mixed": {"loss": "cross-entropy", "weights": True, "ignored": True, "class_weights": True, "label_smoothing": 0.2},
}
CASES = {"mlp": PLAIN | OPTIONS, "cnn": PLAIN, "zoo": PLAIN, "pixels": LABELS, "tokens": PLAIN, "pools": PLAIN}
DATA_COUNT = 11
EIGENVALUES = 6


def parameter_shapes(model):
    """Names and shapes in declared order."""
    for index, layer in enumerate(model["layers"]):
        kind = layer["type"]
        if kind == "linear":
            yield f"{index}.weight", (layer["out"], layer["in"])
        elif kind == "conv2d":
            yield f"{index}.weight", (layer["out"], layer["in"], layer["kernel"], layer["kernel"])
        elif kind == "embedding":
            yield f"{index}.weight", (layer["num"], layer["dim"])
        elif kind == "layernorm":
            yield f"{index}.weight", tuple(layer["shape"])
            yield f"{index}.bias", tuple(layer["shape"])
        if layer.get("bias"):
            yield f"{index}.bias", (layer["out"],)


def layer_norm(x, weight, bias, eps):
    """Written out, because not every higher derivative of the fused one is right."""
    centred = x - x.mean(-1, keepdim=True)
    return centred / torch.sqrt((centred**2).mean(-1, keepdim=True) + eps) * weight + bias


ACTIVATIONS = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "gelu": lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x * torch.sigmoid(x),
    "softplus": lambda x, beta=1.0: torch.log1p(torch.exp(beta * x)) / beta,
    "sin": torch.sin,
    "elu": lambda x, alpha: torch.where(x > 0, x, alpha * torch.expm1(x)),
    "leaky_relu": lambda x, slope: torch.where(x > 0, x, slope * x),
    "identity": lambda x: x,
}
BUILT_IN = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "softplus": F.softplus,
    "elu": F.elu,
    "leaky_relu": lambda x, slope: F.leaky_relu(x, slope),
}
KINKS = ("relu", "elu", "leaky_relu")


def forward(model, theta, x):
    """The model's outputs for a flat parameter vector."""
    parameters, at = {}, 0
    for name, shape in parameter_shapes(model):
        count = math.prod(shape)
        parameters[name] = theta[at : at + count].reshape(shape)
        at += count
    for index, layer in enumerate(model["layers"]):
        kind = layer["type"]
        weight, bias = parameters.get(f"{index}.weight"), parameters.get(f"{index}.bias")
        if kind == "linear":
            x = F.linear(x, weight, bias)
        elif kind == "conv2d":
            x = F.conv2d(x, weight, bias, stride=layer["stride"], padding=layer["padding"])
        elif kind == "avgpool2d":
            x = F.avg_pool2d(x, layer["kernel"], layer["stride"])
        elif kind == "maxpool2d":
            x = F.max_pool2d(x, layer["kernel"], layer.get("stride"))
        elif kind == "embedding":
            x = F.embedding(x, weight)
        elif kind == "flatten":
            x = x.flatten(1)
        elif kind == "layernorm":
            plain = F.layer_norm(x, layer["shape"], weight, bias, layer["eps"])
            x = layer_norm(x, weight, bias, layer["eps"])
            assert torch.allclose(x, plain, rtol=1e-12, atol=1e-13)
        else:
            if kind in KINKS:
                assert x.abs().min() > 1e-5, "a tie at the kink"
            keys = {key: value for key, value in layer.items() if key != "type"}
            y = ACTIVATIONS[kind](x, **keys)
            if kind in BUILT_IN:
                assert torch.allclose(y, BUILT_IN[kind](x, **keys), rtol=1e-12, atol=1e-14)
            x = y
    return x


def loss(case, f, data, reduction):
    """The reduced loss of outputs `f`, by PyTorch's own functions wherever it has them."""
    y, kind = data["targets"], case["loss"]
    how = "none" if "weights" in data else reduction
    if kind == "mse":
        value = F.mse_loss(f, y, reduction=how)
    elif kind == "bce":
        value = F.binary_cross_entropy_with_logits(f, y, reduction=how, pos_weight=data.get("pos_weight"))
    else:
        value = F.cross_entropy(
            f, y, reduction=how, weight=data.get("class_weights"), label_smoothing=case.get("label_smoothing", 0.0)
        )
    if how == "none":
        # Weights multiply each term and never enter a denominator.
        per_datum = value.reshape(len(value), -1).sum(-1)
        value = (data["weights"] * per_datum).sum() * kappa(case, f, data, reduction)
    return value


def label_weights(case, f, data, smoothing):
    """The weight of every label's term: its class weight, mixed with their mean by smoothing; 0 where ignored."""
    y = data["targets"]
    a = data.get("class_weights", torch.ones(f.shape[1]))
    return torch.where(y == -100, 0.0, (1 - smoothing) * a[y.clamp(min=0)] + smoothing * a.mean())


def kappa(case, f, data, reduction):
    """The scale of a reduction."""
    if reduction == "sum":
        return 1.0
    return 1.0 / (label_weights(case, f, data, 0.0).sum() if case["loss"] == "cross-entropy" else f.numel())


def by_term(x):
    """Outputs, or rows of a Jacobian, as [terms, C, ..]: datum by datum, position by position."""
    return x.movedim(1, 3).flatten(0, 2) if x.dim() > 3 else x


def empirical_fisher(case, f, rows, data, reduction, v, per_datum):
    """F v from the gradients of PyTorch's own loss terms and the explicit Jacobian."""
    leaf = f.clone().requires_grad_(True)
    plain = {key: tensor for key, tensor in data.items() if key != "weights"}
    (slopes,) = torch.autograd.grad(loss(case, leaf, plain, "sum"), leaf)
    slopes, rows = by_term(slopes), by_term(rows)
    terms = len(slopes) // len(f)
    if case["loss"] == "cross-entropy":
        w = label_weights(case, f, data, case.get("label_smoothing", 0.0)).flatten()
    else:
        w = torch.ones(len(slopes))
    datum = data.get("weights", torch.ones(len(f))).repeat_interleave(terms)
    # The slopes are w_t u_t; the vectors sqrt(w_t weight_n) u_t pulled back.
    root = torch.where(w > 0, (datum / w.clamp(min=1e-300)).sqrt(), 0.0)
    vectors = torch.einsum("tcp,tc->tp", rows, root[:, None] * slopes)
    if per_datum:
        vectors = vectors.reshape(len(f), terms, -1).sum(1)
    return kappa(case, f, data, reduction) * vectors.T @ (vectors @ v)


def textbook_loss_hessian(f, kind, data):
    """Blocks [N, C, C] of a plain loss, without kappa."""
    if kind == "mse":
        return 2 * torch.eye(f.shape[1]).expand(f.shape[0], -1, -1)
    if kind == "bce":
        s = torch.sigmoid(f)
        return torch.diag_embed(s * (1 - s))
    p = torch.softmax(f, -1)
    return torch.diag_embed(p) - p[:, :, None] * p[:, None, :]


def make_data(model, case, rng):
    """Arrays of one case as NumPy: what goes into the npz file, and the loss's own options."""
    outputs = model["layers"][-1]["out"]
    if model["layers"][0]["type"] == "embedding":
        ids = rng.integers(0, model["layers"][0]["num"], (DATA_COUNT, *model["input"]))
        arrays = {"inputs": ids.astype(np.int64)}
    else:
        arrays = {"inputs": rng.standard_normal((DATA_COUNT, *model["input"]))}
    if case["loss"] == "mse":
        arrays["targets"] = rng.standard_normal((DATA_COUNT, outputs))
    elif case["loss"] == "bce":
        arrays["targets"] = rng.integers(0, 2, (DATA_COUNT, outputs)).astype(np.float64)
        if "pos_weight" not in case:
            arrays["targets"][0] = 0.25
    else:
        shape = (DATA_COUNT, 3, 3) if model is MODELS["pixels"] else DATA_COUNT
        arrays["targets"] = rng.integers(0, outputs, shape).astype(np.int64)
    if case.get("ignored"):
        arrays["targets"][[1, 4, 5]] = -100
    if case.get("ignored") and model is MODELS["pixels"]:
        arrays["targets"][6, 1] = -100
    if case.get("weights"):
        arrays["weights"] = rng.uniform(0.2, 2.0, DATA_COUNT)
    options = {key: rng.uniform(0.5, 2.0, outputs) for key in ("class_weights", "pos_weight") if case.get(key)}
    return arrays, options


def products(model, theta, case, data, reduction):
    """Closures for H v and G v by double backward, with the gradient and the outputs."""
    theta = theta.clone().requires_grad_(True)
    f = forward(model, theta, data["inputs"])
    value = loss(case, f, data, reduction)
    (gradient,) = torch.autograd.grad(value, theta, create_graph=True)

    def hessian(v):
        return torch.autograd.grad(gradient @ v, theta, retain_graph=True)[0].detach()

    u = torch.zeros_like(f, requires_grad=True)
    (pulled,) = torch.autograd.grad(f, theta, u, create_graph=True)
    outputs = f.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(loss(case, outputs, data, reduction), outputs, create_graph=True)

    def ggn(v):
        (pushed,) = torch.autograd.grad(pulled, u, v, retain_graph=True)
        (curved,) = torch.autograd.grad(slope, outputs, pushed, retain_graph=True)
        return torch.autograd.grad(f, theta, curved, retain_graph=True)[0].detach()

    return value.detach(), gradient.detach(), f.detach(), hessian, ggn


def jacobian_rows(model, theta, inputs):
    """The explicit Jacobian [N, C, P], one backward pass a row."""
    theta = theta.clone().requires_grad_(True)
    f = forward(model, theta, inputs)
    rows = [torch.autograd.grad(entry, theta, retain_graph=True)[0] for entry in f.reshape(-1)]
    return torch.stack(rows).reshape(*f.shape, -1)


def close(a, b, tolerance):
    return (a - b).abs().max() <= tolerance * max(a.abs().max(), b.abs().max())


def reference(model, theta, v, case, plain, arrays, options, reduction):
    """Every reference value of one case."""
    data = {key: torch.from_numpy(array) for key, array in (arrays | options).items()}
    value, gradient, f, hessian, ggn = products(model, theta, case, data, reduction)
    basis = torch.eye(theta.numel())
    dense_h = torch.stack([hessian(e) for e in basis], 1)
    dense_g = torch.stack([ggn(e) for e in basis], 1)
    for dense in (dense_h, dense_g):
        assert close(dense, dense.T, 1e-13), "not symmetric"
    step = 1e-5
    plus, minus = (products(model, theta + s * step * v, case, data, reduction)[1] for s in (1, -1))
    assert close((plus - minus) / (2 * step), hessian(v), 1e-7), "Hessian against central differences"
    if reduction == "sum":
        parts = [slice(0, 4), slice(4, 8), slice(8, DATA_COUNT)]
        per_datum = ("inputs", "targets", "weights")
        batches = [{k: (t[part] if k in per_datum else t) for k, t in data.items()} for part in parts]
        assert close(sum(products(model, theta, case, b, reduction)[1] for b in batches), gradient, 1e-13)
    out = {
        "vector": v,
        "outputs": f,
        "loss": value.reshape(1),
        "gradient": gradient,
        "hessian_vector": hessian(v),
        "ggn_vector": ggn(v),
        "hessian_diagonal": dense_h.diagonal(),
        "ggn_diagonal": dense_g.diagonal(),
    }
    spectrum_h = torch.linalg.eigvalsh((dense_h + dense_h.T) / 2)
    spectrum_g = torch.linalg.eigvalsh((dense_g + dense_g.T) / 2)
    assert spectrum_g[0] > -1e-12 * spectrum_g[-1], "a GGN of a convex loss has no negative eigenvalue"
    out["hessian_largest"] = spectrum_h.flip(0)[:EIGENVALUES]
    out["hessian_smallest"] = spectrum_h[:EIGENVALUES]
    out["ggn_largest"] = spectrum_g.flip(0)[:EIGENVALUES]
    rows = jacobian_rows(model, theta, data["inputs"])
    out["jacobian_vector"] = by_term(rows).flatten(0, 1) @ v
    out["empirical_fisher_vector"] = empirical_fisher(case, f, rows, data, reduction, v, False)
    if f.dim() > 2:
        out["datum_fisher_vector"] = empirical_fisher(case, f, rows, data, reduction, v, True)
    if plain:
        scale = kappa(case, f, data, reduction)
        blocks = textbook_loss_hessian(f, case["loss"], data)
        formed = scale * torch.einsum("ncp,ncd,ndq->pq", rows, blocks, rows)
        assert close(formed, dense_g, 1e-12), "GGN against the explicit Jacobian"
        leaf = f.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(loss(case, leaf, data, "sum"), leaf)
        per_datum = torch.einsum("ncp,nc->np", rows, slope)
        assert close(scale * per_datum.sum(0), gradient, 1e-12)
        assert close(out["empirical_fisher_vector"], scale * per_datum.T @ (per_datum @ v), 1e-12)
    arrays_out = {key: np.ascontiguousarray(tensor.detach().numpy()) for key, tensor in out.items()}
    return arrays_out | options


def main():
    total = 0
    for number, (name, model) in enumerate(MODELS.items()):
        rng = np.random.default_rng(20260 + number)
        folder = HERE / name
        folder.mkdir(exist_ok=True)
        config = {"model_type": "sequential"} | model
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        tensors = {}
        for key, shape in parameter_shapes(model):
            fan_in = math.prod(shape[1:]) if len(shape) > 1 else 8
            centre = 1.0 if len(shape) == 1 and key.endswith("weight") else 0.0
            tensors[key] = centre + rng.standard_normal(shape) / math.sqrt(fan_in)
        save_file(tensors, folder / "model.safetensors")
        theta = torch.from_numpy(np.concatenate([t.reshape(-1) for t in tensors.values()]))
        v = torch.from_numpy(rng.standard_normal(theta.numel()))
        for label, case in CASES[name].items():
            arrays, options = make_data(model, case, rng)
            np.savez(folder / f"{label}.npz", **arrays)
            for reduction in ("mean", "sum"):
                values = reference(model, theta, v, case, label in PLAIN, arrays, options, reduction)
                # One metadata key: the order of several would not be fixed.
                about = json.dumps(case | {"reduction": reduction}, sort_keys=True)
                save_file(values, folder / f"{label}-{reduction}.safetensors", metadata={"case": about})
        total += theta.numel()
        print(f"{name}: {theta.numel()} parameters, {2 * len(CASES[name])} cases")
    print(f"{total} parameters in all")


if __name__ == "__main__":
    main()
