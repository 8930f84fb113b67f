//! Elementwise functions of one tensor, with their derivatives of every order.

use super::data::{Data, alone};
use super::rule::{Primitive, Taylor, expect_args, expect_real, real, value};
use super::tower::{autonomous, hermite_signed, horner, over_quadratic};
use crate::array::Value;
use crate::error::Error;
use crate::program::{Builder, NodeId};
use crate::types::TensorType;
use numerics::Scalar;

/// An `f64` that is compared and hashed by its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Bits(u64);

impl Bits {
    /// Wraps a number.
    pub fn new(x: f64) -> Self {
        Bits(x.to_bits())
    }

    /// The number.
    pub fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

/// An elementwise function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)]
pub enum Unary {
    Neg,
    Abs,
    /// -1, 0 or 1.
    Sign,
    /// 1 where positive, else 0.
    Step,
    Recip,
    Sqrt,
    Exp,
    Expm1,
    Log,
    Log1p,
    Sin,
    Cos,
    Sinh,
    Cosh,
    Tanh,
    Sigmoid,
    /// `log(1 + e^x)`, without a threshold.
    Softplus,
    Erf,
    Erfc,
    Atan,
    Asin,
    Asinh,
    Atanh,
    /// A real constant power; an integer one is exact at zero and for negative arguments.
    Powf(Bits),
    /// The identity, with derivative zero.
    StopGradient,
}

impl Unary {
    /// The function itself, in the scalar type.
    pub fn value<T: Scalar>(self, x: T) -> T {
        let one = T::ONE;
        match self {
            Unary::Neg => -x,
            Unary::Abs => x.abs(),
            Unary::Sign if x.is_nan() || x == T::ZERO => x,
            Unary::Sign => x.signum(),
            Unary::Step if x.is_nan() => x,
            Unary::Step => T::from_f64(f64::from(u8::from(x > T::ZERO))),
            Unary::Recip => x.recip(),
            Unary::Sqrt => x.sqrt(),
            Unary::Exp => x.exp(),
            Unary::Expm1 => x.exp_m1(),
            Unary::Log => x.ln(),
            Unary::Log1p => x.ln_1p(),
            Unary::Sin => x.sin(),
            Unary::Cos => x.cos(),
            Unary::Sinh => x.sinh(),
            Unary::Cosh => x.cosh(),
            Unary::Tanh => x.tanh(),
            Unary::Sigmoid if x >= T::ZERO => one / (one + (-x).exp()),
            Unary::Sigmoid => {
                let e = x.exp();
                e / (one + e)
            }
            Unary::Softplus if x.is_nan() => x,
            Unary::Softplus => x.max(T::ZERO) + (-x.abs()).exp().ln_1p(),
            Unary::Erf => T::from_f64(super::special::erf(x.to_f64())),
            Unary::Erfc => T::from_f64(super::special::erfc(x.to_f64())),
            Unary::Atan => x.atan(),
            Unary::Asin => x.asin(),
            Unary::Asinh => x.asinh(),
            Unary::Atanh => x.atanh(),
            Unary::Powf(p) => power(x, p.get()),
            Unary::StopGradient => x,
        }
    }

    /// Whether it is linear.
    pub fn is_linear(self) -> bool {
        self == Unary::Neg
    }

    /// Whether its derivative is zero wherever it exists.
    fn is_flat(self) -> bool {
        matches!(self, Unary::Sign | Unary::Step | Unary::StopGradient)
    }

    /// The `m`-th derivative (`m >= 1`) at `x`, where the function has the value `y`.
    pub fn derivative(self, b: &mut Builder, x: NodeId, y: NodeId, m: u32) -> Result<NodeId, Error> {
        let shape = b.shape(x);
        match self {
            _ if self.is_flat() => b.full(&shape, 0.0),
            Unary::Neg => b.full(&shape, if m == 1 { -1.0 } else { 0.0 }),
            Unary::Abs if m == 1 => b.unary(Unary::Sign, x),
            Unary::Abs => b.full(&shape, 0.0),
            Unary::Exp => Ok(y),
            Unary::Expm1 => b.unary(Unary::Exp, x),
            Unary::Sin => trigonometric(b, x, m),
            Unary::Cos => trigonometric(b, x, m + 1),
            Unary::Sinh => b.unary(if m % 2 == 1 { Unary::Cosh } else { Unary::Sinh }, x),
            Unary::Cosh => b.unary(if m % 2 == 1 { Unary::Sinh } else { Unary::Cosh }, x),
            Unary::Recip => {
                let power = integer_power(b, y, m + 1)?;
                b.scale(power, alternating_factorial(m))
            }
            Unary::Log => {
                let r = b.unary(Unary::Recip, x)?;
                let power = integer_power(b, r, m)?;
                b.scale(power, alternating_factorial(m - 1))
            }
            Unary::Log1p => {
                let shifted = b.add_scalar(x, 1.0)?;
                let r = b.unary(Unary::Recip, shifted)?;
                let power = integer_power(b, r, m)?;
                b.scale(power, alternating_factorial(m - 1))
            }
            Unary::Sqrt if m == 1 => {
                let r = b.unary(Unary::Recip, y)?;
                b.scale(r, 0.5)
            }
            Unary::Sqrt => {
                let r = b.unary(Unary::Powf(Bits::new(0.5 - f64::from(m))), x)?;
                b.scale(r, falling(0.5, m))
            }
            Unary::Powf(p) => match falling(p.get(), m) {
                0.0 => b.full(&shape, 0.0),
                c => {
                    let r = b.unary(Unary::Powf(Bits::new(p.get() - f64::from(m))), x)?;
                    b.scale(r, c)
                }
            },
            Unary::Tanh => {
                let w = one_minus_square(b, y)?;
                let p = horner(b, &autonomous(&[1.0, 0.0, -1.0], m), y)?;
                b.mul(w, p)
            }
            Unary::Sigmoid => sigmoid_derivative(b, x, y, m),
            Unary::Softplus if m == 1 => b.unary(Unary::Sigmoid, x),
            Unary::Softplus => {
                let s = b.unary(Unary::Sigmoid, x)?;
                sigmoid_derivative(b, x, s, m - 1)
            }
            Unary::Erf => gaussian_derivative(b, x, m, std::f64::consts::FRAC_2_SQRT_PI),
            Unary::Erfc => gaussian_derivative(b, x, m, -std::f64::consts::FRAC_2_SQRT_PI),
            Unary::Atan => rational(b, x, &[1.0, 0.0, 1.0], 0.0, m),
            Unary::Atanh => rational(b, x, &[1.0, 0.0, -1.0], 0.0, m),
            Unary::Asin => rational(b, x, &[1.0, 0.0, -1.0], 0.5, m),
            Unary::Asinh => rational(b, x, &[1.0, 0.0, 1.0], 0.5, m),
            Unary::Sign | Unary::Step | Unary::StopGradient => b.full(&shape, 0.0),
        }
    }
}

/// `x^p`: by multiplication for small integers, never through the logarithm of a negative number.
fn power<T: Scalar>(x: T, p: f64) -> T {
    if p == 0.5 {
        x.sqrt()
    } else if p == -0.5 {
        x.sqrt().recip()
    } else if p.fract() == 0.0 && p.abs() <= 64.0 {
        x.powi(p as i32)
    } else {
        x.powf(T::from_f64(p))
    }
}

/// `p (p-1) .. (p-m+1)`.
fn falling(p: f64, m: u32) -> f64 {
    (0..m).map(|i| p - f64::from(i)).product()
}

/// `(-1)^n n!`.
fn alternating_factorial(n: u32) -> f64 {
    (1..=n).map(|i| -f64::from(i)).product()
}

fn integer_power(b: &mut Builder, x: NodeId, n: u32) -> Result<NodeId, Error> {
    b.unary(Unary::Powf(Bits::new(f64::from(n))), x)
}

/// `sin(x + m pi/2)`.
fn trigonometric(b: &mut Builder, x: NodeId, m: u32) -> Result<NodeId, Error> {
    let f = b.unary(if m.is_multiple_of(2) { Unary::Sin } else { Unary::Cos }, x)?;
    if m % 4 >= 2 { b.neg(f) } else { Ok(f) }
}

/// `(1 - t)(1 + t)`, which keeps its sign and most of its digits as `|t|` nears one.
fn one_minus_square(b: &mut Builder, t: NodeId) -> Result<NodeId, Error> {
    let shape = b.shape(t);
    let one = b.full(&shape, 1.0)?;
    let (low, high) = (b.sub(one, t)?, b.add(one, t)?);
    b.mul(low, high)
}

fn sigmoid_derivative(b: &mut Builder, x: NodeId, s: NodeId, m: u32) -> Result<NodeId, Error> {
    let minus = b.neg(x)?;
    let opposite = b.unary(Unary::Sigmoid, minus)?;
    let w = b.mul(s, opposite)?;
    let p = horner(b, &autonomous(&[0.0, 1.0, -1.0], m), s)?;
    b.mul(w, p)
}

/// Derivatives of `c * integral of exp(-x^2)`.
fn gaussian_derivative(b: &mut Builder, x: NodeId, m: u32, c: f64) -> Result<NodeId, Error> {
    let square = b.mul(x, x)?;
    let minus = b.neg(square)?;
    let bell = b.unary(Unary::Exp, minus)?;
    let p = horner(b, &hermite_signed(m - 1), x)?;
    let p = b.mul(p, bell)?;
    b.scale(p, c)
}

/// `P_m(x) q(x)^-(m - shift)`.
fn rational(b: &mut Builder, x: NodeId, q: &[f64], shift: f64, m: u32) -> Result<NodeId, Error> {
    let p = horner(b, &over_quadratic(q, shift, m), x)?;
    let q = horner(b, q, x)?;
    let w = b.unary(Unary::Powf(Bits::new(shift - f64::from(m))), q)?;
    b.mul(p, w)
}

impl Primitive for Unary {
    fn name(&self) -> String {
        match self {
            Unary::Powf(p) => format!("pow {}", p.get()),
            Unary::StopGradient => "stop_gradient".into(),
            f => format!("{f:?}").to_lowercase(),
        }
    }

    fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = expect_args(args)?;
        expect_real(x)?;
        Ok(x.clone())
    }

    fn flops(&self, _args: &[&TensorType], out: &TensorType) -> u64 {
        if *self == Unary::StopGradient { 0 } else { out.numel() as u64 }
    }

    fn eval<T: Scalar>(&self, args: &[&Value<T>], out: &TensorType) -> Result<Value<T>, Error> {
        value(&out.shape, real(args[0])?.data().iter().map(|&x| Unary::value(*self, x)).collect())
    }

    fn taylor(&self) -> Taylor {
        if self.is_flat() || matches!(self, Unary::Neg | Unary::Abs) {
            Taylor::Linear
        } else {
            Taylor::Elementwise(*self)
        }
    }

    fn jvp(
        &self,
        b: &mut Builder,
        args: &[NodeId],
        out: NodeId,
        tangents: &[Option<NodeId>],
    ) -> Result<Option<NodeId>, Error> {
        match tangents[0] {
            Some(t) if self.is_linear() => b.unary(*self, t).map(Some),
            Some(t) if !self.is_flat() => {
                let slope = self.derivative(b, args[0], out, 1)?;
                b.mul(slope, t).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn transpose(
        &self,
        b: &mut Builder,
        _args: &[NodeId],
        _linear: &[bool],
        ct: NodeId,
    ) -> Result<Vec<Option<NodeId>>, Error> {
        if self.is_linear() {
            Ok(vec![Some(b.unary(*self, ct)?)])
        } else {
            Err(Error::unsupported(Primitive::name(self), "transpose", "the function is not linear"))
        }
    }

    fn batch(&self, b: &mut Builder, args: &[NodeId], _batched: &[bool], _size: usize) -> Result<NodeId, Error> {
        b.unary(*self, args[0])
    }

    fn data(&self, _: &[&TensorType], of: &[Data], _: &TensorType) -> Result<Data, String> {
        alone(of[0], self.is_linear() || *self == Unary::StopGradient)
    }
}
