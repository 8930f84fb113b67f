//! What the programs that make the optimisers' tables share: quartiles, and pages that hold tables between markers.

use std::path::Path;

/// Lower quartile, median, upper quartile, by straight lines between the values.
pub(crate) fn quartiles(mut x: Vec<f64>) -> Option<[f64; 3]> {
    x.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let p = share * (x.len() - 1) as f64;
        let (low, part) = (p.floor() as usize, p.fract());
        x[low] + part * (x[(low + 1).min(x.len() - 1)] - x[low])
    };
    (!x.is_empty()).then(|| [at(0.25), at(0.5), at(0.75)])
}

/// Replaces what stands between `<!-- table NAME -->` and `<!-- end -->`; tables without a marker in the page are left out.
pub(crate) fn fill<'a>(page: &Path, tables: impl IntoIterator<Item = (&'a str, &'a String)>) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", page.display());
    let mut text = std::fs::read_to_string(page).map_err(failed)?;
    for (name, table) in tables {
        let begin = format!("<!-- table {name} -->\n");
        let Some(from) = text.find(&begin).map(|at| at + begin.len()) else { continue };
        let to = text[from..].find("<!-- end -->").ok_or("a table without its end")? + from;
        text.replace_range(from..to, &format!("\n{table}\n"));
    }
    std::fs::write(page, text).map_err(failed)?;
    println!("written: {}", page.display());
    Ok(())
}
