//! Which optimiser a run uses, its settings, and how parameters fall into groups.

use super::Error;
use autodiff::nn::ParamSpace;
use optim::{Method, ParamGroup, ParamList};
use serde_json::{Map, Value};

/// Reads the table `[optimizer]`: `name`, an optional `preset`, and the settings that differ from it.
///
/// # Errors
/// An unknown name, unknown or ill-typed settings, settings out of range.
pub(super) fn method_from_table(mut table: toml::Table) -> Result<Method, Error> {
    let wrong = |what: String| Error::setting("[optimizer]", what);
    let known = || Method::NAMES.map(|n| format!("{n:?}")).join(", ");
    let name = match table.remove("name") {
        Some(toml::Value::String(name)) => name,
        Some(other) => return Err(wrong(format!("name is {other}, expected one of {}", known()))),
        None => return Err(wrong(format!("no name, expected one of {}", known()))),
    };
    if !Method::NAMES.contains(&name.as_str()) {
        return Err(wrong(format!("no method named {name:?}; there are {}", known())));
    }
    if table.contains_key("method") {
        return Err(wrong("unknown key `method`, the method stands under `name`".into()));
    }
    let mut all = Map::from_iter([("method".to_owned(), Value::from(name))]);
    for (key, value) in table {
        finite(&key, &value).map_err(wrong)?;
        let value = serde_json::to_value(value).map_err(|e| wrong(format!("{key}: {e}")))?;
        all.insert(key, value);
    }
    let method = Method::try_from(Value::Object(all)).map_err(|e| wrong(super::config::plain_words(&e)))?;
    // A method checks its own ranges.
    method.build::<f64>().map_err(|e| wrong(e.to_string()))?;
    Ok(method)
}

/// Fails on numbers that JSON could not carry.
fn finite(key: &str, value: &toml::Value) -> Result<(), String> {
    match value {
        toml::Value::Float(x) if !x.is_finite() => Err(format!("{key}: {x} is not finite")),
        toml::Value::Array(list) => list.iter().try_for_each(|v| finite(key, v)),
        toml::Value::Table(table) => table.iter().try_for_each(|(k, v)| finite(k, v)),
        _ => Ok(()),
    }
}

/// Parameters whose names match a pattern, with settings of their own; `None` is the optimiser's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// Name, for messages.
    pub name: String,
    /// Patterns of parameter names, in which `*` stands for any run of characters.
    pub patterns: Vec<String>,
    /// Multiplies the learning rate.
    pub lr_factor: Option<f64>,
    /// Matrices are stepped by the method's rule for vectors.
    pub first_order: bool,
    /// Weight decay.
    pub weight_decay: Option<f64>,
    /// Decay of the first moment, or momentum.
    pub beta1: Option<f64>,
    /// Decay of the second moment.
    pub beta2: Option<f64>,
    /// Added to the denominator.
    pub eps: Option<f64>,
}

impl Group {
    fn params(&self) -> ParamGroup {
        ParamGroup {
            lr_factor: self.lr_factor,
            first_order: self.first_order,
            weight_decay: self.weight_decay,
            beta1: self.beta1,
            beta2: self.beta2,
            eps: self.eps,
            ..ParamGroup::new(self.name.clone())
        }
    }

    fn check(&self, method: &Method) -> Result<(), Error> {
        let key = format!("[[group]] {:?}", self.name);
        if let Some(f) = self.lr_factor.filter(|f| !(f.is_finite() && *f >= 0.0)) {
            return Err(Error::setting(
                key,
                format!("lr_factor is {f}, expected a finite number that is not negative"),
            ));
        }
        if matches!(method, Method::Sgd(_)) && (self.beta2.is_some() || self.eps.is_some()) {
            return Err(Error::setting(key, "beta2 and eps belong to the other methods; sgd has momentum"));
        }
        if matches!(method, Method::Sgd(_) | Method::AdamW(_)) && self.first_order {
            let what = format!("first_order belongs to the matrix methods; {} is one for all tensors", method.name());
            return Err(Error::setting(key, what));
        }
        if self.patterns.is_empty() {
            return Err(Error::setting(key, "match is empty, expected patterns of parameter names, as \"*.bias\""));
        }
        Ok(())
    }
}

/// The parameters of a model in the groups that they match first, the others in a group `default`.
pub(super) fn param_list(space: &ParamSpace, method: &Method, groups: &[Group]) -> Result<ParamList, Error> {
    let mut list = ParamList::new();
    let default = list.add_group(ParamGroup::new("default"));
    let mut used = vec![false; groups.len()];
    let mut ids = Vec::with_capacity(groups.len());
    for g in groups {
        g.check(method)?;
        ids.push(list.add_group(g.params()));
    }
    for p in space.iter() {
        let group = groups.iter().position(|g| g.patterns.iter().any(|pattern| matches(pattern, p.name())));
        if let Some(g) = group {
            used[g] = true;
        }
        list.push(p.name(), p.shape(), group.map_or(default, |g| ids[g]))?;
    }
    match used.iter().position(|u| !u) {
        None => Ok(list),
        Some(g) => {
            let names: Vec<&str> = space.iter().map(|p| p.name()).collect();
            Err(Error::setting(
                format!("[[group]] {:?}", groups[g].name),
                format!("{:?} matches no parameter that is left; there are {}", groups[g].patterns, names.join(", ")),
            ))
        }
    }
}

/// `*` stands for any run of characters, everything else for itself.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(earlier) = last.replace(part) {
            // The leftmost place leaves the most to the patterns that follow.
            let Some(at) = rest.find(earlier) else { return false };
            rest = &rest[at + earlier.len()..];
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use optim::{AdamWConfig, NonFinite, Refresh, SgdConfig, reference};

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("0.weight", "0.weight", true),
            ("0.weight", "10.weight", false),
            ("0.weight", "0.weights", false),
            ("*", "", true),
            ("*.bias", "12.bias", true),
            ("*.bias", "12.weight", false),
            ("1*.w*t", "12.weight", true),
            ("1*.w*x", "12.weight", false),
            ("*a*a", "a", false),
            ("*a*a", "aba", true),
            ("a*a", "a", false),
            ("**", "x", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    fn table(text: &str) -> Result<Method, Error> {
        method_from_table(text.parse().unwrap())
    }

    #[test]
    fn settings_are_those_of_the_method() {
        let expected = AdamWConfig { lr: 0.5, beta1: 0.8, non_finite: NonFinite::Skip, ..AdamWConfig::default() };
        let read = table("name = \"adamw\"\nlr = 0.5\nbeta1 = 0.8\nnon_finite = \"skip\"").unwrap();
        assert_eq!(read, Method::AdamW(expected));
        assert!(
            matches!(table("name = \"sgd\"\nnesterov = true\ndecay = \"l2\"").unwrap(), Method::Sgd(c) if c.nesterov)
        );
        let text = "name = \"soap\"\npreset = \"reference\"\nlr = 1\nrefresh = { qr = 2 }\nvectors = { lr = 0.5 }";
        let Method::Kron(c) = table(text).unwrap() else { panic!("soap") };
        assert_eq!((c.lr, c.refresh, c.vectors.lr, c.bias), (1.0, Refresh::Qr(2), 0.5, reference::soap().bias));
        for (text, part) in [
            ("lr = 1.0", "no name, expected one of \"adamw\", \"sgd\""),
            ("name = \"soap\"\nmethod = \"soap\"", "the method stands under `name`"),
            ("name = \"soap\"\nlr = nan", "lr: NaN is not finite"),
            ("name = \"soap\"\nperiod = 0", "period: 0 is not at least 1"),
            ("name = \"soap\"\nlayout = { max = 3 }", "unknown key `max`, expected one of `max_dim`"),
            ("name = \"muon\"\npreset = \"best\"", "expected `recommended` or `reference`"),
            ("name = \"adam\"", "no method named \"adam\"; there are \"adamw\", \"sgd\""),
            ("name = \"sgd\"\nbeta1 = 0.9", "unknown key `beta1`, expected one of `lr`, `momentum`"),
            ("name = \"adamw\"\nlr = -1.0", "lr: -1 is not finite and at least 0"),
            ("name = \"adamw\"\nlr = \"big\"", "invalid type"),
            ("name = 3", "name is 3"),
        ] {
            let e = table(text).unwrap_err().to_string();
            assert!(e.starts_with("[optimizer]: ") && e.contains(part), "{e} lacks {part}");
        }
    }

    #[test]
    fn parameters_fall_into_the_first_group_that_fits() {
        let space = ParamSpace::new([("0.weight", vec![2, 2]), ("0.bias", vec![2]), ("1.weight", vec![2])]).unwrap();
        let method = Method::AdamW(AdamWConfig { lr: 0.5, ..AdamWConfig::default() });
        let group =
            |name: &str, pattern: &str| Group { name: name.into(), patterns: vec![pattern.into()], ..Group::default() };
        let biases = Group { weight_decay: Some(0.0), lr_factor: Some(2.0), ..group("biases", "*.bias") };
        let list = param_list(&space, &method, &[biases.clone(), group("first", "0.*")]).unwrap();
        let names: Vec<&str> = list.params().iter().map(|p| list.group_of(p).name.as_str()).collect();
        assert_eq!(names, ["first", "biases", "default"]);
        assert_eq!((list.groups()[1].lr, list.groups()[1].lr_factor), (None, Some(2.0)));
        let e = param_list(&space, &method, &[group("all", "*"), biases.clone()]).unwrap_err().to_string();
        assert!(e.contains("matches no parameter that is left; there are 0.weight, 0.bias, 1.weight"), "{e}");
        let sgd = Method::Sgd(SgdConfig::default());
        let e = param_list(&space, &sgd, &[Group { beta2: Some(0.9), ..biases.clone() }]).unwrap_err().to_string();
        assert!(e.contains("belong to the other methods"), "{e}");
        let e = param_list(&space, &sgd, &[Group { first_order: true, ..biases.clone() }]).unwrap_err().to_string();
        assert!(e.contains("sgd is one for all tensors"), "{e}");
        let e = param_list(&space, &sgd, &[Group { lr_factor: Some(f64::NAN), ..biases }]).unwrap_err().to_string();
        assert!(e.contains("lr_factor is NaN"), "{e}");
    }
}
