//! Runs the ClickHouse engine from `libchdb.so`: `dp-clickhouse [--folder DIR] [--user UID:GID] LIBRARY ARGUMENTS…`.
//!
//! Role: the library exports the whole `clickhouse local` program as one C function. With listen options and a query that
//! never ends, it serves the real HTTP and native protocols. It needs a separate program, because the engine ends with its
//! process and handles the process's signals, so it cannot run inside `dp` or a test.
//! With `--folder` the engine can access only that folder, and with `--user` it runs as that user ([`mod@confine`]). The folder's
//! `data` is prepared for the engine's system logs ([`mod@system_database`]).
//! Failure: the engine's error text goes to stderr, exit code 1; invalid arguments, exit code 2.
#![allow(unsafe_code)] // Calls a C function of a library that is loaded at run time, which has no safe interface.

mod confine;
mod full_disk;
mod system_database;

use std::ffi::{CStr, CString, OsString, c_char, c_int, c_void};
use std::io::Write;
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use libloading::{Library, Symbol};

/// `struct local_result_v2` of `chdb.h`.
#[repr(C)]
struct LocalResult {
    buffer: *const c_char,
    length: usize,
    vector: *mut c_void,
    elapsed: f64,
    rows_read: u64,
    bytes_read: u64,
    error_message: *const c_char,
}

type QueryStable = unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut LocalResult;

/// The engine's `--path` within `--folder`.
const DATA: &str = "data";

/// The command line.
struct Asked {
    folder: Option<PathBuf>,
    user: Option<String>,
    library: OsString,
    arguments: Vec<OsString>,
}

impl Asked {
    fn read(mut words: impl Iterator<Item = OsString>) -> Option<Asked> {
        let (mut folder, mut user) = (None, None);
        loop {
            let word = words.next()?;
            match word.to_str() {
                Some("--folder") => folder = Some(PathBuf::from(words.next()?)),
                Some("--user") => user = Some(words.next()?.into_string().ok()?),
                _ => {
                    return Some(Asked {
                        folder,
                        user,
                        library: word,
                        arguments: words.collect(),
                    });
                }
            }
        }
    }
}

fn main() -> ExitCode {
    let Some(asked) = Asked::read(std::env::args_os().skip(1)) else {
        eprintln!("usage: dp-clickhouse [--folder DIR] [--user UID:GID] LIBRARY ARGUMENTS…");
        return ExitCode::from(2);
    };
    match run(&asked) {
        Ok(output) => {
            // The output of a query that ended; its reader may be gone.
            let _reader_gone = std::io::stdout().write_all(&output);
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Drops access that the engine does not need; the library is readable until the user is switched.
fn confine(asked: &Asked) {
    let Some(folder) = &asked.folder else { return };
    let own = std::env::current_exe().unwrap_or_default();
    let readable = [PathBuf::from(&asked.library), own];
    if let Err(why) = confine::to_folder(folder, &readable) {
        eprintln!("the engine is not confined to {}: {why}", folder.display());
    }
}

/// Runs the engine until it ends, and returns the output of its queries.
fn run(asked: &Asked) -> Result<Vec<u8>, String> {
    let owned: Vec<CString> = std::iter::once(&OsString::from("clickhouse"))
        .chain(&asked.arguments)
        .map(|argument| CString::new(argument.as_bytes()))
        .collect::<Result<_, _>>()
        .map_err(|_| "an argument contains a zero byte".to_owned())?;
    let count = c_int::try_from(owned.len()).map_err(|_| "too many arguments".to_owned())?;
    let mut pointers: Vec<*mut c_char> = owned.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
    // As for C's `main`: the list ends with a null pointer that is not counted.
    pointers.push(std::ptr::null_mut());

    confine(asked);
    // SAFETY: the library is the verified download of a pinned version; its initialisers, which run on loading, require nothing
    // of the process.
    let engine = unsafe { Library::new(&asked.library) }
        .map_err(|error| format!("cannot load {}: {error}", asked.library.to_string_lossy()))?;
    // Never unloaded: threads of the engine may still use it when the process ends.
    let engine = ManuallyDrop::new(engine);
    // SAFETY: `chdb.h` of this version declares the function with this type.
    let query: Symbol<'_, QueryStable> =
        unsafe { engine.get(b"query_stable_v2\0") }.map_err(|error| format!("not the expected library: {error}"))?;
    if let Some(user) = &asked.user {
        confine::to_user(user)?;
    }
    if let Some(folder) = &asked.folder
        && let Err(why) = system_database::declare(&folder.join(DATA))
    {
        eprintln!("statements are not logged: {why}");
    }
    // SAFETY: `pointers` contains `count` zero-terminated strings that live until after the call, and a final null pointer.
    let result = unsafe { query(count, pointers.as_mut_ptr()) };
    // SAFETY: the engine returns null or a pointer to a result that stays valid, since it is never freed here.
    let Some(result) = (unsafe { result.as_ref() }) else {
        return Ok(Vec::new());
    };
    if !result.error_message.is_null() {
        // SAFETY: a non-null message is a zero-terminated string.
        return Err(unsafe { CStr::from_ptr(result.error_message) }
            .to_string_lossy()
            .into_owned());
    }
    if result.buffer.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: `buffer` points to `length` bytes.
    Ok(unsafe { std::slice::from_raw_parts(result.buffer.cast::<u8>(), result.length) }.to_vec())
}
