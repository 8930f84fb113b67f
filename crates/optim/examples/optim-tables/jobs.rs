//! Jobs that are done once: each writes one line of numbers, and a line that is there is not made again.

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
/// Named numbers; `None` where a run did not arrive.
pub(crate) type Values = Vec<(String, Option<f64>)>;
type Work = Box<dyn Fn() -> Result<Values, Failure> + Send + Sync>;

/// One line of the results.
pub(crate) struct Job {
    pub(crate) table: &'static str,
    pub(crate) case: String,
    pub(crate) seed: u64,
    work: Work,
}

impl Job {
    pub(crate) fn new(
        table: &'static str,
        case: impl Into<String>,
        seed: u64,
        work: impl Fn() -> Result<Values, Failure> + Send + Sync + 'static,
    ) -> Self {
        Job { table, case: case.into(), seed, work: Box::new(work) }
    }

    fn key(&self) -> String {
        format!("{}/{}/{}", self.table, self.case, self.seed)
    }
}

/// All numbers of one table: case, then name, then one value per seed.
pub(crate) type Table = BTreeMap<String, BTreeMap<String, Vec<Option<f64>>>>;

/// The file of results.
pub(crate) struct Results {
    path: PathBuf,
    file: Mutex<File>,
}

impl Results {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        let there = fs::read_to_string(path)?;
        if !there.is_empty() && !there.ends_with('\n') {
            // A run that was cut off inside a line.
            file.write_all(b"\n")?;
        }
        Ok(Results { path: path.to_path_buf(), file: Mutex::new(file) })
    }

    /// Lines that are whole; one that was cut off by an interruption does not count.
    fn lines(&self) -> Result<Vec<Value>, Failure> {
        Ok(fs::read_to_string(&self.path)?.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    pub(crate) fn read(&self) -> Result<BTreeMap<String, Table>, Failure> {
        let mut tables: BTreeMap<String, Table> = BTreeMap::new();
        for line in self.lines()? {
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            let table = tables.entry(text("table")).or_default().entry(text("case")).or_default();
            for (name, value) in line["values"].as_object().into_iter().flatten() {
                table.entry(name.clone()).or_default().push(value.as_f64());
            }
        }
        Ok(tables)
    }

    fn done(&self) -> Result<HashSet<String>, Failure> {
        let key = |v: &Value| Some(format!("{}/{}/{}", v["table"].as_str()?, v["case"].as_str()?, v["seed"].as_u64()?));
        Ok(self.lines()?.iter().filter_map(key).collect())
    }

    fn add(&self, job: &Job, values: Values, seconds: f64) -> Result<(), Failure> {
        let values: Map<String, Value> = values.into_iter().map(|(name, x)| (name, json!(x))).collect();
        let line =
            json!({"table": job.table, "case": job.case, "seed": job.seed, "seconds": seconds, "values": values});
        let mut file = self.file.lock().map_err(|_| "another job has failed")?;
        // In one piece.
        file.write_all(format!("{line}\n").as_bytes())?;
        Ok(())
    }
}

/// Does what is left to do on all cores or so many threads, with a line of progress for each job.
pub(crate) fn run(jobs: Vec<Job>, results: &Results, threads: Option<usize>) -> Result<(), Failure> {
    let done = results.done()?;
    let total = jobs.len();
    let left: Vec<Job> = jobs.into_iter().filter(|job| !done.contains(&job.key())).collect();
    eprintln!("{} of {total} jobs are done already", total - left.len());
    let (next, finished, start) = (AtomicUsize::new(0), AtomicUsize::new(0), Instant::now());
    let worker = || -> Result<(), Failure> {
        while let Some(job) = left.get(next.fetch_add(1, Ordering::Relaxed)) {
            let began = Instant::now();
            let values = (job.work)().map_err(|e| format!("{}: {e}", job.key()))?;
            results.add(job, values, began.elapsed().as_secs_f64())?;
            let count = finished.fetch_add(1, Ordering::Relaxed) + 1;
            let each = start.elapsed().as_secs_f64() / count as f64;
            let rest = each * (left.len() - count) as f64;
            eprintln!(
                "[{count}/{}] {}: {:.1} s, about {rest:.0} s left",
                left.len(),
                job.key(),
                began.elapsed().as_secs_f64()
            );
        }
        Ok(())
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = threads.unwrap_or(cores).max(1).min(left.len());
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        all.into_iter().try_for_each(|t| t.join().map_err(|_| Failure::from("a job has panicked"))?)
    })
}
