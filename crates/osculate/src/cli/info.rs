//! `osculate info MODEL`: what a model is made of.

use super::text::{Side, count, prefixed, shape, table};
use super::{Context, Error, Reply};
use autodiff::nn::Sequential;
use clap::Args;
use numerics::DType;
use numerics::store::File;
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Examples:\n  osculate info model/\n  osculate info model/config.json --json\n  \
    osculate info model/ --program\n  osculate info model/ --dot | dot -Tsvg > model.svg")]
pub(super) struct Info {
    /// A directory with config.json, or a configuration file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// The traced program of one datum instead of the tables
    #[arg(long)]
    program: bool,
    /// The traced program of one datum in the language of Graphviz
    #[arg(long, conflicts_with = "program")]
    dot: bool,
}

/// A model and what was found out about it.
struct Facts {
    model: Sequential,
    dtype: DType,
    checked: bool,
    flops: u64,
    layer_flops: Vec<u64>,
}

impl Info {
    pub(super) fn run(&self, context: &Context) -> Result<Reply, Error> {
        let model = Sequential::load_config(&self.model)?;
        let weights = Sequential::weights_file(&self.model);
        if let Some(file) = &weights {
            model.params_from_file::<f64>(&File::read(file)?)?;
        }
        let layer_flops =
            (0..model.layers().len()).map(|i| Ok(model.layer_flops(i)?.unwrap_or(0))).collect::<Result<_, Error>>()?;
        let dtype = context.dtype.unwrap_or(DType::F64);
        let facts = Facts { dtype, checked: weights.is_some(), flops: model.flops_per_datum()?, layer_flops, model };
        let reply = facts.reply();
        Ok(if self.program || self.dot {
            let program = facts.model.trace_model(1)?;
            let (name, text) = if self.dot { ("dot", program.to_dot()) } else { ("program", program.to_string()) };
            reply.with(name, text.as_str()).with_text(text)
        } else {
            reply.with_text(facts.text(&self.model.display().to_string()))
        })
    }
}

impl Facts {
    fn reply(&self) -> Reply {
        let m = &self.model;
        let layers: Vec<_> = m
            .layers()
            .iter()
            .enumerate()
            .map(|(i, l)| {
                json!({"index": i, "type": l.name(), "description": l.to_string(), "input": self.input_of(i),
                    "output": self.output_of(i), "parameters": self.parameters_of(i),
                    "flops_per_datum": self.layer_flops[i]})
            })
            .collect();
        let tensors: Vec<_> = m
            .params()
            .iter()
            .enumerate()
            .map(|(i, p)| {
                json!({"name": p.name(), "shape": p.shape(), "offset": p.offset(), "size": p.numel(),
                    "layer": m.layer_of(i).map(|(index, _)| index)})
            })
            .collect();
        Reply::new("info", self.dtype, String::new())
            .with("model_type", "sequential")
            .with("input", m.input_type().shape.as_slice())
            .with("output", m.output_type().shape.as_slice())
            .with("parameters", m.params().total())
            .with("weights_checked", self.checked)
            .with("flops_per_datum", self.flops)
            .with("layers", layers)
            .with("tensors", tensors)
    }

    fn input_of(&self, layer: usize) -> &[usize] {
        match layer.checked_sub(1) {
            Some(before) => self.output_of(before),
            None => &self.model.input_type().shape,
        }
    }

    fn output_of(&self, layer: usize) -> &[usize] {
        self.model.layer_output(layer).map_or(&[], |t| t.shape.as_slice())
    }

    fn parameters_of(&self, layer: usize) -> usize {
        let shapes = self.model.layers()[layer].params();
        shapes.iter().map(|(_, s)| s.iter().product::<usize>()).sum()
    }

    fn text(&self, name: &str) -> String {
        let m = &self.model;
        let p = m.params().total();
        let mut out = format!(
            "{name}: sequential, {} -> {}\n{} parameters ({}B in {}), {} flops per datum\n",
            m.input_type(),
            m.output_type(),
            count(p as u64),
            spaced(prefixed(p as f64 * self.dtype.size() as f64)),
            self.dtype,
            prefixed(self.flops as f64),
        );
        if self.checked {
            out += "model.safetensors: every tensor present, of the right shape, finite\n";
        }
        out += "\n";
        out += &self.layer_table();
        if p > 0 {
            out += "\n";
            out += &self.tensor_table();
        }
        out
    }

    fn layer_table(&self) -> String {
        let row = |(i, l): (usize, &autodiff::nn::Layer)| {
            vec![
                i.to_string(),
                l.to_string(),
                shape(self.output_of(i)),
                count(self.parameters_of(i) as u64),
                prefixed(self.layer_flops[i] as f64),
            ]
        };
        let rows: Vec<Vec<String>> = self.model.layers().iter().enumerate().map(row).collect();
        let header = [
            ("layer", Side::Right),
            ("kind", Side::Left),
            ("output", Side::Left),
            ("parameters", Side::Right),
            ("flops", Side::Right),
        ];
        table(&header, &rows)
    }

    fn tensor_table(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .model
            .params()
            .iter()
            .map(|p| vec![p.name().to_owned(), shape(p.shape()), p.offset().to_string(), p.numel().to_string()])
            .collect();
        let header = [("tensor", Side::Left), ("shape", Side::Left), ("offset", Side::Right), ("size", Side::Right)];
        table(&header, &rows)
    }
}

/// `12` to `12 `, `1.2 k` stays: what comes before a unit.
fn spaced(number: String) -> String {
    if number.contains(' ') { number } else { number + " " }
}
