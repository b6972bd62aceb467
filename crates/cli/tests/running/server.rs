//! A running `asof run`.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};

use crate::folder::{Folder, Said};

/// A server of a folder's project, killed when it is dropped.
pub(crate) struct Server<'f> {
    pub(crate) folder: &'f Folder,
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    /// What was read so far.
    said: (String, String),
    /// Without a slash at its end.
    pub(crate) url: String,
}

impl<'f> Server<'f> {
    /// Starts a server and waits until its files are taken in, or until a paced replay can be tried.
    pub(crate) fn start(folder: &'f Folder, words: &str) -> Server<'f> {
        Server::spawn(folder, folder.command(&format!("run . --listen 127.0.0.1:0 {words}"))).ready()
    }

    /// Starts a server and waits until it listens.
    pub(crate) fn spawn(folder: &'f Folder, mut command: Command) -> Server<'f> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut server = Server { folder, child, stdout, stderr, said: Default::default(), url: String::new() };
        let line = read_until(&mut server.stderr, "listening on ", &mut server.said.1);
        let url = line.split_once("listening on ").unwrap().1.split_once("/,").unwrap().0;
        url.clone_into(&mut server.url);
        server
    }

    /// Waits for the commands to try.
    pub(crate) fn ready(mut self) -> Server<'f> {
        read_until(&mut self.stdout, "or open http://", &mut self.said.0);
        self
    }

    /// The commands that were printed.
    pub(crate) fn commands(&self) -> Vec<String> {
        let lines = self.said.0.lines().skip_while(|line| *line != "try:").skip(1);
        lines.map_while(|line| line.strip_prefix("  ")).map(str::to_owned).collect()
    }

    /// Runs `asof get` for this server.
    pub(crate) fn get(&self, words: &str) -> Said {
        Said::new(self.folder.command(&format!("get --url {} {words}", self.url)).output().unwrap())
    }

    /// Waits until the server says this on standard error.
    pub(crate) fn hear(&mut self, wanted: &str) {
        read_until(&mut self.stderr, wanted, &mut self.said.1);
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
    }

    /// Ends the server with a signal and gives all that it said.
    pub(crate) fn end(mut self, signal: &str) -> Said {
        self.signal(signal);
        let status = self.child.wait().unwrap();
        self.stdout.read_to_string(&mut self.said.0).unwrap();
        self.stderr.read_to_string(&mut self.said.1).unwrap();
        let (stdout, stderr) = std::mem::take(&mut self.said);
        let said = Said::new(Output { status, stdout: stdout.into_bytes(), stderr: stderr.into_bytes() });
        self.folder.check_left(&said);
        said
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().unwrap_or_default();
        self.child.wait().unwrap();
    }
}

/// Reads lines up to one that holds `wanted`, and gives that.
fn read_until(from: &mut impl BufRead, wanted: &str, said: &mut String) -> String {
    loop {
        let mut line = String::new();
        assert!(from.read_line(&mut line).unwrap() > 0, "ended before it said `{wanted}`: {said}");
        said.push_str(&line);
        if line.contains(wanted) {
            return line;
        }
    }
}
