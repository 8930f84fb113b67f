//! Random streams addressed by (seed, role, i, j), and the laws of random probe vectors.
//!
//! A number depends on its address and its place in the stream, never on the thread that draws it. With `s(z)` the
//! output of SplitMix64 from state `z`, the key of a stream is `s(s(s(s(seed) ^ role) ^ i) ^ j)`, and the
//! generator is PCG XSL-RR 128/64 (O'Neill, "PCG: a family of simple fast space-efficient statistically good
//! algorithms", 2014) with initial state `s(key) * 2^64 + s(s(key))` and stream `key`. State and stream both
//! depend on the key, since streams that differ in one alone are correlated. Cost: about a nanosecond per `u64`.

use crate::{DType, Error, Scalar};
use core::convert::Infallible;
use core::fmt;
use core::str::FromStr;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a stream is for. Two uses with different roles never share numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Role {
    /// Probes on the right of a matrix; (column, 0).
    RightProbe = 1,
    /// Probes on the left; (column, 0).
    LeftProbe = 2,
    /// Inner sketch on the left; (column, 0).
    InnerLeft = 3,
    /// Inner sketch on the right; (column, 0).
    InnerRight = 4,
    /// Probes of an error estimate; (column, 0).
    TestProbe = 5,
    /// Start vectors of Lanczos; (run, 0).
    LanczosStart = 6,
    /// Labels drawn from a model; (global datum, sample).
    McLabels = 7,
    /// Directions of a differential operator; (sample, 0) shared, or (sample, 1 + datum).
    PdeDirections = 8,
    /// Order of the data; (epoch, 0).
    Shuffle = 9,
    /// Initial parameters; (parameter ordinal, 0).
    Init = 10,
    /// Interior points; (step, block).
    PdeInterior = 11,
    /// Boundary points; (step, block).
    PdeBoundary = 12,
    /// Evaluation points; (step, block).
    PdeEvaluation = 13,
    /// Nystrom sketches; (column, 0).
    Nystrom = 14,
    /// Structured sketches; (sketch ordinal, stage).
    StructuredSketch = 15,
    /// Synthetic matrices; (array ordinal, column).
    SyntheticMatrix = 16,
    /// Checks of an operator's laws.
    ConsistencyCheck = 17,
    /// Sharpness measurements.
    Sharpness = 18,
    /// Search over settings.
    Search = 19,
    /// Noise of an optimiser.
    OptimiserNoise = 20,
}

/// One output of SplitMix64 from state `z`.
fn split_mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const MULTIPLIER: u128 = 0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645;

/// One stream of random numbers.
///
/// ```
/// use numerics::rng::{Role, Stream};
/// let mut a = Stream::new(7, Role::Init, 0, 0);
/// let first = a.normal();
/// let saved = a.save();
/// let second = a.next_u64();
/// assert_eq!(Stream::new(7, Role::Init, 0, 0).normal(), first);
/// assert_eq!(Stream::restore(&saved)?.next_u64(), second);
/// # Ok::<(), numerics::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    state: u128,
    increment: u128,
}

impl Stream {
    /// The stream with this address.
    pub fn new(seed: u64, role: Role, i: u64, j: u64) -> Self {
        let key = Self::key(seed, role, i, j);
        let first = split_mix(key);
        let start = (u128::from(first) << 64) | u128::from(split_mix(first));
        let increment = (u128::from(key) << 1) | 1;
        let mut stream = Stream { state: start.wrapping_add(increment), increment };
        stream.step();
        stream
    }

    /// The key that an address is mixed to.
    pub fn key(seed: u64, role: Role, i: u64, j: u64) -> u64 {
        split_mix(split_mix(split_mix(split_mix(seed) ^ role as u64) ^ i) ^ j)
    }

    fn step(&mut self) {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(self.increment);
    }

    /// The next 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.step();
        let folded = (self.state >> 64) as u64 ^ self.state as u64;
        folded.rotate_right((self.state >> 122) as u32)
    }

    /// Uniform in `[0, 1)`, a multiple of `2^-53`.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        StandardNormal.sample(self)
    }

    /// Uniform among `0..n`, without bias; 0 if `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        // the high word of a product is uniform once the lowest 2^64 mod n low words are refused
        let refuse = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= refuse {
                return (product >> 64) as u64;
            }
        }
    }

    /// Fills with standard normals, drawn in double precision.
    pub fn fill_normal<T: Scalar>(&mut self, out: &mut [T]) {
        for v in out {
            *v = T::from_f64(self.normal());
        }
    }

    /// Fills with uniform numbers in `[0, 1)`; single precision takes the leading 24 bits, so 1 is never reached.
    pub fn fill_uniform<T: Scalar>(&mut self, out: &mut [T]) {
        let (shift, unit) = match T::DTYPE {
            DType::F32 => (40, 1.0 / (1u64 << 24) as f64),
            DType::F64 => (11, 1.0 / (1u64 << 53) as f64),
        };
        for v in out {
            *v = T::from_f64((self.next_u64() >> shift) as f64 * unit);
        }
    }

    /// Fills with signs: the bits of successive words, lowest first, a one giving -1.
    pub fn fill_signs<T: Scalar>(&mut self, out: &mut [T]) {
        for chunk in out.chunks_mut(64) {
            let bits = self.next_u64();
            // the shift of every entry is known beforehand, so that entries do not wait for each other
            for (shift, v) in chunk.iter_mut().enumerate() {
                *v = if (bits >> shift) & 1 == 1 { -T::ONE } else { T::ONE };
            }
        }
    }

    /// Permutes uniformly (Fisher-Yates, from the end).
    pub fn shuffle(&mut self, items: &mut [usize]) {
        for last in (1..items.len()).rev() {
            let pick = self.below(last as u64 + 1) as usize;
            items.swap(last, pick);
        }
    }

    /// The exact state as text.
    pub fn save(&self) -> String {
        format!("{:032x}:{:032x}", self.state, self.increment)
    }

    /// The stream whose state was saved.
    ///
    /// # Errors
    /// `Format` if the text is not such a state.
    pub fn restore(saved: &str) -> Result<Self, Error> {
        let bad = || Error::Format {
            path: "random state".into(),
            what: format!("expected two words of 32 hexadecimal digits, got {saved:?}"),
        };
        let word = |s: &str| {
            let digits = s.len() == 32 && s.bytes().all(|b| b.is_ascii_hexdigit());
            if digits { u128::from_str_radix(s, 16).map_err(|_| bad()) } else { Err(bad()) }
        };
        let (state, increment) = saved.split_once(':').ok_or_else(bad)?;
        let (state, increment) = (word(state)?, word(increment)?);
        if increment % 2 == 1 { Ok(Stream { state, increment }) } else { Err(bad()) }
    }
}

impl Serialize for Stream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.save())
    }
}

impl<'de> Deserialize<'de> for Stream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let saved = String::deserialize(deserializer)?;
        Stream::restore(&saved).map_err(serde::de::Error::custom)
    }
}

impl rand::TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.next_u64() as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next_u64())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// The law of a random probe `v`; each has `E[v v^T] = I`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Law {
    /// Independent signs.
    #[default]
    #[serde(alias = "signs")]
    Rademacher,
    /// Independent standard normals.
    #[serde(alias = "gauss")]
    Gaussian,
    /// Uniform on the sphere of radius `sqrt(n)`.
    Sphere,
    /// `sqrt(n)` times a uniformly chosen unit vector.
    Coordinates,
}

impl Law {
    /// The name used in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Law::Rademacher => "rademacher",
            Law::Gaussian => "gaussian",
            Law::Sphere => "sphere",
            Law::Coordinates => "coordinates",
        }
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Law {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        match s {
            "rademacher" | "signs" => Ok(Law::Rademacher),
            "gaussian" | "gauss" => Ok(Law::Gaussian),
            "sphere" => Ok(Law::Sphere),
            "coordinates" => Ok(Law::Coordinates),
            _ => Err(Error::Format {
                path: "law".into(),
                what: format!("expected signs (rademacher), gauss (gaussian), sphere or coordinates, got {s:?}"),
            }),
        }
    }
}

/// Fills `out` with the probe of this law at the address (seed, role, column, 0).
///
/// ```
/// use numerics::rng::{Law, Role, probe};
/// let mut v = [0.0f64; 100];
/// probe(Law::Sphere, 0, Role::RightProbe, 3, &mut v);
/// assert!((v.iter().map(|x| x * x).sum::<f64>() - 100.0).abs() < 1e-10);
/// ```
pub fn probe<T: Scalar>(law: Law, seed: u64, role: Role, column: u64, out: &mut [T]) {
    probe_at(law, seed, role, (column, 0), out);
}

/// The same at the address (seed, role, i, j).
pub fn probe_at<T: Scalar>(law: Law, seed: u64, role: Role, (i, j): (u64, u64), out: &mut [T]) {
    let mut stream = Stream::new(seed, role, i, j);
    let n = out.len();
    match law {
        Law::Rademacher => stream.fill_signs(out),
        Law::Gaussian => stream.fill_normal(out),
        Law::Sphere => {
            let mut square = 0.0;
            for chunk in out.chunks_mut(4096) {
                let mut part = 0.0;
                for v in chunk {
                    let x = stream.normal();
                    part += x * x;
                    *v = T::from_f64(x);
                }
                square += part;
            }
            if square > 0.0 {
                let factor = T::from_f64((n as f64 / square).sqrt());
                for v in out {
                    *v *= factor;
                }
            }
        }
        Law::Coordinates => {
            out.fill(T::ZERO);
            if n > 0 {
                out[stream.below(n as u64) as usize] = T::from_f64((n as f64).sqrt());
            }
        }
    }
}
