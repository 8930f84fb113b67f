//! Comma-separated tables of numbers (RFC 4180): quoted fields, doubled quotes, line breaks inside quotes, an optional
//! byte-order mark, `\n` or `\r\n`.
//!
//! The first record is the header if any of its fields is not a number. Every other field must be a number; errors
//! name the line.

use super::Error;
use std::path::Path;

/// A rectangular table of numbers with named columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    name: String,
    header: Vec<String>,
    cells: Vec<f64>,
    lines: Vec<usize>,
    integral: Vec<bool>,
}

impl Table {
    /// Column names; `"0"`, `"1"`, … if the file has no header.
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// Number of rows.
    pub fn nrows(&self) -> usize {
        self.lines.len()
    }

    /// Number of columns.
    pub fn ncols(&self) -> usize {
        self.header.len()
    }

    /// All cells, row-major.
    pub fn cells(&self) -> &[f64] {
        &self.cells
    }

    /// One cell.
    pub fn get(&self, row: usize, col: usize) -> f64 {
        self.cells[row * self.ncols() + col]
    }

    /// The line of the file on which a row begins.
    pub fn line(&self, row: usize) -> usize {
        self.lines[row]
    }

    /// Every cell of the column was written as an integer (no point, no exponent).
    pub fn is_integral(&self, col: usize) -> bool {
        self.integral[col]
    }

    /// The index of a column given by name, or by number counted from zero if no column has that name.
    pub fn column(&self, which: &str) -> Result<usize, Error> {
        if let Some(i) = self.header.iter().position(|h| h == which) {
            return Ok(i);
        }
        which
            .parse()
            .ok()
            .filter(|&i: &usize| i < self.ncols())
            .ok_or_else(|| Error::data(&self.name, format!("no column {which:?}; there are {}", listed(&self.header))))
    }
}

fn listed(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let mut text = names.iter().take(SHOWN).map(|n| format!("{n:?}")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

/// Reads a table.
pub fn read(path: &Path) -> Result<Table, Error> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, &e))?;
    parse(&bytes, &path.display().to_string())
}

/// Parses bytes in memory; `name` goes into messages.
///
/// ```
/// use osculate::io::csv;
/// let t = csv::parse(b"x,\"label, true\"\n0.5,1\n1.5,0\n", "t.csv").unwrap();
/// assert_eq!(t.column("label, true").unwrap(), 1);
/// let e = csv::parse(b"x,y\n1,2\n1,two\n", "t.csv").unwrap_err();
/// assert_eq!(e.to_string(), "t.csv:3: column \"y\": \"two\" is not a number");
/// ```
pub fn parse(bytes: &[u8], name: &str) -> Result<Table, Error> {
    let at = |line: usize, what: String| Error::Line { path: name.to_owned(), line, what };
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let line = 1 + bytes[..e.valid_up_to()].iter().filter(|&&b| b == b'\n').count();
        at(line, "not UTF-8 text".into())
    })?;
    let records = split(text.strip_prefix('\u{feff}').unwrap_or(text)).map_err(|(line, what)| at(line, what.into()))?;
    let mut records = records.into_iter();
    let Some(first) = records.next() else {
        return Err(Error::format(name, "empty: a table needs a row of numbers"));
    };
    let width = first.fields.len();
    let named = first.fields.iter().any(|f| number(f).is_none());
    let header: Vec<String> = if named {
        let names: Vec<String> = first.fields.iter().map(|f| f.trim().to_owned()).collect();
        for (i, n) in names.iter().enumerate() {
            if names[..i].contains(n) {
                return Err(at(first.line, format!("column {n:?} appears twice in the header")));
            }
        }
        names
    } else {
        (0..width).map(|i| i.to_string()).collect()
    };
    let mut table =
        Table { name: name.to_owned(), header, cells: Vec::new(), lines: Vec::new(), integral: vec![true; width] };
    let rows = (!named).then_some(first).into_iter().chain(records);
    for r in rows {
        if r.fields.len() != width {
            let what = format!("{} fields, expected {width} as in the first line", r.fields.len());
            return Err(at(r.line, what));
        }
        for (col, f) in r.fields.iter().enumerate() {
            let x = number(f)
                .ok_or_else(|| at(r.line, format!("column {:?}: {:?} is not a number", table.header[col], brief(f))))?;
            table.integral[col] &= f.trim().parse::<i64>().is_ok();
            table.cells.push(x);
        }
        table.lines.push(r.line);
    }
    if table.lines.is_empty() {
        return Err(Error::format(name, "no rows after the header"));
    }
    Ok(table)
}

fn number(field: &str) -> Option<f64> {
    field.trim().parse().ok()
}

fn brief(field: &str) -> String {
    if field.chars().count() <= 40 { field.to_owned() } else { field.chars().take(37).chain("...".chars()).collect() }
}

struct Record {
    line: usize,
    fields: Vec<String>,
}

/// Splits text into records; blank lines are skipped.
fn split(text: &str) -> Result<Vec<Record>, (usize, &'static str)> {
    let mut records = Vec::new();
    let mut chars = text.chars().peekable();
    let mut line = 1;
    while chars.peek().is_some() {
        let started = line;
        let mut fields = Vec::new();
        let mut quoted_any = false;
        let mut more = true;
        while more {
            let mut field = String::new();
            if chars.next_if_eq(&'"').is_some() {
                quoted_any = true;
                loop {
                    match chars.next() {
                        None => return Err((started, "a quoted field does not end")),
                        Some('"') if chars.next_if_eq(&'"').is_some() => field.push('"'),
                        Some('"') => break,
                        Some(c) => {
                            line += usize::from(c == '\n');
                            field.push(c);
                        }
                    }
                }
                if !matches!(chars.peek(), None | Some(',' | '\n' | '\r')) {
                    return Err((line, "text follows a closing quote"));
                }
            }
            loop {
                match chars.next() {
                    Some(',') => break,
                    None => {
                        more = false;
                        break;
                    }
                    Some('\n') => {
                        line += 1;
                        more = false;
                        break;
                    }
                    Some('\r') if matches!(chars.peek(), None | Some('\n')) => {}
                    Some('"') => return Err((line, "a quote inside an unquoted field")),
                    Some(c) => field.push(c),
                }
            }
            fields.push(field);
        }
        let blank = fields.len() == 1 && !quoted_any && fields[0].trim().is_empty();
        if !blank {
            records.push(Record { line: started, fields });
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(text: &str) -> String {
        parse(text.as_bytes(), "t.csv").unwrap_err().to_string()
    }

    #[test]
    fn headers_quotes_and_line_ends() {
        let t = parse("\u{feff}\"a\"\"b\",\"x\ny\"\r\n1,\"2.5\"\r\n\r\n3,-4e1".as_bytes(), "t").unwrap();
        assert_eq!(t.header(), ["a\"b", "x\ny"]);
        assert_eq!(t.cells(), [1.0, 2.5, 3.0, -40.0]);
        assert_eq!((t.line(0), t.line(1)), (3, 5));
        assert!(t.is_integral(0) && !t.is_integral(1));
        let plain = parse(b"1,2\n3,4\n", "t").unwrap();
        assert_eq!(plain.header(), ["0", "1"]);
        assert_eq!((plain.nrows(), plain.column("1").unwrap(), plain.get(1, 0)), (2, 1, 3.0));
    }

    #[test]
    fn errors_name_the_line() {
        assert_eq!(message("a,b\n1,2\n3\n"), "t.csv:3: 1 fields, expected 2 as in the first line");
        assert_eq!(message("a,b\n1,\n"), "t.csv:2: column \"b\": \"\" is not a number");
        assert_eq!(message("a,a\n1,2\n"), "t.csv:1: column \"a\" appears twice in the header");
        assert_eq!(message("a,b\n1,\"2\n"), "t.csv:2: a quoted field does not end");
        assert_eq!(message("a,b\n1,\"2\"3\n"), "t.csv:2: text follows a closing quote");
        assert_eq!(message("a,b\n1,2\"3\n"), "t.csv:2: a quote inside an unquoted field");
        assert_eq!(message("\n\n"), "t.csv: empty: a table needs a row of numbers");
        assert_eq!(message("a,b\n"), "t.csv: no rows after the header");
        assert_eq!(parse(b"1\n2\n\xff", "t.csv").unwrap_err().to_string(), "t.csv:3: not UTF-8 text");
        let t = parse(b"a,b\n1,2\n", "t.csv").unwrap();
        assert_eq!(t.column("c").unwrap_err().to_string(), "t.csv: no column \"c\"; there are \"a\", \"b\"");
    }

    proptest! {
        #[test]
        fn random_text_never_panics(text in "[a0-9.,\"\r\n -]{0,80}", bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(text.as_bytes(), "t");
            let _ = parse(&bytes, "t");
        }

        #[test]
        fn numbers_come_back(rows in proptest::collection::vec((any::<i32>(), -1e300f64..1e300), 1..20)) {
            let text: String = rows.iter().map(|(a, b)| format!("{a},\"{b:?}\"\n")).collect();
            let t = parse(text.as_bytes(), "t").unwrap();
            for (i, (a, b)) in rows.iter().enumerate() {
                prop_assert_eq!(t.get(i, 0), f64::from(*a));
                prop_assert_eq!(t.get(i, 1), *b);
            }
        }
    }
}
