//! Text for people: aligned tables, counts with separators, units.

pub(super) use crate::plot::sparkline;

/// Which side of its column a cell keeps to.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Side {
    Left,
    Right,
}

/// A table with aligned columns, two spaces apart, without trailing blanks.
pub(super) fn table(header: &[(&str, Side)], rows: &[Vec<String>]) -> String {
    let width = |j: usize| {
        let cells = rows.iter().map(|r| r[j].chars().count());
        cells.chain([header[j].0.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut out = String::new();
        for (j, c) in cells.enumerate() {
            let blank = " ".repeat(widths[j] - c.chars().count());
            match header[j].1 {
                Side::Left => out += &format!("{c}{blank}  "),
                Side::Right => out += &format!("{blank}{c}  "),
            }
        }
        out.trim_end().to_owned() + "\n"
    };
    let mut out = line(&mut header.iter().map(|h| h.0));
    for r in rows {
        out += &line(&mut r.iter().map(String::as_str));
    }
    out
}

/// A count with a thin grouping: `1 234 567`.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

/// A number with a decimal prefix: `50.8 k`, `1.23 M`.
pub(super) fn prefixed(x: f64) -> String {
    let prefixes = ["", " k", " M", " G", " T", " P", " E"];
    let mut x = x;
    let mut i = 0;
    // 999.5 would print as 1000.
    while x.abs() >= 999.5 && i + 1 < prefixes.len() {
        x /= 1000.0;
        i += 1;
    }
    if i == 0 && x.fract() == 0.0 {
        return format!("{x}");
    }
    let decimals = if x.abs() < 9.995 { 2 } else { usize::from(x.abs() < 99.95) };
    format!("{x:.decimals$}{}", prefixes[i])
}

/// A shape as `[3, 4]`.
pub(super) fn shape(s: &[usize]) -> String {
    format!("{s:?}")
}

/// A span of time: `0.8 s`, `12 s`, `3:05 min`, `2:10:00 h`.
pub(super) fn span(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let s = seconds.round().min(1e15) as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{}:{:02} min", s / 60, s % 60),
        _ => format!("{}:{:02}:{:02} h", s / 3600, s / 60 % 60, s % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = vec![vec!["a".into(), "10".into()], vec!["→bcd".into(), "7".into()]];
        assert_eq!(table(&[("name", Side::Left), ("n", Side::Right)], &rows), "name   n\na     10\n→bcd   7\n");
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!([0, 999, 1000, 1234567].map(count), ["0", "999", "1 000", "1 234 567"]);
        assert_eq!(
            [0.0, 999.0, 999.9, 50800.0, 1.234e6, 5e20].map(prefixed),
            ["0", "999", "1.00 k", "50.8 k", "1.23 M", "500 E"]
        );
        assert_eq!([0.04, 12.2, 185.0, 7800.0].map(span), ["0.0 s", "12 s", "3:05 min", "2:10:00 h"]);
    }
}
