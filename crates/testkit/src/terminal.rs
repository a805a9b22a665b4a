//! A program in a pseudo terminal: what it draws, keys, signals, and whether the terminal is afterwards as it was.
//!
//! Failure: a program that does not draw or end in time is an error with what it has drawn. It is killed with the value.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::PATIENCE;
use anyhow::{Context as _, bail};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};
use parking_lot::Mutex;

const POLL: Duration = Duration::from_millis(20);

/// Sequences of a terminal: the second screen, and back to the first one.
const ENTERED: &str = "\u{1b}[?1049h";
const LEFT: &str = "\u{1b}[?1049l";
const CURSOR_SHOWN: &str = "\u{1b}[?25h";

/// A running program and its terminal.
pub struct InTerminal {
    child: Child,
    keys: File,
    terminal: OwnedFd,
    drawn: Arc<Mutex<Vec<u8>>>,
    flags: LocalFlags,
}

impl InTerminal {
    /// Starts the program in a terminal of this size.
    ///
    /// # Errors
    /// There is no pseudo terminal, or the program does not start.
    pub fn start(mut command: Command, columns: u16, rows: u16) -> anyhow::Result<InTerminal> {
        let size = Winsize {
            ws_col: columns,
            ws_row: rows,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let OpenptyResult { master, slave } = openpty(&size, None).context("open a pseudo terminal")?;
        let flags = tcgetattr(&slave)?.local_flags;
        let child = command
            .env("TERM", "xterm-256color")
            .stdin(slave.try_clone()?)
            .stdout(slave.try_clone()?)
            .stderr(slave.try_clone()?)
            .spawn()
            .context("start the program")?;
        let drawn: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (mut output, into) = (File::from(master.try_clone()?), drawn.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                into.lock().extend_from_slice(bytes.get(..length).unwrap_or_default());
            }
        });
        Ok(InTerminal {
            child,
            keys: File::from(master),
            terminal: slave,
            drawn,
            flags,
        })
    }

    /// Everything that it has written, with the sequences that control the terminal.
    pub fn drawn(&self) -> String {
        String::from_utf8_lossy(&self.drawn.lock()).into_owned()
    }

    /// Waits until it has written this.
    ///
    /// # Errors
    /// It has not in time.
    pub fn wait_for(&self, text: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.drawn().contains(text) {
            if Instant::now() > deadline {
                bail!(
                    "{text:?} is not drawn within {} s: {:?}",
                    PATIENCE.as_secs(),
                    self.drawn()
                );
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Presses keys.
    ///
    /// # Errors
    /// The terminal is closed.
    pub fn press(&mut self, keys: &str) -> anyhow::Result<()> {
        self.keys.write_all(keys.as_bytes()).context("press a key")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has ended; its status, and what it has written.
    ///
    /// # Errors
    /// It has not in time.
    pub fn wait(&mut self) -> anyhow::Result<(ExitStatus, String)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok((status, self.drawn()));
            }
            if Instant::now() > deadline {
                bail!("it has not ended within {} s: {:?}", PATIENCE.as_secs(), self.drawn());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Whether it uses the second screen, without echo and without lines.
    ///
    /// # Errors
    /// The terminal is closed.
    pub fn is_taken(&self) -> anyhow::Result<bool> {
        let drawn = self.drawn();
        let flags = tcgetattr(&self.terminal)?.local_flags;
        let is_raw = !flags.intersects(LocalFlags::ECHO | LocalFlags::ICANON);
        Ok(is_raw && drawn.rfind(ENTERED) > drawn.rfind(LEFT))
    }

    /// Waits until the first screen with a cursor is back, with echo and lines as before: the end of the output may come late.
    ///
    /// # Errors
    /// It is not in time.
    pub fn wait_restored(&self) -> anyhow::Result<()> {
        self.wait_for(LEFT)?;
        self.wait_for(CURSOR_SHOWN)?;
        let flags = tcgetattr(&self.terminal)?.local_flags;
        if flags != self.flags {
            bail!("the terminal has the flags {flags:?} instead of {:?}", self.flags);
        }
        Ok(())
    }
}

impl Drop for InTerminal {
    fn drop(&mut self) {
        // It may have ended.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
