//! Where objects lie: names to paths and back, and what is in the folder that is no object.

use std::io::{self, ErrorKind};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use asof_disk::Disk;
use object_store::path::Path;
use object_store::{Error, ListResult, ObjectMeta, Result};

/// The store's name in errors.
pub(crate) const STORE: &str = "DiskStore";

/// How the names of files end that `write_whole` has not finished.
const UNFINISHED: &str = ".new";

/// A folder of objects.
#[derive(Debug, Clone)]
pub(crate) struct ObjectFolder {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) folder: PathBuf,
}

impl ObjectFolder {
    /// The file of an object; an error if its name could leave the folder or be taken for something else.
    pub(crate) fn file_path(&self, location: &Path) -> Result<PathBuf> {
        let mut path = self.folder.clone();
        for segment in location.as_ref().split('/') {
            if !is_object_segment(segment) {
                let text = format!("`{location}` is not the name of an object here: `{segment}`");
                return Err(Error::Generic { store: STORE, source: text.into() });
            }
            path.push(segment);
        }
        Ok(path)
    }

    /// The folder of a prefix: a prefix ends with a whole segment.
    fn folder_of(&self, prefix: Option<&Path>) -> Result<PathBuf> {
        match prefix {
            Some(prefix) if !prefix.as_ref().is_empty() => self.file_path(prefix),
            _everything => Ok(self.folder.clone()),
        }
    }

    /// Removes files that were being written when their process ended, and folders that are empty. Returns whether the folder
    /// itself went.
    pub(crate) fn remove_unfinished(&self, folder: &FilePath) -> io::Result<bool> {
        let entries = match self.disk.list(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut left = 0;
        for entry in entries {
            let path = folder.join(&entry.name);
            let went = match entry.is_folder {
                true => self.remove_unfinished(&path)?,
                false if entry.name.ends_with(UNFINISHED) => self.disk.remove(&path).map(|()| true)?,
                false => false,
            };
            left += usize::from(!went);
        }
        if left == 0 { self.disk.remove(folder).map(|()| true) } else { Ok(false) }
    }

    pub(crate) fn exists(&self, path: &FilePath) -> io::Result<bool> {
        match self.disk.open(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn entries(&self, folder: &FilePath) -> Result<Vec<asof_disk::Entry>> {
        match self.disk.list(folder) {
            Ok(entries) => Ok(entries.into_iter().filter(|entry| is_object_segment(&entry.name)).collect()),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
            Err(error) => Err(Error::Generic { store: STORE, source: Box::new(error) }),
        }
    }

    /// All objects below `folder`, by name; `name` is the folder's own, empty for the store's.
    fn walk(&self, folder: &FilePath, name: &str, found: &mut Vec<ObjectMeta>) -> Result<()> {
        for entry in self.entries(folder)? {
            let inner = joined(name, &entry.name);
            if entry.is_folder {
                self.walk(&folder.join(&entry.name), &inner, found)?;
            } else {
                found.push(about(Path::parse(&inner)?, entry.bytes));
            }
        }
        Ok(())
    }

    pub(crate) fn list(&self, prefix: Option<&Path>) -> Result<Vec<ObjectMeta>> {
        let mut found = Vec::new();
        self.walk(&self.folder_of(prefix)?, prefix.map_or("", |prefix| prefix.as_ref()), &mut found)?;
        Ok(found)
    }

    pub(crate) fn list_level(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let (folder, name) = (self.folder_of(prefix)?, prefix.map_or("", |prefix| prefix.as_ref()));
        let mut level = ListResult { common_prefixes: Vec::new(), objects: Vec::new() };
        for entry in self.entries(&folder)? {
            let inner = Path::parse(joined(name, &entry.name))?;
            if !entry.is_folder {
                level.objects.push(about(inner, entry.bytes));
            } else if !self.list(Some(&inner))?.is_empty() {
                level.common_prefixes.push(inner);
            }
        }
        Ok(level)
    }
}

/// Letters, digits, `_`, `-`, `.` and `%`, not beginning with `.`: what every file system takes. Not ending as the files do that
/// are being written beside their names.
fn is_object_segment(segment: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.%".contains(&byte);
    !segment.is_empty() && segment.bytes().all(is_plain) && !segment.starts_with('.') && !segment.ends_with(UNFINISHED)
}

fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

pub(crate) fn about(location: Path, size: u64) -> ObjectMeta {
    ObjectMeta { location, last_modified: Default::default(), size, e_tag: None, version: None }
}

pub(crate) fn failed(location: &Path, error: io::Error) -> Error {
    match error.kind() {
        // A folder is no object.
        ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::NotADirectory => {
            Error::NotFound { path: location.to_string(), source: Box::new(error) }
        }
        _ => Error::Generic { store: STORE, source: Box::new(error) },
    }
}
