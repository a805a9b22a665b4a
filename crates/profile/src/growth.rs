//! How the memory of this process differs between two moments.
//!
//! Role: [`Moment`] has what the system says: resident memory, and the heap of `malloc`, which the C libraries (librdkafka, OpenSSL) share.
//! [`HeapProfile::difference`] takes them apart, with what [`crate::heap`] has counted.
//! Failure: what the system does not say is `None`, and so is what follows from it.

use std::collections::BTreeMap;

use procfs::process::Process;
use serde::{Deserialize, Serialize};

use crate::heap::Allocated;
use crate::raw;

/// The memory of the process at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// When, as RFC 3339.
    pub at: String,
    /// Memory in use, as the system counts it.
    pub resident_bytes: Option<u64>,
    /// Of this, what belongs to no file: heap and stacks.
    pub anonymous_bytes: Option<u64>,
    /// What `malloc` has given out, to Rust and to C libraries.
    pub heap_used_bytes: u64,
    /// What was given back to `malloc` and not to the system.
    pub heap_free_bytes: u64,
    /// How many things the service keeps in memory, by the names of its metrics.
    pub kept: BTreeMap<String, f64>,
}

impl Moment {
    /// The present one.
    pub fn now(at: String, kept: BTreeMap<String, f64>) -> Moment {
        let process = Process::myself();
        let status = process.as_ref().ok().and_then(|process| process.status().ok());
        let memory = process.ok().and_then(|process| process.statm().ok());
        let heap = raw::malloc();
        Moment {
            at,
            resident_bytes: memory.map(|memory| memory.resident * procfs::page_size()),
            anonymous_bytes: status
                .and_then(|status| status.rssanon)
                .map(|kilobytes| kilobytes * 1_024),
            heap_used_bytes: heap.used,
            heap_free_bytes: heap.free,
            kept,
        }
    }
}

/// How the memory of a service differs between two moments, as the service answers it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeapProfile {
    /// Name of the service.
    pub service: String,
    /// Time between the moments.
    pub seconds: f64,
    /// The first moment.
    pub before: Moment,
    /// The second one.
    pub after: Moment,
    /// What Rust code has allocated between them; `None` if the program has another allocator.
    pub allocated: Option<Allocated>,
}

/// What grew between two moments, in bytes; negative if it shrank.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Memory in use.
    pub resident: Option<i64>,
    /// Of this, heap and stacks.
    pub anonymous: Option<i64>,
    /// What `malloc` has given out.
    pub heap_used: i64,
    /// Of this, what Rust code has allocated and not freed.
    pub rust: Option<i64>,
    /// The rest of it: C libraries, and what `malloc` adds to each allocation.
    pub c: Option<i64>,
    /// What `malloc` keeps for later.
    pub heap_free: i64,
    /// What is anonymous and not from `malloc`: stacks of threads, and pages of the heap that were touched for the first time.
    pub other: Option<i64>,
    /// What the service keeps in memory, where the number changed: before and after.
    pub kept: BTreeMap<String, (f64, f64)>,
}

impl HeapProfile {
    /// What grew.
    pub fn difference(&self) -> Difference {
        let (before, after) = (&self.before, &self.after);
        let both = |of: fn(&Moment) -> Option<u64>| Some(grown(of(before)?, of(after)?));
        let anonymous = both(|moment| moment.anonymous_bytes);
        let heap_used = grown(before.heap_used_bytes, after.heap_used_bytes);
        let heap_free = grown(before.heap_free_bytes, after.heap_free_bytes);
        let rust = self
            .allocated
            .as_ref()
            .map(|allocated| grown(allocated.freed_bytes, allocated.allocated_bytes));
        let names = before.kept.keys().chain(after.kept.keys());
        let number = |moment: &Moment, name: &str| moment.kept.get(name).copied().unwrap_or(0.0);
        let kept = names
            .map(|name| (name.clone(), (number(before, name), number(after, name))))
            .filter(|(_, (before, after))| before != after)
            .collect();
        Difference {
            resident: both(|moment| moment.resident_bytes),
            anonymous,
            heap_used,
            rust,
            c: rust.map(|rust| heap_used.saturating_sub(rust)),
            heap_free,
            other: anonymous.map(|anonymous| anonymous.saturating_sub(heap_used).saturating_sub(heap_free)),
            kept,
        }
    }
}

fn grown(before: u64, after: u64) -> i64 {
    let size = i64::try_from(before.abs_diff(after)).unwrap_or(i64::MAX);
    if after < before { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::EVERY;
    use crate::stacks::Stacks;

    #[test]
    fn the_present_moment_has_memory_in_use() {
        let moment = Moment::now("now".to_owned(), BTreeMap::new());
        assert!(moment.heap_used_bytes > 0 && moment.resident_bytes.is_some_and(|bytes| bytes > 1 << 16));
    }

    fn moment(bytes: [u64; 4], windows: f64) -> Moment {
        let [resident, anonymous, used, free] = bytes;
        Moment {
            at: String::new(),
            resident_bytes: Some(resident),
            anonymous_bytes: Some(anonymous),
            heap_used_bytes: used,
            heap_free_bytes: free,
            kept: [("bar_windows_open".to_owned(), windows), ("same".to_owned(), 2.0)].into(),
        }
    }

    #[test]
    fn a_difference_is_split_into_rust_c_and_the_rest() {
        let mut profile = HeapProfile {
            service: "tested".to_owned(),
            seconds: 1.0,
            before: moment([1_000, 800, 500, 100], 1.0),
            after: moment([1_500, 1_200, 800, 50], 4.0),
            allocated: Some(Allocated {
                allocations: 5,
                allocated_bytes: 600,
                freed_bytes: 400,
                sample_bytes: EVERY,
                lost: 0,
                grown: Stacks::default(),
                all: Stacks::default(),
            }),
        };
        let difference = profile.difference();
        assert_eq!((difference.resident, difference.anonymous), (Some(500), Some(400)));
        assert_eq!((difference.heap_used, difference.heap_free), (300, -50));
        assert_eq!(
            (difference.rust, difference.c, difference.other),
            (Some(200), Some(100), Some(150))
        );
        assert_eq!(difference.kept, [("bar_windows_open".to_owned(), (1.0, 4.0))].into());
        profile.allocated = None;
        profile.after.anonymous_bytes = None;
        let unknown = profile.difference();
        assert_eq!((unknown.rust, unknown.c, unknown.other), (None, None, None));
    }
}
