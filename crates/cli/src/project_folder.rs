//! A project's folder: its SQL files read together, its `asof.toml` checked.

use std::fs;
use std::path::{Path, PathBuf};

use asof_definition::{Project, SourceFile};

use crate::configuration::Configuration;
use crate::failure::Failure;

/// A file of SQL beyond this is refused: definitions are text that people write.
const SQL_BYTES_MAX: u64 = 16 << 20;

/// A loaded project.
#[derive(Debug)]
pub(crate) struct ProjectFolder {
    pub(crate) project: Project,
    pub(crate) sources: Vec<SourceFile>,
    pub(crate) configuration: Configuration,
}

impl ProjectFolder {
    /// Reads all `*.sql` files of a folder, in the order of their names, and its configuration.
    pub(crate) fn load(folder: &Path) -> Result<ProjectFolder, Failure> {
        let sources = sql_files(folder)?.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
        if sources.is_empty() {
            return Err(Failure::input_with_hint(
                format!("`{}` holds no `*.sql` file", folder.display()),
                "a project is a folder with SQL files; `asof check examples/flights` shows one",
            ));
        }
        let configuration = Configuration::load(folder)?;
        match asof_definition::check(&sources) {
            Ok(project) => Ok(ProjectFolder { project, sources, configuration }),
            Err(errors) => Err(Failure::Definitions { errors, sources }),
        }
    }
}

fn sql_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(folder).map_err(|error| {
        let message = format!("cannot read the project folder `{}`: {error}", folder.display());
        match error.kind() {
            std::io::ErrorKind::NotADirectory => {
                Failure::input_with_hint(message, "name the folder that holds the SQL files, not a file")
            }
            _ => Failure::input(message),
        }
    })?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(|error| Failure::Outside { message: format!("cannot list `{}`: {error}", folder.display()) })?
            .path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("sql")) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<SourceFile, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::input(match error.kind() {
            std::io::ErrorKind::InvalidData => format!("`{}` is not UTF-8 text", path.display()),
            _ => format!("cannot read `{}`: {error}", path.display()),
        })
    };
    if fs::metadata(path).map_err(unreadable)?.len() > SQL_BYTES_MAX {
        return Err(Failure::input(format!("`{}` is larger than 16 MiB, too large for definitions", path.display())));
    }
    let mut text = fs::read_to_string(path).map_err(unreadable)?;
    // Some editors begin a file with a byte order mark.
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok(SourceFile { name: path.display().to_string(), text })
}
