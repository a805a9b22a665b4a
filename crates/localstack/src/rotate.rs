//! A log file of bounded size: when it is full it becomes `FILE.1`, and `FILE.1` becomes `FILE.2`.
//!
//! Invariant: no line is split, and none is lost while the disk accepts writes. Failure: output that cannot be written is
//! discarded, since a process that waits for its log would hang.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Size of one file; three files are kept.
const LIMIT: u64 = 10_000_000;
const CHUNK: usize = 64 << 10;

/// Appends the input to the file until the input ends.
///
/// # Errors
/// The file cannot be opened, or the input cannot be read.
pub fn append_rotating(input: &mut impl Read, path: &Path) -> io::Result<()> {
    append(input, path, LIMIT)
}

fn append(input: &mut impl Read, path: &Path, limit: u64) -> io::Result<()> {
    let mut file = open(path)?;
    let mut length = file.metadata()?.len();
    let mut at_line_end = true;
    let mut chunk = vec![0_u8; CHUNK];
    loop {
        let count = match input.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let bytes = chunk.get(..count).unwrap_or_default();
        let is_full = length > 0 && length + count as u64 > limit;
        // The part that still belongs to the full file: the rest of its last line.
        let kept = match bytes.iter().position(|byte| *byte == b'\n') {
            _ if !is_full => count,
            _ if at_line_end => 0,
            Some(end) => end + 1,
            None => count,
        };
        let (old, new) = bytes.split_at(kept);
        length += write(&mut file, old);
        if !new.is_empty() && rotate(path).is_ok() {
            (file, length) = (open(path)?, 0);
        }
        length += write(&mut file, new);
        at_line_end = bytes.ends_with(b"\n");
    }
}

fn write(file: &mut File, bytes: &[u8]) -> u64 {
    match file.write_all(bytes) {
        Ok(()) => bytes.len() as u64,
        Err(_) => 0,
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

fn rotate(path: &Path) -> io::Result<()> {
    let older = |number: u8| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    match fs::rename(older(1), older(2)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(path, older(1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Input in pieces of this size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let size = self.1.min(buffer.len());
            (&mut self.0).take(size as u64).read(buffer)
        }
    }

    #[test]
    fn three_files_contain_the_newest_lines_complete_and_in_order() {
        let lines: Vec<String> = (0..1_000).map(|number| format!("line {number}\n")).collect();
        for size in [1, 7, 64, 900] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.log");
            append(&mut Pieces(lines.concat().as_bytes(), size), &path, 200).unwrap();
            let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
            let kept = [read("a.log.2"), read("a.log.1"), read("a.log")].concat();
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "pieces of {size}");
            assert!(
                lines.concat().ends_with(&kept) && kept.starts_with("line "),
                "pieces of {size}: {kept}"
            );
            assert!(
                kept.len() > 250 && kept.len() < 3_000,
                "pieces of {size}: {} bytes",
                kept.len()
            );
        }
    }

    #[test]
    fn a_later_run_appends_to_the_log_of_the_earlier_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        append(&mut &b"one\n"[..], &path, 100).unwrap();
        append(&mut &b"two\n"[..], &path, 100).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }
}
