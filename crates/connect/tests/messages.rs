//! Rows of a sink as messages: keys as they are in no other place, values as in every answer.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use asof_connect::RowMessages;

fn batch() -> RecordBatch {
    let amounts = Decimal128Array::from(vec![Some(1_250), None]).with_precision_and_scale(12, 2).expect("they fit");
    let columns: [(&str, ArrayRef); 5] = [
        ("id", Arc::new(Int64Array::from(vec![i64::MAX, 2]))),
        ("name", Arc::new(StringArray::from(vec![Some("a \"b\" \u{20ac}"), None]))),
        ("amount", Arc::new(amounts)),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![0, 1]))),
        ("raw", Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), Some(b"")]))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, values)| (name, values, true)))
        .expect("columns of one length")
}

fn keys(columns: &[usize]) -> [Option<String>; 2] {
    let messages = RowMessages::json(columns).of(&batch()).expect("they can be written");
    [0, 1].map(|row: usize| messages[row].0.clone().map(|key| String::from_utf8(key).expect("text")))
}

#[test]
fn a_key_of_one_column_is_its_value_without_quotes() {
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(keys(&[]), [None, None]);
    assert_eq!(keys(&[0]), [some("9223372036854775807"), some("2")]);
    assert_eq!(keys(&[1]), [some("a \"b\" \u{20ac}"), None]);
    assert_eq!(keys(&[2]), [some("12.50"), None]);
    assert_eq!(keys(&[3]), [some("1970-01-01T00:00:00.000000Z"), some("1970-01-01T00:00:00.000001Z")]);
    assert_eq!(keys(&[4]), [some("AP8="), some("")]);
}

#[test]
fn a_key_of_several_columns_is_their_object() {
    let expected = [r#"{"amount":"12.50","id":9223372036854775807}"#, r#"{"amount":null,"id":2}"#];
    assert_eq!(keys(&[2, 0]), expected.map(|text| Some(text.to_owned())));
}

#[test]
fn a_value_is_the_object_of_all_columns() {
    let values = RowMessages::json(&[])
        .of(&batch())
        .expect("they can be written")
        .into_iter()
        .map(|(_, value)| String::from_utf8(value).unwrap());
    let expected = [
        r#"{"id":9223372036854775807,"name":"a \"b\" €","amount":"12.50","at":"1970-01-01T00:00:00.000000Z","raw":"AP8="}"#,
        r#"{"id":2,"name":null,"amount":null,"at":"1970-01-01T00:00:00.000001Z","raw":""}"#,
    ];
    assert_eq!(values.collect::<Vec<String>>(), expected);
}
