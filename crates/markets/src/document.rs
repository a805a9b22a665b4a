//! Documents: one message, many ticks.

use crate::format::{FORMATS, MISO_RT5_EXPOST};
use crate::miso;
use crate::rejection::{RejectCode, Rejection};

/// A document whose frame has been read. Its rows are read when they are emitted.
pub(crate) enum Document<'a> {
    MisoRt5(miso::Document<'a>),
}

impl<'a> Document<'a> {
    /// Reads the frame of a document of this format.
    pub(crate) fn read(format: &str, payload: &'a [u8]) -> Result<Document<'a>, Rejection> {
        if format == MISO_RT5_EXPOST {
            return miso::Document::read(payload).map(Document::MisoRt5);
        }
        let message = if FORMATS.iter().any(|known| known.name == format) {
            format!("documents of format {format} are not supported yet")
        } else {
            let shown: String = format.chars().take(60).collect();
            format!(
                "header dp.format is '{}', which is not a known format",
                shown.escape_debug()
            )
        };
        Err(Rejection::new(RejectCode::UnsupportedFormat, message))
    }

    /// Name of the market that publishes the document.
    pub(crate) fn market(&self) -> &'static str {
        match self {
            Document::MisoRt5(_) => "MISO",
        }
    }

    pub(crate) fn rows(&self) -> usize {
        match self {
            Document::MisoRt5(document) => document.rows(),
        }
    }
}
