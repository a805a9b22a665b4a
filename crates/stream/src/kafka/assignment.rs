//! The partitions that a member of a consumer group owns, from the bytes that the broker keeps of each member.
//!
//! Role: reads the assignment of the consumer protocol: version, topics with their partitions, data of the assignor.
//! Failure: bytes that are cut short or wrong have no partitions at all; nothing is guessed.

use std::sync::Arc;

use crate::Partition;

/// The partitions of this assignment; `None` if it cannot be read. A member that waits for its partitions has no bytes, and owns none.
pub(super) fn owned(bytes: &[u8]) -> Option<Vec<Partition>> {
    let mut rest = bytes;
    if rest.is_empty() {
        return Some(Vec::new());
    }
    // Later versions add fields at the end only.
    let _version: [u8; 2] = take(&mut rest)?;
    let mut owned = Vec::new();
    for _ in 0..number(&mut rest)? {
        let topic = name(&mut rest)?;
        for _ in 0..number(&mut rest)? {
            owned.push(Partition {
                topic: Arc::clone(&topic),
                number: number(&mut rest)?,
            });
        }
    }
    Some(owned)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn number(rest: &mut &[u8]) -> Option<i32> {
    take(rest).map(i32::from_be_bytes)
}

fn name(rest: &mut &[u8]) -> Option<Arc<str>> {
    let length = usize::try_from(i16::from_be_bytes(take(rest)?)).ok()?;
    let (name, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    std::str::from_utf8(name).ok().map(Arc::from)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    /// Version 1; `raw` with partitions 0 and 258, `dlq` with none; no data of the assignor.
    const BYTES: &[u8] = b"\x00\x01\x00\x00\x00\x02\
        \x00\x03raw\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x01\x02\
        \x00\x03dlq\x00\x00\x00\x00\
        \xff\xff\xff\xff";

    fn raw(number: i32) -> Partition {
        Partition {
            topic: "raw".into(),
            number,
        }
    }

    #[test]
    fn an_assignment_names_each_partition_with_its_topic() {
        assert_eq!(owned(BYTES), Some(vec![raw(0), raw(258)]));
        assert_eq!(owned(b""), Some(Vec::new()), "a member that waits owns nothing");
    }

    #[test]
    fn an_assignment_that_is_cut_short_owns_nothing() {
        // The data of the assignor is not read.
        let end = BYTES.len() - 4;
        for length in 1..end {
            assert_eq!(owned(&BYTES[..length]), None, "{length} of {end} bytes");
        }
        assert!(owned(&BYTES[..end]).is_some());
    }

    #[test]
    fn impossible_lengths_and_counts_end_at_once() {
        assert_eq!(owned(b"\x00\x01\x7f\xff\xff\xff"), None);
        assert_eq!(owned(b"\x00\x01\x00\x00\x00\x01\xff\xff"), None, "a name of length -1");
        assert_eq!(owned(b"\x00\x01\x00\x00\x00\x01\x00\x01\xff\x00\x00\x00\x00"), None);
    }
}
