//! What depends on what, as `cargo metadata` says for the machine at hand.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::files::root;

/// For what a dependency is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// By the crate itself, or by its build.
    Normal,
    /// By its tests.
    Test,
}

/// A crate of the workspace.
pub(crate) struct Ours {
    pub(crate) id: String,
    pub(crate) name: String,
    /// The names of what its manifest lists.
    pub(crate) direct: Vec<(String, Kind)>,
}

/// A crate of anybody.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) licence: Option<String>,
    pub(crate) source: Option<String>,
}

/// The workspace and all it needs.
pub(crate) struct Tree {
    pub(crate) ours: Vec<Ours>,
    pub(crate) packages: Vec<Package>,
    /// Package id → its place in `packages`.
    places: BTreeMap<String, usize>,
    /// Package id → ids of what it needs outside of tests.
    needs: BTreeMap<String, Vec<String>>,
}

impl Tree {
    pub(crate) fn read() -> Tree {
        let metadata = metadata();
        let members: BTreeSet<&str> = list(&metadata["workspace_members"]).iter().map(text).collect();
        let packages = list(&metadata["packages"]);
        let ours = packages.iter().filter(|package| members.contains(text(&package["id"]))).map(ours).collect();
        let nodes = list(&metadata["resolve"]["nodes"]);
        Tree {
            ours,
            places: packages
                .iter()
                .enumerate()
                .map(|(place, package)| (text(&package["id"]).to_owned(), place))
                .collect(),
            packages: packages.iter().map(package).collect(),
            needs: nodes.iter().map(|node| (text(&node["id"]).to_owned(), needs(node))).collect(),
        }
    }

    /// The packages reached from `starts` outside of tests, without going through crates named `without`.
    pub(crate) fn normal_closure<'a>(
        &self,
        starts: impl IntoIterator<Item = &'a str>,
        without: &[&str],
    ) -> Vec<&Package> {
        let mut open: Vec<&str> =
            starts.into_iter().map(|id| self.needs.get_key_value(id).expect("a known id").0.as_str()).collect();
        let mut seen: BTreeSet<&str> = open.iter().copied().collect();
        while let Some(id) = open.pop() {
            for needed in &self.needs[id] {
                let is_left_out = without.contains(&self.packages[self.places[needed]].name.as_str());
                if !is_left_out && seen.insert(needed) {
                    open.push(needed);
                }
            }
        }
        seen.into_iter().map(|id| &self.packages[self.places[id]]).collect()
    }
}

fn ours(package: &Value) -> Ours {
    let kind = |dependency: &Value| if dependency["kind"] == "dev" { Kind::Test } else { Kind::Normal };
    let dependencies = list(&package["dependencies"]);
    Ours {
        id: text(&package["id"]).to_owned(),
        name: text(&package["name"]).to_owned(),
        direct: dependencies.iter().map(|needed| (text(&needed["name"]).to_owned(), kind(needed))).collect(),
    }
}

fn package(package: &Value) -> Package {
    Package {
        name: text(&package["name"]).to_owned(),
        version: text(&package["version"]).to_owned(),
        licence: package["license"].as_str().map(str::to_owned),
        source: package["source"].as_str().map(str::to_owned),
    }
}

fn needs(node: &Value) -> Vec<String> {
    let is_normal = |needed: &&Value| list(&needed["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
    list(&node["deps"]).iter().filter(is_normal).map(|needed| text(&needed["pkg"]).to_owned()).collect()
}

/// Only for this machine's platform: what others need has not been downloaded, and a test downloads nothing.
fn metadata() -> Value {
    let cargo = |arguments: &[&str]| {
        let ran =
            Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().expect("cargo runs this test");
        assert!(ran.status.success(), "cargo {arguments:?} failed: {}", String::from_utf8_lossy(&ran.stderr));
        ran.stdout
    };
    let version = String::from_utf8(cargo(&["-vV"])).expect("cargo speaks UTF-8");
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo -vV names its host");
    let answer = cargo(&["metadata", "--offline", "--locked", "--format-version", "1", "--filter-platform", host]);
    serde_json::from_slice(&answer).expect("cargo metadata answers in JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("cargo metadata has a list here")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("cargo metadata has a text here")
}
