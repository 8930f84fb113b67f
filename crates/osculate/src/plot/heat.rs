//! Matrices as coloured cells: Hessians, factors, attention blocks, tables of counts.

use super::axis::number;
use super::colour::{LEVELS, Ramp};
use super::svg::{Anchor, INK, SOFT, Svg, fit, px, text_width};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

const MAX_CELLS: usize = 256;
const TOP: f64 = 44.0;
const RIGHT: f64 = 16.0;
const SMALL: f64 = 12.0;

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
    /// From the page's colour to ink, linear in the entry from zero: counts and shares.
    Amount,
}

impl HeatScale {
    fn ramp(self) -> Ramp {
        match self {
            HeatScale::Diverging | HeatScale::SignedLog { .. } => Ramp::Signed,
            HeatScale::LogMagnitude { .. } => Ramp::Glow,
            HeatScale::Amount => Ramp::Ink,
        }
    }
}

/// A matrix drawn as cells; matrices above 256 rows or columns are shown in blocks by their largest magnitude.
///
/// ```
/// use osculate::plot::{HeatMap, HeatScale};
/// let map = HeatMap::new("H", 2, 2, vec![1.0, -0.5, -0.5, 2.0], HeatScale::Diverging).unwrap();
/// assert!(map.svg(440.0).contains("<path"));
/// assert!(HeatMap::new("H", 2, 2, vec![1.0], HeatScale::Diverging).is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeatMap {
    title: String,
    nrows: usize,
    ncols: usize,
    scale: HeatScale,
    /// Magnitude with the strongest colour; the largest one of the entries if none was given.
    limit: Option<f64>,
    /// Bounds of blocks (for instance of tensors) in rows and columns, drawn as thin lines.
    bounds: Vec<usize>,
    /// Names of blocks of rows, with their first row and the row behind their last.
    blocks: Vec<(String, usize, usize)>,
    row_labels: Vec<String>,
    column_labels: Vec<String>,
    row_title: String,
    column_title: String,
    /// Entries are written into their cells, with this many decimals.
    decimals: Option<usize>,
    /// Shown cells: rows, columns, entries.
    shown: (usize, usize, Vec<f64>),
}

/// Where the cells are, in pixels.
struct Field {
    left: f64,
    width: f64,
    height: f64,
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
            limit: None,
            bounds: Vec::new(),
            blocks: Vec::new(),
            row_labels: Vec::new(),
            column_labels: Vec::new(),
            row_title: String::new(),
            column_title: String::new(),
            decimals: None,
            shown: downsample(nrows, ncols, &entries),
        })
    }

    /// Draws lines at these rows and columns.
    pub fn with_bounds(mut self, bounds: impl IntoIterator<Item = usize>) -> Self {
        self.bounds = bounds.into_iter().collect();
        self
    }

    /// Draws lines between consecutive blocks of these names and sizes, in rows and columns, and names them at the left.
    pub fn with_blocks<S: Into<String>>(mut self, blocks: impl IntoIterator<Item = (S, usize)>) -> Self {
        let mut at = 0;
        for (name, size) in blocks {
            let end = size.saturating_add(at);
            self.blocks.push((name.into(), at, end));
            self.bounds.push(end);
            at = end;
        }
        self
    }

    /// Names every row and every column.
    pub fn with_labels<S: Into<String>>(
        mut self,
        rows: impl IntoIterator<Item = S>,
        columns: impl IntoIterator<Item = S>,
    ) -> Self {
        self.row_labels = rows.into_iter().map(Into::into).collect();
        self.column_labels = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Says what rows and columns are.
    pub fn with_axes(mut self, rows: impl Into<String>, columns: impl Into<String>) -> Self {
        (self.row_title, self.column_title) = (rows.into(), columns.into());
        self
    }

    /// Gives the strongest colour to this magnitude, so that several maps can share a scale.
    pub fn with_limit(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Writes the entries into their cells, zeros left out.
    pub fn with_values(mut self, decimals: usize) -> Self {
        self.decimals = Some(decimals.min(6));
        self
    }

    /// Its title.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Whether rows or columns have names of their own.
    pub(crate) fn is_table(&self) -> bool {
        !self.row_labels.is_empty() || !self.column_labels.is_empty()
    }

    /// The map as an SVG document of this width.
    pub fn svg(&self, width: f64) -> String {
        let field = self.field(width);
        let mut svg = Svg::new(width, TOP + field.height + self.below() + 52.0);
        svg.title(16.0, 25.0, &fit(&self.title, 15.0, width - 30.0));
        let cells = &self.shown.2;
        let largest = cells.iter().filter(|x| x.is_finite()).fold(0.0f64, |m, x| m.max(x.abs()));
        if cells.is_empty() || largest == 0.0 && cells.iter().all(|x| !x.is_finite()) {
            svg.text(width / 2.0, TOP + 30.0, Anchor::Middle, 14.0, SOFT, "no data");
            return svg.finish(&self.title);
        }
        let limit = self.limit.filter(|l| l.is_finite() && *l > 0.0).unwrap_or(largest);
        self.cells(&mut svg, &field, limit);
        self.lines(&mut svg, &field);
        self.values(&mut svg, &field, limit);
        self.labels(&mut svg, &field);
        self.colour_bar(&mut svg, &field, TOP + field.height + self.below(), limit);
        svg.finish(&self.title)
    }

    fn field(&self, width: f64) -> Field {
        let longest =
            |names: &mut dyn Iterator<Item = &String>| names.map(|n| text_width(n, SMALL)).fold(0.0f64, f64::max);
        let names = longest(&mut self.row_labels.iter().chain(self.blocks.iter().map(|b| &b.0)));
        let title = if self.row_title.is_empty() { 0.0 } else { 20.0 };
        let left = 16.0 + title + names.max(text_width(&self.nrows.to_string(), SMALL)).min(width / 3.0) + 8.0;
        let room = (width - left - RIGHT).max(24.0);
        if self.is_table() {
            let row = (room / self.ncols.max(1) as f64).clamp(20.0, 34.0);
            return Field { left, width: room, height: row * self.nrows.max(1) as f64 };
        }
        let longest = self.nrows.max(self.ncols).max(1) as f64;
        let side = |n: usize| (room * n as f64 / longest).max(24.0);
        Field { left, width: side(self.ncols), height: side(self.nrows) }
    }

    /// Height of what stands between the cells and the colour bar.
    fn below(&self) -> f64 {
        let thinned = (self.shown.0, self.shown.1) != (self.nrows, self.ncols);
        24.0 + if thinned { 16.0 } else { 0.0 } + if self.column_title.is_empty() { 0.0 } else { 18.0 }
    }

    /// One path per colour, each a set of horizontal runs in the matrix' own coordinates.
    fn cells(&self, svg: &mut Svg, field: &Field, limit: f64) {
        let (rows, cols, cells) = (self.shown.0, self.shown.1, &self.shown.2);
        let mut paths: BTreeMap<Option<i32>, String> = BTreeMap::new();
        for i in 0..rows {
            let mut j = 0;
            while j < cols {
                let level = self.level(cells[i * cols + j], limit);
                let start = j;
                while j < cols && self.level(cells[i * cols + j], limit) == level {
                    j += 1;
                }
                // Writing to a String cannot fail.
                let _ = write!(paths.entry(level).or_default(), "M{start} {i}h{0}v1h-{0}z", j - start);
            }
        }
        let round = |x: f64| (x * 1e5).round() / 1e5;
        let place = format!(
            r#"shape-rendering="crispEdges" transform="translate({} {TOP}) scale({} {})""#,
            px(field.left),
            round(field.width / cols as f64),
            round(field.height / rows as f64)
        );
        for (level, d) in &paths {
            let fill = level.map_or_else(|| r##"fill="#9a9a9a""##.to_owned(), |l| self.scale.ramp().fill(l));
            svg.path(d, "", &format!("{fill} {place}"));
        }
    }

    fn lines(&self, svg: &mut Svg, field: &Field) {
        let Field { left, width, height } = *field;
        for &b in &self.bounds {
            if b > 0 && b < self.ncols {
                let x = left + width * b as f64 / self.ncols as f64;
                svg.line((x, TOP), (x, TOP + height), "rgba(128,128,128,0.6)", 0.8);
            }
            if b > 0 && b < self.nrows {
                let y = TOP + height * b as f64 / self.nrows as f64;
                svg.line((left, y), (left + width, y), "rgba(128,128,128,0.6)", 0.8);
            }
        }
        let frame = format!("M{} {TOP}h{}v{}h-{}z", px(left), px(width), px(height), px(width));
        svg.path(&frame, &format!("fill:none;stroke:{SOFT};stroke-width:1"), "");
    }

    fn values(&self, svg: &mut Svg, field: &Field, limit: f64) {
        let (rows, cols, cells) = (self.shown.0, self.shown.1, &self.shown.2);
        let Some(decimals) = self.decimals else { return };
        let (w, h) = (field.width / cols as f64, field.height / rows as f64);
        for (k, &x) in cells.iter().enumerate() {
            let text = format!("{x:.decimals$}").replace('-', "−");
            let blank = x == 0.0 || !text.contains(|c: char| ('1'..='9').contains(&c)) || !x.is_finite();
            if blank || text_width(&text, SMALL) > w {
                continue;
            }
            let (cx, cy) = (field.left + w * ((k % cols) as f64 + 0.5), TOP + h * ((k / cols) as f64 + 0.5));
            let level = self.level(x, limit).unwrap_or(0);
            svg.text_with(cx, cy + 4.0, Anchor::Middle, SMALL, self.scale.ramp().upon(level), &text);
        }
    }

    fn labels(&self, svg: &mut Svg, field: &Field) {
        let Field { left, width, height } = *field;
        let room = left - 24.0 - if self.row_title.is_empty() { 0.0 } else { 20.0 };
        let row = height / self.nrows.max(1) as f64;
        for (i, name) in self.row_labels.iter().enumerate().take(self.nrows) {
            let y = TOP + row * (i as f64 + 0.5) + 4.0;
            svg.text(left - 7.0, y, Anchor::End, SMALL, INK, &fit(name, SMALL, room));
        }
        let wanted: Vec<f64> = self.blocks.iter().map(|b| TOP + row * (b.1 as f64 + b.2 as f64) / 2.0).collect();
        for ((name, ..), y) in self.blocks.iter().zip(apart(&wanted, 14.0, TOP + height)) {
            svg.text(left - 7.0, y + 4.0, Anchor::End, SMALL, INK, &fit(name, SMALL, room));
        }
        let cell = width / self.ncols.max(1) as f64;
        for (j, name) in self.column_labels.iter().enumerate().take(self.ncols) {
            let x = left + cell * (j as f64 + 0.5);
            svg.text(x, TOP + height + 17.0, Anchor::Middle, SMALL, INK, &fit(name, SMALL, cell));
        }
        if !self.is_table() {
            for (at, label, anchor) in [(left, 0, Anchor::Start), (left + width, self.ncols, Anchor::End)] {
                svg.text(at, TOP + height + 17.0, anchor, SMALL, SOFT, &label.to_string());
            }
            if self.blocks.is_empty() {
                svg.text(left - 7.0, TOP + 11.0, Anchor::End, SMALL, SOFT, "0");
                svg.text(left - 7.0, TOP + height, Anchor::End, SMALL, SOFT, &self.nrows.to_string());
            }
        }
        let mut y = TOP + height + 17.0;
        if !self.column_title.is_empty() {
            y += 18.0;
            svg.text(left + width / 2.0, y, Anchor::Middle, 13.0, INK, &self.column_title);
        }
        if !self.row_title.is_empty() {
            svg.upward_text(22.0, TOP + height / 2.0, 13.0, INK, &fit(&self.row_title, 13.0, height.max(60.0)));
        }
        let (rows, cols) = (self.shown.0, self.shown.1);
        if (rows, cols) != (self.nrows, self.ncols) {
            let note = format!("{} × {} shown as {rows} × {cols} blocks", self.nrows, self.ncols);
            svg.text(left + width / 2.0, y + 16.0, Anchor::Middle, 11.0, SOFT, &note);
        }
    }

    /// Horizontal, below everything else.
    fn colour_bar(&self, svg: &mut Svg, field: &Field, y: f64, limit: f64) {
        let ramp = self.scale.ramp();
        let low = if ramp == Ramp::Signed { -LEVELS } else { 0 };
        let (left, length) = (field.left, field.width.max(180.0));
        let step = length / f64::from(LEVELS - low + 1);
        for k in 0..=LEVELS - low {
            let w = px(step + 0.4);
            let d = format!("M{} {}h{w}v10h-{w}z", px(left + step * f64::from(k)), px(y));
            svg.path(&d, "", &format!(r#"{} shape-rendering="crispEdges""#, ramp.fill(low + k)));
        }
        let ticks: Vec<(f64, f64)> = match self.scale {
            HeatScale::Diverging => [-1.0, -0.5, 0.0, 0.5, 1.0].map(|t| ((t + 1.0) / 2.0, t * limit)).to_vec(),
            HeatScale::SignedLog { decades } => {
                let edge = limit * 10f64.powf(-decades);
                vec![(0.0, -limit), (0.5, -edge), (0.5, edge), (1.0, limit)]
            }
            HeatScale::LogMagnitude { decades } => {
                [0.0, 0.5, 1.0].map(|t| (t, limit * 10f64.powf((t - 1.0) * decades))).to_vec()
            }
            HeatScale::Amount => [0.0, 0.5, 1.0].map(|t| (t, t * limit)).to_vec(),
        };
        let signed_log = matches!(self.scale, HeatScale::SignedLog { .. });
        for (k, (part, value)) in ticks.into_iter().enumerate() {
            let (anchor, text) = match (part, signed_log, k) {
                (0.0, ..) => (Anchor::Start, short(value)),
                (1.0, ..) => (Anchor::End, short(value)),
                // The two inner ends are one place: magnitudes below this one are not told apart.
                (_, true, 1) => continue,
                (_, true, _) => (Anchor::Middle, format!("±{}", short(value))),
                _ => (Anchor::Middle, short(value)),
            };
            svg.text(left + length * part, y + 25.0, anchor, SMALL, INK, &text);
        }
    }

    /// The colour level of an entry: -LEVELS to LEVELS, or 0 to LEVELS; `None` for NaN and infinity.
    fn level(&self, x: f64, limit: f64) -> Option<i32> {
        if !x.is_finite() {
            return None;
        }
        let part = if limit > 0.0 { x / limit } else { 0.0 };
        let log = |decades: f64| {
            if part == 0.0 { 0.0 } else { (1.0 + part.abs().log10() / decades.max(1e-9)).clamp(0.0, 1.0) }
        };
        let signed = match self.scale {
            HeatScale::Diverging => part.clamp(-1.0, 1.0),
            HeatScale::SignedLog { decades } => log(decades) * part.signum(),
            HeatScale::LogMagnitude { decades } => log(decades),
            HeatScale::Amount => part.clamp(0.0, 1.0),
        };
        Some((signed * f64::from(LEVELS)).round() as i32)
    }
}

/// Positions at least `gap` apart and not beyond `end`, near the wanted ones, which ascend.
fn apart(wanted: &[f64], gap: f64, end: f64) -> Vec<f64> {
    let mut at: Vec<f64> = Vec::with_capacity(wanted.len());
    for &w in wanted {
        at.push(at.last().map_or(w, |&previous: &f64| w.max(previous + gap)));
    }
    let mut limit = end - gap / 2.0;
    for a in at.iter_mut().rev() {
        *a = a.min(limit);
        limit = *a - gap;
    }
    at
}

/// A number for the colour bar: two significant digits.
fn short(x: f64) -> String {
    let text = format!("{x:.1e}");
    number(text.parse().unwrap_or(x))
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
        let n = 600;
        let mut a = vec![0.0; n * n];
        a[123 * n + 45] = -7.0;
        let (rows, cols, cells) = downsample(n, n, &a);
        assert_eq!((rows, cols), (256, 256));
        assert_eq!(cells.iter().filter(|&&x| x == -7.0).count(), 1);
        let svg = HeatMap::new("t", n, n, a, HeatScale::Diverging).unwrap().svg(440.0);
        assert!(svg.contains("600 × 600 shown as 256 × 256 blocks"));
    }

    #[test]
    fn levels_follow_the_scale() {
        let map = |scale| HeatMap::new("t", 1, 1, vec![1.0], scale).unwrap();
        let d = map(HeatScale::Diverging);
        assert_eq!([-2.0, -1.0, 0.0, 2.0, 9.0].map(|x| d.level(x, 2.0).unwrap()), [-48, -24, 0, 48, 48]);
        let s = map(HeatScale::SignedLog { decades: 4.0 });
        assert_eq!([-1.0, -1e-2, 1e-9, 1.0].map(|x| s.level(x, 1.0).unwrap()), [-48, -24, 0, 48]);
        let m = map(HeatScale::LogMagnitude { decades: 4.0 });
        assert_eq!([-1.0, 1e-2, 0.0].map(|x| m.level(x, 1.0).unwrap()), [48, 24, 0]);
        assert_eq!(m.level(f64::NAN, 1.0), None);
        let a = map(HeatScale::Amount);
        assert_eq!([-1.0, 0.5, 2.0].map(|x| a.level(x, 1.0).unwrap()), [0, 24, 48]);
    }

    #[test]
    fn maps_can_share_a_scale() {
        let map = HeatMap::new("t", 1, 2, vec![1.0, 0.5], HeatScale::Diverging).unwrap();
        let colours = |map: &HeatMap| map.svg(300.0).matches(r#"class="qw48" fill"#).count();
        // The colour bar has the strongest colour in any case.
        assert_eq!((colours(&map), colours(&map.clone().with_limit(10.0))), (2, 1));
        assert!(map.with_limit(10.0).svg(300.0).contains(">10</text>"));
    }

    #[test]
    fn tables_write_their_values() {
        let map = HeatMap::new("t", 2, 2, vec![31.0, 0.0, 2.0, 28.0], HeatScale::Amount)
            .unwrap()
            .with_labels(["zero", "one"], ["zero", "one"])
            .with_axes("shown", "answered")
            .with_values(0);
        let svg = map.svg(400.0);
        for part in [">31</text>", ">2</text>", ">28</text>", ">zero</text>", ">answered</text>", ">shown</text>"] {
            assert!(svg.contains(part), "{part}");
        }
        // Zeros stay blank: the only zero is that of the colour bar.
        assert_eq!(svg.matches(">0</text>").count(), 1);
    }

    #[test]
    fn labels_keep_apart() {
        let at = apart(&[10.0, 12.0, 90.0, 99.0], 14.0, 100.0);
        assert!(at.windows(2).all(|w| w[1] - w[0] >= 14.0 - 1e-9), "{at:?}");
        assert!(at[0] == 10.0 && at[3] <= 93.0, "{at:?}");
        let blocks = HeatMap::new("t", 20, 20, vec![1.0; 400], HeatScale::Diverging)
            .unwrap()
            .with_blocks([("0.weight", 18), ("0.bias", 2)])
            .svg(300.0);
        assert!(blocks.contains(">0.weight</text>") && blocks.contains(">0.bias</text>"));
    }

    proptest! {
        #[test]
        fn any_matrix_gives_finite_coordinates(rows in 0usize..4, cols in 0usize..4, v in proptest::collection::vec(any::<f64>(), 9)) {
            let map = HeatMap::new("t", rows, cols, v[..rows * cols].to_vec(), HeatScale::SignedLog { decades: 6.0 }).unwrap();
            let svg = map.with_bounds([1, 2, 77]).with_values(2).svg(440.0);
            prop_assert!(!svg.contains("NaN") && !svg.contains("\"inf"), "{}", svg);
        }
    }
}
