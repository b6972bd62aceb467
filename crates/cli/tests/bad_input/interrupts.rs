//! Ctrl-C in the middle of a job.

use std::process::{Child, Command, Stdio};

use crate::EVERY_EVENT;
use crate::folder::Folder;

/// Enough events for the job to last some seconds in one thread.
const EVENTS: usize = 2_000_000;

/// Sends the signal of Ctrl-C once the job's temporary files are there.
fn interrupt_when_busy(folder: &Folder, child: &mut Child) {
    while !folder.names("temporary").iter().any(|name| name.starts_with("asof-history-")) {
        assert!(child.try_wait().unwrap().is_none(), "the job ended before it began");
        std::thread::yield_now();
    }
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
}

#[cfg(unix)]
#[test]
fn leaves_the_old_output_and_no_temporary_files() {
    let folder = Folder::new();
    let lines =
        (0..EVENTS).map(|place| format!("e{place},{},1.5,3,{}\n", place % 1_000, 1_767_225_600_000_000 + place));
    folder.events("csv", format!("id,k,amount,n,ts\n{}", lines.collect::<String>()));
    folder.file("out.csv", "old");
    let mut command = folder.command(&format!("{EVERY_EVENT} --threads 1 --memory-limit 8MiB"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    interrupt_when_busy(&folder, &mut child);
    let said = folder.end(child.wait_with_output().unwrap());
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert!(said.stderr.contains("stopped before the end"), "{}", said.stderr);
    assert_eq!(std::fs::read_to_string(folder.path().join("out.csv")).unwrap(), "old");
}
