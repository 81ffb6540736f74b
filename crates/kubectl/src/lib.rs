//! kubectl: the command-line client.
//!
//! A command is a line in `cli/commands.txt` (name, usage, flags), a line in [`cli::table`] (its function), and a file in `commands/`.
//! Objects are dynamic JSON throughout; what kinds exist comes from the server's discovery documents, so custom resources work as
//! built-in ones do. Printing is pure: objects or tables in, text out.
//!
//! **Invariant:** no kind is hard-wired except where a command is about that kind (describe, rollout, drain, create generators).

pub mod cli;
pub mod client;
pub mod commands;
pub mod discovery;
pub mod duration;
pub mod error;
pub mod kubeconfig;
pub mod output;
pub mod resource;

use std::io::Write;
use std::process::ExitCode;

/// Runs the command line and says what went wrong, if anything did.
pub fn main(argv: Vec<String>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(cli::run(argv));
    // A read of stdin that is still waiting must not hold up the end.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let (message, code) = error.report();
            if !message.is_empty() {
                eprintln!("{}", message.trim_end_matches('\n'));
            }
            ExitCode::from(u8::try_from(code).unwrap_or(1))
        }
    }
}

/// Writes to stdout. When nobody reads it any more the command ends, as it would by SIGPIPE.
pub fn out(text: &str) {
    out_bytes(text.as_bytes());
}

/// Writes bytes to stdout; see [`out`].
pub fn out_bytes(bytes: &[u8]) {
    let mut stdout = std::io::stdout().lock();
    if stdout.write_all(bytes).and_then(|()| stdout.flush()).is_err() {
        std::process::exit(1);
    }
}
