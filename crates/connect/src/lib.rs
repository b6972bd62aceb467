//! Events, spines and outputs to and from Arrow batches of the language's types: files (Parquet, JSON lines, CSV), bodies of
//! requests (JSON, NDJSON, Arrow), and the batches that the log stores.
//!
//! Knows formats and bytes, and which file or log a stream declares; knows nothing of windows, and of requests only their
//! rows. A row that cannot be read is reported with its place and reason and never fails its file or body; what cannot be
//! read at all is a [`ConnectError`] or an [`EventBodyError`] that names it. Memory is bounded everywhere: text is cut into
//! pieces of about 1 MiB, Parquet into ranges of at most 131,072 rows, batches hold at most 65,536 rows and a row at most
//! 16 MiB; a body and a stored batch take a small multiple of their bytes.
//!
//! Read next: [`StreamFile`] and [`EventFile`] (events in), [`EventBody`] (events of requests in), [`SpineFile`] (spines in),
//! [`RowsSeed`] (rows of reads in), [`StoredBatch`] (to and from the log), [`StoredStream`] and [`StoredEvents`] (the log and
//! its Parquet), [`TableWriter`] (tables out), [`convert`] (types).

mod arrow_body;
mod arrow_stream;
mod base64;
mod batch_builder;
mod byte_reader;
mod civil;
mod column;
mod convert;
mod csv_rows;
mod data_folder;
mod decimal;
mod disk_chunks;
mod error;
mod event_body;
mod event_body_error;
mod event_file;
mod flusher;
mod format;
mod history_checksum;
mod history_file;
mod inference;
mod json_body;
mod json_elements;
mod json_rows;
mod kafka;
mod messages;
mod origin;
mod parquet_rows;
mod request_rows;
mod row_cutter;
mod row_text;
mod secret;
mod spine_file;
mod stored_batch;
mod stored_columns;
mod stored_events;
mod stored_stream;
mod stream_file;
mod table_writer;
mod time_unit;
mod typed_rows;
mod verdict_counts;
mod wanted;

pub use batch_builder::{BATCH_ROWS_MAX, Decoded, RAW_BYTES_MAX, Unreadable};
pub use civil::{instant_text, parse_timestamp, write_instant};
pub use convert::convert;
pub use data_folder::{HistoryPlace, folder_name, history_files, history_folder, history_offsets, stream_folder};
pub use error::ConnectError;
pub use event_body::{BodyLimits, DEAD_RAW_BYTES_MAX, EventBody, RawRow};
pub use event_body_error::{BodyForm, EventBodyError};
pub use event_file::{Decoder, EventFile, Piece};
pub use format::Format;
pub use history_file::{HISTORY_SYNC_SITES, WrittenHistory, write_history_file};
pub use kafka::held_back::HeldBack;
pub use kafka::message_batch::MESSAGES_BYTES_MAX;
pub use kafka::progress::{EntriesAsOf, Progress};
pub use kafka::settings::{KafkaSettings, SaslMechanism, Security};
pub use kafka::topic_reader::{PartitionEnd, Polled, TopicReader, TopicWatch};
pub use kafka::topic_writer::{TopicWriter, WriteTrouble, cut_off, writer_name};
pub use kafka::trouble::KafkaTrouble;
pub use messages::MESSAGES_MAX;
pub use messages::decoder::{MessageDecoder, SchemaError, TakeTrouble};
pub use messages::row_messages::{RowMessage, RowMessages};
pub use messages::schema_registry::RegistryTrouble;
pub use messages::schema_report::{AbsentColumn, SchemaReport};
pub use messages::schema_settings::{RegistrySettings, SchemaSettings};
pub use messages::writers::WriterSchema;
pub use origin::{Origin, topic_print};
pub use request_rows::{RequestColumns, RequestRows, RowRefusal, RowsSeed};
pub use row_cutter::ROW_BYTES_MAX;
pub use row_text::{write_json_text, write_json_value};
pub use secret::Secret;
pub use spine_file::SpineFile;
pub use stored_batch::{DeadLetter, ProducerBatch, STORED_BATCH_VERSION, StoredBatch, StoredHead, StoredVerdict};
pub use stored_events::{StoredEvents, UsedEvents};
pub use stored_stream::{StoredFrame, StoredStream};
pub use stream_file::{ArrivalTimes, StreamFile, split_arrivals};
pub use table_writer::{ROW_GROUP_ROWS_MAX, TableWriter};
pub use time_unit::TimeUnit;
pub use verdict_counts::VerdictCounts;
pub use wanted::{Wanted, WantedColumn};
