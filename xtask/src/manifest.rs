//! `MANIFEST.toml` of a golden folder: which script made which files, from what, and their hashes.
//!
//! The reader takes the part of TOML that manifests use (tables, bare or quoted keys, basic strings, numbers) and refuses the rest.

use std::collections::BTreeMap;

/// What a golden folder says about itself.
#[derive(Debug, PartialEq)]
pub(crate) struct Manifest {
    /// The script that makes the files, in the same folder.
    pub(crate) script: String,
    /// File name relative to the folder -> SHA-256.
    pub(crate) files: BTreeMap<String, String>,
}

/// Keys that every manifest has besides the list of files: the script, why the values exist, and how closely they must be met.
const REQUIRED: [&str; 3] = ["script", "why", "tolerance"];

/// Reads a manifest; the error names the line or the key.
pub(crate) fn parse(text: &str) -> Result<Manifest, String> {
    let table = parse_table(text)?;
    for key in REQUIRED {
        if table.get(key).is_none_or(|value| value.is_empty()) {
            return Err(format!("the key `{key}` is missing"));
        }
    }
    let mut files = BTreeMap::new();
    for (key, value) in &table {
        if let Some(name) = key.strip_prefix("files\u{0}") {
            if value.len() != 64 || !value.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(format!("`{name}` needs a SHA-256 of 64 hexadecimal digits, got `{value}`"));
            }
            files.insert(name.to_owned(), value.to_ascii_lowercase());
        }
    }
    Ok(Manifest { script: table["script"].clone(), files })
}

/// Flattens `[a]`, `b = "c"` to `"a\0b" -> "c"`.
fn parse_table(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut table = BTreeMap::new();
    let mut section = String::new();
    for (number, line) in text.lines().enumerate() {
        let at = |what: &str| format!("line {}: {what}", number + 1);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            let name = rest.split(']').next().unwrap_or_default().trim();
            if name.is_empty() || name.starts_with('[') || !rest.contains(']') {
                return Err(at("only plain tables `[name]` are understood"));
            }
            section = format!("{name}\u{0}");
            continue;
        }
        let (key, rest) = take_key(line).ok_or_else(|| at("expected `key = value`"))?;
        let value = take_value(rest).ok_or_else(|| at("expected a string in double quotes, or a number"))?;
        if table.insert(format!("{section}{key}"), value).is_some() {
            return Err(at(&format!("`{key}` stands twice")));
        }
    }
    Ok(table)
}

fn take_key(line: &str) -> Option<(String, &str)> {
    let (key, rest) = if line.starts_with('"') {
        take_string(line)?
    } else {
        let end = line.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).filter(|end| *end > 0)?;
        (line[..end].to_owned(), &line[end..])
    };
    Some((key, rest.trim_start().strip_prefix('=')?.trim_start()))
}

fn take_value(text: &str) -> Option<String> {
    let (value, rest) = if text.starts_with('"') {
        take_string(text)?
    } else {
        let end = text.find([' ', '\t', '#']).unwrap_or(text.len());
        text[..end].parse::<f64>().ok()?;
        (text[..end].to_owned(), &text[end..])
    };
    let rest = rest.trim_start();
    (rest.is_empty() || rest.starts_with('#')).then_some(value)
}

/// A basic string with the escapes `\"` and `\\`, and what follows it.
fn take_string(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(characters.next().map(|(_, c)| c).filter(|c| matches!(c, '"' | '\\'))?),
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn sample(extra: &str) -> String {
        format!(
            "# made by a script\nscript = \"make.py\"\nwhy = \"a \\\"why\\\"\"\ntolerance = 1e-10 # relative\n\
             [tools]\ntorch = \"2\"\n[files]\n\"a/b.npz\" = \"{HASH}\"\n{extra}"
        )
    }

    #[test]
    fn reads_script_and_files() {
        let m = parse(&sample("")).unwrap();
        assert_eq!(m.script, "make.py");
        assert_eq!(m.files, BTreeMap::from([("a/b.npz".to_owned(), HASH.to_owned())]));
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        assert!(parse(&sample("c = [1]")).unwrap_err().starts_with("line 9: expected a string"));
        assert!(parse(&sample("c = \"open")).unwrap_err().contains("line 9"));
        assert!(parse(&sample("c.d = 1")).unwrap_err().contains("expected `key = value`"));
        assert!(parse(&sample("[[x]]")).unwrap_err().contains("plain tables"));
        assert!(parse(&sample("\"a/b.npz\" = \"x\"")).unwrap_err().contains("stands twice"));
        assert!(parse(&sample("c = \"abc\"")).unwrap_err().contains("64 hexadecimal digits"));
        assert_eq!(parse("script = \"x\"").unwrap_err(), "the key `why` is missing");
        assert!(parse("script = \"x\"\nwhy = \"y\"\ntolerance = 1").unwrap().files.is_empty());
    }
}
