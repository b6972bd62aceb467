//! A checked project: all objects, found by name.

use std::sync::Arc;

use asof_expression::nearest;
use thiserror::Error;

use crate::error::DefinitionError;
use crate::service::FeatureService;
use crate::sink::Sink;
use crate::stream::Stream;
use crate::table::Table;
use crate::view::FeatureView;

/// Everything that the files of a project define, in the order of the files.
#[derive(Debug, Clone, Default)]
pub struct Project {
    /// The streams with events of their own.
    pub streams: Vec<Arc<Stream>>,
    /// The tables.
    pub tables: Vec<Arc<Table>>,
    /// The derived streams: each after those that it reads.
    pub derived: Vec<Arc<Stream>>,
    /// The feature views.
    pub views: Vec<Arc<FeatureView>>,
    /// The feature services.
    pub services: Vec<Arc<FeatureService>>,
    /// The sinks.
    pub sinks: Vec<Arc<Sink>>,
    /// What is allowed and perhaps not meant.
    pub warnings: Vec<DefinitionError>,
}

/// No object of that kind and name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown {kind} `{name}`{hint}")]
pub struct UnknownObject {
    /// `stream`, `table`, `feature view`, `feature service` or `sink`.
    pub kind: &'static str,
    /// As asked for.
    pub name: String,
    /// Empty, or what to ask for instead, in parentheses.
    pub hint: String,
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// A stream.
    Stream,
    /// A table.
    Table,
    /// A feature view.
    FeatureView,
    /// A feature service.
    FeatureService,
    /// A sink.
    Sink,
}

/// An object and what it reads, for `asof check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectSummary {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// The names of the objects that it reads, each once.
    pub reads: Vec<String>,
}

impl ObjectKind {
    /// In words: `stream`, `table`, `feature view`, `feature service`, `sink`.
    pub fn name(self) -> &'static str {
        match self {
            ObjectKind::Stream => "stream",
            ObjectKind::Table => "table",
            ObjectKind::FeatureView => "feature view",
            ObjectKind::FeatureService => "feature service",
            ObjectKind::Sink => "sink",
        }
    }
}

impl Project {
    /// The stream of that name, derived or not.
    pub fn stream(&self, name: &str) -> Result<&Arc<Stream>, UnknownObject> {
        let streams: Vec<&Arc<Stream>> = self.streams.iter().chain(&self.derived).collect();
        find(&streams, ObjectKind::Stream, name, |stream| &stream.name)
    }

    /// The table of that name.
    pub fn table(&self, name: &str) -> Result<&Arc<Table>, UnknownObject> {
        find(&self.tables.iter().collect::<Vec<_>>(), ObjectKind::Table, name, |table| &table.versions.name)
    }

    /// The feature view of that name.
    pub fn view(&self, name: &str) -> Result<&Arc<FeatureView>, UnknownObject> {
        find(&self.views.iter().collect::<Vec<_>>(), ObjectKind::FeatureView, name, |view| &view.name)
    }

    /// The feature service of that name.
    pub fn service(&self, name: &str) -> Result<&Arc<FeatureService>, UnknownObject> {
        find(&self.services.iter().collect::<Vec<_>>(), ObjectKind::FeatureService, name, |service| &service.name)
    }

    /// The sink of that name.
    pub fn sink(&self, name: &str) -> Result<&Arc<Sink>, UnknownObject> {
        find(&self.declared_sinks().collect::<Vec<_>>(), ObjectKind::Sink, name, |sink| &sink.name)
    }

    /// The sinks that are objects of their own: all but the topics that derived streams are kept in.
    pub fn declared_sinks(&self) -> impl Iterator<Item = &Arc<Sink>> {
        self.sinks.iter().filter(|sink| sink.is_declared())
    }

    /// What keeps the derived stream of that name in a topic, as its index among the sinks; `None` where it is in none.
    pub fn topic_of(&self, stream: &str) -> Option<usize> {
        self.sinks.iter().position(|sink| !sink.is_declared() && sink.name == stream)
    }

    /// Every object with what it reads: streams, then tables, derived streams, views, services and sinks.
    pub fn objects(&self) -> Vec<ObjectSummary> {
        let summary = |kind, name: &str, reads: Vec<String>| ObjectSummary { kind, name: name.to_owned(), reads };
        let stream = |stream: &Arc<Stream>| summary(ObjectKind::Stream, &stream.name, stream.reads());
        let tables = self.tables.iter().map(|table| summary(ObjectKind::Table, table.name(), Vec::new()));
        let views = self.views.iter().map(|view| summary(ObjectKind::FeatureView, &view.name, view.reads()));
        let services = self.services.iter().map(|service| {
            let mut reads: Vec<String> = Vec::new();
            for join in &service.joins {
                if !reads.contains(&join.view.name) {
                    reads.push(join.view.name.clone());
                }
            }
            summary(ObjectKind::FeatureService, &service.name, reads)
        });
        let streams = self.streams.iter().map(stream).chain(tables).chain(self.derived.iter().map(stream));
        let sinks = self.declared_sinks().map(|sink| summary(ObjectKind::Sink, &sink.name, sink.reads()));
        streams.chain(views).chain(services).chain(sinks).collect()
    }
}

fn find<'a, T>(
    objects: &[&'a Arc<T>],
    kind: ObjectKind,
    name: &str,
    name_of: impl Fn(&T) -> &String,
) -> Result<&'a Arc<T>, UnknownObject> {
    if let Some(object) = objects.iter().find(|object| name_of(object) == name) {
        return Ok(object);
    }
    let names: Vec<&str> = objects.iter().map(|object| name_of(object).as_str()).collect();
    let hint = match nearest(name, names.iter().copied()) {
        Some(near) => format!(" (did you mean `{near}`?)"),
        None if names.is_empty() => format!(" (the project has no {})", kind.name()),
        None => format!(" (known are `{}`)", names.join("`, `")),
    };
    Err(UnknownObject { kind: kind.name(), name: name.to_owned(), hint })
}
