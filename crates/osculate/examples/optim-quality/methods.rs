//! The methods, what is fixed of each, and the laws of what is drawn.

/// One row of the tables.
pub(crate) struct Method {
    pub(crate) name: &'static str,
    /// The table `[optimizer]` without what is drawn.
    pub(crate) optimizer: &'static str,
    pub(crate) ranges: &'static [&'static str],
    /// Embeddings and heads are left to the AdamW for vectors.
    pub(crate) hidden_only: bool,
}

const LR: &str = r#""optimizer.lr" = { log = [1e-3, 3e-2] }"#;
const BETA1: &str = r#""optimizer.beta1" = { one_minus = [0.03, 0.3] }"#;
const BETA2: &str = r#""optimizer.beta2" = { one_minus = [5e-3, 0.1] }"#;
const DECAY: &str = r#""optimizer.weight_decay" = { log = [1e-4, 1e-1] }"#;
const CURVATURE: &str = r#""optimizer.curvature_lr" = { log = [5e-3, 0.1] }"#;

const MOMENTS: &[&str] = &[LR, BETA1, BETA2, DECAY];
const FACTORS: &[&str] = &[LR, BETA1, CURVATURE, DECAY];

const fn kron(name: &'static str, optimizer: &'static str) -> Method {
    Method { name, optimizer, ranges: MOMENTS, hidden_only: false }
}

/// All methods; the first is the measure of time. Vectors go to AdamW at 3e-3 everywhere but in AdamW, SGD and Muon.
pub(crate) const ALL: [Method; 15] = [
    kron("SOAP", "name = \"soap\"\nvectors = { lr = 3e-3 }"),
    kron("KL-Shampoo", "name = \"kl-shampoo\"\nvectors = { lr = 3e-3 }"),
    kron("AdamW", "name = \"adamw\""),
    kron("KL-SOAP", "name = \"kl-soap\"\nvectors = { lr = 3e-3 }"),
    Method {
        name: "Muon",
        optimizer: "name = \"muon\"",
        ranges: &[
            r#""optimizer.lr" = { log = [3e-3, 9e-2] }"#,
            r#""optimizer.vectors.lr" = { log = [1e-3, 3e-2] }"#,
            BETA1,
            DECAY,
        ],
        hidden_only: true,
    },
    Method {
        name: "spectral",
        optimizer: "name = \"spectral\"\nvectors = { lr = 3e-3 }",
        ranges: FACTORS,
        hidden_only: false,
    },
    kron(
        "Shampoo, Adam graft",
        "name = \"shampoo\"\nperiod = 10\neps = 1e-8\ngraft = { adam = { beta2 = 0.98, eps = 1e-8 } }\nvectors = { lr = 3e-3 }",
    ),
    kron("KL-Shampoo, published", "name = \"kl-shampoo\"\npreset = \"reference\"\nvectors = { lr = 3e-3 }"),
    Method {
        name: "PSGD-Kron",
        optimizer: "name = \"psgd-kron\"\nvectors = { lr = 3e-3 }",
        ranges: FACTORS,
        hidden_only: false,
    },
    kron("SQ-Shampoo", "name = \"sq-shampoo\"\nvectors = { lr = 3e-3 }"),
    kron("VN-Shampoo", "name = \"vn-shampoo\"\nvectors = { lr = 3e-3 }"),
    kron("F-Shampoo", "name = \"f-shampoo\"\nvectors = { lr = 3e-3 }"),
    Method {
        name: "SIRF-Shampoo",
        optimizer: "name = \"sirf-shampoo\"\nvectors = { lr = 3e-3 }",
        ranges: FACTORS,
        hidden_only: false,
    },
    Method {
        name: "SGD",
        optimizer: "name = \"sgd\"",
        ranges: &[
            r#""optimizer.lr" = { log = [3e-2, 9e-1] }"#,
            r#""optimizer.momentum" = { one_minus = [0.03, 0.3] }"#,
            DECAY,
        ],
        hidden_only: false,
    },
    kron("idealised KL-Shampoo", "name = \"idealised-kl-shampoo\"\nvectors = { lr = 3e-3 }"),
];
