//! Holds a write back while the disk is full.
//!
//! Role: the pinned build of the engine counts a `write` that fails and continues as if the bytes were there (a ClickHouse
//! server answers error 75 instead). A merge under way when the disk fills would so be committed with empty files, and its
//! rows could never be read again. The `write` of this program comes before libc's in the search for the library's
//! symbols, so that the engine calls this one.
//! Invariant: the engine never sees a failed write to a file.
//! Failure: no room: the write waits for it, and stderr says so once; any other error of a file ends the process, which is
//! a crash that the files survive.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;

const ASK_AGAIN: Duration = Duration::from_millis(100);

static TOLD: AtomicBool = AtomicBool::new(false);

/// `write(2)`, of which only successes are seen where `fd` is a file.
///
/// # Safety
/// As of `write(2)`: `bytes` has to point to `count` bytes that can be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, count: usize) -> isize {
    loop {
        // SAFETY: the kernel checks all three; what `bytes` points to is the caller's promise.
        let written = unsafe { libc::syscall(libc::SYS_write, fd, bytes, count) };
        if written >= 0 {
            return written as isize;
        }
        let error = Errno::last();
        if matches!(error, Errno::EINTR | Errno::EAGAIN) || !is_file(fd) {
            error.set();
            return -1;
        }
        if !matches!(error, Errno::ENOSPC | Errno::EDQUOT) {
            eprintln!(
                "a write failed ({error}): the engine would continue without the bytes, so it ends here; start it again"
            );
            std::process::abort();
        }
        if !TOLD.swap(true, Ordering::Relaxed) {
            eprintln!("the disk is full: writes wait until there is room");
        }
        std::thread::sleep(ASK_AGAIN);
    }
}

fn is_file(fd: c_int) -> bool {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `fstat` fills the whole of `status` where it answers 0, and it is read only then.
    unsafe { libc::fstat(fd, status.as_mut_ptr()) == 0 && status.assume_init().st_mode & libc::S_IFMT == libc::S_IFREG }
}
