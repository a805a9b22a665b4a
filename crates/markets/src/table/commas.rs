//! Where the cells of a line without quotes end.
//!
//! The lines of a report have nearly all commas where the line before has them. So the line is compared with that one by the commas of
//! eight bytes at a time, and single commas are looked for only behind the first difference.
//! Invariant: what is found does not depend on earlier lines.

use super::WIDEST;

/// Words of eight bytes that are compared with the line before.
const REMEMBERED: usize = 64;

/// Finds the ends of cells; remembers those of the last line.
pub(super) struct Commas {
    /// The commas of the first words of the last line.
    masks: [u64; REMEMBERED],
    /// Number of these words.
    known: usize,
    ends: [usize; WIDEST],
    count: usize,
}

impl Commas {
    pub(super) fn new() -> Commas {
        Commas {
            masks: [0; REMEMBERED],
            known: 0,
            ends: [0; WIDEST],
            count: 0,
        }
    }

    /// The places of the commas of a line, and its length: where its cells end. `None` if it has more than [`WIDEST`] cells.
    pub(super) fn cell_ends(&mut self, line: &str) -> Option<&[usize]> {
        let (words, rest) = line.as_bytes().as_chunks::<8>();
        let masks = self.masks.iter().take(self.known);
        let same = words
            .iter()
            .zip(masks)
            .take_while(|(word, mask)| commas(u64::from_le_bytes(**word)) == **mask)
            .count();
        // The last line has all these words, so its length is not among these ends.
        let known = self.ends.get(..self.count)?;
        let mut count = known.partition_point(|end| *end < same * 8);
        // A line that is given up in between is not remembered.
        (self.known, self.count) = (0, 0);
        let ends = &mut self.ends;
        let mut end = |at: usize| {
            *ends.get_mut(count)? = at;
            count += 1;
            Some(())
        };
        for (number, word) in words.iter().enumerate().skip(same) {
            let mut commas = commas(u64::from_le_bytes(*word));
            if let Some(mask) = self.masks.get_mut(number) {
                *mask = commas;
            }
            while commas != 0 {
                end(number * 8 + commas.trailing_zeros() as usize / 8)?;
                commas &= commas - 1;
            }
        }
        for (at, byte) in rest.iter().enumerate() {
            if *byte == b',' {
                end(words.len() * 8 + at)?;
            }
        }
        end(line.len())?;
        (self.known, self.count) = (words.len().min(REMEMBERED), count);
        self.ends.get(..count)
    }
}

// The highest bit of each byte that is a comma.
fn commas(word: u64) -> u64 {
    const LOW: u64 = 0x7F7F_7F7F_7F7F_7F7F;
    let other = word ^ u64::from_le_bytes([b','; 8]);
    !((other & LOW).wrapping_add(LOW) | other | LOW)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expected(line: &str) -> Option<Vec<usize>> {
        let commas = line.bytes().enumerate().filter(|(_, byte)| *byte == b',');
        let ends: Vec<usize> = commas.map(|(at, _)| at).chain([line.len()]).collect();
        (ends.len() <= WIDEST).then_some(ends)
    }

    proptest! {
        // Lines of a pattern, each with a few changes, as in a report; and now and then one that is too wide or of another kind.
        #[test]
        fn what_is_found_does_not_depend_on_earlier_lines(
            pattern in "[a-c,é]{0,700}",
            changes in prop::collection::vec((0..750_usize, "[a-c,é]{0,9}", any::<bool>()), 1..12),
        ) {
            let mut commas = Commas::new();
            for (at, inserted, is_cut) in changes {
                let at = (0..=at.min(pattern.len())).rev().find(|at| pattern.is_char_boundary(*at)).unwrap();
                let (before, after) = pattern.split_at(at);
                let line = if is_cut { before.to_owned() } else { format!("{before}{inserted}{after}") };
                prop_assert_eq!(commas.cell_ends(&line).map(<[usize]>::to_vec), expected(&line), "{}", line);
            }
        }
    }

    #[test]
    fn a_shorter_line_and_one_that_is_too_wide_are_forgotten() {
        let mut commas = Commas::new();
        let wide = format!("aaaaaaaa,aaaaaaa{}", ",".repeat(WIDEST));
        for line in [
            "aaaaaaaa,aaaaaaaa,a",
            "aaaaaaaa",
            "",
            "aaaaaaaa,a",
            &wide,
            "aaaaaaaa,aaaaaaa,b",
        ] {
            assert_eq!(commas.cell_ends(line).map(<[usize]>::to_vec), expected(line), "{line}");
        }
    }
}
