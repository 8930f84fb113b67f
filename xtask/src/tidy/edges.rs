//! Crates depend downward only: numerics <- linop-core <- {sketch, autodiff} <- curvature <- optim <- osculate.

use crate::steps::{cargo, output};
use serde_json::Value;
use std::path::Path;

/// Storeys of the house. A crate may use crates of lower storeys only, so neighbours on one storey do not know each other.
const STOREYS: [(&str, u8); 7] = [
    ("numerics", 0),
    ("linop-core", 1),
    ("sketch", 2),
    ("autodiff", 2),
    ("curvature", 3),
    ("optim", 4),
    ("osculate", 5),
];

/// Members that use crates but are used by none.
const LEAVES: [&str; 2] = ["benches", "xtask"];

/// Outside libraries that xtask may use: it must compile in seconds.
const XTASK_MAY_USE: [&str; 2] = ["clap", "serde_json"];

/// A package and the names of its dependencies.
#[derive(Debug, PartialEq)]
struct Package {
    name: String,
    uses: Vec<String>,
}

/// Names of the workspace's packages, sorted.
pub(crate) fn members(root: &Path) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = packages(root)?.into_iter().map(|p| p.name).collect();
    names.sort();
    Ok(names)
}

/// Complaints about edges that go upward or sideways.
pub(super) fn check(root: &Path) -> Result<Vec<String>, String> {
    Ok(judge(&packages(root)?))
}

fn packages(root: &Path) -> Result<Vec<Package>, String> {
    let mut command = cargo(&["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]);
    parse(&output(command.arg(root.join("Cargo.toml")))?)
}

/// Reads what `cargo metadata --no-deps` prints.
fn parse(metadata: &str) -> Result<Vec<Package>, String> {
    let value: Value = serde_json::from_str(metadata).map_err(|e| format!("cargo metadata: {e}"))?;
    let listed = value["packages"].as_array().ok_or("cargo metadata: no packages")?;
    let name =
        |v: &Value| v["name"].as_str().map(str::to_owned).ok_or("cargo metadata: a package without a name".to_owned());
    listed
        .iter()
        .map(|package| {
            let uses = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
            Ok(Package { name: name(package)?, uses: uses.iter().map(name).collect::<Result<_, String>>()? })
        })
        .collect()
}

fn judge(packages: &[Package]) -> Vec<String> {
    let storey = |name: &str| STOREYS.iter().find(|(n, _)| *n == name).map(|(_, s)| *s);
    let is_member = |name: &str| packages.iter().any(|p| p.name == name);
    let mut complaints = Vec::new();
    for package in packages {
        let own = storey(&package.name);
        if own.is_none() && !LEAVES.contains(&package.name.as_str()) {
            complaints
                .push(format!("{}: a crate without a storey; give it one in xtask/src/tidy/edges.rs", package.name));
        }
        for used in &package.uses {
            // A crate may name itself to switch on a feature for its own tests.
            if *used == package.name {
                continue;
            }
            let allowed = match (is_member(used), package.name.as_str()) {
                (_, "xtask") => XTASK_MAY_USE.contains(&used.as_str()),
                (false, _) => true,
                (true, "benches") => storey(used).is_some(),
                (true, _) => matches!((own, storey(used)), (Some(own), Some(below)) if below < own),
            };
            if !allowed {
                complaints.push(format!("{} must not depend on {used}", package.name));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, uses: &[&str]) -> Package {
        Package { name: name.to_owned(), uses: uses.iter().map(|u| (*u).to_owned()).collect() }
    }

    #[test]
    fn reads_cargo_metadata() {
        let text = r#"{"packages":[{"name":"a","dependencies":[{"name":"b","kind":null},{"name":"c","kind":"dev"}]},{"name":"b","dependencies":[]}]}"#;
        assert_eq!(parse(text).unwrap(), [package("a", &["b", "c"]), package("b", &[])]);
        assert!(parse("{}").is_err());
        assert!(parse("nonsense").is_err());
    }

    #[test]
    fn downward_edges_pass_and_others_do_not() {
        let all = |curvature: &[&str]| {
            vec![
                package("numerics", &["faer"]),
                package("linop-core", &["numerics", "linop-core"]),
                package("sketch", &["linop-core"]),
                package("autodiff", &["linop-core"]),
                package("curvature", curvature),
                package("benches", &["curvature"]),
                package("xtask", &["clap"]),
            ]
        };
        assert_eq!(judge(&all(&["autodiff", "sketch", "numerics"])), [""; 0]);
        assert_eq!(judge(&all(&["benches"])), ["curvature must not depend on benches"]);
        let mut sideways = all(&[]);
        sideways[2].uses.push("autodiff".to_owned());
        sideways[0].uses.push("curvature".to_owned());
        sideways[6].uses.push("faer".to_owned());
        let expected = [
            "numerics must not depend on curvature",
            "sketch must not depend on autodiff",
            "xtask must not depend on faer",
        ];
        assert_eq!(judge(&sideways), expected);
        assert!(judge(&[package("new", &[])])[0].contains("without a storey"));
    }
}
