//! A small language model on a Markov source: how far each method comes in 1500 steps, in nats above the entropy of the source.
//!
//! Order 2, 32 symbols, transition rows from a Dirichlet law of parameter 0.15; 400 000 training and 60 000 test positions. Model: embedding
//! 32 x 16, context 4, two tanh layers of 128, linear head. Batch 256, warm-up 5 per cent, linear decay over the last 40 per cent, no weight
//! decay; biases by AdamW at 3e-3. Every method has four learning rates; which methods those are is in `settings`.

use crate::jobs::Failure;
use numerics::rng::{Role, Stream};
use numerics::{MatMut, MatRef, Par, dense, simd};
use optim::problems::MarkovSource;
use optim::{AdamWConfig, Grads, Method, Optimizer, ParamGroup, ParamList, Schedule};
use std::time::Instant;

const SYMBOLS: usize = 32;
const CONTEXT: usize = 4;
const WIDTH: usize = 16;
const HIDDEN: usize = 128;
const BATCH: usize = 256;
const STREAMS: usize = 512;

/// What was drawn from the source.
pub(crate) struct Data {
    /// `CONTEXT + 1` symbols for each position.
    train: Vec<usize>,
    test: Vec<usize>,
    pub(crate) entropy: f64,
}

impl Data {
    /// Windows of the source that `draw` decides.
    pub(crate) fn new(train: usize, test: usize, draw: u64) -> Result<Self, Failure> {
        let source = MarkovSource::new(SYMBOLS, 0.15, draw)?;
        let windows = |count, part| source.windows(count, CONTEXT + 1, STREAMS, part);
        Ok(Data { entropy: source.entropy_rate(), train: windows(train, 1), test: windows(test, 2) })
    }
}

/// Shapes in the order of the flat vector: the two hidden matrices, the other matrices, biases.
const SHAPES: [(&str, &[usize]); 7] = [
    ("hidden1", &[HIDDEN, CONTEXT * WIDTH]),
    ("hidden2", &[HIDDEN, HIDDEN]),
    ("embedding", &[SYMBOLS, WIDTH]),
    ("head", &[SYMBOLS, HIDDEN]),
    ("bias1", &[HIDDEN]),
    ("bias2", &[HIDDEN]),
    ("bias3", &[SYMBOLS]),
];

fn ranges() -> [core::ops::Range<usize>; 7] {
    let mut at = 0;
    SHAPES.map(|(_, shape)| {
        let from = at;
        at += shape.iter().product::<usize>();
        from..at
    })
}

fn start(seed: u64) -> Vec<f32> {
    let mut w = vec![0.0; ranges()[6].end];
    for (i, range) in ranges().into_iter().enumerate().take(4) {
        let scale = if i == 2 { 0.5 } else { (SHAPES[i].1[1] as f64).sqrt().recip() };
        let mut s = Stream::new(seed, Role::Init, i as u64, 0);
        w[range].iter_mut().for_each(|w| *w = (scale * s.normal()) as f32);
    }
    w
}

fn view(x: &[f32], cols: usize) -> MatRef<'_, f32> {
    MatRef::from_row_major_slice(x, x.len() / cols, cols)
}

fn view_mut(x: &mut [f32], cols: usize) -> MatMut<'_, f32> {
    let rows = x.len() / cols;
    MatMut::from_row_major_slice_mut(x, rows, cols)
}

/// `out = x w^T + bias`.
fn linear(x: &[f32], w: &[f32], bias: &[f32], out: &mut [f32]) {
    let (inner, outer) = (w.len() / bias.len(), bias.len());
    out.chunks_exact_mut(outer).for_each(|row| row.copy_from_slice(bias));
    dense::gemm(view_mut(out, outer), 1.0, view(x, inner), view(w, inner).transpose(), 1.0, Par::Seq);
}

/// Activations of one batch.
struct Pass {
    x: [Vec<f32>; 3],
    logits: Vec<f32>,
    back: [Vec<f32>; 3],
}

impl Pass {
    fn new(batch: usize) -> Self {
        let widths = [CONTEXT * WIDTH, HIDDEN, HIDDEN];
        let room = || widths.map(|n| vec![0.0; n * batch]);
        Pass { x: room(), logits: vec![0.0; SYMBOLS * batch], back: room() }
    }

    /// Mean loss; the logits are left as `(softmax - target) / batch`.
    fn forward(&mut self, w: &[f32], windows: &[&[usize]]) -> f64 {
        let r = ranges();
        let embedding = &w[r[2].clone()];
        for (row, window) in self.x[0].chunks_exact_mut(CONTEXT * WIDTH).zip(windows) {
            for (part, &symbol) in row.chunks_exact_mut(WIDTH).zip(*window) {
                part.copy_from_slice(&embedding[symbol * WIDTH..(symbol + 1) * WIDTH]);
            }
        }
        let [x0, x1, x2] = &mut self.x;
        linear(x0, &w[r[0].clone()], &w[r[4].clone()], x1);
        simd::unary_inplace(simd::Unary::Tanh, x1);
        linear(x1, &w[r[1].clone()], &w[r[5].clone()], x2);
        simd::unary_inplace(simd::Unary::Tanh, x2);
        linear(x2, &w[r[3].clone()], &w[r[6].clone()], &mut self.logits);
        let mut loss = 0.0;
        for (row, window) in self.logits.chunks_exact_mut(SYMBOLS).zip(windows) {
            let top = row.iter().fold(f32::MIN, |a, &b| a.max(b));
            let target = window[CONTEXT];
            let own = row[target] - top;
            row.iter_mut().for_each(|x| *x = (*x - top).exp());
            let sum: f32 = row.iter().sum();
            loss += f64::from(sum.ln() - own);
            row.iter_mut().for_each(|x| *x /= sum * windows.len() as f32);
            row[target] -= 1.0 / windows.len() as f32;
        }
        loss / windows.len() as f64
    }

    /// The gradient, after [`Pass::forward`].
    fn backward(&mut self, w: &[f32], windows: &[&[usize]], g: &mut [f32]) {
        let r = ranges();
        let [b0, b1, b2] = &mut self.back;
        for (delta, matrix, bias, x, back) in
            [(None, 3, 6, &self.x[2], b2), (Some(2), 1, 5, &self.x[1], b1), (Some(1), 0, 4, &self.x[0], b0)]
        {
            // Cotangent of the layer's output: of the logits, or of a tanh layer's argument.
            if let Some(layer) = delta {
                let x: &[f32] = &self.x[layer];
                self.logits.resize(x.len(), 0.0);
                self.logits.iter_mut().zip(x).for_each(|(d, &y)| *d *= 1.0 - y * y);
            }
            let (outer, inner) = (SHAPES[matrix].1[0], SHAPES[matrix].1[1]);
            let delta = view(&self.logits, outer);
            dense::gemm(
                view_mut(&mut g[r[matrix].clone()], inner),
                1.0,
                delta.transpose(),
                view(x, inner),
                0.0,
                Par::Seq,
            );
            let sums = &mut g[r[bias].clone()];
            sums.fill(0.0);
            for row in self.logits.chunks_exact(outer) {
                sums.iter_mut().zip(row).for_each(|(s, d)| *s += d);
            }
            dense::gemm(view_mut(back, inner), 1.0, delta, view(&w[r[matrix].clone()], inner), 0.0, Par::Seq);
            self.logits.clear();
            self.logits.extend_from_slice(back);
        }
        let embedding = &mut g[r[2].clone()];
        embedding.fill(0.0);
        for (row, window) in self.logits.chunks_exact(CONTEXT * WIDTH).zip(windows) {
            for (part, &symbol) in row.chunks_exact(WIDTH).zip(*window) {
                let own = &mut embedding[symbol * WIDTH..(symbol + 1) * WIDTH];
                own.iter_mut().zip(part).for_each(|(e, d)| *e += d);
            }
        }
        self.logits.resize(SYMBOLS * windows.len(), 0.0);
    }
}

/// An optimiser with the range that it moves.
type Part = (Box<dyn Optimizer<f32>>, core::ops::Range<usize>);

fn part(method: &Method, from: usize, to: usize) -> Result<Part, Failure> {
    let mut list = ParamList::new();
    let matrices = list.add_group(ParamGroup::new("matrices").weight_decay(0.0));
    let biases = list.add_group(ParamGroup::new("biases").lr(3e-3).weight_decay(0.0));
    for (name, shape) in &SHAPES[from..to] {
        list.push(*name, shape, if shape.len() == 1 { biases } else { matrices })?;
    }
    let mut optimizer = method.build::<f32>()?;
    optimizer.init(&list)?;
    // Root-free methods see the curvature of single data in the gradient of a mean.
    optimizer.set_batch(BATCH as f64)?;
    Ok((optimizer, ranges()[from].start..ranges()[to - 1].end))
}

fn parts(method: &Method) -> Result<Vec<Part>, Failure> {
    if let Method::Muon(c) = method {
        let rest = Method::AdamW(AdamWConfig { lr: 1e-2, beta2: 0.98, ..c.vectors });
        return Ok(vec![part(method, 0, 2)?, part(&rest, 2, 7)?]);
    }
    Ok(vec![part(method, 0, 7)?])
}

/// Nats above the entropy on the test set, and milliseconds per step of the optimiser alone.
pub(crate) fn train(data: &Data, method: &Method, seed: u64, steps: u64) -> Result<(Option<f64>, f64), Failure> {
    let mut w = start(seed);
    let mut g = vec![0.0; w.len()];
    let mut parts = parts(method)?;
    let schedule = Schedule::wsd(steps, steps * 2 / 5, 0.0).warmup(steps / 20);
    let (mut pass, mut seconds) = (Pass::new(BATCH), 0.0);
    let size = CONTEXT + 1;
    for t in 0..steps {
        let mut s = Stream::new(seed, Role::Shuffle, t, 0);
        let positions = (data.train.len() / size) as u64;
        let at = |k: usize| &data.train[k * size..(k + 1) * size];
        let windows: Vec<&[usize]> = (0..BATCH).map(|_| at(s.below(positions) as usize)).collect();
        let loss = pass.forward(&w, &windows);
        if !loss.is_finite() {
            return Ok((None, 0.0));
        }
        pass.backward(&w, &windows, &mut g);
        let begun = Instant::now();
        for (optimizer, range) in &mut parts {
            optimizer.step(&mut w[range.clone()], Grads::all(&g[range.clone()]), schedule.at(t))?;
        }
        seconds += begun.elapsed().as_secs_f64();
    }
    let windows: Vec<&[usize]> = data.test.chunks_exact(size).collect();
    let chunks: Vec<f64> = windows.chunks_exact(1000).map(|c| Pass::new(c.len()).forward(&w, c)).collect();
    let loss = chunks.iter().sum::<f64>() / chunks.len() as f64;
    Ok((loss.is_finite().then_some(loss - data.entropy), 1e3 * seconds / steps as f64))
}
