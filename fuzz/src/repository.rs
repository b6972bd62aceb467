//! Samples and golden cases of the repository that the target was built from: what seeds are made of.

use std::path::Path;

use serde_json::Value;

use crate::begin::Seed;

/// A file, by its path in the repository.
///
/// # Panics
/// If it cannot be read.
pub fn file(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("cannot read `{}`: {error}", path.display()))
}

/// The SQL of all golden cases, refusals included, and of the examples.
///
/// # Panics
/// If a case cannot be read.
pub fn golden_sql() -> Vec<Seed> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference/cases");
    let mut seeds = Vec::new();
    for entry in std::fs::read_dir(cases).expect("the golden cases are there") {
        let name = entry.expect("a folder can be listed").file_name().into_string().expect("a name in ASCII");
        let cases = file(&format!("tests/reference/cases/{name}"));
        let cases: Vec<Value> = serde_json::from_slice(&cases).expect("golden cases are a list");
        for case in cases {
            let text = case["sql"].as_str().expect("a golden case has its SQL");
            seeds.push((format!("{name}-{}", case["name"].as_str().unwrap_or_default()), text.into()));
        }
    }
    for example in ["flights", "fraud", "machines"] {
        seeds.push((example.to_owned(), file(&format!("examples/{example}/features.sql"))));
    }
    seeds
}
