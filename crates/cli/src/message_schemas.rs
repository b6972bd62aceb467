//! Whether the columns of streams can be read by the schemas of their topics, as a registry has them today.

use std::path::Path;
use std::sync::Arc;

use asof_connect::{AbsentColumn, RegistryTrouble, SchemaError, SchemaReport, SchemaSettings};
use asof_definition::{Project, Stream};

use crate::failure::Failure;
use crate::kafka_settings;

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct MessageSchemas {
    /// Streams and tables in words, each with what its messages are read by.
    pub(crate) read: Vec<(String, String)>,
    /// What a user should know, and could be meant.
    pub(crate) warnings: Vec<String>,
}

impl MessageSchemas {
    /// Reads the schema files of a project, and asks the registry where messages name its schemas.
    pub(crate) fn of(project: &Project, settings: &SchemaSettings, folder: &Path) -> Result<MessageSchemas, Failure> {
        let mut found = MessageSchemas::default();
        let tables = project.tables.iter().map(|table| ("table", table.stored()));
        let streams = project.streams.iter().map(|stream| ("stream", stream.clone()));
        let arriving: Vec<(&str, Arc<Stream>)> = streams.chain(tables).collect();
        let fed = arriving.iter().filter_map(|(kind, stream)| Some((kind, stream, stream.feed()?)));
        let fed = fed.filter(|(_, _, feed)| !feed.format.is_json());
        for (kind, stream, feed) in fed {
            let name = &format!("{kind} `{}`", stream.name);
            let needed = SchemaSettings {
                registry: settings.registry.clone().filter(|_| feed.needs_registry()),
                ..settings.clone()
            };
            let resolved = kafka_settings::schemas(&needed, folder).map_err(Failure::input)?;
            match SchemaReport::of(stream, feed, &resolved) {
                Ok(Some(report)) => found.take(name, report)?,
                Ok(None) if feed.needs_registry() => {
                    let subject = feed.subject();
                    found.warnings.push(format!(
                        "{name}: the registry has no subject `{subject}` yet: its columns were not compared"
                    ));
                }
                Ok(None) => {}
                // Whoever writes definitions need not be where the registry is.
                Err(SchemaError::Registry(trouble @ RegistryTrouble::Passing { .. })) => {
                    found.warnings.push(format!("{name}: its columns were not compared: {trouble}"));
                }
                Err(error @ SchemaError::NoRegistry { .. }) => {
                    let hint =
                        "write [schema_registry] and below it url = \"http://127.0.0.1:8081\", or name a schema_file";
                    return Err(Failure::input_with_hint(format!("{name}: {error}"), hint));
                }
                Err(error) => return Err(Failure::input(format!("{name}: {error}"))),
            }
        }
        Ok(found)
    }

    fn take(&mut self, name: &str, report: SchemaReport) -> Result<(), Failure> {
        let SchemaReport { schema, trouble, absent } = report;
        if let Some(trouble) = trouble {
            let message = format!("{name} cannot be read by {schema}: {trouble}");
            let hint = "every message of it would be set aside: declare the column as it is written (a stream that has stored \
                        events keeps its types: make another one), or leave it out";
            return Err(Failure::input_with_hint(message, hint));
        }
        for AbsentColumn { name: column, is_not_null } in absent {
            let what = if is_not_null { "every message is set aside, since it is NOT NULL" } else { "it is NULL" };
            self.warnings.push(format!("{name}: {schema} has no field `{column}`: {what}"));
        }
        self.read.push((name.to_owned(), schema));
        Ok(())
    }
}
