//! Windows of the order-two source on which small language models are compared: 32 symbols, concentration 0.15.

use crate::io::{Array, ArrayData, Dataset, Error, Targets};
use optim::problems::MarkovSource;

/// Symbols of the source.
pub const MARKOV_SYMBOLS: usize = 32;
/// Symbols that a model sees before the one that it is to say.
pub const MARKOV_CONTEXT: usize = 4;
const NAME: &str = "markov";
const CONCENTRATION: f64 = 0.15;
const STREAMS: usize = 512;

/// Token ids `[N, 4]` with the next symbol as label, from 512 streams; `part` 1 is for training, 2 for validation.
///
/// ```
/// let train = osculate::data::markov(1024, 1)?;
/// assert_eq!(train.inputs().shape(), [1024, 4]);
/// # Ok::<(), osculate::io::Error>(())
/// ```
///
/// # Errors
/// No windows.
pub fn markov(count: usize, part: u64) -> Result<Dataset, Error> {
    let wrong = |e: String| Error::data(NAME, e);
    let source = MarkovSource::new(MARKOV_SYMBOLS, CONCENTRATION, 0).map_err(|e| wrong(e.to_string()))?;
    let windows = source.windows(count, MARKOV_CONTEXT + 1, STREAMS, part);
    let count = count.min(windows.len() / (MARKOV_CONTEXT + 1));
    let windows = || windows.chunks_exact(MARKOV_CONTEXT + 1).take(count);
    let inputs = windows().flat_map(|w| w[..MARKOV_CONTEXT].iter().map(|&s| s as i64)).collect();
    let inputs = Array::new(vec![count, MARKOV_CONTEXT], ArrayData::I64(inputs));
    let labels = windows().map(|w| w[MARKOV_CONTEXT] as i64).collect();
    let inputs = inputs.ok_or_else(|| wrong("windows of unequal length".into()))?;
    Dataset::new(NAME, inputs, Targets::Labels { shape: vec![count], labels }, None)
}
