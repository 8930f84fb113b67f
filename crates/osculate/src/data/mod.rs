//! Data that come with the program: 1797 handwritten digits of 8 × 8 pixels, Latin prose (see `docs/data.md` for their origin), and windows of
//! an artificial source of symbols.

mod symbols;
mod text;

pub use symbols::{MARKOV_CONTEXT, MARKOV_SYMBOLS, markov};
pub use text::{Text, prose};

use crate::io::{Array, ArrayData, Dataset, Error, Targets};
use numerics::Scalar;
use numerics::rng::{Role, Stream};
use numerics::store::{File, TensorData};

const NAME: &str = "digits";
const BYTES: &[u8] = include_bytes!("../../data/digits.safetensors");
/// Pixels of one picture.
pub const PIXELS: usize = 64;
/// Number of classes.
pub const CLASSES: usize = 10;

/// The pictures and their labels, in the order of the source.
#[derive(Clone, Debug, PartialEq)]
pub struct Digits {
    images: Vec<u8>,
    labels: Vec<u8>,
}

/// Reads the digits.
///
/// ```
/// let digits = osculate::data::digits().unwrap();
/// let (train, test) = digits.split::<f64>(0, 1500).unwrap();
/// assert_eq!((train.len(), test.len()), (1500, 297));
/// ```
pub fn digits() -> Result<Digits, Error> {
    let file = File::parse(BYTES).map_err(|e| Error::format(NAME, e.to_string()))?;
    let bytes = |name: &str, shape: &[usize]| match file.get(name) {
        Some(t) if t.shape == shape => match &t.data {
            TensorData::U8(v) => Ok(v.clone()),
            _ => Err(Error::format(NAME, format!("{name:?} does not hold bytes"))),
        },
        _ => Err(Error::format(NAME, format!("no {name:?} of shape {shape:?}"))),
    };
    let n = file.get("labels").map_or(0, |t| t.data.len());
    Ok(Digits { images: bytes("images", &[n, PIXELS])?, labels: bytes("labels", &[n])? })
}

impl Digits {
    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// No pictures.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Grey values 0 to 16 of one picture, row by row.
    pub fn image(&self, i: usize) -> &[u8] {
        &self.images[i * PIXELS..(i + 1) * PIXELS]
    }

    /// What each picture shows.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// The pictures of these indices as inputs `[N, 64]` between 0 and 1, with their labels.
    pub fn subset<T: Scalar>(&self, indices: &[usize]) -> Result<Dataset, Error> {
        if let Some(i) = indices.iter().find(|&&i| i >= self.len()) {
            return Err(Error::data(NAME, format!("no picture {i}, there are {}", self.len())));
        }
        let pixels: Vec<T> =
            indices.iter().flat_map(|&i| self.image(i).iter().map(|&p| T::from_f64(f64::from(p) / 16.0))).collect();
        let data: ArrayData = Array::from_slice(&pixels).into_data();
        let n = indices.len();
        let inputs = Array::new(vec![n, PIXELS], data).ok_or_else(|| Error::data(NAME, "pictures of unequal size"))?;
        let labels = indices.iter().map(|&i| i64::from(self.labels[i])).collect();
        Dataset::new(NAME, inputs, Targets::Labels { shape: vec![n], labels }, None)
    }

    /// A training part of `train` pictures and a test part of the others, shuffled by the seed alone.
    pub fn split<T: Scalar>(&self, seed: u64, train: usize) -> Result<(Dataset, Dataset), Error> {
        if train == 0 || train >= self.len() {
            return Err(Error::data(NAME, format!("a training part of {train}, expected 1 to {}", self.len() - 1)));
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        Stream::new(seed, Role::Shuffle, 0, 0).shuffle(&mut order);
        Ok((self.subset::<T>(&order[..train])?, self.subset::<T>(&order[train..])?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::LabelRules;

    #[test]
    fn the_digits_are_whole() {
        let d = digits().unwrap();
        assert_eq!(d.len(), 1797);
        assert_eq!(d.images.iter().map(|&p| u64::from(p)).sum::<u64>(), 561_718);
        let counts: Vec<usize> = (0..10u8).map(|c| d.labels().iter().filter(|&&l| l == c).count()).collect();
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        assert_eq!(d.image(0)[..8], [0, 0, 5, 13, 9, 1, 0, 0]);
        let all = d.subset::<f32>(&(0..d.len()).collect::<Vec<_>>()).unwrap();
        assert_eq!(all.check_labels(LabelRules::new(CLASSES)).unwrap(), 1797);
        assert_eq!(all.inputs().shape(), [1797, 64]);
        assert_eq!(all.inputs().to_floats::<f64>().unwrap()[3], 13.0 / 16.0);
    }

    #[test]
    fn the_split_is_a_partition_that_the_seed_decides() {
        let d = digits().unwrap();
        let (a, b) = d.split::<f64>(0, 1500).unwrap();
        assert_eq!(d.split::<f64>(0, 1500).unwrap(), (a.clone(), b.clone()));
        assert_ne!(d.split::<f64>(1, 1500).unwrap().0, a);
        let sum = |s: &Dataset| s.inputs().to_floats::<f64>().unwrap().iter().sum::<f64>();
        assert_eq!(sum(&a) + sum(&b), 561_718.0 / 16.0);
        assert_ne!(a.inputs(), d.subset::<f64>(&(0..1500).collect::<Vec<_>>()).unwrap().inputs());
    }

    #[test]
    fn impossible_requests() {
        let d = digits().unwrap();
        assert!(d.split::<f64>(0, 0).is_err() && d.split::<f64>(0, 1797).is_err());
        assert!(d.subset::<f64>(&[1797]).unwrap_err().to_string().contains("no picture 1797"));
        assert!(d.subset::<f64>(&[]).is_err());
    }
}
