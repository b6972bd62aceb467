//! Messages of Protocol Buffers into columns: schemas by `protox`, bytes by `prost-reflect`. Sources: the Protocol
//! Buffers language specification (proto2, proto3) and "Encoding".

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};

use crate::batch_builder::BatchBuilder;
use crate::column::bounded;
use crate::event_body::BodyColumns;
use crate::messages::protobuf_columns::FieldColumns;
use crate::messages::schema_registry::RegisteredSchema;

/// The largest text that is read as a schema, with what it refers to.
const SCHEMA_BYTES_MAX: usize = 1 << 20;
/// How much of what a reader says is shown, in bytes.
const SAID_MAX: usize = 200;
/// How deep types may lie in each other.
const DEPTH_MAX: usize = 64;
/// The name of a file that has none.
const UNNAMED: &str = "registered.proto";

/// The types of a schema file, each with what it means to our columns once it was met.
#[derive(Debug)]
pub(crate) struct ProtobufFile {
    pool: DescriptorPool,
    name: String,
    types: BTreeMap<Vec<usize>, Result<ProtobufType, String>>,
}

/// What the messages of one type mean to our columns.
#[derive(Debug, Clone)]
pub(crate) struct ProtobufType {
    pub(crate) message: MessageDescriptor,
    pub(crate) columns: FieldColumns,
}

impl ProtobufType {
    pub(crate) fn new(message: MessageDescriptor, columns: &BodyColumns) -> Result<ProtobufType, String> {
        let fields = FieldColumns::of(&message, columns)?;
        Ok(ProtobufType { message, columns: fields })
    }

    /// Reads a message into a new row.
    pub(crate) fn read(&self, bytes: &[u8], batch: &mut BatchBuilder<'_>) {
        batch.start_row();
        let set = DynamicMessage::decode(self.message.clone(), bytes)
            .map_err(|error| bounded(&error.to_string(), SAID_MAX))
            .and_then(|message| self.columns.set(&message, batch));
        if let Err(detail) = set {
            batch.reject_row(detail, bytes);
        }
    }
}

impl ProtobufFile {
    /// A schema as a registry has it, with what it imports.
    pub(crate) fn registered(schema: &RegisteredSchema) -> Result<ProtobufFile, String> {
        let length = schema.text.len() + schema.references.values().map(String::len).sum::<usize>();
        if length > SCHEMA_BYTES_MAX {
            return Err(format!("the schema is longer than {} MiB", SCHEMA_BYTES_MAX >> 20));
        }
        schema.references.values().chain([&schema.text]).try_for_each(|text| check_depth(text))?;
        let mut texts = schema.references.clone();
        texts.insert(UNNAMED.to_owned(), schema.text.clone());
        let mut resolver = ChainFileResolver::new();
        resolver.add(Texts(texts));
        resolver.add(GoogleFileResolver::new());
        ProtobufFile::compiled(resolver, UNNAMED)
    }

    /// A file, with what it imports from its own folder.
    pub(crate) fn read(path: &Path) -> Result<ProtobufFile, String> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return Err("it is no file".to_owned());
        };
        let mut resolver = ChainFileResolver::new();
        resolver.add(IncludeFileResolver::new(folder.to_owned()));
        resolver.add(GoogleFileResolver::new());
        ProtobufFile::compiled(resolver, name)
    }

    fn compiled(resolver: impl FileResolver + 'static, name: &str) -> Result<ProtobufFile, String> {
        let mut compiler = protox::Compiler::with_file_resolver(resolver);
        compiler.include_imports(true);
        // The first line says what is wrong, those behind it where.
        let said = |error: protox::Error| bounded(error.to_string().lines().next().unwrap_or_default(), SAID_MAX);
        let opened = std::panic::catch_unwind(AssertUnwindSafe(|| compiler.open_file(name).map(|_| ())));
        opened.map_err(|_| "the compiler gave up on it".to_owned())?.map_err(said)?;
        Ok(ProtobufFile { pool: compiler.descriptor_pool(), name: name.to_owned(), types: BTreeMap::new() })
    }

    /// The type of that full name.
    pub(crate) fn message(&self, full_name: &str) -> Option<MessageDescriptor> {
        self.pool.get_message_by_name(full_name)
    }

    /// The type at that place of the file: of those on the outside, then of those inside of it, and so on.
    pub(crate) fn at(&mut self, indexes: &[usize], columns: &BodyColumns) -> Result<&ProtobufType, String> {
        if !self.types.contains_key(indexes) {
            // What a damaged message names is not remembered.
            let found = self.descriptor(indexes).ok_or_else(|| format!("it has no type at {indexes:?}"))?;
            self.types.insert(indexes.to_vec(), ProtobufType::new(found, columns));
        }
        self.types[indexes].as_ref().map_err(String::clone)
    }

    /// Why messages of one of its types are set aside, if they are.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.types.values().find_map(|known| known.as_ref().err().cloned())
    }

    pub(crate) fn descriptor(&self, indexes: &[usize]) -> Option<MessageDescriptor> {
        let (first, inner) = indexes.split_first()?;
        let outer = self.pool.get_file_by_name(&self.name)?.messages().nth(*first)?;
        inner.iter().try_fold(outer, |outer, index| outer.child_messages().nth(*index))
    }
}

/// The compiler follows types that lie in each other without a bound of its own.
fn check_depth(text: &str) -> Result<(), String> {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' | b'(' | b'<' => depth += 1,
            b'}' | b']' | b')' | b'>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if deepest > DEPTH_MAX { Err(format!("its types lie in each other more than {DEPTH_MAX} deep")) } else { Ok(()) }
}

/// Files that are texts in memory.
struct Texts(BTreeMap<String, String>);

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let text = self.0.get(name).ok_or_else(|| protox::Error::file_not_found(name))?;
        File::from_source(name, text)
    }
}
