//! Arithmetic, comparisons, and the real power, which goes to the standard library one element at a time.

use super::loops::{BinaryOp, TernaryOp, UnaryOp};
use super::real::{Real, Token};

macro_rules! unary_ops {
    ($($(#[$doc:meta])* $name:ident: $x:ident => $body:expr;)*) => {
        $(
            $(#[$doc])*
            pub(super) struct $name;
            impl<R: Real> UnaryOp<R> for $name {
                #[inline(always)]
                fn eval<K: Token>($x: R) -> R {
                    $body
                }
            }
        )*
    };
}

macro_rules! binary_ops {
    ($($(#[$doc:meta])* $name:ident: $a:ident, $b:ident => $body:expr;)*) => {
        $(
            $(#[$doc])*
            pub(super) struct $name;
            impl<R: Real> BinaryOp<R> for $name {
                #[inline(always)]
                fn eval($a: R, $b: R) -> R {
                    $body
                }
            }
        )*
    };
}

macro_rules! ternary_ops {
    ($($name:ident: $a:ident, $b:ident, $c:ident => $body:expr;)*) => {
        $(
            pub(super) struct $name;
            impl<R: Real> TernaryOp<R> for $name {
                #[inline(always)]
                fn eval($a: R, $b: R, $c: R) -> R {
                    $body
                }
            }
        )*
    };
}

#[inline(always)]
fn truth<R: Real>(condition: bool) -> R {
    if condition { R::ONE } else { R::ZERO }
}

unary_ops! {
    Neg: x => -x;
    Abs: x => x.magnitude();
    /// Zeros and NaN are their own sign.
    Sign: x => {
        let y = if x < R::ZERO { -R::ONE } else { x };
        if x > R::ZERO { R::ONE } else { y }
    };
    Step: x => {
        let y = if x > R::ZERO { R::ONE } else { x };
        if x <= R::ZERO { R::ZERO } else { y }
    };
    Square: x => x * x;
    Recip: x => R::ONE / x;
    Sqrt: x => x.root();
    Rsqrt: x => R::ONE / x.root();
}

binary_ops! {
    Add: a, b => a + b;
    Sub: a, b => a - b;
    Mul: a, b => a * b;
    Div: a, b => a / b;
    Max: a, b => if a > b || a.partial_cmp(&a).is_none() { a } else { b };
    Min: a, b => if a < b || a.partial_cmp(&a).is_none() { a } else { b };
    Pow: a, b => a.std_powf(b);
    Lt: a, b => truth(a < b);
    Le: a, b => truth(a <= b);
    Gt: a, b => truth(a > b);
    Ge: a, b => truth(a >= b);
    Eq: a, b => truth(a == b);
    Ne: a, b => truth(a != b);
}

ternary_ops! {
    MulAdd: a, b, c => a * b + c;
    MulSub: a, b, c => a * b - c;
    SubMul: a, b, c => c - a * b;
}
