//! The writer, and files that appear whole or not at all.

use super::{File, TensorData};
use crate::Error;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::Path;

fn header(file: &File) -> Result<(Vec<u8>, Vec<usize>), Error> {
    let bad = |what: String| Error::Format { path: "safetensors".into(), what };
    let mut seen = BTreeSet::from(["__metadata__"]);
    for t in &file.tensors {
        t.check()?;
        if !seen.insert(&t.name) {
            return Err(bad(format!("the name {:?} is reserved or occurs twice", t.name)));
        }
    }
    // wide elements first, so that every array is aligned to its element size
    let mut order: Vec<usize> = (0..file.tensors.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(file.tensors[*i].data.element_size()));
    let mut ranges = vec![(0usize, 0usize); order.len()];
    let mut at = 0usize;
    for i in &order {
        let data = &file.tensors[*i].data;
        ranges[*i] = (at, at + data.len() * data.element_size());
        at = ranges[*i].1;
    }
    let mut parts = Vec::with_capacity(file.tensors.len() + 1);
    if !file.metadata.is_empty() {
        parts.push(format!("\"__metadata__\":{}", json(&file.metadata)?));
    }
    for (t, (begin, end)) in file.tensors.iter().zip(&ranges) {
        let (name, shape, dtype) = (json(&t.name)?, json(&t.shape)?, t.data.type_name());
        parts.push(format!("{name}:{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{begin},{end}]}}"));
    }
    let mut text = format!("{{{}}}", parts.join(",")).into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok((text, order))
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|e| Error::Format { path: "safetensors".into(), what: e.to_string() })
}

fn emit(file: &File, header: &[u8], order: &[usize], w: &mut dyn Write) -> io::Result<()> {
    w.write_all(&(header.len() as u64).to_le_bytes())?;
    w.write_all(header)?;
    for i in order {
        match &file.tensors[*i].data {
            TensorData::F32(v) => v.iter().try_for_each(|x| w.write_all(&x.to_le_bytes()))?,
            TensorData::F64(v) => v.iter().try_for_each(|x| w.write_all(&x.to_le_bytes()))?,
            TensorData::I64(v) => v.iter().try_for_each(|x| w.write_all(&x.to_le_bytes()))?,
            TensorData::U8(v) => w.write_all(v)?,
        }
    }
    Ok(())
}

pub(super) fn to_bytes(file: &File) -> Result<Vec<u8>, Error> {
    let (header, order) = header(file)?;
    let mut out = Vec::new();
    emit(file, &header, &order, &mut out).map_err(|e| Error::Io { path: "memory".into(), what: e.to_string() })?;
    Ok(out)
}

pub(super) fn to_path(file: &File, path: &Path) -> Result<(), Error> {
    let (header, order) = header(file)?;
    atomic_write(path, |w| emit(file, &header, &order, w))
}

/// Writes `path` by way of `path.tmp`: written, synced, renamed. A failure leaves the old file as it was.
///
/// # Errors
/// `Io` if `write` or the system fails.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("note.txt");
/// numerics::store::atomic_write(&path, |w| w.write_all(b"whole"))?;
/// assert_eq!(std::fs::read(&path).unwrap(), b"whole");
/// # Ok::<(), numerics::Error>(())
/// ```
pub fn atomic_write(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Error> {
    let failed = |e: io::Error| Error::Io { path: path.display().to_string(), what: e.to_string() };
    let mut name: OsString = match path.file_name() {
        Some(name) => name.into(),
        None => return Err(failed(io::Error::other("the path names no file"))),
    };
    name.push(".tmp");
    let draft = path.with_file_name(name);
    let run = || -> io::Result<()> {
        let mut w = BufWriter::with_capacity(1 << 16, std::fs::File::create(&draft)?);
        write(&mut w)?;
        w.flush()?;
        w.get_ref().sync_all()?;
        drop(w);
        std::fs::rename(&draft, path)
    };
    match run() {
        Ok(()) => {
            // the rename itself is durable once the folder is synced; not every system can open one
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if let Ok(folder) = std::fs::File::open(folder) {
                let _ = folder.sync_all();
            }
            Ok(())
        }
        Err(e) => {
            let _ = std::fs::remove_file(&draft);
            Err(failed(e))
        }
    }
}
