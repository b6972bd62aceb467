//! Requests of a Parquet or CSV file, or of the past of any file: rows of the stream's types as Arrow IPC streams.
//!
//! Batches come as they were decoded and leave as requests of the rows that are wanted, so that it does not matter how the
//! file was decoded:
//! ```text
//!   decoded [ 8,192 ][ 8,192 ][ 8,192 ] ─▶ unreadable rows out ─▶ requests [ 10,000 ][ 10,000 ][ rest ]
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{cast, concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::ipc::writer::StreamWriter;
use asof_connect::{Decoder, EventFile, StreamFile};
use asof_definition::Stream;
use asof_pipeline::{PipelineError, SortedBatch, SortedRows};

use crate::failure::Failure;
use crate::ingest::request::{BODY_BYTES_MAX, Request, Requests};

const CONTENT_TYPE: &str = "application/vnd.apache.arrow.stream";

/// A file in its own order.
pub(crate) struct FileRequests {
    file: EventFile,
    decoder: Decoder,
    gatherer: RowGatherer,
}

impl FileRequests {
    pub(crate) fn new(source: StreamFile, rows_max: usize) -> FileRequests {
        let gatherer = RowGatherer::new(source.file.schema(), rows_max);
        FileRequests { decoder: source.file.decoder(), file: source.file, gatherer }
    }

    fn read_on(&mut self) -> Result<bool, PipelineError> {
        let Some(piece) = self.file.next_piece()? else { return Ok(false) };
        let FileRequests { decoder, gatherer, .. } = self;
        gatherer.pending.progress += piece.bytes;
        decoder.decode(piece, &mut |decoded| {
            let numbers: Vec<u64> = (decoded.first_row..).take(decoded.batch.num_rows()).collect();
            let unreadable: Vec<(usize, String)> =
                decoded.unreadable.into_iter().map(|one| (one.row, one.detail)).collect();
            gatherer.add(&decoded.batch, &numbers, &unreadable)
        })?;
        Ok(true)
    }
}

impl Requests for FileRequests {
    fn content_type(&self) -> &'static str {
        CONTENT_TYPE
    }

    fn progress_total(&self) -> u64 {
        self.file.size_bytes()
    }

    fn absent_columns(&self) -> Vec<String> {
        self.file.absent_columns()
    }

    fn next(&mut self) -> Result<Option<Request>, Failure> {
        while self.gatherer.ready.is_empty() && self.read_on()? {}
        Ok(self.gatherer.next()?)
    }
}

/// A file's rows by event time.
pub(crate) struct SortedRequests {
    rows: SortedRows,
    /// What the arrival times are called in the requests, if the file has them.
    arrival_name: Option<String>,
    absent_columns: Vec<String>,
    gatherer: RowGatherer,
}

impl SortedRequests {
    pub(crate) fn new(
        rows: SortedRows,
        stream: &Stream,
        arrival_name: Option<String>,
        absent_columns: Vec<String>,
        rows_max: usize,
    ) -> SortedRequests {
        let columns = stream.columns.iter().map(|column| Field::new(&column.name, column.data_type.clone(), true));
        let arrival = arrival_name.iter().map(|name| Field::new(name, arrival_type(), true));
        let schema = Arc::new(Schema::new(columns.chain(arrival).collect::<Vec<_>>()));
        SortedRequests { rows, arrival_name, absent_columns, gatherer: RowGatherer::new(schema, rows_max) }
    }

    fn read_on(&mut self) -> Result<bool, PipelineError> {
        let Some(batch) = self.rows.next_batch()? else { return Ok(false) };
        let SortedBatch { events, arrived, numbers, unreadable } = batch;
        self.gatherer.pending.progress += numbers.len() as u64;
        let arrived = self.arrival_name.as_ref().map(|_| arrival_array(arrived, events.num_rows())).transpose()?;
        let columns: Vec<ArrayRef> = events.columns().iter().cloned().chain(arrived).collect();
        let rows = RecordBatch::try_new(self.gatherer.schema.clone(), columns)?;
        self.gatherer.add(&rows, &numbers, &unreadable)?;
        Ok(true)
    }
}

impl Requests for SortedRequests {
    fn content_type(&self) -> &'static str {
        CONTENT_TYPE
    }

    fn progress_total(&self) -> u64 {
        self.rows.rows()
    }

    fn absent_columns(&self) -> Vec<String> {
        self.absent_columns.clone()
    }

    fn next(&mut self) -> Result<Option<Request>, Failure> {
        while self.gatherer.ready.is_empty() && self.read_on()? {}
        Ok(self.gatherer.next()?)
    }
}

fn arrival_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

fn arrival_array(arrived: Option<Int64Array>, rows: usize) -> Result<ArrayRef, PipelineError> {
    let arrived = arrived.unwrap_or_else(|| Int64Array::new_null(rows));
    Ok(cast(&arrived, &arrival_type())?)
}

/// A name for the arrival times that no column of the stream has, also but for case.
pub(crate) fn arrival_name(stream: &Stream, wanted: &str) -> String {
    let is_taken = |name: &str| stream.columns.iter().any(|column| column.name.to_lowercase() == name.to_lowercase());
    let mut name = wanted.to_owned();
    while is_taken(&name) {
        name.push_str(" of arrival");
    }
    name
}

/// Rows that become requests.
struct RowGatherer {
    schema: SchemaRef,
    rows_max: usize,
    /// The rows of `pending`, whose body is still empty.
    parts: Vec<RecordBatch>,
    pending: Request,
    ready: VecDeque<Request>,
}

impl RowGatherer {
    fn new(schema: SchemaRef, rows_max: usize) -> RowGatherer {
        RowGatherer { schema, rows_max, parts: Vec::new(), pending: Request::default(), ready: VecDeque::new() }
    }

    /// Takes rows; those that could not be read, ascending by place, are left out and noted.
    fn add(
        &mut self,
        rows: &RecordBatch,
        numbers: &[u64],
        unreadable: &[(usize, String)],
    ) -> Result<(), PipelineError> {
        let mut left_out = unreadable.iter().map(|(row, _)| *row).peekable();
        let readable: Vec<u32> =
            (0..numbers.len()).filter(|row| left_out.next_if_eq(row).is_none()).map(|row| row as u32).collect();
        self.pending.unreadable.extend(unreadable.iter().map(|(row, detail)| (numbers[*row], detail.clone())));
        // Also where no row is left out: rows that were copied are the same bytes however their batch was made.
        let rows = take_record_batch(rows, &UInt32Array::from(readable.clone()))?;
        let mut start = 0;
        while start < rows.num_rows() {
            let count = (rows.num_rows() - start).min(self.rows_max - self.pending.rows.len());
            self.parts.push(rows.slice(start, count));
            self.pending.rows.extend(readable[start..start + count].iter().map(|row| numbers[*row as usize]));
            start += count;
            if self.pending.rows.len() == self.rows_max {
                self.finish()?;
            }
        }
        Ok(())
    }

    /// The next request; the last one has what is left.
    fn next(&mut self) -> Result<Option<Request>, PipelineError> {
        if self.ready.is_empty() && !self.pending.is_empty() {
            self.finish()?;
        }
        Ok(self.ready.pop_front())
    }

    /// Makes what is pending ready: one request, or several where the bytes are too many.
    fn finish(&mut self) -> Result<(), PipelineError> {
        let rows = concat_batches(&self.schema, &self.parts)?;
        self.parts.clear();
        let Request { rows: numbers, unreadable, progress, .. } = std::mem::take(&mut self.pending);
        let first = self.ready.len();
        self.encode(&rows, &numbers)?;
        if self.ready.len() == first {
            self.ready.push_back(Request::default());
        }
        let first = &mut self.ready[first];
        (first.unreadable, first.progress) = (unreadable, progress);
        Ok(())
    }

    fn encode(&mut self, rows: &RecordBatch, numbers: &[u64]) -> Result<(), PipelineError> {
        if numbers.is_empty() {
            return Ok(());
        }
        let mut writer = StreamWriter::try_new(Vec::new(), &self.schema)?;
        writer.write(rows)?;
        let body = writer.into_inner()?;
        if body.len() <= BODY_BYTES_MAX || numbers.len() == 1 {
            self.ready.push_back(Request { body, rows: numbers.to_vec(), ..Request::default() });
            return Ok(());
        }
        let half = numbers.len() / 2;
        self.encode(&rows.slice(0, half), &numbers[..half])?;
        self.encode(&rows.slice(half, numbers.len() - half), &numbers[half..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;
    use std::fs;
    use std::path::{Path, PathBuf};

    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use arrow::ipc::reader::StreamReader;
    use asof_connect::ArrivalTimes;
    use asof_definition::{SourceFile, check};
    use asof_pipeline::{SortRoom, Stop};

    /// A file that goes with its test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, content: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("asof-requests-{}-{name}.csv", std::process::id()));
            fs::write(&path, content).unwrap();
            Scratch(path)
        }

        fn open(&self) -> StreamFile {
            let text = format!(
                "CREATE STREAM e (b BOOLEAN, n BIGINT, t VARCHAR, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts)
                 WITH (connector = 'file', path = '{}', arrival_column = 'at');",
                self.0.display()
            );
            let project = check(&[SourceFile { name: "test.sql".to_owned(), text }]).unwrap();
            StreamFile::open(Path::new(""), &project.streams[0], ArrivalTimes::Optional).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_file(&self.0).unwrap();
        }
    }

    /// Rows whose event times go forward and back; every hundredth cannot be read, some values are not known.
    fn rows(count: u64) -> String {
        let mut text = "b,n,t,ts,at\n".to_owned();
        for row in 0..count {
            let boolean = ["true", "false", "", "no boolean"][if row % 100 == 99 { 3 } else { (row % 3) as usize }];
            let number = if row % 5 == 0 { String::new() } else { row.to_string() };
            let time = 1_767_225_600_000_000 + (row * 7_919 % count) * 1_000_000;
            writeln!(text, "{boolean},{number},text {row},{time},{}", time + 5).unwrap();
        }
        text
    }

    fn sorted(scratch: &Scratch, room: SortRoom) -> Vec<Request> {
        let file = scratch.open();
        let stream = file.stream.clone();
        let rows = SortedRows::read(file, room, &|_| {}, &Stop::default()).unwrap();
        all(SortedRequests::new(rows, &stream, Some("at".to_owned()), Vec::new(), 1_000))
    }

    fn all(mut requests: impl Requests) -> Vec<Request> {
        std::iter::from_fn(|| requests.next().unwrap()).collect()
    }

    fn decoded(request: &Request) -> RecordBatch {
        let batches: Vec<RecordBatch> =
            StreamReader::try_new(request.body.as_slice(), None).unwrap().map(Result::unwrap).collect();
        assert_eq!(batches.len(), 1);
        batches[0].clone()
    }

    #[test]
    fn the_past_is_the_same_requests_however_it_is_sorted() {
        let scratch = Scratch::new("past", &rows(20_000));
        let whole = sorted(&scratch, SortRoom { bytes_max: usize::MAX, threads: 1 });
        let spilled = sorted(&scratch, SortRoom { bytes_max: 1, threads: 4 });
        assert_eq!(whole.len(), 20);
        for (one, other) in whole.iter().zip(&spilled) {
            assert!(one.body == other.body && one.rows == other.rows, "other bytes for rows {:?}", one.rows.first());
        }
        let times: Vec<i64> = whole
            .iter()
            .flat_map(|request| {
                let rows = decoded(request);
                let instants = |place: usize| cast(rows.column(place), &DataType::Int64).unwrap();
                let (times, arrivals) = (instants(3), instants(4));
                let times: Vec<i64> = times.as_primitive::<Int64Type>().values().to_vec();
                let arrivals = arrivals.as_primitive::<Int64Type>().values().to_vec();
                assert!(times.iter().zip(arrivals).all(|(time, arrival)| time + 5 == arrival));
                times
            })
            .collect();
        assert!(times.is_sorted());
        assert_eq!(times.len(), 19_800);
        assert_eq!(whole.iter().map(|request| request.unreadable.len()).sum::<usize>(), 200);
        assert_eq!(whole.iter().map(|request| request.progress).sum::<u64>(), 20_000);
    }

    #[test]
    fn rows_keep_their_order_and_their_numbers() {
        let text = rows(30_000);
        let scratch = Scratch::new("order", &text);
        let requests = all(FileRequests::new(scratch.open(), 7_000));
        let counts: Vec<usize> = requests.iter().map(|request| request.rows.len()).collect();
        assert_eq!(counts, [7_000, 7_000, 7_000, 7_000, 1_700]);
        for request in &requests {
            let rows = decoded(request);
            let texts = rows.column(2).as_string::<i32>();
            for (place, number) in request.rows.iter().enumerate() {
                assert_eq!(texts.value(place), format!("text {number}"));
            }
        }
        let unreadable: Vec<u64> =
            requests.iter().flat_map(|request| &request.unreadable).map(|(row, _)| *row).collect();
        assert_eq!(unreadable, (0..300).map(|hundred| hundred * 100 + 99).collect::<Vec<u64>>());
        assert_eq!(requests.iter().map(|request| request.progress).sum::<u64>(), text.len() as u64);
    }

    #[test]
    fn bodies_are_bounded_and_files_without_a_readable_row_are_told() {
        let long = "x".repeat(900_000);
        let row = |number: i64| format!("true,{number},{long},1767225600000000,\n");
        let scratch = Scratch::new("long", &("b,n,t,ts,at\n".to_owned() + &(0..12).map(row).collect::<String>()));
        let requests = all(FileRequests::new(scratch.open(), 10_000));
        let numbers: Vec<u64> = requests.iter().flat_map(|request| request.rows.clone()).collect();
        assert_eq!(numbers, (0..12).collect::<Vec<u64>>());
        assert!(requests.iter().all(|request| request.body.len() <= BODY_BYTES_MAX));
        assert_eq!(requests.len(), 4);
        let nothing = Scratch::new("nothing", "b,n,t,ts,at\nx,1,t,1767225600000000,\n");
        let requests = all(FileRequests::new(nothing.open(), 10));
        assert_eq!((requests.len(), requests[0].rows.len(), requests[0].unreadable.len()), (1, 0, 1));
    }
}
