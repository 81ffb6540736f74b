//! The user's terminal: raw while a session runs, and its size.

use std::io::{IsTerminal, Stdin};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::json;
use streaming::remotecommand::Writer;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::Result;

/// The terminal on stdin.
pub(super) struct Terminal {
    stdin: Stdin,
}

/// Puts the terminal back as it was.
pub(super) struct Raw<'a> {
    stdin: &'a Stdin,
    before: Termios,
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // A terminal that went away cannot be put back.
        let _gone = tcsetattr(self.stdin, OptionalActions::Now, &self.before);
    }
}

impl Terminal {
    /// The terminal, when one is wanted and there.
    pub(super) fn open(wanted: bool) -> Result<Option<Self>> {
        let stdin = std::io::stdin();
        Ok((wanted && stdin.is_terminal()).then_some(Self { stdin }))
    }

    /// Every key goes through unchanged until the guard is dropped.
    pub(super) fn raw(&self) -> Result<Raw<'_>> {
        let before = tcgetattr(&self.stdin).map_err(std::io::Error::from)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&self.stdin, OptionalActions::Now, &raw).map_err(std::io::Error::from)?;
        Ok(Raw { stdin: &self.stdin, before })
    }

    /// Reports the size now and whenever it changes, until the session no longer takes it.
    pub(super) async fn report_sizes(&self, resize: &Writer) {
        // Without the signal the first size is all that is reported.
        let mut changes = signal(SignalKind::window_change()).ok();
        loop {
            if let Ok(size) = tcgetwinsize(&self.stdin) {
                let text = json!({"Width": size.ws_col, "Height": size.ws_row}).to_string();
                if resize.write(text.into()).await.is_err() {
                    return;
                }
            }
            match &mut changes {
                Some(changes) => {
                    changes.recv().await;
                }
                None => return,
            }
        }
    }
}
