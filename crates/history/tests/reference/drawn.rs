//! Random cases of the reference: those that the test command has made, or, without it, fresh ones of a seed that is printed.

use std::path::{Path, PathBuf};

/// Reads the cases in the JSON file that a variable of the environment names, or in one that a script of the reference has
/// just drawn and answered.
pub(crate) fn made_or_drawn<C>(variable: &str, script: &str, cases: usize, read: impl Fn(&Path) -> C) -> C {
    if let Some(path) = std::env::var_os(variable) {
        return read(Path::new(&path));
    }
    let folder = tempfile::TempDir::new().unwrap();
    let out = folder.path().join("random.json");
    let path = reference_folder().join(script);
    let seed = std::process::id().to_string();
    println!("ASOF_SEED {seed} {script}");
    let arguments = ["--seed", &seed, "--cases", &cases.to_string(), "--out", out.to_str().unwrap()];
    let ended = std::process::Command::new("python3").arg(path).args(arguments).output();
    let ended = ended.expect("python3 is installed: the reference is a Python program");
    assert!(ended.status.success(), "{script}: {}", String::from_utf8_lossy(&ended.stderr));
    read(&out)
}

fn reference_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference")
}
