//! NumPy's `.npz`: a zip archive of named `.npy` arrays, stored or deflated.
//!
//! An entry may expand to what its own `.npy` header declares and no further, and all entries together to the memory
//! limit, so an archive bomb costs at most that. Names are plain keys: path separators, `..` and repeated names are
//! refused (a zip may hold one name twice, and readers then disagree about which one counts).

use super::{Array, DEFAULT_LIMIT, Error, npy};
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;
use zip::ZipArchive;

/// The arrays of an archive in the order of its directory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Npz {
    entries: Vec<(String, Array)>,
}

impl Npz {
    /// The array called `name` (without `.npy`).
    pub fn get(&self, name: &str) -> Option<&Array> {
        self.entries.iter().find(|(n, _)| n == name).map(|(_, a)| a)
    }

    /// Names and arrays.
    pub fn entries(&self) -> &[(String, Array)] {
        &self.entries
    }

    /// Names and arrays, by value.
    pub fn into_entries(self) -> Vec<(String, Array)> {
        self.entries
    }
}

/// Reads an archive of at most [`DEFAULT_LIMIT`] bytes of decoded data.
pub fn read(path: &Path) -> Result<Npz, Error> {
    read_with(path, DEFAULT_LIMIT)
}

/// Reads an archive of at most `limit` bytes of decoded data.
pub fn read_with(path: &Path, limit: u64) -> Result<Npz, Error> {
    let file = File::open(path).map_err(|e| Error::io(path, &e))?;
    read_from(BufReader::new(file), &path.display().to_string(), limit)
}

/// Parses bytes in memory; `name` goes into messages.
///
/// ```
/// use osculate::io::{Array, npz};
/// let bytes = npz::to_bytes(&[("inputs", &Array::from_slice(&[1.0, 2.0]))]).unwrap();
/// let back = npz::parse(&bytes, "d.npz").unwrap();
/// assert_eq!(back.get("inputs").unwrap().shape(), [2]);
/// ```
pub fn parse(bytes: &[u8], name: &str) -> Result<Npz, Error> {
    read_from(Cursor::new(bytes), name, DEFAULT_LIMIT)
}

/// Reads an archive from any seekable source.
pub fn read_from<R: Read + Seek>(mut source: R, name: &str, limit: u64) -> Result<Npz, Error> {
    let broken = |e: &dyn std::fmt::Display| Error::format(name, format!("not a readable .npz archive: {e}"));
    let start = ZipArchive::new(&mut source).map_err(|e| broken(&e))?.central_directory_start();
    let names = directory(&mut source, start).map_err(|e| broken(&e))?;
    for (i, n) in names.iter().enumerate() {
        check_name(n).map_err(|what| Error::format(name, format!("entry {n:?}: {what}")))?;
        if names[..i].contains(n) {
            return Err(Error::format(name, format!("entry {n:?} appears twice")));
        }
    }
    let mut archive = ZipArchive::new(source).map_err(|e| broken(&e))?;
    if archive.len() != names.len() {
        return Err(broken(&"its directory contradicts itself"));
    }
    let mut left = limit;
    let mut entries = Vec::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).map_err(|e| broken(&e))?;
        let full = entry.name().to_owned();
        let key = check_name(&full).map_err(|what| Error::format(name, format!("entry {full:?}: {what}")))?.to_owned();
        let array = npy::read_from(&mut entry, &format!("{name}!{full}"), left).map_err(|e| match e {
            Error::Limit { path, needed, .. } => Error::Limit { path, needed: needed + (limit - left), limit },
            other => other,
        })?;
        left -= (array.data().len() * array.element().size()) as u64;
        entries.push((key, array));
    }
    Ok(Npz { entries })
}

/// The archive's bytes, deflated; fails on names that [`parse`] would refuse.
pub fn to_bytes(entries: &[(&str, &Array)]) -> Result<Vec<u8>, Error> {
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    let mut w = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let failed = |n: &str, e: &dyn std::fmt::Display| Error::format(n, e.to_string());
    for (i, (n, a)) in entries.iter().enumerate() {
        let full = format!("{n}.npy");
        check_name(&full).map_err(|what| Error::format(n, what))?;
        if entries[..i].iter().any(|(m, _)| m == n) {
            return Err(Error::format(n, "the name appears twice"));
        }
        let bytes = npy::to_bytes(a);
        w.start_file(full, options.large_file(bytes.len() > 1 << 31)).map_err(|e| failed(n, &e))?;
        w.write_all(&bytes).map_err(|e| failed(n, &e))?;
    }
    Ok(w.finish().map_err(|e| failed("archive", &e))?.into_inner())
}

/// Writes an archive; the file appears whole or not at all.
pub fn write(path: &Path, entries: &[(&str, &Array)]) -> Result<(), Error> {
    let bytes = to_bytes(entries)?;
    super::write_whole(path, |w| w.write_all(&bytes))
}

/// The key of an entry name, or what is wrong with it.
fn check_name(full: &str) -> Result<&str, &'static str> {
    let key = full.strip_suffix(".npy").ok_or("not a .npy entry")?;
    if key.is_empty() {
        Err("the name is empty")
    } else if key.contains(['/', '\\', ':', '\0']) || key.starts_with('.') {
        Err("names must be plain keys, without a path")
    } else {
        Ok(key)
    }
}

/// The entry names of the central directory at `start`, repeated ones included (`ZipArchive` keeps only the last).
fn directory<R: Read + Seek>(source: &mut R, start: u64) -> std::io::Result<Vec<String>> {
    source.seek(SeekFrom::Start(start))?;
    let mut names = Vec::new();
    loop {
        let mut signature = [0u8; 4];
        source.read_exact(&mut signature)?;
        if &signature != b"PK\x01\x02" {
            return Ok(names);
        }
        let mut fixed = [0u8; 42];
        source.read_exact(&mut fixed)?;
        let field = |at: usize| u64::from(u16::from_le_bytes([fixed[at], fixed[at + 1]]));
        let (name, extra, comment) = (field(24), field(26), field(28));
        let mut raw = vec![0u8; name as usize];
        source.read_exact(&mut raw)?;
        names.push(String::from_utf8_lossy(&raw).into_owned());
        source.seek_relative((extra + comment) as i64)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::ArrayData;
    use proptest::prelude::*;

    fn sample() -> Vec<u8> {
        let x = Array::new(vec![2, 3], ArrayData::F64(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])).unwrap();
        let y = Array::new(vec![2], ArrayData::I64(vec![3, -100])).unwrap();
        to_bytes(&[("inputs", &x), ("targets", &y)]).unwrap()
    }

    /// A zip with arbitrary entry names and contents.
    fn raw_zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut w = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        for (n, bytes) in entries {
            w.start_file(*n, options).unwrap();
            w.write_all(bytes).unwrap();
        }
        w.finish().unwrap().into_inner()
    }

    fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
        assert_eq!(from.len(), to.len());
        let at: Vec<usize> =
            bytes.windows(from.len()).enumerate().filter(|(_, w)| *w == from).map(|(i, _)| i).collect();
        assert_eq!(at.len(), 2, "once in the local header, once in the directory");
        at.iter().for_each(|&i| bytes[i..i + to.len()].copy_from_slice(to));
    }

    #[test]
    fn arrays_come_back() {
        let z = parse(&sample(), "d.npz").unwrap();
        assert_eq!(z.entries().len(), 2);
        assert_eq!(z.get("targets").unwrap().data(), &ArrayData::I64(vec![3, -100]));
        assert_eq!(z.get("inputs").unwrap().shape(), [2, 3]);
        assert!(z.get("weights").is_none());
    }

    #[test]
    fn files_written_by_numpy() {
        let z = parse(include_bytes!("../../tests/data/numpy.npz"), "numpy.npz").unwrap();
        let names: Vec<&str> = z.entries().iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["f4", "f8_fortran", "i8", "i4_big_endian", "u1", "b1", "scalar", "empty"]);
        assert_eq!(z.get("f4").unwrap().data(), &ArrayData::F32(vec![0.0, 0.5, 1.0, 1.5, 2.0, 2.5]));
        let f8 = z.get("f8_fortran").unwrap();
        assert_eq!(f8.shape(), [2, 3, 4]);
        assert_eq!(f8.data(), &ArrayData::F64((0..24).map(|i| f64::from(i) / 3.0).collect()));
        assert_eq!(z.get("i8").unwrap().data(), &ArrayData::I64(vec![i64::MIN, -100, i64::MAX]));
        assert_eq!(z.get("i4_big_endian").unwrap().data(), &ArrayData::I32(vec![1, -2]));
        assert_eq!(z.get("u1").unwrap().data(), &ArrayData::U8(vec![0, 255]));
        assert_eq!(z.get("b1").unwrap().data(), &ArrayData::Bool(vec![true, false]));
        assert_eq!(z.get("scalar").unwrap().shape(), [0usize; 0]);
        assert_eq!(z.get("empty").unwrap().shape(), [0, 3]);
    }

    #[test]
    fn path_tricks_and_foreign_entries() {
        let npy = npy::to_bytes(&Array::from_slice(&[1.0]));
        for n in ["../x.npy", "/etc/x.npy", "a/b.npy", "a\\b.npy", "C:x.npy", ".npy", "..npy", "readme.txt"] {
            let e = parse(&raw_zip(&[(n, &npy)]), "d.npz").unwrap_err();
            assert!(
                matches!(&e, Error::Format { path, what } if path == "d.npz" && what.contains("entry")),
                "{n}: {e}"
            );
        }
        assert!(to_bytes(&[("a/b", &Array::from_slice(&[1.0]))]).is_err());
    }

    #[test]
    fn repeated_names() {
        let npy = npy::to_bytes(&Array::from_slice(&[1.0]));
        let mut z = raw_zip(&[("aa.npy", &npy), ("ab.npy", &npy)]);
        replace(&mut z, b"ab.npy", b"aa.npy");
        let e = parse(&z, "d.npz").unwrap_err().to_string();
        assert_eq!(e, "d.npz: entry \"aa.npy\" appears twice");
        let a = Array::from_slice(&[1.0]);
        assert!(to_bytes(&[("a", &a), ("a", &a)]).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn bombs_are_capped() {
        // Far more data than the header declares.
        let mut npy = npy::to_bytes(&Array::from_slice(&[1.0]));
        npy.resize(8 << 20, 0);
        let e = parse(&raw_zip(&[("a.npy", &npy)]), "d.npz").unwrap_err().to_string();
        assert!(e.starts_with("d.npz!a.npy: bytes follow"), "{e}");
        // The limit is shared by the entries.
        let a = Array::new(vec![100], ArrayData::U8(vec![0; 100])).unwrap();
        let z = to_bytes(&[("a", &a), ("b", &a)]).unwrap();
        assert!(read_from(Cursor::new(&z), "d", 200).is_ok());
        let e = read_from(Cursor::new(&z), "d.npz", 199).unwrap_err();
        assert_eq!(e, Error::Limit { path: "d.npz!b.npy".into(), needed: 200, limit: 199 });
    }

    #[test]
    fn damage_is_found() {
        let good = sample();
        assert!(parse(&good[..good.len() - 1], "d").is_err());
        assert!(parse(b"", "d").is_err());
        // A flipped bit inside stored data breaks the checksum.
        let npy = npy::to_bytes(&Array::from_slice(&[1.0, 2.0]));
        let mut w = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        w.start_file("a.npy", stored).unwrap();
        w.write_all(&npy).unwrap();
        let mut z = w.finish().unwrap().into_inner();
        assert!(parse(&z, "d").is_ok());
        let at = z.windows(8).position(|b| b == 2.0f64.to_le_bytes()).unwrap();
        z[at] ^= 1;
        assert!(parse(&z, "d").unwrap_err().to_string().contains("cannot be read"));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes, "d");
        }

        #[test]
        fn mutated_archives_never_panic(edits in proptest::collection::vec((0usize..1000, any::<u8>()), 1..5), cut in 0usize..1000) {
            let mut z = sample();
            for (at, byte) in edits {
                let at = at % z.len();
                z[at] = byte;
            }
            let _ = read_from(Cursor::new(&z), "d", 1 << 20);
            let _ = read_from(Cursor::new(&z[..cut.min(z.len())]), "d", 1 << 20);
        }
    }
}
