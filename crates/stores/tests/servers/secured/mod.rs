//! The clients against secured real servers: TLS, users with the rights of docs/security.md, a transaction pooler, a cluster.
//! Each misconfiguration is one error that names it and the setting.

mod clickhouse;
mod documented;
mod notifications;
mod postgres;
mod redis;

use std::path::PathBuf;

use domain::Classified as _;
use domain::ErrorClass;
use security::Trust;
use stores::StoreError;
use tempfile::TempDir;
use testkit::certificates::Authority;

/// An authority, and the trust settings of its clients.
struct Private {
    authority: Authority,
    trust: Trust,
    _folder: TempDir,
}

fn private() -> Private {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("private").unwrap();
    let file: PathBuf = authority.write(folder.path(), "ca.pem").unwrap();
    Private {
        authority,
        trust: Trust::with_authority(file).unwrap(),
        _folder: folder,
    }
}

/// The error is fatal, has this code, and contains these words.
#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, StoreError>, code: &str, words: &[&str]) {
    let error = result.expect_err("refused");
    let shown = error.to_string();
    assert_eq!((error.class(), error.code()), (ErrorClass::Fatal, code), "{shown}");
    for word in words {
        assert!(shown.contains(word), "'{word}' is missing: {shown}");
    }
    for secret in ["app-secret", "wrong-secret"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
