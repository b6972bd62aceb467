//! Streams that read a topic: what the SQL says of it, with what stands where nothing is said.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use asof_definition::{
    Ack, Connector, KafkaStart, LogConnector, LostMessages, MessageFormat, MetadataField, SourceFile, Stream, check,
};

fn stream(columns: &str, options: &str) -> Stream {
    let text = format!(
        "CREATE STREAM payments (id BIGINT NOT NULL, {columns} ts TIMESTAMP NOT NULL, PRIMARY KEY (id),
         WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH (connector = 'kafka', topic = 'payments.v1'{options});"
    );
    let project = check(&[SourceFile { name: "a.sql".to_owned(), text }]).unwrap();
    Stream::clone(&project.streams[0])
}

fn log(stream: &Stream) -> &LogConnector {
    let Connector::Log(log) = &stream.connector else { panic!("a stream that reads a topic has a log") };
    log
}

#[test]
fn where_nothing_is_said_a_topic_is_read_from_its_beginning() {
    let stream = stream("", "");
    let feed = stream.feed().unwrap();
    assert_eq!(feed.topic, "payments.v1");
    assert_eq!((feed.format, feed.start, feed.lost), (MessageFormat::Json, KafkaStart::Earliest, LostMessages::Stop));
    assert!(feed.metadata.is_empty());
    assert_eq!((log(&stream).ack, log(&stream).retention.age_us), (Ack::Topic, None));
}

#[test]
fn options_and_metadata_are_those_of_the_declaration() {
    let columns = "k VARCHAR METADATA FROM 'key', raw VARBINARY METADATA FROM 'key', at TIMESTAMP METADATA FROM 'timestamp' \
                   NOT NULL, h VARCHAR METADATA FROM 'headers', p INTEGER METADATA FROM 'partition', o BIGINT METADATA FROM 'offset',";
    let options =
        ", format = 'json', start = '2026-01-31T12:00:00.5Z', lost_messages = 'skip', ack = 'os', retention = '7 days'";
    let stream = stream(columns, options);
    let feed = stream.feed().unwrap();
    assert_eq!((feed.start, feed.lost), (KafkaStart::At(1_769_860_800_500_000), LostMessages::Skip));
    let metadata: Vec<(usize, MetadataField)> = feed.metadata.iter().map(|one| (one.column, one.field)).collect();
    let expected = [
        (1, MetadataField::Key),
        (2, MetadataField::Key),
        (3, MetadataField::Timestamp),
        (4, MetadataField::Headers),
        (5, MetadataField::Partition),
        (6, MetadataField::Offset),
    ];
    assert_eq!(metadata, expected);
    assert!(stream.columns[3].not_null);
    assert_eq!((log(&stream).ack, log(&stream).retention.age_us), (Ack::Os, Some(7 * 86_400_000_000)));
}

#[test]
fn it_may_begin_with_what_comes() {
    assert_eq!(stream("", ", start = 'latest'").feed().unwrap().start, KafkaStart::Latest);
}
