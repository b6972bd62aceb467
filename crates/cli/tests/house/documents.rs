//! What the documents say, against the program: help texts, lists of functions, limits, SQL examples, links. What they run
//! is run in `tests/docs`.
//!
//! Text between `<!-- begin NAME -->` and `<!-- end NAME -->` is made from the program. After a change,
//! `ASOF_WRITE_DOCUMENTS=1 cargo test --release -p asof-cli --test house` writes it anew; read the difference.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use arrow::datatypes::{DataType, TimeUnit};
use asof_window::{FUNCTION_NAMES, Function};

use crate::files::{committed_files, root, text};

const SQL_PAGE: &str = "docs/reference/sql.md";
const CLI_PAGE: &str = "docs/reference/cli.md";
const HTTP_PAGE: &str = "docs/reference/http.md";

/// The documents that users read from the front door on.
const DOCUMENTS: &[&str] = &["README.md", "docs/start.md"];

#[test]
fn help_is_printed_in_the_reference() {
    for (name, arguments) in [
        ("asof", &["--help"][..]),
        ("asof check", &["check", "--help"]),
        ("asof history", &["history", "--help"]),
        ("asof run", &["run", "--help"]),
        ("asof get", &["get", "--help"]),
        ("asof ingest", &["ingest", "--help"]),
        ("asof replay-dead-letters", &["replay-dead-letters", "--help"]),
        ("asof transactions", &["transactions", "--help"]),
    ] {
        let ran = asof(arguments);
        let printed = String::from_utf8(ran.stdout).expect("help is UTF-8");
        let lines: Vec<&str> = printed.lines().map(str::trim_end).collect();
        check_block(CLI_PAGE, &format!("{name} --help"), &format!("```text\n{}\n```", lines.join("\n").trim_end()));
    }
}

#[test]
fn every_command_has_a_section_in_the_reference() {
    let printed = String::from_utf8(asof(&["--help"]).stdout).expect("help is UTF-8");
    let commands = printed.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let page = text(CLI_PAGE);
    for command in commands.filter_map(|line| line.split_whitespace().next()).filter(|command| *command != "help") {
        assert!(page.contains(&format!("\n## `asof {command}`")), "{CLI_PAGE} has no section for `asof {command}`");
    }
}

#[test]
fn aggregates_are_those_of_the_window_crate() {
    let mut table = String::from("| Aggregate | Takes | Gives | FILTER |\n|---|---|---|---|");
    let mut listed = Vec::new();
    for (written, function) in aggregates() {
        let name = written.split('(').next().expect("a name before the parenthesis");
        if listed.last() != Some(&name) {
            listed.push(name);
        }
        table += &format!("\n| `{written}` | {} | {} | {} |", takes(function), gives(function), filter(function));
    }
    assert_eq!(listed, FUNCTION_NAMES, "aggregates() below lists what the language has, in its order");
    check_block(SQL_PAGE, "aggregates", &table);
}

#[test]
fn scalar_functions_are_those_of_the_expression_crate() {
    let names: Vec<String> = asof_expression::function_names().iter().map(|name| format!("`{name}`")).collect();
    check_block(SQL_PAGE, "scalar functions", &wrapped(&names, 118));
}

#[test]
fn sql_examples_pass_asof_check() {
    for document in DOCUMENTS {
        let examples: Vec<String> =
            fenced(&text(document), "sql").filter(|sql| sql.contains("CREATE STREAM")).collect();
        assert!(!examples.is_empty(), "{document} shows a project in SQL");
        for (number, sql) in examples.iter().enumerate() {
            let folder = scratch(&format!("{}_{number}", document.replace(['/', '.'], "_")));
            fs::write(folder.join("features.sql"), sql).expect("the scratch folder can be written");
            let ran = asof(&["check", folder.to_str().expect("a path in UTF-8")]);
            let said = String::from_utf8_lossy(&ran.stderr);
            assert!(
                ran.status.success() && said.is_empty(),
                "the SQL of {document} does not pass `asof check`:\n{said}"
            );
        }
    }
}

#[test]
fn limits_of_the_reference_are_those_of_the_server() {
    let limits = asof_server::Limits::default();
    let size = |bytes: usize| format!("\"{}MiB\"", bytes >> 20);
    let duration = |duration: std::time::Duration| format!("\"{}s\"", duration.as_secs());
    let defaults = [
        ("body_max", size(limits.body_bytes_max)),
        ("rows_max", limits.rows_max.to_string()),
        ("requests_max", limits.requests_max.to_string()),
        ("connections_max", limits.connections_max.to_string()),
        ("request_timeout", duration(limits.request_timeout)),
        ("idle_timeout", duration(limits.idle_timeout)),
    ];
    let page = text(HTTP_PAGE);
    for (key, default) in defaults {
        let row = format!("\n| `{key}` | `{default}` |");
        assert!(page.contains(&row), "{HTTP_PAGE} has no row{row}");
    }
}

#[test]
fn links_lead_somewhere() {
    for document in committed_files().iter().filter(|file| file.ends_with(".md")) {
        let folder = root().join(document).parent().map(Path::to_path_buf).expect("a file lies in a folder");
        for target in links(&text(document)) {
            assert!(folder.join(&target).exists(), "{document} links to `{target}`, which is not there");
        }
    }
}

#[test]
fn the_architecture_tells_of_every_crate() {
    let page = text("ARCHITECTURE.md");
    for entry in fs::read_dir(root().join("crates")).expect("the workspace has crates") {
        let name = entry.expect("a folder entry").file_name();
        let name = name.to_str().expect("a crate's name is UTF-8");
        assert!(page.contains(&format!("\n### `{name}`")), "ARCHITECTURE.md has no paragraph `### \\`{name}\\``");
    }
}

#[test]
fn continuous_integration_runs_the_test_command_of_the_readme() {
    assert!(
        text("README.md").contains("\n    scripts/test\n"),
        "README.md names the test command in a line of its own"
    );
    let run = text(".ci/run");
    let commands: Vec<&str> =
        run.lines().filter(|line| line.starts_with("exec ") || line.starts_with("scripts/")).collect();
    assert_eq!(commands, ["exec scripts/test"], ".ci/run runs the test command and nothing else");
}

/// How each aggregate is written, and what it is.
fn aggregates() -> [(&'static str, Function); 32] {
    use Function::*;
    [
        ("count(*)`, `count(x)", Count),
        ("count(DISTINCT x)", CountDistinct),
        ("sum(x)", Sum),
        ("avg(x)", Avg),
        ("var_pop(x)", VarPop),
        ("var_samp(x)", VarSamp),
        ("stddev_pop(x)", StddevPop),
        ("stddev_samp(x)", StddevSamp),
        ("min(x)", Min),
        ("max(x)", Max),
        ("first_value(x)", FirstValue),
        ("last_value(x)", LastValue),
        ("nth_value(x, n)", NthValue(1)),
        ("array_agg(x)", ArrayAgg),
        ("bool_and(x)", BoolAnd),
        ("bool_or(x)", BoolOr),
        ("median(x)", Quantile(0.5)),
        ("quantile_cont(x, q)", Quantile(0.9)),
        ("mode(x)", Mode),
        ("min_by(x, y)", MinBy),
        ("max_by(x, y)", MaxBy),
        ("covar_pop(y, x)", CovarPop),
        ("covar_samp(y, x)", CovarSamp),
        ("corr(y, x)", Corr),
        ("regr_slope(y, x)", RegrSlope),
        ("decayed_sum(x, INTERVAL …)", DecayedSum { half_life_us: 1 }),
        ("decayed_avg(x, INTERVAL …)", DecayedAvg { half_life_us: 1 }),
        ("histogram(x)", Histogram),
        ("top_k(x, k)", TopK(1)),
        ("last_distinct(x, n)", LastDistinct(1)),
        ("approx_count_distinct(x)", ApproxCountDistinct),
        ("approx_quantile(x, q)", ApproxQuantile(0.9)),
    ]
}

/// One type for each that the language names.
fn types() -> Vec<DataType> {
    use DataType::*;
    vec![
        Boolean,
        Int16,
        Int32,
        Int64,
        Float32,
        Float64,
        Decimal128(10, 2),
        Utf8,
        Binary,
        Date32,
        Timestamp(TimeUnit::Microsecond, None),
    ]
}

fn takes(function: Function) -> &'static str {
    let taken: Vec<DataType> =
        types().into_iter().filter(|data_type| function.result_type(data_type).is_some()).collect();
    match taken.as_slice() {
        all if all.len() == types().len() => "every type",
        [DataType::Boolean] => "BOOLEAN",
        numbers if !numbers.is_empty() && numbers.iter().all(DataType::is_numeric) => "numbers",
        other => panic!("a new group of types needs its word here: {other:?}"),
    }
}

fn gives(function: Function) -> String {
    let answers: Vec<(DataType, DataType)> =
        types().into_iter().filter_map(|taken| function.result_type(&taken).map(|given| (taken, given))).collect();
    if answers.iter().all(|(taken, given)| taken == given) {
        return if answers.len() == 1 { "BOOLEAN".to_owned() } else { "the type of x".to_owned() };
    }
    if answers.iter().all(|(taken, given)| *given == DataType::new_list(taken.clone(), true)) {
        return "an array of the type of x".to_owned();
    }
    if answers.iter().all(|(_, given)| matches!(given, DataType::Map(_, _))) {
        return "MAP(the type of x, BIGINT)".to_owned();
    }
    let first = &answers[0].1;
    if answers.iter().all(|(_, given)| given == first) {
        return asof_expression::type_name(first);
    }
    let mut groups: Vec<String> = Vec::new();
    for (taken, given) in &answers {
        let words = match taken {
            DataType::Decimal128(..) => "DECIMAL(p,s) → DECIMAL(38,s)".to_owned(),
            taken if taken.is_integer() => format!("integers → {}", asof_expression::type_name(given)),
            taken if taken.is_floating() => format!("floats → {}", asof_expression::type_name(given)),
            taken => format!("{} → {}", asof_expression::type_name(taken), asof_expression::type_name(given)),
        };
        if !groups.contains(&words) {
            groups.push(words);
        }
    }
    groups.join("; ")
}

fn filter(function: Function) -> &'static str {
    if function.takes_filter() { "yes" } else { "no" }
}

/// Fails where the block `name` of `file` is not `expected`; or writes it, if asked.
fn check_block(file: &str, name: &str, expected: &str) {
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("\n<!-- end {name} -->"));
    let page = text(file);
    let place = page.find(&begin).map(|at| at + begin.len());
    let place = place.and_then(|from| page[from..].find(&end).map(|length| from..from + length));
    let place = place.unwrap_or_else(|| panic!("{file} has no block `{}…{}`", begin.trim(), end.trim()));
    let found = &page[place.clone()];
    if found == expected {
        return;
    }
    if std::env::var_os("ASOF_WRITE_DOCUMENTS").is_some() {
        let mut page = page.clone();
        page.replace_range(place, expected);
        fs::write(root().join(file), page).unwrap_or_else(|error| panic!("cannot write `{file}`: {error}"));
        return;
    }
    panic!(
        "the block `{name}` of {file} is not what the program says; write it anew with \
         ASOF_WRITE_DOCUMENTS=1 cargo test --release -p asof-cli --test house -- --test-threads 1\n--- found\n{found}\n--- expected\n{expected}"
    );
}

/// Runs the command in the repository's folder.
fn asof(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_asof"))
        .args(arguments)
        .current_dir(root())
        .env_remove("ASOF_STATE__MEMORY")
        .output()
        .expect("cargo builds the command before its tests")
}

/// An empty folder of that name.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            panic!("cannot empty {}: {error}", folder.display())
        }
        _ => fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display())),
    }
    folder
}

/// The fenced blocks of that language.
fn fenced(page: &str, language: &str) -> impl Iterator<Item = String> {
    let opening = format!("```{language}\n");
    let blocks: Vec<String> = page
        .split(&opening)
        .skip(1)
        .map(|rest| rest.split("\n```").next().expect("split gives at least one piece").to_owned())
        .collect();
    blocks.into_iter()
}

/// The files that a page links to: `](file)` and `](file#section)` outside of fenced blocks; no addresses.
fn links(page: &str) -> Vec<String> {
    let mut is_fenced = false;
    let mut found = Vec::new();
    for line in page.lines() {
        is_fenced ^= line.trim_start().starts_with("```");
        for rest in line.split("](").skip(1).filter(|_| !is_fenced) {
            let target = rest.split([')', '#', ' ']).next().expect("split gives at least one piece");
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                found.push(target.to_owned());
            }
        }
    }
    found
}

/// Words in lines of at most `width` characters, with commas.
fn wrapped(words: &[String], width: usize) -> String {
    let mut lines = vec![String::new()];
    for (index, word) in words.iter().enumerate() {
        let word = if index + 1 < words.len() { format!("{word},") } else { word.clone() };
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(&word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(&word);
        } else {
            lines.push(word);
        }
    }
    lines.join("\n")
}
