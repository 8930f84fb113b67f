//! Texts as token ids, one per character, cut into windows for a language model.
//!
//! A datum is `context` characters; its targets are the same places one character later. Training windows begin every
//! `stride` characters; held-out text is the end of the whole, cut into windows that do not overlap.

use crate::io::{Array, ArrayData, DEFAULT_LIMIT, Dataset, Error, Targets};
use std::ops::Range;
use std::path::Path;

const PROSE: &str = include_str!("../../data/prose.txt");

/// A text and its alphabet.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    name: String,
    alphabet: Vec<char>,
    ids: Vec<i64>,
}

/// Cicero, *De finibus bonorum et malorum*, book 1: 49 068 characters, 57 different ones.
///
/// ```
/// let text = osculate::data::prose()?;
/// let (train, test) = text.split(64, 8, 4907)?;
/// assert_eq!((text.alphabet().len(), test.len()), (57, 76));
/// assert_eq!(train.inputs().shape(), [5513, 64]);
/// # Ok::<(), osculate::io::Error>(())
/// ```
///
/// # Errors
/// None: the text is part of the program.
pub fn prose() -> Result<Text, Error> {
    Text::new("prose", PROSE)
}

impl Text {
    /// The alphabet is every character that occurs, in the order of code points.
    ///
    /// # Errors
    /// Fewer than two characters.
    pub fn new(name: &str, text: &str) -> Result<Self, Error> {
        let mut alphabet: Vec<char> = text.chars().collect();
        if alphabet.len() < 2 {
            return Err(Error::data(name, format!("a text of {} characters, expected at least 2", alphabet.len())));
        }
        alphabet.sort_unstable();
        alphabet.dedup();
        let empty = Text { name: name.to_owned(), alphabet, ids: Vec::new() };
        let ids = empty.encode(name, text)?;
        Ok(Text { ids, ..empty })
    }

    /// A text file, UTF-8.
    ///
    /// # Errors
    /// A file that cannot be read, is too large or is not UTF-8; fewer than two characters.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::new(&path.display().to_string(), &read(path)?)
    }

    /// Another file in this text's alphabet.
    ///
    /// # Errors
    /// As [`Text::read`]; a character that this text lacks.
    pub fn read_like(&self, path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let ids = self.encode(&name, &read(path)?)?;
        Ok(Text { name, alphabet: self.alphabet.clone(), ids })
    }

    fn encode(&self, name: &str, text: &str) -> Result<Vec<i64>, Error> {
        let id = |(i, c): (usize, char)| match self.alphabet.binary_search(&c) {
            Ok(id) => Ok(id as i64),
            Err(_) => Err(Error::data(name, format!("character {i} is {c:?}, which {} does not have", self.name))),
        };
        text.chars().enumerate().map(id).collect()
    }

    /// The characters in the order of their ids.
    pub fn alphabet(&self) -> &[char] {
        &self.alphabet
    }

    /// Number of characters.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// No characters; never after [`Text::new`].
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Windows of a part of the text, one every `stride` characters.
    ///
    /// # Errors
    /// A context or stride of 0; a part too short for one window.
    pub fn windows(&self, context: usize, stride: usize, part: Range<usize>) -> Result<Dataset, Error> {
        let wrong = |what: String| Err(Error::data(&self.name, what));
        if context == 0 || stride == 0 {
            return wrong(format!("windows of {context} every {stride} characters, expected at least 1 each"));
        }
        let ids = self.ids.get(part.clone()).unwrap_or_default();
        if ids.len() <= context {
            let what = format!("a part of {} characters, a window of {context} needs one more than that", ids.len());
            return wrong(what);
        }
        let starts = || (0..ids.len() - context).step_by(stride);
        let shape = vec![starts().count(), context];
        let gather = |shift: usize| starts().flat_map(|i| &ids[i + shift..i + shift + context]).copied().collect();
        let Some(inputs) = Array::new(shape.clone(), ArrayData::I64(gather(0))) else {
            return wrong("too many windows".into());
        };
        Dataset::new(&self.name, inputs, Targets::Labels { shape, labels: gather(1) }, None)
    }

    /// Training windows of all but the last `held_out` characters, and windows of those that do not overlap.
    ///
    /// # Errors
    /// As [`Text::windows`], for either part.
    pub fn split(&self, context: usize, stride: usize, held_out: usize) -> Result<(Dataset, Dataset), Error> {
        let at = self.len().saturating_sub(held_out);
        Ok((self.windows(context, stride, 0..at)?, self.windows(context, context, at..self.len())?))
    }
}

fn read(path: &Path) -> Result<String, Error> {
    let size = std::fs::metadata(path).map_err(|e| Error::io(path, &e))?.len();
    // An id takes eight times the room of a byte.
    if size > DEFAULT_LIMIT / 8 {
        return Err(Error::data(&path.display().to_string(), format!("{size} bytes are too many for a text")));
    }
    std::fs::read_to_string(path).map_err(|e| Error::io(path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(d: &Dataset) -> (Vec<i64>, Vec<i64>) {
        match d.targets() {
            Targets::Labels { labels, .. } => (d.inputs().to_integers().unwrap(), labels.clone()),
            Targets::Values { .. } => panic!("labels"),
        }
    }

    #[test]
    fn targets_are_the_next_characters() {
        let text = Text::new("t", "abcabd").unwrap();
        assert_eq!(text.alphabet(), ['a', 'b', 'c', 'd']);
        let (x, y) = ids(&text.windows(2, 1, 0..6).unwrap());
        assert_eq!(x, [0, 1, 1, 2, 2, 0, 0, 1]);
        assert_eq!(y, [1, 2, 2, 0, 0, 1, 1, 3]);
        let (train, test) = text.split(1, 2, 2).unwrap();
        assert_eq!((ids(&train).0, ids(&test)), (vec![0, 2], (vec![1], vec![3])));
        assert_eq!(train.inputs().shape(), [2, 1]);
    }

    #[test]
    fn the_prose_is_whole() {
        let text = prose().unwrap();
        assert_eq!((text.len(), text.alphabet().len()), (49_068, 57));
        let numbers = PROSE.chars().map(|c| text.alphabet.binary_search(&c).unwrap() as i64);
        assert_eq!(text.ids.iter().sum::<i64>(), numbers.sum::<i64>());
        let (train, test) = text.split(64, 64, 4907).unwrap();
        // Held out and training text share no character: 44161 and 4907 of them.
        assert_eq!((train.len(), test.len()), (690, 76));
    }

    #[test]
    fn what_does_not_fit_is_said() {
        assert!(Text::new("t", "a").is_err());
        let text = Text::new("t", "abcabd").unwrap();
        assert!(text.windows(0, 1, 0..6).is_err() && text.windows(1, 0, 0..6).is_err());
        assert!(text.windows(6, 1, 0..6).unwrap_err().to_string().contains("one more"));
        assert!(text.windows(1, 1, 4..9).is_err() && text.split(1, 1, 60).is_err());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.txt");
        std::fs::write(&path, "abx").unwrap();
        let e = text.read_like(&path).unwrap_err().to_string();
        assert!(e.contains("character 2 is 'x'"), "{e}");
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(Text::read(&path).is_err() && Text::read(&dir.path().join("none.txt")).is_err());
    }
}
