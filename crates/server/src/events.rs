//! Events over HTTP: a body becomes a submission, and the receipt an answer.
//!
//! The answer comes when the used events are durable and visible. A door that is full is knocked at for a while, which slows
//! the producer; then it is told to come again.

use std::sync::Arc;
use std::time::Duration;

use asof_connect::{BodyForm, BodyLimits, EventBody, EventBodyError, write_json_text};
use asof_definition::{Connector, Project, Stream};
use asof_pipeline::{BATCH_KEY_BYTES_MAX, BatchKey, IngestError, Manner, Receipt, Submission};
use hyper::HeaderMap;
use hyper::body::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use tokio::sync::oneshot;

use crate::app::App;
use crate::body::HeldBody;
use crate::problem::{Kind, Problem};
use crate::reads::{aside, guarded};
use crate::reply::Reply;
use crate::route::parameter;
use crate::target::{stream_names, unknown};

/// The header that names a batch.
const BATCH_KEY: &str = "idempotency-key";
/// Events of one request: a frame of the log.
const ROWS_MAX: usize = 65_536;
/// The body beyond which reading it goes aside: about a hundred microseconds.
const INLINE_BODY_BYTES_MAX: usize = 32 << 10;
/// How long a producer is slowed at a full door before it is told to come again, and how often it knocks.
const KNOCKS_MAX: usize = 200;
const KNOCK_EVERY: Duration = Duration::from_millis(5);

/// Where the outcome of a submission comes.
type Outcome = oneshot::Receiver<Result<Receipt, IngestError>>;

/// A call that brings events, as far as its head tells.
#[derive(Debug)]
pub(crate) struct EventCall {
    stream: usize,
    form: BodyForm,
    manner: Manner,
    /// Of history: the column that says when each event arrived.
    arrival_column: Option<String>,
    batch_key: Option<String>,
    received_us: i64,
}

impl EventCall {
    pub(crate) fn read(app: &App, name: &str, head: &Parts) -> Result<EventCall, Problem> {
        let sources = app.engine.sources();
        let takes_events = |stream: &Stream| stream.name == name && stream.derivation().is_none();
        let Some(stream) = sources.iter().position(|stream| takes_events(stream)) else {
            return Err(no_door(app.engine.project(), name));
        };
        if let Connector::File(_) = sources[stream].connector {
            let kind = if app.engine.is_table(stream) { "table" } else { "stream" };
            return Err(Problem::invalid(format!("{kind} `{name}` reads a file and takes no events over HTTP"))
                .hint("declare it without a connector: then it is stored, and fed by this call"));
        }
        let manner = manner_of(head)?;
        if let (Some(feed), Manner::Live | Manner::History { .. }) = (sources[stream].feed(), &manner) {
            let kind = if app.engine.is_table(stream) { "table" } else { "stream" };
            let message = format!("{kind} `{name}` reads topic `{}` and takes no events over HTTP", feed.topic);
            return Err(Problem::invalid(message)
                .hint("send them to the topic; dead letters can be sent once more, with `?replayed=true`"));
        }
        Ok(EventCall {
            stream,
            form: form_of(&head.headers),
            manner,
            arrival_column: arrival_column_of(head)?,
            batch_key: batch_key_of(&head.headers)?,
            received_us: app.engine.wall_us(),
        })
    }

    pub(crate) async fn take_in(self, app: &Arc<App>, body: HeldBody) -> Result<Reply, Problem> {
        // The body's share of the room for bodies is held until the answer: that bounds what waits at the door.
        let bytes = body.bytes.clone();
        let submitted = if bytes.len() > INLINE_BODY_BYTES_MAX {
            let app = app.clone();
            aside(move || self.submission(&app, bytes)).await?
        } else {
            guarded(|| self.submission(app, bytes))?
        };
        let Some((submission, answer)) = submitted else { return Ok(Reply::receipt(&Receipt::default())) };
        knock(app, submission).await?;
        match answer.await {
            Ok(Ok(receipt)) => Ok(Reply::receipt(&receipt)),
            Ok(Err(error)) => Err(problem_of(error)),
            Err(_) => Err(Problem::new(Kind::Unavailable, "the server stops")),
        }
    }

    /// The events and where their answer will come; `None` if there are none.
    fn submission(self, app: &App, body: Bytes) -> Result<Option<(Submission, Outcome)>, Problem> {
        let stream = app.engine.stored_form(self.stream);
        let batch_key = self.batch_key.map(|name| BatchKey::of(name, &body));
        let limits = BodyLimits { rows_max: ROWS_MAX };
        let bytes = body;
        let (events, manner) = match &self.arrival_column {
            None => (EventBody::read(bytes, self.form, &stream, limits).map_err(body_problem)?, self.manner),
            Some(column) => {
                let read = EventBody::read_with_arrivals(bytes, self.form, &stream, column, limits);
                let (events, arrived) = read.map_err(body_problem)?;
                (events, Manner::History { arrived: Some(arrived) })
            }
        };
        if events.rows() == 0 {
            return Ok(None);
        }
        let (sender, receiver) = oneshot::channel();
        let submission = Submission {
            stream: self.stream,
            body: events,
            manner,
            batch_key,
            origin: None,
            received_us: self.received_us,
            answer: Box::new(move |outcome| {
                if sender.send(outcome).is_err() {
                    tracing::debug!("a producer did not wait for its answer");
                }
            }),
        };
        Ok(Some((submission, receiver)))
    }
}

/// Why no event can be sent to the stream of that name.
fn no_door(project: &Project, name: &str) -> Problem {
    let Some(derived) = project.derived.iter().find(|stream| stream.name == name) else {
        return unknown("stream", name, &stream_names(project));
    };
    let origins: Vec<String> = derived.origins().iter().map(|origin| format!("`{}`", origin.name)).collect();
    Problem::invalid(format!("stream `{name}` is derived from others and takes no events"))
        .hint(format!("send them to what it sees the events of: {}", origins.join(", ")))
}

/// Leaves a submission at the door, and waits for room as long as a producer is to be slowed.
async fn knock(app: &App, mut submission: Submission) -> Result<(), Problem> {
    for _ in 0..KNOCKS_MAX {
        match app.engine.intake().submit(submission) {
            Ok(()) => return Ok(()),
            Err((back, IngestError::Busy { .. })) => submission = back,
            Err((_, error)) => {
                app.engine.ingest_measures().refused.add(&error);
                return Err(problem_of(error));
            }
        }
        tokio::time::sleep(KNOCK_EVERY).await;
    }
    match app.engine.intake().submit(submission) {
        Ok(()) => Ok(()),
        Err((_, error)) => {
            app.engine.ingest_measures().refused.add(&error);
            Err(problem_of(error))
        }
    }
}

/// By its content type; what is neither lines nor Arrow is read as JSON, so that a plain `curl --data` works.
fn form_of(headers: &HeaderMap) -> BodyForm {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => BodyForm::Ndjson,
        "application/vnd.apache.arrow.stream" => BodyForm::Arrow,
        _ => BodyForm::Json,
    }
}

fn manner_of(head: &Parts) -> Result<Manner, Problem> {
    let claim = |name: &str| match parameter(&head.uri, name)?.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => {
            Err(Problem::invalid(format!("query parameter `{name}`: expected true or false, found `{other}`")))
        }
    };
    match (claim("history")?, claim("replayed")?) {
        (false, false) => Ok(Manner::Live),
        (true, false) => Ok(Manner::History { arrived: None }),
        (false, true) => Ok(Manner::Replayed),
        (true, true) => Err(Problem::invalid("`history` and `replayed` exclude each other")),
    }
}

fn arrival_column_of(head: &Parts) -> Result<Option<String>, Problem> {
    let column = parameter(&head.uri, "arrival_column")?.map(|column| column.into_owned());
    if column.is_some() && !matches!(manner_of(head)?, Manner::History { .. }) {
        return Err(Problem::invalid("`arrival_column` goes with `history=true`")
            .hint("without it events arrive when they come"));
    }
    Ok(column)
}

fn batch_key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(BATCH_KEY) else { return Ok(None) };
    let key = value.to_str().map_err(|_| Problem::invalid("the header Idempotency-Key is not ASCII text"))?.trim();
    if key.is_empty() || key.len() > BATCH_KEY_BYTES_MAX {
        return Err(Problem::invalid(format!("the header Idempotency-Key must have 1 to {BATCH_KEY_BYTES_MAX} bytes")));
    }
    Ok(Some(key.to_owned()))
}

fn body_problem(error: EventBodyError) -> Problem {
    let text = error.to_string();
    let (message, hint) = text.split_once("; hint: ").map_or((text.as_str(), None), |(text, hint)| (text, Some(hint)));
    let kind = match error {
        EventBodyError::TooManyRows { .. } => Kind::TooLarge,
        _ => Kind::Invalid,
    };
    let problem = Problem::new(kind, message);
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

pub(crate) fn problem_of(error: IngestError) -> Problem {
    let message = error.to_string();
    let problem = |kind| Problem::new(kind, message.clone());
    match error {
        IngestError::Busy { .. } => {
            problem(Kind::TooMany).hint("come again in a second; send larger batches, or fewer")
        }
        IngestError::StateFull { .. } => problem(Kind::TooMany)
            .hint("come again when time has emptied windows, or raise `memory` in [state] of asof.toml"),
        IngestError::KeysFull { .. } => {
            problem(Kind::TooMany).hint("come again in a second; make room if the disk is full")
        }
        IngestError::DiskFull { .. } => problem(Kind::Unavailable).hint("make room on the disk; reads go on meanwhile"),
        IngestError::Broken { .. } => {
            problem(Kind::Unavailable).hint("look at the disk, then start the server again; reads go on meanwhile")
        }
        IngestError::NotSettled { .. } => problem(Kind::Unavailable).hint(
            "send it again with the same Idempotency-Key or primary key, which tells; without either it may count twice",
        ),
        IngestError::BehindNotSettled => problem(Kind::Unavailable).hint("come again in a second"),
        IngestError::NoClaim { .. } => {
            problem(Kind::Unavailable).hint("the server ends; look at the disk, then start it again")
        }
        IngestError::TakenOver => problem(Kind::Unavailable).hint("send events to the one that took over"),
        IngestError::NotNow { .. } => problem(Kind::Unavailable).hint("come again in a second"),
        IngestError::OutOfReach { .. } => {
            problem(Kind::OutOfReach).hint("load in the order of event time, tables before the streams that join them, and all before live events")
        }
        IngestError::KeyOfAnother { .. } => {
            problem(Kind::Unanswerable).hint("name every batch anew; only the same bytes sent again have the same key")
        }
        IngestError::ReadsFile { .. } => problem(Kind::Invalid),
        IngestError::Internal { detail } => {
            tracing::error!(detail, "events could not be taken in");
            Problem::internal()
        }
    }
}

impl Reply {
    /// 200, or 422 where no row was used or a duplicate.
    fn receipt(receipt: &Receipt) -> Reply {
        let mut json = Vec::with_capacity(96 + receipt.refused.len() * 96);
        let Receipt { accepted, duplicates, late, rejected, refused, is_repeat } = receipt;
        json.extend_from_slice(
            format!("{{\"accepted\":{accepted},\"duplicates\":{duplicates},\"late\":{late},\"rejected\":{rejected},\"refused\":[")
                .as_bytes(),
        );
        for (place, one) in refused.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            json.extend_from_slice(format!("{comma}{{\"row\":{},\"reason\":", one.row).as_bytes());
            write_json_text(&one.reason, &mut json);
            json.extend_from_slice(b",\"detail\":");
            write_json_text(&one.detail, &mut json);
            json.push(b'}');
        }
        json.extend_from_slice(b"]}");
        let nothing_counts = *late + *rejected > 0 && *accepted + *duplicates == 0;
        let reply = Reply::json(json).repeated(*is_repeat);
        if nothing_counts { reply.unprocessable() } else { reply }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: IngestError, status: u16, hint: &str) {
        let problem = problem_of(error);
        let json = String::from_utf8(problem.json()).unwrap();
        assert!(problem.kind.status() == status && json.contains(hint), "{json}");
    }

    #[test]
    fn who_waits_for_the_generation_is_not_sent_to_the_disk() {
        let detail = || "`/data/generation`: too many open files".to_owned();
        let again = "send it again with the same Idempotency-Key or primary key";
        check(IngestError::NotSettled { detail: detail() }, 503, again);
        check(IngestError::BehindNotSettled, 503, "come again in a second");
        check(IngestError::NoClaim { detail: detail() }, 503, "the server ends");
        check(IngestError::TakenOver, 503, "the one that took over");
    }
}
