//! Named settings: the published methods digit for digit, and what measures best.

/// The published methods, with the order of operations of their released code (golden traces in the tests).
///
/// Tensors with fewer than two axes longer than one go to AdamW here too; the released code asserts or gives them
/// one dense factor.
pub mod reference {
    use crate::{
        Bias, Clamp, Decay, Eigenvalues, KronConfig, LargeMode, Layout, Order, Refresh, Scale, ShampooConfig, Start,
        Statistics, Storage,
    };

    /// KL-Shampoo, arXiv:2509.03378 and its released code.
    pub fn kl_shampoo() -> KronConfig {
        KronConfig {
            lr: 1e-4,
            decay: Decay::After,
            start: Start::Fixed(0.1),
            clamp: Clamp::PerFactor(4000.0),
            balance: false,
            bias: Bias::default(),
            storage: Storage::Original,
            released_order3: true,
            shift_eigh: false,
            layout: Layout { max_dim: usize::MAX, ..Layout::default() },
            ..KronConfig::default()
        }
    }

    /// KL-SOAP, of the same paper and code.
    pub fn kl_soap() -> KronConfig {
        KronConfig { scale: Scale::Free, ..kl_shampoo() }
    }

    /// SOAP, arXiv:2409.11321 and its released code; axes longer than 10000 get no factor.
    pub fn soap() -> KronConfig {
        KronConfig {
            lr: 3e-3,
            beta1: 0.95,
            beta2: 0.95,
            statistics: Statistics::Raw,
            clamp: Clamp::None,
            bias: Bias { momentum: true, second_moment: true, statistics: false },
            sort: true,
            released_order3: false,
            layout: Layout { max_dim: 10_000, large: LargeMode::Identity, ..Layout::default() },
            ..kl_soap()
        }
    }

    /// The trace-power family with KL-Shampoo's other settings.
    pub fn bregman(statistics: Statistics) -> KronConfig {
        KronConfig { statistics, ..kl_shampoo() }
    }

    /// The idealised KL-Shampoo: factors from `0.1 I`, decomposed anew in every step, no clamp.
    ///
    /// The initial value is not confirmed by the paper.
    pub fn idealised_kl_shampoo() -> KronConfig {
        KronConfig {
            start: Start::Identity(0.1),
            clamp: Clamp::None,
            refresh: Refresh::Eigh,
            period: 1,
            eigenvalues: Eigenvalues::Instantaneous,
            order: Order::StatisticsFirst,
            released_order3: false,
            ..kl_shampoo()
        }
    }

    /// Shampoo as in Meta's implementation.
    pub fn meta_shampoo() -> ShampooConfig {
        ShampooConfig::default()
    }

    /// Scalable Shampoo: averages of statistics that start at `1e-6 I`, coupled Newton roots, grafting on RMSprop,
    /// momentum after preconditioning.
    pub fn google_shampoo() -> ShampooConfig {
        ShampooConfig {
            beta1: 0.0,
            beta2: 0.999,
            eps: 1e-6,
            relative_eps: true,
            root: crate::RootEngine::Newton { tol: 1e-6, iterations: 100 },
            period: 20,
            start: Some(25),
            bias_correction: false,
            initial: 1e-6,
            graft: crate::Graft::RmsProp { beta2: 0.999, eps: 1e-8 },
            late_momentum: 0.9,
            nesterov: true,
            ..ShampooConfig::default()
        }
    }
}

/// What measures best here: rotated storage, a start free of scale that is soon forgotten, balanced factors, a floor for the product.
pub mod recommended {
    use crate::{Bias, Clamp, KronConfig, LargeMode, Layout, Scale, Statistics, Transport};

    /// KL-Shampoo.
    pub fn kl_shampoo() -> KronConfig {
        KronConfig::default()
    }

    /// KL-SOAP.
    pub fn kl_soap() -> KronConfig {
        KronConfig { scale: Scale::Free, ..kl_shampoo() }
    }

    /// SOAP, with a second moment that turns with the basis.
    pub fn soap() -> KronConfig {
        KronConfig {
            lr: 3e-3,
            beta1: 0.95,
            beta2: 0.95,
            statistics: Statistics::Raw,
            scale: Scale::Free,
            clamp: Clamp::None,
            balance: false,
            bias: Bias { momentum: true, second_moment: true, statistics: false },
            transport: Transport::Rotate,
            layout: Layout { large: LargeMode::Identity, ..Layout::default() },
            ..kl_shampoo()
        }
    }
}
