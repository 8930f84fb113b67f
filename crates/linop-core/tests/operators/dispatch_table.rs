//! The dispatch table, row by row and column by column, against dense ground truth in both precisions.
//!
//! Nothing larger than 4 x 4 may be made dense, so that an answer for a larger operator comes from a rule. Every row
//! states which columns have one, in the order of [`COLUMNS`]: a letter for a rule, `-` for none, in the first column
//! `I` for an iteration and `S` for a typed singularity.

use crate::rules::{TIGHT, allowed, condition, near, off};
use crate::samples::*;
use linop_core::dispatch::{self, Limits};
use linop_core::inverse::{Algorithm, AutoOptions, solver};
use linop_core::ops::*;
use linop_core::testing::{fixed_mat, max_abs};
use linop_core::{Error, Kind, LinearOperator, Op, Props, algebra};
use numerics::{Mat, Par, Scalar, dense};
use proptest::test_runner::TestCaseError;

/// Inverse, slogdet, trace, diagonal, eigenvalues, power, root, exp, log, Frobenius norm.
const COLUMNS: &str = "istdeprxlf";

struct Row {
    kind: &'static str,
    columns: &'static str,
    double: fn(u64) -> Pair<f64>,
    single: fn(u64) -> Pair<f32>,
}

macro_rules! table {
    ($($kind:literal $columns:literal $f:expr;)*) => {
        const ROWS: &[Row] = &[$(Row { kind: $kind, columns: $columns, double: |s| $f(s), single: |s| $f(s) }),*];
    };
}

table! {
    "ScalarIdentity"              "istdeprxlf" |s| scalar(1.5, s);
    "ScalarIdentity, negative"    "istdep-x-f" |s| scalar(-1.5, s);
    "Zero"                        "SstdepRx-f" zero;
    "Diagonal"                    "istdeprxlf" |s| square(7, 7, s);
    "Permutation"                 "istdep---f" |s| square(11, 7, s);
    "Selection, square"           "I-td-----f" selection;
    "Triangular, lower"           "istde----f" |s| triangular(8, s);
    "Triangular, unit upper"      "istde----f" |s| square(9, 7, s);
    "TriangularInverse"           "isTde-----" triangular_inverse;
    "Orthogonal"                  "istde----f" orthogonal;
    "Dense PD"                    "istdeprxlf" |s| square(2, 4, s);
    "Dense self-adjoint"          "istdep-x-f" |s| square(1, 4, s);
    "Dense general"               "istdeprxlf" general;
    "Factored"                    "istdeprxlf" factored;
    "Product of triangles"        "is--------" |s| pair_product(triangular(8, s), triangular(9, s + 1));
    "Product with low rank"       "Sst-------" |s| pair_product(low_rank(s, false), triangular(8, s));
    "Kronecker PD"                "istdeprxlf" |s| pair_kron(square(2, 3, s), square(2, 2, s + 1));
    "Kronecker self-adjoint"      "istdep-x-f" |s| pair_kron(square(1, 3, s), square(1, 2, s + 1));
    "Kronecker general"           "istdep---f" |s| pair_kron(square(0, 3, s), square(0, 2, s + 1));
    "Kronecker of rectangles"     "Ss-------f" |s| pair_kron(rectangle(2, 3, s), rectangle(3, 2, s + 1));
    "Kronecker + sigma I"         "istdeprxlf" |s| shift(0.7, pair_kron(square(3, 3, s), square(2, 2, s + 1)));
    "Kronecker + D1 (x) D2"       "istd-----f" kron_plus_diagonals;
    "A (x) B + C (x) D"           "istd-----f" |s| two_term(1.0, s);
    "A (x) B - C (x) D"           "istd-----f" |s| two_term(-1.0, s);
    "KroneckerSum PD"             "istdeprxlf" |s| pair_kron_sum(square(2, 3, s), square(3, 3, s + 1));
    "KroneckerSum general"        "I-tde--x-f" |s| pair_kron_sum(general3(s), general3(s + 1));
    "BlockDiag"                   "istdeprxlf" |s| pair_direct(square(2, 3, s), square(2, 4, s + 1));
    "BlockDiag, repeated"         "istdeprxlf" repeated;
    "Block 2 x 2"                 "istd-----f" grid2;
    "Block 3 x 3"                 "I-td-----f" grid3;
    "LowRank PSD"                 "SstdeprX-f" |s| low_rank(s, true);
    "LowRank general"             "Sstde----f" |s| low_rank(s, false);
    "LowRankPlusDiag PSD"         "istd-----f" |s| plus(square(7, 7, s), low_rank7(s, true));
    "LowRankPlusDiag general"     "istd-----f" |s| plus(square(7, 7, s), low_rank7(s, false));
    "LowRankUpdate"               "istd-----f" low_rank_update;
    "Eigh"                        "istdeprxlf" eigh;
    "Shifted spectral"            "istdeprxlf" |s| shift(0.5, pair_kron_sum(square(2, 3, s), square(3, 3, s + 1)));
    "Shifted opaque"              "I---------" |s| shift(3.0, opaque(s));
    "Sum of Kroneckers"           "I-td-----f" |s| plus(pair_kron(general3(s), square(0, 2, s)), kron_of_more(s));
    "Sum of other structures"     "I-td------" |s| plus(triangular(8, s), square(2, 1, s).pad());
    "Submatrix"                   "I-td------" submatrix;
    "Transposed"                  "istde----f" transposed;
    "Scaled"                      "istdeprxlf" |s| scaled(2.0, pair_kron(square(2, 3, s), square(2, 2, s + 1)));
    "Scaled, negative"            "istdep-x-f" |s| scaled(-0.5, pair_kron(square(2, 3, s), square(2, 2, s + 1)));
    "IterativeInverse"            "is--epr-l-" iterative;
    "Gram"                        "I-td------" gram;
    "Congruence"                  "I-td------" congruence;
    "Hadamard"                    "I-td------" hadamard;
    "TokenKronSum"                "I-td-----f" token_kron_sum;
    "Opaque"                      "I---------" opaque;
}

/// A 7 x 7 Kronecker-free partner for sums: the operand in the corner of a block diagonal.
trait Pad<T: Scalar> {
    fn pad(self) -> Pair<T>;
}

impl<T: Scalar> Pad<T> for Pair<T> {
    fn pad(self) -> Pair<T> {
        let rest = 7 - self.0.nrows();
        let (b, db) = square::<T>(8, 3, 5);
        let (c, dc) = square::<T>(2, rest - 3, 6);
        let ops = [self.0, b, c];
        (algebra::block_diag(&ops).unwrap(), direct(&direct(&self.1, &db), &dc))
    }
}

fn scalar<T: Scalar>(c: f64, _: u64) -> Pair<T> {
    (Op::new(ScalarIdentity::new(T::from_f64(c), 7)), scale(c, &eye(7)))
}

fn zero<T: Scalar>(_: u64) -> Pair<T> {
    (Op::zero(7, 7), Mat::zeros(7, 7))
}

fn selection<T: Scalar>(s: u64) -> Pair<T> {
    let shift = 1 + s as usize % 5;
    let list: Vec<usize> = (0..7).map(|i| (i + shift) % 7).collect();
    let m = Mat::from_fn(7, 7, |i, j| if list[i] == j { T::ONE } else { T::ZERO });
    (Op::new(Selection::new(list, 7).unwrap()), m)
}

fn triangular<T: Scalar>(sort: usize, s: u64) -> Pair<T> {
    let (_, m) = square::<T>(sort, 7, s);
    // Away from zero on the diagonal.
    let m = Mat::from_fn(7, 7, |i, j| if i == j { T::from_f64(1.0 + 0.2 * i as f64) } else { m[(i, j)] });
    let t = if sort == 8 { Triangular::lower(m.clone()) } else { Triangular::upper(m.clone()) };
    (Op::new(t.unwrap()), m)
}

fn inverse_of<T: Scalar>(m: &Mat<T>) -> Mat<T> {
    let lu = dense::Lu::new(m.as_ref(), Par::Seq).unwrap();
    let mut x = eye(m.nrows());
    let mut buffer = numerics::MemBuffer::new(lu.solve_req(m.nrows(), Par::Seq));
    lu.solve_in_place(x.as_mut(), Par::Seq, numerics::MemStack::new(&mut buffer));
    x
}

fn triangular_inverse<T: Scalar>(s: u64) -> Pair<T> {
    let (t, m) = triangular::<T>(8, s);
    (t.inverse(Par::Seq).unwrap(), inverse_of(&m))
}

fn factored<T: Scalar>(s: u64) -> Pair<T> {
    let (a, m) = square::<T>(2, 4, s);
    (a.inverse(Par::Seq).unwrap(), inverse_of(&m))
}

fn orthogonal<T: Scalar>(s: u64) -> Pair<T> {
    let (q, dq) = pair_kron(square::<T>(10, 3, s), square(10, 2, s + 1));
    (Op::new(Orthogonal::new(q).unwrap()), dq)
}

fn general<T: Scalar>(s: u64) -> Pair<T> {
    let m = add(&fixed_mat::<T>(4, 4, s), &scale(3.0, &eye(4)));
    (Op::dense(m.clone()), m)
}

fn general3<T: Scalar>(s: u64) -> Pair<T> {
    let m = add(&fixed_mat::<T>(3, 3, s), &scale(3.0, &eye(3)));
    (Op::dense(m.clone()), m)
}

fn pair_product<T: Scalar>(a: Pair<T>, b: Pair<T>) -> Pair<T> {
    (a.0.times(&b.0).unwrap(), mul(&a.1, &b.1))
}

fn pair_kron<T: Scalar>(a: Pair<T>, b: Pair<T>) -> Pair<T> {
    (a.0.kron(&b.0).unwrap(), kron(&a.1, &b.1))
}

fn kron_of_more<T: Scalar>(s: u64) -> Pair<T> {
    pair_kron(general3(s + 2), square(0, 2, s + 3))
}

fn pair_kron_sum<T: Scalar>(a: Pair<T>, b: Pair<T>) -> Pair<T> {
    let m = add(&kron(&a.1, &eye(b.1.nrows())), &kron(&eye(a.1.nrows()), &b.1));
    (a.0.kron_sum(&b.0).unwrap(), m)
}

fn pair_direct<T: Scalar>(a: Pair<T>, b: Pair<T>) -> Pair<T> {
    (algebra::block_diag(&[a.0, b.0]).unwrap(), direct(&a.1, &b.1))
}

fn plus<T: Scalar>(a: Pair<T>, b: Pair<T>) -> Pair<T> {
    (a.0.plus(&b.0).unwrap(), add(&a.1, &b.1))
}

fn shift<T: Scalar>(sigma: f64, a: Pair<T>) -> Pair<T> {
    let n = a.1.nrows();
    (a.0.shifted(T::from_f64(sigma)).unwrap(), add(&a.1, &scale(sigma, &eye(n))))
}

fn scaled<T: Scalar>(c: f64, a: Pair<T>) -> Pair<T> {
    (a.0.scaled(T::from_f64(c)), scale(c, &a.1))
}

fn kron_plus_diagonals<T: Scalar>(s: u64) -> Pair<T> {
    plus(pair_kron(square(3, 3, s), square(2, 2, s + 1)), pair_kron(square(7, 3, s + 2), square(7, 2, s + 3)))
}

fn two_term<T: Scalar>(sign: f64, s: u64) -> Pair<T> {
    let first = pair_kron(square(2, 3, s), square(2, 2, s + 1));
    let second = scaled(sign * 0.3, pair_kron(square(1, 3, s + 2), square(1, 2, s + 3)));
    plus(first, second)
}

fn repeated<T: Scalar>(s: u64) -> Pair<T> {
    let ((a, da), (b, db)) = (square::<T>(2, 3, s), square::<T>(2, 2, s + 1));
    let op = BlockDiag::repeated(vec![(a, 2), (b, 1)]).unwrap();
    (Op::new(op), direct(&direct(&da, &da), &db))
}

fn grid<T: Scalar>(parts: &[usize], s: u64) -> Pair<T> {
    let n: usize = parts.iter().sum();
    let mut m = Mat::<T>::zeros(n, n);
    let mut rows = Vec::new();
    let mut row = 0;
    for (i, &h) in parts.iter().enumerate() {
        let mut blocks = Vec::new();
        let mut col = 0;
        for (j, &w) in parts.iter().enumerate() {
            let seed = s + (10 * i + j) as u64;
            let (op, d) = if i == j { square::<T>(2, h, seed) } else { rectangle::<T>(h, w, seed) };
            let present = (i + 2 * j) % 3 != 2 || i == j;
            if present {
                for c in 0..w {
                    for r in 0..h {
                        m[(row + r, col + c)] = d[(r, c)];
                    }
                }
            }
            blocks.push(present.then_some(op));
            col += w;
        }
        rows.push(blocks);
        row += h;
    }
    (Op::new(Block::new(parts.to_vec(), parts.to_vec(), rows).unwrap()), m)
}

fn grid2<T: Scalar>(s: u64) -> Pair<T> {
    grid(&[3, 4], s)
}

fn grid3<T: Scalar>(s: u64) -> Pair<T> {
    grid(&[2, 3, 2], s)
}

fn low_rank7<T: Scalar>(s: u64, psd: bool) -> Pair<T> {
    let (u, v) = (fixed_mat::<T>(7, 2, s), fixed_mat::<T>(7, 2, s + 1));
    if psd {
        return (Op::new(LowRank::gram(u.clone())), mul(&u, &tr(&u)));
    }
    let c = fixed_mat::<T>(2, 2, s + 2);
    let m = mul(&mul(&u, &c), &tr(&v));
    (Op::new(LowRank::new(u, Some(c), Some(v)).unwrap()), m)
}

fn low_rank<T: Scalar>(s: u64, psd: bool) -> Pair<T> {
    low_rank7(s, psd)
}

fn low_rank_update<T: Scalar>(s: u64) -> Pair<T> {
    let base = pair_kron(square::<T>(2, 3, s), square(2, 2, s + 1));
    let u = fixed_mat::<T>(6, 2, s + 2);
    plus(base, (Op::new(LowRank::gram(u.clone())), mul(&u, &tr(&u))))
}

fn eigh<T: Scalar>(s: u64) -> Pair<T> {
    let (q, dq) = pair_kron(square::<T>(10, 3, s), square(10, 2, s + 1));
    let l: Vec<T> = (0..6).map(|i| T::from_f64(0.4 + 0.5 * i as f64)).collect();
    let d = Mat::from_fn(6, 6, |i, j| if i == j { l[i] } else { T::ZERO });
    (Op::new(Eigh::new(q, l).unwrap()), mul(&mul(&dq, &d), &tr(&dq)))
}

fn opaque<T: Scalar>(s: u64) -> Pair<T> {
    let m = add(&fixed_mat::<T>(7, 7, s), &scale(3.0, &eye(7)));
    (Op::dense(m.clone()).counted().0, m)
}

fn submatrix<T: Scalar>(s: u64) -> Pair<T> {
    let (k, m) = pair_kron(general3::<T>(s), general3(s + 1));
    let list = [8, 0, 3, 4, 7, 1];
    (k.sub(&list, &list).unwrap(), Mat::from_fn(6, 6, |i, j| m[(list[i], list[j])]))
}

fn transposed<T: Scalar>(s: u64) -> Pair<T> {
    let (t, m) = triangular::<T>(8, s);
    (Op::new(Transposed::new(t)), tr(&m))
}

fn iterative<T: Scalar>(s: u64) -> Pair<T> {
    let (a, m) = pair_kron(square::<T>(2, 3, s), square(2, 2, s + 1));
    let inverse = linop_core::krylov::IterativeInverse::new(a, linop_core::krylov::Method::Cg).unwrap();
    (Op::new(inverse), inverse_of(&m))
}

fn gram<T: Scalar>(s: u64) -> Pair<T> {
    let (a, da) = general3::<T>(s);
    let (b, db) = general3::<T>(s + 1);
    let d = kron(&da, &db);
    (Op::new(Gram::inner(a.kron(&b).unwrap())), mul(&tr(&d), &d))
}

fn congruence<T: Scalar>(s: u64) -> Pair<T> {
    let (x, dx) = pair_kron(general3::<T>(s), general3(s + 1));
    let (d, dd) = square::<T>(7, 9, s + 2);
    (d.congruence(&x).unwrap(), mul(&tr(&dx), &mul(&dd, &dx)))
}

fn hadamard<T: Scalar>(s: u64) -> Pair<T> {
    let ((l, dl), (t, dt)) = (low_rank7::<T>(s, false), triangular::<T>(8, s + 3));
    let h = l.hadamard(&t).unwrap();
    assert!(matches!(h.kind(), Kind::Hadamard(_)));
    (h, Mat::from_fn(7, 7, |i, j| dl[(i, j)] * dt[(i, j)]))
}

fn token_kron_sum<T: Scalar>(s: u64) -> Pair<T> {
    let (x, cores) = (fixed_mat::<T>(4, 3, s), fixed_mat::<T>(2, 8, s + 1));
    let mut m = Mat::zeros(6, 6);
    for i in 0..4 {
        let outer = Mat::from_fn(3, 3, |a, b| x[(i, a)] * x[(i, b)]);
        m = add(&m, &kron(&outer, &Mat::from_fn(2, 2, |a, b| cores[(a, 2 * i + b)])));
    }
    (Op::new(TokenKronSum::new(x, cores).unwrap()), m)
}

/// Whether the answer to an inverse came without iteration.
fn direct_solve(algorithms: &[Algorithm]) -> bool {
    let iterative = [Algorithm::Cg, Algorithm::Minres, Algorithm::Gmres, Algorithm::Lsmr];
    algorithms.iter().all(|a| !iterative.contains(a))
}

fn inverse_column<T: Scalar>(entry: char, op: &Op<T>, m: &Mat<T>) -> Result<(), TestCaseError> {
    // So many right-hand sides that whatever may be factored is.
    let options = AutoOptions { limits: TIGHT, columns: 1_000_000, ..AutoOptions::default() };
    let outcome = solver(op, &options, Par::Seq);
    if entry == 'S' {
        let singular = matches!(outcome, Err(Error::Singular { .. }));
        return if singular { Ok(()) } else { Err(TestCaseError::fail(format!("not singular: {outcome:?}"))) };
    }
    let (inverse, report) = outcome.map_err(|e| TestCaseError::fail(e.to_string()))?;
    let algorithms: Vec<Algorithm> = report.choices.iter().map(|c| c.algorithm).collect();
    let direct = direct_solve(&algorithms);
    if direct != (entry == 'i') {
        return Err(TestCaseError::fail(format!("solved by:\n{report}")));
    }
    let cond = condition(m);
    if cond > allowed::<T>().condition {
        return Ok(());
    }
    let d = inverse.to_dense(Par::Seq).map_err(|e| TestCaseError::fail(e.to_string()))?;
    let tolerance = if size_of::<T>() == 4 { 1e-3 } else { 1e-6 };
    // An iteration, or the operand of one, is as good as its tolerance.
    let iterative = !direct || matches!(op.kind(), Kind::IterativeInverse(_));
    let allow = if iterative { tolerance } else { T::EPS.to_f64() * allowed::<T>().units * (1 + m.nrows()) as f64 };
    let off = off(&mul(&d, m), &eye(m.nrows())).to_f64();
    if off > allow * cond {
        return Err(TestCaseError::fail(format!("inverse off by {off:e}, allowed {:e}", allow * cond)));
    }
    Ok(())
}

/// `sum lambda^k = tr A^k`, which is well conditioned where single eigenvalues are not.
fn power_sums<T: Scalar>(values: &[(T, T)], m: &Mat<T>) -> Result<(), TestCaseError> {
    let size = max_abs(m.as_ref()) * m.nrows() as f64;
    let mut power = eye::<T>(m.nrows());
    for k in 1..=3 {
        power = mul(&power, m);
        let want: T = (0..m.nrows()).map(|i| power[(i, i)]).sum();
        let (mut re, mut im) = (0.0, 0.0);
        for &(x, y) in values {
            let (x, y) = (x.to_f64(), y.to_f64());
            let (r, angle) = (x.hypot(y).powi(k), f64::from(k) * y.atan2(x));
            re += r * angle.cos();
            im += r * angle.sin();
        }
        near(T::from_f64(re), want, size.powi(k), "power sum of the eigenvalues")?;
        near(T::from_f64(im), T::ZERO, size.powi(k), "imaginary power sum")?;
    }
    Ok(())
}

fn column<T: Scalar>(column: char, entry: char, op: &Op<T>, m: &Mat<T>) -> Result<(), TestCaseError> {
    let n = m.nrows();
    let size = max_abs(m.as_ref()) * (1 + n) as f64;
    let to_dense = |op: Op<T>| op.to_dense(Par::Seq);
    let fail = |e: Error| TestCaseError::fail(format!("column {column}: {e}"));
    let matrix = |got: Result<Op<T>, Error>, want: &Mat<T>| -> Result<(), TestCaseError> {
        let got = got.and_then(to_dense).map_err(fail)?;
        near(off(&got, want), T::ZERO, max_abs(want.as_ref()) * n as f64, "function of the operator")
    };
    if entry == '-' {
        let refused = match column {
            's' => dispatch::slogdet(op, TIGHT, Par::Seq).is_err(),
            't' => dispatch::trace(op, TIGHT, Par::Seq).is_err(),
            'd' => dispatch::diagonal(op, TIGHT, Par::Seq).is_err(),
            'e' => dispatch::eigenvalues(op, TIGHT, Par::Seq).is_err(),
            'p' => dispatch::power(op, 3.0, TIGHT, Par::Seq).is_err(),
            'r' => dispatch::power(op, 0.5, TIGHT, Par::Seq).is_err(),
            'x' => dispatch::exp(op, TIGHT, Par::Seq).is_err(),
            'l' => dispatch::log(op, TIGHT, Par::Seq).is_err(),
            _ => dispatch::frobenius_sq(op, TIGHT, Par::Seq).is_err(),
        };
        let what = format!("column {column} has a rule after all");
        return if refused { Ok(()) } else { Err(TestCaseError::fail(what)) };
    }
    match column {
        's' => {
            let (sign, log) = dispatch::slogdet(op, TIGHT, Par::Seq).map_err(fail)?;
            let cond = condition(m);
            if cond < allowed::<T>().condition {
                let want = dense::Lu::new(m.as_ref(), Par::Seq).unwrap().slogdet();
                if sign != want.0 {
                    return Err(TestCaseError::fail("sign of the determinant"));
                }
                near(log, want.1, n as f64, "log determinant")?;
            } else if cond > 1e-2 / T::EPS.to_f64() && !(sign == T::ZERO && log == -T::INFINITY) {
                return Err(TestCaseError::fail(format!("singular, but ({sign}, {log})")));
            }
            Ok(())
        }
        't' => {
            let want: T = (0..n).map(|i| m[(i, i)]).sum();
            near(dispatch::trace(op, TIGHT, Par::Seq).map_err(fail)?, want, size, "trace")
        }
        'd' => {
            let got = dispatch::diagonal(op, TIGHT, Par::Seq).map_err(fail)?;
            (0..n).try_for_each(|i| near(got[i], m[(i, i)], size, "diagonal"))
        }
        'e' => power_sums(&dispatch::eigenvalues(op, TIGHT, Par::Seq).map_err(fail)?, m),
        'p' => matrix(dispatch::power(op, 3.0, TIGHT, Par::Seq), &mul(m, &mul(m, m))),
        'r' => {
            let root = dispatch::power(op, 0.5, TIGHT, Par::Seq).and_then(to_dense).map_err(fail)?;
            near(off(&mul(&root, &root), m), T::ZERO, size, "square of the root")
        }
        'x' => matrix(dispatch::exp(op, TIGHT, Par::Seq), &dense::expm(m.as_ref()).unwrap()),
        'l' => {
            let log = dispatch::log(op, TIGHT, Par::Seq).and_then(to_dense).map_err(fail)?;
            let back = dense::expm(log.as_ref()).unwrap();
            near(off(&back, m), T::ZERO, size, "exponential of the logarithm")
        }
        _ => {
            let want: T = (0..n).flat_map(|i| (0..n).map(move |j| (i, j))).map(|p| m[p] * m[p]).sum();
            near(dispatch::frobenius_sq(op, TIGHT, Par::Seq).map_err(fail)?, want, want.to_f64(), "Frobenius norm")
        }
    }
}

/// What the row gets wrong.
fn check<T: Scalar>(row: &Row, seed: u64, (op, m): &Pair<T>, complaints: &mut Vec<String>) {
    let d = op.to_dense(Par::Seq).unwrap();
    assert!(off(&d, m).to_f64() < 1e-3 * (1.0 + max_abs(m.as_ref())), "{}: the row builds another matrix", row.kind);
    for (name, entry) in COLUMNS.chars().zip(row.columns.chars()) {
        let result = if name == 'i' { inverse_column(entry, op, m) } else { column(name, entry, op, m) };
        if let Err(e) = result {
            complaints.push(format!("{}, column {name}, seed {seed}, {} bytes: {e}", row.kind, size_of::<T>()));
        }
    }
}

#[test]
fn every_row_answers_by_rule_what_it_says() {
    let mut complaints = Vec::new();
    for row in ROWS {
        assert_eq!(row.columns.len(), COLUMNS.len(), "{}", row.kind);
        for seed in (0..600).step_by(100) {
            check(row, seed, &(row.double)(seed), &mut complaints);
            check(row, seed, &(row.single)(seed), &mut complaints);
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn determinants_of_small_operators() {
    let a = Op::diag(vec![2.0, -3.0]);
    assert!((a.det(Par::Seq).unwrap() + 6.0).abs() < 1e-14);
    assert!(matches!(Op::<f64>::identity(65).det(Par::Seq), Err(Error::InvalidArgument { op: "det", .. })));
    assert!(matches!(Op::<f64>::zero(2, 3).det(Par::Seq), Err(Error::NotSquare { .. })));
}

#[test]
fn dense_copies_are_capped_by_memory() {
    let big = Op::<f64>::identity(1 << 20);
    assert!(matches!(big.to_dense(Par::Seq), Err(Error::MemoryCap { cap: 1_073_741_824, .. })));
    let limits = Limits { dense: 100, memory: 100 };
    let opaque = opaque::<f64>(1).0;
    assert!(matches!(dispatch::trace(&opaque, limits, Par::Seq), Err(Error::MemoryCap { cap: 100, .. })));
    assert!(opaque.props().is_empty() && Props::NONE.is_empty());
}
