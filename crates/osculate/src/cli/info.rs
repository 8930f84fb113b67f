//! `osculate info MODEL`: what a model is made of.

use super::text::{Side, count, prefixed, shape, table};
use super::{Context, Error, Reply};
use crate::model::Sequential;
use clap::Args;
use numerics::DType;
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Examples:\n  osculate info model/\n  osculate info model/config.json --json")]
pub(super) struct Info {
    /// A directory with config.json, or a configuration file
    #[arg(value_name = "MODEL")]
    model: PathBuf,
}

impl Info {
    pub(super) fn run(&self, context: &Context) -> Result<Reply, Error> {
        let model = Sequential::read(&self.model)?;
        let dtype = context.dtype.unwrap_or(DType::F64);
        let weights = self.model.join("model.safetensors");
        let checked = weights.is_file();
        if checked {
            model.read_weights::<f64>(&weights)?;
        }
        let layers: Vec<_> = model
            .layers()
            .iter()
            .enumerate()
            .map(|(i, l)| {
                json!({"index": i, "type": l.kind.name(), "description": l.kind.to_string(), "input": l.input,
                    "output": l.output, "parameters": l.parameters, "flops_per_datum": l.flops})
            })
            .collect();
        Ok(Reply::new("info", dtype, self.text(&model, dtype, checked))
            .with("model_type", "sequential")
            .with("input", model.input())
            .with("output", model.output())
            .with("parameters", model.parameter_count())
            .with("weights_checked", checked)
            .with("flops_per_datum", model.flops())
            .with("layers", layers)
            .with("tensors", json!(model.parameters())))
    }

    fn text(&self, model: &Sequential, dtype: DType, checked: bool) -> String {
        let p = model.parameter_count();
        let mut out = format!(
            "{}: sequential, {} -> {}\n{} parameters ({}B in {dtype}), {} flops per datum\n\n",
            self.model.display(),
            shape(model.input()),
            shape(model.output()),
            count(p as u64),
            spaced(prefixed(p as f64 * dtype.size() as f64)),
            prefixed(model.flops() as f64),
        );
        if checked {
            out.insert_str(out.len() - 1, "model.safetensors: every tensor present, of the right shape, finite\n");
        }
        let rows: Vec<Vec<String>> = model
            .layers()
            .iter()
            .enumerate()
            .map(|(i, l)| {
                vec![
                    i.to_string(),
                    l.kind.to_string(),
                    shape(&l.output),
                    count(l.parameters as u64),
                    prefixed(l.flops as f64),
                ]
            })
            .collect();
        let header = [
            ("layer", Side::Right),
            ("kind", Side::Left),
            ("output", Side::Left),
            ("parameters", Side::Right),
            ("flops", Side::Right),
        ];
        out += &table(&header, &rows);
        if p > 0 {
            let rows: Vec<Vec<String>> = model
                .parameters()
                .iter()
                .map(|p| vec![p.name.clone(), shape(&p.shape), p.offset.to_string(), p.size.to_string()])
                .collect();
            let header =
                [("tensor", Side::Left), ("shape", Side::Left), ("offset", Side::Right), ("size", Side::Right)];
            out += "\n";
            out += &table(&header, &rows);
        }
        out
    }
}

/// `12` to `12 `, `1.2 k` stays: what comes before a unit.
fn spaced(number: String) -> String {
    if number.contains(' ') { number } else { number + " " }
}
