//! Structure of a curvature matrix from its products: low rank plus diagonal with a certificate, spectral densities.

use super::super::{Error, density, lord};
use super::quantities::Session;
use crate::io::write_whole;
use ::sketch::{DensityOptions, LordOptions, Passes, QuadratureOptions, sketch_lord_auto, spectral_densities};
use linop_core::LinearOperator;
use numerics::Scalar;
use serde_json::{Map, json};
use std::fmt::Write as _;

/// Probes that test a fit, on top of its own products.
const CERTIFICATE: usize = 10;
/// Products of the densities unless told otherwise: runs of twenty steps.
const DENSITY_PRODUCTS: usize = 600;

impl<T: Scalar> Session<'_, T> {
    /// Low rank plus diagonal, the best of the fits that p products allow.
    pub(super) fn lord(&mut self, p: usize) -> Result<(), Error> {
        let n = self.op.nrows();
        let options = LordOptions { passes: Passes::One, ..LordOptions::default() };
        let choice = sketch_lord_auto(&self.op, p.min(n), CERTIFICATE, &options, &self.settings())?;
        let report = &choice.lord.report;
        let products = report.products + report.products_t;
        self.products += products;
        let energy = choice.certificate.residual_energy();
        let _ = writeln!(
            self.text,
            "low + diagonal {}\nresidual       {energy:.2e} of the energy, by {CERTIFICATE} fresh probes ({products} products)",
            lord::line(&choice)
        );
        let mut fields: Map<_, _> = lord::fields(&choice).into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        fields.insert("residual_energy".into(), json!(energy));
        fields.insert("products".into(), json!(products));
        if let (Some(save), false) = (&self.args.save, self.args.needs_save()) {
            if save.extension().is_none_or(|e| e != "safetensors") {
                let what = format!("{}: low rank plus diagonal is saved as .safetensors", save.display());
                return Err(Error::Usage(what));
            }
            choice.lord.save(save)?;
            let _ = writeln!(self.text, "parts          written to {}", save.display());
        }
        self.reply = self.reply.clone().with("lord", fields);
        Ok(())
    }

    /// Densities of the eigenvalues and of the logarithms of their magnitudes, from the same runs.
    pub(super) fn spectrum(&mut self) -> Result<(), Error> {
        let QuadratureOptions { steps, runs, .. } =
            QuadratureOptions::for_products(self.args.products.unwrap_or(DENSITY_PRODUCTS))?;
        let options = DensityOptions { steps, runs, ..DensityOptions::default() };
        let (linear, log) = spectral_densities(&self.op, &options, &self.settings())?;
        self.products += linear.products;
        let name = self.name.name();
        let (first, last) = (linear.grid[0], linear.grid[linear.grid.len() - 1]);
        let _ = writeln!(
            self.text,
            "density        {}\n               from {first:.4e} to {last:.4e} ({} products)",
            density::spark(&linear.density),
            linear.products
        );
        let mut figures = Vec::new();
        if let Some(out) = self.out {
            std::fs::create_dir_all(out)
                .map_err(|e| crate::io::Error::Io { path: out.display().to_string(), what: e.to_string() })?;
            let charts = [
                ("spectrum.svg", density::chart(&format!("Spectral density: {name}"), &linear.grid, &linear.density)),
                ("log-spectrum.svg", density::log_chart(&format!("Magnitudes: {name}"), &log.nu, &log.density_log_nu)),
            ];
            for (file, chart) in charts {
                let path = out.join(file);
                let svg = chart.svg(density::WIDTH);
                write_whole(&path, |w| w.write_all(svg.as_bytes()))?;
                let _ = writeln!(self.text, "               picture written to {}", path.display());
                figures.push(path.display().to_string());
            }
        }
        let field = json!({
            "grid": linear.grid, "density": linear.density,
            "nu": log.nu, "density_nu": log.density_nu, "density_log_nu": log.density_log_nu,
            "products": linear.products, "steps": steps, "runs": runs, "figures": figures,
        });
        self.reply = self.reply.clone().with("spectrum", field);
        Ok(())
    }
}
