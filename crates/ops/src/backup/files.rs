//! The files of a backup: compressed text, with a checksum of what is on the disk.
//!
//! Invariant: only the owner of the backup can read it: reference data and hashes of keys are in it.
//! Failure: a file that differs from its checksum is named and never loaded.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Bytes of text that are loaded at once.
const PIECE: usize = 1 << 20;

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Path within the backup.
    pub path: String,
    /// Rows.
    pub rows: u64,
    /// Size.
    pub bytes: u64,
    /// Checksum of the file as it is on the disk.
    pub sha256: String,
}

/// Creates a file that only its owner can read, or truncates it.
pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// Creates a folder that only its owner can enter, with those above it.
pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Counts and hashes what it passes on.
struct Summed<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A file that is being written.
pub struct FileWriter {
    gz: GzEncoder<Summed<BufWriter<File>>>,
    path: String,
    lines: u64,
    last: Option<u8>,
}

impl FileWriter {
    /// Begins the file at this path within the backup.
    ///
    /// # Errors
    /// The disk.
    pub fn create(backup: &Path, path: String) -> anyhow::Result<FileWriter> {
        let full = backup.join(&path);
        let open = || {
            if let Some(folder) = full.parent() {
                create_folder(folder)?;
            }
            create(&full)
        };
        let file = open().with_context(|| format!("create {}", full.display()))?;
        let summed = Summed {
            inner: BufWriter::new(file),
            hash: Sha256::new(),
            bytes: 0,
        };
        Ok(FileWriter {
            gz: GzEncoder::new(summed, Compression::fast()),
            path,
            lines: 0,
            last: None,
        })
    }

    /// Adds text.
    ///
    /// # Errors
    /// The disk.
    pub fn write(&mut self, text: &[u8]) -> anyhow::Result<()> {
        self.lines += text.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.last = text.last().copied().or(self.last);
        self.gz.write_all(text).with_context(|| format!("write {}", self.path))
    }

    /// Lines so far.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The last byte of the text.
    pub fn last(&self) -> Option<u8> {
        self.last
    }

    /// Ends the file, and waits until it is on the disk. `headers` of its lines are no rows.
    ///
    /// # Errors
    /// The disk.
    pub fn finish(self, headers: u64) -> anyhow::Result<FileEntry> {
        let (path, rows) = (self.path, self.lines.saturating_sub(headers));
        let end = || -> io::Result<(u64, String)> {
            let summed = self.gz.finish()?;
            let (bytes, sum) = (summed.bytes, hex::encode(summed.hash.finalize()));
            summed
                .inner
                .into_inner()
                .map_err(io::IntoInnerError::into_error)?
                .sync_all()?;
            Ok((bytes, sum))
        };
        let (bytes, sha256) = end().with_context(|| format!("write {path}"))?;
        Ok(FileEntry {
            path,
            rows,
            bytes,
            sha256,
        })
    }
}

/// The text of a file, piece by piece.
pub struct FileReader {
    text: GzDecoder<BufReader<File>>,
    path: String,
}

impl FileReader {
    /// Opens a file of a backup.
    ///
    /// # Errors
    /// The disk.
    pub fn open(backup: &Path, entry: &FileEntry) -> anyhow::Result<FileReader> {
        let full = backup.join(&entry.path);
        let file = File::open(&full).with_context(|| format!("read {}", full.display()))?;
        Ok(FileReader {
            text: GzDecoder::new(BufReader::new(file)),
            path: entry.path.clone(),
        })
    }

    /// The next piece; none at the end.
    ///
    /// # Errors
    /// The disk, or a file that is damaged.
    pub fn next_piece(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let mut piece = Vec::with_capacity(PIECE);
        let read = self.text.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        read.with_context(|| format!("read {}", self.path))?;
        Ok((!piece.is_empty()).then_some(piece))
    }
}

/// Compares a file with its entry; `read` is told the bytes read so far.
///
/// # Errors
/// How it differs.
pub fn check(backup: &Path, entry: &FileEntry, mut read: impl FnMut(u64)) -> anyhow::Result<()> {
    let full = backup.join(&entry.path);
    let mut file = match File::open(&full) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!("the file is missing"),
        file => file?,
    };
    let (mut hash, mut buffer, mut bytes) = (Sha256::new(), vec![0; PIECE], 0_u64);
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hash.update(buffer.get(..count).unwrap_or_default());
        bytes += count as u64;
        read(bytes);
    }
    if bytes != entry.bytes {
        bail!("the file has {bytes} bytes, the manifest says {}", entry.bytes);
    }
    if hex::encode(hash.finalize()) != entry.sha256 {
        bail!("the content differs from its SHA-256 sum in the manifest");
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_read_as_it_was_written_and_a_changed_byte_is_noticed() {
        let backup = std::env::temp_dir().join(format!("dp-files-{}", std::process::id()));
        let mut writer = FileWriter::create(&backup, "clickhouse/t/day.tsv.gz".to_owned()).unwrap();
        writer.write(b"a\tb\n1\t").unwrap();
        writer.write(b"2\n3\t4\n").unwrap();
        assert_eq!((writer.lines(), writer.last()), (3, Some(b'\n')));
        let entry = writer.finish(1).unwrap();
        assert_eq!(entry.rows, 2);
        let mut reader = FileReader::open(&backup, &entry).unwrap();
        assert_eq!(reader.next_piece().unwrap().unwrap(), b"a\tb\n1\t2\n3\t4\n");
        assert!(reader.next_piece().unwrap().is_none());
        check(&backup, &entry, |_| ()).unwrap();
        let path = backup.join(&entry.path);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert!(
            check(&backup, &entry, |_| ())
                .unwrap_err()
                .to_string()
                .contains("SHA-256")
        );
        bytes.pop();
        std::fs::write(&path, &bytes).unwrap();
        assert!(
            check(&backup, &entry, |_| ())
                .unwrap_err()
                .to_string()
                .contains("bytes")
        );
        std::fs::remove_dir_all(&backup).unwrap();
        assert!(
            check(&backup, &entry, |_| ())
                .unwrap_err()
                .to_string()
                .contains("missing")
        );
    }
}
