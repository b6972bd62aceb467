//! The golden cases of the language contract: every `sql` is accepted, every refusal has its words.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::path::{Path, PathBuf};

use asof_definition::{SourceFile, check};
use serde_json::Value;

fn cases_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/cases")
}

fn cases(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn source(sql: &Value) -> [SourceFile; 1] {
    [SourceFile { name: "case.sql".to_owned(), text: sql.as_str().unwrap().to_owned() }]
}

#[test]
fn every_case_is_accepted() {
    let mut accepted = 0;
    for entry in std::fs::read_dir(cases_folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() == "refusals.json" {
            continue;
        }
        for case in cases(&path) {
            let project = check(&source(&case["sql"]))
                .unwrap_or_else(|errors| panic!("{}: {} {errors:#?}", path.display(), case["name"]));
            let features = case["view"]["features"].as_object().unwrap();
            let view = &project.views[0];
            let found: Vec<&String> = view.features.iter().map(|feature| &feature.name).collect();
            let mut expected: Vec<&String> = features.keys().collect();
            let mut sorted = found.clone();
            sorted.sort();
            expected.sort();
            assert_eq!(sorted, expected, "{} {}", path.display(), case["name"]);
            accepted += 1;
        }
    }
    assert!(accepted > 90, "only {accepted} cases found");
}

#[test]
fn every_refusal_has_its_words_and_its_place() {
    let refusals = cases(&cases_folder().join("refusals.json"));
    assert!(refusals.len() >= 40);
    for case in refusals {
        let errors = check(&source(&case["sql"])).expect_err(case["name"].as_str().unwrap());
        let text: String = errors.iter().map(|error| error.to_string().to_lowercase()).collect::<Vec<_>>().join("\n");
        for expected in case["message_contains"].as_array().unwrap() {
            let expected = expected.as_str().unwrap().to_lowercase();
            assert!(text.contains(&expected), "{}: `{expected}` is not in {text}", case["name"]);
        }
        for error in errors {
            assert!(error.line >= 1 && error.column >= 1 && !error.span.is_empty(), "{}: {error}", case["name"]);
        }
    }
}
