//! Large documents of every format, and the stage that reads them.
//!
//! Role: what the gates of instructions and allocations and the table of costs are measured on. A document has about [`TICKS`] ticks
//! with ordinary names and numbers, nearly all of the day before [`START`]. `tests/formats.rs` fails if a format of the registry has none.

mod pages;
mod tables;

use std::io::{Cursor, Write as _};

use markets::RawMessage;
use normalization::stages::normalize::Normalize;
use ops::simulation::Shape;
use stream::hop::StageOutput;

use crate::inputs::{START, messages, normalizer, raw};

/// Ticks of a document.
pub const TICKS: usize = 5_000;
/// Append time between two documents: longer than the event window, so that the same bytes are a new event.
const APART: i64 = 400_000_000;

/// A format and a document of it.
#[derive(Debug)]
pub struct Document {
    /// The format, and after a slash the variant if the format has several.
    pub name: &'static str,
    /// Value of `dp.format`.
    pub format: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Reads documents of one format, each as a new one.
pub struct Reading {
    stage: Normalize,
    output: StageOutput<'static>,
    number: i64,
}

impl Reading {
    /// A stage that has read nothing.
    ///
    /// # Errors
    /// The default settings are refused.
    pub fn new() -> anyhow::Result<Reading> {
        Ok(Reading {
            stage: normalizer()?,
            output: StageOutput::default(),
            number: 0,
        })
    }

    /// Reads the document once; returns the number of its ticks.
    pub fn read(&mut self, document: &Document) -> usize {
        self.output.clear();
        self.number += 1;
        let message = RawMessage {
            format: Some(document.format),
            offset: self.number,
            appended_at: START + self.number * APART,
            ..raw(&document.bytes, 0)
        };
        self.stage.record(&message, &mut self.output, START);
        self.output.iter().count()
    }

    /// Reads these JSON envelopes; returns the number of ticks.
    pub fn read_envelopes(&mut self, envelopes: &[Vec<u8>]) -> usize {
        let mut ticks = 0;
        for payload in envelopes {
            self.output.clear();
            self.number += 1;
            let message = RawMessage {
                offset: self.number,
                appended_at: START + self.number * APART,
                ..raw(payload, 0)
            };
            self.stage.record(&message, &mut self.output, START);
            ticks += self.output.iter().count();
        }
        ticks
    }
}

/// As many JSON envelopes as a document has ticks.
///
/// # Errors
/// The simulation ends early.
pub fn envelopes() -> anyhow::Result<Vec<Vec<u8>>> {
    messages(Shape::Envelope, TICKS)
}

/// How a document is made.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// That of the document.
    pub name: &'static str,
    make: fn() -> Vec<u8>,
    is_zipped: bool,
}

impl Source {
    /// The document.
    ///
    /// # Errors
    /// The archive cannot be written.
    pub fn document(&self) -> anyhow::Result<Document> {
        let member = (self.make)();
        Ok(Document {
            name: self.name,
            format: self.name.split_once('/').map_or(self.name, |(format, _)| format),
            bytes: if self.is_zipped { archive(&member)? } else { member },
        })
    }
}

/// One source of each variant of each format. To make all documents would take minutes under valgrind, so each is made alone.
pub fn sources() -> Vec<Source> {
    let mut all = tables::sources();
    all.extend(pages::sources());
    all.push(Source {
        is_zipped: true,
        ..source("caiso.oasis.xml/zip", pages::oasis)
    });
    all
}

/// The documents of all [`sources`].
///
/// # Errors
/// An archive cannot be written.
pub fn documents() -> anyhow::Result<Vec<Document>> {
    sources().iter().map(Source::document).collect()
}

fn source(name: &'static str, make: fn() -> Vec<u8>) -> Source {
    Source {
        name,
        make,
        is_zipped: false,
    }
}

fn archive(member: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    archive.start_file("document", options)?;
    archive.write_all(member)?;
    Ok(archive.finish()?.into_inner())
}
