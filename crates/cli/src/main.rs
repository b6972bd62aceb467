//! The `asof` command: raw arguments in, resolved jobs run, results and errors told.
//!
//! Exit codes: 0 done, 1 the user's input is wrong, 2 something outside failed.

mod accounts;
mod allocator;
mod arguments;
mod check;
mod client;
mod configuration;
mod duration;
mod event_sender;
mod excerpt;
mod failure;
mod get;
mod history;
mod ingest;
mod instant;
mod interrupt;
mod kafka_settings;
mod listen_address;
mod logs;
mod memory;
mod message_schemas;
mod progress_bar;
mod project_folder;
mod replay_dead_letters;
mod request_row;
mod run;
mod screen;
mod settings;
mod shell_words;
mod size;
mod status;
mod tally;
mod told;
mod transactions;
mod try_next;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::arguments::{Arguments, Command};

fn main() -> ExitCode {
    allocator::keep_freed();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let is_answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // A closed pipe is the reader's choice, not an error.
            error.print().unwrap_or_default();
            return ExitCode::from(u8::from(!is_answer));
        }
    };
    let result = match arguments.command {
        Command::Check(check) => check::run(&check),
        Command::History(history) => history::run(&history),
        Command::Run(run) => run::run(&run),
        Command::Get(get) => get::run(&get),
        Command::Ingest(ingest) => ingest::run(&ingest),
        Command::ReplayDeadLetters(replay) => replay_dead_letters::run(&replay),
        Command::Transactions(asked) => transactions::run(&asked),
        Command::Later(words) => Err(arguments::refuse(&words)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            told::error(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}
