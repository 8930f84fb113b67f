//! The two tasks, as descriptions that `osculate train` reads.

use crate::Failure;
use crate::methods::Method;
use optim::problems::MarkovSource;
use osculate::train::RunConfig;

/// A model, data and a length.
pub(crate) struct Task {
    pub(crate) name: &'static str,
    pub(crate) steps: u64,
    /// What is taken off the validation loss, and what the rest is divided by.
    offset: f64,
    unit: f64,
    model: &'static str,
    data: String,
    /// Patterns of what Muon leaves to AdamW.
    ends: &'static str,
    evaluations: u64,
}

/// Decoder of the project: two blocks, width 64, 4 heads, context 64.
const DECODER: &str = r#"
input = [64]
layers = [
    { type = "embedding", num = 57, dim = 64 },
    { type = "positions", num = 64, dim = 64 },
    { type = "decoder", width = 64, heads = 4 },
    { type = "decoder", width = 64, heads = 4 },
    { type = "layernorm", shape = [64] },
    { type = "linear", in = 64, out = 57 },
]"#;
/// Two tanh layers on four symbols.
const PERCEPTRON: &str = r#"
input = [4]
layers = [
    { type = "embedding", num = 32, dim = 16 },
    { type = "flatten" },
    { type = "linear", in = 64, out = 128 },
    { type = "tanh" },
    { type = "linear", in = 128, out = 128 },
    { type = "tanh" },
    { type = "linear", in = 128, out = 32 },
]"#;

pub(crate) fn all(fast: bool) -> Vec<Task> {
    let entropy = MarkovSource::new(32, 0.15, 0).map_or(0.0, |s| s.entropy_rate());
    vec![
        Task {
            name: "prose",
            steps: if fast { 10 } else { 250 },
            offset: 0.0,
            unit: std::f64::consts::LN_2,
            model: DECODER,
            data: "name = \"prose\"\ncontext = 64\nvalidation = 0.1\nbatch_size = 8".into(),
            ends: r#"["0.*", "1.*", "5.*"]"#,
            evaluations: 10,
        },
        Task {
            name: "markov",
            steps: if fast { 20 } else { 1000 },
            offset: entropy,
            unit: 1.0,
            model: PERCEPTRON,
            data: format!("name = \"markov\"\nvalidation = {}\nbatch_size = 256", if fast { 1024 } else { 20_480 }),
            ends: r#"["0.*", "6.*"]"#,
            evaluations: 10,
        },
    ]
}

impl Task {
    /// The validation loss as the table shows it.
    pub(crate) fn score(&self, loss: f64) -> f64 {
        (loss - self.offset) / self.unit
    }

    pub(crate) fn unit(&self) -> &'static str {
        if self.offset == 0.0 { "bits per character" } else { "nats above the source" }
    }

    /// Steps between evaluations.
    pub(crate) fn every(&self, steps: u64) -> u64 {
        (steps / self.evaluations).max(1)
    }

    /// The description of a run of so many steps, with the search over the method's ranges.
    pub(crate) fn config(&self, method: &Method, steps: u64, settings: u64) -> Result<RunConfig, Failure> {
        let group = if method.hidden_only {
            format!("[[group]]\nname = \"ends\"\nmatch = {}\nfirst_order = true\n", self.ends)
        } else {
            String::new()
        };
        let text = format!(
            "steps = {steps}\n[model]{}\n[data]\n{}\n[loss]\nname = \"cross-entropy\"\n[optimizer]\n{}\n{group}\
             [schedule]\nshape = \"wsd\"\nwarmup = {}\ndecay = {}\n[eval]\nevery = 0\ntrain = false\n\
             [search]\nsettings = {settings}\n[search.ranges]\n{}\n",
            self.model,
            self.data,
            method.optimizer,
            (steps / 20).max(1),
            steps * 2 / 5,
            method.ranges.join("\n"),
        );
        Ok(RunConfig::parse(&text, &format!("{}, {}", self.name, method.name))?)
    }
}
