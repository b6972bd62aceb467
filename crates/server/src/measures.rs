//! What the server and its project measure of themselves, as Prometheus text. Units stand in the names; labels take few
//! values: streams and views of the project, calls, statuses.
//!
//! The recorder is the server's own, so that two servers in one process do not mix. What the engine counts anyway is
//! fetched when it is asked for; only requests are measured as they come.

use std::sync::OnceLock;
use std::time::Duration;

use asof_pipeline::{BOUNDS_US, Counts, Engine, FeedStatistics, StreamPosition};
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::connections::Connections;
use crate::error::ServeError;
use crate::process::resident_bytes;
use crate::route::Call;
use crate::traffic::Traffic;

const METADATA: Metadata<'static> = Metadata::new("asof", Level::INFO, None);
const DURATION: &str = "asof_http_request_duration_seconds";
/// From a cached look-up to a request that is in trouble.
const DURATION_BUCKETS: [f64; 15] =
    [50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5, 1.0, 5.0];
/// The statuses that are ever answered.
const STATUSES: [u16; 7] = [200, 400, 404, 413, 422, 429, 503];

/// Each metric's name, unit and meaning.
const DESCRIBED: [(&str, &str); 57] = [
    ("asof_stream_events_total", "Events by stream and what became of them."),
    ("asof_stream_watermark_timestamp_seconds", "The stream's watermark, as seconds since 1970."),
    ("asof_stream_newest_event_timestamp_seconds", "The newest used event time, as seconds since 1970."),
    ("asof_stream_bytes_total", "Bytes of events that came in by stream, decoded."),
    ("asof_stream_arrival_lag_seconds", "How long the last used event had been on its way."),
    ("asof_stream_held_rows", "Rows held because a late version of a joined table may change them."),
    ("asof_stream_rejoined_rows_total", "Rows evaluated again because a version of a table came after them."),
    ("asof_table_keys", "Keys with versions that joins look up or groups of rows need."),
    ("asof_table_versions", "Versions that some lookup may still find, delete markers too."),
    ("asof_table_bytes", "Memory of the versions that joins look up or groups of rows need."),
    ("asof_derived_rows_total", "Rows of a derived stream, since it is computed as it is now."),
    ("asof_derived_watermark_timestamp_seconds", "The least watermark of its sources; none while one has none."),
    ("asof_derived_set_aside_total", "Events set aside because an expression of the derived stream failed on them."),
    ("asof_windows_open_entities", "Entities with windows that have not closed yet."),
    ("asof_windows_open_events", "Events in windows that have not closed yet."),
    ("asof_windows_open_bytes", "Memory of windows that have not closed yet."),
    ("asof_windows_too_late_total", "Used events that came when a window which they belong to had closed."),
    ("asof_windows_rows_set_aside_total", "Closed windows that gave no row because an expression failed on them."),
    ("asof_kafka_messages_total", "Messages of a stream's topic that were taken in."),
    (
        "asof_kafka_lag_messages",
        "Offsets of a partition up to its end that are not taken in; none before the end is known.",
    ),
    (
        "asof_kafka_held_back_offsets",
        "Offsets behind the end of a partition that transactions which are open hold back.",
    ),
    ("asof_kafka_next_offset", "The offset from which a partition is read on."),
    ("asof_kafka_assignments_total", "How often partitions of a stream's topic were added."),
    ("asof_kafka_lost_messages_total", "Messages that were gone before they were read, and skipped."),
    ("asof_kafka_passed_over_messages_total", "Messages that were of another type than the stream reads."),
    (
        "asof_kafka_unreadable_schemas",
        "Schemas that messages named since the start and the stream's columns cannot be read by: those messages are set aside.",
    ),
    ("asof_kafka_stopped_partitions", "Partitions that are read no further until the next start."),
    ("asof_kafka_in_trouble", "1 while nothing comes of a stream's topic, or not all that should; else 0."),
    ("asof_sink_rows_total", "Rows of a sink that were committed to its topic."),
    (
        "asof_sink_lag_offsets",
        "Offsets of its logs that a sink has not written yet; none before the cluster was asked.",
    ),
    ("asof_sink_scheduled_entries", "Entries of a sink of a feature view that will be others by time alone."),
    ("asof_sink_set_aside_total", "Rows that an expression of the sink failed on."),
    ("asof_sink_lost_offsets_total", "Offsets of its logs that were gone before a sink had written them."),
    ("asof_sink_reopened_total", "How often a sink's writer was opened anew, after an error."),
    ("asof_sink_in_trouble", "1 while rows of a sink are not written; else 0."),
    ("asof_log_bytes", "Bytes of a stream's log on disk."),
    (
        "asof_dead_letters_left_out_total",
        "Dead letters of views that are not in the log: the disk had no room for them.",
    ),
    ("asof_ingest_queue_bytes", "Bytes of events that wait to be taken in."),
    ("asof_ingest_refused_total", "Batches refused, by reason: queue, state, keys, disk, broken, generation, other."),
    ("asof_state_bytes", "Memory of all views, of versions of tables and of the keys remembered for duplicates."),
    ("asof_state_limit_bytes", "What they may take."),
    ("asof_checkpoint_bytes", "Bytes of the newest checkpoint, with what it builds on."),
    ("asof_checkpoint_age_seconds", "How long ago the newest checkpoint was cut."),
    ("asof_checkpoint_failures_total", "Checkpoints that failed."),
    ("asof_recovery_seconds", "How long it took to bring state back at the start."),
    ("asof_generation", "The number of this writer of the data folder."),
    ("asof_view_entities", "Entities with events that some read may still need."),
    ("asof_view_events", "Events that some read may still need."),
    ("asof_view_state_bytes", "Memory of the view's state."),
    ("asof_view_set_aside_total", "Events set aside because an expression of the view failed on them."),
    ("asof_http_requests_total", "Requests by call and status."),
    (DURATION, "From the request's head to its answer."),
    ("asof_feature_rows_total", "Rows in answered calls for features."),
    ("asof_connections", "Open connections."),
    ("asof_connections_cut_off_total", "Connections cut off because they were over their time."),
    ("asof_connections_turned_away_total", "Connections turned away because there were too many."),
    ("asof_process_resident_memory_bytes", "Resident memory of the process."),
];

/// The server's recorder, and handles of what is measured with every request.
pub(crate) struct Measures {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// By [`Call`].
    calls: [OfCall; Call::ALL.len()],
}

/// What is measured of one call; made when it first comes.
#[derive(Default)]
struct OfCall {
    durations: OnceLock<Histogram>,
    /// By [`STATUSES`].
    requests: [OnceLock<Counter>; STATUSES.len()],
}

impl std::fmt::Debug for Measures {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Measures").finish_non_exhaustive()
    }
}

impl Measures {
    pub(crate) fn new() -> Result<Measures, ServeError> {
        let builder = PrometheusBuilder::new();
        let recorder =
            builder.set_buckets_for_metric(Matcher::Full(DURATION.to_owned()), &DURATION_BUCKETS)?.build_recorder();
        for (name, meaning) in DESCRIBED {
            if name == DURATION {
                recorder.describe_histogram(name.into(), None, meaning.into());
            } else if name.ends_with("_total") {
                recorder.describe_counter(name.into(), None, meaning.into());
            } else {
                recorder.describe_gauge(name.into(), None, meaning.into());
            }
        }
        Ok(Measures { handle: recorder.handle(), recorder, calls: Default::default() })
    }

    /// Counts an answered request.
    pub(crate) fn answered(&self, call: Call, status: u16, took: Duration) {
        let of_call = &self.calls[call as usize];
        let route = || Label::from_static_parts("route", call.template());
        let durations = of_call.durations.get_or_init(|| {
            let key = Key::from_parts(DURATION, vec![route()]);
            self.recorder.register_histogram(&key, &METADATA)
        });
        durations.record(took.as_secs_f64());
        let place = STATUSES.iter().position(|known| *known == status).expect("a status is one of the contract's");
        let requests = of_call.requests[place].get_or_init(|| {
            self.counter("asof_http_requests_total", vec![route(), Label::new("status", status.to_string())])
        });
        requests.increment(1);
    }

    /// Sorts what was measured into its buckets; without it, it would pile up between two scrapes.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// The Prometheus text.
    pub(crate) fn text(&self, engine: &Engine, traffic: &Traffic, connections: &Connections) -> String {
        // Rows that are made did not come in: they are told as rows of a derived stream.
        let published = engine.published();
        let sources = engine.sources().iter().zip(&published.streams);
        for (stream, position) in sources.filter(|(stream, _)| !stream.makes_rows()) {
            self.tell_stream(&stream.name, position);
        }
        for (index, stream) in engine.sources().iter().enumerate() {
            engine.feed_statistics(index).iter().for_each(|feed| self.tell_feed(&stream.name, feed));
        }
        for index in 0..engine.project().sinks.len() {
            self.tell_sink(engine, index);
        }
        if !engine.project().tables.is_empty() {
            self.tell_tables(engine);
        }
        for index in 0..engine.project().derived.len() {
            self.tell_derived(engine, index);
        }
        for (index, view) in engine.project().views.iter().enumerate() {
            let statistics = engine.view_statistics(index);
            let label = || vec![Label::new("view", view.name.clone())];
            self.gauge("asof_view_entities", label()).set(statistics.held.entities as f64);
            self.gauge("asof_view_events", label()).set(statistics.held.events as f64);
            self.gauge("asof_view_state_bytes", label()).set(statistics.held.bytes as f64);
            self.counter("asof_view_set_aside_total", label()).absolute(statistics.set_aside);
        }
        self.counter("asof_feature_rows_total", Vec::new()).absolute(traffic.rows());
        self.gauge("asof_connections", Vec::new()).set(traffic.connections() as f64);
        self.counter("asof_connections_cut_off_total", Vec::new()).absolute(connections.cut_off());
        self.counter("asof_connections_turned_away_total", Vec::new()).absolute(connections.turned_away());
        if let Some(bytes) = resident_bytes() {
            self.gauge("asof_process_resident_memory_bytes", Vec::new()).set(bytes as f64);
        }
        self.gauge("asof_state_bytes", Vec::new()).set(engine.held_bytes() as f64);
        self.gauge("asof_state_limit_bytes", Vec::new()).set(engine.settings().state_bytes_max as f64);
        if engine.stores() {
            self.tell_storage(engine);
        }
        let mut text = self.handle.render();
        if engine.stores() {
            tell_distributions(engine, &mut text);
        }
        text
    }

    fn tell_derived(&self, engine: &Engine, index: usize) {
        let statistics = engine.derived_statistics(index);
        let label = || vec![Label::new("stream", engine.project().derived[index].name.clone())];
        self.counter("asof_derived_rows_total", label()).absolute(statistics.rows);
        self.counter("asof_derived_set_aside_total", label()).absolute(statistics.set_aside);
        if let Some(us) = statistics.watermark_us {
            self.gauge("asof_derived_watermark_timestamp_seconds", label()).set(us as f64 / 1e6);
        }
        if let Some(windows) = engine.windows_statistics(index) {
            self.gauge("asof_windows_open_entities", label()).set(windows.open_entities as f64);
            self.gauge("asof_windows_open_events", label()).set(windows.held.events as f64);
            self.gauge("asof_windows_open_bytes", label()).set(windows.held.bytes as f64);
            self.counter("asof_windows_too_late_total", label()).absolute(windows.too_late);
            self.counter("asof_windows_rows_set_aside_total", label()).absolute(windows.rows_set_aside);
        }
    }

    /// What tables hold, and streams for their late versions.
    fn tell_tables(&self, engine: &Engine) {
        for (index, table) in engine.project().tables.iter().enumerate() {
            let held = engine.table_statistics(index).held;
            let label = || vec![Label::new("table", table.name().to_owned())];
            self.gauge("asof_table_keys", label()).set(held.keys as f64);
            self.gauge("asof_table_versions", label()).set(held.versions as f64);
            self.gauge("asof_table_bytes", label()).set(held.bytes as f64);
        }
        for (index, stream) in engine.project().streams.iter().enumerate() {
            let statistics = engine.stream_statistics(index);
            let label = || vec![Label::new("stream", stream.name.clone())];
            self.gauge("asof_stream_held_rows", label()).set(statistics.held_rows as f64);
            self.counter("asof_stream_rejoined_rows_total", label()).absolute(statistics.position.rejoined_rows);
        }
    }

    /// What there is to tell where events are stored.
    fn tell_storage(&self, engine: &Engine) {
        let seconds = |us: i64| us as f64 / 1e6;
        for storage in engine.storage_statistics() {
            let label = || vec![Label::new("stream", storage.stream.clone())];
            self.gauge("asof_log_bytes", label()).set(storage.log_bytes as f64);
            self.counter("asof_stream_bytes_total", label()).absolute(storage.received_bytes);
            self.counter("asof_dead_letters_left_out_total", label()).absolute(storage.letters_left_out);
        }
        self.gauge("asof_ingest_queue_bytes", Vec::new()).set(engine.intake().waiting_bytes() as f64);
        for (reason, count) in engine.ingest_measures().refused.counts() {
            self.counter("asof_ingest_refused_total", vec![Label::from_static_parts("reason", reason)]).absolute(count);
        }
        let last = engine.checkpoint_measures().last();
        self.gauge("asof_checkpoint_bytes", Vec::new()).set(last.bytes as f64);
        self.counter("asof_checkpoint_failures_total", Vec::new()).absolute(last.failures);
        // Before the first one: since the state was brought back.
        if let Some(since_us) = last.cut_us.or(engine.recovered_at_us()) {
            self.gauge("asof_checkpoint_age_seconds", Vec::new()).set(seconds(engine.wall_us() - since_us));
        }
        self.gauge("asof_recovery_seconds", Vec::new()).set(seconds(engine.recovery_us()));
        self.gauge("asof_generation", Vec::new()).set(engine.generation() as f64);
    }

    fn tell_stream(&self, stream: &str, position: &StreamPosition) {
        let label = || Label::new("stream", stream.to_owned());
        let accounting = &position.accounting;
        for (verdict, count) in [
            ("used", accounting.used),
            ("late", accounting.late),
            ("duplicate", accounting.duplicate),
            ("unreadable", accounting.unreadable),
            ("not_null", accounting.not_null),
            ("check", accounting.check),
            ("future", accounting.future),
        ] {
            let labels = vec![label(), Label::from_static_parts("verdict", verdict)];
            self.counter("asof_stream_events_total", labels).absolute(count);
        }
        let seconds = |us: i64| us as f64 / 1e6;
        if let Some(us) = position.watermark_us {
            self.gauge("asof_stream_watermark_timestamp_seconds", vec![label()]).set(seconds(us));
        }
        if let Some(lag_ms) = position.arrival_lag_ms {
            self.gauge("asof_stream_arrival_lag_seconds", vec![label()]).set(lag_ms as f64 / 1e3);
        }
        if let Some(us) = position.newest_us {
            self.gauge("asof_stream_newest_event_timestamp_seconds", vec![label()]).set(seconds(us));
        }
    }

    fn tell_sink(&self, engine: &Engine, index: usize) {
        let told = engine.sink_statistics(index);
        let label = || vec![Label::new("sink", engine.project().sinks[index].name.clone())];
        self.counter("asof_sink_rows_total", label()).absolute(told.rows);
        self.counter("asof_sink_set_aside_total", label()).absolute(told.set_aside);
        self.counter("asof_sink_lost_offsets_total", label()).absolute(told.lost_offsets);
        self.counter("asof_sink_reopened_total", label()).absolute(told.reopened);
        self.gauge("asof_sink_in_trouble", label()).set(f64::from(u8::from(told.trouble.is_some())));
        if let Some(lag) = told.lag {
            self.gauge("asof_sink_lag_offsets", label()).set(lag as f64);
        }
        if engine.project().sinks[index].rows().is_none() {
            self.gauge("asof_sink_scheduled_entries", label()).set(told.scheduled as f64);
        }
    }

    fn tell_feed(&self, stream: &str, feed: &FeedStatistics) {
        let label = || Label::new("stream", stream.to_owned());
        for one in &feed.partitions {
            let labels = || vec![label(), Label::new("partition", one.partition.to_string())];
            self.gauge("asof_kafka_held_back_offsets", labels()).set(one.held_back as f64);
            self.gauge("asof_kafka_next_offset", labels()).set(one.next_offset as f64);
            if let Some(lag) = one.lag {
                self.gauge("asof_kafka_lag_messages", labels()).set(lag as f64);
            }
        }
        let stopped = if feed.has_stopped {
            feed.partitions.len()
        } else {
            feed.partitions.iter().filter(|one| one.is_stopped).count()
        };
        self.counter("asof_kafka_messages_total", vec![label()]).absolute(feed.messages);
        self.counter("asof_kafka_assignments_total", vec![label()]).absolute(feed.assignments);
        self.counter("asof_kafka_lost_messages_total", vec![label()]).absolute(feed.lost_messages);
        self.counter("asof_kafka_passed_over_messages_total", vec![label()]).absolute(feed.passed_over);
        let unreadable = feed.schemas.iter().filter(|one| one.trouble.is_some());
        self.gauge("asof_kafka_unreadable_schemas", vec![label()]).set(unreadable.count() as f64);
        self.gauge("asof_kafka_stopped_partitions", vec![label()]).set(stopped as f64);
        self.gauge("asof_kafka_in_trouble", vec![label()]).set(f64::from(u8::from(feed.trouble.is_some())));
    }

    fn counter(&self, name: &'static str, labels: Vec<Label>) -> Counter {
        self.recorder.register_counter(&Key::from_parts(name, labels), &METADATA)
    }

    fn gauge(&self, name: &'static str, labels: Vec<Label>) -> Gauge {
        self.recorder.register_gauge(&Key::from_parts(name, labels), &METADATA)
    }
}

/// The histograms that the pipeline keeps itself.
fn tell_distributions(engine: &Engine, text: &mut String) {
    let (ingest, checkpoints) = (engine.ingest_measures(), engine.checkpoint_measures());
    for (name, meaning, distribution) in [
        (
            "asof_ingest_visibility_delay_seconds",
            "From a batch's arrival at the door to visible.",
            &ingest.visibility_delay,
        ),
        (
            "asof_event_to_visible_seconds",
            "From the newest event time of a batch to visible.",
            &ingest.event_to_visible,
        ),
        ("asof_log_sync_seconds", "One sync of a log.", &ingest.log_sync),
        ("asof_checkpoint_duration_seconds", "A checkpoint from its cut to its end.", &checkpoints.duration),
        ("asof_checkpoint_pause_seconds", "How long a checkpoint's cut stopped ingestion.", &checkpoints.pause),
    ] {
        tell_distribution(name, meaning, "", &distribution.counts(), text);
    }
    for (index, sink) in engine.project().sinks.iter().enumerate() {
        let label = format!("sink=\"{}\"", sink.name);
        let counts = engine.sink_commits(index).counts();
        tell_distribution(
            "asof_sink_commit_seconds",
            "A commit of a sink from its first row to its end.",
            &label,
            &counts,
            text,
        );
    }
}

fn tell_distribution(name: &str, meaning: &str, label: &str, counts: &Counts, text: &mut String) {
    let all = counts.up_to.last().copied().unwrap_or(0);
    let (beside, alone) = match label {
        "" => (String::new(), String::new()),
        label => (format!("{label},"), format!("{{{label}}}")),
    };
    if !text.contains(&format!("# TYPE {name} ")) {
        text.push_str(&format!("# HELP {name} {meaning}\n# TYPE {name} histogram\n"));
    }
    for (bound_us, count) in BOUNDS_US.iter().zip(&counts.up_to) {
        text.push_str(&format!("{name}_bucket{{{beside}le=\"{}\"}} {count}\n", *bound_us as f64 / 1e6));
    }
    text.push_str(&format!("{name}_bucket{{{beside}le=\"+Inf\"}} {all}\n"));
    text.push_str(&format!("{name}_sum{alone} {}\n{name}_count{alone} {all}\n\n", counts.sum_us as f64 / 1e6));
}
