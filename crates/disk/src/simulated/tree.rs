//! The names: which folder holds which file under which name, durably and as the running process sees it.
//!
//! A creation, a removal and a renaming are one change each: a crash keeps it whole or not at all, and each whatever becomes
//! of the others. The sync of a folder makes all changes durable that touch it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};

use super::chance::Chance;

pub(super) type Number = u64;

const ROOT: Number = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(Number),
    Folder(Number),
}

#[derive(Debug)]
pub(super) struct Tree {
    folders: BTreeMap<Number, Names>,
    unsynced: Vec<Change>,
    /// The number of the next file or folder; none is given twice.
    next: Number,
}

#[derive(Debug, Default)]
struct Names {
    durable: BTreeMap<String, Node>,
    visible: BTreeMap<String, Node>,
}

/// What one operation changes: the name of one entry, or two of them if it renames.
type Change = Vec<Edit>;

#[derive(Debug)]
struct Edit {
    folder: Number,
    name: String,
    node: Option<Node>,
}

impl Tree {
    pub(super) fn new() -> Tree {
        Tree { folders: BTreeMap::from([(ROOT, Names::default())]), unsynced: Vec::new(), next: ROOT + 1 }
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<Node> {
        let mut node = Node::Folder(ROOT);
        for name in names_of(path)? {
            node = *self.visible(node)?.get(&name).ok_or(ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    pub(super) fn folder(&self, path: &Path) -> io::Result<Number> {
        match self.find(path)? {
            Node::Folder(number) => Ok(number),
            Node::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<Number> {
        match self.find(path)? {
            Node::File(number) => Ok(number),
            Node::Folder(_) => Err(ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn list(&self, folder: &Path) -> io::Result<impl Iterator<Item = (&String, &Node)>> {
        Ok(self.visible(self.find(folder)?)?.iter())
    }

    pub(super) fn make_file(&mut self, path: &Path) -> io::Result<Number> {
        let number = self.next;
        self.make(path, Node::File(number))?;
        Ok(number)
    }

    pub(super) fn make_folder(&mut self, path: &Path) -> io::Result<()> {
        let number = self.next;
        self.make(path, Node::Folder(number))?;
        self.folders.insert(number, Names::default());
        Ok(())
    }

    fn make(&mut self, path: &Path, node: Node) -> io::Result<()> {
        let (folder, name) = self.place(path)?;
        if self.folders[&folder].visible.contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.next += 1;
        self.change(vec![Edit { folder, name, node: Some(node) }]);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find(from)?;
        let taken = match self.find(to) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            found => Some(found?),
        };
        if taken == Some(node) {
            return Ok(());
        }
        if matches!(taken, Some(Node::Folder(_))) {
            return Err(ErrorKind::IsADirectory.into());
        }
        if matches!((taken, node), (Some(_), Node::Folder(_))) {
            return Err(ErrorKind::NotADirectory.into());
        }
        let (from_folder, from_name) = self.place(from)?;
        let (to_folder, to_name) = self.place(to)?;
        self.change(vec![
            Edit { folder: from_folder, name: from_name, node: None },
            Edit { folder: to_folder, name: to_name, node: Some(node) },
        ]);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        if let Node::Folder(number) = self.find(path)?
            && !self.folders[&number].visible.is_empty()
        {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        let (folder, name) = self.place(path)?;
        self.change(vec![Edit { folder, name, node: None }]);
        Ok(())
    }

    pub(super) fn sync(&mut self, folder: Number) {
        let touches = |change: &Change| change.iter().any(|edit| edit.folder == folder);
        let (touching, others) = std::mem::take(&mut self.unsynced).into_iter().partition::<Vec<Change>, _>(touches);
        self.unsynced = others;
        touching.iter().for_each(|change| self.keep(change));
    }

    pub(super) fn crash(&mut self, chance: &mut Chance) {
        for change in std::mem::take(&mut self.unsynced).iter().filter(|_| chance.coin()) {
            self.keep(change);
        }
        for names in self.folders.values_mut() {
            names.visible = names.durable.clone();
        }
    }

    /// All files that a path leads to.
    pub(super) fn files(&self) -> BTreeMap<PathBuf, Number> {
        let mut files = BTreeMap::new();
        let mut folders = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, folder)) = folders.pop() {
            for (name, node) in &self.folders[&folder].visible {
                match node {
                    Node::File(number) => drop(files.insert(path.join(name), *number)),
                    Node::Folder(number) => folders.push((path.join(name), *number)),
                }
            }
        }
        files
    }

    /// Forgets the folders that no path leads to any more. For after a crash, when nothing unsynced can bring them back.
    pub(super) fn forget_unreachable(&mut self) {
        let mut reached = BTreeSet::from([ROOT]);
        let mut folders = vec![ROOT];
        while let Some(folder) = folders.pop() {
            for node in self.folders[&folder].visible.values() {
                if let Node::Folder(number) = node
                    && reached.insert(*number)
                {
                    folders.push(*number);
                }
            }
        }
        self.folders.retain(|number, _| reached.contains(number));
    }

    fn change(&mut self, change: Change) {
        for edit in &change {
            set(&mut self.names(edit.folder).visible, edit);
        }
        self.unsynced.push(change);
    }

    fn keep(&mut self, change: &Change) {
        for edit in change {
            set(&mut self.names(edit.folder).durable, edit);
        }
    }

    fn names(&mut self, folder: Number) -> &mut Names {
        self.folders.get_mut(&folder).expect("folders are forgotten only when no change names them")
    }

    fn visible(&self, node: Node) -> io::Result<&BTreeMap<String, Node>> {
        match node {
            Node::Folder(number) => Ok(&self.folders[&number].visible),
            Node::File(_) => Err(ErrorKind::NotADirectory.into()),
        }
    }

    /// The folder where a path ends, and its last name.
    fn place(&self, path: &Path) -> io::Result<(Number, String)> {
        let mut names = names_of(path)?;
        let name = names.pop().ok_or(ErrorKind::InvalidInput)?;
        let folder = self.folder(&names.iter().collect::<PathBuf>())?;
        Ok((folder, name))
    }
}

fn set(names: &mut BTreeMap<String, Node>, edit: &Edit) {
    match edit.node {
        Some(node) => names.insert(edit.name.clone(), node),
        None => names.remove(&edit.name),
    };
}

/// The names along a path. Relative paths begin at the root, too.
fn names_of(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_str().ok_or(ErrorKind::InvalidInput)?.to_owned()),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(ErrorKind::InvalidInput.into()),
        }
    }
    Ok(names)
}
