//! Events of requests: what becomes a value, what sets a row aside, and what refuses a body whole.
#![allow(clippy::unwrap_used, reason = "tests fail by panic")]

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Date32Array, Decimal128Array, DictionaryArray, Float64Array, Int8Array,
    Int64Array, NullArray, RecordBatch, StringArray, StringViewArray, TimestampMicrosecondArray,
    TimestampNanosecondArray, UInt64Array, new_null_array,
};
use arrow::datatypes::{
    DataType, Decimal128Type, Field, Float64Type, Int8Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType,
};
use arrow::ipc::writer::{FileWriter, StreamWriter};
use asof_connect::{
    BodyForm, BodyLimits, ConnectError, DEAD_RAW_BYTES_MAX, EventBody, EventBodyError, EventFile, Format, Wanted,
    WantedColumn,
};
use asof_definition::{SourceFile, Stream, check};
use bytes::Bytes;
use proptest::prelude::*;

const ROWS: BodyLimits = BodyLimits { rows_max: 100_000 };
/// 2024-01-31T00:00:00Z in microseconds.
const DAY_US: i64 = 1_706_659_200_000_000;

fn stream_with(options: &str) -> Arc<Stream> {
    let text = format!(
        "CREATE STREAM e (id BIGINT, account BIGINT NOT NULL, amount DOUBLE, country VARCHAR, ts TIMESTAMP, \
         WATERMARK FOR ts AS ts){options};"
    );
    let project = check(&[SourceFile { name: "e.sql".to_owned(), text }]).unwrap();
    project.streams[0].clone()
}

fn stream() -> Arc<Stream> {
    stream_with("")
}

fn read(body: impl Into<Bytes>, form: BodyForm) -> Result<EventBody, EventBodyError> {
    EventBody::read(body.into(), form, &stream(), ROWS)
}

fn refusal(body: impl Into<Bytes>, form: BodyForm) -> String {
    read(body, form).unwrap_err().to_string()
}

/// `row: detail` of each unreadable row.
fn unreadable(body: &EventBody) -> Vec<String> {
    let of = |decoded: &asof_connect::Decoded| {
        let first = decoded.first_row as usize;
        decoded.unreadable.iter().map(move |one| format!("{}: {}", first + one.row, one.detail)).collect::<Vec<_>>()
    };
    body.batches().iter().flat_map(of).collect()
}

fn ids(body: &EventBody) -> Vec<Option<i64>> {
    let column = |decoded: &asof_connect::Decoded| {
        decoded.batch.column(0).as_primitive::<Int64Type>().iter().collect::<Vec<_>>()
    };
    body.batches().iter().flat_map(column).collect()
}

fn arrow_body(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref()).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    writer.into_inner().unwrap()
}

fn batch_of(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn times(rows: usize) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values((0..rows).map(|row| DAY_US + row as i64)))
}

fn accounts(rows: usize) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values((0..rows).map(|row| row as i64)))
}

#[test]
fn every_form_gives_the_same_columns_as_a_file() {
    let lines = [
        r#"{"id":1,"account":7,"amount":1.5,"country":"GB","ts":"2024-01-31T00:00:00Z"}"#,
        r#"{"id":2,"Account":8,"amount":-0.0,"ts":1706659200000001,"other":[1,{"a":"]"}]}"#,
        r#"{"id":"x","account":9,"ts":"2024-01-31"}"#,
        r#"{"account":10,"amount":"NaN","country":"Ü\n","ts":"2024-01-31T00:00:00.000003+00:00"}"#,
    ];
    let ndjson = lines.join("\n");
    let array = format!("\u{feff} [\n{}\r\n]\n", lines.join(" ,\t"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("e.jsonl");
    std::fs::write(&path, &ndjson).unwrap();
    let columns = stream().columns.clone().into_iter();
    let columns = columns.map(|column| WantedColumn { name: column.name, data_type: column.data_type }).collect();
    let mut file = EventFile::open(&path, Format::Jsonl, &Wanted { columns, time_unit: None }).unwrap();
    let (decoder, mut expected) = (file.decoder(), Vec::new());
    while let Some(piece) = file.next_piece().unwrap() {
        decoder
            .decode::<ConnectError>(piece, &mut |decoded| {
                expected.push(decoded);
                Ok(())
            })
            .unwrap();
    }
    for (form, body) in [(BodyForm::Ndjson, ndjson), (BodyForm::Json, array)] {
        let found = read(body, form).unwrap();
        assert_eq!(found.rows(), 4);
        assert_eq!(found.batches()[0].batch, expected[0].batch, "{form}");
        assert_eq!(found.batches()[0].unreadable, expected[0].unreadable, "{form}");
        for (row, line) in lines.iter().enumerate() {
            let raw = found.raw(row);
            assert_eq!((raw.text.as_str(), raw.is_cut), (*line, false));
        }
    }
    let arrow = read(arrow_body(&expected[0].batch), BodyForm::Arrow).unwrap();
    assert_eq!(arrow.batches()[0].batch, expected[0].batch);
    assert_eq!(
        arrow.raw(0).text,
        r#"{"id":1,"account":7,"amount":1.5,"country":"GB","ts":"2024-01-31T00:00:00.000000Z"}"#
    );
}

#[test]
fn a_bad_row_never_blocks_the_others() {
    let ndjson = "{\"id\":1}\n\n  \n{\"id\":2\n\"x\"\n{\"id\":3,\"amount\":true}\r\n\u{0}\n{\"id\":4}";
    let body = read(ndjson, BodyForm::Ndjson).unwrap();
    assert_eq!(ids(&body), [Some(1), None, None, None, None, Some(4)]);
    assert_eq!(
        unreadable(&body),
        [
            "1: invalid JSON: EOF while parsing an object at line 1 column 7",
            "2: the row is not a JSON object",
            "3: column `amount`: expected DOUBLE, found `true`",
            "4: the row is not JSON",
        ]
    );
    assert_eq!(body.raw(3).text, r#"{"id":3,"amount":true}"#);
    let array = r#"[{"id":1},{"id":tru},3,{"id":4,"amount":"x"},{"id":5}]"#;
    let body = read(array, BodyForm::Json).unwrap();
    assert_eq!(ids(&body), [Some(1), None, None, None, Some(5)]);
    assert_eq!(unreadable(&body).len(), 3);
    assert_eq!(body.raw(1).text, r#"{"id":tru}"#);
    let mut bytes = b"{\"id\":1}\n{\"country\":\"\xff\"}\n".to_vec();
    bytes.extend(b"{\"id\":3}");
    let body = read(bytes, BodyForm::Ndjson).unwrap();
    assert_eq!(unreadable(&body), ["1: the row is not UTF-8 text"]);
    assert_eq!(body.raw(1).text, "{\"country\":\"\u{fffd}\"}");
}

#[test]
fn bodies_without_rows_are_read() {
    for (body, form) in [("", BodyForm::Ndjson), ("\n \r\n", BodyForm::Ndjson), ("[]", BodyForm::Json)] {
        let body = read(body, form).unwrap();
        assert_eq!((body.rows(), body.batches().len()), (0, 0));
    }
    let empty = arrow_body(&batch_of(vec![("account", accounts(0)), ("ts", times(0))]));
    assert_eq!(read(empty, BodyForm::Arrow).unwrap().rows(), 0);
}

#[test]
fn what_is_not_of_its_form_is_refused_whole() {
    for (body, form, expected) in [
        ("", BodyForm::Json, "the body is not JSON that can be read: it is empty"),
        ("id=1", BodyForm::Json, "the body is not JSON that can be read: expected `{` or `[` at byte 0"),
        ("[{},", BodyForm::Json, "the body is not JSON that can be read: expected a row at byte 4"),
        (
            "{}{}",
            BodyForm::Json,
            "the body is not JSON that can be read: a second object begins at byte 2; hint: objects one after the other are NDJSON, sent as `application/x-ndjson`",
        ),
        ("", BodyForm::Arrow, "the body is not an Arrow IPC stream that can be read: it is empty"),
        (
            "{\"id\":1}",
            BodyForm::Arrow,
            "the body is not an Arrow IPC stream that can be read: expected 1684611707 more bytes at byte 4, found 4",
        ),
        ("\u{0}\u{0}\u{0}\u{0}", BodyForm::Arrow, "the body is not an Arrow IPC stream that can be read: it is empty"),
    ] {
        assert_eq!(refusal(body, form), expected, "{body}");
    }
    let batch = batch_of(vec![("account", accounts(1)), ("ts", times(1))]);
    let mut file = FileWriter::try_new(Vec::new(), batch.schema_ref()).unwrap();
    file.write(&batch).unwrap();
    file.finish().unwrap();
    assert!(
        refusal(file.into_inner().unwrap(), BodyForm::Arrow).contains("it is an Arrow file; hint: send the stream")
    );
    let mut followed = arrow_body(&batch);
    followed.push(0);
    assert!(refusal(followed, BodyForm::Arrow).contains("something follows its end"));
}

#[test]
fn rows_are_limited() {
    let limits = BodyLimits { rows_max: 3 };
    let batch = |rows| arrow_body(&batch_of(vec![("account", accounts(rows)), ("ts", times(rows))]));
    for (form, fits, over) in [
        (BodyForm::Json, b"[{},{},{}]".to_vec(), b"[{},{},{},{}]".to_vec()),
        (BodyForm::Ndjson, b"{}\n{}\n{}\n".to_vec(), b"{}\n{}\n{}\n{}\n".to_vec()),
        (BodyForm::Arrow, batch(3), batch(4)),
    ] {
        assert_eq!(EventBody::read(fits.into(), form, &stream(), limits).unwrap().rows(), 3, "{form}");
        let refused = EventBody::read(over.into(), form, &stream(), limits).unwrap_err();
        assert_eq!(refused, EventBodyError::TooManyRows { rows_max: 3 }, "{form}");
    }
}

#[test]
fn large_bodies_come_in_several_batches() {
    let rows = asof_connect::BATCH_ROWS_MAX + 10;
    let line = |row: usize| format!("{{\"id\":{row},\"account\":1,\"ts\":\"2024-01-31\"}}");
    let lines: Vec<String> = (0..rows).map(line).collect();
    let ids_of = |rows: usize| (0..rows).map(|row| Some(row as i64)).collect::<Vec<_>>();
    let columns = vec![("id", accounts(rows)), ("account", accounts(rows)), ("ts", times(rows))];
    for (form, body) in [
        (BodyForm::Ndjson, lines.join("\n").into_bytes()),
        (BodyForm::Json, format!("[{}]", lines.join(",")).into_bytes()),
        (BodyForm::Arrow, arrow_body(&batch_of(columns))),
    ] {
        let body = read(body, form).unwrap();
        assert_eq!((body.rows(), body.batches().len()), (rows, 2), "{form}");
        assert_eq!(ids(&body), ids_of(rows), "{form}");
        let last = body.raw(rows - 1).text;
        assert!(last.starts_with(&format!("{{\"id\":{},", rows - 1)), "{form}: {last}");
    }
}

#[test]
fn plain_integers_of_another_unit_are_noticed() {
    let seconds = DAY_US / 1_000_000;
    let expected = format!(
        "the plain integers in time column `ts` all fall before 1980 when read as microseconds (the first is \
         `{seconds}`); hint: they look like seconds; declare the stream WITH (timestamp_unit = 's')"
    );
    let line = format!("{{\"account\":1,\"ts\":{seconds}}}");
    let arrow =
        arrow_body(&batch_of(vec![("account", accounts(1)), ("ts", Arc::new(Int64Array::from(vec![seconds])))]));
    assert_eq!(refusal(line.clone(), BodyForm::Ndjson), expected);
    assert_eq!(refusal(format!("[{line}]"), BodyForm::Json), expected);
    assert_eq!(refusal(arrow.clone(), BodyForm::Arrow), expected);
    let declared = stream_with(" WITH (timestamp_unit = 's')");
    for (form, body) in [(BodyForm::Ndjson, line.clone().into_bytes()), (BodyForm::Arrow, arrow)] {
        let body = EventBody::read(body.into(), form, &declared, ROWS).unwrap();
        assert_eq!(body.batches()[0].batch.column(4).as_ref(), times(1).as_ref());
    }
    // One moment from 1980 on among the first thousand is enough, texts do not count, and nothing behind is asked.
    let lines = |before: usize| {
        let mut lines = vec![line.clone(); before];
        lines.insert(0, "{\"ts\":\"1970-01-01\"}".to_owned());
        lines.push(format!("{{\"ts\":{DAY_US}}}"));
        lines.join("\n")
    };
    assert_eq!(read(lines(999), BodyForm::Ndjson).unwrap().rows(), 1_001);
    assert_eq!(refusal(lines(1_000), BodyForm::Ndjson), expected);
}

#[test]
fn raw_text_is_bounded() {
    for (length, is_cut) in [(DEAD_RAW_BYTES_MAX, false), (DEAD_RAW_BYTES_MAX + 1, true)] {
        let frame = r#"{"country":""}"#.len();
        let line = format!("{{\"country\":\"{}\"}}", "x".repeat(length - frame));
        let raw = read(line.clone(), BodyForm::Ndjson).unwrap().raw(0);
        assert_eq!((raw.text.as_str(), raw.is_cut), (&line[..DEAD_RAW_BYTES_MAX], is_cut));
    }
    let wide = format!("{{\"country\":\"{}\"}}", "ü".repeat(DEAD_RAW_BYTES_MAX));
    let raw = read(wide.clone(), BodyForm::Ndjson).unwrap().raw(0);
    assert!(raw.is_cut && wide.starts_with(&raw.text) && raw.text.len() >= DEAD_RAW_BYTES_MAX - 1);
    let invalid = [b"{\"x\":\"".as_slice(), &[0xff; DEAD_RAW_BYTES_MAX], b"\"}"].concat();
    let raw = read(invalid, BodyForm::Ndjson).unwrap().raw(0);
    assert!(raw.is_cut && raw.text.len() <= DEAD_RAW_BYTES_MAX);
    let long: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(100_000)]));
    let body = arrow_body(&batch_of(vec![("account", accounts(1)), ("country", long), ("ts", times(1))]));
    let raw = read(body, BodyForm::Arrow).unwrap().raw(0);
    assert!(raw.is_cut && raw.text.len() == DEAD_RAW_BYTES_MAX);
}

#[test]
fn a_row_beyond_its_bound_is_unreadable() {
    let long = format!("{{\"id\":2,\"country\":\"{}\"}}", "x".repeat(asof_connect::ROW_BYTES_MAX));
    let body = read(format!("{{\"id\":1}}\n{long}\n{{\"id\":3}}"), BodyForm::Ndjson).unwrap();
    assert_eq!(ids(&body), [Some(1), None, Some(3)]);
    assert_eq!(unreadable(&body), ["1: the row is longer than 16 MiB"]);
}

#[test]
fn arrow_columns_are_found_by_name_and_converted() {
    let keys = Int8Array::from(vec![Some(1), None, Some(0)]);
    let countries = DictionaryArray::<Int8Type>::new(keys, Arc::new(StringArray::from(vec!["GB", "DE"])));
    let nanoseconds = TimestampNanosecondArray::from(vec![DAY_US * 1_000 + 1; 3]).with_timezone("Europe/Berlin");
    let body = batch_of(vec![
        ("Country", Arc::new(countries)),
        ("ts", Arc::new(nanoseconds)),
        ("other", Arc::new(BinaryArray::from(vec![b"x".as_slice(); 3]))),
        ("account", Arc::new(UInt64Array::from(vec![1, u64::MAX, 3]))),
        ("amount", Arc::new(arrow::array::Float32Array::from(vec![-0.0, 1.5, f32::NAN]))),
    ]);
    let body = read(arrow_body(&body), BodyForm::Arrow).unwrap();
    let batch = &body.batches()[0].batch;
    assert_eq!(unreadable(&body), ["1: column `account`: expected BIGINT, found `18446744073709551615`"]);
    assert_eq!(batch.column(0).null_count(), 3);
    assert_eq!(batch.column(3).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("DE"), None, Some("GB")]);
    let amounts = batch.column(2).as_primitive::<Float64Type>();
    assert!(amounts.value(0).is_sign_positive() && amounts.is_null(1) && amounts.value(2).is_nan());
    assert_eq!(
        body.raw(0).text,
        r#"{"id":null,"account":1,"amount":0.0,"country":"DE","ts":"2024-01-31T00:00:00.000000Z"}"#
    );
    // An unreadable row is shown as it came.
    assert_eq!(
        body.raw(1).text,
        r#"{"Country":null,"ts":"2024-01-31T00:00:00.000000001Z","account":18446744073709551615,"amount":1.5}"#
    );
}

#[test]
fn arrow_columns_that_cannot_be_read_are_named() {
    let numbers = || -> ArrayRef { Arc::new(Float64Array::from(vec![1.0])) };
    for (columns, expected) in [
        (
            vec![("account", numbers()), ("ts", times(1))],
            "column `account` of the body is DOUBLE, which cannot be read as BIGINT",
        ),
        (vec![("account", accounts(1))], "the body has no column `ts`, which is NOT NULL; hint: it has `account`"),
        (
            vec![("acount", accounts(1)), ("ts", times(1))],
            "the body has no column `account`, which is NOT NULL; hint: did you mean `acount`?",
        ),
        (vec![("ts", times(1)), ("account", accounts(1)), ("ts", times(1))], "the body has two columns named `ts`"),
    ] {
        assert_eq!(refusal(arrow_body(&batch_of(columns)), BodyForm::Arrow), expected);
    }
}

/// Found by fuzzing: the conversion panicked, which was caught and told as damage.
#[test]
fn regression_decimals_of_no_possible_scale_are_named() {
    let fields = vec![
        Field::new("amount", DataType::Decimal128(10, 45), true),
        Field::new("account", DataType::Int64, true),
        Field::new("ts", DataType::Int64, true),
    ];
    let body = arrow_body(&RecordBatch::new_empty(Arc::new(Schema::new(fields))));
    let stream = stream_of_decimals();
    let refused = EventBody::read(body.into(), BodyForm::Arrow, &stream, ROWS).unwrap_err().to_string();
    assert_eq!(refused, "column `amount` of the body is DECIMAL(10,45), which cannot be read as DECIMAL(10,2)");
}

/// Found by fuzzing: the array was passed on as it was, since its type is that of the column.
#[test]
fn regression_decimals_of_too_many_digits_are_unreadable() {
    let amounts = Decimal128Array::from(vec![9_999_999_999, 10_000_000_000, -9_999_999_999, i128::MIN]);
    let amounts: ArrayRef = Arc::new(amounts.with_data_type(DataType::Decimal128(10, 2)));
    let body = arrow_body(&batch_of(vec![("amount", amounts), ("account", accounts(4)), ("ts", times(4))]));
    let body = EventBody::read(body.into(), BodyForm::Arrow, &stream_of_decimals(), ROWS).unwrap();
    assert_eq!(
        unreadable(&body),
        [
            "1: column `amount`: expected DECIMAL(10,2), found `100000000.00`",
            "3: column `amount`: expected DECIMAL(10,2), found `-1701411834604692317316873037158841057.28`",
        ]
    );
    let read = body.batches()[0].batch.column(1).as_primitive::<Decimal128Type>().iter().collect::<Vec<_>>();
    assert_eq!(read, [Some(9_999_999_999), None, Some(-9_999_999_999), None]);
}

fn stream_of_decimals() -> Arc<Stream> {
    let text = "CREATE STREAM e (account BIGINT NOT NULL, amount DECIMAL(10,2), ts TIMESTAMP, WATERMARK FOR ts AS ts);";
    check(&[SourceFile { name: "e.sql".to_owned(), text: text.to_owned() }]).unwrap().streams[0].clone()
}

#[test]
fn arrow_bodies_that_unfold_are_refused() {
    let long = "x".repeat(1 << 20);
    let keys = Int8Array::from(vec![0; 1_000]);
    let dictionary = DictionaryArray::<Int8Type>::new(keys, Arc::new(StringArray::from(vec![long.as_str()])));
    let mut views = arrow::array::StringViewBuilder::new().with_deduplicate_strings();
    for _ in 0..1_000 {
        views.append_value(&long);
    }
    let views: StringViewArray = views.finish();
    for column in [Arc::new(dictionary) as ArrayRef, Arc::new(views)] {
        let body = batch_of(vec![("account", accounts(1_000)), ("ts", times(1_000)), ("country", column)]);
        let body = arrow_body(&body);
        assert!(body.len() < 2 << 20, "{}", body.len());
        assert!(refusal(body, BodyForm::Arrow).contains("its texts unfold to much more than it is"));
    }
    let nulls: ArrayRef = Arc::new(NullArray::new(90_000));
    let body = arrow_body(&batch_of(vec![("account", nulls.clone()), ("ts", nulls)]));
    assert!(refusal(body, BodyForm::Arrow).contains("it announces 90000 rows in"));
    // What an honest sender would write is taken.
    let keys = Int8Array::from_iter_values((0..50_000).map(|row| (row % 100) as i8));
    let names: Vec<String> = (0..100).map(|name| format!("a merchant of a forty letter name, no. {name}")).collect();
    let dictionary = DictionaryArray::<Int8Type>::new(keys, Arc::new(StringArray::from(names)));
    let body = batch_of(vec![("account", accounts(50_000)), ("ts", times(50_000)), ("country", Arc::new(dictionary))]);
    assert_eq!(read(arrow_body(&body), BodyForm::Arrow).unwrap().rows(), 50_000);
}

/// The text of such a time could not be read back: what a dead letter says would be lost.
#[test]
fn regression_times_outside_the_years_0001_to_9999_are_unreadable() {
    let within = [-62_135_596_800_000_000, 253_402_300_799_999_999];
    let beyond = [-62_135_596_800_000_001, 253_402_300_800_000_000, i64::MAX, i64::MIN];
    let times = [within.as_slice(), &beyond].concat();
    let column = TimestampMicrosecondArray::from(times.clone());
    let arrow = arrow_body(&batch_of(vec![("account", accounts(times.len())), ("ts", Arc::new(column))]));
    let lines: Vec<String> = times.iter().map(|us| format!("{{\"account\":1,\"ts\":{us}}}")).collect();
    let found = |number: usize, found: &str| format!("{number}: column `ts`: expected TIMESTAMP, found {found}");
    let arrow = read(arrow, BodyForm::Arrow).unwrap();
    assert_eq!(
        unreadable(&arrow),
        [
            found(2, "`0000-12-31T23:59:59.999999Z`"),
            found(3, "`+10000-01-01T00:00:00.000000Z`"),
            found(4, "`+294247-01-10T04:00:54.775807Z`"),
            found(5, "`-290308-12-21T19:59:05.224192Z`"),
        ]
    );
    let text = read(lines.join("\n"), BodyForm::Ndjson).unwrap();
    let integers: Vec<String> = (2..6).map(|row| found(row, &format!("integer `{}`", times[row]))).collect();
    assert_eq!(unreadable(&text), integers);
    let again = read([arrow.raw(0).text, arrow.raw(1).text].join("\n"), BodyForm::Ndjson).unwrap();
    assert_eq!((again.rows(), unreadable(&again)), (2, Vec::new()));
    let read_back = again.batches()[0].batch.column(4).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(read_back.values().to_vec(), within);
}

#[test]
fn regression_dates_outside_the_years_0001_to_9999_are_unreadable() {
    let text = "CREATE STREAM e (day DATE, ts TIMESTAMP, WATERMARK FOR ts AS ts);".to_owned();
    let stream = check(&[SourceFile { name: "e.sql".to_owned(), text }]).unwrap().streams[0].clone();
    let days = Date32Array::from(vec![-719_162, 2_932_896, -719_163, 2_932_897]);
    let body = arrow_body(&batch_of(vec![("day", Arc::new(days)), ("ts", times(4))]));
    let body = EventBody::read(body.into(), BodyForm::Arrow, &stream, ROWS).unwrap();
    let expected =
        ["2: column `day`: expected DATE, found `0000-12-31`", "3: column `day`: expected DATE, found `+10000-01-01`"];
    assert_eq!(unreadable(&body), expected);
}

#[test]
fn additions_to_dictionaries_are_refused() {
    use arrow::ipc::writer::{DictionaryHandling, IpcWriteOptions};
    let batch = |values: Vec<&str>| {
        let keys = Int8Array::from(vec![values.len() as i8 - 1]);
        let countries = DictionaryArray::<Int8Type>::new(keys, Arc::new(StringArray::from(values)));
        batch_of(vec![("account", accounts(1)), ("ts", times(1)), ("country", Arc::new(countries))])
    };
    let write = |handling| {
        let options = IpcWriteOptions::default().with_dictionary_handling(handling);
        let schema: SchemaRef = batch(vec!["GB"]).schema();
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options).unwrap();
        writer.write(&batch(vec!["GB"])).unwrap();
        writer.write(&batch(vec!["GB", "DE"])).unwrap();
        writer.finish().unwrap();
        writer.into_inner().unwrap()
    };
    let whole = read(write(DictionaryHandling::Resend), BodyForm::Arrow).unwrap();
    assert_eq!(whole.batches()[1].batch.column(3).as_string::<i32>().value(0), "DE");
    assert!(refusal(write(DictionaryHandling::Delta), BodyForm::Arrow).contains("it adds to a dictionary"));
}

#[test]
fn schemas_that_unfold_are_refused_and_honest_ones_are_not() {
    let wide: Vec<Field> = (0..2_000)
        .map(|index| Field::new(format!("c{index}"), DataType::Int64, true))
        .chain([Field::new("account", DataType::Int64, true), Field::new("ts", times(0).data_type().clone(), true)])
        .collect();
    let pairs = (0..50).map(|pair| (format!("key {pair}"), "v".repeat(1_000))).collect();
    let schema = Arc::new(Schema::new_with_metadata(wide, pairs));
    let mut columns: Vec<ArrayRef> = vec![new_null_array(&DataType::Int64, 2); 2_000];
    columns.extend([accounts(2), times(2)]);
    let body = arrow_body(&RecordBatch::try_new(schema, columns).unwrap());
    assert_eq!(read(body, BodyForm::Arrow).unwrap().rows(), 2);
}

#[test]
fn memory_is_told() {
    let line = r#"{"id":1,"account":7,"amount":1.5,"country":"GB","ts":"2024-01-31T00:00:00Z"}"#;
    let lines = vec![line; 1_000].join("\n");
    let told = read(lines.clone(), BodyForm::Ndjson).unwrap().memory_bytes();
    // The body, four columns of 8 bytes and one text a row, places; growth may have doubled any of them.
    let least = lines.len() + 1_000 * (4 * 8 + 2 + 4 + 8);
    assert!((least..3 * least).contains(&told), "{told}, {least}");
    let body = arrow_body(&batch_of(vec![("account", accounts(1_000)), ("ts", times(1_000))]));
    let length = body.len();
    let told = read(body, BodyForm::Arrow).unwrap().memory_bytes();
    assert!((length..6 * length).contains(&told), "{told}, {length}");
}

/// What holds of whatever was read.
fn check_whole(body: &EventBody) {
    let rows: usize = body.batches().iter().map(|decoded| decoded.batch.num_rows()).sum();
    assert_eq!(rows, body.rows());
    let mut first_row = 0;
    for decoded in body.batches() {
        assert_eq!(decoded.first_row, first_row);
        first_row += decoded.batch.num_rows() as u64;
        assert!(decoded.unreadable.is_sorted_by_key(|one| one.row));
    }
    for row in 0..rows {
        assert!(body.raw(row).text.len() <= DEAD_RAW_BYTES_MAX);
    }
}

fn sample_arrow() -> Vec<u8> {
    let keys = Int8Array::from(vec![Some(1), None, Some(0)]);
    let countries = DictionaryArray::<Int8Type>::new(keys, Arc::new(StringArray::from(vec!["GB", "DE"])));
    let texts = StringViewArray::from(vec![Some("a text too long for its view"), None, Some("c")]);
    arrow_body(&batch_of(vec![
        ("id", accounts(3)),
        ("account", accounts(3)),
        ("country", Arc::new(countries)),
        ("note", Arc::new(texts)),
        ("ts", times(3)),
    ]))
}

#[test]
fn every_flipped_bit_and_every_cut_of_an_arrow_body_is_survived() {
    let body = sample_arrow();
    check_whole(&read(body.clone(), BodyForm::Arrow).unwrap());
    for cut in 0..body.len() {
        if let Ok(body) = read(body[..cut].to_vec(), BodyForm::Arrow) {
            check_whole(&body);
        }
    }
    for bit in 0..body.len() * 8 {
        let mut damaged = body.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        if let Ok(body) = read(damaged, BodyForm::Arrow) {
            check_whole(&body);
        }
    }
}

proptest! {
    #[test]
    fn damaged_arrow_bodies_are_survived(
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), prop_oneof![
            Just(vec![0xff; 4]), Just(vec![0xff, 0xff, 0xff, 0x7f]), Just(vec![0; 8]),
            proptest::collection::vec(any::<u8>(), 1..9),
        ]), 1..6),
    ) {
        let mut body = sample_arrow();
        for (place, bytes) in changes {
            let at = place.index(body.len());
            let end = (at + bytes.len()).min(body.len());
            body[at..end].copy_from_slice(&bytes[..end - at]);
        }
        if let Ok(body) = read(body, BodyForm::Arrow) {
            check_whole(&body);
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for form in [BodyForm::Json, BodyForm::Ndjson, BodyForm::Arrow] {
            if let Ok(body) = read(bytes.clone(), form) {
                check_whole(&body);
            }
        }
    }

    #[test]
    fn any_text_with_the_letters_of_json_is_survived(
        text in r#"[\[\]{},:" \n\\a0]{0,60}"#,
        values in proptest::collection::vec(r#"(null|true|1|-0\.5|1e400|99999999999999999999|"x"|"\\ud800"|\[\]|\{\})"#, 0..5),
    ) {
        let names = ["id", "account", "amount", "country", "ts"];
        let fields: Vec<String> = values.iter().zip(names).map(|(value, name)| format!("\"{name}\":{value}")).collect();
        for body in [text.clone(), format!("[{{{}}},{text}]", fields.join(",")), format!("{{{}}}\n{text}", fields.join(","))] {
            for form in [BodyForm::Json, BodyForm::Ndjson] {
                if let Ok(body) = read(body.clone(), form) {
                    check_whole(&body);
                }
            }
        }
    }
}
