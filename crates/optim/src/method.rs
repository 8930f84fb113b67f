//! A method by name, with its settings: what a configuration file says.

use crate::{
    AdamW, AdamWConfig, Error, KronConfig, MuonConfig, NonFinite, Optimizer, Precision, Preconditioned, PsgdConfig,
    Settings, Sgd, SgdConfig, ShampooConfig, SirfConfig, SpectralConfig, Statistics, recommended, reference,
};
use numerics::{Par, Scalar};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Tables inside a method's table that are merged key by key with their defaults.
const MERGED: [&str; 4] = ["layout", "vectors", "bias", "rules"];

/// A method with its settings; in files a table with the key `method`, an optional `preset` (`recommended`, the default, or
/// `reference`) and the settings that differ from it.
///
/// ```
/// use optim::{Method, Optimizer};
/// let text = r#"{"method": "kl-shampoo", "preset": "reference", "lr": 0.01, "layout": {"max_dim": 512}}"#;
/// let method: Method = serde_json::from_str(text)?;
/// let optimizer: Box<dyn Optimizer<f32>> = method.build()?;
/// assert_eq!(optimizer.kind(), "kl-shampoo");
/// assert!(serde_json::from_str::<Method>(r#"{"method": "soap", "lrr": 1.0}"#).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
#[non_exhaustive]
pub enum Method {
    /// AdamW.
    AdamW(AdamWConfig),
    /// Gradient descent with momentum.
    Sgd(SgdConfig),
    /// SOAP, KL-Shampoo and their family.
    Kron(KronConfig),
    /// Shampoo.
    Shampoo(ShampooConfig),
    /// The spectral-factorised Riemannian method.
    Spectral(SpectralConfig),
    /// SIRF-Shampoo.
    Sirf(SirfConfig),
    /// PSGD-Kron.
    Psgd(PsgdConfig),
    /// Muon.
    Muon(MuonConfig),
}

impl Method {
    /// All names, as in files.
    pub const NAMES: [&'static str; 16] = [
        "adamw",
        "sgd",
        "shampoo",
        "scalable-shampoo",
        "soap",
        "kl-shampoo",
        "kl-soap",
        "idealised-kl-shampoo",
        "sq-shampoo",
        "vn-shampoo",
        "f-shampoo",
        "kron",
        "spectral",
        "sirf-shampoo",
        "psgd-kron",
        "muon",
    ];

    /// The method of this name with its recommended settings, or those of the published code.
    pub fn named(name: &str, published: bool) -> Option<Self> {
        let family = |statistics| {
            let config = if published { reference::kl_shampoo() } else { recommended::kl_shampoo() };
            Method::Kron(KronConfig { statistics, ..config })
        };
        let either = |a: KronConfig, b: KronConfig| Method::Kron(if published { a } else { b });
        Some(match name {
            "adamw" => Method::AdamW(AdamWConfig::default()),
            "sgd" => Method::Sgd(SgdConfig::default()),
            "shampoo" => Method::Shampoo(reference::meta_shampoo()),
            "scalable-shampoo" => Method::Shampoo(reference::google_shampoo()),
            "soap" => either(reference::soap(), recommended::soap()),
            "kl-shampoo" | "kron" => either(reference::kl_shampoo(), recommended::kl_shampoo()),
            "kl-soap" => either(reference::kl_soap(), recommended::kl_soap()),
            "idealised-kl-shampoo" => Method::Kron(reference::idealised_kl_shampoo()),
            "sq-shampoo" => family(Statistics::Sq),
            "vn-shampoo" => family(Statistics::Vn),
            "f-shampoo" => family(Statistics::F),
            "spectral" => Method::Spectral(SpectralConfig {
                rules: if published { crate::spectral::SpectralRules::published() } else { Default::default() },
                ..SpectralConfig::default()
            }),
            "sirf-shampoo" => Method::Sirf(SirfConfig::default()),
            "psgd-kron" => Method::Psgd(PsgdConfig::default()),
            "muon" => Method::Muon(MuonConfig {
                precision: if published { Precision::Bfloat16 } else { Precision::Own },
                ..MuonConfig::default()
            }),
            _ => return None,
        })
    }

    /// An optimiser that waits for its parameter list, on one thread.
    ///
    /// # Errors
    /// If a setting is out of range.
    pub fn build<T: Scalar>(&self) -> Result<Box<dyn Optimizer<T>>, Error> {
        self.build_with(Par::Seq)
    }

    /// The same with threads for the methods that have matrices; the bits do not depend on them.
    ///
    /// # Errors
    /// If a setting is out of range.
    pub fn build_with<T: Scalar>(&self, par: Par) -> Result<Box<dyn Optimizer<T>>, Error> {
        fn matrices<T: Scalar>(config: impl Settings<T> + 'static, par: Par) -> Result<Box<dyn Optimizer<T>>, Error> {
            Ok(Box::new(Preconditioned::new(config)?.with_par(par)))
        }
        Ok(match self.clone() {
            Method::AdamW(c) => Box::new(AdamW::new(c)?),
            Method::Sgd(c) => Box::new(Sgd::new(c)?),
            Method::Kron(c) => matrices(c, par)?,
            Method::Shampoo(c) => matrices(c, par)?,
            Method::Spectral(c) => matrices(c, par)?,
            Method::Sirf(c) => matrices(c, par)?,
            Method::Psgd(c) => matrices(c, par)?,
            Method::Muon(c) => matrices(c, par)?,
        })
    }

    /// The learning rate that a schedule multiplies.
    pub fn lr(&self) -> f64 {
        match self {
            Method::AdamW(c) => c.lr,
            Method::Sgd(c) => c.lr,
            Method::Kron(c) => c.lr,
            Method::Shampoo(c) => c.lr,
            Method::Spectral(c) => c.lr,
            Method::Sirf(c) => c.lr,
            Method::Psgd(c) => c.lr,
            Method::Muon(c) => c.lr,
        }
    }

    /// What happens when a gradient is not finite.
    pub fn non_finite(&self) -> NonFinite {
        match self {
            Method::AdamW(c) => c.non_finite,
            Method::Sgd(c) => c.non_finite,
            Method::Kron(c) => c.non_finite,
            Method::Shampoo(c) => c.non_finite,
            Method::Spectral(c) => c.non_finite,
            Method::Sirf(c) => c.non_finite,
            Method::Psgd(c) => c.non_finite,
            Method::Muon(c) => c.non_finite,
        }
    }

    /// The name of its family, from which [`Method::settings`] tell it fully.
    pub fn name(&self) -> &'static str {
        match self {
            Method::AdamW(_) => "adamw",
            Method::Sgd(_) => "sgd",
            Method::Kron(_) => "kron",
            Method::Shampoo(_) => "shampoo",
            Method::Spectral(_) => "spectral",
            Method::Sirf(_) => "sirf-shampoo",
            Method::Psgd(_) => "psgd-kron",
            Method::Muon(_) => "muon",
        }
    }

    /// All its settings, as a table.
    pub fn settings(&self) -> Value {
        match self {
            Method::AdamW(c) => serde_json::json!(c),
            Method::Sgd(c) => serde_json::json!(c),
            Method::Kron(c) => serde_json::json!(c),
            Method::Shampoo(c) => serde_json::json!(c),
            Method::Spectral(c) => serde_json::json!(c),
            Method::Sirf(c) => serde_json::json!(c),
            Method::Psgd(c) => serde_json::json!(c),
            Method::Muon(c) => serde_json::json!(c),
        }
    }

    fn with_settings(&self, v: Value) -> Result<Self, serde_json::Error> {
        Ok(match self {
            Method::AdamW(_) => Method::AdamW(serde_json::from_value(v)?),
            Method::Sgd(_) => Method::Sgd(serde_json::from_value(v)?),
            Method::Kron(_) => Method::Kron(serde_json::from_value(v)?),
            Method::Shampoo(_) => Method::Shampoo(serde_json::from_value(v)?),
            Method::Spectral(_) => Method::Spectral(serde_json::from_value(v)?),
            Method::Sirf(_) => Method::Sirf(serde_json::from_value(v)?),
            Method::Psgd(_) => Method::Psgd(serde_json::from_value(v)?),
            Method::Muon(_) => Method::Muon(serde_json::from_value(v)?),
        })
    }
}

impl From<Method> for Value {
    fn from(method: Method) -> Value {
        let mut table = Map::new();
        table.insert("method".into(), method.name().into());
        if let Value::Object(settings) = method.settings() {
            table.extend(settings);
        }
        Value::Object(table)
    }
}

impl TryFrom<Value> for Method {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let Value::Object(mut table) = value else { return Err("a method is a table".into()) };
        let take = |table: &mut Map<String, Value>, key: &str| match table.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!("{key}: expected a name, found {other}")),
        };
        let name = take(&mut table, "method")?.ok_or("the key `method` is missing")?;
        let published = match take(&mut table, "preset")?.as_deref() {
            None | Some("recommended") => false,
            Some("reference") => true,
            Some(other) => return Err(format!("preset: expected `recommended` or `reference`, found `{other}`")),
        };
        let base = Method::named(&name, published)
            .ok_or_else(|| format!("method: `{name}` is none of {}", Method::NAMES.join(", ")))?;
        let mut settings = base.settings();
        for (key, value) in table {
            merge(&mut settings, key, value);
        }
        base.with_settings(settings).map_err(|e| format!("{name}: {e}"))
    }
}

fn merge(settings: &mut Value, key: String, value: Value) {
    match (settings.get_mut(&key), value) {
        (Some(Value::Object(old)), Value::Object(new)) if MERGED.contains(&key.as_str()) => old.extend(new),
        (_, value) => {
            if let Value::Object(settings) = settings {
                settings.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_builds_and_goes_round() {
        for name in Method::NAMES {
            for published in [false, true] {
                let method = Method::named(name, published).expect("listed");
                assert!(method.build::<f64>().is_ok() && method.build::<f32>().is_ok(), "{name}");
                let text = serde_json::to_string(&method).expect("plain data");
                assert_eq!(serde_json::from_str::<Method>(&text).expect(name), method);
            }
        }
        assert!(Method::named("none", false).is_none());
    }

    #[test]
    fn tables_override_their_preset() {
        let read = |text: &str| serde_json::from_str::<Method>(text);
        let method =
            read(r#"{"method": "soap", "preset": "reference", "refresh": {"qr": 2}, "vectors": {"lr": 0.5}, "lr": 1}"#);
        let Ok(Method::Kron(c)) = method else { panic!("{method:?}") };
        assert_eq!((c.lr, c.vectors.lr, c.vectors.beta1), (1.0, 0.5, 0.9));
        assert_eq!(c, KronConfig { lr: 1.0, refresh: crate::Refresh::Qr(2), vectors: c.vectors, ..reference::soap() });
        for (text, word) in [
            (r#"{"method": "kl"}"#, "kl-shampoo"),
            (r#"{"lr": 1.0}"#, "method"),
            (r#"{"method": 3}"#, "method"),
            (r#"{"method": "muon", "preset": "best"}"#, "best"),
            (r#"{"method": "muon", "period": 3}"#, "period"),
            (r#"{"method": "soap", "layout": {"dim": 3}}"#, "dim"),
            (r#"[1]"#, "table"),
        ] {
            assert!(read(text).unwrap_err().to_string().contains(word), "{text}");
        }
    }
}
