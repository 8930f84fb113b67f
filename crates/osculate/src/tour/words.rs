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

/// Bars of eight heights for a line of numbers.
pub(super) fn sparkline(values: &[f64], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    if values.is_empty() || width == 0 {
        return String::new();
    }
    let n = width.min(values.len());
    let means: Vec<f64> = (0..n)
        .map(|k| {
            let part = &values[k * values.len() / n..(k + 1) * values.len() / n];
            part.iter().sum::<f64>() / part.len() as f64
        })
        .collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let scale = if high > low { 7.0 / (high - low) } else { 0.0 };
    means.iter().map(|m| BARS[((m - low) * scale).round().clamp(0.0, 7.0) as usize]).collect()
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

    #[test]
    fn sparklines_follow_the_numbers() {
        assert_eq!(sparkline(&[0.0, 7.0, 3.0], 9), "▁█▄");
        assert_eq!(sparkline(&[1.0; 4], 2), "▁▁");
        assert_eq!(sparkline(&[], 5), "");
        assert_eq!(sparkline(&[8.0, 8.0, 0.0, 0.0], 2), "█▁");
    }
}
