//! Files of events, spines and outputs: Parquet, JSON lines and CSV to and from Arrow batches of the language's types.
//! Rows of requests are read alike.
//!
//! Knows formats and bytes, and which file a stream declares; knows nothing of windows, and of requests only their rows.
//! A row of a file that cannot be read is reported with its place and reason and never fails its file; a file that cannot
//! be read at all is a [`ConnectError`] that names it. Memory is bounded everywhere: text is cut into pieces of about
//! 1 MiB, Parquet into ranges of at most 131,072 rows, batches hold at most 65,536 rows and a row at most 16 MiB.
//!
//! Read next: [`StreamFile`] and [`EventFile`] (events in), [`SpineFile`] (spines in), [`RowsSeed`] (requests in),
//! [`TableWriter`] (tables out), [`convert`] (types).

mod base64;
mod batch_builder;
mod civil;
mod column;
mod convert;
mod csv_rows;
mod decimal;
mod error;
mod event_file;
mod flusher;
mod format;
mod inference;
mod json_rows;
mod parquet_rows;
mod request_rows;
mod row_cutter;
mod row_text;
mod spine_file;
mod stream_file;
mod table_writer;
mod time_unit;
mod type_name;
mod wanted;

pub use batch_builder::{BATCH_ROWS_MAX, Decoded, RAW_BYTES_MAX, Unreadable};
pub use civil::{instant_text, parse_timestamp, write_instant};
pub use convert::convert;
pub use error::ConnectError;
pub use event_file::{Decoder, EventFile, Piece};
pub use format::Format;
pub use request_rows::{RequestColumns, RequestRows, RowRefusal, RowsSeed};
pub use row_cutter::ROW_BYTES_MAX;
pub use row_text::{write_json_text, write_json_value};
pub use spine_file::SpineFile;
pub use stream_file::{ArrivalTimes, StreamFile, split_arrivals};
pub use table_writer::{ROW_GROUP_ROWS_MAX, TableWriter};
pub use time_unit::TimeUnit;
pub use type_name::type_name;
pub use wanted::{Wanted, WantedColumn};
