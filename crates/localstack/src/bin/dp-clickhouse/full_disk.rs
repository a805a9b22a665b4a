//! Delays writes while the disk is full.
//!
//! Role: the pinned build of the engine ignores a failed `write` and continues as if the bytes were written (a ClickHouse
//! server returns error 75 instead). A merge that runs when the disk fills up would be committed with empty files, and its
//! rows would be lost. The linker finds the `write` of this program before libc's, so the engine calls this one.
//! Invariant: the engine never sees a failed write to a file.
//! Failure: if there is no space, the write waits for it, and stderr reports it once. Any other file error ends the process,
//! which the files survive like a crash.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;

const RETRY_INTERVAL: Duration = Duration::from_millis(100);

static REPORTED: AtomicBool = AtomicBool::new(false);

/// `write(2)` that returns only successes if `fd` is a file.
///
/// # Safety
/// As for `write(2)`: `bytes` must point to `count` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, count: usize) -> isize {
    loop {
        // SAFETY: the kernel checks all three arguments; the caller guarantees `bytes`.
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
                "a write failed ({error}): the engine would continue without the bytes, so the process ends; start it again"
            );
            std::process::abort();
        }
        if !REPORTED.swap(true, Ordering::Relaxed) {
            eprintln!("the disk is full: writes wait until there is room");
        }
        std::thread::sleep(RETRY_INTERVAL);
    }
}

fn is_file(fd: c_int) -> bool {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `fstat` fills `status` completely if it returns 0, and it is read only then.
    unsafe { libc::fstat(fd, status.as_mut_ptr()) == 0 && status.assume_init().st_mode & libc::S_IFMT == libc::S_IFREG }
}
