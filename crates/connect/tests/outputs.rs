//! Written tables: their text encodings, what reads back equal, and that a file appears whole or not at all.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail by panic and print what they measure")]

use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, BinaryArray, BinaryBuilder, BooleanArray, BooleanBuilder, Date32Array,
    Date32Builder, Decimal128Array, Float32Array, Float64Array, Float64Builder, Int16Array, Int64Array, Int64Builder,
    ListArray, MapBuilder, RecordBatch, StringArray, StringBuilder, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use asof_connect::{Decoded, EventFile, Format, SpineFile, TableWriter, TimeUnit, Wanted, WantedColumn};
use proptest::prelude::*;

fn table() -> RecordBatch {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        ("small", Arc::new(Int16Array::from(vec![Some(-7), None]))),
        ("big", Arc::new(Int64Array::from(vec![Some(i64::MAX), None]))),
        ("real", Arc::new(Float32Array::from(vec![Some(0.1), None]))),
        ("double", Arc::new(Float64Array::from(vec![Some(3.0), Some(f64::NAN)]))),
        ("decimal", Arc::new(Decimal128Array::from(vec![Some(-1250), None]).with_precision_and_scale(10, 2).unwrap())),
        ("text", Arc::new(StringArray::from(vec![Some("a,\"b\"\n"), Some("")]))),
        ("bytes", Arc::new(BinaryArray::from(vec![Some(&b"foo"[..]), None]))),
        ("day", Arc::new(Date32Array::from(vec![Some(19_000), None]))),
        ("ts", Arc::new(TimestampMicrosecondArray::from(vec![Some(1_700_000_000_000_001), None]))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn write(format: Format, name: &str, batch: &RecordBatch) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let mut writer = TableWriter::create(&path, format, batch.schema()).unwrap();
    writer.write(batch).unwrap();
    assert!(!path.exists(), "nothing is visible before it is finished");
    let bytes = writer.finish().unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), bytes);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no partial file is left");
    (folder, path)
}

#[test]
fn texts_have_the_encodings_of_every_answer() {
    let list =
        ListArray::from_iter_primitive::<Float64Type, _, _>([Some(vec![Some(1.0), None, Some(f64::INFINITY)]), None]);
    let mut columns = table().columns().to_vec();
    columns.push(Arc::new(list));
    let mut fields: Vec<Arc<Field>> = table().schema().fields().iter().cloned().collect();
    columns.push(map());
    fields.push(Arc::new(Field::new("list", columns[10].data_type().clone(), true)));
    fields.push(Arc::new(Field::new("map", columns[11].data_type().clone(), true)));
    let batch = RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns).unwrap();
    let (_folder, path) = write(Format::Jsonl, "t.jsonl", &batch);
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        concat!(
            r#"{"flag":true,"small":-7,"big":9223372036854775807,"real":0.10000000149011612,"double":3.0,"decimal":"-12.50","#,
            r#""text":"a,\"b\"\n","bytes":"Zm9v","day":"2022-01-08","ts":"2023-11-14T22:13:20.000001Z","list":[1.0,null,"Infinity"],"map":{"b\"":2,"a":1}}"#,
            "\n",
            r#"{"flag":null,"small":null,"big":null,"real":null,"double":"NaN","decimal":null,"text":"","bytes":null,"day":null,"ts":null,"list":null,"map":null}"#,
            "\n"
        )
    );
    let (_folder, path) = write(Format::Csv, "t.csv", &batch);
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        concat!(
            "flag,small,big,real,double,decimal,text,bytes,day,ts,list,map\n",
            "true,-7,9223372036854775807,0.10000000149011612,3.0,-12.50,\"a,\"\"b\"\"\n\",Zm9v,2022-01-08,2023-11-14T22:13:20.000001Z,\"[1.0,null,\"\"Infinity\"\"]\",\"{\"\"b\\\"\"\"\":2,\"\"a\"\":1}\"\n",
            ",,,,NaN,,\"\",,,,,\n"
        )
    );
}

/// Entries stand as they are, not sorted again.
fn map() -> ArrayRef {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    for (key, value) in [("b\"", 2), ("a", 1)] {
        builder.keys().append_value(key);
        builder.values().append_value(value);
    }
    builder.append(true).unwrap();
    builder.append(false).unwrap();
    Arc::new(builder.finish())
}

fn map_of<K: ArrayBuilder>(mut keys: K, append: impl Fn(&mut K)) -> RecordBatch {
    append(&mut keys);
    let mut builder = MapBuilder::new(None, keys, Int64Builder::new());
    builder.values().append_value(7);
    builder.append(true).unwrap();
    RecordBatch::try_from_iter([("m", Arc::new(builder.finish()) as ArrayRef)]).unwrap()
}

/// The name of a member is the text that its key has in JSON.
#[test]
fn keys_of_every_kind_are_names() {
    let batches = [
        (map_of(Int64Builder::new(), |keys| keys.append_value(-5)), "-5"),
        (map_of(Float64Builder::new(), |keys| keys.append_value(f64::NAN)), "NaN"),
        (map_of(Float64Builder::new(), |keys| keys.append_value(1.0)), "1.0"),
        (map_of(BooleanBuilder::new(), |keys| keys.append_value(true)), "true"),
        (map_of(Date32Builder::new(), |keys| keys.append_value(19_000)), "2022-01-08"),
        (map_of(BinaryBuilder::new(), |keys| keys.append_value(b"foo")), "Zm9v"),
    ];
    for (batch, name) in batches {
        let (_folder, path) = write(Format::Jsonl, "m.jsonl", &batch);
        assert_eq!(std::fs::read_to_string(path).unwrap(), format!("{{\"m\":{{\"{name}\":7}}}}\n"));
    }
}

#[test]
fn written_tables_read_back_equal_in_every_format() {
    let batch = table();
    let fields = batch.schema().fields().clone();
    let columns =
        fields.iter().map(|field| WantedColumn { name: field.name().clone(), data_type: field.data_type().clone() });
    let wanted = Wanted { columns: columns.collect(), time_unit: Some(TimeUnit::Microsecond) };
    for (format, name) in [(Format::Parquet, "t.parquet"), (Format::Jsonl, "t.jsonl"), (Format::Csv, "t.csv")] {
        let (_folder, path) = write(format, name, &batch);
        let mut file = EventFile::open(&path, format, &wanted).unwrap();
        let piece = file.next_piece().unwrap().unwrap();
        let mut read = Vec::new();
        let mut keep = |decoded: Decoded| -> Result<(), asof_connect::ConnectError> {
            assert_eq!(decoded.unreadable, []);
            read.push(decoded.batch);
            Ok(())
        };
        file.decoder().decode(piece, &mut keep).unwrap();
        for (index, field) in fields.iter().enumerate() {
            assert_eq!(
                format!("{:?}", read[0].column(index)),
                format!("{:?}", batch.column(index)),
                "{format} {field}"
            );
        }
    }
}

#[test]
fn a_spine_of_parquet_keeps_its_types() {
    let (_folder, path) = write(Format::Parquet, "t.parquet", &table());
    let mut spine = SpineFile::open(&path, Format::Parquet, &[]).unwrap();
    assert_eq!(spine.rows(), Some(2));
    let batch = spine.next_batch().unwrap().unwrap();
    assert_eq!(batch.schema().fields(), table().schema().fields());
    assert_eq!(spine.column_index("TS").unwrap(), 9);
    let missing = spine.column_index("tsx").unwrap_err().to_string();
    assert!(missing.ends_with("has no column `tsx`; hint: did you mean `ts`?"), "{missing}");
    spine.check_time_unit(9).unwrap();
    let seconds =
        RecordBatch::try_from_iter([("ts", Arc::new(Int64Array::from(vec![1_700_000_000])) as ArrayRef)]).unwrap();
    let (_folder, path) = write(Format::Csv, "t.csv", &seconds);
    let spine = SpineFile::open(&path, Format::Csv, &[]).unwrap();
    let refused = spine.check_time_unit(0).unwrap_err().to_string();
    assert!(refused.contains("they look like seconds"), "{refused}");
}

#[test]
fn threads_append_to_one_file_and_no_row_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    for (format, name) in [(Format::Parquet, "t.parquet"), (Format::Jsonl, "t.jsonl"), (Format::Csv, "t.csv")] {
        let path = folder.path().join(name);
        let batch = |start: i64| {
            let values = Int64Array::from_iter_values(start..start + 20_000);
            RecordBatch::try_from_iter([("x", Arc::new(values) as ArrayRef)]).unwrap()
        };
        let writer = TableWriter::create(&path, format, batch(0).schema()).unwrap();
        std::thread::scope(|threads| {
            for thread in 0..4 {
                let (writer, batch) = (&writer, &batch);
                threads.spawn(move || {
                    for part in 0..5 {
                        writer.append(&[batch((thread * 5 + part) * 20_000)]).unwrap();
                    }
                });
            }
        });
        writer.finish().unwrap();
        let mut spine = SpineFile::open(&path, format, &[]).unwrap();
        let mut values = Vec::new();
        while let Some(batch) = spine.next_batch().unwrap() {
            values.extend(arrow::array::AsArray::as_primitive::<Int64Type>(batch.column(0)).values().iter().copied());
        }
        values.sort_unstable();
        assert!(values.into_iter().eq(0..400_000), "{format}");
    }
}

#[test]
fn an_unfinished_table_leaves_nothing_and_the_old_file_stands() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.csv");
    std::fs::write(&path, "old").unwrap();
    let mut writer = TableWriter::create(&path, Format::Csv, table().schema()).unwrap();
    writer.write(&table()).unwrap();
    drop(writer);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn outputs_that_cannot_be_written_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let nested = RecordBatch::try_from_iter([(
        "s",
        Arc::new(StructArray::from(vec![(Arc::new(Field::new("a", DataType::Int64, true)), table().column(2).clone())]))
            as ArrayRef,
    )])
    .unwrap();
    let refused = TableWriter::create(&folder.path().join("t.csv"), Format::Csv, nested.schema()).unwrap_err();
    assert!(refused.to_string().starts_with("cannot write column `s` of type `Struct"), "{refused}");
    assert!(refused.to_string().ends_with("as CSV; hint: write Parquet"), "{refused}");
    let refused = TableWriter::create(folder.path(), Format::Csv, table().schema()).unwrap_err();
    assert!(refused.to_string().ends_with("is a folder, not a file"), "{refused}");
    let refused = TableWriter::create(&folder.path().join("no/t.csv"), Format::Csv, table().schema()).unwrap_err();
    assert!(refused.to_string().contains("No such file or directory"), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_doubles_and_texts_read_back_equal(
        rows in prop::collection::vec((any::<Option<f64>>(), any::<Option<String>>(), any::<i64>()), 1..40)
    ) {
        let doubles: Float64Array = rows.iter().map(|row| row.0.map(|value| value + 0.0)).collect();
        let texts: StringArray = rows.iter().map(|row| row.1.clone()).collect();
        let integers: Int64Array = rows.iter().map(|row| Some(row.2)).collect();
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("d", Arc::new(doubles) as ArrayRef, true),
            ("t", Arc::new(texts), true),
            ("i", Arc::new(integers), true),
        ]).unwrap();
        let columns = batch.schema().fields().iter().map(|field| WantedColumn { name: field.name().clone(), data_type: field.data_type().clone() }).collect();
        let wanted = Wanted { columns, time_unit: None };
        for (format, name) in [(Format::Jsonl, "t.jsonl"), (Format::Csv, "t.csv")] {
            let (_folder, path) = write(format, name, &batch);
            let mut file = EventFile::open(&path, format, &wanted).unwrap();
            let piece = file.next_piece().unwrap().unwrap();
            let mut read = Vec::new();
            file.decoder().decode::<asof_connect::ConnectError>(piece, &mut |decoded| { read.push(decoded); Ok(()) }).unwrap();
            prop_assert!(read[0].unreadable.is_empty());
            prop_assert_eq!(&read[0].batch, &batch);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 1..400)) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.jsonl", "b.csv", "b.parquet"] {
            let path = folder.path().join(name);
            std::fs::write(&path, &bytes).unwrap();
            let format = Format::from_path(&path).unwrap();
            let columns = vec![WantedColumn { name: "a".to_owned(), data_type: DataType::Int64 }];
            let Ok(mut file) = EventFile::open(&path, format, &Wanted { columns, time_unit: None }) else { continue };
            while let Ok(Some(piece)) = file.next_piece() {
                let rows = piece.rows;
                let mut found = 0;
                file.decoder().decode::<asof_connect::ConnectError>(piece, &mut |decoded| {
                    found += decoded.batch.num_rows() as u64;
                    Ok(())
                }).unwrap();
                prop_assert_eq!(found, rows);
            }
            SpineFile::open(&path, format, &[]).ok();
        }
    }
}
