//! The smallest tour, as a whole: files, page, numbers, determinism, interruption.

use super::*;
use numerics::progress::{Progress, Silent};
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::OnceLock;

fn tiny(par: Par, seed: u64) -> (Outcome, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let outcome = run(&Settings::tiny(seed), dir.path(), par, &Silent).unwrap();
    let read = |p: &Path| std::fs::read_to_string(p).unwrap();
    let (page, text) = (read(&outcome.html), read(&outcome.json));
    let (_, params) = autodiff::nn::Sequential::load::<f64>(&outcome.net).unwrap();
    assert_eq!(params.len(), 65 * 5 + 60);
    assert_eq!(crate::io::Dataset::read(&outcome.data, None).unwrap().len(), 40);
    (outcome, page, text)
}

fn shared() -> &'static (Outcome, String, String) {
    static RUN: OnceLock<(Outcome, String, String)> = OnceLock::new();
    RUN.get_or_init(|| tiny(Par::Seq, 0))
}

/// Everything but wall-clock times and the number of threads.
fn without_times(v: &Value) -> Value {
    match v {
        Value::Object(map) => {
            let keep = |k: &str| !["seconds", "timing", "threads"].contains(&k);
            map.iter().filter(|(k, _)| keep(k)).map(|(k, v)| (k.clone(), without_times(v))).collect()
        }
        Value::Array(list) => list.iter().map(without_times).collect(),
        other => other.clone(),
    }
}

fn numbers(v: &Value, out: &mut Vec<f64>) {
    match v {
        Value::Number(n) => out.extend(n.as_f64()),
        Value::Array(list) => list.iter().for_each(|v| numbers(v, out)),
        Value::Object(map) => map.values().for_each(|v| numbers(v, out)),
        _ => {}
    }
}

#[test]
fn the_page_is_a_function_of_the_file() {
    let (outcome, page, text) = shared();
    let read: Value = serde_json::from_str(text).unwrap();
    assert_eq!(&read, &outcome.findings);
    assert_eq!(&html(&read).unwrap(), page);
}

#[test]
fn every_chapter_is_there_and_nothing_is_loaded() {
    let (outcome, page, _) = shared();
    for entry in &CHAPTERS {
        assert!(page.contains(&format!(">{}</h2>", entry.title)), "{}", entry.title);
    }
    let local = page.replace("http://www.w3.org/2000/svg", "");
    for bad in ["http", "src=", "<script", "<link", "@import", "url(", "<iframe", "<object"] {
        assert!(!local.contains(bad), "{bad}");
    }
    let figures = page.matches("<figure>").count();
    assert!(figures >= 15, "{figures} figures");
    assert!(!page.contains("NaN") && !page.contains("no data"));
    assert!(!page.contains("was stopped"));
    assert_eq!(summary(&outcome.findings).unwrap().len(), CHAPTERS.len());
}

/// Every point, bar, cell and pixel of every figure is a number of the findings, a rank, or a percentage of one.
#[test]
fn every_figure_is_in_the_findings() {
    let (outcome, _, _) = shared();
    let (mut known, mut list) = (HashSet::new(), Vec::new());
    numbers(&outcome.findings, &mut list);
    for x in list {
        known.extend([x.to_bits(), (100.0 * x).to_bits()]);
    }
    known.extend((0..=2000).map(|i| f64::from(i).to_bits()));
    let report = report(&outcome.findings).unwrap().json();
    let mut seen = 0;
    for figure in report["sections"].as_array().unwrap().iter().flat_map(|s| s["figures"].as_array().unwrap()) {
        assert!(figure["caption"].as_str().is_some_and(|c| c.len() > 20), "{figure}");
        let data = &figure["data"];
        let drawn: Vec<f64> = ["series", "bars", "shown", "tiles"].iter().fold(Vec::new(), |mut all, k| {
            numbers(&data[*k], &mut all);
            all
        });
        assert!(!drawn.is_empty(), "{}", data["title"]);
        for x in drawn {
            assert!(known.contains(&x.to_bits()), "{x} of {} is not in the findings", data["title"]);
            seen += 1;
        }
    }
    assert!(seen > 5000, "{seen}");
}

/// The findings confirm each other: symmetry, differences of gradients, orders of contact, eigenvectors of length one.
#[test]
fn the_findings_agree_with_each_other() {
    let (outcome, _, _) = shared();
    let found = |k: usize| &outcome.findings["chapters"][k]["findings"];
    let number = |v: &Value| v.as_f64().unwrap();
    let checks = &found(2)["checks"];
    assert!(number(&checks["symmetry"]) < 1e-13, "{checks}");
    // Central differences with step 1e-3 along a vector of length one: truncation about step^2.
    assert!(number(&checks["finite_difference"]) < 1e-5, "{checks}");
    for (order, expected) in [("constant_order", 1.0), ("tangent_order", 2.0), ("parabola_order", 3.0)] {
        assert!((number(&found(4)["orders"][order]) - expected).abs() < 0.2, "{order} {}", found(4)["orders"]);
    }
    let trained = &found(2)["trained"];
    let top = number(&trained["hessian"]["largest"][0]);
    assert!((number(&found(4)["slices"][0]["curvature"]) - top).abs() < 1e-9 * top);
    assert!((number(&found(4)["loss"]) - number(&trained["loss"])).abs() < 1e-13);
    let mass: Vec<f64> = found(5)["mass"].as_array().unwrap().iter().map(number).collect();
    for row in mass.chunks(found(5)["tensors"].as_array().unwrap().len()) {
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-10, "{row:?}");
    }
    // Densities have mass one, every fit leaves less than everything, and the Gauss-Newton matrix has no negative side.
    let structure = outcome.findings["chapters"].as_array().unwrap().iter().find(|c| c["name"] == "structure");
    let structure = &structure.unwrap()["findings"];
    for matrix in structure["matrices"].as_array().unwrap() {
        let pairs = |v: &Value| -> Vec<(f64, f64)> {
            v.as_array().unwrap().iter().map(|p| (number(&p[0]), number(&p[1]))).collect()
        };
        let log: Vec<(f64, f64)> = pairs(&matrix["log_density"]).into_iter().map(|(x, y)| (x.ln(), y)).collect();
        let mass: f64 = log.windows(2).map(|w| 0.5 * (w[1].0 - w[0].0) * (w[1].1 + w[0].1)).sum();
        assert!((mass - 1.0).abs() < 1e-6, "{mass}");
        for fit in matrix["fits"].as_array().unwrap() {
            let energies: Vec<f64> = fit["energies"].as_array().unwrap().iter().map(number).collect();
            assert_eq!(energies.len(), 2);
            assert!(energies.iter().all(|e| *e > 0.0 && *e < 1.5), "{fit}");
        }
        let joint = number(&matrix["fits"][0]["energies"][1]);
        let alone = number(&matrix["fits"][2]["energies"][1]);
        assert!(joint < alone, "the joint fit leaves {joint}, the diagonal {alone}");
        let fits = matrix["fits"].as_array().unwrap();
        assert_eq!(fits.len(), 8);
        // the exact diagonal of what low rank leaves can only help, but for the noise of the probes that judge
        let (low, told) = (&fits[1], &fits[7]);
        assert_eq!((&low["method"], &told["method"]), (&"low rank".into(), &"low rank, then exact diagonal".into()));
        assert!((0..2).all(|b| number(&told["energies"][b]) < 1.1 * number(&low["energies"][b])), "{low} {told}");
    }
    // Four strategies, one Laplacian; its parts add up to it; noise finds it without derivatives.
    let laplacian = outcome.findings["chapters"].as_array().unwrap().iter().find(|c| c["name"] == "laplacian");
    let laplacian = &laplacian.unwrap()["findings"];
    let ways = laplacian["ways"].as_array().unwrap();
    assert!(ways.iter().all(|w| number(&w["difference"]) < 1e-12), "{ways:?}");
    let vectors: Vec<u64> = ways.iter().map(|w| w["vectors"].as_u64().unwrap()).collect();
    // The first layer is five wide, so that collapsed Taylor mode moves along five directions.
    assert_eq!(vectors[..3], [130, 129, 2 + 5]);
    assert!(number(&ways[2]["flops"]) < 0.62 * number(&ways[1]["flops"]), "{ways:?}");
    let mean = number(&laplacian["mean"]);
    let parts: f64 = laplacian["pixels"].as_array().unwrap().iter().map(number).sum();
    assert!((parts - mean).abs() < 1e-12 * mean.abs(), "{parts} {mean}");
    let noise = |k: &str| number(&laplacian["noise"][k][0]);
    let apart = (noise("measured") - noise("predicted")).abs();
    assert!(apart < 5.0 * noise("error") + 1e-3 * noise("predicted").abs(), "{laplacian}");
    // The output is linear in the last layer, so Gauss-Newton leaves nothing out there.
    let energy: Vec<f64> = found(3)["difference_energy"].as_array().unwrap().iter().map(number).collect();
    assert!(energy[15] < 1e-25, "{energy:?}");
}

#[test]
fn drawings_are_well_formed() {
    let (_, page, _) = shared();
    let mut drawings = 0;
    for part in page.split("<svg").skip(1) {
        let body = part.split("</svg>").next().unwrap();
        well_formed(&format!("<svg{body}</svg>"));
        drawings += 1;
    }
    assert!(drawings > 20, "{drawings}");
    for tag in ["div", "figure", "section", "table", "p", "figcaption", "main"] {
        let (open, close) = (
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count(),
            page.matches(&format!("</{tag}>")).count(),
        );
        assert_eq!(open, close, "{tag}");
    }
}

/// Tags nest, attributes are quoted and unique, text has no stray markup.
fn well_formed(xml: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = xml;
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>'), "stray > in {:?}", &rest[..at]);
        let end = at + rest[at..].find('>').expect("an end of the tag");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
            continue;
        }
        let inner = tag.strip_suffix('/').unwrap_or(tag);
        let pieces: Vec<&str> = inner.split('"').collect();
        assert_eq!(pieces.len() % 2, 1, "quotes in {tag:?}");
        let names: Vec<&str> = pieces.iter().step_by(2).map(|p| p.trim()).filter(|p| p.ends_with('=')).collect();
        assert_eq!(names.len(), pieces.len() / 2, "{tag:?}");
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "repeated attribute in {tag:?}");
        if inner.len() == tag.len() {
            open.push(tag.split_whitespace().next().unwrap());
        }
    }
    assert!(open.is_empty(), "{open:?} left open");
}

#[test]
fn threads_do_not_change_a_number_and_the_seed_does() {
    let (outcome, _, _) = shared();
    let (again, _, _) = tiny(Par::rayon(2), 0);
    assert_eq!(without_times(&again.findings), without_times(&outcome.findings));
    let (other, _, _) = tiny(Par::Seq, 1);
    assert_ne!(without_times(&other.findings)["chapters"], without_times(&outcome.findings)["chapters"]);
}

#[test]
fn an_interrupted_tour_leaves_what_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let stop = |p: &Progress<'_>| {
        if p.task.contains("small Hessian") { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let e = run(&Settings::tiny(0), dir.path(), Par::Seq, &stop).unwrap_err();
    assert!(matches!(e, Error::Numerics(numerics::Error::Interrupted)), "{e}");
    let page = std::fs::read_to_string(dir.path().join("tour.html")).unwrap();
    assert!(page.contains(&format!("stopped after 3 of {} chapters", CHAPTERS.len())));
    let findings: Value =
        serde_json::from_str(&std::fs::read_to_string(dir.path().join("tour.json")).unwrap()).unwrap();
    assert_eq!(findings["chapters"].as_array().unwrap().len(), 3);
}

/// What a value becomes, if it changes.
type Change = dyn Fn(&Value) -> Option<Value>;

/// The same findings with every list or number replaced.
fn doctored(v: &Value, change: &Change) -> Value {
    match (change(v), v) {
        (Some(new), _) => new,
        (None, Value::Array(list)) => list.iter().map(|v| doctored(v, change)).collect(),
        (None, Value::Object(map)) => map.iter().map(|(k, v)| (k.clone(), doctored(v, change))).collect(),
        (None, other) => other.clone(),
    }
}

#[test]
fn doctored_findings_do_not_panic() {
    let (outcome, _, _) = shared();
    let cut = |keep: fn(usize) -> usize| {
        move |v: &Value| match v {
            // Not the list of chapters itself.
            Value::Array(list) if !list.iter().any(Value::is_object) => Some(list[..keep(list.len())].to_vec().into()),
            _ => None,
        }
    };
    let integers = |new: u64| move |v: &Value| v.is_u64().then(|| new.into());
    let floats = |new: f64| move |v: &Value| v.is_f64().then(|| new.into());
    let changes: [Box<Change>; 9] = [
        Box::new(cut(|_| 0)),
        Box::new(cut(|n| n.min(1))),
        Box::new(cut(|n| n / 2)),
        Box::new(integers(0)),
        Box::new(integers(1)),
        Box::new(integers(u64::MAX)),
        Box::new(floats(0.0)),
        Box::new(floats(-1e308)),
        Box::new(floats(5e-324)),
    ];
    for change in &changes {
        // A page or an error, whichever it is.
        if let Ok(page) = html(&doctored(&outcome.findings, change)) {
            assert!(page.ends_with("</html>\n"));
        }
    }
}

#[test]
fn findings_that_make_no_sense_are_errors() {
    for (bad, part) in [
        (json!({}), "no list of chapters"),
        (json!({"chapters": [{"name": "magic"}]}), "no such chapter"),
        (json!({"chapters": [{"name": "contact", "findings": {"loss": "high"}}]}), "contact"),
    ] {
        let e = html(&bad).unwrap_err().to_string();
        assert!(e.contains(part), "{e}");
    }
    let settings = Settings { train: 1790, ..Settings::tiny(0) };
    let e = run(&settings, Path::new("nowhere"), Par::Seq, &Silent).unwrap_err();
    assert!(e.to_string().contains("1797") && !Path::new("nowhere").exists(), "{e}");
}
