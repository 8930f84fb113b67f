//! The history of a run: one JSON object a line, readable by anything.
//!
//! `{"step", "seconds", "loss", "lr", "metrics": {..}, "events": [..]}`. Numbers have all their digits; those that are not
//! finite are the strings "nan", "inf", "-inf". A checkpoint remembers how many lines there were; resuming cuts the
//! file there, so a line that was torn when the process was killed, and all lines after the checkpoint, go.

use super::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Steps done, this one included.
    pub step: u64,
    /// Seconds since the run began, pauses left out.
    pub seconds: f64,
    /// Loss of the step's batch, before the step.
    #[serde(serialize_with = "write_number", deserialize_with = "read_number")]
    pub loss: f64,
    /// Learning rate of the step.
    #[serde(serialize_with = "write_number", deserialize_with = "read_number")]
    pub lr: f64,
    /// Named numbers: `gradient_norm`, `train_loss`, `validation_accuracy`.
    #[serde(serialize_with = "write_numbers", deserialize_with = "read_numbers")]
    pub metrics: BTreeMap<String, f64>,
    /// What was out of the ordinary.
    pub events: Vec<Event>,
}

/// Something out of the ordinary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Its kind: `skipped`, `empty-batch`, `old-basis`, `diverged`, `settings-changed`.
    pub kind: String,
    /// In words.
    pub detail: String,
}

impl Event {
    pub(super) fn new(kind: &str, detail: impl Into<String>) -> Self {
        Event { kind: kind.to_owned(), detail: detail.into() }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Number {
    Finite(f64),
    Word(String),
}

impl From<f64> for Number {
    fn from(x: f64) -> Self {
        match x {
            x if x.is_finite() => Number::Finite(x),
            x if x.is_nan() => Number::Word("nan".into()),
            x => Number::Word(if x > 0.0 { "inf" } else { "-inf" }.into()),
        }
    }
}

impl Number {
    fn value(self) -> Result<f64, String> {
        match self {
            Number::Finite(x) => Ok(x),
            Number::Word(w) => match w.as_str() {
                "nan" => Ok(f64::NAN),
                "inf" => Ok(f64::INFINITY),
                "-inf" => Ok(f64::NEG_INFINITY),
                _ => Err(format!("{w:?} is not a number")),
            },
        }
    }
}

fn write_number<S: Serializer>(x: &f64, s: S) -> Result<S::Ok, S::Error> {
    Number::from(*x).serialize(s)
}

fn read_number<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    Number::deserialize(d)?.value().map_err(serde::de::Error::custom)
}

fn write_numbers<S: Serializer>(map: &BTreeMap<String, f64>, s: S) -> Result<S::Ok, S::Error> {
    s.collect_map(map.iter().map(|(k, &x)| (k, Number::from(x))))
}

fn read_numbers<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let read = |(k, x): (String, Number)| Ok((k, x.value().map_err(serde::de::Error::custom)?));
    BTreeMap::<String, Number>::deserialize(d)?.into_iter().map(read).collect()
}

/// Reads a history; a torn last line is left out.
///
/// # Errors
/// A file that cannot be read, or a whole line that is not a record.
pub fn read_history(path: &Path) -> Result<Vec<Record>, Error> {
    let text = std::fs::read_to_string(path).map_err(|e| crate::io::Error::io(path, &e))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let line = |(i, line): (usize, &str)| {
        let what = |e: serde_json::Error| format!("line {}: {e}", i + 1);
        serde_json::from_str(line).map_err(|e| Error::History { path: path.display().to_string(), what: what(e) })
    };
    whole.lines().enumerate().map(line).collect()
}

/// A history that is being written.
#[derive(Debug)]
pub(super) struct History {
    path: PathBuf,
    file: BufWriter<File>,
    lines: u64,
}

impl History {
    /// A new, empty history; one that has lines is not overwritten.
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let failed = |e: std::io::Error| Error::from(crate::io::Error::io(path, &e));
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() > 0 {
            let what = "holds the history of another run; delete it or choose another folder".into();
            return Err(Error::History { path: path.display().to_string(), what });
        }
        Ok(History { path: path.to_owned(), file: BufWriter::new(file), lines: 0 })
    }

    /// Cuts a history behind its first `lines` lines and goes on there.
    pub(super) fn resume(path: &Path, lines: u64) -> Result<Self, Error> {
        let failed = |e: std::io::Error| Error::from(crate::io::Error::io(path, &e));
        let wrong = |what: String| Error::History { path: path.display().to_string(), what };
        let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
        let mut reader = BufReader::new(&mut file);
        let (mut end, mut line) = (0u64, Vec::new());
        for i in 0..lines {
            line.clear();
            end += reader.read_until(b'\n', &mut line).map_err(failed)? as u64;
            if line.pop() != Some(b'\n') {
                return Err(wrong(format!("has {i} whole lines, the checkpoint was made after {lines}")));
            }
            serde_json::from_slice::<Record>(&line).map_err(|e| wrong(format!("line {}: {e}", i + 1)))?;
        }
        drop(reader);
        file.set_len(end).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok(History { path: path.to_owned(), file: BufWriter::new(file), lines })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Number of lines.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    pub(super) fn append(&mut self, record: &Record) -> Result<(), Error> {
        let failed = |e: std::io::Error| Error::from(crate::io::Error::io(&self.path, &e));
        let text = serde_json::to_string(record).map_err(|e| failed(e.into()))?;
        writeln!(self.file, "{text}").map_err(failed)?;
        self.lines += 1;
        Ok(())
    }

    /// Hands what was written to the system, so that others can follow.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.file.flush().map_err(|e| crate::io::Error::io(&self.path, &e).into())
    }

    /// Makes what was written durable.
    pub(super) fn sync(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.file.get_ref().sync_data().map_err(|e| crate::io::Error::io(&self.path, &e).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: u64) -> Record {
        let metrics =
            BTreeMap::from([("validation_loss".to_owned(), 0.1 + step as f64), ("odd".to_owned(), f64::INFINITY)]);
        Record {
            step,
            seconds: 0.25,
            loss: 1.0 / 3.0,
            lr: 1e-3,
            metrics,
            events: vec![Event::new("skipped", "a \"b\"")],
        }
    }

    #[test]
    fn lines_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        let mut h = History::create(&path).unwrap();
        (1..=3).for_each(|i| h.append(&record(i)).unwrap());
        h.append(&Record { loss: f64::NAN, ..record(4) }).unwrap();
        h.sync().unwrap();
        let read = read_history(&path).unwrap();
        assert_eq!(read[..3], [record(1), record(2), record(3)]);
        assert!(read[3].loss.is_nan());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with(r#"{"step":1,"seconds":0.25,"loss":0.3333333333333333,"lr":0.001,"metrics":{"odd":"inf""#),
            "{text}"
        );
        assert!(History::create(&path).unwrap_err().to_string().contains("history of another run"));
    }

    #[test]
    fn resuming_cuts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        let mut h = History::create(&path).unwrap();
        (1..=3).for_each(|i| h.append(&record(i)).unwrap());
        h.sync().unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 7]).unwrap();
        assert_eq!(read_history(&path).unwrap().len(), 2);
        let e = History::resume(&path, 3).unwrap_err().to_string();
        assert!(e.ends_with("has 2 whole lines, the checkpoint was made after 3"), "{e}");
        let mut h = History::resume(&path, 2).unwrap();
        h.append(&record(3)).unwrap();
        h.sync().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        std::fs::write(&path, "{\"step\": 1}\n").unwrap();
        assert!(History::resume(&path, 1).unwrap_err().to_string().contains("line 1: missing field"));
        assert!(read_history(&path).is_err());
        let mut h = History::resume(&path, 0).unwrap();
        h.sync().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        assert!(History::resume(&dir.path().join("no"), 0).is_err());
    }
}
