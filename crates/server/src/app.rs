//! Requests to answers: which call it is, whether there is room for it, and who answers it.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use asof_pipeline::{Engine, Phase as JobPhase};
use http_body_util::Full;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::http::request::Parts;
use hyper::{Request, Response};

use crate::body::Bodies;
use crate::connections::{Connection, Connections, Phase};
use crate::error::ServeError;
use crate::events::EventCall;
use crate::limits::{HEAD_BYTES_MAX, Limits};
use crate::measures::Measures;
use crate::problem::{Kind, Problem};
use crate::reads::{InFlight, Read, aside, guarded};
use crate::reply::Reply;
use crate::room::Room;
use crate::route::{Call, route};
use crate::stopwatch::Stopwatch;
use crate::target::Targets;
use crate::traffic::Traffic;
use crate::{dead_letters, objects, openapi};

const PAGE: &str = concat!(
    include_str!("page/head.html"),
    "<style>\n",
    include_str!("page/page.css"),
    "</style>\n</head>\n",
    include_str!("page/body.html"),
    "<script>\n",
    include_str!("page/page.js"),
    "</script>\n</body>\n</html>\n",
);

/// What all connections share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) engine: Arc<Engine>,
    pub(crate) limits: Limits,
    pub(crate) measures: Measures,
    pub(crate) traffic: Arc<Traffic>,
    connections: Arc<Connections>,
    targets: Targets,
    bodies: Bodies,
    /// For answers on their way out.
    answers: Arc<Room>,
    in_flight: Arc<AtomicUsize>,
    /// Whether a stop was asked for.
    is_stopping: AtomicBool,
}

impl App {
    pub(crate) fn new(
        engine: Arc<Engine>,
        limits: Limits,
        connections: Arc<Connections>,
        traffic: Arc<Traffic>,
    ) -> Result<App, ServeError> {
        Ok(App {
            targets: Targets::new(&engine)?,
            measures: Measures::new()?,
            bodies: Bodies::new(&limits),
            answers: Room::new("the answers that are being sent", limits.shared_bytes_max()),
            in_flight: Arc::default(),
            is_stopping: AtomicBool::new(false),
            engine,
            limits,
            traffic,
            connections,
        })
    }

    /// Answers one request of a connection.
    pub(crate) async fn respond(
        self: Arc<App>,
        connection: &Connection,
        request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        let stopwatch = Stopwatch::start();
        let (head, body) = request.into_parts();
        // A client that is still sending is listened to, so that it can take the answer before it learns of the end.
        connection.linger(!body.is_end_stream());
        let routed = route(&head.method, &head.uri);
        let outcome = match (check_head(&head), routed.outcome) {
            (Err(problem), _) | (Ok(()), Err(problem)) => Err(problem),
            (Ok(()), Ok(name)) => self.answer(routed.call, name, &head, body, connection).await,
        };
        let reply = outcome.unwrap_or_else(Reply::from);
        self.measures.answered(routed.call, reply.status(), stopwatch.elapsed());
        if reply.closes {
            connection.linger(true);
        }
        connection.enter(Phase::Sending);
        reply.into_response()
    }

    async fn answer(
        self: &Arc<App>,
        call: Call,
        name: Cow<'_, str>,
        head: &Parts,
        body: Incoming,
        connection: &Connection,
    ) -> Result<Reply, Problem> {
        match call {
            Call::StreamEvents => {
                let arrival = EventCall::read(self, &name, head)?;
                let body = self.bodies.collect(body).await?;
                connection.linger(false);
                connection.enter(Phase::Answering);
                let _place = InFlight::enter(&self.in_flight, self.limits.requests_max)?;
                arrival.take_in(self, body).await
            }
            Call::DeadLetters => {
                connection.enter(Phase::Answering);
                let place = InFlight::enter(&self.in_flight, self.limits.requests_max)?;
                let (app, query) = (self.clone(), dead_letters::query(self, &name, head)?);
                let json = aside(move || {
                    let _place = place;
                    dead_letters::page(&app.engine, query)
                });
                Reply::held(json.await?, self.answers.share())
            }
            Call::ServiceFeatures | Call::ViewFeatures => {
                let body = self.bodies.collect(body).await?;
                connection.linger(false);
                connection.enter(Phase::Answering);
                let place = InFlight::enter(&self.in_flight, self.limits.requests_max)?;
                let is_service = call == Call::ServiceFeatures;
                let target = if is_service { self.targets.find_service(&name) } else { self.targets.find_view(&name) }?;
                let json = Read { app: self.clone(), target, _place: place }.answer(body).await?;
                Reply::held(json, self.answers.share())
            }
            _ => {
                connection.enter(Phase::Answering);
                self.tell(call, name.into_owned()).await
            }
        }
    }

    /// The calls that tell of the server and its project.
    async fn tell(self: &Arc<App>, call: Call, name: String) -> Result<Reply, Problem> {
        let place =
            if call.is_limited() { Some(InFlight::enter(&self.in_flight, self.limits.requests_max)?) } else { None };
        match call {
            Call::Page => return Ok(Reply::page(PAGE)),
            Call::Alive => return Ok(Reply::json(b"{\"status\":\"alive\"}".to_vec())),
            Call::Ready => return self.readiness(),
            // At once: it must not wait for large reads.
            Call::Metrics => {
                return guarded(|| {
                    Ok(Reply::metrics(self.measures.text(&self.engine, &self.traffic, &self.connections)))
                });
            }
            _ => {}
        }
        let app = self.clone();
        aside(move || {
            let _place = place;
            match call {
                Call::Objects => Ok(Reply::json(objects::all(&app.engine).to_string().into_bytes())),
                Call::Object => {
                    objects::one(&app.engine, &name).map(|object| Reply::json(object.to_string().into_bytes()))
                }
                _ => Ok(Reply::json(openapi::document(&app.engine).to_string().into_bytes())),
            }
        })
        .await
    }

    /// A stop was asked for: no longer ready.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    fn readiness(&self) -> Result<Reply, Problem> {
        if self.is_stopping.load(Ordering::Relaxed) {
            return Err(Problem::new(Kind::Unavailable, "not ready: stopping").hint("ask another one"));
        }
        if self.engine.is_ready() {
            return Ok(Reply::json(b"{\"status\":\"ready\"}".to_vec()));
        }
        let waits_for = match self.engine.phase() {
            JobPhase::Recovering => "state is brought back from the checkpoint and the log",
            JobPhase::Reading => "files are read and brought into the order of event time",
            JobPhase::Replaying => "files are replayed",
            JobPhase::Done | JobPhase::Live => "topics are read up to where they ended at the start",
        };
        let progress = self.feeds_behind().unwrap_or_else(|| self.progress());
        let message = format!("not ready: {waits_for} ({progress})");
        Err(Problem::new(Kind::Unavailable, message).hint("wait; `GET /v1/objects` tells how far each stream is"))
    }

    /// ``payments: 1042 messages behind``, for streams whose topics readiness waits for; `None` where it waits for files.
    fn feeds_behind(&self) -> Option<String> {
        if !matches!(self.engine.phase(), JobPhase::Done | JobPhase::Live) {
            return None;
        }
        let behind = self.engine.sources().iter().enumerate().filter_map(|(index, stream)| {
            let feed = self.engine.feed_statistics(index).filter(|feed| !feed.has_caught_up)?;
            let words = match (&feed.trouble, feed.lag()) {
                (Some(trouble), _) => trouble.clone(),
                (None, Some(lag)) => format!("{lag} messages behind"),
                (None, None) => format!("topic `{}` is looked for", feed.topic),
            };
            Some(format!("{}: {words}", stream.name))
        });
        Some(behind.collect::<Vec<String>>().join("; "))
    }

    /// ``transactions: 41 % read, 1042 rows taken in``, for streams that readiness waits for.
    fn progress(&self) -> String {
        let streams = self.engine.sources().iter().enumerate().filter_map(|(index, stream)| {
            let replay = self.engine.stream_statistics(index).replay;
            let percent = (replay.bytes_read.saturating_mul(100)).checked_div(replay.bytes).unwrap_or(0);
            let words = format!("{}: {percent} % read, {} rows taken in", stream.name, replay.rows_taken);
            replay.is_unpaced.then_some(words)
        });
        let streams: Vec<String> = streams.collect();
        if streams.is_empty() { "the paced streams have not begun".to_owned() } else { streams.join("; ") }
    }
}

fn check_head(head: &Parts) -> Result<(), Problem> {
    let line = head.method.as_str().len() + head.uri.path_and_query().map_or(0, |path| path.as_str().len());
    let headers = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    if line + headers.sum::<usize>() > HEAD_BYTES_MAX {
        let message = format!("the request's line and headers are larger than {HEAD_BYTES_MAX} bytes");
        return Err(Problem::new(Kind::TooLarge, message).closing());
    }
    Ok(())
}
