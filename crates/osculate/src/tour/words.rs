//! Numbers as the report's prose says them.

use crate::plot::number;

/// `97.3 %`.
pub(super) fn percent(part: f64) -> String {
    format!("{:.1}\u{a0}%", 100.0 * part)
}

/// Three significant digits.
pub(super) fn three(x: f64) -> String {
    let text = format!("{x:.2e}");
    number(text.parse().unwrap_or(x))
}

/// A small error as a power of ten with one digit.
pub(super) fn error(x: f64) -> String {
    let text = format!("{x:.0e}");
    number(text.parse().unwrap_or(x))
}

/// A span of time with a fitting unit.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{} µs", three(s * 1e6)),
        s if s < 1.0 => format!("{} ms", three(s * 1e3)),
        s => format!("{} s", three(s)),
    }
}

/// Layers as prose names them: with an arrow between sizes.
pub(super) fn layers(list: &[String]) -> String {
    list.join(", ").replace("->", "→")
}

/// `1 picture`, `2 pictures`.
pub(super) fn plural(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            (percent(0.9731), three(12345.0), error(3.7e-11)),
            ("97.3\u{a0}%".into(), "12300".into(), "4×10⁻¹¹".into())
        );
        assert_eq!([2.5e-5, 0.0123, 2.0].map(time), ["25 µs", "12.3 ms", "2 s"]);
        assert_eq!((plural(1, "layer"), plural(3, "layer")), ("1 layer".into(), "3 layers".into()));
    }
}
