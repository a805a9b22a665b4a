//! Profiles of the running process: where its CPU time goes, and which code its memory grows in.
//!
//! Role: [`cpu::Sampler`] interrupts each thread by its own CPU time and notes its stack; [`Allocator`] notes the stacks that allocate
//! while [`heap::Recorder`] runs. The rest is pure: [`stacks`] folds stacks and ranks functions, [`flame`] draws them, [`growth`]
//! compares two moments. The service answers the profiles, `dp profile` shows them.
//! Invariants: without a running profile nothing is interrupted, and an allocation costs one load more. A profile needs a bounded
//! amount of memory ([`records`]); what does not fit is counted, not silently left out. Only [`raw`] has unsafe code.
//! Failure: a profile that cannot start changes nothing and says why. The handler of the signal stays installed, because the
//! default action of a late signal would end the process.

pub mod cpu;
pub mod flame;
pub mod growth;
pub mod heap;
mod live;
mod raw;
mod records;
pub mod stacks;
mod symbols;

pub use raw::Allocator;
