//! The golden cases of the language contract: every `sql` is accepted, every refusal has its words. A case of a
//! construct that is not built yet says so in `not_supported_yet`: it is refused by those words, and listed by name.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may stop where it stands, and says what it skips")]

use std::path::{Path, PathBuf};

use asof_definition::{DerivedInput, Over, SourceFile, check, check_ahead, duration_us};
use asof_window::{Extent, GroupWindow};
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

/// All cases but the refusals, each with its file.
fn golden_cases() -> Vec<(PathBuf, Value)> {
    let paths = std::fs::read_dir(cases_folder()).unwrap().map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.file_name().unwrap() != "refusals.json");
    paths.flat_map(|path| cases(&path).into_iter().map(move |case| (path.clone(), case))).collect()
}

#[test]
fn what_is_not_built_yet_is_refused_by_name() {
    for (path, case) in golden_cases() {
        let Some(words) = case["not_supported_yet"].as_str() else { continue };
        let what = format!("{} {}", path.display(), case["name"]);
        let errors = check(&source(&case["sql"]))
            .expect_err(&format!("{what} is accepted now: take `not_supported_yet` out of the case"));
        let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(found.iter().any(|error| error.contains(words)), "{what}: `{words}` is not in {found:#?}");
        println!("skipped: {what}: {words}");
    }
}

/// What a SELECT joins, of a case and of what was made of its SQL: the table, the alias and the columns of ON.
type Joined = Vec<(String, String, Vec<String>)>;

fn joined_in_case(select: &Value) -> Joined {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut joins = Vec::new();
    for join in select["joins"].as_array().into_iter().flatten() {
        let mut on: Vec<String> = join["on"].as_object().unwrap().keys().cloned().collect();
        on.sort();
        joins.push((text(&join["table"]), text(&join["as"]), on));
    }
    joins
}

fn joined_in(input: &DerivedInput) -> Joined {
    let mut joins = Vec::new();
    for join in &input.joins {
        assert_eq!(join.key.len(), join.table.key().len());
        let mut on: Vec<String> = join.table.key().iter().map(|at| join.table.columns()[*at].name.clone()).collect();
        on.sort();
        joins.push((join.table.name().to_owned(), join.alias.clone(), on));
    }
    joins
}

fn sorted<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<&'a String> {
    let mut names: Vec<&String> = names.into_iter().collect();
    names.sort();
    names
}

/// Tables and joins are read as the structured form of the case says.
#[test]
fn every_case_with_tables_is_read_rightly() {
    let (mut cases, mut joins) = (0, 0);
    for (path, case) in golden_cases() {
        let is_of_windows = case["not_supported_yet"].as_str().is_some_and(|words| words.contains("group window"));
        if case["tables"].as_object().is_none_or(|tables| tables.is_empty()) || is_of_windows {
            continue;
        }
        let what = format!("{} {}", path.display(), case["name"]);
        let read = if case["not_supported_yet"].is_null() { check } else { check_ahead };
        let project = read(&source(&case["sql"])).unwrap_or_else(|errors| panic!("{what}: {errors:#?}"));
        for (name, declared) in case["tables"].as_object().unwrap() {
            let table = project.table(name).unwrap();
            let deleted = table.deleted.map(|at| table.columns()[at].name.as_str());
            assert_eq!(deleted, declared["delete"].as_str(), "{what}");
            let key: Vec<&str> = table.key().iter().map(|at| table.columns()[*at].name.as_str()).collect();
            let declared: Vec<&str> =
                declared["primary_key"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
            assert_eq!(key, declared, "{what}");
        }
        let (view, declared) = (&project.views[0], &case["view"]);
        assert_eq!(declared["table"].is_string(), view.over != Over::Events, "{what}");
        let features = sorted(view.features.iter().map(|feature| &feature.name));
        assert_eq!(features, sorted(declared["features"].as_object().unwrap().keys()), "{what}");
        assert_eq!(
            sorted(view.key.iter().map(|part| &part.name)),
            sorted(declared["key"].as_object().unwrap().keys()),
            "{what}"
        );
        let of_view = view.stream.derivation().filter(|derivation| derivation.of_view.is_some());
        let of_view = of_view.map(|derivation| joined_in(&derivation.inputs[0])).unwrap_or_default();
        assert_eq!(of_view, joined_in_case(declared), "{what}");
        for derived in case["derived"].as_array().into_iter().flatten() {
            let stream = project.stream(derived["name"].as_str().unwrap()).unwrap();
            let found: Vec<Joined> = stream.derivation().unwrap().inputs.iter().map(joined_in).collect();
            let expected: Vec<Joined> = derived["branches"].as_array().unwrap().iter().map(joined_in_case).collect();
            assert_eq!(found, expected, "{what}");
            joins += found.iter().flatten().count();
        }
        joins += of_view.len();
        cases += 1;
    }
    assert!(cases > 60 && joins > 40, "only {cases} cases with {joins} joins found");
}

/// The shape in the structured form of a case.
fn shape_in_case(window: &Value) -> GroupWindow {
    let length_us = |name: &str| window[name].as_str().map_or(0, |text| duration_us(text).unwrap());
    let (size_us, offset_us) = (length_us("size"), length_us("offset"));
    match window["kind"].as_str().unwrap() {
        "tumble" => GroupWindow::Tumble { size_us, offset_us },
        "hop" => GroupWindow::Hop { size_us, slide_us: length_us("slide"), offset_us },
        "cumulate" => GroupWindow::Cumulate { size_us, step_us: length_us("step"), offset_us },
        _ => GroupWindow::Session { gap_us: length_us("gap") },
    }
}

/// Group windows are read as the structured form of the case says, in views and derived streams.
#[test]
fn every_group_window_is_read_rightly() {
    let (mut views, mut streams) = (0, 0);
    for (path, case) in golden_cases() {
        let what = format!("{} {}", path.display(), case["name"]);
        let is_derived =
            case["derived"].as_array().into_iter().flatten().any(|one| !one["branches"][0]["window"].is_null());
        if case["view"]["window"].is_null() && !is_derived {
            continue;
        }
        let read = if case["not_supported_yet"].is_null() { check } else { check_ahead };
        let project = read(&source(&case["sql"])).unwrap_or_else(|errors| panic!("{what}: {errors:#?}"));
        for derived in case["derived"].as_array().into_iter().flatten() {
            let branch = &derived["branches"][0];
            let stream = project.stream(derived["name"].as_str().unwrap()).unwrap();
            let Some(window) = stream.window() else {
                assert!(branch["window"].is_null(), "{what}");
                continue;
            };
            assert_eq!(window.shape, shape_in_case(&branch["window"]), "{what}");
            let mut key: Vec<&str> = window.view.key.iter().map(|part| &part.text[..]).collect();
            let group = branch["group"].as_object().unwrap().values();
            let mut group: Vec<&str> = group.map(|one| one.as_str().unwrap()).collect();
            key.sort_unstable();
            group.sort_unstable();
            assert_eq!(key, group, "{what}");
            assert_eq!(window.view.filter.is_some(), !branch["where"].is_null(), "{what}");
            let columns = sorted(stream.named_columns().iter().map(|column| &column.name));
            assert_eq!(columns, sorted(branch["columns"].as_object().unwrap().keys()), "{what}");
            streams += 1;
        }
        let (view, declared) = (&project.views[0], &case["view"]);
        let features = sorted(view.features.iter().map(|feature| &feature.name));
        assert_eq!(features, sorted(declared["features"].as_object().unwrap().keys()), "{what}");
        if !declared["window"].is_null() {
            let expected = shape_in_case(&declared["window"]);
            for frame in &view.frames {
                assert!(matches!(frame.extent, Extent::Group { shape, .. } if shape == expected), "{what}: {frame:?}");
            }
            views += 1;
        }
    }
    assert!(views >= 13 && streams >= 37, "only {views} views and {streams} streams over windows found");
}

#[test]
fn every_case_is_accepted() {
    let mut accepted = 0;
    for (path, case) in golden_cases() {
        if !case["not_supported_yet"].is_null() {
            continue; // see `what_is_not_built_yet_is_refused_by_name`
        }
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
