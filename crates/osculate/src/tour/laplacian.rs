//! One Laplacian, four ways: how the loss bends in the pixels, by nested derivatives, Taylor mode, collapsed Taylor mode
//! (arXiv:2505.13644), and by what the cost model picks.
//!
//! Noise of size `s` in the pixels raises the mean loss by `s^2/2` times its Laplacian, up to `s^4`. So the chapter ends with a check
//! that needs no derivative.

use super::Error;
use super::chapter::Chapter;
use super::fit::Objective;
use super::study::{Part, Study};
use super::words::{error, plural, three, time};
use crate::data::PIXELS;
use crate::plot::{BarChart, Figure, HeatMap, HeatScale, LineChart, Scale, Section, Stroke, Table};
use autodiff::nn::{Loss, Sequential};
use autodiff::pde::{Chunked, Operator, Pde, Strategy};
use autodiff::{Input, Jet, Output, Program, TensorType, trace};
use numerics::Par;
use numerics::rng::{Role, Stream};
use serde::{Deserialize, Serialize};
use std::time::Instant;

const WAYS: [(&str, Strategy); 4] = [
    ("nested", Strategy::Nested),
    ("Taylor mode", Strategy::Taylor),
    ("collapsed", Strategy::Collapsed),
    ("automatic", Strategy::Auto),
];
/// Pictures that are evaluated at a time.
const CHUNK: usize = 8;
/// Numbers of pictures at a time whose memory is shown.
const CHUNKS: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// Sizes of noise, and pairs of noisy copies of every picture.
const NOISE: [f64; 8] = [0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3];
const PAIRS: u64 = 24;

/// The Laplacian of the loss in the pixels by four strategies, and the rise of the loss under noise.
#[derive(Serialize, Deserialize)]
pub(super) struct Laplacian {
    pictures: usize,
    chunk: usize,
    ways: Vec<Way>,
    /// Mean over the pictures.
    mean: f64,
    /// Mean second derivative in each pixel; their sum is the Laplacian.
    pixels: Vec<f64>,
    noise: Noise,
    timing: Timing,
}

/// One strategy.
#[derive(Serialize, Deserialize)]
struct Way {
    name: String,
    /// Vectors that a picture brings through a hidden layer.
    vectors: usize,
    /// Floating-point operations for one picture.
    flops: f64,
    /// Kilobytes of scratch memory by the number of pictures at a time.
    memory: Vec<(f64, f64)>,
    /// Largest difference from the first one over all pictures, relative to the largest Laplacian.
    difference: f64,
}

/// Mean rise of the loss under Gaussian noise in the pixels.
#[derive(Serialize, Deserialize)]
struct Noise {
    pairs: u64,
    size: Vec<f64>,
    measured: Vec<f64>,
    /// Standard error of the measured rise.
    error: Vec<f64>,
    predicted: Vec<f64>,
}

/// Seconds for one picture, by strategy.
#[derive(Serialize, Deserialize)]
struct Timing {
    microseconds: Vec<f64>,
}

/// The loss of each of `rows` pictures: `(params, inputs, labels)` to `[rows]`.
fn losses(net: &Sequential, rows: usize) -> Result<Program, Error> {
    let model = net.trace_model(rows)?;
    let ports = [
        ("params", model.input_type(0).clone()),
        ("inputs", model.input_type(1).clone()),
        ("labels", TensorType::int(&[rows])),
    ];
    Ok(trace(&ports, |t, x| {
        let scores = t.call(&model, &[&x[0], &x[1]]).swap_remove(0);
        vec![("losses", Loss::cross_entropy().weighted_terms(&scores, &x[2]))]
    })?)
}

/// Second derivatives of the loss in every pixel, summed over `rows` pictures: `[64]`.
fn pure_derivatives(net: &Sequential, rows: usize) -> Result<Program, Error> {
    let jet = losses(net, rows)?.jet(&[1], &Jet::new(2, PIXELS).straight())?;
    let ports: Vec<_> = (0..3).map(|i| (jet.inputs()[i].name.as_str(), jet.input_type(i).clone())).collect();
    let units: Vec<f64> = (0..PIXELS * PIXELS).map(|k| f64::from(u8::from(k / PIXELS == k % PIXELS))).collect();
    let program = trace(&ports, |t, x| {
        let units = t.constant(&[PIXELS, 1, PIXELS], &units).broadcast_to(&[PIXELS, rows, PIXELS]);
        let second = t.call(&jet, &[&x[0], &x[1], &x[2], &units]).swap_remove(2);
        vec![("second", second.sum(&[1]))]
    })?;
    Ok(program.simplify()?)
}

fn laplacian(net: &Sequential, rows: usize, strategy: Strategy) -> Result<Program, Error> {
    let loss = losses(net, rows)?;
    Ok(Pde::new(&loss, 1).strategy(strategy).operator("laplacian", Operator::Laplacian).build()?)
}

fn way(net: &Sequential, name: &str, strategy: Strategy) -> Result<Way, Error> {
    let loss = losses(net, CHUNK)?;
    let costs = Pde::new(&loss, 1).strategy(strategy).operator("laplacian", Operator::Laplacian).costs()?;
    let kilobytes = |rows: usize| -> Result<(f64, f64), Error> {
        let exe = laplacian(net, rows, strategy)?.stack()?.compile::<f64>()?;
        Ok((rows as f64, exe.workspace_bytes() as f64 / 1024.0))
    };
    Ok(Way {
        name: name.into(),
        vectors: costs.first().map_or(0, |c| c.vectors),
        flops: costs.first().map_or(0, |c| c.flops) as f64 / CHUNK as f64,
        memory: CHUNKS.into_iter().map(kilobytes).collect::<Result<_, _>>()?,
        difference: 0.0,
    })
}

impl Noise {
    /// Every picture twice, with the noise added and taken away, so that what is odd in the noise drops out.
    fn measure(study: &Study<'_>, params: &[f64], sample: &Part, mean: f64) -> Result<Self, Error> {
        let mut objective = Objective::value(&study.net, sample.len(), study.par)?;
        let mut at = |pixels: &[f64]| Ok::<f64, Error>(objective.evaluate(params, pixels, &sample.labels)?.0);
        let still = at(&sample.inputs)?;
        let mut rises = vec![Vec::with_capacity(PAIRS as usize); NOISE.len()];
        let mut noise = vec![0.0; sample.inputs.len()];
        for pair in 0..PAIRS {
            study.tell("loss under noise", pair as usize, PAIRS as usize)?;
            Stream::new(study.settings.seed, Role::PdeDirections, pair, 0).fill_normal(&mut noise);
            for (size, rises) in NOISE.iter().zip(&mut rises) {
                let mut moved = |sign: f64| {
                    let pixels: Vec<f64> = sample.inputs.iter().zip(&noise).map(|(x, e)| x + sign * size * e).collect();
                    at(&pixels)
                };
                rises.push(0.5 * (moved(1.0)? + moved(-1.0)?) - still);
            }
        }
        let average = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        let measured: Vec<f64> = rises.iter().map(|x| average(x)).collect();
        let error = |(x, m): (&Vec<f64>, &f64)| {
            let squares: f64 = x.iter().map(|x| (x - m).powi(2)).sum();
            (squares / ((PAIRS - 1) * PAIRS) as f64).sqrt()
        };
        Ok(Noise {
            pairs: PAIRS,
            size: NOISE.to_vec(),
            error: rises.iter().zip(&measured).map(error).collect(),
            measured,
            predicted: NOISE.iter().map(|s| 0.5 * s * s * mean).collect(),
        })
    }
}

impl Chapter for Laplacian {
    const NAME: &'static str = "laplacian";
    const TITLE: &'static str = "One Laplacian, four ways";

    fn compute(study: &mut Study<'_>) -> Result<Self, Error> {
        let (params, sample) = (study.trained()?.to_vec(), study.sample());
        let (net, n) = (&study.net, sample.len());
        let inputs = [Input::Real(&params), Input::Real(&sample.inputs), Input::Int(&sample.labels)];
        let (mut ways, mut runs, mut values) = (Vec::new(), Vec::new(), vec![vec![0.0; n]; WAYS.len()]);
        for (k, (name, strategy)) in WAYS.into_iter().enumerate() {
            study.tell("a Laplacian four ways", k, WAYS.len())?;
            ways.push(way(net, name, strategy)?);
            runs.push(Chunked::<f64>::new(n, CHUNK, |rows| laplacian(net, rows, strategy))?);
        }
        let mut best = [f64::INFINITY; WAYS.len()];
        // The first round warms up.
        for round in 0..=study.settings.repeats {
            study.tell("a Laplacian four ways, timed", round, study.settings.repeats + 1)?;
            for ((run, values), best) in runs.iter().zip(&mut values).zip(&mut best) {
                let started = Instant::now();
                run.run(Par::Seq, &inputs, &mut [Output::Real(values)])?;
                if round > 0 {
                    *best = best.min(started.elapsed().as_secs_f64());
                }
            }
        }
        let largest = values[0].iter().fold(0.0f64, |m, x| m.max(x.abs()));
        for (way, own) in ways.iter_mut().zip(&values) {
            way.difference = own.iter().zip(&values[0]).fold(0.0f64, |m, (x, y)| m.max((x - y).abs())) / largest;
        }
        let mean = values[2].iter().sum::<f64>() / n as f64;
        let mut pixels = vec![0.0; PIXELS];
        Chunked::<f64>::new(n, CHUNK, |rows| pure_derivatives(net, rows))?.run(
            Par::Seq,
            &inputs,
            &mut [Output::Real(&mut pixels)],
        )?;
        pixels.iter_mut().for_each(|x| *x /= n as f64);
        Ok(Laplacian {
            pictures: n,
            chunk: CHUNK,
            noise: Noise::measure(study, &params, &sample, mean)?,
            ways,
            mean,
            pixels,
            timing: Timing { microseconds: best.iter().map(|s| 1e6 * s / n as f64).collect() },
        })
    }

    fn render(&self, section: &mut Section) {
        section.prose(format!(
            "Until here the network's weights moved. Now they stand still and the picture moves: the **Laplacian** of the loss in \
             the {PIXELS} pixels is the sum of its second derivatives in each of them. It is the simplest operator of a \
             differential equation, and says how much of a loss a little noise in the picture costs. Nobody needs the matrix of \
             second derivatives for it.",
        ));
        section.prose(
            "Four programs compute it. **Nested** derivatives multiply the Hessian by every unit vector, forward over reverse. **Taylor \
             mode** moves along a line in each pixel and carries the first and the second coefficient of each through every layer; the \
             second ones are added up at the end. But what is added at the end can be added at the start: **collapsed** Taylor mode \
             (arXiv:2505.13644) carries their sum alone, which is one vector in the place of one for each pixel, \
             and moves along no more directions than the first layer is wide. **Automatic** is what \
             a model of the finished programs' cost picks.",
        );
        self.table(section);
        self.costs(section);
        self.pixels(section);
        self.noise(section);
    }

    fn headline(&self) -> (String, String) {
        let named = |name: &str| self.ways.iter().find(|w| w.name == name);
        let vectors = |name: &str| named(name).map_or_else(|| "–".to_owned(), |w| w.vectors.to_string());
        (vectors(WAYS[2].0), format!("vectors for a Laplacian, standard Taylor mode {}", vectors(WAYS[1].0)))
    }

    fn summary(&self) -> Vec<String> {
        let line = |(way, us): (&Way, &f64)| {
            format!("{}: {}, {} a picture", way.name, plural(way.vectors, "vector"), time(1e-6 * us))
        };
        let largest = self.ways.iter().fold(0.0f64, |m, w| m.max(w.difference));
        let all: Vec<String> = self.ways.iter().zip(&self.timing.microseconds).map(line).collect();
        vec![all.join("; "), format!("they differ by {} at most", error(largest))]
    }
}

impl Laplacian {
    fn table(&self, section: &mut Section) {
        let mut table = Table::new(["", "vectors", "operations", "memory, kB", "time", "difference"]);
        for (k, way) in self.ways.iter().enumerate() {
            let memory = way.memory.iter().find(|m| m.0 == self.chunk as f64);
            table = table.row([
                way.name.clone(),
                way.vectors.to_string(),
                three(way.flops),
                memory.map_or_else(|| "–".to_owned(), |m| three(m.1)),
                self.timing.microseconds.get(k).map_or_else(|| "–".to_owned(), |us| time(1e-6 * us)),
                if k == 0 { "–".into() } else { error(way.difference) },
            ]);
        }
        section.table(table);
        section.note(format!(
            "Vectors: what one picture brings through a hidden layer. Operations and time: for one picture. Memory: scratch memory for {} at a time. Difference: the \
             largest from the first row over {}, relative to the largest Laplacian.",
            plural(self.chunk, "picture"),
            plural(self.pictures, "picture")
        ));
    }

    fn costs(&self, section: &mut Section) {
        let mut bars = BarChart::new("Time for a picture", "microseconds", Scale::Linear);
        let mut lines = LineChart::new("Scratch memory").x("pictures at a time", Scale::Log).y("kilobytes", Scale::Log);
        for (way, &us) in self.ways.iter().zip(&self.timing.microseconds) {
            bars = bars.bar(way.name.as_str(), us, None);
        }
        for way in self.ways.iter().filter(|w| w.name != WAYS[3].0) {
            lines = lines.series(way.name.as_str(), way.memory.iter().copied(), Stroke::Solid);
        }
        section.beside([
            (
                Figure::Bars(&bars),
                "The best of alternating rounds on one thread of the machine that made this page; half the vectors take about half the time \
                 where the layers are wide enough for products to rule."
                    .to_owned(),
            ),
            (
                Figure::Lines(&lines),
                "What a program needs besides its inputs and outputs. It grows with the pictures at a time and not with all \
                 pictures, which go through the program a few at a time, so that their coefficients stay in the cache."
                    .to_owned(),
            ),
        ]);
    }

    fn pixels(&self, section: &mut Section) {
        let side = PIXELS.isqrt();
        let title = "Mean second derivative in each pixel";
        if let Some(map) = HeatMap::new(title, side, side, self.pixels.clone(), HeatScale::Diverging) {
            let map = map.with_axes("row", "column").with_values(1);
            section.heat(
                &map,
                format!(
                    "Taylor mode without the sum: where the loss bends most when a pixel changes. The cells add up to the mean \
                     Laplacian, {}.",
                    three(self.mean)
                ),
            );
        }
    }

    fn noise(&self, section: &mut Section) {
        let Noise { pairs, size, measured, error: _, predicted } = &self.noise;
        let pair = |y: &[f64]| -> Vec<(f64, f64)> { size.iter().copied().zip(y.iter().copied()).collect() };
        let chart = LineChart::new("What noise in the pixels costs")
            .x("noise in every pixel", Scale::Log)
            .y("rise of the mean loss", Scale::Log)
            .series("measured", pair(measured), Stroke::Solid)
            .series("half its square times the Laplacian", pair(predicted), Stroke::Dashed);
        section.lines(
            &chart,
            format!(
                "Gaussian noise added to every picture and taken from it, {pairs} draws, white being 1. For little noise the Laplacian \
                 alone tells what it costs; where the lines part, the fourth derivatives speak up.",
            ),
        );
        let (Some(s), Some(m), Some(p)) = (size.first(), measured.first(), predicted.first()) else { return };
        let e = self.noise.error.first().copied().unwrap_or(f64::NAN);
        section.prose(format!(
            "At the least noise, {}, the loss rises by {} ± {} where the Laplacian says {}: nothing of the sort was \
             differentiated for the first number.",
            three(*s),
            three(*m),
            three(e),
            three(*p)
        ));
    }
}
