//! QR factorisations of tall matrices by pieces of rows, on several threads.
//!
//! Every piece is factored on its own by Householder reflections, the small triangles are stacked and factored in turn
//! (Demmel, Grigori, Hoemmen, Langou 2012, arXiv:0808.2664). It is as stable as one Householder factorisation, reads
//! each piece while it is in cache, and the pieces depend on the shape alone, so that threads change no bit. Cost:
//! `2 n k^2` flops for R, `4 n k m` for Q times m columns.

use crate::dense::{self, Qr, need_finite};
use crate::{Error, Mat, MatMut, MatRef, Par, Scalar};
use faer::prelude::*;
use rayon::prelude::*;

/// Least rows of a piece, and least multiple of its columns.
const ROWS: usize = 1024;
const ASPECT: usize = 4;

/// `A = Q R` for `n x k` with `k <= n`, Q as reflectors.
#[derive(Clone, Debug)]
pub struct TallQr<T: Scalar> {
    /// Householder vectors of the pieces, below their triangles.
    basis: Mat<T>,
    coefficients: Vec<Mat<T>>,
    /// The factorisation of the stacked triangles; none for a single piece.
    top: Option<Box<TallQr<T>>>,
    r: Mat<T>,
}

/// Rows of each piece.
fn pieces(n: usize, k: usize) -> Vec<usize> {
    let count = (n / ROWS.max(ASPECT * k)).max(1);
    (0..count).map(|i| n / count + usize::from(i < n % count)).collect()
}

/// The pieces of a matrix.
fn split<'a, T>(mut a: MatMut<'a, T>, rows: &[usize]) -> Vec<MatMut<'a, T>> {
    let mut out = Vec::with_capacity(rows.len());
    for &count in rows {
        let (head, tail) = a.split_at_row_mut(count);
        out.push(head);
        a = tail;
    }
    out
}

fn each<I: Send, R: Send>(items: Vec<I>, par: Par, f: impl Fn(I) -> R + Sync + Send) -> Vec<R> {
    if par.degree() > 1 && items.len() > 1 {
        items.into_par_iter().map(f).collect()
    } else {
        items.into_iter().map(f).collect()
    }
}

impl<T: Scalar> TallQr<T> {
    /// Factors a matrix with at least as many rows as columns.
    ///
    /// # Errors
    /// `ShapeMismatch` for a wide matrix, `NotFinite`.
    ///
    /// ```
    /// use numerics::{Mat, Par, dense::TallQr};
    /// let a = Mat::from_fn(5000, 3, |i, j| ((i * (j + 2)) as f64 * 0.1).sin());
    /// let f = TallQr::new(a.as_ref(), Par::Seq)?;
    /// let back = f.q_times(f.r(), Par::Seq);
    /// assert!((&back - &a).norm_max() < 1e-12);
    /// # Ok::<(), numerics::Error>(())
    /// ```
    pub fn new(a: MatRef<'_, T>, par: Par) -> Result<Self, Error> {
        Self::of(a.to_owned(), par)
    }

    /// The same in the memory of the matrix.
    ///
    /// # Errors
    /// As [`TallQr::new`].
    pub fn of(a: Mat<T>, par: Par) -> Result<Self, Error> {
        let (n, k) = (a.nrows(), a.ncols());
        if n < k {
            return Err(Error::shape("tall qr", "at least as many rows as columns", format!("{n} x {k}")));
        }
        need_finite("tall qr", a.as_ref())?;
        Ok(Self::factor(a, par))
    }

    fn factor(mut basis: Mat<T>, par: Par) -> Self {
        let (n, k) = (basis.nrows(), basis.ncols());
        if k == 0 {
            return TallQr { basis, coefficients: Vec::new(), top: None, r: Mat::zeros(0, 0) };
        }
        let rows = pieces(n, k);
        let coefficients = each(split(basis.as_mut(), &rows), par, T::qr_reflectors);
        let starts = || rows.iter().scan(0, |at, &count| Some(core::mem::replace(at, *at + count)));
        let triangles: Vec<Mat<T>> = starts()
            .map(|start| Mat::from_fn(k, k, |i, j| if i <= j { basis[(start + i, j)] } else { T::ZERO }))
            .collect();
        if let [r] = triangles.as_slice() {
            return TallQr { basis, coefficients, top: None, r: r.clone() };
        }
        let mut stacked = Mat::zeros(k * triangles.len(), k);
        for (i, r) in triangles.iter().enumerate() {
            dense::copy(stacked.as_mut().subrows_mut(i * k, k), r.as_ref());
        }
        let top = Box::new(Self::factor(stacked, par));
        let r = top.r.clone();
        TallQr { basis, coefficients, top: Some(top), r }
    }

    /// The upper triangle R, `k x k`.
    pub fn r(&self) -> MatRef<'_, T> {
        self.r.as_ref()
    }

    /// Q times a matrix of k rows.
    ///
    /// # Panics
    /// If `x` has another number of rows.
    pub fn q_times(&self, x: MatRef<'_, T>, par: Par) -> Mat<T> {
        let (n, k, m) = (self.basis.nrows(), self.basis.ncols(), x.ncols());
        assert_eq!(x.nrows(), k, "q_times: inner dimensions differ");
        let mut out = Mat::zeros(n, m);
        if k == 0 || m == 0 {
            return out;
        }
        let rows = pieces(n, k);
        let inner = self.top.as_ref().map(|top| top.q_times(x, par));
        let heads = inner.as_ref().map_or(x, |y| y.as_ref());
        let mut start = 0;
        let basis: Vec<MatRef<'_, T>> = rows
            .iter()
            .map(|&count| {
                start += count;
                self.basis.as_ref().subrows(start - count, count)
            })
            .collect();
        let work: Vec<_> = split(out.as_mut(), &rows).into_iter().enumerate().collect();
        each(work, par, |(i, mut piece)| {
            dense::copy(piece.rb_mut().subrows_mut(0, k), heads.subrows(i * k, k));
            T::reflect(basis[i], self.coefficients[i].as_ref(), piece);
        });
        out
    }

    /// The thin Q in the memory of the factored matrix, with the bits of [`TallQr::q`].
    pub fn into_q(self, par: Par) -> Mat<T> {
        let TallQr { mut basis, coefficients, top, .. } = self;
        let (n, k) = (basis.nrows(), basis.ncols());
        if k == 0 {
            return basis;
        }
        let rows = pieces(n, k);
        let heads = top.map_or_else(|| Mat::identity(k, k), |top| top.into_q(par));
        let work: Vec<_> = split(basis.as_mut(), &rows).into_iter().enumerate().collect();
        each(work, par, |(i, mut piece)| {
            let reflectors = piece.rb().to_owned();
            piece.fill(T::ZERO);
            dense::copy(piece.rb_mut().subrows_mut(0, k), heads.as_ref().subrows(i * k, k));
            T::reflect(reflectors.as_ref(), coefficients[i].as_ref(), piece);
        });
        basis
    }

    /// The thin Q, `n x k`.
    pub fn q(&self, par: Par) -> Mat<T> {
        let k = self.basis.ncols();
        self.q_times(Mat::<T>::identity(k, k).as_ref(), par)
    }
}

/// Thin QR of any matrix, by pieces on several threads where it is tall. As stable as [`dense::qr`]; the same bits for
/// every `par`, but not those of [`dense::qr`].
///
/// # Errors
/// `NotFinite`.
pub fn qr_tall<T: Scalar>(a: MatRef<'_, T>, par: Par) -> Result<Qr<T>, Error> {
    let (n, k) = (a.nrows(), a.ncols());
    if pieces(n, k).len() == 1 {
        return dense::qr(a);
    }
    let f = TallQr::new(a, par)?;
    let r = f.r.clone();
    Ok(Qr { q: f.into_q(par), rank: k, r })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Role, Stream};

    fn graded(n: usize, k: usize, decay: f64) -> Mat<f64> {
        let mut s = Stream::new(0, Role::SyntheticMatrix, n as u64, k as u64);
        Mat::from_fn(n, k, |_, j| (s.uniform() - 0.5) * decay.powi(j as i32))
    }

    /// Shapes of one piece, of several, and of two levels; columns that are nearly dependent.
    #[test]
    fn product_and_orthogonality() {
        for (n, k, decay) in
            [(40, 7, 1.0), (3000, 5, 1e-3), (2500, 300, 0.9), (70_000, 40, 0.5), (5, 5, 1.0), (4, 0, 1.0)]
        {
            let a = graded(n, k, decay);
            let f = TallQr::new(a.as_ref(), Par::Seq).unwrap();
            let q = f.q(Par::Seq);
            assert_eq!(f.clone().into_q(Par::Seq), q);
            let errors = |q: &Mat<f64>, r: MatRef<'_, f64>| {
                let gram = q.transpose() * q - Mat::<f64>::identity(k, k);
                ((q * r - &a).norm_l2() / a.norm_l2().max(1e-300), gram.norm_max())
            };
            let (tall, plain) = (errors(&q, f.r()), dense::qr(a.as_ref()).unwrap());
            let plain = errors(&plain.q, plain.r.as_ref());
            assert!(tall.0 < 4.0 * plain.0 + 1e-14 && tall.1 < 4.0 * plain.1 + 1e-14, "{n} x {k}: {tall:?}, {plain:?}");
            assert!(tall.0 < 1e-12 && tall.1 < 1e-12, "{n} x {k}: {tall:?}");
            assert!((0..k).all(|j| (j + 1..k).all(|i| f.r()[(i, j)] == 0.0)));
        }
    }

    #[test]
    fn a_zero_column_keeps_the_basis_orthonormal() {
        let a = Mat::from_fn(3000, 4, |i, j| if j == 2 { 0.0 } else { (i * (j + 1)) as f64 * 1e-3 });
        let f = qr_tall(a.as_ref(), Par::Seq).unwrap();
        assert!((f.q.transpose() * &f.q - Mat::<f64>::identity(4, 4)).norm_max() < 1e-13);
        assert!((&f.q * &f.r - &a).norm_max() < 1e-10);
    }

    #[test]
    fn threads_change_no_bit() {
        let a = graded(30_000, 33, 0.8);
        let bits = |par| {
            let f = qr_tall(a.as_ref(), par).unwrap();
            let all = |m: &Mat<f64>| {
                (0..m.ncols()).flat_map(|j| m.col_as_slice(j).to_vec()).map(f64::to_bits).collect::<Vec<_>>()
            };
            (all(&f.q), all(&f.r))
        };
        assert!(bits(Par::Seq) == bits(Par::rayon(2)));
    }

    #[test]
    fn bad_input() {
        assert!(matches!(TallQr::new(Mat::<f64>::zeros(2, 3).as_ref(), Par::Seq), Err(Error::ShapeMismatch { .. })));
        let nan = Mat::from_fn(3000, 2, |i, _| if i == 2999 { f64::NAN } else { 1.0 });
        assert!(matches!(qr_tall(nan.as_ref(), Par::Seq), Err(Error::NotFinite { .. })));
        assert_eq!(qr_tall(Mat::<f32>::zeros(2, 3).as_ref(), Par::Seq).unwrap().r.ncols(), 3);
    }
}
