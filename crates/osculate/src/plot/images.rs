//! Small pictures in rows: samples of a data set, filters, directions in input space.

use super::colour::{LEVELS, Ramp};
use super::svg::{Anchor, INK, SOFT, Svg, fit, px};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// One picture: cells row by row, with a line of text below it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tile {
    /// Number of columns; the rows follow from the number of cells.
    pub columns: usize,
    /// The cells, row by row.
    pub cells: Vec<f64>,
    /// What stands below it.
    pub label: String,
}

/// Pictures in a grid that share one scale of colours.
///
/// ```
/// use osculate::plot::Images;
/// let images = Images::new("Two letters").tile(2, vec![0.0, 1.0, 1.0, 0.0], "x").tile(2, vec![1.0; 4], "o");
/// assert!(images.svg(720.0).contains(">x</text>"));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Images {
    title: String,
    /// Red above zero and blue below, each picture on its own scale; otherwise ink on paper from 0 to 1.
    signed: bool,
    /// Side of a picture in pixels.
    side: f64,
    tiles: Vec<Tile>,
}

impl Images {
    /// No pictures; cells from 0 (paper) to 1 (ink).
    pub fn new(title: impl Into<String>) -> Self {
        Images { title: title.into(), signed: false, side: 56.0, tiles: Vec::new() }
    }

    /// Cells of both signs, each picture relative to its own largest magnitude.
    pub fn signed(mut self) -> Self {
        self.signed = true;
        self
    }

    /// The side of a picture in pixels.
    pub fn side(mut self, pixels: f64) -> Self {
        self.side = pixels.clamp(8.0, 600.0);
        self
    }

    /// Adds a picture with this many columns.
    pub fn tile(mut self, columns: usize, cells: Vec<f64>, label: impl Into<String>) -> Self {
        self.tiles.push(Tile { columns: columns.max(1), cells, label: label.into() });
        self
    }

    /// Its title.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The grid as an SVG document of about this width, with as many pictures in a row as fit.
    pub fn svg(&self, width: f64) -> String {
        let (gap, margin, top) = (12.0, 16.0, 44.0);
        let labelled = self.tiles.iter().any(|t| !t.label.is_empty());
        let (cell_w, cell_h) = (self.side + gap, self.side + if labelled { 26.0 } else { gap });
        let fits = (((width - 2.0 * margin + gap) / cell_w).floor() as usize).max(1);
        let rows = self.tiles.len().div_ceil(fits);
        let mut svg = Svg::new(width, top + cell_h * rows.max(1) as f64 + 6.0);
        svg.title(margin, 25.0, &self.title);
        if self.tiles.is_empty() {
            svg.text(width / 2.0, top + 30.0, Anchor::Middle, 14.0, SOFT, "no data");
        }
        // Equal margins on both sides of a full row.
        let left = (width - (cell_w * fits.min(self.tiles.len().max(1)) as f64 - gap)) / 2.0;
        for (i, t) in self.tiles.iter().enumerate() {
            let (x, y) = (left + cell_w * (i % fits) as f64, top + cell_h * (i / fits) as f64);
            self.draw(&mut svg, t, x, y);
            if labelled {
                let text = fit(&t.label, 12.0, self.side + gap - 2.0);
                svg.text(x + self.side / 2.0, y + self.side + 15.0, Anchor::Middle, 12.0, INK, &text);
            }
        }
        svg.finish(&self.title)
    }

    /// One path per level of colour, each a set of unit squares in the picture's own coordinates.
    fn draw(&self, svg: &mut Svg, t: &Tile, x: f64, y: f64) {
        let rows = t.cells.len().div_ceil(t.columns).max(1);
        let scale = self.side / rows.max(t.columns) as f64;
        let (w, h) = (scale * t.columns as f64, scale * rows as f64);
        let top = t.cells.iter().filter(|c| c.is_finite()).fold(0.0f64, |m, c| m.max(c.abs()));
        let ramp = if self.signed { Ramp::Signed } else { Ramp::Ink };
        let mut paths: BTreeMap<i32, String> = BTreeMap::new();
        for (k, &c) in t.cells.iter().enumerate() {
            let part = if self.signed { if top > 0.0 { c / top } else { 0.0 } } else { c };
            let level = if part.is_finite() {
                (part.clamp(if self.signed { -1.0 } else { 0.0 }, 1.0) * f64::from(LEVELS)).round() as i32
            } else {
                0
            };
            if level != 0 {
                // Writing to a String cannot fail.
                let d = paths.entry(level).or_default();
                let _ = write!(d, "M{} {}h1v1h-1z", k % t.columns, k / t.columns);
            }
        }
        svg.path(&format!("M{} {}h{}v{}h-{}z", px(x), px(y), px(w), px(h), px(w)), "", &ramp.fill(0));
        let place = format!(
            r#"shape-rendering="crispEdges" transform="translate({} {}) scale({})""#,
            px(x),
            px(y),
            (scale * 1e4).round() / 1e4
        );
        for (level, d) in &paths {
            svg.path(d, "", &format!("{} {place}", ramp.fill(*level)));
        }
        let frame = format!("M{} {}h{}v{}h-{}z", px(x), px(y), px(w), px(h), px(w));
        svg.path(&frame, &format!("fill:none;stroke:{SOFT};stroke-opacity:0.5;stroke-width:1"), "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_row_holds_as_many_as_fit() {
        let mut images = Images::new("t").side(40.0);
        for i in 0..9 {
            images = images.tile(1, vec![0.5], i.to_string());
        }
        let height =
            |svg: String| -> f64 { svg.split("height=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap() };
        let (wide, narrow) = (height(images.svg(720.0)), height(images.svg(200.0)));
        assert!((narrow - wide - 2.0 * 66.0).abs() < 1e-9, "{wide} {narrow}");
    }

    #[test]
    fn ink_follows_the_cells() {
        let paths = |svg: String| svg.matches("h1v1h-1z").count();
        assert_eq!(paths(Images::new("t").tile(2, vec![0.0, 1.0, 0.5, f64::NAN], "").svg(100.0)), 2);
        let signed = Images::new("t").signed().tile(2, vec![-1e9, 1e9, 0.0, 0.0], "").svg(100.0);
        assert!(signed.contains(&Ramp::Signed.fill(LEVELS)) && signed.contains(&Ramp::Signed.fill(-LEVELS)));
        assert!(Images::new("t").svg(100.0).contains("no data"));
    }

    proptest! {
        #[test]
        fn any_cells_give_finite_coordinates(cells in proptest::collection::vec(any::<f64>(), 0..9), columns in 0usize..4, signed in any::<bool>()) {
            let images = Images::new("t");
            let images = if signed { images.signed() } else { images };
            let svg = images.tile(columns, cells, "l").svg(300.0);
            prop_assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", svg);
        }
    }
}
