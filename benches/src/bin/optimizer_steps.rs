//! Steps of one optimiser for `cargo xtask compare optim`: their time as one JSON object, or the weights that they reach.
//!
//! `optimizer-steps METHOD SHAPE f32|f64 THREADS PERIODS` times periods of ten steps, and products of the same flops (AdamW: a pass
//! over the same memory) beside them. `optimizer-steps METHOD GRADIENTS.npy OUT.npy LR SETTINGS` steps from ones along the gradients
//! `[K, m, n]` in double precision, with the settings of a JSON object, and writes the weights.

use benches::optimizers::{PERIOD, Stepper, limit, method, shapes};
use numerics::{Par, Scalar};
use optim::{Grads, Method, ParamGroup, ParamList};
use osculate::cli::processor_seconds;
use osculate::io::{Array, ArrayData, npy};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

/// The system counts processor time in ticks of some milliseconds; so long a time makes them small.
const LEAST: Duration = Duration::from_millis(500);

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [name, second, third, fourth, fifth] = words.as_slice() else {
        return Err("expected METHOD SHAPE f32|f64 THREADS PERIODS, or METHOD GRADIENTS.npy OUT.npy LR SETTINGS".into());
    };
    let method = method(name).ok_or_else(|| format!("no method {name:?}"))?;
    if second.ends_with(".npy") {
        return follow(method, Path::new(second), Path::new(third), fourth.parse()?, fifth);
    }
    let (threads, periods): (usize, usize) = (fourth.parse()?, fifth.parse()?);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let (seconds, cpu, limit) = pool.install(|| match third.as_str() {
        "f32" => timed::<f32>(&method, second, threads, periods),
        _ => timed::<f64>(&method, second, threads, periods),
    })?;
    println!("{}", serde_json::json!({"seconds": seconds, "cpu_seconds": cpu, "limit_seconds": limit}));
    Ok(())
}

/// Median seconds of a step over periods, processor seconds of one, and the machine's limit.
type Times = (f64, Option<f64>, Option<f64>);

fn timed<T: Scalar>(method: &Method, case: &str, threads: usize, periods: usize) -> Result<Times, String> {
    let shapes = shapes(case).ok_or_else(|| format!("no shape {case:?}"))?;
    let par = if threads == 1 { Par::Seq } else { Par::rayon(threads) };
    let mut stepper = Stepper::<T>::new(method, &shapes, par).map_err(|e| e.to_string())?;
    let mut times = Vec::new();
    let before = processor_seconds();
    let begun = Instant::now();
    while times.len() < periods.max(1) || begun.elapsed() < LEAST {
        let started = Instant::now();
        stepper.steps(PERIOD).map_err(|e| e.to_string())?;
        times.push(started.elapsed().as_secs_f64() / PERIOD as f64);
    }
    let steps = (times.len() * PERIOD) as f64;
    let cpu = processor_seconds().zip(before).map(|(after, before)| (after - before) / steps);
    times.sort_by(f64::total_cmp);
    Ok((times[times.len() / 2], cpu, limit::<T>(method, &shapes, par)))
}

/// Weights after one step per gradient.
fn follow(method: Method, from: &Path, to: &Path, lr: f64, changes: &str) -> Result<(), Box<dyn Error>> {
    let mut settings = serde_json::Value::from(method);
    settings["lr"] = lr.into();
    let changes: serde_json::Map<String, serde_json::Value> = serde_json::from_str(changes)?;
    for (name, value) in changes {
        settings[name.as_str()] = value;
    }
    let method = Method::try_from(settings)?;
    let gradients = npy::read(from)?;
    let shape = gradients.shape().get(1..).unwrap_or_default().to_vec();
    let flat = gradients.to_floats::<f64>().ok_or("expected floats")?;
    let mut list = ParamList::new();
    let all = list.add_group(ParamGroup::new("all"));
    list.push("w", &shape, all)?;
    let mut optimizer = method.build::<f64>()?;
    optimizer.init(&list)?;
    let mut w = vec![1.0; list.len()];
    for gradient in flat.chunks_exact(list.len()) {
        optimizer.step(&mut w, Grads::all(gradient), 1.0)?;
    }
    npy::write(to, &Array::new(shape, ArrayData::F64(w)).ok_or("weights of another shape")?)?;
    Ok(())
}
