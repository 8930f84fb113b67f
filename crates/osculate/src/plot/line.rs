//! Line and point charts.

use super::axis::{Axis, Scale};
use super::svg::{Anchor, GRID, INK, SOFT, Svg, fit, px, series_colour, text_width};
use serde::Serialize;
use std::fmt::Write;

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
    /// A line without dots.
    Line,
    /// A thin, pale line: noise behind another line.
    Faint,
    /// A dashed line: references and bounds.
    Dashed,
    /// Dots alone.
    Points,
    /// The area down to the axis: densities.
    Area,
    /// A staircase with its area: each value holds from its point to the next, histograms.
    Steps,
}

impl Stroke {
    fn is_filled(self) -> bool {
        matches!(self, Stroke::Area | Stroke::Steps)
    }
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
///     .svg(720.0);
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

    /// The chart as an SVG document of this width, from 240 pixels on.
    pub fn svg(&self, width: f64) -> String {
        let width = width.max(240.0);
        let right = width - RIGHT;
        let (entries, legend_height) = self.legend(right);
        let top = 40.0 + legend_height;
        let bottom = top + (0.52 * width).clamp(210.0, 300.0);
        let mut svg = Svg::new(width, bottom + 52.0);
        svg.title(16.0, 25.0, &fit(&self.title, 15.0, width - 30.0));
        for (x, y, i) in entries {
            self.legend_entry(&mut svg, x, y, i);
        }
        let shown = || self.series.iter().flat_map(|s| s.points.iter().copied()).filter(|&p| self.shows(p));
        let area = self.series.iter().any(|s| s.stroke.is_filled()) && self.y_scale == Scale::Linear;
        let ys = shown().map(|p| p.1).chain(area.then_some(0.0));
        let across = Axis::around(self.x_scale, shown().map(|p| p.0), LEFT, right);
        let axes = across.zip(Axis::around(self.y_scale, ys, bottom, top));
        let Some((x, y)) = axes else {
            svg.text(width / 2.0, (top + bottom) / 2.0, Anchor::Middle, 14.0, SOFT, "no data");
            return svg.finish(&self.title);
        };
        for (value, label) in y.ticks(6) {
            let at = y.at(value);
            svg.line((LEFT, at), (right, at), GRID, 1.0);
            svg.text(LEFT - 8.0, at + 4.0, Anchor::End, 12.0, SOFT, &label);
        }
        for (value, label) in x.ticks(((width / 75.0) as usize).max(5)) {
            let at = x.at(value);
            svg.line((at, bottom), (at, bottom + 5.0), SOFT, 1.0);
            svg.text(at, bottom + 20.0, Anchor::Middle, 12.0, SOFT, &label);
        }
        svg.line((LEFT, bottom), (right, bottom), SOFT, 1.0);
        svg.text((LEFT + right) / 2.0, bottom + 41.0, Anchor::Middle, 13.0, INK, &self.x_label);
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
                    let (a, b) = (px(x.at(a)), px(y.at(b)));
                    // Writing to a String cannot fail.
                    let _ = match (k, s.stroke) {
                        (0, _) => write!(d, "M{a} {b}"),
                        (_, Stroke::Steps) => write!(d, "H{a}V{b}"),
                        _ => write!(d, "L{a} {b}"),
                    };
                }
                if s.stroke.is_filled() {
                    let (from, to) = (px(x.at(run[0].0)), px(x.at(run[run.len() - 1].0)));
                    let closed = format!("{d}L{to} {b}L{from} {b}Z", b = px(base));
                    let strength = if s.stroke == Stroke::Steps { 0.45 } else { 0.18 };
                    svg.path(&closed, &format!("fill:{colour};fill-opacity:{strength};stroke:none"), "");
                }
                let dash = if s.stroke == Stroke::Dashed { ";stroke-dasharray:6 5" } else { "" };
                let pen = if s.stroke == Stroke::Faint { "1;stroke-opacity:0.4" } else { "2" };
                let style = format!("fill:none;stroke:{colour};stroke-width:{pen};stroke-linejoin:round{dash}");
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
    fn legend(&self, right: f64) -> (Vec<(f64, f64, usize)>, f64) {
        if self.series.len() < 2 {
            return (Vec::new(), 0.0);
        }
        let (mut x, mut row, mut out) = (LEFT, 0.0, Vec::new());
        for (i, s) in self.series.iter().enumerate() {
            let w = 46.0 + text_width(&s.name, 13.0);
            if x + w > right + 18.0 && x > LEFT {
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
            Stroke::Area | Stroke::Steps => svg.rect(x, y - 9.0, 22.0, 9.0, colour, r#"fill-opacity="0.4""#),
            Stroke::Faint => svg.line((x, y - 4.0), (x + 22.0, y - 4.0), colour, 1.0),
            Stroke::Solid | Stroke::Line => svg.line((x, y - 4.0), (x + 22.0, y - 4.0), colour, 2.5),
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
            let svg = chart.svg(720.0);
            (svg.matches("<path").count(), svg.matches("<circle").count())
        };
        assert_eq!(paths(Scale::Linear), (2, 4));
        assert_eq!(paths(Scale::Log), (2, 3));
    }

    #[test]
    fn steps_are_level_between_points() {
        let points = [(0.0, 1.0), (1.0, 3.0), (2.0, 0.0)];
        let svg = LineChart::new("t").series("a", points, Stroke::Steps).svg(400.0);
        let line = svg.lines().find(|l| l.contains("fill:none") && l.contains("<path")).unwrap();
        assert_eq!((line.matches('H').count(), line.matches('V').count(), line.matches('L').count()), (2, 2, 0));
    }

    #[test]
    fn a_legend_wraps_on_a_narrow_chart() {
        let mut chart = LineChart::new("t");
        for i in 0..4 {
            chart = chart.series(format!("a rather long name {i}"), [(0.0, 1.0), (1.0, 2.0)], Stroke::Solid);
        }
        let rows = |width| (chart.legend(width - RIGHT).1 / 20.0) as usize;
        assert_eq!((rows(720.0), rows(400.0)), (2, 4));
    }

    #[test]
    fn no_data_is_said() {
        let svg = LineChart::new("t").y("y", Scale::Log).series("a", [(0.0, -1.0)], Stroke::Area).svg(720.0);
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
            let svg = LineChart::new("t").x("x", scale).y("y", scale).series("a", points, Stroke::Area).svg(720.0);
            prop_assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", svg);
        }
    }
}
