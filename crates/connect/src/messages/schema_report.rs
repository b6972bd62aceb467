//! What the schema of a topic means to the columns of a stream, asked before any message is read.

use std::path::Path;
use std::sync::Arc;

use asof_definition::{KafkaFeed, Stream};

use crate::messages::decoder::{MessageDecoder, SchemaError};
use crate::messages::schema_registry::{RegistryTrouble, SchemaRegistry};
use crate::messages::schema_settings::SchemaSettings;

/// What a stream's messages are read by, as a registry has it today or a file of the project has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaReport {
    /// In words: ``version 3 of subject `orders-value`, schema 12``, or the file.
    pub schema: String,
    /// Why messages of this schema would be set aside, if they would.
    pub trouble: Option<String>,
    /// Columns that the schema has no field for: they are NULL, and a message whose NOT NULL column is, is set aside.
    pub absent: Vec<AbsentColumn>,
}

/// A column that no field is read into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsentColumn {
    /// Its name.
    pub name: String,
    /// Whether messages without it are set aside.
    pub is_not_null: bool,
}

impl SchemaReport {
    /// Reads the stream's schema file, or asks the registry. `None` where messages have no schema, or the registry has
    /// none of the topic yet.
    pub fn of(
        stream: &Stream,
        feed: &Arc<KafkaFeed>,
        settings: &SchemaSettings,
    ) -> Result<Option<SchemaReport>, SchemaError> {
        let decoder = MessageDecoder::new(stream, feed, settings)?;
        if feed.format.is_json() {
            return Ok(None);
        }
        // What is filled in from elsewhere has no field.
        let is_beside = |column: &usize| {
            let is_delete = feed.has_tombstones && feed.delete_column == Some(*column);
            is_delete || feed.metadata.iter().any(|metadata| metadata.column == *column)
        };
        let absent = |columns: Vec<usize>| {
            let columns = columns.into_iter().filter(|column| !is_beside(column));
            columns
                .map(|column| &stream.columns[column])
                .map(|column| AbsentColumn { name: column.name.clone(), is_not_null: column.not_null })
        };
        if let Some(columns) = decoder.absent_of_own() {
            let schema = format!("`{}`", Path::new(feed.schema_file.as_deref().unwrap_or_default()).display());
            return Ok(Some(SchemaReport { schema, trouble: None, absent: absent(columns).collect() }));
        }
        let Some(registry) = &settings.registry else { return Ok(None) };
        let latest = match SchemaRegistry::new(registry)?.latest(&feed.subject()) {
            Ok(latest) => latest,
            Err(RegistryTrouble::Unknown { .. }) => return Ok(None),
            Err(trouble) => return Err(trouble.into()),
        };
        let number = latest.id.map_or_else(String::new, |id| format!(", schema {id}"));
        let schema = format!("version {} of subject `{}`{number}", latest.version, feed.subject());
        let (trouble, columns) = match decoder.absent_of(&latest.schema) {
            Ok(columns) => (None, columns),
            Err(why) => (Some(why), Vec::new()),
        };
        Ok(Some(SchemaReport { schema, trouble, absent: absent(columns).collect() }))
    }
}
