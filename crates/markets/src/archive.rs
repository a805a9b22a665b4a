//! Archives: a document may be the only member of a ZIP file.
//!
//! Invariant: at most `limit` bytes are unpacked, whatever sizes the archive claims.
//! Failure: `oversize` for a larger member, otherwise `schema_violation`.

use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::read::ZipFile;

use crate::rejection::{RejectCode, Rejection, excerpt};

/// Whether the bytes begin like a ZIP file, also an empty one.
pub(crate) fn is_zip(payload: &[u8]) -> bool {
    payload.starts_with(b"PK\x03\x04") || payload.starts_with(b"PK\x05\x06")
}

/// Unpacks the only member of the archive into `out`.
pub(crate) fn unpack(payload: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Rejection> {
    with_member(payload, |mut member| {
        // A buffer that one large archive needed is not kept for all later messages.
        if out.capacity() > limit / 8 {
            *out = Vec::new();
        }
        out.clear();
        let most = u64::try_from(limit).unwrap_or(u64::MAX);
        let unread = |error| broken(&format!("its member cannot be unpacked: {error}"));
        // The claimed size is not trusted: reading stops one byte after the limit.
        member
            .by_ref()
            .take(most.saturating_add(1))
            .read_to_end(out)
            .map_err(unread)?;
        if out.len() > limit {
            *out = Vec::new();
            let message = format!("the member of the archive has more than {limit} bytes unpacked, which is the limit");
            return Err(Rejection::new(RejectCode::Oversize, message));
        }
        if is_zip(out) {
            return Err(broken("its member is an archive itself"));
        }
        Ok(())
    })
}

/// The name of the only member, and its first bytes, for detecting its format.
pub(crate) fn peek(payload: &[u8], bytes: u64) -> Option<(String, Vec<u8>)> {
    with_member(payload, |member| {
        let name = member.name().to_owned();
        let mut head = Vec::new();
        let unread = |error| broken(&format!("{error}"));
        member.take(bytes).read_to_end(&mut head).map_err(unread)?;
        Ok((name, head))
    })
    .ok()
}

/// Why the document of an archive cannot be read, as far as its first bytes tell; `None` if it can, or if the bytes are no archive.
pub fn archive_problem(payload: &[u8]) -> Option<String> {
    const LOOKED_AT: u64 = 1 << 20;
    let read = |member: ZipFile<'_, Cursor<&[u8]>>| {
        let unread = |error| broken(&format!("its member cannot be unpacked: {error}"));
        std::io::copy(&mut member.take(LOOKED_AT), &mut std::io::sink()).map_err(unread)
    };
    let rejection = is_zip(payload).then(|| with_member(payload, read).err())?;
    rejection.map(|rejection| rejection.message)
}

fn with_member<T>(
    payload: &[u8],
    read: impl FnOnce(ZipFile<'_, Cursor<&[u8]>>) -> Result<T, Rejection>,
) -> Result<T, Rejection> {
    let mut archive =
        ZipArchive::new(Cursor::new(payload)).map_err(|error| broken(&format!("it cannot be read: {error}")))?;
    let mut members = (0..archive.len()).filter(|index| {
        archive.name_for_index(*index).is_some_and(|name| {
            // Folders, and what one desktop system adds to the archives it makes.
            !name.ends_with('/') && !name.starts_with("__MACOSX/")
        })
    });
    let (first, others) = (members.next(), members.count());
    let Some(first) = first else {
        return Err(broken("it has no member"));
    };
    if others > 0 {
        let names: Vec<String> = archive.file_names().take(3).map(excerpt).collect();
        return Err(broken(&format!(
            "it has {} members ({}, …); a document is the only one of its archive",
            others + 1,
            names.join(", ")
        )));
    }
    let member = archive
        .by_index(first)
        .map_err(|error| broken(&format!("its member cannot be read: {error}")))?;
    read(member)
}

#[cold]
fn broken(why: &str) -> Rejection {
    Rejection::new(
        RejectCode::SchemaViolation,
        format!("the message is a ZIP archive, but {why}"),
    )
}
