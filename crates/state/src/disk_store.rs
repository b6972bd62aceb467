//! An object store over a folder of a disk: a put is atomic, and durable when it returns.
//!
//! The local store of `object_store` itself does not sync, so it cannot hold checkpoints. Calls do their work on the caller's
//! thread before the first await. One process writes to the folder (the data folder's claim sees to that), and within it one
//! put or delete at a time. A delete is not synced: after a crash the object may be back. What was left half written, by
//! an earlier process or by a put that failed, is removed by the next put.
//!
//! Refused by name: multipart uploads, copies, updates and reads under conditions, attributes. An object has no time: its
//! `last_modified` is the epoch.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use asof_disk::{Disk, DiskFile, SyncSite, write_parts};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::object_folder::{ObjectFolder, STORE, about, failed};

const OBJECT: SyncSite = SyncSite("store.object");
const FOLDER: SyncSite = SyncSite("store.folder");

/// Objects as files below a folder.
#[derive(Debug)]
pub struct DiskStore {
    objects: ObjectFolder,
    changing: Arc<Mutex<Changing>>,
}

/// Held by whoever puts or deletes.
#[derive(Debug, Default)]
struct Changing {
    /// Folders that this store made sure are there, names durable.
    folders: BTreeSet<PathBuf>,
    /// Folders directly in the store's from which it has removed what is unfinished.
    cleaned: BTreeSet<PathBuf>,
}

impl DiskStore {
    /// A store below `folder`. The first put makes it if it is missing; a caller who made it knows that its name is durable.
    pub fn new(disk: Arc<dyn Disk>, folder: impl Into<PathBuf>) -> DiskStore {
        DiskStore { objects: ObjectFolder { disk, folder: folder.into() }, changing: Arc::default() }
    }

    fn put_whole(&self, location: &Path, payload: PutPayload, is_new: bool) -> Result<()> {
        let path = self.objects.file_path(location)?;
        let folder = path.parent().expect("an object lies in a folder");
        let mut changing = locked(&self.changing);
        if is_new && self.objects.exists(&path).map_err(|error| failed(location, error))? {
            return Err(Error::AlreadyExists { path: location.to_string(), source: "an earlier put".into() });
        }
        changing.make_folder(&self.objects, folder).map_err(|error| failed(location, error))?;
        let parts: Vec<&[u8]> = payload.iter().map(AsRef::as_ref).collect();
        let written = write_parts(&*self.objects.disk, &path, &parts, OBJECT);
        if written.is_err() {
            // What was written of it still takes room: the next put removes it first.
            changing.cleaned.clear();
        }
        written.map_err(|error| failed(location, error))
    }
}

impl Changing {
    fn make_folder(&mut self, objects: &ObjectFolder, folder: &FilePath) -> io::Result<()> {
        let inner = folder.strip_prefix(&objects.folder).expect("objects lie below the store's folder");
        let top = inner.iter().next().map(|name| objects.folder.join(name));
        if let Some(top) = &top
            && !self.cleaned.contains(top)
        {
            self.folders.clear();
            objects.remove_unfinished(top)?;
            self.cleaned.insert(top.clone());
        }
        if self.folders.contains(folder) {
            return Ok(());
        }
        if let Err(error) = objects.disk.make_folder(folder, FOLDER) {
            // After a failed sync a folder may be there for us and never for the device: the next put makes it anew.
            self.cleaned.clear();
            return Err(error);
        }
        self.folders.insert(folder.to_path_buf());
        Ok(())
    }

    /// Removes the object's file, and the folders above that are empty without it: each checkpoint has folders of its own.
    fn remove(&mut self, objects: &ObjectFolder, location: &Path) -> Result<()> {
        let path = objects.file_path(location)?;
        objects.disk.remove(&path).map_err(|error| failed(location, error))?;
        for folder in path.ancestors().skip(1).take_while(|folder| *folder != objects.folder) {
            let is_empty = objects.disk.list(folder).map_err(|error| failed(location, error))?.is_empty();
            if !is_empty {
                break;
            }
            self.folders.remove(folder);
            objects.disk.remove(folder).map_err(|error| failed(location, error))?;
        }
        Ok(())
    }
}

fn locked(changing: &Mutex<Changing>) -> MutexGuard<'_, Changing> {
    changing.lock().expect("nobody panics while holding the lock")
}

fn not_implemented(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: STORE.to_owned() }
}

/// Reads exactly this range of the file.
fn read_range(file: &dyn DiskFile, location: &Path, range: std::ops::Range<u64>) -> Result<Bytes> {
    let length = usize::try_from(range.end - range.start)
        .map_err(|error| Error::Generic { store: STORE, source: Box::new(error) })?;
    let mut bytes = BytesMut::zeroed(length);
    let read = file.read_at(range.start, &mut bytes).map_err(|error| failed(location, error))?;
    if read < length {
        let text = format!("`{location}` ends at byte {}, before it ended at {}", range.start + read as u64, range.end);
        return Err(Error::Generic { store: STORE, source: text.into() });
    }
    Ok(bytes.freeze())
}

/// The range that is wanted of an object of this size.
fn resolved(range: Option<GetRange>, size: u64) -> Result<std::ops::Range<u64>> {
    match range {
        None => Ok(0..size),
        Some(range) => range.as_range(size).map_err(|error| Error::Generic { store: STORE, source: Box::new(error) }),
    }
}

impl Display for DiskStore {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE}({})", self.objects.folder.display())
    }
}

#[async_trait]
impl ObjectStore for DiskStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if options.attributes != Attributes::default() {
            return Err(not_implemented("attributes of a put"));
        }
        let is_new = match options.mode {
            PutMode::Overwrite => false,
            PutMode::Create => true,
            PutMode::Update(_) => return Err(not_implemented("update of a version")),
        };
        self.put_whole(location, payload, is_new)?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(not_implemented("multipart upload"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let GetOptions {
            if_match, if_none_match, if_modified_since, if_unmodified_since, range, version, head, ..
        } = options;
        if if_match.is_some() || if_none_match.is_some() || version.is_some() {
            return Err(not_implemented("get of a version"));
        }
        if if_modified_since.is_some() || if_unmodified_since.is_some() {
            return Err(not_implemented("get by time"));
        }
        let path = self.objects.file_path(location)?;
        let file = self.objects.disk.open(&path).map_err(|error| failed(location, error))?;
        let size = file.bytes().map_err(|error| failed(location, error))?;
        let range = resolved(range, size)?;
        let (wanted, place) = (if head { range.start..range.start } else { range.clone() }, location.clone());
        // Read when polled: who only asks for the length reads nothing.
        let content = stream::once(async move { read_range(&*file, &place, wanted) });
        let payload = GetResultPayload::Stream(content.boxed());
        Ok(GetResult { payload, meta: about(location.clone(), size), range, attributes: Attributes::default() })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (objects, changing) = (self.objects.clone(), Arc::clone(&self.changing));
        let remove = move |location: Result<Path>| {
            let location = location?;
            locked(&changing).remove(&objects, &location)?;
            Ok(location)
        };
        locations.map(remove).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.objects.list(prefix) {
            Ok(found) => stream::iter(found.into_iter().map(Ok)).boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_level(prefix)
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(not_implemented("copy"))
    }
}
