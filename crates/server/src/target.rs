//! What features are asked of: a service or a view, with all that does not change from read to read made beforehand.

use std::collections::HashMap;
use std::sync::Arc;

use asof_connect::{RequestColumns, WantedColumn};
use asof_definition::Project;
use asof_pipeline::{Engine, ReadError, Reading, ServiceAnswers};

use crate::answer::AnswerLayout;
use crate::error::ServeError;
use crate::problem::{Kind, Problem};

/// Where a target stands in its project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Index into the project's services.
    Service(usize),
    /// Index into the project's views.
    View(usize),
}

/// A service or a view, ready to be read.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) place: Place,
    /// What a row brings: the columns of REQUEST, or the parts of the entity key.
    pub(crate) request: RequestColumns,
    /// How many values a row is answered with.
    pub(crate) features: usize,
    pub(crate) layout: AnswerLayout,
}

/// All targets of a project, by name.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    services: HashMap<String, Arc<Target>>,
    views: HashMap<String, Arc<Target>>,
}

impl Targets {
    pub(crate) fn new(engine: &Engine) -> Result<Targets, ServeError> {
        let mut targets = Targets::default();
        for (index, service) in engine.project().services.iter().enumerate() {
            let target = Target::service(engine, index)?;
            targets.services.insert(service.name.clone(), Arc::new(target));
        }
        for (index, view) in engine.project().views.iter().enumerate() {
            targets.views.insert(view.name.clone(), Arc::new(Target::view(engine, index)?));
        }
        Ok(targets)
    }

    pub(crate) fn find_service(&self, name: &str) -> Result<Arc<Target>, Problem> {
        find(&self.services, "feature service", name)
    }

    pub(crate) fn find_view(&self, name: &str) -> Result<Arc<Target>, Problem> {
        find(&self.views, "feature view", name)
    }
}

fn find(targets: &HashMap<String, Arc<Target>>, kind: &str, name: &str) -> Result<Arc<Target>, Problem> {
    targets.get(name).cloned().ok_or_else(|| {
        let mut known: Vec<&str> = targets.keys().map(String::as_str).collect();
        known.sort_unstable();
        unknown(kind, name, &known)
    })
}

/// The names of all streams, derived or not, and of tables, which are streams of versions.
pub(crate) fn stream_names(project: &Project) -> Vec<&str> {
    let streams = project.streams.iter().chain(&project.derived).map(|stream| stream.name.as_str());
    streams.chain(project.tables.iter().map(|table| table.name())).collect()
}

/// `unknown feature view`, and what was meant perhaps.
pub(crate) fn unknown(kind: &str, name: &str, known: &[&str]) -> Problem {
    let shown: String = name.chars().take(200).collect();
    let problem = Problem::new(Kind::NotFound, format!("unknown {kind} `{shown}`"));
    if known.is_empty() {
        return problem.hint(format!("the project has no {kind}"));
    }
    // Distances between names of megabytes would take minutes.
    problem.did_you_mean(&shown, known.iter().copied())
}

impl Target {
    fn service(engine: &Engine, index: usize) -> Result<Target, ServeError> {
        let service = &engine.project().services[index];
        let wanted = |column: &asof_definition::Column| WantedColumn {
            name: column.name.clone(),
            data_type: column.data_type.clone(),
        };
        let sources = engine.reading().sources_of_service(index);
        Ok(Target {
            place: Place::Service(index),
            request: RequestColumns::new(service.request.iter().map(wanted).collect())?,
            features: service.features.len(),
            layout: AnswerLayout::of_service(engine.sources(), service, &sources),
        })
    }

    fn view(engine: &Engine, index: usize) -> Result<Target, ServeError> {
        let view = &engine.project().views[index];
        let wanted = |part: &asof_definition::KeyPart| WantedColumn {
            name: part.name.clone(),
            data_type: part.expression.data_type().clone(),
        };
        let sources = engine.reading().sources_of_view(index);
        Ok(Target {
            place: Place::View(index),
            request: RequestColumns::new(view.key.iter().map(wanted).collect())?,
            features: view.features.len(),
            layout: AnswerLayout::of_view(engine.sources(), view, &sources),
        })
    }

    /// Reads rows of requests as of an instant in microseconds.
    pub(crate) fn read(
        &self,
        reading: &Reading<'_>,
        request: &asof_connect::RequestRows,
        as_of_us: i64,
    ) -> Result<ServiceAnswers, ReadError> {
        match self.place {
            Place::Service(index) => reading.service(index, &request.columns, request.rows, as_of_us),
            Place::View(index) => {
                let answers = reading.view(index, &request.columns, request.rows, as_of_us)?;
                Ok(ServiceAnswers { features: answers.features, known: vec![answers.known] })
            }
        }
    }
}
