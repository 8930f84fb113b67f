//! Line and point charts.

use super::axis::{Axis, Scale};
use super::svg::{Anchor, GRID, INK, SOFT, Svg, px, series_colour, text_width};
use serde::Serialize;
use std::fmt::Write;

const WIDTH: f64 = 720.0;
const PLOT_HEIGHT: f64 = 300.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 24.0;
const MAX_POINTS: usize = 2400;

/// How a series is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stroke {
    /// A line, with dots where points are few.
    #[default]
    Solid,
    /// A dashed line: references and bounds.
    Dashed,
    /// Dots alone.
    Points,
    /// The area down to the axis: densities.
    Area,
}

/// A named list of points; NaN and infinity are gaps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Points `(x, y)`.
    pub points: Vec<(f64, f64)>,
    /// How it is drawn.
    pub stroke: Stroke,
}

/// A chart of one or more series over common axes.
///
/// ```
/// use osculate::plot::{LineChart, Scale, Stroke};
/// let svg = LineChart::new("Residual")
///     .x("iteration", Scale::Linear)
///     .y("relative residual", Scale::Log)
///     .series("cg", [(0.0, 1.0), (1.0, 1e-3), (2.0, 1e-7)], Stroke::Solid)
///     .svg();
/// assert!(svg.starts_with("<svg") && svg.contains("relative residual"));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LineChart {
    title: String,
    x_label: String,
    y_label: String,
    x_scale: Scale,
    y_scale: Scale,
    series: Vec<Series>,
}

impl LineChart {
    /// An empty chart with linear axes.
    pub fn new(title: impl Into<String>) -> Self {
        LineChart {
            title: title.into(),
            x_label: String::new(),
            y_label: String::new(),
            x_scale: Scale::Linear,
            y_scale: Scale::Linear,
            series: Vec::new(),
        }
    }

    /// Names the horizontal axis.
    pub fn x(mut self, label: impl Into<String>, scale: Scale) -> Self {
        self.x_label = label.into();
        self.x_scale = scale;
        self
    }

    /// Names the vertical axis.
    pub fn y(mut self, label: impl Into<String>, scale: Scale) -> Self {
        self.y_label = label.into();
        self.y_scale = scale;
        self
    }

    /// Adds a series.
    pub fn series(
        mut self,
        name: impl Into<String>,
        points: impl IntoIterator<Item = (f64, f64)>,
        stroke: Stroke,
    ) -> Self {
        self.series.push(Series { name: name.into(), points: points.into_iter().collect(), stroke });
        self
    }

    /// Its title.
    pub fn title(&self) -> &str {
        &self.title
    }

    fn shows(&self, p: (f64, f64)) -> bool {
        self.x_scale.shows(p.0) && self.y_scale.shows(p.1)
    }

    /// The chart as an SVG document.
    pub fn svg(&self) -> String {
        let (entries, legend_height) = self.legend();
        let top = 40.0 + legend_height;
        let bottom = top + PLOT_HEIGHT;
        let mut svg = Svg::new(WIDTH, bottom + 52.0);
        svg.title(16.0, 25.0, &self.title);
        for (x, y, i) in entries {
            self.legend_entry(&mut svg, x, y, i);
        }
        let shown = || self.series.iter().flat_map(|s| s.points.iter().copied()).filter(|&p| self.shows(p));
        let area = self.series.iter().any(|s| s.stroke == Stroke::Area) && self.y_scale == Scale::Linear;
        let ys = shown().map(|p| p.1).chain(area.then_some(0.0));
        let axes = Axis::around(self.x_scale, shown().map(|p| p.0), LEFT, WIDTH - RIGHT).zip(Axis::around(
            self.y_scale,
            ys,
            bottom,
            top,
        ));
        let Some((x, y)) = axes else {
            svg.text(WIDTH / 2.0, top + PLOT_HEIGHT / 2.0, Anchor::Middle, 14.0, SOFT, "no data");
            return svg.finish(&self.title);
        };
        for (value, label) in y.ticks(6) {
            let at = y.at(value);
            svg.line((LEFT, at), (WIDTH - RIGHT, at), GRID, 1.0);
            svg.text(LEFT - 8.0, at + 4.0, Anchor::End, 12.0, SOFT, &label);
        }
        for (value, label) in x.ticks(8) {
            let at = x.at(value);
            svg.line((at, bottom), (at, bottom + 5.0), SOFT, 1.0);
            svg.text(at, bottom + 20.0, Anchor::Middle, 12.0, SOFT, &label);
        }
        svg.line((LEFT, bottom), (WIDTH - RIGHT, bottom), SOFT, 1.0);
        svg.text((LEFT + WIDTH - RIGHT) / 2.0, bottom + 41.0, Anchor::Middle, 13.0, INK, &self.x_label);
        svg.upward_text(17.0, (top + bottom) / 2.0, 13.0, INK, &self.y_label);
        for (i, s) in self.series.iter().enumerate() {
            self.draw(&mut svg, s, series_colour(i), &x, &y, bottom);
        }
        svg.finish(&self.title)
    }

    fn draw(&self, svg: &mut Svg, s: &Series, colour: &str, x: &Axis, y: &Axis, bottom: f64) {
        let points = thinned(&s.points, |p| self.shows(p));
        let base = if self.y_scale == Scale::Linear { y.at(0.0).min(bottom) } else { bottom };
        if s.stroke != Stroke::Points {
            for run in points.split(|&p| !self.shows(p)).filter(|r| !r.is_empty()) {
                let mut d = String::new();
                for (k, &(a, b)) in run.iter().enumerate() {
                    // Writing to a String cannot fail.
                    let _ = write!(d, "{}{} {}", if k == 0 { 'M' } else { 'L' }, px(x.at(a)), px(y.at(b)));
                }
                if s.stroke == Stroke::Area {
                    let (from, to) = (px(x.at(run[0].0)), px(x.at(run[run.len() - 1].0)));
                    let closed = format!("{d}L{to} {b}L{from} {b}Z", b = px(base));
                    svg.path(&closed, &format!("fill:{colour};fill-opacity:0.18;stroke:none"), "");
                }
                let dash = if s.stroke == Stroke::Dashed { ";stroke-dasharray:6 5" } else { "" };
                let style = format!("fill:none;stroke:{colour};stroke-width:2;stroke-linejoin:round{dash}");
                svg.path(&d, &style, "");
            }
        }
        let dots = s.stroke == Stroke::Points || (s.stroke == Stroke::Solid && points.len() <= 24);
        if dots {
            for &(a, b) in points.iter().filter(|&&p| self.shows(p)) {
                svg.circle(x.at(a), y.at(b), 3.0, colour);
            }
        }
    }

    /// Positions of the legend's entries, wrapped, and the height they take; a lone series needs none.
    fn legend(&self) -> (Vec<(f64, f64, usize)>, f64) {
        if self.series.len() < 2 {
            return (Vec::new(), 0.0);
        }
        let (mut x, mut row, mut out) = (LEFT, 0.0, Vec::new());
        for (i, s) in self.series.iter().enumerate() {
            let w = 46.0 + text_width(&s.name, 13.0);
            if x + w > WIDTH - RIGHT && x > LEFT {
                x = LEFT;
                row += 1.0;
            }
            out.push((x, 48.0 + 20.0 * row, i));
            x += w;
        }
        (out, 20.0 * (row + 1.0))
    }

    fn legend_entry(&self, svg: &mut Svg, x: f64, y: f64, i: usize) {
        let (s, colour) = (&self.series[i], series_colour(i));
        match s.stroke {
            Stroke::Points => svg.circle(x + 11.0, y - 4.0, 3.5, colour),
            Stroke::Area => svg.rect(x, y - 9.0, 22.0, 9.0, colour, r#"fill-opacity="0.4""#),
            Stroke::Solid => svg.line((x, y - 4.0), (x + 22.0, y - 4.0), colour, 2.5),
            Stroke::Dashed => {
                let d = format!("M{} {}h22", px(x), px(y - 4.0));
                svg.path(&d, &format!("fill:none;stroke:{colour};stroke-width:2.5;stroke-dasharray:5 3.5"), "");
            }
        }
        svg.text(x + 28.0, y, Anchor::Start, 13.0, INK, &s.name);
    }
}

/// At most [`MAX_POINTS`] points: of every bucket the first, the lowest, the highest and any gap.
fn thinned(points: &[(f64, f64)], shows: impl Fn((f64, f64)) -> bool) -> Vec<(f64, f64)> {
    if points.len() <= MAX_POINTS {
        return points.to_vec();
    }
    let size = points.len().div_ceil(MAX_POINTS / 4);
    let mut out = Vec::with_capacity(MAX_POINTS);
    for bucket in points.chunks(size) {
        let mut keep = vec![0];
        let seen = || (0..bucket.len()).filter(|&i| shows(bucket[i]));
        keep.extend(seen().min_by(|&a, &b| bucket[a].1.total_cmp(&bucket[b].1)));
        keep.extend(seen().max_by(|&a, &b| bucket[a].1.total_cmp(&bucket[b].1)));
        keep.extend((0..bucket.len()).find(|&i| !shows(bucket[i])));
        keep.sort_unstable();
        keep.dedup();
        out.extend(keep.into_iter().map(|i| bucket[i]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gaps_break_the_line() {
        let points = [(0.0, 1.0), (1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, 0.0)];
        let paths = |scale| {
            let chart = LineChart::new("t").y("y", scale).series("a", points, Stroke::Solid);
            let svg = chart.svg();
            (svg.matches("<path").count(), svg.matches("<circle").count())
        };
        assert_eq!(paths(Scale::Linear), (2, 4));
        assert_eq!(paths(Scale::Log), (2, 3));
    }

    #[test]
    fn no_data_is_said() {
        let svg = LineChart::new("t").y("y", Scale::Log).series("a", [(0.0, -1.0)], Stroke::Area).svg();
        assert!(svg.contains("no data"));
    }

    #[test]
    fn thinning_keeps_extremes() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i), 0.0)).collect();
        points[54_321].1 = 9.0;
        points[12_345].1 = -9.0;
        points[70_000].1 = f64::NAN;
        let t = thinned(&points, |p| p.1.is_finite());
        assert!(t.len() <= MAX_POINTS);
        assert!(t.contains(&(54_321.0, 9.0)) && t.contains(&(12_345.0, -9.0)) && t.iter().any(|p| p.1.is_nan()));
        assert!(t.windows(2).all(|w| w[0].0 < w[1].0));
    }

    proptest! {
        #[test]
        fn any_data_gives_finite_coordinates(points in proptest::collection::vec((any::<f64>(), any::<f64>()), 0..9), log in any::<bool>()) {
            let scale = if log { Scale::Log } else { Scale::Linear };
            let svg = LineChart::new("t").x("x", scale).y("y", scale).series("a", points, Stroke::Area).svg();
            prop_assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", svg);
        }
    }
}
