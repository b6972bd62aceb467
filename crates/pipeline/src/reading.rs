//! A read: everything asked of it is answered at the version that stood when it began.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray};
use asof_feature::{FeatureError, FeatureFailure, JoinKeys, StandingRows, Vectors, ViewAnswers, Way};

use crate::binding::{BoundService, BoundView};
use crate::clock::Clock;
use crate::engine::Engine;
use crate::visibility::{Published, Visibility};

/// A read that so many events have overtaken is given up: while it lasts, the state remembers of each of them what the
/// read must not see, about 60 bytes in each view.
const OVERTAKEN_ROWS_MAX: u64 = 1 << 20;

/// A read in progress; the version that it stands at stays readable while it lives.
#[derive(Debug)]
pub struct Reading<'e> {
    engine: &'e Engine,
    visibility: &'e Visibility,
    published: Arc<Published>,
}

/// The vectors of a service.
#[derive(Debug, Clone)]
pub struct ServiceAnswers {
    /// One array for each feature.
    pub features: Vec<ArrayRef>,
    /// For each join of the service, whether some frame of its view held an event.
    pub known: Vec<BooleanArray>,
}

/// Why a read has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The instant lies too far in the past.
    #[error("the as-of instant lies before the earliest one that stream `{stream}` can answer")]
    TooEarly {
        /// Of the streams that are read, the one that reaches back least.
        stream: String,
        /// The earliest instant that can be answered, in microseconds.
        earliest_us: i64,
    },
    /// A feature has no value on a row.
    #[error("row {row}: feature `{feature}`: {kind}: {detail}")]
    RowFailed {
        /// From 0.
        row: usize,
        /// The feature, or the key part of a join.
        feature: String,
        /// What went wrong, as a public name.
        kind: &'static str,
        /// What went wrong, in words.
        detail: String,
    },
    /// The read took so long that it would hold up what comes in.
    #[error("the read took too long beside {rows} events that came in meanwhile")]
    Overtaken {
        /// How many.
        rows: u64,
    },
    /// The answers would take more memory than one read may.
    #[error("the answers of {rows} rows of `{view}` take more than {limit_bytes} bytes")]
    TooLarge {
        /// The view.
        view: String,
        /// How many rows were answered until then.
        rows: usize,
        /// What they may take.
        limit_bytes: usize,
    },
    /// A defect of ours.
    #[error(transparent)]
    Feature(FeatureError),
}

impl From<FeatureError> for ReadError {
    fn from(error: FeatureError) -> ReadError {
        match error {
            FeatureError::TooLarge { view, rows, limit_bytes } => ReadError::TooLarge { view, rows, limit_bytes },
            defect => ReadError::Feature(defect),
        }
    }
}

impl<'e> Reading<'e> {
    pub(crate) fn new(engine: &'e Engine, visibility: &'e Visibility) -> Reading<'e> {
        Reading { engine, visibility, published: visibility.pin() }
    }

    /// What is known where this read stands.
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// The instant of a read that names none, in microseconds: now by the engine's clock. Before the first event the
    /// event clock stands at 1970.
    pub fn now_us(&self) -> i64 {
        match self.engine.settings().clock {
            Clock::System => self.engine.wall_us(),
            Clock::Event => self.published.newest_us.unwrap_or_default(),
        }
    }

    /// Features of the view with this index in the project, for rows of entity keys, as of an instant in microseconds.
    pub fn view(&self, view: usize, key: &[ArrayRef], rows: usize, as_of_us: i64) -> Result<ViewAnswers, ReadError> {
        let answers = self.each_of_view(view, key, rows, as_of_us)?;
        let features = &self.engine.view(view).online.plan().view().features;
        match answers.failures.first() {
            Some(failure) => Err(row_failed(failure, &features[failure.feature].name)),
            None => Ok(answers),
        }
    }

    /// The same, and features that fail are told with their row.
    pub(crate) fn each_of_view(
        &self,
        view: usize,
        key: &[ArrayRef],
        rows: usize,
        as_of_us: i64,
    ) -> Result<ViewAnswers, ReadError> {
        self.check_instant(&[view], as_of_us)?;
        self.read(self.engine.view(view), key, &vec![as_of_us; rows], None)
    }

    /// Vectors of the service with this index in the project, for rows of requests (its columns in their order).
    pub fn service(
        &self,
        service: usize,
        request: &[ArrayRef],
        rows: usize,
        as_of_us: i64,
    ) -> Result<ServiceAnswers, ReadError> {
        let bound = self.engine.service(service);
        self.check_instant(&bound.views, as_of_us)?;
        let joins = bound.plan.keys(request, rows)?;
        let definition = bound.plan.service();
        if let Some(failure) = joins.failures.first() {
            return Err(row_failed(failure, &key_of(bound, failure)));
        }
        let (Vectors { features, failures }, known) =
            self.vectors(bound, request, &joins, &vec![as_of_us; rows], None)?;
        if let Some(failure) = failures.first() {
            return Err(row_failed(failure, &definition.features[failure.feature].name));
        }
        Ok(ServiceAnswers { features, known })
    }

    /// The same for rows that stand at events, each as of its own instant in microseconds, which need not be one that others may
    /// ask for. `ways` says for each join of the service by which ways the events come to its view. Features that fail are told
    /// with their row.
    pub(crate) fn at_events(
        &self,
        service: usize,
        request: &[ArrayRef],
        instants_us: &[i64],
        standing: (StandingRows<'_>, &[Vec<Way>]),
    ) -> Result<Vectors, ReadError> {
        let bound = self.engine.service(service);
        let joins = bound.plan.keys(request, instants_us.len())?;
        let (mut vectors, _) = self.vectors(bound, request, &joins, instants_us, Some(standing))?;
        for failure in &joins.failures {
            let detail = format!("{}: {}", key_of(bound, failure), failure.detail);
            // Of a row without a key no feature is known.
            let each = 0..vectors.features.len();
            vectors.failures.extend(each.map(|feature| FeatureFailure {
                feature,
                detail: detail.clone(),
                ..failure.clone()
            }));
        }
        Ok(vectors)
    }

    /// The vectors of a service, and for each of its joins what is known.
    fn vectors(
        &self,
        bound: &BoundService,
        request: &[ArrayRef],
        joins: &JoinKeys,
        instants_us: &[i64],
        standing: Option<(StandingRows<'_>, &[Vec<Way>])>,
    ) -> Result<(Vectors, Vec<BooleanArray>), ReadError> {
        let mut answers = Vec::with_capacity(bound.views.len());
        for (join, (view, key)) in bound.views.iter().zip(&joins.keys).enumerate() {
            let standing = standing.map(|(rows, ways)| (rows, &ways[join][..]));
            answers.push(self.read(self.engine.view(*view), key, instants_us, standing)?);
        }
        let (features, failures) = bound.plan.features(request, &joins.keys, &answers, instants_us.len())?;
        Ok((Vectors { features, failures }, answers.into_iter().map(|one| one.known).collect()))
    }

    /// The streams whose events the view with this index sees, each once, as indexes into [`Engine::sources`]; of a view over a
    /// table that table. Their watermarks say as of when it is read at the earliest.
    pub fn streams_of_view(&self, view: usize) -> Vec<usize> {
        self.engine.view(view).streams.clone()
    }

    /// The streams and tables whose events and versions the values of the view with this index depend on, each once, as
    /// such indexes.
    pub fn sources_of_view(&self, view: usize) -> Vec<usize> {
        self.engine.view(view).sources().collect()
    }

    /// Those of the service with this index, each once.
    pub fn sources_of_service(&self, service: usize) -> Vec<usize> {
        let views = self.engine.service(service).views.iter().map(|view| self.engine.view(*view));
        let mut sources: Vec<usize> = views.flat_map(BoundView::sources).collect();
        sources.sort_unstable();
        sources.dedup();
        sources
    }

    /// Reads in parts, and looks in between how far events have gone on.
    fn read(
        &self,
        bound: &BoundView,
        key: &[ArrayRef],
        instants_us: &[i64],
        standing: Option<(StandingRows<'_>, &[Way])>,
    ) -> Result<ViewAnswers, ReadError> {
        let mut rows = 0;
        let go_on = || {
            rows = self.visibility.published().changes().saturating_sub(self.published.changes());
            rows <= OVERTAKEN_ROWS_MAX
        };
        match bound.online.read_while(key, instants_us, self.published.version, standing, go_on)? {
            Some(answers) => Ok(answers),
            None => Err(ReadError::Overtaken { rows }),
        }
    }

    /// The earliest instant that the view with this index can be read as of, in microseconds; `None` while any can.
    pub(crate) fn earliest_us(&self, view: usize) -> Option<i64> {
        let horizon_us = self.engine.settings().as_of_horizon_us;
        Some(self.published.earliest_of(&self.engine.view(view).streams, horizon_us)?.0)
    }

    fn check_instant(&self, views: &[usize], as_of_us: i64) -> Result<(), ReadError> {
        let horizon_us = self.engine.settings().as_of_horizon_us;
        let earliest = |view: &usize| self.published.earliest_of(&self.engine.view(*view).streams, horizon_us);
        match views.iter().filter_map(earliest).max() {
            Some((earliest_us, stream)) if as_of_us < earliest_us => {
                Err(ReadError::TooEarly { stream: self.engine.sources()[stream].name.clone(), earliest_us })
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.visibility.unpin(self.published.version);
    }
}

/// The key of the join that failed on a row, for messages.
fn key_of(bound: &BoundService, failure: &FeatureFailure) -> String {
    format!("the key of `{}`", bound.plan.service().joins[failure.feature].alias)
}

fn row_failed(failure: &FeatureFailure, feature: &str) -> ReadError {
    ReadError::RowFailed {
        row: failure.row,
        feature: feature.to_owned(),
        kind: failure.kind.name(),
        detail: failure.detail.clone(),
    }
}
