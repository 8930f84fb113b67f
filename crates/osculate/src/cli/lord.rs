//! Low rank plus diagonal as fields and a line.

use super::text::prefixed;
use ::sketch::LordChoice;
use serde_json::{Value, json};

/// What a fit says about itself.
pub(super) fn fields(choice: &LordChoice) -> Vec<(&'static str, Value)> {
    let (fit, report) = (&choice.lord, &choice.lord.report);
    let mut out = vec![
        ("fit", json!(report.method)),
        ("rank", json!(fit.rank())),
        ("iterations", json!(report.iterations)),
        ("solver_residual", json!(report.residual)),
        ("converged", json!(report.converged)),
        ("bytes", json!(report.bytes)),
        ("sketch_too_small", json!(report.sketch_too_small)),
        ("diagonal_energy", json!(fit.diagonal_part().iter().map(|d| d * d).sum::<f64>())),
    ];
    if let Some(dual) = &report.dual {
        out.push(("dual_gap", json!(dual.gap)));
    }
    let listed =
        |c: &::sketch::Candidate| json!({"fit": c.method, "rank": c.rank, "residual_energy": c.residual_energy});
    out.push(("candidates", choice.candidates.iter().map(listed).collect()));
    out
}

/// The same for people.
pub(super) fn line(choice: &LordChoice) -> String {
    let (fit, report) = (&choice.lord, &choice.lord.report);
    let warning = if report.sketch_too_small { "; the sketch is too small for the rank" } else { "" };
    let memory = match report.bytes {
        0 => String::new(),
        bytes => format!(" in {}B", prefixed(bytes as f64)),
    };
    format!("{}, rank {}, {} iterations{memory}{warning}", report.method, fit.rank(), report.iterations)
}
