//! Which crate may know which, what may be in the tree, how long a file may be: asked of `cargo metadata` and of the files
//! that git knows.

use std::collections::{BTreeMap, BTreeSet};

use crate::files::{committed_files, lines_before_tests, root, rust_files, text};
use crate::licence;
use crate::tree::{Kind, Tree};

/// The layers of ARCHITECTURE.md: a crate knows crates of lower layers only.
const LAYERS: &[(&str, u8)] = &[
    ("asof-disk", 0),
    ("asof-expression", 0),
    ("asof-window", 0),
    ("asof-definition", 1),
    ("asof-log", 1),
    ("asof-state", 1),
    ("asof-feature", 2),
    ("asof-connect", 2),
    ("asof-history", 3),
    ("asof-pipeline", 3),
    ("asof-server", 4),
    ("asof-cli", 5),
    ("asof-fuzz", 5),
];

/// Who may name a heavy library: the start of its crates' names, the crates of ours.
const OWNERS: &[(&str, &[&str])] = &[
    ("datafusion", &["asof-expression"]),
    ("sqlparser", &["asof-expression", "asof-definition"]),
    ("parquet", &["asof-connect"]),
    ("object_store", &["asof-state"]),
    ("hyper", &["asof-server"]),
    ("tokio", &["asof-server"]),
    ("clap", &["asof-cli"]),
    ("miette", &["asof-cli"]),
];

/// Crates of which the tree holds one version: two do not understand each other's arrays and double the build.
const ONE_VERSION: &[&str] = &["arrow", "parquet", "datafusion", "sqlparser"];

/// What waits, reads, writes or throws dice has no place in a pure crate.
const IMPURE: &[&str] = &[
    "tokio",
    "async-",
    "mio",
    "futures",
    "socket2",
    "object_store",
    "tempfile",
    "rand",
    "fastrand",
    "parquet",
    "ctrlc",
];

/// The same in the text of a pure crate.
const IMPURE_WORDS: &[&str] = &[
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::io",
    "SystemTime",
    "Instant::now",
    "async fn",
    "println!",
    "eprintln!",
];

const FILE_LINES_MAX: usize = 800;

#[test]
fn imports_point_downward() {
    let tree = Tree::read();
    let layers: BTreeMap<&str, u8> = LAYERS.iter().copied().collect();
    for ours in &tree.ours {
        let Some(layer) = layers.get(ours.name.as_str()) else {
            panic!(
                "`{}` has no layer: name it in LAYERS of crates/cli/tests/house/rules.rs and in ARCHITECTURE.md",
                ours.name
            );
        };
        for (needed, _) in &ours.direct {
            let Some(needed_layer) = layers.get(needed.as_str()) else { continue };
            assert!(
                needed_layer < layer,
                "an import does not point downward: `{}` (layer {layer}) depends on `{needed}` (layer {needed_layer}); \
                 move the shared noun into a lower crate, or pass it in",
                ours.name
            );
        }
    }
}

#[test]
fn heavy_libraries_have_one_owner() {
    for ours in &Tree::read().ours {
        for (needed, kind) in &ours.direct {
            for (library, owners) in OWNERS {
                let is_free =
                    *kind == Kind::Test || !needed.starts_with(library) || owners.contains(&ours.name.as_str());
                assert!(
                    is_free,
                    "`{}` depends on `{needed}`, which belongs to {}: ask that crate for what is missing",
                    ours.name,
                    owners.join(", ")
                );
            }
        }
    }
}

#[test]
fn only_expression_and_definition_read_syntax_trees() {
    for file in our_files().filter(|file| file.contains("/src/") || file.contains("/targets/")) {
        let is_owner = ["crates/expression/", "crates/definition/"].iter().any(|owner| file.starts_with(owner));
        for (number, line) in lines_before_tests(&file) {
            assert!(is_owner || !line.contains("sqlparser"), "{file}:{number}: only `definition` knows the SQL parser");
        }
    }
}

#[test]
fn one_version_of_arrow_and_what_rests_on_it() {
    let tree = Tree::read();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in tree.normal_closure(tree.ours.iter().map(|ours| ours.id.as_str()), &[]) {
        if ONE_VERSION
            .iter()
            .any(|library| package.name == *library || package.name.starts_with(&format!("{library}-")))
        {
            versions.entry(&package.name).or_default().insert(&package.version);
        }
    }
    assert!(versions.contains_key("arrow"), "arrow is in the tree");
    for (name, versions) in &versions {
        assert_eq!(
            versions.len(),
            1,
            "two versions of `{name}` in the tree: {versions:?}; `cargo tree -i {name}@VERSION` says who asks for which. \
             All must agree on the Arrow of DataFusion"
        );
    }
    let major = |name: &str| versions[name].first().and_then(|version| version.split('.').next());
    for name in versions.keys().filter(|name| name.starts_with("arrow-") || **name == "parquet") {
        assert_eq!(major(name), major("arrow"), "`{name}` is of another major than `arrow`");
    }
}

#[test]
fn window_and_definition_are_pure() {
    let tree = Tree::read();
    // DataFusion brings a runtime that `expression` never starts; `definition` answers for the rest of its tree.
    for (name, without) in [("asof-window", vec![]), ("asof-definition", vec!["asof-expression"])] {
        let start = tree.ours.iter().find(|ours| ours.name == name).expect("a crate of the workspace");
        for package in tree.normal_closure([start.id.as_str()], &without) {
            let impure = IMPURE.iter().find(|word| package.name.starts_with(*word));
            assert_eq!(
                impure,
                None,
                "`{name}` reaches `{found}`: it is pure, so what reads, waits or throws dice belongs above it; \
                 `cargo tree -p {name} -e normal -i {found}` says by which way",
                found = package.name
            );
        }
    }
    let pure = ["crates/window/src", "crates/definition/src", "crates/expression/src"];
    for file in pure.into_iter().flat_map(rust_files) {
        for (number, line) in lines_before_tests(&file) {
            let word = IMPURE_WORDS.iter().find(|word| line.contains(*word));
            assert_eq!(word, None, "{file}:{number}: a pure crate takes it as an argument: {line}");
        }
    }
}

#[test]
fn licences_are_on_the_list() {
    let allowed = licence::allowed(&text("deny.toml"));
    for package in &Tree::read().packages {
        let expression = package.licence.as_deref().unwrap_or("none");
        assert!(
            licence::is_met(expression, &allowed),
            "`{} {}` has the licence `{expression}`, which is not in the allow list of deny.toml: {allowed:?}",
            package.name,
            package.version
        );
    }
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    let cases = [
        ("MIT", true),
        ("GPL-3.0", false),
        ("none", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(GPL-3.0 OR MIT) AND MIT", true),
        ("(GPL-3.0 OR MIT) AND ISC", false),
        ("Apache-2.0 WITH LLVM-exception OR GPL-3.0", true),
        ("Apache-2.0", false),
    ];
    for (expression, expected) in cases {
        assert_eq!(licence::is_met(expression, &allowed), expected, "{expression}");
    }
}

#[test]
fn everything_third_party_comes_from_crates_io() {
    for package in &Tree::read().packages {
        let source = package.source.as_deref().unwrap_or("registry+https://github.com/rust-lang/crates.io-index");
        assert_eq!(
            source, "registry+https://github.com/rust-lang/crates.io-index",
            "`{}` comes from elsewhere: a git or private source cannot be built by others",
            package.name
        );
    }
}

/// The Rust files of all crates.
fn our_files() -> impl Iterator<Item = String> {
    ["crates", "fuzz"].into_iter().flat_map(rust_files)
}

#[test]
fn files_are_short() {
    for file in our_files().filter(|file| file.contains("/src/") || file.contains("/targets/")) {
        let lines = lines_before_tests(&file).len();
        assert!(
            lines <= FILE_LINES_MAX,
            "{file} has {lines} lines before its tests, over {FILE_LINES_MAX}: split it by noun"
        );
    }
}

#[test]
fn files_open_with_what_they_are() {
    for file in our_files() {
        let lines = lines_before_tests(&file);
        let first = lines.first().map(|(_, line)| line.as_str());
        assert!(
            first.is_some_and(|line| line.starts_with("//!")),
            "{file} does not begin with a `//!` that says what it is"
        );
    }
}

#[test]
fn no_file_is_named_for_nothing() {
    const NOTHING: &[&str] = &["utils", "util", "common", "helpers", "misc", "types", "core", "shared", "models"];
    for file in our_files() {
        for part in file.trim_end_matches(".rs").split('/') {
            assert!(!NOTHING.contains(&part), "{file}: `{part}` says nothing: name it for the noun it holds");
        }
    }
}

#[test]
fn no_file_names_a_machine() {
    // In two pieces each, for this file is read too.
    let paths =
        [["/wo", "rk/"], ["/tm", "p/"], ["/ro", "ot/"], ["/ho", "me/"], ["/Us", "ers/"]].map(|pieces| pieces.concat());
    for file in committed_files() {
        let Ok(text) = std::fs::read_to_string(root().join(&file)) else { continue };
        for (number, line) in text.lines().enumerate() {
            let found = paths.iter().find(|path| names_path(line, path));
            assert_eq!(found, None, "{file}:{}: names a path of one machine", number + 1);
        }
    }
}

/// Whether the line has `path` as the beginning of a path, not inside of one as in `docs/work/`.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || "._-}*/)".contains(before))
    })
}
