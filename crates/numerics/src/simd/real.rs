//! What the kernels ask of `f32` and `f64`: constants, bit tricks, and one set of polynomials per type.
//!
//! Every polynomial is an own interpolation at Chebyshev nodes computed with 130 digits and rounded once; the
//! comment gives the largest relative error of the function it stands in.

use core::ops::{Add, Div, Mul, Neg, Sub};

/// How `a * b + c` is computed: the one thing that differs between instruction sets.
pub(super) trait Token: 'static {
    /// `a * b + c` in `f32`.
    fn f32(a: f32, b: f32, c: f32) -> f32;
    /// `a * b + c` in `f64`.
    fn f64(a: f64, b: f64, c: f64) -> f64;
}

/// One rounding; only where the hardware has the instruction (elsewhere it would be a library call).
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) struct Fused;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl Token for Fused {
    #[inline(always)]
    fn f32(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
    #[inline(always)]
    fn f64(a: f64, b: f64, c: f64) -> f64 {
        a.mul_add(b, c)
    }
}

/// Two roundings.
#[cfg(not(target_arch = "aarch64"))]
pub(super) struct Plain;

#[cfg(not(target_arch = "aarch64"))]
impl Token for Plain {
    #[inline(always)]
    fn f32(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
    #[inline(always)]
    fn f64(a: f64, b: f64, c: f64) -> f64 {
        a * b + c
    }
}

/// Horner's scheme in type `$t` with token `$k`, coefficients from the constant upward.
macro_rules! horner {
    ($t:ident, $k:ident, $x:expr; $c:expr) => { $c };
    ($t:ident, $k:ident, $x:expr; $c:expr, $($rest:expr),+) => {
        $k::$t($x, horner!($t, $k, $x; $($rest),+), $c)
    };
}

macro_rules! constants {
    ($($(#[$doc:meta])* $name:ident;)*) => { $($(#[$doc])* const $name: Self;)* };
}

/// `f32` or `f64`, as the kernel bodies see it.
pub(super) trait Real:
    Copy
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + 'static
{
    /// The unsigned integer of the same width.
    type Bits: Copy;

    constants! {
        ZERO;
        ONE;
        TWO;
        HALF;
        INF;
        NAN;
        /// Smallest positive normal number.
        TINY;
        /// A power of two that makes every subnormal normal, and its exponent.
        LIFT;
        LIFT_EXPONENT;
        LOG2E;
        /// Leading bits of ln 2, few enough that a multiple by any binary exponent is exact.
        LN2_HI;
        LN2_LO;
        /// Outside these, `exp` and half of it have under- or overflown.
        EXP_MIN;
        EXP_MAX;
        /// Below it, `expm1` is -1.
        EXPM1_MIN;
        /// Its square is far from overflow and its `asinh` is that of infinity, `ln 2x`.
        ASINH_BIG;
        LN2;
        HALF_PI;
        /// What rounding took from `HALF_PI`.
        HALF_PI_LO;
        /// The tangents of pi/8 and 3 pi/8.
        TAN_LOW;
        TAN_HIGH;
        /// Above it `t / (2 t + 1)` is negligible next to `t`, in `sinh`.
        SINH_BIG;
        /// Largest magnitude that the argument reduction of sine and cosine covers.
        TRIG_MAX;
        /// Where `erfc` has underflown.
        ERFC_MAX;
        /// The `K` of the map `t = (x - K) / (x + K)` used for `erfc`.
        ERFC_K;
    }

    /// `self * b + c`.
    fn fma<K: Token>(self, b: Self, c: Self) -> Self;
    /// The integer nearest to `self * scale` (below 2^22, or 2^51).
    fn nearest<K: Token>(self, scale: Self) -> Self;
    /// `2^self` for an integral `self` in the normal exponent range.
    fn pow2(self) -> Self;
    /// `(k, m)` with `self = 2^k m` and `sqrt(1/2) <= m < sqrt 2`, for positive normal numbers.
    fn split(self) -> (Self, Self);
    /// The number without the lower half of its significand: its square is exact.
    fn head(self) -> Self;
    /// `(r, low, q)`: `self + shift pi/2 = q pi/2 + r + low`, `|r| <= pi/4`, for magnitudes up to `TRIG_MAX`.
    fn quadrant<K: Token>(self, shift: u8) -> (Self, Self, Self::Bits);
    /// The sine of the full angle from sine and cosine of the remainder in quadrant `q`.
    fn pick(q: Self::Bits, sine: Self, cosine: Self) -> Self;

    /// `(e^r - 1 - r) / r^2` on `|r| <= 0.347`.
    fn exp_poly<K: Token>(r: Self) -> Self;
    /// `R(z) / z` where `ln((1 + s) / (1 - s)) = 2 s + s R(s^2)`, `z = s^2 <= 0.0296`.
    fn log_poly<K: Token>(z: Self) -> Self;
    /// `(sin r - r) / r^3` in `z = r^2 <= 0.62`.
    fn sin_poly<K: Token>(z: Self) -> Self;
    /// `(cos r - 1 + z / 2) / z^2` in `z = r^2 <= 0.62`.
    fn cos_poly<K: Token>(z: Self) -> Self;
    /// `erf(x) / x - 1` in `z = x^2 <= 1`.
    fn erf_poly<K: Token>(z: Self) -> Self;
    /// `(atan r - r) / r^3` in `z = r^2 <= 0.1717`.
    fn atan_poly<K: Token>(z: Self) -> Self;
    /// `(asin r - r) / r^3` in `z = r^2 <= 0.25`.
    fn asin_poly<K: Token>(z: Self) -> Self;
    /// `e^(x^2) erfc(x) (x + K)` in `t = (x - K) / (x + K)`.
    fn erfc_poly<K: Token>(t: Self) -> Self;

    /// Absolute value.
    fn magnitude(self) -> Self;
    /// `self` with the sign bit of `sign`.
    fn signed(self, sign: Self) -> Self;
    /// Square root.
    fn root(self) -> Self;
    /// The standard library's function.
    fn std_sin(self) -> Self;
    /// The standard library's function.
    fn std_cos(self) -> Self;
    /// The standard library's function.
    fn std_powf(self, p: Self) -> Self;
}

macro_rules! shared {
    ($t:ident, $bits:ident, $mantissa:literal, $bias:literal, $half_root:literal) => {
        type Bits = $bits;
        const ZERO: Self = 0.0;
        const ONE: Self = 1.0;
        const TWO: Self = 2.0;
        const HALF: Self = 0.5;
        const INF: Self = $t::INFINITY;
        const NAN: Self = $t::NAN;
        const TINY: Self = $t::MIN_POSITIVE;
        const LOG2E: Self = core::$t::consts::LOG2_E;
        const LN2: Self = core::$t::consts::LN_2;
        const HALF_PI: Self = core::$t::consts::FRAC_PI_2;
        const TAN_LOW: Self = core::$t::consts::SQRT_2 - 1.0;
        const TAN_HIGH: Self = core::$t::consts::SQRT_2 + 1.0;

        #[inline(always)]
        fn fma<K: Token>(self, b: Self, c: Self) -> Self {
            K::$t(self, b, c)
        }
        #[inline(always)]
        fn nearest<K: Token>(self, scale: Self) -> Self {
            const MAGIC: $t = 1.5 * (1u64 << $mantissa) as $t;
            K::$t(self, scale, MAGIC) - MAGIC
        }
        #[inline(always)]
        fn pow2(self) -> Self {
            // The sum's lowest bits are the biased exponent; the shift drops everything else.
            const MAGIC: $t = 1.5 * (1u64 << $mantissa) as $t + $bias as $t;
            $t::from_bits((self + MAGIC).to_bits() << $mantissa)
        }
        #[inline(always)]
        fn split(self) -> (Self, Self) {
            const ONE: $bits = $bias << $mantissa;
            const LOW: $bits = (1 << $mantissa) - 1;
            // 2^mantissa with its exponent field, so that an integer or-ed in is a float in disguise.
            const UNIT: $bits = ($bias + $mantissa) << $mantissa;
            const OFFSET: $t = (1u64 << $mantissa) as $t + $bias as $t;
            let shifted = self.to_bits().wrapping_add(ONE - $half_root);
            let k = $t::from_bits((shifted >> $mantissa) | UNIT) - OFFSET;
            (k, $t::from_bits((shifted & LOW).wrapping_add($half_root)))
        }
        #[inline(always)]
        fn head(self) -> Self {
            $t::from_bits(self.to_bits() & !((1 << ($mantissa / 2 + 1)) - 1))
        }
        #[inline(always)]
        fn pick(q: $bits, sine: Self, cosine: Self) -> Self {
            let v = if q & 1 == 0 { sine } else { cosine };
            $t::from_bits(v.to_bits() ^ ((q & 2) << ($bits::BITS - 2)))
        }
        #[inline(always)]
        fn magnitude(self) -> Self {
            self.abs()
        }
        #[inline(always)]
        fn signed(self, sign: Self) -> Self {
            self.copysign(sign)
        }
        #[inline(always)]
        fn root(self) -> Self {
            self.sqrt()
        }
        #[inline(always)]
        fn std_sin(self) -> Self {
            self.sin()
        }
        #[inline(always)]
        fn std_cos(self) -> Self {
            self.cos()
        }
        #[inline(always)]
        fn std_powf(self, p: Self) -> Self {
            self.powf(p)
        }
    };
}

macro_rules! polynomials {
    ($t:ident; $($(#[$doc:meta])* $name:ident: $($c:expr),+;)*) => {
        $(
            $(#[$doc])*
            #[inline(always)]
            fn $name<K: Token>(x: Self) -> Self {
                horner!($t, K, x; $($c),+)
            }
        )*
    };
}

/// Leading 33 bits of pi/2, shared by both reductions.
const HALF_PI_1: f64 = 1.5707963267341256;

impl Real for f32 {
    shared!(f32, u32, 23, 127, 0x3f35_04f3);
    const LIFT: Self = 16_777_216.0;
    const LIFT_EXPONENT: Self = 24.0;
    const LN2_HI: Self = 0.6933594;
    const LN2_LO: Self = -0.00021219444;
    const EXP_MIN: Self = -105.0;
    const EXP_MAX: Self = 90.0;
    const EXPM1_MIN: Self = -20.0;
    const HALF_PI_LO: Self = -4.371139e-08;
    const ASINH_BIG: Self = 1e9;
    const SINH_BIG: Self = 1e10;
    const TRIG_MAX: Self = 32_768.0;
    const ERFC_MAX: Self = 10.1;
    const ERFC_K: Self = 3.0;

    /// The remainder is taken in `f64`, where two constants are enough.
    #[inline(always)]
    fn quadrant<K: Token>(self, shift: u8) -> (Self, Self, u32) {
        const MAGIC: f32 = 12_582_912.0;
        const HALF_PI_2: f64 = 6.077100506506192e-11;
        let t = K::f32(self, core::f32::consts::FRAC_2_PI, MAGIC);
        let n = f64::from(t - MAGIC);
        let r = K::f64(-n, HALF_PI_2, K::f64(-n, HALF_PI_1, f64::from(self)));
        (r as f32, 0.0, t.to_bits().wrapping_add(u32::from(shift)))
    }

    polynomials! { f32;
        /// 2^-26.9
        exp_poly: 0.5, 0.16666576, 0.041666552, 0.008363247, 0.0013926268;
        /// 2^-27.5
        log_poly: 0.66666687, 0.39988655, 0.2958568;
        /// 2^-26.3
        sin_poly: -0.16666664, 0.008332742, -0.00019586606;
        /// 2^-30.1
        cos_poly: 0.041666664, -0.0013888297, 2.4546654e-05;
        /// 2^-27.5
        erf_poly: 0.12837917, -0.37612626, 0.11283594, -0.026854211, 0.0051890872, -0.00080168643, 7.875875e-05;
        /// 2^-28.3
        atan_poly: -0.3333333, 0.1999954, -0.14263912, 0.10743263, -0.064503774;
        /// 2^-28.4
        asin_poly: 0.16666666, 0.07500094, 0.044599403, 0.031100662, 0.017149238, 0.033690847;
        /// 2^-25.5
        erfc_poly: 1.0740069, -0.8833945, 0.59022844, -0.31046665, 0.11952727, -0.026836442, -0.0012169178,
            0.0030775692, -0.0004996759, -0.0003340298;
    }
}

impl Real for f64 {
    shared!(f64, u64, 52, 1023, 0x3fe6_a09e_667f_3bcd);
    const LIFT: Self = 18_014_398_509_481_984.0;
    const LIFT_EXPONENT: Self = 54.0;
    const LN2_HI: Self = 0.6931471805592082;
    const LN2_LO: Self = 7.371002565167799e-13;
    const EXP_MIN: Self = -746.0;
    const EXP_MAX: Self = 712.0;
    const EXPM1_MIN: Self = -40.0;
    const HALF_PI_LO: Self = 6.123233995736766e-17;
    const ASINH_BIG: Self = 1e18;
    const SINH_BIG: Self = 1e20;
    const TRIG_MAX: Self = 32_768.0;
    const ERFC_MAX: Self = 28.0;
    const ERFC_K: Self = 4.0;

    /// Three constants (33 + 33 + 53 bits): the first two products are exact, the third is carried as a tail.
    #[inline(always)]
    fn quadrant<K: Token>(self, shift: u8) -> (Self, Self, u64) {
        const MAGIC: f64 = 6_755_399_441_055_744.0;
        const HALF_PI_2: f64 = 6.077100506303966e-11;
        const HALF_PI_3: f64 = 2.0222662487959506e-21;
        let t = K::f64(self, core::f64::consts::FRAC_2_PI, MAGIC);
        let n = t - MAGIC;
        let first = K::f64(-n, HALF_PI_1, self);
        let w = n * HALF_PI_2;
        let second = first - w;
        let tail = K::f64(-n, HALF_PI_3, (first - second) - w);
        let r = second + tail;
        (r, (second - r) + tail, t.to_bits().wrapping_add(u64::from(shift)))
    }

    polynomials! { f64;
        /// 2^-56.1
        exp_poly: 0.5000000000000001, 0.16666666666666669, 0.04166666666662374, 0.008333333333330032,
            0.0013888888917406447, 0.00019841269863201828, 2.4801520996825697e-05, 2.7557268229963227e-06,
            2.76202305675069e-07, 2.5100494788905042e-08;
        /// 2^-56.5
        log_poly: 0.666666666666667, 0.3999999999989607, 0.28571428627528794, 0.22222210881932927,
            0.1818290749767122, 0.1533111258796017, 0.1462395660821188;
        /// 2^-55.6
        sin_poly: -0.16666666666666666, 0.008333333333330887, -0.0001984126983666588, 2.755731605459391e-06,
            -2.5051121875169608e-08, 1.5917412836707387e-10;
        /// 2^-59.5
        cos_poly: 0.041666666666666664, -0.0013888888888887359, 2.48015872987077e-05, -2.755731724172776e-07,
            2.0876140031390975e-09, -1.138218421447753e-11;
        /// 2^-55.8
        erf_poly: 0.1283791670955126, -0.3761263890318375, 0.11283791670954879, -0.026866170645076792,
            0.0052239776248180145, -0.000854832698083379, 0.0001205533111164271, -1.4925595266831182e-05,
            1.6461000484121368e-06, -1.6350312701054695e-07, 1.4659775274047436e-08, -1.1372848856791674e-09,
            5.957176147748911e-11;
        /// 2^-57.0
        atan_poly: -0.3333333333333333, 0.1999999999999549, -0.1428571428466014, 0.11111111014741562,
            -0.09090904557214267, 0.0769218270524632, -0.06664504610032648, 0.05858089538610203,
            -0.05085139148706638, 0.03922268882347632, -0.0191659065063043;
        /// 2^-58.5
        asin_poly: 0.16666666666666666, 0.07500000000000118, 0.044642857142551895, 0.03038194447553234,
            0.02237215744350722, 0.017352816540325496, 0.01396378001220357, 0.011566459612121669,
            0.009621842970100282, 0.009319560794767446, 0.0030448799094556773, 0.019554513336123378,
            -0.01924167174674304, 0.02961201126495512;
        /// 2^-53.7
        erfc_poly: 1.095995661000491, -0.976548729080882, 0.7732087022652453, -0.540853831313232,
            0.3308515878775732, -0.17401093724020053, 0.07638151491851647, -0.026370053333114825,
            0.006112055557500744, -0.0002809589581115879, -0.0004550520850287462, 0.00017681347792436317,
            -3.637368094617784e-06, -1.88636825726794e-05, 4.699262077965546e-06, 1.4314173217233973e-06,
            -8.522279909356253e-07, -8.667466799943592e-08, 1.2738540695049036e-07, 1.0296397494415425e-08,
            -1.490396715699329e-08, -3.227131784144005e-09;
    }
}
