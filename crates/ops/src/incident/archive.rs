//! The bundle as a file: a compressed archive that only its owner can read.
//!
//! Invariant: no file is overwritten, and a bundle that is not complete never has the final name.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

/// One file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Its path in the bundle.
    pub path: String,
    /// What it contains.
    pub text: String,
}

/// Writes the files below a folder named like the bundle; returns its size. Blocks.
///
/// # Errors
/// The file exists already, or cannot be written.
pub fn write(out: &Path, files: &[Content], seconds: u64) -> anyhow::Result<u64> {
    if out.exists() {
        bail!("{} exists already: name another file with --out", out.display());
    }
    let unfinished = unfinished(out);
    let written = create(&unfinished)
        .and_then(|file| pack(file, &folder(out), files, seconds))
        .and_then(|()| fs::rename(&unfinished, out))
        .and_then(|()| fs::metadata(out));
    match written {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) => {
            // What is left of it is of no use.
            _ = fs::remove_file(&unfinished);
            Err(error).with_context(|| format!("write {}", out.display()))
        }
    }
}

fn unfinished(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".unfinished");
    name.into()
}

/// The name of the bundle without `.tar.gz`.
fn folder(out: &Path) -> String {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let name = name
        .trim_end_matches(".gz")
        .trim_end_matches(".tgz")
        .trim_end_matches(".tar");
    if name.is_empty() {
        "incident".to_owned()
    } else {
        name.to_owned()
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

fn pack(file: File, folder: &str, files: &[Content], seconds: u64) -> io::Result<()> {
    let mut archive = Builder::new(GzEncoder::new(file, Compression::default()));
    for content in files {
        let mut header = Header::new_gnu();
        header.set_size(content.text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(seconds);
        archive.append_data(
            &mut header,
            format!("{folder}/{}", content.path),
            content.text.as_bytes(),
        )?;
    }
    let file = archive.into_inner()?.finish()?;
    file.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn a_bundle_is_read_by_its_owner_only_and_never_overwritten() {
        let out = std::env::temp_dir().join(format!("dp-archive-{}.tar.gz", std::process::id()));
        let content = |path: &str, text: &str| Content {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let files = [
            content("manifest.json", "{}"),
            content("logs/kafka.log", &"line\n".repeat(10_000)),
        ];
        let size = write(&out, &files, 1_000).unwrap();
        let again = write(&out, &files, 1_000).unwrap_err().to_string();
        let metadata = fs::metadata(&out).unwrap();
        let mut archive = tar::Archive::new(GzDecoder::new(File::open(&out).unwrap()));
        let mut read = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            read.insert(entry.path().unwrap().display().to_string(), text);
        }
        fs::remove_file(&out).unwrap();
        assert!(!unfinished(&out).exists());
        assert!(again.contains("exists already"), "{again}");
        assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (size, 0o600));
        let folder = folder(&out);
        let expected = files.map(|file| (format!("{folder}/{}", file.path), file.text));
        assert_eq!(read, BTreeMap::from(expected));
    }

    #[test]
    fn a_folder_that_does_not_exist_is_named() {
        let error = write(Path::new("/nonexistent/x.tar.gz"), &[], 0)
            .unwrap_err()
            .to_string();
        assert!(error.contains("/nonexistent/x.tar.gz"), "{error}");
    }
}
