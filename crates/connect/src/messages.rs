//! Values of messages as events, and rows as values of messages: JSON, Avro, Protocol Buffers, and a registry of their
//! schemas.
//!
//! ```text
//!   values ─▶ Frame (who wrote it?) ─▶ what its writer's schema means to us ─▶ rows, unreadable ones, passed over
//!                └─ a number that is new ─▶ SchemaRegistry, asked once
//! ```
//! Rules kept here:
//! - what a message means depends on its bytes, its writer's schema and the columns of the stream, and on nothing else:
//!   schemas have numbers for ever, so that a topic that is read once more gives the same events;
//! - a message that cannot be read, and a writer's schema that our columns cannot be read from, set aside the rows of
//!   that message or writer, with the reason, and nothing else;
//! - a registry that is away is waited for: no row is set aside because of it.

/// Messages that are taken together.
pub const MESSAGES_MAX: usize = 16_384;

pub(crate) mod avro;
pub(crate) mod avro_messages;
pub(crate) mod avro_schema;
pub(crate) mod avro_types;
pub(crate) mod decoder;
pub(crate) mod framing;
pub(crate) mod json_messages;
pub(crate) mod protobuf;
pub(crate) mod protobuf_columns;
pub(crate) mod protobuf_messages;
pub(crate) mod read_messages;
pub(crate) mod row_messages;
pub(crate) mod row_schema;
pub(crate) mod schema_registry;
pub(crate) mod schema_report;
pub(crate) mod schema_settings;
pub(crate) mod writers;
