//! The event window of one raw partition in two files, so that a restarted process does not read it back from the log.
//!
//! Role: a cache of what reading back would give. Entries are appended in the order of the log; when the newer file has as many
//! as a window can hold, it replaces the older one.
//! Invariant (INV-1): entries are used only if the same program with the same settings wrote them without a gap, if they reach
//! back far enough, and if the log still has the record of the last one used. Entries from the committed offset on are not used:
//! those messages are processed again.
//! Failure: whatever is missing, damaged or locked by a process that still lives is read back from the log. Never an error.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use domain::{EventKey, Micros};

/// Bytes of an entry: offset, append time, and both parts of the event.
const ENTRY: usize = 32;
/// Before the entries of a block: their length, and the hash of the block.
const BLOCK_HEAD: usize = 16;
/// Before the blocks of a file: the program and its settings.
const FILE_HEAD: usize = 8;
const BUFFERED: usize = 64 << 10;
/// What a killed process has not written is read back.
const WRITE_EVERY: Duration = Duration::from_millis(250);

/// A message that the window has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) offset: i64,
    pub(super) appended_at: Micros,
    pub(super) key: EventKey,
}

impl Entry {
    fn to_bytes(self) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        let words = [self.offset as u64, self.appended_at as u64, self.key.id, self.key.facts];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Entry {
        let word = |index: usize| word_at(bytes, index * 8);
        Entry {
            offset: word(0) as i64,
            appended_at: word(1) as i64,
            key: EventKey {
                id: word(2),
                facts: word(3),
            },
        }
    }
}

fn word_at(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
    word.map_or(0, u64::from_le_bytes)
}

/// Identifies the program and the settings that decide what an event is. A new build reads back once.
pub(super) fn fingerprint(settings: &impl std::fmt::Debug) -> u64 {
    let program = std::env::current_exe().and_then(fs::metadata);
    let program = program.and_then(|file| Ok((file.len(), file.modified()?))).ok();
    hash(&(program, format!("{settings:?}")))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The files of one partition, held by one process.
pub(super) struct WindowFile {
    newer: PathBuf,
    older: PathBuf,
    fingerprint: u64,
    most: u64,
    /// Held while this process writes.
    _lock: File,
    file: Option<File>,
    /// Entries in the newer file, buffered ones included.
    count: u64,
    buffer: Vec<u8>,
    next: Option<i64>,
    written: Instant,
}

impl WindowFile {
    /// The files `name.*` in this folder, with at most this many entries each. Fails if another process holds them.
    pub(super) fn open(folder: &Path, name: &str, fingerprint: u64, most: u32) -> io::Result<WindowFile> {
        fs::create_dir_all(folder)?;
        let path = |kind: &str| folder.join(format!("{name}.{kind}"));
        let lock = File::options().create(true).append(true).open(path("lock"))?;
        lock.try_lock().map_err(io::Error::other)?;
        Ok(WindowFile {
            newer: path("new"),
            older: path("old"),
            fingerprint,
            most: u64::from(most),
            _lock: lock,
            file: None,
            count: 0,
            buffer: Vec::new(),
            next: None,
            written: Instant::now(),
        })
    }

    /// Passes the entries of `[from, committed)` to `each`, in order; returns the offset from which the log is to be read.
    /// Entries that cannot be used are removed. After an error, none was passed.
    pub(super) fn recall(
        &mut self,
        (from, committed): (i64, i64),
        time_at: &dyn Fn(i64) -> Option<Micros>,
        each: &mut dyn FnMut(Entry),
    ) -> io::Result<i64> {
        let (older, newer) = (self.read(&self.older)?, self.read(&self.newer)?);
        let (old_blocks, new_blocks): (Vec<&[u8]>, Vec<&[u8]>) = (blocks(&older).collect(), blocks(&newer).collect());
        let entries = || old_blocks.iter().chain(&new_blocks).flat_map(|block| entries_of(block));
        let last = entries().filter(|entry| entry.offset < committed).last();
        let (Some(first), Some(last)) = (entries().next(), last) else {
            return self.start_over(from);
        };
        let is_whole = bytes_of(&old_blocks) == older.len();
        if !is_whole || first.offset > from || last.offset < from || time_at(last.offset) != Some(last.appended_at) {
            return self.start_over(from);
        }
        self.next = entries().last().map(|entry| entry.offset + 1);
        self.count = new_blocks.iter().map(|block| (block.len() / ENTRY) as u64).sum();
        if !new_blocks.is_empty() {
            let file = File::options().append(true).open(&self.newer)?;
            // What follows the last whole block was cut off when the process or the machine ended.
            file.set_len((FILE_HEAD + bytes_of(&new_blocks)) as u64)?;
            self.file = Some(file);
        }
        entries()
            .filter(|entry| (from..committed).contains(&entry.offset))
            .for_each(each);
        Ok(last.offset + 1)
    }

    /// Adds a message; one that the files have already is skipped.
    pub(super) fn append(&mut self, entry: Entry) {
        if self.next.is_none_or(|next| entry.offset >= next) {
            if self.buffer.is_empty() {
                self.buffer.resize(BLOCK_HEAD, 0);
            }
            self.buffer.extend_from_slice(&entry.to_bytes());
            self.count += 1;
            self.next = Some(entry.offset + 1);
        }
    }

    /// Writes what is buffered, if it is much or old.
    pub(super) fn turn(&mut self) -> io::Result<()> {
        if self.buffer.len() >= BUFFERED || (!self.buffer.is_empty() && self.written.elapsed() >= WRITE_EVERY) {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what is buffered.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let (Some(length), Some(sum)) = (
            self.buffer.len().checked_sub(BLOCK_HEAD),
            self.buffer.get(BLOCK_HEAD..).map(|entries| hash(&entries)),
        ) else {
            return Ok(());
        };
        if let Some(head) = self.buffer.first_chunk_mut::<BLOCK_HEAD>() {
            head[..8].copy_from_slice(&(length as u64).to_le_bytes());
            head[8..].copy_from_slice(&sum.to_le_bytes());
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.create()?,
        };
        file.write_all(&self.buffer)?;
        self.buffer.clear();
        self.written = Instant::now();
        self.file = Some(file);
        if self.count >= self.most {
            fs::rename(&self.newer, &self.older)?;
            (self.file, self.count) = (None, 0);
        }
        Ok(())
    }

    /// Removes the files: a gap in them must not look like the log.
    pub(super) fn remove(&self) {
        for path in [&self.older, &self.newer] {
            if let Err(error) = fs::remove_file(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "cannot remove an unusable event window: delete it");
            }
        }
    }

    fn start_over(&mut self, from: i64) -> io::Result<i64> {
        self.remove();
        Ok(from)
    }

    fn create(&self) -> io::Result<File> {
        let mut file = File::options()
            .create(true)
            .write(true)
            .truncate(true)
            .open(&self.newer)?;
        file.write_all(&self.fingerprint.to_le_bytes())?;
        Ok(file)
    }

    /// The blocks of a file; empty if another program wrote it.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match fs::read(path) {
            Ok(bytes) if word_at(&bytes, 0) == self.fingerprint => {
                Ok(bytes.get(FILE_HEAD..).unwrap_or_default().to_vec())
            }
            Ok(_) => Ok(Vec::new()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// The entries of each whole block, up to the first damaged one.
fn blocks(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (head, rest) = bytes.split_at_checked(BLOCK_HEAD)?;
        let length = usize::try_from(word_at(head, 0)).ok()?;
        let (entries, rest) = rest.split_at_checked(length)?;
        bytes = rest;
        (word_at(head, 8) == hash(&entries)).then_some(entries)
    })
}

fn bytes_of(blocks: &[&[u8]]) -> usize {
    blocks.iter().map(|block| BLOCK_HEAD + block.len()).sum()
}

fn entries_of(block: &[u8]) -> impl Iterator<Item = Entry> {
    block.chunks_exact(ENTRY).map(Entry::from_bytes)
}

#[cfg(test)]
#[path = "window_file_tests.rs"]
mod tests;
