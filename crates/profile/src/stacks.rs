//! Stacks of a profile, folded: equal ones together, with their weight. Pure.
//!
//! Invariant: the own weights of all functions add up to the weight of the profile; the total of a function counts each stack once,
//! also where the function calls itself.
//! Failure: an answer with an index outside its names shows `?` there.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

/// Folded stacks, as they are sent: names once, stacks as indices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stacks {
    /// Names of threads and functions.
    pub names: Vec<String>,
    /// Each with a weight above zero.
    pub stacks: Vec<Stack>,
}

/// One stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// Name of the thread; `None` if threads are not told apart.
    pub thread: Option<u32>,
    /// Functions, outermost first.
    pub frames: Vec<u32>,
    /// Samples, or bytes.
    pub weight: u64,
}

/// A function of a profile.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Function {
    /// Its name.
    pub function: String,
    /// Weight of the stacks that end in it.
    pub own: u64,
    /// Weight of the stacks that contain it.
    pub total: u64,
    /// `own` as a share of the profile.
    pub own_percent: f64,
    /// `total` as a share of the profile.
    pub total_percent: f64,
}

/// What functions are ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// What they use themselves.
    Own,
    /// With what they call.
    Total,
}

/// Folds stacks one by one.
#[derive(Debug, Default)]
pub struct Folding {
    indices: HashMap<String, u32>,
    names: Vec<String>,
    stacks: BTreeMap<(Option<u32>, Vec<u32>), u64>,
}

impl Folding {
    /// Adds a stack, outermost function first.
    pub fn add<'a>(&mut self, thread: Option<&str>, frames: impl IntoIterator<Item = &'a str>, weight: u64) {
        if weight == 0 {
            return;
        }
        let thread = thread.map(|name| self.index(name));
        let frames = frames.into_iter().map(|name| self.index(name)).collect();
        *self.stacks.entry((thread, frames)).or_default() += weight;
    }

    fn index(&mut self, name: &str) -> u32 {
        if let Some(index) = self.indices.get(name) {
            return *index;
        }
        let index = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.indices.insert(name.to_owned(), index);
        self.names.push(name.to_owned());
        index
    }

    /// All of them.
    pub fn done(self) -> Stacks {
        let stack = |((thread, frames), weight)| Stack { thread, frames, weight };
        Stacks {
            names: self.names,
            stacks: self.stacks.into_iter().map(stack).collect(),
        }
    }
}

impl Stacks {
    /// The name at an index.
    pub fn name(&self, index: u32) -> &str {
        let name = usize::try_from(index).ok().and_then(|index| self.names.get(index));
        name.map_or("?", String::as_str)
    }

    /// The thread, if it is known, and the functions of a stack, outermost first.
    pub fn frames<'a>(&'a self, stack: &'a Stack) -> impl Iterator<Item = &'a str> {
        stack.thread.iter().chain(&stack.frames).map(|index| self.name(*index))
    }

    /// The weight of all stacks.
    pub fn weight(&self) -> u64 {
        self.stacks.iter().map(|stack| stack.weight).sum()
    }

    /// One line for each stack, as other tools read it: `thread;outer;inner weight`.
    pub fn folded(&self) -> String {
        let line = |stack: &Stack| {
            // A semicolon separates frames, and the last blank the weight.
            let frames: Vec<String> = self
                .frames(stack)
                .map(|name| name.replace(';', ":").replace(char::is_control, " "))
                .collect();
            format!("{} {}\n", frames.join(";"), stack.weight)
        };
        let mut lines: Vec<String> = self.stacks.iter().map(line).collect();
        lines.sort_unstable();
        lines.concat()
    }

    /// The functions with the greatest weight.
    pub fn top(&self, most: usize, by: By) -> Vec<Function> {
        let mut functions: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for stack in &self.stacks {
            let names: BTreeSet<&str> = stack.frames.iter().map(|index| self.name(*index)).collect();
            for name in names {
                functions.entry(name).or_default().1 += stack.weight;
            }
            if let Some(last) = stack.frames.last() {
                functions.entry(self.name(*last)).or_default().0 += stack.weight;
            }
        }
        let whole = self.weight();
        let mut functions: Vec<Function> = functions
            .into_iter()
            .map(|(name, (own, total))| Function {
                function: name.to_owned(),
                own,
                total,
                own_percent: percent(own, whole),
                total_percent: percent(total, whole),
            })
            .collect();
        functions.sort_by_key(|function| {
            Reverse(match by {
                By::Own => (function.own, function.total),
                By::Total => (function.total, function.own),
            })
        });
        functions.truncate(most);
        functions
    }
}

/// `part` of `whole` in percent; 0 of nothing.
pub fn percent(part: u64, whole: u64) -> f64 {
    match whole {
        0 => 0.0,
        _ => part as f64 * 100.0 / whole as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(stacks: &[(&str, &[&str], u64)]) -> Stacks {
        let mut folding = Folding::default();
        for (thread, frames, weight) in stacks {
            folding.add(
                Some(thread).filter(|name| !name.is_empty()).copied(),
                frames.iter().copied(),
                *weight,
            );
        }
        folding.done()
    }

    #[test]
    fn equal_stacks_are_one_and_threads_are_told_apart() {
        let stacks = folded(&[
            ("io", &["main", "read"], 2),
            ("http", &["main", "read"], 5),
            ("io", &["main", "read"], 1),
            ("", &["main"], 4),
            ("io", &["main"], 0),
        ]);
        assert_eq!(stacks.folded(), "http;main;read 5\nio;main;read 3\nmain 4\n");
        assert_eq!(stacks.weight(), 12);
        assert_eq!(stacks.names.len(), 4);
    }

    #[test]
    fn a_function_that_calls_itself_counts_once_and_own_weights_add_up() {
        let stacks = folded(&[
            ("a", &["main", "walk", "walk", "walk"], 6),
            ("a", &["main", "walk", "leaf"], 3),
            ("b", &["main"], 1),
        ]);
        let top = stacks.top(10, By::Own);
        let rows: Vec<(&str, u64, u64)> = top
            .iter()
            .map(|row| (row.function.as_str(), row.own, row.total))
            .collect();
        assert_eq!(rows, [("walk", 6, 9), ("leaf", 3, 3), ("main", 1, 10)]);
        assert_eq!(top.iter().map(|row| row.own).sum::<u64>(), stacks.weight());
        assert_eq!((top[0].own_percent, top[0].total_percent), (60.0, 90.0));
        let functions: Vec<String> = stacks.top(2, By::Total).into_iter().map(|row| row.function).collect();
        assert_eq!(functions, ["main", "walk"]);
    }

    #[test]
    fn nothing_has_no_functions_and_no_lines() {
        let stacks = folded(&[]);
        assert!(stacks.top(10, By::Own).is_empty() && stacks.folded().is_empty());
        assert_eq!((stacks.weight(), percent(0, 0)), (0, 0.0));
    }

    #[test]
    fn separators_in_names_do_not_split_a_folded_line() {
        let stacks = folded(&[("a", &["<[u8; 4] as T<&str>>::f\n", "g"], 1)]);
        assert_eq!(stacks.folded(), "a;<[u8: 4] as T<&str>>::f ;g 1\n");
    }

    #[test]
    fn stacks_are_sent_as_indices_and_a_wrong_index_does_no_harm() {
        let stacks = folded(&[("io", &["main", "read"], 2)]);
        let text = serde_json::to_string(&stacks).unwrap();
        assert_eq!(
            text,
            r#"{"names":["io","main","read"],"stacks":[{"thread":0,"frames":[1,2],"weight":2}]}"#
        );
        assert_eq!(serde_json::from_str::<Stacks>(&text).unwrap(), stacks);
        let wrong: Stacks =
            serde_json::from_str(r#"{"names":["a"],"stacks":[{"thread":null,"frames":[0,9],"weight":1}]}"#).unwrap();
        assert_eq!(wrong.folded(), "a;? 1\n");
        assert_eq!(wrong.top(10, By::Total).len(), 2);
    }
}
