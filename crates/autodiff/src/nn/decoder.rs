//! `DecoderBlock`: one block of a decoder-only transformer, normalisation first.
//!
//! `y = x + O softmax(Q K^T / sqrt(d) + mask) V`, `z = y + C gelu(E y')`, with `Q, K, V` linear in the normalised `x`, `y'` the normalised
//! `y`, one softmax per head over this and earlier positions. Cost of one datum of `s` positions and width `w`, hidden width `4 w`: `24 s w^2 + 4 s^2 w` flops.
//! Vaswani et al., "Attention is all you need", arXiv:1706.03762; normalisation first after Xiong et al., arXiv:2002.04745.

use crate::trace::Tensor;
use crate::types::{Kind, TensorType};

const EPS: f64 = 1e-5;
/// Added to the scores of later positions: their weight is exactly zero in single and double precision.
const MASKED: f64 = -1e9;

/// Most positions: the mask is a constant of the program.
const MAX_POSITIONS: usize = 8192;

/// Sizes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DecoderBlock {
    pub(super) width: usize,
    pub(super) heads: usize,
    pub(super) hidden: usize,
}

impl DecoderBlock {
    pub(super) fn params(self) -> Vec<(&'static str, Vec<usize>)> {
        let (w, h) = (self.width, self.hidden);
        let mut list = vec![("norm1.weight", vec![w]), ("norm1.bias", vec![w])];
        for (weight, bias) in [
            ("query.weight", "query.bias"),
            ("key.weight", "key.bias"),
            ("value.weight", "value.bias"),
            ("output.weight", "output.bias"),
        ] {
            list.extend([(weight, vec![w, w]), (bias, vec![w])]);
        }
        list.extend([("norm2.weight", vec![w]), ("norm2.bias", vec![w])]);
        list.extend([("expand.weight", vec![h, w]), ("expand.bias", vec![h])]);
        list.extend([("contract.weight", vec![w, h]), ("contract.bias", vec![w])]);
        list
    }

    pub(super) fn check(self) -> Result<(), String> {
        for (key, n) in [("width", self.width), ("heads", self.heads), ("hidden", self.hidden)] {
            if n == 0 {
                return Err(format!("\"{key}\" is 0, expected at least 1"));
            }
        }
        match self.width % self.heads {
            0 => Ok(()),
            _ => Err(format!("\"heads\" is {}, which does not divide the width {}", self.heads, self.width)),
        }
    }

    pub(super) fn infer(self, input: &TensorType) -> Result<TensorType, String> {
        match (input.kind, input.shape.as_slice()) {
            (Kind::Real, [s, w]) if *s <= MAX_POSITIONS && *w == self.width => Ok(input.clone()),
            _ => {
                let w = self.width;
                Err(format!("expects inputs [positions, {w}] with at most {MAX_POSITIONS} positions, got {input}"))
            }
        }
    }

    /// `x: [N, S, width]`; parameters in the order of [`DecoderBlock::params`], checked by the caller to be as many.
    #[track_caller]
    pub(super) fn apply(self, p: &[Tensor], x: &Tensor) -> Tensor {
        let y = x + self.attention(&p[2..10], &(x.normalize(1, EPS) * &p[0] + &p[1]));
        let inner = linear(&(y.normalize(1, EPS) * &p[10] + &p[11]), &p[12], &p[13]).gelu();
        &y + linear(&inner, &p[14], &p[15])
    }

    #[track_caller]
    fn attention(self, p: &[Tensor], x: &Tensor) -> Tensor {
        let shape = x.shape();
        let (n, s) = (shape.first().copied().unwrap_or(1), shape.get(1).copied().unwrap_or(1));
        let each = self.width / self.heads;
        let heads = |i: usize| linear(x, &p[2 * i], &p[2 * i + 1]).reshape(&[n, s, self.heads, each]);
        let (q, k, v) = (heads(0) * (each as f64).powf(-0.5), heads(1), heads(2));
        let later: Vec<f64> = (0..s * s).map(|i| if i % s > i / s { MASKED } else { 0.0 }).collect();
        // [N, heads, S, S], then [N, heads, S, each].
        let scores = q.dot(&k, &[(0, 0), (2, 2)], &[(3, 3)]) + x.tracer().constant(&[s, s], &later);
        let mixed = scores.softmax().dot(&v, &[(0, 0), (1, 2)], &[(3, 1)]);
        linear(&mixed.transpose(&[0, 2, 1, 3]).reshape(&[n, s, self.width]), &p[6], &p[7])
    }
}

#[track_caller]
fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    x.dot(weight, &[], &[(x.rank().wrapping_sub(1), 1)]) + bias
}

#[cfg(test)]
mod tests {
    use crate::nn::{Layer, Loss, Sequential};
    use crate::{Array, Value};

    fn model(positions: usize) -> Sequential {
        let block = Layer::Decoder { width: 6, heads: 2, hidden: Some(5) };
        Sequential::new(&[positions, 6], vec![Layer::Positions { num: 4, dim: 6 }, block]).unwrap()
    }

    fn wave(n: usize, phase: f64) -> Vec<f64> {
        (0..n).map(|i| (phase + 1.7 * i as f64).sin()).collect()
    }

    fn run(model: &Sequential, params: &[f64], x: &[f64], batch: usize) -> Vec<f64> {
        let s = model.input_type().shape[0];
        let inputs = [
            Value::Real(Array::new(&[params.len()], params.to_vec()).unwrap()),
            Value::Real(Array::new(&[batch, s, 6], x.to_vec()).unwrap()),
        ];
        let out = model.trace_model(batch).unwrap().interpret(&inputs).unwrap();
        out[0].real().unwrap().data().to_vec()
    }

    fn normalized(x: &[f64], gain: &[f64], shift: &[f64]) -> Vec<f64> {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
        let scale = (variance + super::EPS).sqrt().recip();
        x.iter().zip(gain).zip(shift).map(|((x, g), b)| (x - mean) * scale * g + b).collect()
    }

    fn affine(x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
        let row = |(w, b): (&[f64], &f64)| w.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + b;
        weight.chunks_exact(x.len()).zip(bias).map(row).collect()
    }

    /// The block position by position, head by head.
    #[test]
    fn the_block_is_what_its_formula_says() {
        let model = model(3);
        let params = wave(model.params().total(), 0.3);
        let x = wave(2 * 3 * 6, 0.9);
        let got = run(&model, &params, &x, 2);
        let mut at = 0;
        let p: Vec<&[f64]> = model
            .params()
            .iter()
            .map(|p| {
                at += p.numel();
                &params[at - p.numel()..at]
            })
            .collect();
        for (x, got) in x.chunks_exact(18).zip(got.chunks_exact(18)) {
            let x: Vec<Vec<f64>> = (0..3).map(|s| (0..6).map(|i| x[6 * s + i] + p[0][6 * s + i]).collect()).collect();
            let parts: Vec<[Vec<f64>; 3]> = x
                .iter()
                .map(|x| {
                    let h = normalized(x, p[1], p[2]);
                    [3, 5, 7].map(|i| affine(&h, p[i], p[i + 1]))
                })
                .collect();
            for s in 0..3 {
                let mut mixed = vec![0.0; 6];
                for head in [0..3, 3..6] {
                    let score = |t: usize| {
                        let dot: f64 = head.clone().map(|i| parts[s][0][i] * parts[t][1][i]).sum();
                        (dot / 3f64.sqrt()).exp()
                    };
                    let total: f64 = (0..=s).map(score).sum();
                    for i in head.clone() {
                        mixed[i] = (0..=s).map(|t| score(t) / total * parts[t][2][i]).sum();
                    }
                }
                let y: Vec<f64> = x[s].iter().zip(affine(&mixed, p[9], p[10])).map(|(a, b)| a + b).collect();
                let gelu = |z: f64| {
                    let model = Sequential::new(&[1], vec![Layer::Gelu {}]).unwrap();
                    let none = Value::Real(Array::new(&[0], vec![]).unwrap());
                    let z = Value::Real(Array::new(&[1, 1], vec![z]).unwrap());
                    model.trace_model(1).unwrap().interpret(&[none, z]).unwrap()[0].real().unwrap().data()[0]
                };
                let inner: Vec<f64> =
                    affine(&normalized(&y, p[11], p[12]), p[13], p[14]).into_iter().map(gelu).collect();
                for (i, (y, z)) in y.iter().zip(affine(&inner, p[15], p[16])).enumerate() {
                    assert!((y + z - got[6 * s + i]).abs() < 1e-12, "{s} {i}");
                }
            }
        }
    }

    #[test]
    fn later_positions_change_nothing_before_them() {
        let model = model(4);
        let params = wave(model.params().total(), 0.1);
        let mut x = wave(24, 0.2);
        let before = run(&model, &params, &x, 1);
        x[18..].iter_mut().for_each(|x| *x += 3.0);
        let after = run(&model, &params, &x, 1);
        assert_eq!(before[..18], after[..18]);
        assert_ne!(before[18..], after[18..]);
    }

    #[test]
    fn its_gradient_is_that_of_differences() {
        let model = model(3);
        let risk = model.trace_loss(1, &Loss::mse(), false).unwrap();
        let params = wave(model.params().total(), 0.5);
        let value = |params: &[f64], program: &crate::Program| {
            let inputs = [
                Value::Real(Array::new(&[params.len()], params.to_vec()).unwrap()),
                Value::Real(Array::new(&[1, 3, 6], wave(18, 0.7)).unwrap()),
                Value::Real(Array::new(&[1, 3, 6], wave(18, 2.7)).unwrap()),
            ];
            program.interpret(&inputs).unwrap()[0].real().unwrap().data().to_vec()
        };
        let gradient = value(&params, &risk.grad(&[0]).unwrap());
        for i in (0..params.len()).step_by(7) {
            let at = |h: f64| {
                let mut p = params.clone();
                p[i] += h;
                value(&p, &risk)[0]
            };
            let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!(
                (difference - gradient[i]).abs() < 1e-6 * difference.abs().max(1.0),
                "{i}: {difference} {}",
                gradient[i]
            );
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_named() {
        let of = |input: &[usize], layer: Layer| Sequential::new(input, vec![layer]).unwrap_err().to_string();
        let block = |width, heads| Layer::Decoder { width, heads, hidden: None };
        assert!(of(&[3, 6], block(6, 4)).contains("does not divide the width 6"));
        assert!(of(&[3, 6], block(6, 0)).contains("\"heads\" is 0"));
        assert!(of(&[3, 5], block(6, 2)).contains("[positions, 6]"));
        assert!(of(&[1_000_000, 6], block(6, 2)).contains("at most 8192"));
        assert!(of(&[5, 6], Layer::Positions { num: 4, dim: 6 }).contains("at most 4 positions"));
    }
}
