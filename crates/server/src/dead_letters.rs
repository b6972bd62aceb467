//! Dead letters over HTTP: events that were set aside, with why and as they were sent, a page at a time.

use std::sync::Arc;

use asof_connect::instant_text;
use asof_definition::Stream;
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
    let project = app.engine.project();
    let (source, reader) = match project.derived.iter().find(|stream| stream.name == name) {
        Some(derived) => (source_of(derived)?.name.clone(), Some(name.to_owned())),
        None => (name.to_owned(), None),
    };
    // The rows of a sink may be a source, which is nobody else's.
    let is_named = |name: &String| stream_names(project).contains(&name.as_str());
    let stream = app.engine.sources().iter().position(|stream| stream.name == source && is_named(&source));
    let stream = stream.ok_or_else(|| unknown("stream", name, &stream_names(project)))?;
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
fn source_of(derived: &Arc<Stream>) -> Result<Arc<Stream>, Problem> {
    let (name, mut sources) = (&derived.name, letter_streams(derived));
    match sources.len() {
        0 => {
            let is_scored = derived.sources().iter().any(|source| source.scored().is_some());
            let (rows, field) =
                if is_scored { ("scored rows", "scored") } else { ("rows of closed windows", "windows") };
            let problem =
                Problem::invalid(format!("derived stream `{name}` reads {rows}, which leave no dead letters"));
            let hint = "`GET /v1/objects` counts them, with the first of each reason, under";
            Err(problem.hint(format!("{hint} `{field}` of the stream of these rows")))
        }
        1 => Ok(sources.remove(0)),
        _ => {
            let calls: Vec<String> =
                sources.iter().map(|source| format!("GET /v1/streams/{}/dead-letters", source.name)).collect();
            Err(Problem::invalid(format!("derived stream `{name}` sees events of several streams"))
                .hint(format!("its dead letters are among theirs: {}", calls.join(", "))))
        }
    }
}

/// The streams among whose letters those of a derived stream are: of which it, or a window of it, sees events as they were
/// sent. Rows that are made were not sent, and leave none.
pub(crate) fn letter_streams(derived: &Arc<Stream>) -> Vec<Arc<Stream>> {
    let read = derived.window().map_or(derived, |window| &window.view.stream);
    read.sources().into_iter().filter(|source| !source.makes_rows()).collect()
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
        let mut told = json!({
            "partition": placed.partition,
            "offset": placed.offset,
            "arrived": instant_text(placed.arrived_us),
            "reason": letter.reason,
            "view": letter.view,
            "detail": letter.detail,
            "event": letter.raw,
            "event_is_cut": letter.raw_is_cut,
        });
        if let Some((partition, offset)) = placed.place {
            told["message"] = json!({"partition": partition, "offset": offset});
        }
        told
    };
    page.letters.iter().map(one).collect()
}
