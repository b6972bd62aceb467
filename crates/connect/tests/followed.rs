//! Files that are read while others append to them.
#![allow(clippy::unwrap_used, reason = "tests fail by panic")]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type, TimeUnit as ArrowTimeUnit};
use asof_connect::{ConnectError, EventFile, Format, ROW_BYTES_MAX, Wanted, WantedColumn};
use proptest::prelude::*;

struct Followed {
    _folder: tempfile::TempDir,
    path: PathBuf,
    file: File,
}

impl Followed {
    fn new(name: &str, start: &str) -> Followed {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, start).unwrap();
        let file = OpenOptions::new().append(true).open(&path).unwrap();
        Followed { _folder: folder, path, file }
    }

    fn append(&mut self, text: impl AsRef<[u8]>) {
        self.file.write_all(text.as_ref()).unwrap();
    }

    fn follow(&self) -> Result<EventFile, ConnectError> {
        let ts = DataType::Timestamp(ArrowTimeUnit::Microsecond, None);
        let columns = [("id", DataType::Int64), ("note", DataType::Utf8), ("ts", ts)];
        let columns = columns.map(|(name, data_type)| WantedColumn { name: name.to_owned(), data_type });
        let wanted = Wanted { columns: columns.to_vec(), time_unit: None };
        EventFile::follow(&self.path, Format::from_path(&self.path).unwrap(), &wanted)
    }
}

/// The ids that are new, `None` for an unreadable row; rows are numbered on without a gap.
fn poll(file: &mut EventFile, next_row: &mut u64) -> Result<Vec<Option<i64>>, ConnectError> {
    let mut ids = Vec::new();
    while let Some(piece) = file.next_piece()? {
        assert_eq!(piece.first_row, *next_row);
        *next_row += piece.rows;
        file.decoder().decode::<ConnectError>(piece, &mut |decoded| {
            ids.extend(decoded.batch.column(0).as_primitive::<Int64Type>().iter());
            Ok(())
        })?;
    }
    Ok(ids)
}

/// Appends each text in turn; `expected` are the ids that are new then.
fn check(name: &str, start: &str, steps: &[(&str, &[Option<i64>])]) {
    let mut followed = Followed::new(name, start);
    let mut file = followed.follow().unwrap();
    assert!(file.is_followed());
    let mut next_row = 0;
    for (text, expected) in steps {
        followed.append(text);
        assert_eq!(poll(&mut file, &mut next_row).unwrap(), *expected, "after {text:?}");
        assert_eq!(poll(&mut file, &mut next_row).unwrap(), [], "nothing is new");
    }
}

#[test]
fn a_row_comes_when_its_line_ends() {
    check(
        "e.jsonl",
        "{\"id\":1}\n{\"id\":",
        &[
            ("", &[Some(1)]),
            ("2}", &[]),
            ("\n", &[Some(2)]),
            ("\n  \n", &[]),
            ("{\"id\":3}\r\n{\"id\":4}\n{", &[Some(3), Some(4)]),
            ("oh\n{\"id\":5}\n", &[None, Some(5)]),
        ],
    );
    check("e.jsonl", "", &[("", &[]), ("\u{feff}{\"id\":1}\n", &[Some(1)])]);
}

#[test]
fn a_byte_order_mark_may_come_in_parts() {
    let mut followed = Followed::new("e.jsonl", "");
    let mut file = followed.follow().unwrap();
    followed.append(b"\xef\xbb");
    assert_eq!(poll(&mut file, &mut 0).unwrap(), []);
    followed.append(b"\xbf{\"id\":1}\n");
    assert_eq!(poll(&mut file, &mut 0).unwrap(), [Some(1)]);
}

#[test]
fn a_csv_record_comes_when_its_last_line_ends() {
    check(
        "e.csv",
        "id,note\n",
        &[
            ("", &[]),
            ("1,x\n2,\"two\n", &[Some(1)]),
            ("lines\"", &[]),
            ("\n3,y", &[Some(2)]),
            ("\n4\n", &[Some(3), None]),
        ],
    );
    for (start, expected) in [("", "is empty"), ("id,no", "no header line with the column names")] {
        let refused = Followed::new("e.csv", start).follow().unwrap_err().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
}

#[test]
fn a_row_beyond_its_bound_is_skipped_as_it_comes() {
    let mut followed = Followed::new("e.jsonl", "{\"id\":1}\n");
    let mut file = followed.follow().unwrap();
    let mut next_row = 0;
    assert_eq!(poll(&mut file, &mut next_row).unwrap(), [Some(1)]);
    for _ in 0..3 {
        followed.append("x".repeat(ROW_BYTES_MAX / 2 + 1));
        assert_eq!(poll(&mut file, &mut next_row).unwrap(), []);
    }
    followed.append("x\n{\"id\":3}\n");
    assert_eq!(poll(&mut file, &mut next_row).unwrap(), [None, Some(3)]);
}

#[test]
fn a_file_that_is_no_longer_the_same_is_refused() {
    let read = || {
        let followed = Followed::new("e.jsonl", "{\"id\":1}\n{\"id\":2}\n");
        let mut file = followed.follow().unwrap();
        assert_eq!(poll(&mut file, &mut 0).unwrap(), [Some(1), Some(2)]);
        (followed, file)
    };
    let (followed, mut file) = read();
    followed.file.set_len(9).unwrap();
    let refused = poll(&mut file, &mut 2).unwrap_err().to_string();
    assert!(
        refused.contains("was truncated or replaced while it was followed: 18 bytes of it were read, and it has 9 now")
    );
    let (followed, mut file) = read();
    std::fs::rename(&followed.path, followed.path.with_extension("old")).unwrap();
    assert!(poll(&mut file, &mut 2).unwrap_err().to_string().contains("replaced while it was followed: it is gone"));
    std::fs::write(&followed.path, "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n").unwrap();
    assert!(poll(&mut file, &mut 2).unwrap_err().to_string().contains("another file has its name"));
}

#[test]
fn plain_integers_of_another_unit_are_noticed_when_they_come() {
    let mut followed = Followed::new("e.jsonl", "");
    let mut file = followed.follow().unwrap();
    assert_eq!(poll(&mut file, &mut 0).unwrap(), []);
    followed.append("{\"ts\":1706659200}\n");
    assert!(matches!(poll(&mut file, &mut 0), Err(ConnectError::BeforeYear1980 { example: 1_706_659_200, .. })));
    let refused = Followed::new("e.jsonl", "{\"ts\":1706659200}\n").follow();
    assert!(matches!(refused, Err(ConnectError::BeforeYear1980 { .. })));
}

#[test]
fn parquet_is_not_followed() {
    let refused = Followed::new("e.parquet", "PAR1").follow().unwrap_err().to_string();
    assert!(
        refused.contains("cannot be followed: a Parquet file is not appended to; hint: follow a JSONL or CSV file")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn however_a_file_is_appended_the_rows_are_those_of_the_whole(
        rows in proptest::collection::vec(prop_oneof![
            (0..1000_i64).prop_map(|id| format!("{id},\"a\nb \"\"{id}\"\"\"")), Just(String::new()), Just("x,y".to_owned()),
        ], 0..30),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..10),
    ) {
        let text = rows.iter().map(|row| format!("{row}\n")).collect::<String>();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let mut followed = Followed::new("e.csv", "id,note\n");
        let mut file = followed.follow().unwrap();
        let (mut next_row, mut found) = (0, Vec::new());
        for cut in cuts.windows(2) {
            followed.append(&text[cut[0]..cut[1]]);
            found.extend(poll(&mut file, &mut next_row).unwrap());
        }
        let id = |row: &String| row.split(',').next().and_then(|id| id.parse::<i64>().ok());
        let expected: Vec<Option<i64>> = rows.iter().filter(|row| !row.is_empty()).map(id).collect();
        prop_assert_eq!(found, expected);
    }
}
