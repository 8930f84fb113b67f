//! Ramps of colours for cells, on light and on dark pages.
//!
//! A cell carries its light colour as an attribute and a class; the style sheet of a report replaces the colours of the
//! classes on a dark page, so that what is near zero always looks like the page and what is large stands out.

use std::fmt::Write;

/// Steps of a ramp on one side of zero.
pub(crate) const LEVELS: i32 = 48;

/// How a level becomes a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ramp {
    /// Blue below zero, red above.
    Signed,
    /// From the page's colour to ink.
    Ink,
    /// Dark to bright, the same on both pages.
    Glow,
}

type Stops = [[f64; 3]];

const COLD: [[f64; 3]; 4] = [[246., 246., 244.], [152., 190., 226.], [58., 116., 190.], [18., 44., 104.]];
const WARM: [[f64; 3]; 4] = [[246., 246., 244.], [243., 176., 140.], [208., 78., 60.], [110., 12., 34.]];
const INK: [[f64; 3]; 4] = [[244., 242., 236.], [176., 184., 200.], [92., 104., 134.], [22., 28., 52.]];
const COLD_DARK: [[f64; 3]; 4] = [[31., 36., 46.], [38., 78., 138.], [72., 140., 226.], [190., 222., 255.]];
const WARM_DARK: [[f64; 3]; 4] = [[31., 36., 46.], [136., 50., 52.], [226., 98., 74.], [255., 214., 182.]];
const INK_DARK: [[f64; 3]; 4] = [[38., 43., 54.], [92., 104., 130.], [164., 176., 204.], [240., 243., 250.]];
const GLOW: [[f64; 3]; 5] =
    [[20., 22., 44.], [46., 62., 128.], [30., 130., 140.], [122., 190., 96.], [250., 232., 120.]];

impl Ramp {
    /// Class letter, light stops and dark stops of a side.
    fn side(self, negative: bool) -> (char, &'static Stops, &'static Stops) {
        match (self, negative) {
            (Ramp::Signed, true) => ('c', &COLD, &COLD_DARK),
            (Ramp::Signed, false) => ('w', &WARM, &WARM_DARK),
            (Ramp::Ink, _) => ('k', &INK, &INK_DARK),
            (Ramp::Glow, _) => ('g', &GLOW, &GLOW),
        }
    }

    /// Attributes of a filled shape of this level.
    pub(crate) fn fill(self, level: i32) -> String {
        let (letter, light, _) = self.side(level < 0);
        format!(r#"class="q{letter}{}" fill="{}""#, level.abs(), mix(light, part(level)))
    }

    /// Attributes of a text upon a shape of this level.
    pub(crate) fn upon(self, level: i32) -> &'static str {
        let dark_cell = match self {
            Ramp::Glow => level.abs() < LEVELS / 2,
            _ => level.abs() > LEVELS / 2,
        };
        if dark_cell { r##"class="qhi" fill="#ffffff""## } else { r##"class="qlo" fill="#1f2430""## }
    }
}

/// The rules that give every class its colour on a dark page.
pub(crate) fn dark_rules() -> String {
    let mut out = String::from(".qhi{fill:#10131a}.qlo{fill:#e6e8ee}");
    for (ramp, negative) in [(Ramp::Signed, true), (Ramp::Signed, false), (Ramp::Ink, false)] {
        let (letter, _, dark) = ramp.side(negative);
        for level in 0..=LEVELS {
            // Writing to a String cannot fail.
            let _ = write!(out, ".q{letter}{level}{{fill:{}}}", mix(dark, part(level)));
        }
    }
    out
}

fn part(level: i32) -> f64 {
    f64::from(level.abs()) / f64::from(LEVELS)
}

fn mix(stops: &Stops, t: f64) -> String {
    let at = t.clamp(0.0, 1.0) * (stops.len() - 1) as f64;
    let k = (at as usize).min(stops.len() - 2);
    let f = at - k as f64;
    let c: Vec<u8> = (0..3).map(|i| (stops[k][i] * (1.0 - f) + stops[k + 1][i] * f).round() as u8).collect();
    format!("#{:02x}{:02x}{:02x}", c[0], c[1], c[2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ramps_meet_at_zero_and_end_in_their_colours() {
        let r = Ramp::Signed;
        let light = |level| r.fill(level).split('"').nth(3).map(str::to_owned);
        assert_eq!([0, LEVELS, -LEVELS].map(light), ["#f6f6f4", "#6e0c22", "#122c68"].map(|c| Some(c.to_owned())));
        assert_eq!(r.fill(-3).split(' ').next(), Some(r#"class="qc3""#));
        assert_eq!(COLD_DARK[0], WARM_DARK[0]);
    }

    #[test]
    fn every_class_has_a_dark_colour() {
        let rules = dark_rules();
        for level in -LEVELS..=LEVELS {
            for ramp in [Ramp::Signed, Ramp::Ink] {
                let fill = ramp.fill(level);
                let class = fill.split('"').nth(1).unwrap();
                assert!(rules.contains(&format!(".{class}{{")), "{class}");
            }
        }
    }
}
