//! The options of the benchmarks that compare by rounds.

/// `[--rounds N] [--threads N] [--dtype f64|f32] [--json] [--steps] [--processor]`.
pub struct Options {
    /// Rounds of every measurement.
    pub rounds: usize,
    /// Numbers of threads to measure with.
    pub threads: Vec<usize>,
    /// Floating-point types to measure.
    pub dtypes: Vec<String>,
    /// Whether to print lines of JSON too.
    pub json: bool,
    /// Whether to count processor time instead of time.
    pub processor: bool,
    /// Whether to print the steps of the compiled programs.
    pub steps: bool,
}

impl Options {
    /// From the command line.
    pub fn read(rounds: usize) -> Self {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let after = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)).cloned();
        let number = |name: &str| after(name).and_then(|x| x.parse::<usize>().ok());
        let has = |name: &str| args.iter().any(|a| a == name);
        Options {
            rounds: number("--rounds").unwrap_or(rounds),
            threads: number("--threads").map_or_else(|| vec![1, 2], |n| vec![n]),
            dtypes: after("--dtype").map_or_else(|| vec!["f64".into(), "f32".into()], |d| vec![d]),
            json: has("--json"),
            steps: has("--steps"),
            processor: has("--processor"),
        }
    }
}

/// What to use for this many threads.
pub fn par(threads: usize) -> numerics::Par {
    if threads == 1 { numerics::Par::Seq } else { numerics::Par::rayon(threads) }
}
