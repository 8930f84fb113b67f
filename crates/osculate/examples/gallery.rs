//! One report with every kind of figure: `cargo run -p osculate --example gallery -- gallery.html`.
use osculate::plot::{BarChart, Figure, HeatMap, HeatScale, Images, LineChart, Report, Scale, Stroke, Table};

fn main() -> std::io::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "gallery.html".into());
    let mut r = Report::new(
        "Gallery of figures",
        "Every kind of chart and block that a report can hold, drawn from closed formulas.",
    );
    let xs = || (0..60).map(f64::from);
    let decay = |rate: f64| xs().map(move |k| (k, (-rate * k).exp() * (1.0 + 0.3 * (k * 0.9).sin())));
    let lines = LineChart::new("Convergence")
        .x("iteration", Scale::Linear)
        .y("relative residual", Scale::Log)
        .series("conjugate gradients", decay(0.35), Stroke::Solid)
        .series("preconditioned", decay(0.6), Stroke::Solid)
        .series("bound", xs().map(|k| (k, 2.0 * (-0.3 * k).exp())), Stroke::Dashed)
        .series("samples", xs().step_by(4).map(|k| (k, (-0.2 * k).exp())), Stroke::Points);
    r.section("Lines")
        .prose("Residuals of `cg` with and **without** a preconditioner.\n\nA second paragraph, to see the distance between two of them, and to be long enough to wrap at the measure of the page.")
        .cards([("3.2 s", "time"), ("65 834", "parameters"), ("10⁻¹²", "residual"), ("2.1×", "over one gradient")])
        .lines(&lines, "Residual norms on a logarithmic axis; the dashed line is the bound.");
    let density = |c: f64, s: f64| {
        (0..400).map(move |i| {
            let x = -4.0 + 0.02 * f64::from(i);
            (x, (-(x - c) * (x - c) / (2.0 * s * s)).exp() / (s * 2.5066))
        })
    };
    let area = LineChart::new("Spectral density")
        .x("eigenvalue", Scale::Linear)
        .y("density", Scale::Linear)
        .series("Hessian", density(0.0, 0.5).step_by(16), Stroke::Steps)
        .series("Gauss–Newton", density(1.2, 0.8), Stroke::Area);
    r.section("Areas").lines(&area, "Two densities.");
    let bars = BarChart::new("Cost of one product", "time in gradients", Scale::Linear)
        .bar("Hessian-vector", 3.9, Some(0.2))
        .bar("Gauss–Newton-vector", 2.1, Some(0.1))
        .bar("Kronecker factors (exact, type 2)", 0.4, None);
    let log = BarChart::new("Error by method", "relative error", Scale::Log)
        .bar("Hutchinson", 3e-2, Some(1e-2))
        .bar("Hutch++", 4e-4, None)
        .bar("XTrace", 8e-6, None);
    r.section("Bars")
        .bars(&bars, "Medians with quartiles.")
        .bars(&log, "Bars on a logarithmic axis begin at a decade.");
    let n = 200;
    let entry = |i: usize, j: usize| {
        let (a, b) = (i as f64, j as f64);
        let block = if (i < 80) == (j < 80) { 1.0 } else { 0.02 };
        block * (0.08 * a).sin() * (0.08 * b).sin() * (-(a - b).abs() / 30.0).exp()
    };
    let cells: Vec<f64> = (0..n * n).map(|k| entry(k / n, k % n)).collect();
    let s = r.section("Matrices");
    for (title, scale) in [
        ("Signed, linear", HeatScale::Diverging),
        ("Signed, logarithmic", HeatScale::SignedLog { decades: 6.0 }),
        ("Magnitude", HeatScale::LogMagnitude { decades: 8.0 }),
    ] {
        if let Some(map) = HeatMap::new(title, n, n, cells.clone(), scale) {
            s.heat(&map.with_bounds([80]), "The same matrix on another scale.");
        }
    }
    let counts = [52.0, 1.0, 0.0, 2.0, 47.0, 3.0, 0.0, 4.0, 49.0].to_vec();
    let names = || ["circle", "square", "cross"];
    if let Some(map) = HeatMap::new("Confusion", 3, 3, counts, HeatScale::Amount) {
        let map = map.with_labels(names(), names()).with_axes("shown", "answered").with_values(0);
        let blocks = HeatMap::new("Blocks", 60, 60, cells[..3600].to_vec(), HeatScale::SignedLog { decades: 5.0 });
        if let Some(blocks) = blocks.map(|m| m.with_blocks([("0.weight", 40), ("0.bias", 4), ("2.weight", 16)])) {
            s.beside([(Figure::Heat(&map), "Counts."), (Figure::Heat(&blocks), "Named blocks.")]);
        }
    }
    let wave =
        |k: usize| (0..64).map(move |i| ((k + 1) as f64 * 0.4 * (i % 8) as f64).sin() * (0.3 * (i / 8) as f64).cos());
    let (mut plain, mut signed) = (Images::new("Pictures"), Images::new("Signed pictures").signed());
    for k in 0..14 {
        plain = plain.tile(8, wave(k).map(f64::abs).collect(), format!("no {k}"));
        signed = signed.tile(8, wave(k).collect(), format!("no {k}"));
    }
    r.section("Pictures").images(&plain, "From 0 to 1.").images(&signed, "Both signs.");
    r.section("Tables and text")
        .table(
            Table::new(["quantity", "value", "error"])
                .row(["trace", "12.501", "±0.003"])
                .row(["`logdet`", "−3.2", "–"])
                .row(["smallest eigenvalue", "1.2×10⁻⁹", ""]),
        )
        .note("A remark that stands apart, with `code`.")
        .code("osculate info model/\n  0.weight  [32, 64]");
    r.footer("osculate gallery");
    std::fs::write(path, r.html())
}
