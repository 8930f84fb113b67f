//! Axes: from data to pixels, with round ticks.

use serde::Serialize;

/// How an axis maps numbers to lengths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// Equal differences have equal lengths.
    #[default]
    Linear,
    /// Equal ratios have equal lengths; numbers that are not positive are left out.
    Log,
}

impl Scale {
    /// The number can be shown on such an axis.
    pub(crate) fn shows(self, x: f64) -> bool {
        x.is_finite() && (self == Scale::Linear || x > 0.0)
    }
}

/// An axis laid out between two pixel positions.
pub(crate) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// Covers all showable numbers, with a little room; `None` if there are none.
    pub(crate) fn around(scale: Scale, data: impl Iterator<Item = f64>, from: f64, to: f64) -> Option<Self> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for x in data.filter(|&x| scale.shows(x)) {
            low = low.min(x);
            high = high.max(x);
        }
        if low > high {
            return None;
        }
        let (low, high) = match scale {
            Scale::Linear => {
                // Halves before subtracting: the span of two finite numbers need not be finite.
                let half = high / 2.0 - low / 2.0;
                let room = if half > 0.0 { 0.08 * half } else { (0.1 * low.abs()).max(1e-300) };
                ((low - room).max(f64::MIN), (high + room).min(f64::MAX))
            }
            Scale::Log => {
                let (a, b) = (low.log10(), high.log10());
                let room = if b > a { 0.04 * (b - a) } else { 0.5 };
                (a - room, b + room)
            }
        };
        Some(Axis { scale, low, high, from, to })
    }

    /// From zero (linear) or from the decade below (log) to the data's end: for bars.
    pub(crate) fn from_base(scale: Scale, data: &[f64], from: f64, to: f64) -> Option<Self> {
        let mut axis = match scale {
            Scale::Linear => Axis::around(scale, data.iter().copied().chain([0.0]), from, to)?,
            Scale::Log => Axis::around(scale, data.iter().copied(), from, to)?,
        };
        let least = data.iter().copied().filter(|&x| scale.shows(x)).fold(f64::INFINITY, f64::min);
        match scale {
            Scale::Linear if least >= 0.0 => axis.low = 0.0,
            Scale::Linear => {}
            Scale::Log => axis.low = (least.log10() - 0.3).floor(),
        }
        Some(axis)
    }

    /// The pixel of a number.
    pub(crate) fn at(&self, x: f64) -> f64 {
        let x = if self.scale == Scale::Log { x.log10() } else { x };
        let span = self.high - self.low;
        let part = if span.is_finite() {
            (x - self.low) / span
        } else {
            (x / 4.0 - self.low / 4.0) / (self.high / 4.0 - self.low / 4.0)
        };
        self.from + part * (self.to - self.from)
    }

    /// Where bars begin.
    pub(crate) fn base(&self) -> f64 {
        match self.scale {
            Scale::Linear => self.at(0.0),
            Scale::Log => self.from,
        }
    }

    /// Round numbers and their labels, about `count` of them.
    pub(crate) fn ticks(&self, count: usize) -> Vec<(f64, String)> {
        let mut ticks = match self.scale {
            Scale::Linear => linear_ticks(self.low, self.high, count),
            Scale::Log => log_ticks(self.low, self.high, count),
        };
        // Room below the smallest number may reach powers that are no numbers any more.
        ticks.retain(|t| self.scale.shows(t.0));
        ticks
    }
}

fn linear_ticks(low: f64, high: f64, count: usize) -> Vec<(f64, String)> {
    let raw = (high - low) / count.max(1) as f64;
    if !(raw > 0.0 && raw.is_finite()) {
        return vec![(low, number(low))];
    }
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|&s| s >= raw * 0.999).unwrap_or(raw);
    let (first, last) = ((low / step).ceil(), (high / step).floor());
    if !(step > 0.0 && last - first < 1000.0) {
        return vec![(low, number(low))];
    }
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let largest = low.abs().max(high.abs());
    let plain = largest < 1e6 && decimals <= 4;
    (0..=(last - first) as usize)
        .map(|k| {
            let x = (first + k as f64) * step;
            let x = if x == 0.0 { 0.0 } else { x };
            let label = if plain { minus(&format!("{x:.decimals$}")) } else { scientific(x, largest, step) };
            (x, label)
        })
        .collect()
}

/// Decades within which equal steps look equal on a logarithmic axis, too.
const NEARLY_LINEAR: f64 = 0.35;

/// `low` and `high` are logarithms.
fn log_ticks(low: f64, high: f64, count: usize) -> Vec<(f64, String)> {
    let (first, last) = (low.ceil() as i32, high.floor() as i32);
    let decades = last - first + 1;
    if decades >= 3 {
        let stride = (decades as usize).div_ceil(count.max(1)).max(1);
        return (first..=last)
            .filter(|e| e.rem_euclid(stride as i32) == 0)
            .map(|e| (power_of_ten(e), decade(e)))
            .collect();
    }
    if high - low < NEARLY_LINEAR {
        return linear_ticks(10f64.powf(low), 10f64.powf(high), count);
    }
    let multiples: &[f64] =
        if high - low >= 0.8 { &[1.0, 2.0, 5.0] } else { &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0] };
    let mut out = Vec::new();
    for e in low.floor() as i32..=last.max(low.floor() as i32) {
        for m in multiples {
            let x = m * power_of_ten(e);
            if (low..=high).contains(&x.log10()) {
                out.push((x, number(x)));
            }
        }
    }
    if out.is_empty() {
        let x = 10f64.powf((low + high) / 2.0);
        out.push((x, number(x)));
    }
    out
}

fn decade(e: i32) -> String {
    match e {
        0..=4 => format!("{}", 10i64.pow(e as u32)),
        -3..=-1 => format!("{:.*}", e.unsigned_abs() as usize, power_of_ten(e)),
        _ => format!("10{}", superscript(e)),
    }
}

/// `10^e`, also where it is subnormal.
fn power_of_ten(e: i32) -> f64 {
    format!("1e{e}").parse().unwrap_or(f64::NAN)
}

fn minus(text: &str) -> String {
    text.replace('-', "−")
}

fn superscript(e: i32) -> String {
    e.to_string()
        .chars()
        .map(|c| match c {
            '-' => '⁻',
            '0' => '⁰',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            d => char::from_u32('⁴' as u32 + (d as u32 - '4' as u32)).unwrap_or(d),
        })
        .collect()
}

/// A multiple of a power of ten common to the whole axis.
fn scientific(x: f64, largest: f64, step: f64) -> String {
    if x == 0.0 {
        return "0".into();
    }
    let e = largest.log10().floor() as i32;
    let digits = (f64::from(e) - step.log10().floor()).clamp(0.0, 6.0) as usize;
    let m = x / power_of_ten(e);
    minus(&format!("{m:.digits$}")) + "×10" + &superscript(e)
}

/// A number for people: four significant digits, scientific only where needed.
pub(crate) fn number(x: f64) -> String {
    if x == 0.0 {
        return "0".into();
    }
    if !x.is_finite() {
        return minus(&x.to_string());
    }
    let e = x.abs().log10().floor() as i32;
    if (-4..6).contains(&e) {
        let text = format!("{x:.*}", (3 - e).max(0) as usize);
        let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
        return minus(text);
    }
    let text = format!("{x:.3e}");
    let (m, e) = text.split_once('e').unwrap_or((&text, "0"));
    let m = m.trim_end_matches('0').trim_end_matches('.');
    minus(m) + "×10" + &superscript(e.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(t: &[(f64, String)]) -> Vec<&str> {
        t.iter().map(|(_, s)| s.as_str()).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(&linear_ticks(-0.04, 1.04, 5)), ["0.0", "0.5", "1.0"]);
        assert_eq!(labels(&linear_ticks(-1.1, 1.1, 5)), ["−1.0", "−0.5", "0.0", "0.5", "1.0"]);
        assert_eq!(labels(&linear_ticks(0.0, 2.1e7, 4)), ["0", "1×10⁷", "2×10⁷"]);
        assert_eq!(labels(&log_ticks(-6.1, 2.2, 5)), ["10⁻⁶", "10⁻⁴", "0.01", "1", "100"]);
        assert_eq!(labels(&log_ticks(0.1, 1.1, 5)), ["2", "5", "10"]);
        assert_eq!(labels(&log_ticks(-0.2, 0.05, 5)), ["0.7", "0.8", "0.9", "1.0", "1.1"]);
        assert_eq!(labels(&log_ticks(0.45, 0.56, 5)), ["3.0", "3.2", "3.4", "3.6"]);
    }

    #[test]
    fn numbers_read_well() {
        for (x, s) in [
            (0.0, "0"),
            (1.0, "1"),
            (-0.25, "−0.25"),
            (1234.5, "1234"),
            (123456.0, "123456"),
            (1e-9, "1×10⁻⁹"),
            (2.5e12, "2.5×10¹²"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(x), s);
        }
        assert_eq!(superscript(-4567890), "⁻⁴⁵⁶⁷⁸⁹⁰");
    }

    proptest! {
        #[test]
        fn any_data_gives_few_ticks_inside(data in proptest::collection::vec(any::<f64>(), 1..6), log in any::<bool>()) {
            let scale = if log { Scale::Log } else { Scale::Linear };
            if let Some(axis) = Axis::around(scale, data.iter().copied(), 0.0, 100.0) {
                let ticks = axis.ticks(6);
                prop_assert!(ticks.len() <= 20, "{} ticks", ticks.len());
                for x in data.into_iter().filter(|&x| scale.shows(x)) {
                    let p = axis.at(x);
                    prop_assert!((-60.0..=160.0).contains(&p), "{} at {}", x, p);
                }
            }
        }
    }
}
