"""Traces of the matrix optimisers, made with NumPy and SciPy in float64.

`traces.safetensors` holds, for every case, `CASE.gradients` [steps, ...shape] and `CASE.weights` [steps, ...shape]: the
parameters after each gradient, from ones. The settings of a case stand here and in the test that reads it. Products are written
as `einsum` over the tensor, roots and inverses through SciPy's eigenvalues, the basis by LAPACK's QR and `eigh`: nothing is shared
with the code under test. Shapes have no null space at the first decomposition, where a basis would be decided by rounding.
"""

from pathlib import Path

import numpy as np
import scipy.linalg as la
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
STEPS = 13


def gradients(shape, seed):
    """Noise with a generic spectrum along every axis, and a mean, so that momentum matters."""
    rng = np.random.default_rng(seed)
    g = rng.standard_normal((STEPS, *shape)) + 0.3
    for axis, p in enumerate(shape):
        scale = 1.0 / (1.0 + 0.4 * np.arange(p))
        g = g * scale.reshape([-1 if a == axis + 1 else 1 for a in range(len(shape) + 1)])
    return g


def mode(x, a, j):
    """Product along mode j: (a x)[.., i, ..] = sum_k a[i, k] x[.., k, ..]."""
    return np.moveaxis(np.tensordot(a, x, axes=(1, j)), 0, j)


def unfold(x, j):
    return np.moveaxis(x, j, 0).reshape(x.shape[j], -1)


def rotate(x, qs, back=False):
    for j, q in enumerate(qs):
        x = mode(x, q if back else q.T, j)
    return x


def outer(vectors):
    out = vectors[0]
    for v in vectors[1:]:
        out = np.multiply.outer(out, v)
    return out


def first_basis(s):
    _, q = la.eigh(s + 1e-30 * np.eye(len(s)))
    return q[:, ::-1]


def whiten(x, weights, skip):
    for i, w in enumerate(weights):
        if i != skip:
            x = mode(x, np.diag(w), i)
    return x


def kl_family(g, q_power=0.0, free=False, released=False, lr=0.05, b1=0.9, b2=0.98, eps=1e-8, wd=0.01, period=3, lam0=0.1):
    """KL-Shampoo, KL-SOAP and the trace-power family, original storage, per-factor clamp."""
    shape = g.shape[1:]
    k, total = len(shape), g[0].size
    caps = [max(10.0, min(p, 4000.0)) for p in shape]
    w, out = np.ones(shape), [np.ones(shape)]
    s = [(1 - b2) * unfold(g[0], j) @ unfold(g[0], j).T * shape[j] / total for j in range(k)]
    qs = [first_basis(x) for x in s]
    lam = [np.full(p, lam0) for p in shape]
    m, v = np.zeros(shape), np.zeros(shape)

    def weights(l):
        return [x ** ((q_power - 1) / 2) for x in l], [np.sum(x**q_power) for x in l]

    def statistic(j, grad, l):
        wt, traces = weights(l)
        x = grad
        for i in range(k):
            if i != j:
                x = mode(mode(x, qs[i].T, i), np.diag(wt[i]), i)
        u = unfold(x, j)
        return u @ u.T / np.prod([traces[i] for i in range(k) if i != j])

    def projection(j, p, l):
        wt, traces = weights(l)
        return np.sum(unfold(whiten(p, wt, j), j) ** 2, axis=1) / np.prod([traces[i] for i in range(k) if i != j])

    def clamp(l, j):
        return np.maximum(l, caps[j] ** -2)

    for t in range(1, len(g)):
        p = rotate(g[t], qs)
        if free:
            m = b1 * m + (1 - b1) * p
            v = b2 * v + (1 - b2) * p * p
            d = rotate(m / (np.sqrt(v) + eps), qs, back=True)
        else:
            m = b1 * m + (1 - b1) * g[t]
            d = rotate(rotate(m, qs) / (np.sqrt(outer(lam)) + eps), qs, back=True)
        old = [x.copy() for x in lam]
        if released and k == 3:
            s[2] = b2 * s[2] + (1 - b2) * statistic(2, g[t], old)
            s[1] = b2 * s[1] + (1 - b2) * statistic(1, g[t], old)
            lam[2] = clamp(b2 * old[2] + (1 - b2) * projection(2, p, old), 2)
            lam[1] = clamp(b2 * old[1] + (1 - b2) * projection(1, p, [old[0], old[1], lam[2]]), 1)
            seen = [old[0], lam[1], old[2]]
            s[0] = b2 * s[0] + (1 - b2) * statistic(0, g[t], seen)
            lam[0] = clamp(b2 * old[0] + (1 - b2) * projection(0, p, seen), 0)
        else:
            for j in range(k):
                s[j] = b2 * s[j] + (1 - b2) * statistic(j, g[t], old)
                lam[j] = clamp(b2 * old[j] + (1 - b2) * projection(j, p, old), j)
        if t % period == 0:
            m_space = rotate(m, qs, back=True) if free else m
            qs = [la.qr(s[j] @ qs[j])[0] for j in range(k)]
            m = rotate(m_space, qs) if free else m
        w = w - lr * d
        w = w - lr * wd * w
        out.append(w)
    return np.stack(out)


def soap(g, lr=0.05, b1=0.95, b2=0.95, eps=1e-8, wd=0.01, period=3):
    shape = g.shape[1:]
    k = len(shape)
    w, out = np.ones(shape), [np.ones(shape)]
    s = [(1 - b2) * unfold(g[0], j) @ unfold(g[0], j).T for j in range(k)]
    qs = [first_basis(x) for x in s]
    m, v = np.zeros(shape), np.zeros(shape)
    for t in range(1, len(g)):
        p = rotate(g[t], qs)
        m = b1 * m + (1 - b1) * p
        v = b2 * v + (1 - b2) * p * p
        a = lr * np.sqrt(1 - b2**t) / (1 - b1**t)
        w = w - a * rotate(m / (np.sqrt(v) + eps), qs, back=True)
        w = w - lr * wd * w
        s = [b2 * s[j] + (1 - b2) * unfold(g[t], j) @ unfold(g[t], j).T for j in range(k)]
        if t % period == 0:
            space = rotate(m, qs, back=True)
            for j in range(k):
                order = np.argsort(-np.diag(qs[j].T @ s[j] @ qs[j]), kind="stable")
                v = np.take(v, order, axis=j)
                qs[j] = la.qr(s[j] @ qs[j][:, order])[0]
            m = rotate(space, qs)
        out.append(w)
    return np.stack(out)


def shampoo(g, exponent, b2=1.0, eps=1e-6, pinv=False, trace_scaling=False, lr=0.01, b1=0.9):
    shape = g.shape[1:]
    k = len(shape)
    w, out = np.ones(shape), []
    s = [np.zeros((p, p)) for p in shape]
    m = np.zeros(shape)
    for t in range(1, len(g) + 1):
        grad = g[t - 1]
        weight = 1.0 if b2 == 1.0 else 1 - b2
        s = [b2 * s[j] + weight * unfold(grad, j) @ unfold(grad, j).T for j in range(k)]
        m = b1 * m + (1 - b1) * grad
        d = m / (1 - b1**t)
        for j in range(k):
            x = s[j] if b2 == 1.0 else s[j] / (1 - b2**t)
            if trace_scaling:
                x = x / np.sqrt(max(np.trace(x), eps))
            l, q = la.eigh(x if pinv else x + eps * np.eye(len(x)))
            if pinv:
                power = np.where(l > len(l) * np.finfo(float).eps * l[-1], np.abs(l) ** -exponent, 0.0)
            else:
                power = l**-exponent
            d = mode(d, (q * power) @ q.T, j)
        w = w - lr * d
        out.append(w)
    return np.stack(out)


def sirf(g, batch, lr=0.01, a1=0.9, b=0.05, a2=0.5, damping=1e-3, gamma=1.0):
    shape = g.shape[1:]
    k, total = len(shape), g[0].size
    w, out = np.ones(shape), []
    ks = [np.eye(p) for p in shape]
    ms = [np.zeros((p, p)) for p in shape]
    ball = np.zeros(shape)
    for grad in g:
        h = np.sqrt(batch) * grad
        for j in range(k):
            h = mode(h, ks[j].T, j)
        traces = [np.trace(x.T @ x) / len(x) for x in ks]
        for j in range(k):
            u = unfold(h, j)
            others = np.prod([traces[i] for i in range(k) if i != j])
            step = 0.5 * (shape[j] / total * u @ u.T + damping * others * ks[j].T @ ks[j] - gamma * np.eye(shape[j]))
            ms[j] = a2 * ms[j] + (1 - a2) * step
        ks = [x @ (np.eye(len(x)) - b * m / max(1.0, np.linalg.norm(m))) for x, m in zip(ks, ms)]
        d = grad
        for j in range(k):
            d = mode(d, ks[j] @ ks[j].T, j)
        ball = a1 * ball + d
        w = w - lr * ball
        out.append(w)
    return np.stack(out)


def muon(g, lr=0.02, b1=0.95):
    shape = g.shape[1:]
    w, out = np.ones(shape), []
    m = np.zeros(shape)
    for grad in g:
        m = b1 * m + (1 - b1) * grad
        u = (1 - b1) * grad + b1 * m
        x = u / (np.linalg.norm(u) + 1e-7)
        tall = shape[0] > shape[1]
        x = x.T if tall else x
        for _ in range(5):
            a = x @ x.T
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        x = x.T if tall else x
        w = w - lr * max(1.0, shape[0] / shape[1]) ** 0.5 * x
        out.append(w)
    return np.stack(out)


def spectral(g, root=2.0, lr=0.05, b1=0.9, beta=0.1, period=2, wd=0.01):
    """Kronecker factors of determinant one; pairwise rotations, mixed eigenvalue rule, exact Cayley map."""
    shape = g.shape[1:]
    k, total = len(shape), g[0].size
    w, out = np.ones(shape), [np.ones(shape)]
    bs = [np.eye(p) for p in shape]
    ds = [np.ones(p) for p in shape]
    alpha = np.mean(g[0] ** 2)
    m = np.zeros(shape)
    for t in range(1, len(g)):
        if (t - 1) % period == 0:
            p = rotate(g[t], bs)
            us = []
            for j in range(k):
                u = unfold(whiten(p, [d**-0.5 for d in ds], j), j)
                us.append(u @ u.T)
            tau = np.sum(np.diag(us[0]) / ds[0])
            level = tau / (alpha * total)
            x = beta * (level - 1.0)
            inner = beta / (1 + x) if x > 0 else beta
            new_bs, new_ds = [], []
            for j in range(k):
                d, u, per = ds[j], us[j], alpha * total / shape[j]
                a = (1 - inner * level) * d + inner * np.diag(u) / per
                o = inner * u / per
                n = np.zeros_like(u)
                for i in range(shape[j]):
                    for l in range(i):
                        sign = -1.0 if a[i] < a[l] else 1.0
                        theta = 0.5 * np.arctan2(2 * o[i, l] * sign, abs(a[i] - a[l]))
                        n[i, l] = -np.tan(theta / 2)
                n = n - n.T
                one = np.eye(shape[j])
                new_bs.append(bs[j] @ (one + n) @ la.inv(one - n))
                y = inner * (np.diag(u) / (per * d) - level)
                log_d = np.log(d) + np.where(y > 0, np.log1p(np.maximum(y, 0)), y)
                new_ds.append(np.exp(log_d - log_d.mean()))
            bs, ds = new_bs, new_ds
            alpha *= 1 + x if x > 0 else np.exp(x)
        m = b1 * m + (1 - b1) * g[t]
        d = rotate(rotate(m, bs) * outer([x ** (-1 / root) for x in ds]), bs, back=True) * alpha ** (-1 / root)
        w = w * (1 - lr * wd) - lr * d
        out.append(w)
    return np.stack(out)


def norm_bound(a):
    """Three power steps from the longest row: a lower bound of the spectral norm of a symmetric or skew matrix."""
    x, bound = a[np.argmax(np.sum(a * a, axis=1))].copy(), 0.0
    for _ in range(3):
        size = np.linalg.norm(x)
        if size == 0:
            return bound
        x = a @ (x / size)
        bound = np.linalg.norm(x)
    return bound


def psgd(g, lr=0.01, b1=0.9, rate=0.1, balanced=False, clips=(2.0, 10.0)):
    """Whitening by descent on Q, P = Q^T Q per mode, without the noise of 1e-9 that the method adds to a gradient.

    Modes with p^2 > total are diagonal. The rotation is written through the matrix R itself, not normalised in place: with
    r = R / |R| and a the minimiser of -(Tr(rQ) a + Tr(rrQ) a^2 / 2) in [0, 1/8].
    """
    shape = g.shape[1:]
    k, total = len(shape), g[0].size
    dense = [p * p <= total for p in shape]
    scale = (np.mean(g[0] ** 4) + 1e-9**4) ** (-1 / 8 / k)
    qs = [scale * np.eye(p) if d else scale * np.ones(p) for p, d in zip(shape, dense)]
    smooth = [0.0] * k
    w, out, m = np.ones(shape), [], np.zeros(shape)

    def precondition(x):
        for j in range(k):
            x = mode(x, qs[j].T @ qs[j] if dense[j] else np.diag(qs[j] ** 2), j)
        return x

    for grad in g:
        if balanced:
            tops = [np.max(np.abs(q)) for q in qs]
            qs = [q * np.prod(tops) ** (1 / k) / top for q, top in zip(qs, tops)]
        white = precondition(grad)
        for j in range(k):
            u = unfold(white, j)
            t2 = total / shape[j]
            if dense[j]:
                t1 = u @ u.T
                ell = norm_bound(t1) + t2
                smooth[j] = max(0.9 * smooth[j] + 0.1 * ell, ell)
                q = qs[j] - rate / smooth[j] * (t1 @ qs[j] - t2 * qs[j])
                r = q.T - q
                size = norm_bound(r)
                if size > np.finfo(float).tiny:
                    r = r / size
                    first, second = np.trace(r @ q), np.trace(r @ r @ q)
                    a = min(-first / second, 0.125) if second < 0 else 0.125
                    q = q + a * r @ q + 0.5 * a * a * r @ r @ q
                qs[j] = q
            else:
                t1 = np.sum(u * u, axis=1)
                ell = t1.max() + t2
                smooth[j] = max(0.9 * smooth[j] + 0.1 * ell, ell)
                qs[j] = qs[j] - rate / smooth[j] * (t1 - t2) * qs[j]
        m = b1 * m + (1 - b1) * grad
        d = precondition(m)
        d = d * min(1.0, clips[0] / np.sqrt(np.mean(d * d)))
        w = w - lr * np.clip(d, -clips[1], clips[1])
        out.append(w)
    return np.stack(out)


CASES = {
    "kl-shampoo-5x4": ((5, 4), lambda g: kl_family(g)),
    "kl-soap-5x4": ((5, 4), lambda g: kl_family(g, free=True)),
    "kl-shampoo-3x4x5": ((3, 4, 5), lambda g: kl_family(g, released=True)),
    "kl-shampoo-3x4x5-simultaneous": ((3, 4, 5), lambda g: kl_family(g)),
    "kl-soap-3x4x5": ((3, 4, 5), lambda g: kl_family(g, free=True, released=True)),
    "kl-shampoo-2x3x2x3": ((2, 3, 2, 3), lambda g: kl_family(g)),
    "sq-shampoo-5x4": ((5, 4), lambda g: kl_family(g, q_power=0.5)),
    "vn-shampoo-5x4": ((5, 4), lambda g: kl_family(g, q_power=1.0)),
    "f-shampoo-5x4": ((5, 4), lambda g: kl_family(g, q_power=2.0)),
    "soap-5x4": ((5, 4), soap),
    "soap-3x4x5": ((3, 4, 5), soap),
    "shampoo-3x4x5-sum": ((3, 4, 5), lambda g: shampoo(g, 1 / 6)),
    "shampoo-5x4-trace-scaling": ((5, 4), lambda g: shampoo(g, 1 / 2, b2=0.9, trace_scaling=True)),
    "shampoo-3x5-pseudo-inverse": ((3, 5), lambda g: shampoo(g, 1 / 3, b2=0.9, pinv=True)),
    "sirf-4x5": ((4, 5), lambda g: sirf(g, batch=16.0)),
    "sirf-2x3x4": ((2, 3, 4), lambda g: sirf(g, batch=1.0)),
    "muon-6x4": ((6, 4), muon),
    "spectral-4x5": ((4, 5), spectral),
    "spectral-2x3x4-root-4": ((2, 3, 4), lambda g: spectral(g, root=4.0)),
    "psgd-5x5": ((5, 5), psgd),
    "psgd-3x4x5-balanced": ((3, 4, 5), lambda g: psgd(g, balanced=True)),
    "psgd-2x6-diagonal-mode": ((2, 6), psgd),
    "psgd-5x5-clipped": ((5, 5), lambda g: psgd(g, clips=(0.3, 0.6))),
}


def main():
    tensors = {}
    for seed, (name, (shape, method)) in enumerate(CASES.items()):
        g = gradients(shape, 100 + seed)
        w = method(g)
        assert w.shape == g.shape and np.all(np.isfinite(w)), name
        tensors[f"{name}.gradients"] = np.ascontiguousarray(g)
        tensors[f"{name}.weights"] = np.ascontiguousarray(w)
    save_file(tensors, HERE / "traces.safetensors")


main()
