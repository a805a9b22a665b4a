//! The unsafe code of the profiles: the signal handler, the allocator, the unwinder, and the value that both reach.
//!
//! Invariants: what runs in the signal handler or in the allocator takes no lock, allocates nothing, and cannot panic. The unwinder is that of
//! libgcc, which finds its tables with `_dl_find_object` of glibc: it takes no lock from version 2.35 on, so [`prepare_unwinder`]
//! must succeed before a profile starts. Code without tables (assembler) ends a stack early.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::{cpu, heap};

/// Most frames of a stack, those of the profiler included.
pub(crate) const DEPTH: usize = 128;

/// A value that signal handlers and the allocator reach while a profile runs.
pub(crate) struct Current<T> {
    value: AtomicPtr<T>,
    /// How many hold a reference, or are about to look for the value.
    users: AtomicUsize,
}

impl<T: Send + Sync> Current<T> {
    /// Without a value.
    pub(crate) const fn none() -> Current<T> {
        Current {
            value: AtomicPtr::new(ptr::null_mut()),
            users: AtomicUsize::new(0),
        }
    }

    /// Whether there is a value: one load.
    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        !self.value.load(Ordering::Relaxed).is_null()
    }

    /// Calls `act` with the value, if there is one. `act` must end soon: [`Current::take`] waits for it.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&T) -> R) -> Option<R> {
        if !self.is_some() {
            return None;
        }
        self.users.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the pointer is null or that of a box. `take` frees a box only after it has removed the pointer and then seen no user; this
        // user has announced itself before it read the pointer. Both orders are total (SeqCst), so one of the two sees the other.
        let value = unsafe { self.value.load(Ordering::SeqCst).as_ref() };
        let result = value.map(act);
        self.users.fetch_sub(1, Ordering::SeqCst);
        result
    }

    /// Sets the value; false if there is one already.
    pub(crate) fn put(&self, value: T) -> bool {
        let new = Box::into_raw(Box::new(value));
        let put = self
            .value
            .compare_exchange(ptr::null_mut(), new, Ordering::SeqCst, Ordering::SeqCst);
        if put.is_err() {
            // SAFETY: it was made from a box above, and nobody else has it.
            drop(unsafe { Box::from_raw(new) });
        }
        put.is_ok()
    }

    /// Removes the value, and waits until nobody uses it.
    pub(crate) fn take(&self) -> Option<Box<T>> {
        let old = self.value.swap(ptr::null_mut(), Ordering::SeqCst);
        if old.is_null() {
            return None;
        }
        while self.users.load(Ordering::SeqCst) != 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        // SAFETY: it was made from a box in `put`, this call has removed it, and nobody holds a reference any more (see `with`).
        Some(unsafe { Box::from_raw(old) })
    }
}

/// The frame that the unwinder of libgcc looks at.
#[repr(C)]
struct UnwindContext {
    _private: [u8; 0],
}

/// What the visitor answers: to go on, or to end (any other number).
const GO_ON: c_int = 0;
const END: c_int = 5;

// Part of libgcc_s, with which every program of Rust is linked on Linux.
unsafe extern "C" {
    fn _Unwind_Backtrace(visit: extern "C" fn(*mut UnwindContext, *mut c_void) -> c_int, data: *mut c_void) -> c_int;
    fn _Unwind_GetIP(context: *mut UnwindContext) -> usize;
}

/// Addresses of a stack, innermost first.
pub(crate) struct Frames {
    addresses: [usize; DEPTH],
    count: usize,
}

impl Frames {
    /// Those of the calling stack.
    #[inline]
    pub(crate) fn here() -> Frames {
        let mut frames = Frames {
            addresses: [0; DEPTH],
            count: 0,
        };
        // SAFETY: `visit` gets back the pointer to `frames`, which lives longer than the call. The unwinder keeps its state on the stack.
        unsafe { _Unwind_Backtrace(visit, ptr::from_mut(&mut frames).cast()) };
        frames
    }

    /// All of them.
    pub(crate) fn as_slice(&self) -> &[usize] {
        self.addresses.get(..self.count).unwrap_or_default()
    }
}

extern "C" fn visit(context: *mut UnwindContext, data: *mut c_void) -> c_int {
    // SAFETY: it is the pointer that `Frames::here` has passed, and nobody else has it during the call.
    let Some(frames) = (unsafe { data.cast::<Frames>().as_mut() }) else {
        return END;
    };
    // SAFETY: the unwinder passes its frame.
    let address = unsafe { _Unwind_GetIP(context) };
    match frames.addresses.get_mut(frames.count) {
        Some(place) if address != 0 => {
            *place = address;
            frames.count = frames.count.wrapping_add(1);
            GO_ON
        }
        _ => END,
    }
}

/// Prepares the unwinder for signal handlers.
///
/// # Errors
/// The version of glibc, if it is too old.
pub(crate) fn prepare_unwinder() -> Result<(), String> {
    // Its first call sets up tables and resolves symbols: not in a signal handler.
    let _ = Frames::here();

    // SAFETY: it returns a constant text with an end.
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) }.to_string_lossy();
    match is_recent(&version) {
        true => Ok(()),
        false => Err(format!(
            "profiles need glibc 2.35 or newer, this is {version}; use a newer base image"
        )),
    }
}

fn is_recent(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(2), Some(35))
}

/// Installs the handler of `SIGPROF`. It stays for the rest of the process.
pub(crate) fn catch_signals() -> Result<(), Errno> {
    let action = SigAction::new(SigHandler::SigAction(on_signal), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler only uses what may be used in one (see the module).
    unsafe { sigaction(Signal::SIGPROF, &action) }.map(drop)
}

extern "C" fn on_signal(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    let errno = Errno::last_raw();
    cpu::sample(interrupted(context));
    // The interrupted code may be about to read it.
    Errno::set_raw(errno);
}

/// The address of the instruction that was interrupted.
fn interrupted(context: *const c_void) -> usize {
    // SAFETY: the kernel passes a `ucontext_t` to a handler that is installed with SA_SIGINFO, as `SigHandler::SigAction` is.
    let Some(context) = (unsafe { context.cast::<libc::ucontext_t>().as_ref() }) else {
        return 0;
    };
    #[cfg(target_arch = "x86_64")]
    let address = context.uc_mcontext.gregs[libc::REG_RIP as usize] as usize;
    #[cfg(target_arch = "aarch64")]
    let address = context.uc_mcontext.pc as usize;
    address
}

/// Memory of `malloc`, in bytes: that of Rust and of the C libraries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Malloc {
    pub(crate) used: u64,
    /// Freed, and kept for later.
    pub(crate) free: u64,
}

/// Reads the figures of all arenas of glibc.
pub(crate) fn malloc() -> Malloc {
    // SAFETY: it takes the locks of the arenas one by one, and returns a value.
    let info = unsafe { libc::mallinfo2() };
    Malloc {
        used: (info.uordblks as u64).saturating_add(info.hblkhd as u64),
        free: info.fordblks as u64,
    }
}

/// The allocator of the system, observed while a heap profile runs. A program declares it with `#[global_allocator]`.
#[derive(Debug, Clone, Copy)]
pub struct Allocator;

// SAFETY: every call is passed on unchanged to the allocator of the system.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `GlobalAlloc`.
        let pointer = unsafe { System.alloc(layout) };
        heap::allocated(pointer as usize, layout.size());
        pointer
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        let pointer = unsafe { System.alloc_zeroed(layout) };
        heap::allocated(pointer as usize, layout.size());
        pointer
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Noted before the memory is free: another thread may get it next.
        heap::freed(pointer as usize, layout.size());
        // SAFETY: as in `alloc`.
        let moved = unsafe { System.realloc(pointer, layout, size) };
        heap::allocated(moved as usize, size);
        moved
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        heap::freed(pointer as usize, layout.size());
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn versions_of_glibc_are_compared_as_numbers() {
        for (version, expected) in [
            ("2.35", true),
            ("2.36", true),
            ("2.100", true),
            ("3.0", true),
            ("2.34", false),
            ("2.9", false),
            ("", false),
        ] {
            assert_eq!(is_recent(version), expected, "{version}");
        }
    }

    #[test]
    fn a_value_is_put_once_and_freed_only_when_nobody_uses_it() {
        static CURRENT: Current<Arc<AtomicBool>> = Current::none();
        assert_eq!(CURRENT.with(|_| ()), None);
        assert!(CURRENT.take().is_none());
        let seen = Arc::new(AtomicBool::new(false));
        assert!(CURRENT.put(Arc::clone(&seen)));
        assert!(!CURRENT.put(Arc::default()));
        let (inside, entered) = std::sync::mpsc::channel();
        let user = std::thread::spawn(move || {
            CURRENT.with(|value| {
                inside.send(()).unwrap();
                std::thread::sleep(Duration::from_millis(50));
                value.store(true, Ordering::SeqCst);
            })
        });
        entered.recv().unwrap();
        let taken = CURRENT.take().unwrap();
        // Only the user sets it, after its pause: so `take` has waited.
        assert!(taken.load(Ordering::SeqCst));
        assert!(Arc::ptr_eq(&taken, &seen) && !CURRENT.is_some());
        user.join().unwrap();
    }

    #[test]
    fn a_stack_has_its_own_frames() {
        let frames = Frames::here();
        let stack = frames.as_slice();
        assert!((2..=DEPTH).contains(&stack.len()), "{stack:?}");
        assert!(stack.iter().all(|address| *address != 0));
        assert!(prepare_unwinder().is_ok());
    }
}
