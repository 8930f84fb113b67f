//! Horizontal bars: comparisons of named quantities.

use super::axis::{Axis, Scale, number};
use super::svg::{Anchor, GRID, INK, SOFT, Svg, fit, series_colour, text_width};
use serde::Serialize;

const ROW: f64 = 30.0;

/// One bar.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bar {
    /// Its name.
    pub label: String,
    /// Its length; NaN and infinity draw no bar but are written.
    pub value: f64,
    /// Half the length of the error mark, if any.
    pub error: Option<f64>,
}

/// Bars with names on the left and values on the right.
///
/// ```
/// use osculate::plot::{BarChart, Scale};
/// let svg = BarChart::new("Cost", "gradients", Scale::Linear).bar("hvp", 3.9, Some(0.1)).bar("ggn", 2.1, None).svg(720.0);
/// assert_eq!(svg.matches("class=\"bar\"").count(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BarChart {
    title: String,
    label: String,
    scale: Scale,
    bars: Vec<Bar>,
}

impl BarChart {
    /// A chart without bars; `label` names the value axis.
    pub fn new(title: impl Into<String>, label: impl Into<String>, scale: Scale) -> Self {
        BarChart { title: title.into(), label: label.into(), scale, bars: Vec::new() }
    }

    /// Adds a bar.
    pub fn bar(mut self, label: impl Into<String>, value: f64, error: Option<f64>) -> Self {
        self.bars.push(Bar { label: label.into(), value, error });
        self
    }

    /// Its title.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The chart as an SVG document of this width, from 240 pixels on.
    pub fn svg(&self, width: f64) -> String {
        let width = width.max(240.0);
        let longest = self.bars.iter().map(|b| text_width(&b.label, 13.0)).fold(0.0, f64::max);
        let left = (longest + 30.0).clamp(60.0, 0.42 * width);
        let right = width - 96.0;
        let top = 44.0;
        let bottom = top + ROW * self.bars.len().max(1) as f64;
        let mut svg = Svg::new(width, bottom + 56.0);
        svg.title(16.0, 25.0, &fit(&self.title, 15.0, width - 30.0));
        let mut extent: Vec<f64> = self.bars.iter().map(|b| b.value).collect();
        for b in &self.bars {
            let e = b.error.filter(|e| e.is_finite()).unwrap_or(0.0);
            extent.extend([b.value - e, b.value + e].into_iter().filter(|&x| self.scale.shows(x)));
        }
        let Some(axis) = Axis::from_base(self.scale, &extent, left, right) else {
            svg.text(width / 2.0, (top + bottom) / 2.0, Anchor::Middle, 14.0, SOFT, "no data");
            return svg.finish(&self.title);
        };
        for (value, label) in axis.ticks((width / 110.0) as usize) {
            let at = axis.at(value);
            svg.line((at, top), (at, bottom + 4.0), GRID, 1.0);
            svg.text(at, bottom + 20.0, Anchor::Middle, 12.0, SOFT, &label);
        }
        svg.text((left + right) / 2.0, bottom + 42.0, Anchor::Middle, 13.0, INK, &self.label);
        let base = axis.base();
        for (i, b) in self.bars.iter().enumerate() {
            let y = top + ROW * i as f64;
            let middle = y + ROW / 2.0;
            svg.text(left - 10.0, middle + 4.5, Anchor::End, 13.0, INK, &fit(&b.label, 13.0, left - 20.0));
            let mut end = base;
            if self.scale.shows(b.value) {
                let at = axis.at(b.value);
                end = at.max(base);
                let more = r#"class="bar" rx="2""#;
                svg.rect(at.min(base), y + 6.0, (at - base).abs(), ROW - 12.0, series_colour(0), more);
                if let Some(e) = b.error.filter(|e| e.is_finite() && *e > 0.0) {
                    let low = if self.scale.shows(b.value - e) { axis.at(b.value - e).max(left) } else { left };
                    let high = axis.at(b.value + e);
                    svg.line((low, middle), (high, middle), INK, 1.5);
                    for x in [low, high] {
                        svg.line((x, middle - 4.0), (x, middle + 4.0), INK, 1.5);
                    }
                    end = end.max(high);
                }
            }
            svg.text(end + 8.0, middle + 4.5, Anchor::Start, 12.0, SOFT, &three(b.value));
        }
        svg.line((base, top), (base, bottom), SOFT, 1.0);
        svg.finish(&self.title)
    }
}

/// Three significant digits.
fn three(x: f64) -> String {
    number(format!("{x:.2e}").parse().unwrap_or(x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bars_are_proportional() {
        let svg = BarChart::new("t", "v", Scale::Linear).bar("a", 1.0, None).bar("b", 4.0, None).svg(720.0);
        let widths: Vec<f64> = svg
            .lines()
            .filter(|l| l.contains("class=\"bar\""))
            .map(|l| l.split("width=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect();
        assert!((widths[1] / widths[0] - 4.0).abs() < 0.01, "{widths:?}");
    }

    #[test]
    fn what_cannot_be_drawn_is_written() {
        let svg = BarChart::new("t", "v", Scale::Log).bar("a", f64::NAN, None).bar("b", 4.0, Some(9.0)).svg(720.0);
        assert_eq!(svg.matches("class=\"bar\"").count(), 1);
        assert!(svg.contains(">NaN<"));
        assert!(BarChart::new("t", "v", Scale::Log).svg(720.0).contains("no data"));
    }

    proptest! {
        #[test]
        fn any_values_give_finite_coordinates(v in proptest::collection::vec((any::<f64>(), any::<f64>()), 0..6), log in any::<bool>()) {
            let mut chart = BarChart::new("t", "v", if log { Scale::Log } else { Scale::Linear });
            for (x, e) in v {
                chart = chart.bar("b", x, Some(e));
            }
            let svg = chart.svg(720.0);
            prop_assert!(!svg.contains("\"NaN") && !svg.contains("\"inf") && !svg.contains("\"-inf"), "{}", svg);
        }
    }
}
