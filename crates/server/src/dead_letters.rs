//! Dead letters over HTTP: events that were set aside, with why and as they were sent, a page at a time.

use asof_connect::instant_text;
use asof_definition::Project;
use asof_pipeline::{DEAD_LETTERS_PAGE_MAX, DeadLetterPage, DeadLetterQuery, Engine};
use hyper::http::request::Parts;
use serde_json::{Value, json};

use crate::app::App;
use crate::events::problem_of;
use crate::problem::Problem;
use crate::reads::refuse_while_recovering;
use crate::route::parameter;
use crate::target::{stream_names, unknown};

/// Letters of a page where nothing is said.
const LIMIT: usize = 100;
/// Why an event can be set aside.
const REASONS: [&str; 6] = ["unreadable", "not_null", "check", "future", "late", "set_aside"];

/// What is asked of which stream.
#[derive(Debug)]
pub(crate) struct Asked {
    stream: usize,
    query: DeadLetterQuery,
}

/// Reads what the head asks for.
pub(crate) fn query(app: &App, name: &str, head: &Parts) -> Result<Asked, Problem> {
    let (stream, reader) = match app.engine.sources().iter().position(|stream| stream.name == name) {
        Some(stream) => (stream, None),
        None => (source_of(app.engine.project(), name)?, Some(name.to_owned())),
    };
    let reason = parameter(&head.uri, "reason")?.map(|reason| reason.into_owned());
    if let Some(reason) = reason.as_ref().filter(|reason| !REASONS.contains(&reason.as_str())) {
        return Err(Problem::invalid(format!("unknown reason `{reason}`")).did_you_mean(reason, REASONS.into_iter()));
    }
    let limit = number(head, "limit")?.map_or(LIMIT, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    if !(1..=DEAD_LETTERS_PAGE_MAX).contains(&limit) {
        return Err(Problem::invalid(format!("query parameter `limit` must be from 1 to {DEAD_LETTERS_PAGE_MAX}")));
    }
    let from_offset = number(head, "from")?.unwrap_or(0);
    Ok(Asked { stream, query: DeadLetterQuery { from_offset, reason, reader, limit } })
}

/// The stream that a derived one sees the events of: letters have the offsets of that one.
fn source_of(project: &Project, derived: &str) -> Result<usize, Problem> {
    let Some(stream) = project.derived.iter().find(|stream| stream.name == derived) else {
        return Err(unknown("stream", derived, &stream_names(project)));
    };
    let sources = stream.sources();
    let [source] = &sources[..] else {
        let calls: Vec<String> =
            sources.iter().map(|source| format!("GET /v1/streams/{}/dead-letters", source.name)).collect();
        return Err(Problem::invalid(format!("derived stream `{derived}` sees events of several streams"))
            .hint(format!("its dead letters are among theirs: {}", calls.join(", "))));
    };
    let place = project.streams.iter().position(|stream| stream.name == source.name);
    Ok(place.expect("a derived stream reads streams of its project"))
}

fn number(head: &Parts, name: &str) -> Result<Option<u64>, Problem> {
    let Some(text) = parameter(&head.uri, name)? else { return Ok(None) };
    let problem = || Problem::invalid(format!("query parameter `{name}`: expected a whole number, found `{text}`"));
    text.parse().map(Some).map_err(|_| problem())
}

/// The page's JSON.
pub(crate) fn page(engine: &Engine, asked: Asked) -> Result<Vec<u8>, Problem> {
    refuse_while_recovering(engine)?;
    let page = engine.dead_letters(asked.stream, &asked.query).map_err(|defect| {
        tracing::error!(%defect, "dead letters cannot be read");
        Problem::internal()
    })?;
    let page = page.map_err(problem_of)?;
    let source = &engine.sources()[asked.stream].name;
    let stream = asked.query.reader.as_ref().unwrap_or(source);
    Ok(json!({"stream": stream, "dead_letters": letters(&page), "next": page.next_offset}).to_string().into_bytes())
}

fn letters(page: &DeadLetterPage) -> Vec<Value> {
    let one = |placed: &asof_pipeline::PlacedDeadLetter| {
        let letter = &placed.letter;
        json!({
            "partition": placed.partition,
            "offset": placed.offset,
            "arrived": instant_text(placed.arrived_us),
            "reason": letter.reason,
            "view": letter.view,
            "detail": letter.detail,
            "event": letter.raw,
            "event_is_cut": letter.raw_is_cut,
        })
    };
    page.letters.iter().map(one).collect()
}
