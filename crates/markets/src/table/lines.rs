//! The lines of a text.

use memchr::{memchr, memrchr};

/// The lines of a text, without blank ones, and their numbers from 1.
#[derive(Debug, Clone)]
pub(crate) struct Lines<'a> {
    pub(super) rest: &'a str,
    /// What separates lines. One that begins with a carriage return only is not mixed with the others.
    pub(super) end: u8,
    pub(super) number: u64,
}

/// One line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    pub number: u64,
    pub text: &'a str,
    /// Whether the text of the document ends before the end of the line.
    pub is_open: bool,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Lines<'a> {
        let end = match memchr(b'\n', text.as_bytes()) {
            Some(_) => b'\n',
            None => b'\r',
        };
        Lines {
            rest: text,
            end,
            number: 0,
        }
    }

    /// Whether the last of these lines has no end, and is a row.
    pub(super) fn last_is_open(&self, is_row: fn(&str) -> bool) -> bool {
        let at = memrchr(self.end, self.rest.as_bytes()).map_or(0, |at| at + 1);
        let last = self.rest.get(at..).unwrap_or_default();
        !last.ends_with('\r') && !is_blank(last) && is_row(last)
    }
}

fn is_blank(line: &str) -> bool {
    line.bytes()
        .all(|byte| matches!(byte, b' ' | b',' | b'"' | b'\t' | b'\r' | b'\x1A'))
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        while !self.rest.is_empty() {
            let at = memchr(self.end, self.rest.as_bytes());
            let split = at.and_then(|at| Some((self.rest.get(..at)?, self.rest.get(at + 1..)?)));
            let (text, is_open) = match split {
                Some((text, rest)) => {
                    self.rest = rest;
                    (text, false)
                }
                // A carriage return is the beginning of the end of the line.
                None => (std::mem::take(&mut self.rest), true),
            };
            self.number += 1;
            let closed = text.strip_suffix('\r');
            let line = Line {
                number: self.number,
                text: closed.unwrap_or(text),
                is_open: is_open && closed.is_none(),
            };
            if !is_blank(line.text) {
                return Some(line);
            }
        }
        None
    }
}
