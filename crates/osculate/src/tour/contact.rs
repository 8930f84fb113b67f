//! Osculation, literally: the loss along lines, beside the parabola that the Hessian predicts.
//!
//! Along a unit direction `v` the model is `q(t) = L + t g.v + t^2/2 v.Hv`. It touches the loss to second order, so the
//! error falls as `t^3`, where the tangent's falls as `t^2` and the constant's as `t`.

use super::Error;
use super::chapter::Chapter;
use super::fit::Objective;
use super::study::{Part, Study, dot, normalised, times};
use super::words::three;
use crate::plot::{Figure, LineChart, Scale, Section, Stroke, Table};
use serde::{Deserialize, Serialize};

/// The parabola is drawn up to where it is off by this share of the sum of its terms' magnitudes.
const PART: f64 = 0.6;
/// Distances of the log-log figure, and the powers of ten that they span.
const DISTANCES: usize = 33;
const DECADES: f64 = 4.0;

/// Slices of the loss and the order of contact.
#[derive(Serialize, Deserialize)]
pub(super) struct Contact {
    loss: f64,
    slices: Vec<Slice>,
    /// Half-width of the common range.
    common: f64,
    orders: Orders,
}

/// The loss along one direction through the trained point.
#[derive(Serialize, Deserialize)]
struct Slice {
    name: String,
    slope: f64,
    curvature: f64,
    /// Distance at which the parabola is off by a tenth of the sum of its terms' magnitudes.
    trust: f64,
    /// Distances, loss and parabola, over a range in which the two part.
    at: Vec<f64>,
    loss: Vec<f64>,
    parabola: Vec<f64>,
    /// The loss over the range common to all directions.
    common_at: Vec<f64>,
    common_loss: Vec<f64>,
}

/// Errors of constant, tangent and parabola along the gradient, by distance.
#[derive(Serialize, Deserialize)]
struct Orders {
    direction: String,
    distance: Vec<f64>,
    constant: Vec<f64>,
    tangent: Vec<f64>,
    parabola: Vec<f64>,
    /// Slopes of the three in the log-log figure, least squares over the middle of the range.
    constant_order: f64,
    tangent_order: f64,
    parabola_order: f64,
}

/// The loss along a line.
struct Line<'a> {
    objective: &'a mut Objective,
    sample: &'a Part,
    origin: &'a [f64],
    direction: &'a [f64],
    loss: f64,
    slope: f64,
    curvature: f64,
}

impl Line<'_> {
    fn at(&mut self, t: f64) -> Result<f64, Error> {
        let there: Vec<f64> = self.origin.iter().zip(self.direction).map(|(x, v)| x + t * v).collect();
        Ok(self.objective.evaluate(&there, &self.sample.inputs, &self.sample.labels)?.0)
    }

    fn parabola(&self, t: f64) -> f64 {
        self.loss + t * self.slope + 0.5 * t * t * self.curvature
    }

    /// The first distance, on a grid of ratio 1.1, at which the parabola is off to one side by `part` of the sum of the
    /// magnitudes of its linear and quadratic terms.
    fn parting(&mut self, part: f64) -> Result<f64, Error> {
        let mut t = 1e-3;
        while t < 100.0 {
            for side in [t, -t] {
                let (l, q) = (self.at(side)?, self.parabola(side));
                if (l - q).abs() > part * (t * self.slope.abs() + 0.5 * t * t * self.curvature.abs()) {
                    return Ok(t);
                }
            }
            t *= 1.1;
        }
        Ok(t)
    }
}

impl Chapter for Contact {
    const NAME: &'static str = "contact";
    const TITLE: &'static str = "How far the parabola tells the truth";

    fn compute(study: &mut Study<'_>) -> Result<Self, Error> {
        let trained = study.trained()?.to_vec();
        let risk = study.risk(&study.net, &trained)?;
        let (hessian, (loss, gradient)) = (risk.hessian()?, risk.value_and_gradient()?);
        let sample = study.sample();
        let mut objective = Objective::value(&study.net, sample.len(), study.par)?;
        let top = study.top()?;
        let eigenvector: Vec<f64> = (0..trained.len()).map(|i| top.vectors[(i, 0)]).collect();
        let directions = [
            ("top eigenvector", against(eigenvector, &gradient)),
            ("gradient", normalised(gradient.iter().map(|g| -g).collect())),
            ("random direction", against(study.unit(4), &gradient)),
        ];
        let (points, mut slices, mut orders, mut common) = (study.settings.points, Vec::new(), None, 0.0f64);
        for (k, (name, v)) in directions.iter().enumerate() {
            study.tell("loss along lines", k, directions.len())?;
            let curvature = dot(v, &times(&hessian, v, study.par)?);
            let (slope, origin) = (dot(&gradient, v), &trained);
            let mut line =
                Line { objective: &mut objective, sample: &sample, origin, direction: v, loss, slope, curvature };
            let (reach, trust) = (line.parting(PART)?, line.parting(0.1)?);
            if k == 0 {
                common = 2.0 * reach;
            }
            if k == 1 {
                // Along the gradient, because the slope is largest there: the three orders are told apart best.
                orders = Some(contact_orders(&mut line, name, reach)?);
            }
            let at = range(reach, points);
            let common_at = range(common, points);
            slices.push(Slice {
                name: (*name).into(),
                slope,
                curvature,
                trust,
                loss: at.iter().map(|&t| line.at(t)).collect::<Result<_, _>>()?,
                parabola: at.iter().map(|&t| line.parabola(t)).collect(),
                at,
                common_loss: common_at.iter().map(|&t| line.at(t)).collect::<Result<_, _>>()?,
                common_at,
            });
        }
        Ok(Contact { loss, slices, common, orders: orders.ok_or(Error::Order { needed: "a direction" })? })
    }

    fn render(&self, section: &mut Section) {
        section.prose(
            "Two curves **osculate** where they agree in value, slope and bend. Walk away from the trained network in a \
             straight line, and the Hessian predicts a parabola that osculates the loss. Three lines are worth walking: the \
             top eigenvector, the gradient, and a random direction. Distances are lengths in the space of all parameters; \
             each line begins by going downhill to the right.",
        );
        let own = |s: &Slice| {
            let zip = |y: &[f64]| s.at.iter().copied().zip(y.iter().copied()).collect::<Vec<_>>();
            LineChart::new(format!("Along the {}", s.name))
                .x("distance", Scale::Linear)
                .y("loss", Scale::Linear)
                .series("loss", zip(&s.loss), Stroke::Line)
                .series("parabola", zip(&s.parabola), Stroke::Dashed)
        };
        let charts: Vec<(LineChart, String)> = self
            .slices
            .iter()
            .map(|s| {
                let caption = format!(
                    "Slope {}, curvature {}. The parabola is good to a tenth up to a distance of {}.",
                    three(s.slope),
                    three(s.curvature),
                    three(s.trust)
                );
                (own(s), caption)
            })
            .collect();
        let mut shared = LineChart::new("The three on one scale").x("distance", Scale::Linear).y("loss", Scale::Log);
        for s in &self.slices {
            let points = s.common_at.iter().copied().zip(s.common_loss.iter().copied());
            shared = shared.series(s.name.clone(), points, Stroke::Line);
        }
        let last = (
            Figure::Lines(&shared),
            "The loss along the same three lines over one common range: a gorge in one direction, level ground in almost \
             every other."
                .to_owned(),
        );
        section.beside(charts.iter().map(|(c, caption)| (Figure::Lines(c), caption.clone())).chain([last]));
        let mut table = Table::new(["direction", "slope", "curvature", "good to a tenth up to"]);
        for s in &self.slices {
            table = table.row([s.name.clone(), three(s.slope), three(s.curvature), three(s.trust)]);
        }
        section.table(table);
        self.render_orders(section);
    }

    fn headline(&self) -> (String, String) {
        (format!("{:.2}", self.orders.parabola_order), "order of the parabola's error; theory: 3".into())
    }

    fn summary(&self) -> Vec<String> {
        let of = |s: &Slice| format!("{} along the {}", three(s.curvature), s.name);
        vec![
            format!("curvature {}", self.slices.iter().map(of).collect::<Vec<_>>().join(", ")),
            format!("the parabola's error falls with the power {:.2} of the distance", self.orders.parabola_order),
        ]
    }
}

impl Contact {
    fn render_orders(&self, section: &mut Section) {
        let o = &self.orders;
        let zip = |y: &[f64]| o.distance.iter().copied().zip(y.iter().copied()).collect::<Vec<_>>();
        let chart = LineChart::new("The order of contact")
            .x("distance", Scale::Log)
            .y("error of the prediction", Scale::Log)
            .series("constant", zip(&o.constant), Stroke::Solid)
            .series("tangent line", zip(&o.tangent), Stroke::Solid)
            .series("parabola", zip(&o.parabola), Stroke::Solid);
        section.lines(
            &chart,
            format!(
                "Error of three predictions along the {}, both sides averaged. Halve the distance and the error of the \
                 parabola falls eightfold, that of the tangent fourfold.",
                o.direction
            ),
        );
        section.prose(format!(
            "On these axes a power law is a straight line, and its steepness is the order. Measured: {:.2} for the constant, \
             {:.2} for the tangent line, {:.2} for the parabola; theory says 1, 2 and 3. If a second derivative were wrong \
             along this line, the lowest curve would be as flat as the one above it.",
            o.constant_order, o.tangent_order, o.parabola_order
        ));
    }
}

/// The direction, turned so that the loss falls along it at first.
fn against(v: Vec<f64>, gradient: &[f64]) -> Vec<f64> {
    let sign = if dot(&v, gradient) > 0.0 { -1.0 } else { 1.0 };
    v.iter().map(|x| sign * x).collect()
}

/// `points` numbers from `-reach` to `reach`.
fn range(reach: f64, points: usize) -> Vec<f64> {
    (0..points).map(|i| reach * (2.0 * i as f64 / (points - 1) as f64 - 1.0)).collect()
}

fn contact_orders(line: &mut Line<'_>, name: &str, reach: f64) -> Result<Orders, Error> {
    let distance: Vec<f64> =
        (0..DISTANCES).map(|i| reach * 10f64.powf(-DECADES * i as f64 / (DISTANCES - 1) as f64)).collect();
    let mut errors: [Vec<f64>; 3] = Default::default();
    for &t in &distance {
        let mut sums = [0.0; 3];
        for side in [t, -t] {
            let l = line.at(side)?;
            let predictions = [line.loss, line.loss + side * line.slope, line.parabola(side)];
            sums.iter_mut().zip(predictions).for_each(|(s, p)| *s += 0.5 * (l - p).abs());
        }
        errors.iter_mut().zip(sums).for_each(|(list, s)| list.push(s));
    }
    // Near the end of the range higher orders speak up, near its beginning rounding does.
    let middle = DISTANCES / 2..3 * DISTANCES / 4;
    let order = |e: &[f64]| log_slope(&distance[middle.clone()], &e[middle.clone()]);
    let (constant_order, tangent_order, parabola_order) = (order(&errors[0]), order(&errors[1]), order(&errors[2]));
    let [constant, tangent, parabola] = errors;
    Ok(Orders {
        direction: name.into(),
        distance,
        constant,
        tangent,
        parabola,
        constant_order,
        tangent_order,
        parabola_order,
    })
}

/// Least-squares slope of `ln y` over `ln x`; 0 if it does not exist.
fn log_slope(x: &[f64], y: &[f64]) -> f64 {
    let pairs: Vec<(f64, f64)> =
        x.iter().zip(y).filter(|(x, y)| **x > 0.0 && **y > 0.0).map(|(x, y)| (x.ln(), y.ln())).collect();
    let n = pairs.len() as f64;
    let (mx, my) = (pairs.iter().map(|p| p.0).sum::<f64>() / n, pairs.iter().map(|p| p.1).sum::<f64>() / n);
    let (xy, xx) = pairs.iter().fold((0.0, 0.0), |(a, b), p| (a + (p.0 - mx) * (p.1 - my), b + (p.0 - mx).powi(2)));
    if xx > 0.0 { xy / xx } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_orders() {
        let x = [0.1, 0.2, 0.5, 1.0];
        let y = x.map(|t: f64| 3.0 * t.powi(3));
        assert!((log_slope(&x, &y) - 3.0).abs() < 1e-12);
        assert_eq!(log_slope(&[1.0], &[1.0]), 0.0);
    }

    #[test]
    fn directions_go_downhill_and_ranges_are_symmetric() {
        assert_eq!(against(vec![1.0, -2.0], &[3.0, 1.0]), [-1.0, 2.0]);
        assert_eq!(range(2.0, 5), [-2.0, -1.0, 0.0, 1.0, 2.0]);
    }
}
