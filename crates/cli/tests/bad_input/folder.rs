//! A project folder of one test, and what `asof` said and left behind when it was run there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayRef, RecordBatch};
use asof_connect::{Format, TableWriter};

/// A stream `e` from a file, a view `v` of it, and a service `f` whose `ratio` fails where `d` is zero.
const PROJECT: &str = "
CREATE STREAM e (
  id VARCHAR NOT NULL, k BIGINT NOT NULL, amount DOUBLE, n BIGINT CHECK (n >= 0), ts TIMESTAMP NOT NULL,
  PRIMARY KEY (id), WATERMARK FOR ts AS ts - INTERVAL '10' SECOND
) WITH (connector = 'file', path = 'FILE', format = 'FORMAT'OPTIONS);
CREATE FEATURE VIEW v AS
SELECT k, count(*) OVER w AS c, sum(amount) OVER w AS s, sum(10 / n) OVER w AS tenths, sum(n) OVER w AS total
FROM e
WINDOW w AS (PARTITION BY k ORDER BY ts RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW);
CREATE FEATURE SERVICE f AS
SELECT v.c, 10 / r.d AS ratio FROM REQUEST (k BIGINT, d BIGINT) AS r LEFT JOIN v ON v.k = r.k;
";
/// Two good events and two good rows of a spine.
const EVENTS: &str = r#"{"id":"a","k":1,"amount":1.5,"n":1,"ts":"2026-01-01T00:00:00Z"}
{"id":"b","k":1,"amount":2.5,"n":2,"ts":"2026-01-01T00:00:01Z"}
"#;
const SPINE: &str = "k,d,ts\n1,1,2026-01-01T00:10:00Z\n2,2,2026-01-01T00:10:00Z\n";

/// The SQL of the project, reading a file in a format; `options` is what else stands in WITH, with a leading comma.
pub(crate) fn project(file: &str, format: &str, options: &str) -> String {
    PROJECT.replace("FILE", file).replace("FORMAT", format).replace("OPTIONS", options)
}

/// A folder with a good project in it, removed at the end.
pub(crate) struct Folder {
    path: PathBuf,
}

/// What a run ended with.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// Whatever happened: no panic, and the program ended itself.
    pub(crate) fn new(output: Output) -> Said {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let said = Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
        assert!(!said.stderr.contains("panicked"), "{}", said.stderr);
        assert!(said.code.is_some(), "killed by a signal: {}", said.stderr);
        said
    }
}

impl Folder {
    pub(crate) fn new() -> Folder {
        static FOLDERS: AtomicU64 = AtomicU64::new(0);
        let name = format!("bad_input-{}-{}", std::process::id(), FOLDERS.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(path.join("temporary")).unwrap();
        let folder = Folder { path };
        folder.file("project.sql", project("e.jsonl", "jsonl", ""));
        folder.file("e.jsonl", EVENTS);
        folder.file("s.csv", SPINE);
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> &Folder {
        fs::write(self.path.join(name), content).unwrap();
        self
    }

    pub(crate) fn folder(&self, name: &str) -> &Folder {
        fs::create_dir(self.path.join(name)).unwrap();
        self
    }

    /// Lets the stream read `e.FORMAT` with this content.
    pub(crate) fn events(&self, format: &str, content: impl AsRef<[u8]>) -> &Folder {
        let file = format!("e.{format}");
        self.file("project.sql", project(&file, format, "")).file(&file, content)
    }

    pub(crate) fn parquet(&self, name: &str, columns: Vec<(&str, ArrayRef)>) -> &Folder {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = TableWriter::create(&self.path.join(name), Format::Parquet, batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap();
        self
    }

    /// `asof` with these words, to be run in this folder.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_asof"));
        command.current_dir(&self.path).args(words.split_whitespace()).env("TMPDIR", self.path.join("temporary"));
        command
    }

    /// Runs it. Whatever happened: no panic, nothing half done left behind.
    pub(crate) fn run(&self, words: &str) -> Said {
        self.end(self.command(words).output().unwrap())
    }

    pub(crate) fn end(&self, output: Output) -> Said {
        let said = Said::new(output);
        self.check_left(&said);
        said
    }

    /// Nothing half done may be left behind once all that ran here has ended.
    pub(crate) fn check_left(&self, said: &Said) {
        assert_eq!(self.names("temporary"), Vec::<String>::new(), "temporary files stay: {}", said.stderr);
        let partial = self.names(".").into_iter().find(|name| name.contains(".partial"));
        assert_eq!(partial, None, "a partial output stays: {}", said.stderr);
    }

    /// What is in a folder within.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path.join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    pub(crate) fn has_output(&self) -> bool {
        self.path.join("out.csv").exists()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.path).unwrap_or_default();
    }
}

/// A column for [`Folder::parquet`].
pub(crate) fn column(array: impl arrow::array::Array + 'static) -> ArrayRef {
    Arc::new(array)
}
