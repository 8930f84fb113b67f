//! Matrices as coloured cells: Hessians, factors, attention blocks.

use super::axis::number;
use super::svg::{Anchor, INK, SOFT, Svg, px};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

const SIDE: f64 = 460.0;
const MAX_CELLS: usize = 128;
const LEVELS: i32 = 48;

/// How entries become colours.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeatScale {
    /// Blue below zero, red above, linear in the entry.
    Diverging,
    /// Blue below zero, red above, logarithmic in the magnitude over this many decades.
    SignedLog {
        /// Decades below the largest magnitude that are told apart.
        decades: f64,
    },
    /// Dark to bright, logarithmic in the magnitude over this many decades.
    LogMagnitude {
        /// Decades below the largest magnitude that are told apart.
        decades: f64,
    },
}

/// A matrix drawn as cells; matrices above 128 rows or columns are shown in blocks by their largest magnitude.
///
/// ```
/// use osculate::plot::{HeatMap, HeatScale};
/// let map = HeatMap::new("H", 2, 2, vec![1.0, -0.5, -0.5, 2.0], HeatScale::Diverging).unwrap();
/// assert!(map.svg().contains("<path"));
/// assert!(HeatMap::new("H", 2, 2, vec![1.0], HeatScale::Diverging).is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeatMap {
    title: String,
    nrows: usize,
    ncols: usize,
    scale: HeatScale,
    /// Bounds of blocks (for instance of tensors) in rows and columns, drawn as thin lines.
    bounds: Vec<usize>,
    /// Shown cells: rows, columns, entries.
    shown: (usize, usize, Vec<f64>),
}

impl HeatMap {
    /// Takes a row-major matrix; `None` if its size is not `nrows * ncols`.
    pub fn new(
        title: impl Into<String>,
        nrows: usize,
        ncols: usize,
        entries: Vec<f64>,
        scale: HeatScale,
    ) -> Option<Self> {
        (nrows.checked_mul(ncols)? == entries.len()).then(|| HeatMap {
            title: title.into(),
            nrows,
            ncols,
            scale,
            bounds: Vec::new(),
            shown: downsample(nrows, ncols, &entries),
        })
    }

    /// Draws lines at these rows and columns.
    pub fn with_bounds(mut self, bounds: impl IntoIterator<Item = usize>) -> Self {
        self.bounds = bounds.into_iter().collect();
        self
    }

    /// Its title.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The map as an SVG document.
    pub fn svg(&self) -> String {
        let (rows, cols, cells) = (self.shown.0, self.shown.1, &self.shown.2);
        let longest = self.nrows.max(self.ncols).max(1) as f64;
        let w = (SIDE * self.ncols as f64 / longest).max(24.0);
        let h = (SIDE * self.nrows as f64 / longest).max(24.0);
        let (left, top) = (52.0, 44.0);
        let bar_height = h.max(160.0);
        let mut svg = Svg::new(left + w + 130.0, top + bar_height + 40.0);
        svg.title(16.0, 25.0, &self.title);
        let top_value = cells.iter().filter(|x| x.is_finite()).fold(0.0f64, |m, x| m.max(x.abs()));
        if cells.is_empty() || top_value == 0.0 && cells.iter().all(|x| !x.is_finite()) {
            svg.text(left + w / 2.0, top + 30.0, Anchor::Middle, 14.0, SOFT, "no data");
            return svg.finish(&self.title);
        }
        // One path per colour, each a set of horizontal runs.
        let mut paths: BTreeMap<Option<i32>, String> = BTreeMap::new();
        let (cw, ch) = (w / cols as f64, h / rows as f64);
        for i in 0..rows {
            let mut j = 0;
            while j < cols {
                let level = self.level(cells[i * cols + j], top_value);
                let start = j;
                while j < cols && self.level(cells[i * cols + j], top_value) == level {
                    j += 1;
                }
                let (x, y) = (px(left + cw * start as f64), px(top + ch * i as f64));
                // Writing to a String cannot fail.
                let d = paths.entry(level).or_default();
                let _ = write!(d, "M{x} {y}h{0}v{1}h-{0}z", px(cw * (j - start) as f64), px(ch));
            }
        }
        for (level, d) in &paths {
            let fill = level.map_or_else(|| "#9a9a9a".to_owned(), |l| self.colour(l));
            svg.path(d, &format!("fill:{fill}"), r#"shape-rendering="crispEdges""#);
        }
        for &b in &self.bounds {
            if b > 0 && b < self.ncols {
                let x = left + w * b as f64 / self.ncols as f64;
                svg.line((x, top), (x, top + h), "rgba(120,120,120,0.55)", 0.8);
            }
            if b > 0 && b < self.nrows {
                let y = top + h * b as f64 / self.nrows as f64;
                svg.line((left, y), (left + w, y), "rgba(120,120,120,0.55)", 0.8);
            }
        }
        let frame = format!("M{left} {top}h{}v{}h-{}z", px(w), px(h), px(w));
        svg.path(&frame, &format!("fill:none;stroke:{SOFT};stroke-width:1"), "");
        for (at, label, anchor) in [(left, 0, Anchor::Start), (left + w, self.ncols, Anchor::End)] {
            svg.text(at, top + h + 17.0, anchor, 12.0, SOFT, &label.to_string());
        }
        svg.text(left - 7.0, top + 11.0, Anchor::End, 12.0, SOFT, "0");
        if self.nrows > 1 {
            svg.text(left - 7.0, top + h, Anchor::End, 12.0, SOFT, &self.nrows.to_string());
        }
        if (rows, cols) != (self.nrows, self.ncols) {
            let note = format!("{} × {} shown as {rows} × {cols} blocks", self.nrows, self.ncols);
            svg.text(left + w / 2.0, top + h + 33.0, Anchor::Middle, 11.0, SOFT, &note);
        }
        self.colour_bar(&mut svg, left + w + 26.0, top, bar_height, top_value);
        svg.finish(&self.title)
    }

    fn colour_bar(&self, svg: &mut Svg, x: f64, top: f64, height: f64, top_value: f64) {
        let low = if matches!(self.scale, HeatScale::LogMagnitude { .. }) { 0 } else { -LEVELS };
        let steps = LEVELS - low + 1;
        let step = height / f64::from(steps);
        for k in 0..steps {
            let y = top + height - step * f64::from(k + 1);
            let d = format!("M{} {}h16v{}h-16z", px(x), px(y), px(step + 0.3));
            svg.path(&d, &format!("fill:{}", self.colour(low + k)), r#"shape-rendering="crispEdges""#);
        }
        let at = |part: f64| top + height * (1.0 - part);
        let ticks: Vec<(f64, f64)> = match self.scale {
            HeatScale::Diverging => [-1.0, -0.5, 0.0, 0.5, 1.0].map(|t| ((t + 1.0) / 2.0, t * top_value)).to_vec(),
            HeatScale::SignedLog { decades } => {
                let edge = top_value * 10f64.powf(-decades);
                vec![(0.0, -top_value), (0.48, -edge), (0.52, edge), (1.0, top_value)]
            }
            HeatScale::LogMagnitude { decades } => {
                [0.0, 0.25, 0.5, 0.75, 1.0].map(|t| (t, top_value * 10f64.powf((t - 1.0) * decades))).to_vec()
            }
        };
        for (part, value) in ticks {
            let nudge = match self.scale {
                HeatScale::SignedLog { .. } if (0.4..0.5).contains(&part) => 8.0,
                HeatScale::SignedLog { .. } if (0.5..0.6).contains(&part) => -8.0,
                _ => 0.0,
            };
            svg.text(x + 23.0, at(part) + 4.0 + nudge, Anchor::Start, 12.0, INK, &short(value));
        }
    }

    /// The colour level of an entry: -LEVELS to LEVELS, or 0 to LEVELS; `None` for NaN and infinity.
    fn level(&self, x: f64, top: f64) -> Option<i32> {
        if !x.is_finite() {
            return None;
        }
        let part = if top > 0.0 { x / top } else { 0.0 };
        let log = |decades: f64| {
            if part == 0.0 { 0.0 } else { (1.0 + part.abs().log10() / decades.max(1e-9)).clamp(0.0, 1.0) }
        };
        let signed = match self.scale {
            HeatScale::Diverging => part,
            HeatScale::SignedLog { decades } => log(decades) * part.signum(),
            HeatScale::LogMagnitude { decades } => log(decades),
        };
        Some((signed * f64::from(LEVELS)).round() as i32)
    }

    fn colour(&self, level: i32) -> String {
        const COLD: [[f64; 3]; 4] = [[246., 246., 244.], [152., 190., 226.], [58., 116., 190.], [18., 44., 104.]];
        const WARM: [[f64; 3]; 4] = [[246., 246., 244.], [243., 176., 140.], [208., 78., 60.], [110., 12., 34.]];
        const DARK: [[f64; 3]; 5] =
            [[20., 22., 44.], [46., 62., 128.], [30., 130., 140.], [122., 190., 96.], [250., 232., 120.]];
        let t = f64::from(level.abs()) / f64::from(LEVELS);
        match self.scale {
            HeatScale::LogMagnitude { .. } => mix(&DARK, t),
            _ if level < 0 => mix(&COLD, t),
            _ => mix(&WARM, t),
        }
    }
}

/// A number for the colour bar: two significant digits.
fn short(x: f64) -> String {
    let text = format!("{x:.1e}");
    number(text.parse().unwrap_or(x))
}

fn mix(stops: &[[f64; 3]], t: f64) -> String {
    let at = t.clamp(0.0, 1.0) * (stops.len() - 1) as f64;
    let k = (at as usize).min(stops.len() - 2);
    let f = at - k as f64;
    let c: Vec<u8> = (0..3).map(|i| (stops[k][i] * (1.0 - f) + stops[k + 1][i] * f).round() as u8).collect();
    format!("#{:02x}{:02x}{:02x}", c[0], c[1], c[2])
}

/// Blocks of equal size, each represented by its entry of largest magnitude (NaN wins).
fn downsample(nrows: usize, ncols: usize, entries: &[f64]) -> (usize, usize, Vec<f64>) {
    let (rows, cols) = (nrows.min(MAX_CELLS), ncols.min(MAX_CELLS));
    let mut out = Vec::with_capacity(rows * cols);
    for i in 0..rows {
        for j in 0..cols {
            let mut best = 0.0f64;
            'block: for r in i * nrows / rows..(i + 1) * nrows / rows {
                for c in j * ncols / cols..(j + 1) * ncols / cols {
                    let x = entries[r * ncols + c];
                    if x.is_nan() {
                        best = x;
                        break 'block;
                    }
                    if x.abs() > best.abs() {
                        best = x;
                    }
                }
            }
            out.push(best);
        }
    }
    (rows, cols, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn large_matrices_keep_their_extremes() {
        let n = 300;
        let mut a = vec![0.0; n * n];
        a[123 * n + 45] = -7.0;
        let (rows, cols, cells) = downsample(n, n, &a);
        assert_eq!((rows, cols), (128, 128));
        assert_eq!(cells.iter().filter(|&&x| x == -7.0).count(), 1);
        let svg = HeatMap::new("t", n, n, a, HeatScale::Diverging).unwrap().svg();
        assert!(svg.contains("300 × 300 shown as 128 × 128 blocks"));
    }

    #[test]
    fn levels_follow_the_scale() {
        let map = |scale| HeatMap::new("t", 1, 1, vec![1.0], scale).unwrap();
        let d = map(HeatScale::Diverging);
        assert_eq!([-2.0, -1.0, 0.0, 2.0].map(|x| d.level(x, 2.0).unwrap()), [-48, -24, 0, 48]);
        let s = map(HeatScale::SignedLog { decades: 4.0 });
        assert_eq!([-1.0, -1e-2, 1e-9, 1.0].map(|x| s.level(x, 1.0).unwrap()), [-48, -24, 0, 48]);
        let m = map(HeatScale::LogMagnitude { decades: 4.0 });
        assert_eq!([-1.0, 1e-2, 0.0].map(|x| m.level(x, 1.0).unwrap()), [48, 24, 0]);
        assert_eq!(m.level(f64::NAN, 1.0), None);
        assert_eq!((d.colour(0), d.colour(48), d.colour(-48)), ("#f6f6f4".into(), "#6e0c22".into(), "#122c68".into()));
    }

    proptest! {
        #[test]
        fn any_matrix_gives_finite_coordinates(rows in 0usize..4, cols in 0usize..4, v in proptest::collection::vec(any::<f64>(), 9)) {
            let map = HeatMap::new("t", rows, cols, v[..rows * cols].to_vec(), HeatScale::SignedLog { decades: 6.0 }).unwrap();
            let svg = map.with_bounds([1, 2, 77]).svg();
            prop_assert!(!svg.contains("NaN") && !svg.contains("\"inf"), "{}", svg);
        }
    }
}
