//! `connector = 'kafka'`: a topic that feeds the log of a stream.

use arrow::datatypes::{DataType, TimeUnit};

/// The topic that a stream's events come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaFeed {
    /// Its name.
    pub topic: String,
    /// How the value of a message holds an event.
    pub format: MessageFormat,
    /// Where partitions are read from that were never read before.
    pub start: KafkaStart,
    /// What happens when the topic no longer has the next message.
    pub lost: LostMessages,
    /// Columns that are no field of the event.
    pub metadata: Vec<MetadataColumn>,
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
}

/// The format of a message's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MessageFormat {
    /// One JSON object.
    #[default]
    Json,
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
    pub const ALL: [MetadataField; 5] = [
        MetadataField::Key,
        MetadataField::Timestamp,
        MetadataField::Headers,
        MetadataField::Partition,
        MetadataField::Offset,
    ];

    /// The name in `METADATA FROM '…'`.
    pub fn name(self) -> &'static str {
        match self {
            MetadataField::Key => "key",
            MetadataField::Timestamp => "timestamp",
            MetadataField::Headers => "headers",
            MetadataField::Partition => "partition",
            MetadataField::Offset => "offset",
        }
    }

    /// The field of that name.
    pub(crate) fn from_name(name: &str) -> Option<MetadataField> {
        MetadataField::ALL.into_iter().find(|field| field.name() == name)
    }

    /// The types that a column of it may have, as SQL writes them.
    pub(crate) fn types(self) -> &'static str {
        match self {
            MetadataField::Key => "VARCHAR or VARBINARY",
            MetadataField::Timestamp => "TIMESTAMP",
            MetadataField::Headers => "VARCHAR",
            MetadataField::Partition => "INTEGER or BIGINT",
            MetadataField::Offset => "BIGINT",
        }
    }

    pub(crate) fn takes(self, data_type: &DataType) -> bool {
        match self {
            MetadataField::Key => matches!(data_type, DataType::Utf8 | DataType::Binary),
            MetadataField::Timestamp => *data_type == DataType::Timestamp(TimeUnit::Microsecond, None),
            MetadataField::Headers => *data_type == DataType::Utf8,
            MetadataField::Partition => matches!(data_type, DataType::Int32 | DataType::Int64),
            MetadataField::Offset => *data_type == DataType::Int64,
        }
    }
}

impl MessageFormat {
    /// The name in `format = '…'`.
    pub fn name(self) -> &'static str {
        match self {
            MessageFormat::Json => "json",
        }
    }
}
