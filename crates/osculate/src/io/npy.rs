//! NumPy's `.npy`: one array (format versions 1 to 3, `numpy.lib.format`).
//!
//! Read: `f32 f64 i64 i32 u8 bool`, either byte order, C or Fortran order; the result is always row-major.
//! Written: version 1.0, little-endian, C order. The header is parsed by a grammar that accepts exactly what NumPy
//! writes: three keys, a tuple of non-negative integers, nothing after the dictionary but padding.

use super::{Array, ArrayData, DEFAULT_LIMIT, Element, Error};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

const MAGIC: &[u8; 6] = b"\x93NUMPY";
const MAX_HEADER: usize = 1 << 16;
const MAX_RANK: usize = 32;

/// Reads a file of at most [`DEFAULT_LIMIT`] bytes of data.
///
/// ```
/// use osculate::io::{Array, npy};
/// let bytes = npy::to_bytes(&Array::from_slice(&[1.0_f32, 2.0]));
/// assert_eq!(npy::parse(&bytes, "x.npy").unwrap().shape(), [2]);
/// assert!(npy::parse(&bytes[..bytes.len() - 1], "x.npy").is_err());
/// ```
pub fn read(path: &Path) -> Result<Array, Error> {
    let file = File::open(path).map_err(|e| Error::io(path, &e))?;
    read_from(&mut BufReader::new(file), &path.display().to_string(), DEFAULT_LIMIT)
}

/// Parses bytes in memory; `name` goes into messages.
pub fn parse(mut bytes: &[u8], name: &str) -> Result<Array, Error> {
    read_from(&mut bytes, name, DEFAULT_LIMIT)
}

/// Reads one array and demands that the reader ends with it; `limit` bounds the declared bytes of data.
pub fn read_from(reader: &mut impl Read, name: &str, limit: u64) -> Result<Array, Error> {
    let header = read_header(reader, name)?;
    let needed = header.bytes as u64;
    if needed > limit {
        return Err(Error::Limit { path: name.to_owned(), needed, limit });
    }
    // Grows with what arrives, so a header that promises more than the file holds costs nothing.
    let mut raw = Vec::new();
    (&mut *reader).take(needed).read_to_end(&mut raw).map_err(|e| failed(name, &e))?;
    if raw.len() < header.bytes {
        return Err(Error::format(name, format!("truncated: {} of {} bytes of data", raw.len(), header.bytes)));
    }
    let mut extra = [0u8; 1];
    match read_some(reader, &mut extra) {
        Ok(0) => {}
        Ok(_) => {
            return Err(Error::format(name, format!("bytes follow the {} bytes of data", header.bytes)));
        }
        Err(e) => return Err(failed(name, &e)),
    }
    let data = decode(&raw, &header, name)?;
    Array::new(header.shape, data).ok_or_else(|| Error::format(name, "shape and data differ"))
}

/// The file's bytes for an array.
pub fn to_bytes(a: &Array) -> Vec<u8> {
    let descr = match a.element() {
        Element::F32 => "<f4",
        Element::F64 => "<f8",
        Element::I64 => "<i8",
        Element::I32 => "<i4",
        Element::U8 => "|u1",
        Element::Bool => "|b1",
    };
    let dims: Vec<String> = a.shape().iter().map(usize::to_string).collect();
    let shape = if dims.len() == 1 { format!("({},)", dims[0]) } else { format!("({})", dims.join(", ")) };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut out = Vec::with_capacity(10 + header.len() + a.data().len() * a.element().size());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[1, 0]);
    out.extend_from_slice(&(header.len() as u16).to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    match a.data() {
        ArrayData::F32(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        ArrayData::F64(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        ArrayData::I64(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        ArrayData::I32(v) => v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes())),
        ArrayData::U8(v) => out.extend_from_slice(v),
        ArrayData::Bool(v) => out.extend(v.iter().map(|&x| u8::from(x))),
    }
    out
}

/// Writes an array; the file appears whole or not at all.
pub fn write(path: &Path, a: &Array) -> Result<(), Error> {
    super::write_whole(path, |w| w.write_all(&to_bytes(a)))
}

struct Header {
    element: Element,
    big: bool,
    fortran: bool,
    shape: Vec<usize>,
    bytes: usize,
}

fn failed(name: &str, e: &std::io::Error) -> Error {
    Error::format(name, format!("cannot be read: {e}"))
}

fn read_some(reader: &mut impl Read, buf: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match reader.read(buf) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn exact(reader: &mut impl Read, buf: &mut [u8], name: &str, part: &str) -> Result<(), Error> {
    reader.read_exact(buf).map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::format(name, format!("not a .npy file: ends inside {part}")),
        _ => failed(name, &e),
    })
}

fn read_header(reader: &mut impl Read, name: &str) -> Result<Header, Error> {
    let mut start = [0u8; 8];
    exact(reader, &mut start, name, "the magic string")?;
    if &start[..6] != MAGIC {
        return Err(Error::format(name, "not a .npy file: the magic string is missing"));
    }
    let length = match start[6] {
        1 => {
            let mut b = [0u8; 2];
            exact(reader, &mut b, name, "the header length")?;
            usize::from(u16::from_le_bytes(b))
        }
        2 | 3 => {
            let mut b = [0u8; 4];
            exact(reader, &mut b, name, "the header length")?;
            u32::from_le_bytes(b) as usize
        }
        v => {
            return Err(Error::format(name, format!("format version {v}.{} is unknown; 1 to 3 are read", start[7])));
        }
    };
    if length > MAX_HEADER {
        return Err(Error::format(name, format!("header of {length} bytes; at most {MAX_HEADER} are read")));
    }
    let mut text = vec![0u8; length];
    exact(reader, &mut text, name, "the header")?;
    let text = std::str::from_utf8(&text).map_err(|_| Error::format(name, "the header is not text"))?;
    parse_header(text).map_err(|what| Error::format(name, format!("header: {what}")))
}

fn parse_header(text: &str) -> Result<Header, String> {
    let mut c = Cursor { rest: text };
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    c.expect("{")?;
    while !c.eat("}") {
        let key = c.string()?;
        c.expect(":")?;
        let repeated = match key {
            "descr" => descr.replace(c.string().map_err(|_| "structured types are not read".to_owned())?).is_some(),
            "fortran_order" => {
                let value = if c.eat("True") {
                    true
                } else if c.eat("False") {
                    false
                } else {
                    return Err("fortran_order must be True or False".into());
                };
                fortran.replace(value).is_some()
            }
            "shape" => shape.replace(c.tuple()?).is_some(),
            other => return Err(format!("unknown key '{other}'")),
        };
        if repeated {
            return Err(format!("key '{key}' appears twice"));
        }
        if !c.eat(",") {
            c.expect("}")?;
            break;
        }
    }
    if !c.rest.trim().is_empty() {
        return Err("text follows the dictionary".into());
    }
    let descr: &str = descr.ok_or("key 'descr' is missing")?;
    let fortran = fortran.ok_or("key 'fortran_order' is missing")?;
    let shape: Vec<usize> = shape.ok_or("key 'shape' is missing")?;
    let (order, kind) = descr.split_at_checked(1).unwrap_or(("", ""));
    let element = match kind {
        "f4" => Element::F32,
        "f8" => Element::F64,
        "i8" => Element::I64,
        "i4" => Element::I32,
        "u1" => Element::U8,
        "b1" => Element::Bool,
        _ => {
            return Err(format!("element type '{descr}' is not read; f4, f8, i8, i4, u1, b1 are"));
        }
    };
    let big = match order {
        "<" => false,
        ">" => true,
        "|" if element.size() == 1 => false,
        _ => {
            return Err(format!("byte order of '{descr}' is unknown; '<' and '>' are read"));
        }
    };
    let bytes = shape
        .iter()
        .try_fold(element.size(), |n, &d| n.checked_mul(d))
        .filter(|&n| n <= isize::MAX as usize)
        .ok_or_else(|| format!("shape {shape:?} is too large to address"))?;
    Ok(Header { element, big, fortran, shape, bytes })
}

/// A reader of the few Python literals that a header is made of.
struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn eat(&mut self, token: &str) -> bool {
        let trimmed = self.rest.trim_start_matches([' ', '\t']);
        match trimmed.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.eat(token) { Ok(()) } else { Err(format!("expected '{token}'")) }
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let quote = if self.eat("'") {
            '\''
        } else if self.eat("\"") {
            '"'
        } else {
            return Err("expected a quoted string".into());
        };
        let end = self.rest.find(quote).ok_or("a string does not end")?;
        let (inside, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        Ok(inside)
    }

    fn tuple(&mut self) -> Result<Vec<usize>, String> {
        self.expect("(")?;
        let mut dims = Vec::new();
        let mut comma = true;
        while !self.eat(")") {
            if !comma {
                return Err("expected ',' or ')' in the shape".into());
            }
            if self.eat("-") {
                return Err("the shape holds a negative size".into());
            }
            self.rest = self.rest.trim_start_matches([' ', '\t']);
            let end = self.rest.find(|ch: char| !ch.is_ascii_digit()).unwrap_or(self.rest.len());
            let (digits, rest) = self.rest.split_at(end);
            if digits.is_empty() {
                return Err("the shape must be a tuple of integers".into());
            }
            let size = digits.parse().map_err(|_| format!("size {digits} is too large to address"))?;
            if dims.len() == MAX_RANK {
                return Err(format!("more than {MAX_RANK} axes"));
            }
            dims.push(size);
            self.rest = rest;
            comma = self.eat(",");
        }
        if dims.len() == 1 && !comma {
            return Err("the shape must be a tuple, as (3,)".into());
        }
        Ok(dims)
    }
}

fn decode(raw: &[u8], h: &Header, name: &str) -> Result<ArrayData, Error> {
    macro_rules! numbers {
        ($t:ty) => {{
            let one = |b: &[u8]| {
                let mut a = [0u8; size_of::<$t>()];
                a.copy_from_slice(b);
                if h.big { <$t>::from_be_bytes(a) } else { <$t>::from_le_bytes(a) }
            };
            row_major(raw.chunks_exact(size_of::<$t>()).map(one).collect(), h)
        }};
    }
    Ok(match h.element {
        Element::F32 => ArrayData::F32(numbers!(f32)),
        Element::F64 => ArrayData::F64(numbers!(f64)),
        Element::I64 => ArrayData::I64(numbers!(i64)),
        Element::I32 => ArrayData::I32(numbers!(i32)),
        Element::U8 => ArrayData::U8(row_major(raw.to_vec(), h)),
        Element::Bool => {
            if let Some(b) = raw.iter().find(|&&b| b > 1) {
                return Err(Error::format(name, format!("byte {b} in an array of truth values; 0 and 1 are right")));
            }
            ArrayData::Bool(row_major(raw.iter().map(|&b| b == 1).collect(), h))
        }
    })
}

/// Reorders a Fortran-ordered buffer.
fn row_major<T: Copy>(v: Vec<T>, h: &Header) -> Vec<T> {
    let shape = &h.shape;
    if !h.fortran || shape.len() < 2 || v.is_empty() {
        return v;
    }
    let mut strides = vec![1usize; shape.len()];
    for k in 1..shape.len() {
        strides[k] = strides[k - 1] * shape[k - 1];
    }
    let mut index = vec![0usize; shape.len()];
    let mut at = 0usize;
    let mut out = Vec::with_capacity(v.len());
    loop {
        out.push(v[at]);
        let mut k = shape.len();
        loop {
            if k == 0 {
                return out;
            }
            k -= 1;
            index[k] += 1;
            at += strides[k];
            if index[k] < shape[k] {
                break;
            }
            at -= strides[k] * shape[k];
            index[k] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut out = b"\x93NUMPY\x01\x00".to_vec();
        out.extend_from_slice(&(header.len() as u16).to_le_bytes());
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(data);
        out
    }

    fn message(header: &str, data: &[u8]) -> String {
        parse(&file(header, data), "a.npy").unwrap_err().to_string()
    }

    #[test]
    fn all_types_come_back() {
        for data in [
            ArrayData::F32(vec![1.5, -2.0, f32::MIN_POSITIVE, 0.0, 3.0, 4.0]),
            ArrayData::F64(vec![1.5, -2.0, 1e-300, 0.0, 3.0, 4.0]),
            ArrayData::I64(vec![i64::MIN, -1, 0, 1, 2, i64::MAX]),
            ArrayData::I32(vec![i32::MIN, -1, 0, 1, 2, i32::MAX]),
            ArrayData::U8(vec![0, 1, 2, 3, 4, 255]),
            ArrayData::Bool(vec![true, false, true, true, false, false]),
        ] {
            for shape in [vec![6], vec![2, 3], vec![1, 3, 2], vec![6, 1, 1, 1]] {
                let a = Array::new(shape, data.clone()).unwrap();
                assert_eq!(parse(&to_bytes(&a), "a").unwrap(), a);
            }
        }
        let scalar = Array::new(vec![], ArrayData::F64(vec![7.0])).unwrap();
        assert_eq!(parse(&to_bytes(&scalar), "a").unwrap(), scalar);
        let empty = Array::new(vec![0, 5], ArrayData::F32(vec![])).unwrap();
        assert_eq!(parse(&to_bytes(&empty), "a").unwrap(), empty);
        assert_eq!(to_bytes(&scalar).len() % 64, 8);
    }

    #[test]
    fn fortran_order_and_big_endian() {
        // Element (i, j, k) of shape (2, 3, 2) is 100 i + 10 j + k.
        let mut data = Vec::new();
        for k in 0..2_i32 {
            for j in 0..3 {
                for i in 0..2 {
                    data.extend_from_slice(&(100 * i + 10 * j + k).to_be_bytes());
                }
            }
        }
        let a = parse(&file("{'descr': '>i4', 'fortran_order': True, 'shape': (2, 3, 2)}", &data), "a").unwrap();
        let want: Vec<i32> = vec![0, 1, 10, 11, 20, 21, 100, 101, 110, 111, 120, 121];
        assert_eq!(a.data(), &ArrayData::I32(want));
    }

    #[test]
    fn versions_two_and_three() {
        let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }\n";
        for v in [2u8, 3] {
            let mut f = b"\x93NUMPY".to_vec();
            f.extend_from_slice(&[v, 0]);
            f.extend_from_slice(&(header.len() as u32).to_le_bytes());
            f.extend_from_slice(header.as_bytes());
            f.extend_from_slice(&[8, 9]);
            assert_eq!(parse(&f, "a").unwrap().data(), &ArrayData::U8(vec![8, 9]));
            f[6] = 4;
            assert!(parse(&f, "a").unwrap_err().to_string().contains("version 4.0 is unknown"));
        }
        let mut huge = b"\x93NUMPY\x02\x00".to_vec();
        huge.extend_from_slice(&u32::MAX.to_le_bytes());
        assert!(parse(&huge, "a").unwrap_err().to_string().contains("header of 4294967295 bytes"));
    }

    #[test]
    fn malformed_headers_are_named() {
        let ok = "'fortran_order': False, 'shape': (1,)}";
        for (header, part) in [
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}".to_owned(), "negative size"),
            (
                "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999999,)}".to_owned(),
                "too large to address",
            ),
            (
                "{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296)}".to_owned(),
                "too large to address",
            ),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (3)}".to_owned(), "must be a tuple"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (3 4)}".to_owned(), "expected ','"),
            ("{'descr': '<f8', 'fortran_order': 0, 'shape': (3,)}".to_owned(), "True or False"),
            ("{'descr': '<f8', 'shape': (3,)}".to_owned(), "'fortran_order' is missing"),
            (format!("{{'descr': '<f8', 'descr': '<f8', {ok}"), "appears twice"),
            (format!("{{'descr': '<f8', 'extra': '<f8', {ok}"), "unknown key"),
            (format!("{{'descr': '<c16', {ok}"), "'<c16' is not read"),
            (format!("{{'descr': '|f8', {ok}"), "byte order"),
            (format!("{{'descr': '', {ok}"), "is not read"),
            (format!("{{'descr': [('a', '<f8')], {ok}"), "structured types"),
            (format!("{{'descr': '<f8', {ok} import os"), "text follows"),
            ("os.system('true')".to_owned(), "expected '{'"),
        ] {
            let m = message(&header, &[0; 8]);
            assert!(m.starts_with("a.npy: header: ") && m.contains(part), "{header}: {m}");
        }
        let good = "{'descr': '<f8', 'fortran_order': False, 'shape': (2,)}";
        assert!(message(good, &[0; 15]).contains("truncated: 15 of 16"));
        assert!(message(good, &[0; 17]).contains("bytes follow"));
        assert!(message("{'descr': '|b1', 'fortran_order': False, 'shape': (1,)}", &[2]).contains("truth values"));
        assert!(parse(b"PK\x03\x04....", "a").unwrap_err().to_string().contains("magic"));
        assert!(parse(b"", "a").unwrap_err().to_string().contains("ends inside the magic"));
    }

    #[test]
    fn a_promise_beyond_the_limit_is_refused_before_reading() {
        let f = file("{'descr': '<f8', 'fortran_order': False, 'shape': (1000,)}", &[]);
        let e = read_from(&mut f.as_slice(), "a.npy", 7999).unwrap_err();
        assert_eq!(e, Error::Limit { path: "a.npy".into(), needed: 8000, limit: 7999 });
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes, "a");
        }

        #[test]
        fn random_headers_never_panic(header in "[{}'\"(),:0-9a-z<>|_ TF-]{0,120}", data in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse(&file(&header, &data), "a");
        }

        #[test]
        fn mutated_files_never_panic(at in 0usize..176, byte in any::<u8>(), cut in 0usize..200) {
            let mut f = to_bytes(&Array::new(vec![2, 3], ArrayData::F64(vec![1.0; 6])).unwrap());
            f[at] = byte;
            let _ = parse(&f, "a");
            let _ = parse(&f[..cut.min(f.len())], "a");
        }

        #[test]
        fn written_arrays_come_back(v in proptest::collection::vec(any::<i64>(), 0..40)) {
            let a = Array::new(vec![v.len()], ArrayData::I64(v)).unwrap();
            prop_assert_eq!(parse(&to_bytes(&a), "a").unwrap(), a);
        }
    }
}
