//! `dp schema register` on a registry that keeps one subject: nothing is sent that the programs or the registry object to, or without --yes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

/// The versions of subject `bar`, the oldest first.
type Versions = Arc<Mutex<Vec<String>>>;

/// A registry that accepts further versions only if it is lenient.
fn registry(is_lenient: bool) -> (String, Versions) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let versions = Versions::default();
    let kept = Arc::clone(&versions);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (path, schema) = read(&stream);
            let (status, body) = answer(&path, schema, &mut kept.lock(), is_lenient);
            let _closed_early = write!(&stream, "HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n{body}");
        }
    });
    (url, versions)
}

/// Path and schema of a request.
fn read(stream: &TcpStream) -> (String, String) {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_ascii_lowercase()
    };
    let path = line().split(' ').nth(1).unwrap().to_owned();
    let mut length = 0;
    loop {
        let header = line();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    (path, body["schema"].as_str().unwrap().to_owned())
}

fn answer(path: &str, schema: String, versions: &mut Vec<String>, is_lenient: bool) -> (u16, Value) {
    let missing = (404, json!({ "error_code": 40401, "message": "not found" }));
    match path {
        "/subjects/bar" => match versions.iter().position(|known| *known == schema) {
            Some(at) => (200, json!({ "subject": "bar", "id": at + 100, "version": at + 1 })),
            None => missing,
        },
        _ if path.starts_with("/compatibility/subjects/bar/versions/latest") => match versions.is_empty() {
            true => missing,
            false => (
                200,
                json!({ "is_compatible": is_lenient, "messages": ["READER_FIELD_MISSING"] }),
            ),
        },
        "/subjects/bar/versions" => {
            versions.push(schema);
            (200, json!({ "id": versions.len() + 99 }))
        }
        _ => (404, json!("no such path")),
    }
}

fn dp(url: Option<&str>, arguments: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_dp"))
        .args(["schema", "register"])
        .args(arguments)
        .env_clear()
        .envs(url.map(|url| ("DATA_PROC_SCHEMA_REGISTRY_URL", url)))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (status.code().unwrap_or(-1), text(&stdout) + &text(&stderr))
}

fn current() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/avro/bar.avsc");
    std::fs::read_to_string(path).unwrap()
}

/// The current schema of bars with one more field, in a file.
fn with_field(folder: &Path, name: &str, field: &Value) -> String {
    let mut schema: Value = serde_json::from_str(&current()).unwrap();
    schema["fields"].as_array_mut().unwrap().push(field.clone());
    let path = folder.join(name);
    std::fs::write(&path, schema.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_schema_is_registered_once_and_only_on_request() {
    let (url, versions) = registry(true);
    let folder = tempfile::tempdir().unwrap();
    let field = json!({ "name": "added", "type": "long", "default": 0 });
    let file = with_field(folder.path(), "bar.avsc", &field);
    for arguments in [&[file.as_str()][..], &[file.as_str(), "--dry-run", "--yes"]] {
        let (code, text) = dp(Some(&url), arguments);
        assert!(code == 0 && text.contains("nothing was registered"), "{code} {text}");
        assert!(
            text.contains("--yes` makes it the next version of subject bar"),
            "{text}"
        );
    }
    assert!(versions.lock().is_empty());

    let (code, text) = dp(Some(&url), &[&file, "--yes", "--json"]);
    let registered: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (code, &registered["executed"], &registered["registered"]),
        (0, &json!(true), &json!({ "id": 100, "version": 1 }))
    );
    let (code, text) = dp(Some(&url), &[&file, "--yes"]);
    assert!(
        code == 0 && text.contains("already version 1 of subject bar"),
        "{code} {text}"
    );
    assert_eq!(*versions.lock(), [std::fs::read_to_string(&file).unwrap()]);
}

#[test]
fn what_the_programs_or_the_registry_object_to_is_not_registered() {
    let (url, versions) = registry(false);
    let folder = tempfile::tempdir().unwrap();
    // Records without the field exist, and it has no default.
    let field = json!({ "name": "added", "type": "long" });
    let file = with_field(folder.path(), "unreadable.avsc", &field);
    let (code, text) = dp(Some(&url), &[&file, "--yes"]);
    assert!(
        code == 1 && text.contains("cannot be read with this one"),
        "{code} {text}"
    );
    assert!(versions.lock().is_empty());

    versions.lock().push("an earlier one".to_owned());
    let field = json!({ "name": "added", "type": "long", "default": 0 });
    let file = with_field(folder.path(), "bar.avsc", &field);
    let (code, text) = dp(Some(&url), &[&file, "--yes"]);
    assert!(code == 1 && text.contains("READER_FIELD_MISSING"), "{code} {text}");
    assert_eq!(versions.lock().len(), 1);
}

#[test]
fn a_registry_that_is_not_there_and_a_schema_that_is_not_ours_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let ours = write("bar.avsc", &current());
    let (code, text) = dp(None, &[&ours]);
    assert!(
        code == 2 && text.contains("set DATA_PROC_SCHEMA_REGISTRY_URL"),
        "{code} {text}"
    );
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, text) = dp(Some(&format!("http://{closed}")), &[&ours]);
    assert!(code == 2 && text.contains(&closed.to_string()), "{code} {text}");

    let (url, versions) = registry(true);
    let foreign = write("other.avsc", r#"{"type":"record","name":"other","fields":[]}"#);
    let (code, text) = dp(Some(&url), &[&foreign, "--yes"]);
    assert!(
        code == 2 && text.contains("no schema of the pipeline has the name"),
        "{code} {text}"
    );
    let (code, text) = dp(Some(&url), &["missing.avsc"]);
    assert!(code == 2 && text.contains("read missing.avsc"), "{code} {text}");
    assert!(versions.lock().is_empty());
}
