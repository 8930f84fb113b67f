"""Reference values for `osculate sketch`, made with NumPy's dense decompositions in float64.

    decay.npy    [60, 60]  symmetric, eigenvalues 0.7^j
    indefinite.npy [50, 50]  symmetric, rank 7, eigenvalues of both signs
    general.npy  [50, 30]  rank 5
    square.npy   [40, 40]  not symmetric, rank 4 plus a diagonal
    lord.npy     [60, 60]  symmetric, rank 4 plus a diagonal
    spd.npy      [80, 80]  eigenvalues evenly spaced from 0.5 to 2
    expected.safetensors   NAME.trace, NAME.diagonal, NAME.eigenvalues (descending magnitude), NAME.singular, NAME.logdet,
                           lord.d, square.d
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
rng = np.random.default_rng(20267)


def orthogonal(n, k):
    return np.linalg.qr(rng.standard_normal((n, k)))[0]


def symmetric(values, n):
    q = orthogonal(n, len(values))
    a = (q * values) @ q.T
    return 0.5 * (a + a.T)


def main():
    d, e = rng.standard_normal(60), rng.standard_normal(40)
    matrices = {
        "decay": symmetric(0.7 ** np.arange(60.0), 60),
        "indefinite": symmetric(np.array([5.0, -4.0, 3.0, -2.0, 1.5, 1.0, -0.5]), 50),
        "general": (orthogonal(50, 5) * np.array([6.0, 3.0, 2.0, 1.0, 0.5])) @ orthogonal(30, 5).T,
        "square": (orthogonal(40, 4) * np.array([9.0, 7.0, 5.0, 4.0])) @ orthogonal(40, 4).T + np.diag(e),
        "lord": symmetric(np.array([8.0, 6.0, 5.0, 4.0]), 60) + np.diag(d),
        "spd": symmetric(np.linspace(0.5, 2.0, 80), 80),
    }
    expected = {"lord.d": d, "square.d": e}
    for name, a in matrices.items():
        np.save(HERE / f"{name}.npy", a)
        expected[f"{name}.singular"] = np.linalg.svd(a, compute_uv=False)
        if a.shape[0] == a.shape[1]:
            expected[f"{name}.trace"] = np.array([np.trace(a)])
            expected[f"{name}.diagonal"] = np.diag(a).copy()
        if a.shape[0] == a.shape[1] and np.array_equal(a, a.T):
            values = np.linalg.eigvalsh(a)
            expected[f"{name}.eigenvalues"] = values[np.argsort(-np.abs(values))]
    expected["spd.logdet"] = np.array([np.linalg.slogdet(matrices["spd"])[1]])
    save_file({k: np.ascontiguousarray(v) for k, v in expected.items()}, HERE / "expected.safetensors")


if __name__ == "__main__":
    main()
