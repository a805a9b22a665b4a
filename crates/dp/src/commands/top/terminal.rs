//! The terminal of `dp top`: raw mode and the alternate screen, and back.
//!
//! Invariant: whatever ends the command (a key, an error, SIGTERM, a panic), the terminal is as it was. [`Screenful`] restores it when it
//! is dropped, and a panic does so before its message is printed.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use anyhow::{Context as _, bail};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::sync::mpsc::{self, UnboundedReceiver};

/// How soon the thread that reads keys notices that nobody waits for them.
const POLL: Duration = Duration::from_millis(200);

/// The terminal while `dp top` has it.
pub struct Screenful(pub DefaultTerminal);

impl Screenful {
    /// Takes the terminal.
    ///
    /// # Errors
    /// Standard output or input is no terminal, or one that cannot be controlled.
    pub fn take() -> anyhow::Result<Screenful> {
        let instead = "`dp top --once` prints the figures once, with --json as JSON";
        for (is_terminal, name) in [
            (io::stdout().is_terminal(), "standard output"),
            (io::stdin().is_terminal(), "standard input"),
        ] {
            if !is_terminal {
                bail!("{name} is not a terminal, so there is no screen to draw on; {instead}");
            }
        }
        if std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb") {
            bail!("this terminal cannot be drawn on (TERM is not set, or is dumb); {instead}");
        }
        // Also makes a panic restore the terminal before its message.
        match ratatui::try_init() {
            Ok(terminal) => Ok(Screenful(terminal)),
            Err(error) => {
                ratatui::restore();
                Err(error).context("the terminal cannot be drawn on")
            }
        }
    }
}

impl Drop for Screenful {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Keys and changes of the size, read on their own thread. It ends when the receiver is dropped.
pub fn events() -> UnboundedReceiver<io::Result<Event>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        while !sender.is_closed() {
            let read = match event::poll(POLL) {
                Ok(true) => event::read(),
                Ok(false) => continue,
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if sender.send(read).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

/// Whether colour may be used: not if `NO_COLOR` has a value, whatever it is.
pub fn may_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
