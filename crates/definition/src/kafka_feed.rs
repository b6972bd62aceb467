//! `connector = 'kafka'`: a topic that feeds the log of a stream.

use arrow::datatypes::{DataType, TimeUnit};

/// The topic that a stream's events come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaFeed {
    /// Its name.
    pub topic: String,
    /// How the value of a message holds an event.
    pub format: MessageFormat,
    /// What stands before the event in the value.
    pub framing: Framing,
    /// A file with the schema that messages are read by: relative to the project folder, or absolute.
    pub schema_file: Option<String>,
    /// The full name of the type of message that is an event of the stream; others are passed over. None: all are.
    pub message: Option<String>,
    /// The subject under which the registry has the topic's schemas; none is that of the topic's values.
    pub subject: Option<String>,
    /// Where partitions are read from that were never read before.
    pub start: KafkaStart,
    /// What happens when the topic no longer has the next message.
    pub lost: LostMessages,
    /// Columns that are no field of the event.
    pub metadata: Vec<MetadataColumn>,
    /// Of a table the column that is true in a version that ends its row.
    pub delete_column: Option<usize>,
    /// Whether a message without a value ends the row of its key: its columns are those of METADATA.
    pub has_tombstones: bool,
}

/// A column `METADATA FROM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataColumn {
    /// Its index in the stream.
    pub column: usize,
    /// What stands in it.
    pub field: MetadataField,
}

/// What a message has beside its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetadataField {
    /// The key: NULL where it has none.
    Key,
    /// When it was made or appended, as the topic says.
    Timestamp,
    /// Names and values, as the text of a JSON object.
    Headers,
    /// The partition of the topic.
    Partition,
    /// The offset in it.
    Offset,
    /// Of a change of a database when it was made there.
    SourceTimestamp,
}

/// The format of a message's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MessageFormat {
    /// One JSON object.
    #[default]
    Json,
    /// A record of Apache Avro 1.12, in its binary encoding.
    Avro,
    /// A message of Protocol Buffers.
    Protobuf,
    /// A change of a row of a database, as Debezium writes it in JSON: with the row before and after it.
    DebeziumJson,
}

/// What stands before the event in a message's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Framing {
    /// Nothing.
    #[default]
    Bare,
    /// As Confluent's serializers write it: a zero byte and the number under which a registry has the writer's schema.
    Registry,
}

/// Where the partitions of a topic are read from at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KafkaStart {
    /// From the first message that there is.
    #[default]
    Earliest,
    /// From what comes after the first start.
    Latest,
    /// From the first message of this timestamp or a later one, in microseconds.
    At(i64),
}

/// What happens when messages that were not read yet are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum LostMessages {
    /// The partition is not read any further, and that is told.
    #[default]
    Stop,
    /// It is read on from the first message that there is, and that is told.
    Skip,
}

impl MetadataField {
    /// All of them.
    pub const ALL: [MetadataField; 6] = [
        MetadataField::Key,
        MetadataField::Timestamp,
        MetadataField::Headers,
        MetadataField::Partition,
        MetadataField::Offset,
        MetadataField::SourceTimestamp,
    ];

    /// The name in `METADATA FROM '…'`.
    pub fn name(self) -> &'static str {
        match self {
            MetadataField::Key => "key",
            MetadataField::Timestamp => "timestamp",
            MetadataField::Headers => "headers",
            MetadataField::Partition => "partition",
            MetadataField::Offset => "offset",
            MetadataField::SourceTimestamp => "source.timestamp",
        }
    }

    /// The field of that name.
    pub(crate) fn from_name(name: &str) -> Option<MetadataField> {
        MetadataField::ALL.into_iter().find(|field| field.name() == name)
    }

    /// The types that a column of it may have, as SQL writes them.
    pub(crate) fn types(self) -> &'static str {
        match self {
            MetadataField::Key => "VARCHAR, VARBINARY, BIGINT or INTEGER",
            MetadataField::Timestamp | MetadataField::SourceTimestamp => "TIMESTAMP",
            MetadataField::Headers => "VARCHAR",
            MetadataField::Partition => "INTEGER or BIGINT",
            MetadataField::Offset => "BIGINT",
        }
    }

    pub(crate) fn takes(self, data_type: &DataType) -> bool {
        match self {
            MetadataField::Key => {
                matches!(data_type, DataType::Utf8 | DataType::Binary | DataType::Int64 | DataType::Int32)
            }
            MetadataField::Timestamp | MetadataField::SourceTimestamp => {
                *data_type == DataType::Timestamp(TimeUnit::Microsecond, None)
            }
            MetadataField::Headers => *data_type == DataType::Utf8,
            MetadataField::Partition => matches!(data_type, DataType::Int32 | DataType::Int64),
            MetadataField::Offset => *data_type == DataType::Int64,
        }
    }
}

impl KafkaFeed {
    /// The subject under which a registry has the schemas of the topic: `orders-value`, unless the stream says
    /// otherwise.
    pub fn subject(&self) -> String {
        self.subject.clone().unwrap_or_else(|| subject_of(&self.topic))
    }

    /// Whether messages cannot be read without asking a registry.
    pub fn needs_registry(&self) -> bool {
        let has_own_schema = self.format == MessageFormat::Protobuf && self.schema_file.is_some();
        self.framing == Framing::Registry && !self.format.is_json() && !has_own_schema
    }
}

/// The subject of a topic's values, where nothing else is said: Confluent's `TopicNameStrategy`.
pub(crate) fn subject_of(topic: &str) -> String {
    format!("{topic}-value")
}

impl MessageFormat {
    /// All of them.
    pub const ALL: [MessageFormat; 4] =
        [MessageFormat::Json, MessageFormat::Avro, MessageFormat::Protobuf, MessageFormat::DebeziumJson];

    /// The name in `format = '…'`.
    pub fn name(self) -> &'static str {
        match self {
            MessageFormat::Json => "json",
            MessageFormat::Avro => "avro",
            MessageFormat::Protobuf => "protobuf",
            MessageFormat::DebeziumJson => "debezium-json",
        }
    }

    /// Whether a value is a text of JSON.
    pub fn is_json(self) -> bool {
        matches!(self, MessageFormat::Json | MessageFormat::DebeziumJson)
    }

    /// The format of that name.
    pub(crate) fn from_name(name: &str) -> Option<MessageFormat> {
        MessageFormat::ALL.into_iter().find(|format| format.name() == name)
    }
}

impl Framing {
    /// All of them.
    pub const ALL: [Framing; 2] = [Framing::Bare, Framing::Registry];

    /// The name in `framing = '…'`.
    pub fn name(self) -> &'static str {
        match self {
            Framing::Bare => "none",
            Framing::Registry => "registry",
        }
    }
}
