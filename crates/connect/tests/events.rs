//! Events of the three formats: what becomes a value, what makes a row unreadable, and where pieces are cut.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail by panic and print what they measure")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float32Array, Float64Array, Int32Array, Int64Array, LargeStringArray,
    RecordBatch, StringArray, TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimeUnit as ArrowTimeUnit};
use arrow::util::display::array_value_to_string;
use asof_connect::{ConnectError, Decoded, EventFile, Format, TableWriter, TimeUnit, Wanted, WantedColumn};
use asof_expression::type_name;

const TIMESTAMP: DataType = DataType::Timestamp(ArrowTimeUnit::Microsecond, None);

fn wanted(columns: &[(&str, DataType)], time_unit: Option<TimeUnit>) -> Wanted {
    let columns =
        columns.iter().map(|(name, data_type)| WantedColumn { name: (*name).into(), data_type: data_type.clone() });
    Wanted { columns: columns.collect(), time_unit }
}

fn decode_all(path: &Path, wanted: &Wanted) -> Result<Vec<Decoded>, ConnectError> {
    let mut file = EventFile::open(path, Format::from_path(path)?, wanted)?;
    let decoder = file.decoder();
    let (mut all, mut next_row, mut bytes) = (Vec::new(), 0, 0);
    while let Some(piece) = file.next_piece()? {
        assert_eq!(piece.first_row, next_row);
        let rows = piece.rows;
        bytes += piece.bytes;
        decoder.decode::<ConnectError>(piece, &mut |decoded| {
            assert_eq!(decoded.first_row, next_row);
            assert!(decoded.batch.num_rows() <= asof_connect::BATCH_ROWS_MAX);
            next_row += decoded.batch.num_rows() as u64;
            all.push(decoded);
            Ok(())
        })?;
        assert_eq!(next_row - all.last().map_or(0, |_| next_row - rows), rows);
    }
    assert!(bytes <= file.size_bytes());
    Ok(all)
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn parquet(&self, columns: Vec<(&str, ArrayRef)>) -> PathBuf {
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
                .unwrap();
        let path = self.0.path().join("events.parquet");
        let writer = TableWriter::create(&path, Format::Parquet, batch.schema()).unwrap();
        writer.append(&[batch]).unwrap();
        writer.finish().unwrap();
        path
    }

    /// A message without the folder's own name.
    fn words(&self, error: &ConnectError) -> String {
        error.to_string().replace(self.0.path().to_str().unwrap(), "…")
    }
}

/// Column 0 as texts, `∅` for NULL; unreadable rows as `! detail`.
fn shown(decoded: &[Decoded]) -> Vec<String> {
    let mut texts = Vec::new();
    for one in decoded {
        for row in 0..one.batch.num_rows() {
            let column = one.batch.column(0);
            texts.push(match one.unreadable.iter().find(|unreadable| unreadable.row == row) {
                Some(unreadable) => {
                    assert!(one.batch.columns().iter().all(|column| column.is_null(row)), "unreadable rows are NULL");
                    format!("! {}", unreadable.detail)
                }
                None if column.is_null(row) => "∅".to_owned(),
                None => array_value_to_string(column, row).unwrap(),
            });
        }
    }
    texts
}

fn check_json(data_type: DataType, cases: &[(&str, &str)]) {
    let folder = Folder::new();
    let lines: String = cases.iter().map(|(raw, _)| format!("{{\"x\":{raw}}}\n")).collect();
    let path = folder.file("e.jsonl", lines);
    let shown = shown(&decode_all(&path, &wanted(&[("x", data_type.clone())], Some(TimeUnit::Microsecond))).unwrap());
    for ((raw, expected), found) in cases.iter().zip(&shown) {
        let expected = match *expected {
            "!" => format!("! column `x`: expected {}, found", type_name(&data_type)),
            value => value.to_owned(),
        };
        let agrees = if expected.starts_with('!') { found.starts_with(&expected) } else { *found == expected };
        assert!(agrees, "{data_type} from {raw}: expected {expected}, found {found}");
    }
    assert_eq!(shown.len(), cases.len());
}

#[test]
fn json_values_become_values_of_their_type_or_make_the_row_unreadable() {
    check_json(
        DataType::Int64,
        &[
            ("1", "1"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("9223372036854775808", "!"),
            ("1.0", "!"),
            ("\"1\"", "!"),
            ("true", "!"),
            ("null", "∅"),
            ("-0", "0"),
            ("-0.0", "!"),
            ("1e3", "!"),
            ("[1]", "!"),
            ("{}", "!"),
            ("123456789012345678901234567890", "!"),
        ],
    );
    check_json(DataType::Int16, &[("32767", "32767"), ("32768", "!"), ("-32768", "-32768"), ("-32769", "!")]);
    check_json(DataType::Int32, &[("2147483647", "2147483647"), ("2147483648", "!")]);
    check_json(
        DataType::Float64,
        &[
            ("1", "1.0"),
            ("0.1", "0.1"),
            ("\"NaN\"", "NaN"),
            ("\"Infinity\"", "inf"),
            ("\"-Infinity\"", "-inf"),
            ("\"nan\"", "!"),
            ("\"1\"", "!"),
            ("-0.0", "0.0"),
            ("-0", "0.0"),
            ("1e308", "1e308"),
            ("false", "!"),
            ("123456789012345678901234567890", "1.2345678901234568e29"),
        ],
    );
    check_json(
        DataType::Float32,
        &[("0.1", "0.1"), ("3.5e38", "inf"), ("16777217", "16777216.0"), ("\"NaN\"", "NaN"), ("-0.0", "0.0")],
    );
    check_json(
        DataType::Decimal128(5, 2),
        &[
            ("1", "1.00"),
            ("\"1.25\"", "1.25"),
            ("1.25", "!"),
            ("\"1.255\"", "!"),
            ("\"1.250\"", "1.25"),
            ("1000", "!"),
            ("\"x\"", "!"),
        ],
    );
    check_json(
        DataType::Decimal128(38, 0),
        &[("12345678901234567890123456789012345678", "12345678901234567890123456789012345678")],
    );
    check_json(DataType::Boolean, &[("true", "true"), ("1", "!"), ("\"true\"", "!")]);
    check_json(
        DataType::Utf8,
        &[("\"a\"", "a"), ("\"\\u00e9\\n\"", "é\n"), ("1", "!"), ("\"\"", ""), ("\"\\ud800\"", "!")],
    );
    check_json(DataType::Binary, &[("\"Zm9v\"", "666f6f"), ("\"Zm9\"", "!"), ("1", "!")]);
    check_json(DataType::Date32, &[("\"2024-02-29\"", "2024-02-29"), ("\"2023-02-29\"", "!"), ("19000", "!")]);
    check_json(
        TIMESTAMP,
        &[
            ("\"2024-01-01T00:00:00Z\"", "2024-01-01T00:00:00"),
            ("\"2024-01-01 01:00:00.5+01:00\"", "2024-01-01T00:00:00.500"),
            ("\"1969-12-31T23:59:59.9999999Z\"", "1969-12-31T23:59:59.999999"),
            ("1700000000000000", "2023-11-14T22:13:20"),
            ("1.5", "!"),
            ("\"yesterday\"", "!"),
            ("\"10000-01-01\"", "!"),
            ("92233720368547758070", "!"),
        ],
    );
}

#[test]
fn fields_match_exactly_else_by_case_if_unique_and_the_last_of_equal_names_wins() {
    let folder = Folder::new();
    for (line, expected) in [
        ("{\"Amount\":1}", "1"),
        ("{\"Amount\":1,\"amount\":2}", "2"),
        ("{\"amount\":2,\"Amount\":1}", "2"),
        ("{\"Amount\":1,\"AMOUNT\":2}", "∅"),
        ("{\"Amount\":1,\"Amount\":2}", "2"),
        ("{\"amount\":\"bad\",\"amount\":2}", "2"),
        ("{\"Amount\":\"bad\",\"amount\":2}", "2"),
        ("{\"amount\":2,\"amount\":null}", "∅"),
        ("{\"other\":{\"amount\":[5]},\"x\":1e999}", "∅"),
        ("{}", "∅"),
    ] {
        let path = folder.file("e.jsonl", line);
        let decoded = decode_all(&path, &wanted(&[("amount", DataType::Int64)], None)).unwrap();
        assert_eq!(shown(&decoded), [expected], "{line}");
    }
    let path = folder.file("e.jsonl", "{\"a\":1}\n{\"a\":1,\"A\":2}\n");
    let both = wanted(&[("a", DataType::Int64), ("A", DataType::Int64)], None);
    let decoded = decode_all(&path, &both).unwrap();
    let values = |column: usize| decoded[0].batch.column(column).as_primitive::<Int64Type>().values().to_vec();
    assert_eq!((values(0), values(1)), (vec![1, 1], vec![1, 2]));
}

#[test]
fn lines_that_are_no_objects_are_unreadable_rows_and_blank_lines_are_none() {
    let folder = Folder::new();
    let content =
        b"\xef\xbb\xbf{\"x\":1}\r\n\n  \n[1]\nnope\n{\"x\":2} 3\n{\"x\":\"\xff\"}\n{\"x\":1\n\"t\"\n{\"x\":4}";
    let path = folder.file("e.jsonl", content);
    let decoded = decode_all(&path, &wanted(&[("x", DataType::Int64)], None)).unwrap();
    let shown = shown(&decoded);
    let starts = [
        "1",
        "! the row is not a JSON object",
        "! the row is not JSON",
        "! invalid JSON: trailing characters",
        "! the row is not UTF-8 text",
        "! invalid JSON: EOF",
        "! the row is not a JSON object",
        "4",
    ];
    assert_eq!(shown.len(), starts.len(), "{shown:?}");
    for (found, start) in shown.iter().zip(starts) {
        assert!(found.starts_with(start), "{found} / {start}");
    }
    assert_eq!(decoded[0].unreadable[0].raw, "[1]");
}

#[test]
fn rows_longer_than_the_bound_are_unreadable_and_the_next_ones_are_read() {
    let folder = Folder::new();
    let long = "y".repeat(asof_connect::ROW_BYTES_MAX + 5);
    let columns = wanted(&[("x", DataType::Int64)], None);
    for (name, content) in [
        ("e.jsonl", format!("{{\"x\":1}}\n{{\"x\":\"{long}\"}}\n{{\"x\":2}}\n")),
        ("e.csv", format!("x\n1\n\"{long}\n\n{long}\"\n2\n")),
    ] {
        let path = folder.file(name, content);
        let decoded = decode_all(&path, &columns).unwrap();
        let shown = shown(&decoded);
        assert_eq!(shown[..2], ["1", "! the row is longer than 16 MiB"], "{name}");
        assert_eq!(shown.last().unwrap(), "2", "{name}");
        let unreadable = decoded.iter().flat_map(|one| &one.unreadable);
        assert!(unreadable.clone().count() >= 1);
        assert!(unreadable.clone().all(|one| one.raw.len() <= asof_connect::RAW_BYTES_MAX));
    }
}

#[test]
fn csv_fields_become_values_of_their_type() {
    let folder = Folder::new();
    let columns = wanted(
        &[
            ("id", DataType::Int64),
            ("amount", DataType::Float64),
            ("name", DataType::Utf8),
            ("ts", TIMESTAMP),
            ("gone", DataType::Date32),
        ],
        Some(TimeUnit::Second),
    );
    let content = "\u{feff}ID,name,amount,ts\r\n1,\"a \"\"b\"\",\n c\",1.5,1700000000\r\n\r\n2,,,2024-01-01T00:00:00Z\r\nx,a,1,0\r\n3,a,1\r\n\"4\",\"\",-0.0,\"\"\r\n5,\"q\"z,1,1\r\n";
    let path = folder.file("e.csv", content);
    let file = EventFile::open(&path, Format::Csv, &columns).unwrap();
    assert_eq!(file.absent_columns(), ["gone"]);
    assert_eq!(
        folder.words(&file.missing_column("amout")),
        "`…/e.csv` has no column `amout`; hint: did you mean `amount`?"
    );
    let decoded = decode_all(&path, &columns).unwrap();
    assert_eq!(
        shown(&decoded),
        [
            "1",
            "2",
            "! column `id`: expected BIGINT, found text `x`",
            "! expected 4 fields as in the header, found 3",
            "4",
            "! text follows a closing quote",
        ]
    );
    let batch = &decoded[0].batch;
    assert_eq!(batch.column(2).as_string::<i32>().value(0), "a \"b\",\n c");
    assert!(batch.column(2).is_null(1) && batch.column(2).is_valid(4));
    assert_eq!(batch.column(1).as_primitive::<Float64Type>().value(4).to_bits(), 0.0_f64.to_bits());
    assert_eq!(array_value_to_string(batch.column(3), 0).unwrap(), "2023-11-14T22:13:20");
    assert!(batch.column(3).is_null(4) && batch.column(4).null_count() == 6);
}

#[test]
fn large_texts_are_cut_into_pieces_at_row_ends() {
    let folder = Folder::new();
    let rows = 200_000;
    let lines: String = (0..rows)
        .map(|row| format!("{{\"x\":{row},\"pad\":\"a\\n,\\\"b\"}}\n{}", if row % 3 == 0 { "\n" } else { "" }))
        .collect();
    let records: String = (0..rows).map(|row| format!("{row},\"a\n\"\"{}b,\"\n", "\n".repeat(row % 4))).collect();
    for (name, content) in [("e.jsonl", lines), ("e.csv", format!("x,pad\n{records}"))] {
        let path = folder.file(name, content);
        let decoded = decode_all(&path, &wanted(&[("x", DataType::Int64)], None)).unwrap();
        let values: Vec<i64> =
            decoded.iter().flat_map(|one| one.batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
        assert!(values.iter().copied().eq(0..rows as i64), "{name}");
        assert!(decoded.len() > 2, "{name}");
    }
    let path = folder.file("short.jsonl", "{}\n".repeat(300_000));
    let decoded = decode_all(&path, &wanted(&[("x", DataType::Int64)], None)).unwrap();
    assert_eq!(decoded.iter().map(|one| one.batch.num_rows()).sum::<usize>(), 300_000);
}

#[test]
fn parquet_columns_convert_by_value_or_are_refused_by_type() {
    let folder = Folder::new();
    let cases: Vec<(ArrayRef, DataType, Vec<&str>)> = vec![
        (
            Arc::new(Int64Array::from(vec![Some(1), None, Some(1 << 40)])),
            DataType::Int32,
            vec!["1", "∅", "! column `x`: expected INTEGER, found `1099511627776`"],
        ),
        (Arc::new(Int32Array::from(vec![1, -2])), DataType::Int64, vec!["1", "-2"]),
        (
            Arc::new(UInt64Array::from(vec![1, u64::MAX])),
            DataType::Int64,
            vec!["1", "! column `x`: expected BIGINT, found `18446744073709551615`"],
        ),
        (Arc::new(UInt64Array::from(vec![u64::MAX])), DataType::Decimal128(20, 0), vec!["18446744073709551615"]),
        (Arc::new(Float32Array::from(vec![0.1, -0.0])), DataType::Float64, vec!["0.10000000149011612", "0.0"]),
        (Arc::new(Float64Array::from(vec![0.1, 1e300])), DataType::Float32, vec!["0.1", "inf"]),
        (
            Arc::new(Float64Array::from(vec![-0.0, f64::from_bits(0xfff8_0000_0000_0001)])),
            DataType::Float64,
            vec!["0.0", "NaN"],
        ),
        (
            Arc::new(Decimal128Array::from(vec![125, 1250]).with_precision_and_scale(10, 3).unwrap()),
            DataType::Decimal128(5, 2),
            vec!["! column `x`: expected DECIMAL(5,2), found `0.125`", "1.25"],
        ),
        (Arc::new(LargeStringArray::from(vec![Some("a"), None])), DataType::Utf8, vec!["a", "∅"]),
        (
            Arc::new(StringArray::from(vec!["2024-01-01", "soon"])),
            TIMESTAMP,
            vec!["2024-01-01T00:00:00", "! column `x`: expected TIMESTAMP, found `soon`"],
        ),
        (
            Arc::new(TimestampNanosecondArray::from(vec![-1, 1_999])),
            TIMESTAMP,
            vec!["1969-12-31T23:59:59.999999", "1970-01-01T00:00:00.000001"],
        ),
        (
            Arc::new(TimestampMillisecondArray::from(vec![0, i64::MAX]).with_timezone("Europe/Berlin")),
            TIMESTAMP,
            vec!["1970-01-01T00:00:00", "! column `x`: expected TIMESTAMP, found `+292278994-08-17T07:12:55.807000Z`"],
        ),
        (
            Arc::new(Int64Array::from(vec![1_700_000_000, i64::MAX])),
            TIMESTAMP,
            vec!["2023-11-14T22:13:20", "! column `x`: expected TIMESTAMP, found `9223372036854775807`"],
        ),
    ];
    for (array, declared, expected) in cases {
        let found_type = array.data_type().clone();
        let path = folder.parquet(vec![("unread", Arc::new(StringArray::from(vec!["z"; array.len()]))), ("x", array)]);
        let decoded = decode_all(&path, &wanted(&[("x", declared.clone())], Some(TimeUnit::Second))).unwrap();
        let shown = shown(&decoded);
        assert_eq!(shown[..expected.len()], expected, "{found_type} as {declared}");
    }
    let path = folder
        .parquet(vec![("x", Arc::new(Int64Array::from(vec![1 << 40]))), ("t", Arc::new(StringArray::from(vec!["é"])))]);
    let decoded = decode_all(&path, &wanted(&[("x", DataType::Int32), ("t", DataType::Utf8)], None)).unwrap();
    assert_eq!(decoded[0].unreadable[0].raw, "{\"x\":1099511627776,\"t\":\"é\"}");
    let path = folder.parquet(vec![("x", Arc::new(StringArray::from(vec!["1"])))]);
    let refused = decode_all(&path, &wanted(&[("X", DataType::Int64)], None)).unwrap_err();
    assert_eq!(folder.words(&refused), "column `X` of `…/events.parquet` is VARCHAR, which cannot be read as BIGINT");
}

#[test]
fn parquet_ranges_cover_large_row_groups_in_order() {
    let folder = Folder::new();
    let rows = 300_001;
    let values = Int64Array::from_iter((0..rows).map(|row| (row % 7 != 0).then_some(row)));
    let texts = StringArray::from_iter_values((0..rows).map(|row| format!("t{}", row % 1000)));
    let path = folder.parquet(vec![("x", Arc::new(values)), ("t", Arc::new(texts))]);
    let columns = wanted(&[("t", DataType::Utf8), ("x", DataType::Int64), ("none", DataType::Boolean)], None);
    let file = EventFile::open(&path, Format::Parquet, &columns).unwrap();
    assert_eq!((file.rows(), file.absent_columns()), (Some(rows as u64), vec!["none".to_owned()]));
    let decoded = decode_all(&path, &columns).unwrap();
    let mut row = 0;
    for one in &decoded {
        let (texts, values) = (one.batch.column(0).as_string::<i32>(), one.batch.column(1).as_primitive::<Int64Type>());
        for at in 0..one.batch.num_rows() {
            assert_eq!(texts.value(at), format!("t{}", row % 1000));
            assert_eq!(values.is_valid(at).then(|| values.value(at)), (row % 7 != 0).then_some(row));
            row += 1;
        }
    }
    assert_eq!(row, rows);
}

#[test]
fn plain_integers_before_1980_suggest_their_unit() {
    let folder = Folder::new();
    let columns = wanted(&[("ts", TIMESTAMP)], None);
    let hint = "the plain integers in time column `ts` of `…/e.EXT` all fall before 1980 when read as microseconds (the first is `1700000000`); hint: they look like seconds; set `timestamp_unit = 's'` (`--time-unit s` for a spine)";
    let parquet = folder.parquet(vec![("ts", Arc::new(Int64Array::from(vec![None, Some(1_700_000_000)])))]);
    let jsonl = folder.file("e.jsonl", "{\"ts\":null}\n{\"ts\":1700000000}\n{\"ts\":\"2024-01-01\"}\n");
    let csv = folder.file("e.csv", "ts\n1700000000\n");
    for path in [parquet, jsonl, csv] {
        let words = folder.words(&decode_all(&path, &columns).unwrap_err()).replace("events.", "e.");
        assert_eq!(words, hint.replace("EXT", path.extension().unwrap().to_str().unwrap()));
        decode_all(&path, &wanted(&[("ts", TIMESTAMP)], Some(TimeUnit::Second))).unwrap();
    }
    let texts = folder.file("e.jsonl", "{\"ts\":\"1970-01-01\"}\n");
    decode_all(&texts, &columns).unwrap();
}

#[test]
fn absurd_instants_are_values_or_unreadable_but_never_a_panic() {
    let folder = Folder::new();
    for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
        let path = folder.file("e.jsonl", format!("{{\"x\":{}}}\n{{\"x\":{}}}\n", i64::MIN, i64::MAX));
        let decoded = decode_all(&path, &wanted(&[("x", TIMESTAMP)], Some(unit))).unwrap();
        // 64 bits of nanoseconds reach from 1677 to 2262; those of microseconds beyond the years 0001 to 9999.
        let unreadable = unit != TimeUnit::Nanosecond;
        assert_eq!(decoded[0].unreadable.len(), if unreadable { 2 } else { 0 }, "{unit}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named_with_what_was_found() {
    let folder = Folder::new();
    let columns = wanted(&[("x", DataType::Int64)], None);
    let parquet = folder.parquet(vec![("x", Arc::new(Int64Array::from_iter_values(0..100_000)))]);
    let whole = std::fs::read(&parquet).unwrap();
    let mut garbled = whole.clone();
    garbled[4..whole.len() / 2].fill(0xa5);
    std::fs::create_dir(folder.0.path().join("d.csv")).unwrap();
    let cases: [(&str, &[u8], &str); 7] = [
        ("empty.csv", b"", "`…/empty.csv` is empty"),
        (
            "garbage.parquet",
            &[7; 5_000],
            "`…/garbage.parquet` is not a readable Parquet file: Parquet error: Invalid Parquet file",
        ),
        ("cut.parquet", &whole[..whole.len() / 2], "`…/cut.parquet` is not a readable Parquet file: Parquet error"),
        ("tail.parquet", &whole[whole.len() - 400..], "`…/tail.parquet` is not a readable Parquet file"),
        ("garbled.parquet", &garbled, "`…/garbled.parquet` is not a readable Parquet file"),
        ("blank.csv", b"\n \n", "`…/blank.csv` is not a readable CSV file: no header line"),
        ("twice.csv", b"x,x\n1,2\n", "`…/twice.csv` has two columns named `x`"),
    ];
    for (name, content, expected) in cases {
        let path = folder.file(name, content);
        let words = folder.words(&decode_all(&path, &columns).unwrap_err());
        assert!(words.starts_with(expected), "{words}");
    }
    let path = folder.0.path().join("d.csv");
    assert_eq!(folder.words(&decode_all(&path, &columns).unwrap_err()), "`…/d.csv` is a folder, not a file");
    let path = folder.0.path().join("missing.jsonl");
    let words = folder.words(&decode_all(&path, &columns).unwrap_err());
    assert!(
        words.starts_with("cannot open `…/missing.jsonl`: No such file or directory (os error 2); hint: "),
        "{words}"
    );
    let path = folder.0.path().join("no_folder").join("x.csv");
    let words = folder.words(&decode_all(&path, &columns).unwrap_err());
    assert!(words.ends_with("; hint: there is no folder `…/no_folder`"), "{words}");
    let words = folder.words(&decode_all(&folder.file("e.txt", "x"), &columns).unwrap_err());
    assert!(words.starts_with("cannot tell the format of `…/e.txt` from its name"), "{words}");
    let absurd = wanted(&[("x", DataType::Float16)], None);
    assert!(decode_all(&parquet, &absurd).unwrap_err().to_string().contains("no event can hold"));
}

/// Flips bytes of a valid file; whatever comes out, it is rows or an error.
#[test]
fn damaged_parquet_never_panics() {
    let folder = Folder::new();
    let rows = 2_000;
    let path = folder.parquet(vec![
        ("x", Arc::new(Int64Array::from_iter((0..rows).map(|row| (row % 5 != 0).then_some(row))))),
        ("t", Arc::new(StringArray::from_iter_values((0..rows).map(|row| format!("text {}", row % 50))))),
        ("i", Arc::new(Int32Array::from_iter_values((0..rows as i32).map(|row| row % 9)))),
    ]);
    let whole = std::fs::read(&path).unwrap();
    let columns = wanted(&[("x", DataType::Int64), ("t", DataType::Utf8), ("i", DataType::Int32)], None);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut read, mut refused) = (0, 0);
    for _ in 0..600 {
        let mut damaged = whole.clone();
        for _ in 0..3 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (seed >> 33) as usize % damaged.len();
            damaged[at] ^= (seed >> 20) as u8 | 1;
        }
        let path = folder.file("damaged.parquet", &damaged);
        match decode_all(&path, &columns) {
            Ok(_) => read += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 0, "{read} were read");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "it prints how long a million refusals take")]
fn a_million_bad_lines_are_rows_like_others() {
    let folder = Folder::new();
    let path = folder.file("bad.jsonl", "{\"x\": \"not a number\"}\nnot even json\n".repeat(500_000));
    let mut file = EventFile::open(&path, Format::Jsonl, &wanted(&[("x", DataType::Int32)], None)).unwrap();
    let decoder = file.decoder();
    let started = std::time::Instant::now();
    let mut unreadable = 0;
    while let Some(piece) = file.next_piece().unwrap() {
        let mut count = |decoded: Decoded| -> Result<(), ConnectError> {
            assert_eq!(decoded.batch.column(0).as_primitive::<Int32Type>().null_count(), decoded.batch.num_rows());
            unreadable += decoded.unreadable.len();
            Ok(())
        };
        decoder.decode(piece, &mut count).unwrap();
    }
    assert_eq!(unreadable, 1_000_000);
    println!("{} ns per bad line", started.elapsed().as_nanos() / 1_000_000);
}
