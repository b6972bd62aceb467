//! The files of the repository, as git knows them: committed, or new and not ignored.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's folder.
pub(crate) fn root() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    folder.canonicalize().expect("the crate lies two folders below the repository")
}

/// A file's text.
pub(crate) fn text(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("cannot read `{file}`: {error}"))
}

/// All files, relative to the repository's folder. Deleted ones are left out.
pub(crate) fn committed_files() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files of a clone: this test needs both");
    assert!(listed.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).expect("file names are UTF-8");
    names.lines().filter(|file| root().join(file).is_file()).map(str::to_owned).collect()
}

/// The Rust files below `folder`.
pub(crate) fn rust_files(folder: &str) -> impl Iterator<Item = String> {
    let prefix = format!("{folder}/");
    committed_files().into_iter().filter(move |file| file.starts_with(&prefix) && file.ends_with(".rs"))
}

/// The lines of a Rust file up to its unit tests, with their numbers.
pub(crate) fn lines_before_tests(file: &str) -> Vec<(usize, String)> {
    let text = text(file);
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line.to_owned()));
    numbered.take_while(|(_, line)| line != "#[cfg(test)]").collect()
}
