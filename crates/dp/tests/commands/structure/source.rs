//! A source file as far as imports need it: its items and modules, its imports, and the paths that it uses.

use std::collections::BTreeSet;

/// What a name of the file stands for. The name `*` stands for all names of the path.
pub struct Import {
    pub path: Vec<String>,
    pub name: String,
    /// Whether it is a re-export.
    pub is_public: bool,
}

#[derive(Default)]
pub struct Source {
    /// Names that the file defines itself.
    pub items: BTreeSet<String>,
    /// Its modules that are files.
    pub modules: BTreeSet<String>,
    pub imports: Vec<Import>,
    /// Outside of imports.
    pub paths: Vec<Vec<String>>,
}

/// What stands before the name of an item.
const KINDS: [&str; 8] = ["fn", "struct", "enum", "trait", "type", "static", "const", "mod"];
/// What can follow one of them and is no name.
const MODIFIERS: [&str; 5] = ["fn", "unsafe", "async", "extern", "mut"];
/// The attribute before what only unit tests have.
const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];

impl Source {
    pub fn read(text: &str) -> Source {
        let tokens = without_tests(&tokens(text));
        let mut source = Source::default();
        let (mut at, mut depth) = (0, 0);
        while at < tokens.len() {
            let (token, next) = (word(&tokens, at), word(&tokens, at + 1));
            depth += step(token);
            at = match token {
                // Not the list of lifetimes that a type captures.
                "use" if next != "<" => source.import(&tokens, at),
                "macro_rules" => {
                    source.items.insert(word(&tokens, at + 2).to_owned());
                    at + 3
                }
                _ if depth == 0 && KINDS.contains(&token) && is_name(next) && !MODIFIERS.contains(&next) => {
                    let is_file = token == "mod" && word(&tokens, at + 2) == ";";
                    let names = if is_file {
                        &mut source.modules
                    } else {
                        &mut source.items
                    };
                    names.insert(next.to_owned());
                    at + 2
                }
                _ if is_name(token) => source.path(&tokens, at),
                _ => at + 1,
            };
        }
        source
    }

    /// Adds the import that begins at `start`; returns where it ends.
    fn import(&mut self, tokens: &[&str], start: usize) -> usize {
        let before = start.checked_sub(1).map_or("", |before| word(tokens, before));
        let mut found = Vec::new();
        let first = start + 1 + usize::from(word(tokens, start + 1) == "::");
        let end = tree(tokens, first, &[], &mut found);
        self.imports.extend(found.into_iter().map(|(path, name)| Import {
            path,
            name,
            // `pub use`, or `pub(super) use`.
            is_public: matches!(before, "pub" | ")"),
        }));
        end
    }

    /// Adds the path that begins at `start`; returns where it ends.
    fn path(&mut self, tokens: &[&str], start: usize) -> usize {
        let mut names = vec![word(tokens, start).to_owned()];
        let mut end = start + 1;
        while word(tokens, end) == "::" && is_name(word(tokens, end + 1)) {
            names.push(word(tokens, end + 1).to_owned());
            end += 2;
        }
        let before = start.checked_sub(1).map_or("", |before| word(tokens, before));
        let is_alone = names.len() == 1;
        // The end of `<T as Trait>::name`, a method, or a field.
        let is_part = before == "::" || (is_alone && (before == "." || word(tokens, end) == ":"));
        if !is_part {
            self.paths.push(names);
        }
        end
    }
}

/// Reads the tree of an import that begins at `at`, after the path `before`; returns where it ends.
fn tree(tokens: &[&str], mut at: usize, before: &[String], found: &mut Vec<(Vec<String>, String)>) -> usize {
    let mut path = before.to_vec();
    loop {
        match word(tokens, at) {
            "" => return at,
            "*" => {
                found.push((path, "*".to_owned()));
                return at + 1;
            }
            "{" => {
                at += 1;
                while !matches!(word(tokens, at), "}" | "") {
                    at = tree(tokens, at, &path, found);
                    at += usize::from(word(tokens, at) == ",");
                }
                return at + 1;
            }
            name => path.push(name.to_owned()),
        }
        at += 1;
        if word(tokens, at) != "::" {
            break;
        }
        at += 1;
    }
    // The module itself, in braces.
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let mut name = path.last().cloned().unwrap_or_default();
    if word(tokens, at) == "as" {
        word(tokens, at + 1).clone_into(&mut name);
        at += 2;
    }
    found.push((path, name));
    at
}

/// The token at this place; an empty one after the end.
fn word<'t>(tokens: &[&'t str], at: usize) -> &'t str {
    tokens.get(at).copied().unwrap_or_default()
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn is_name(token: &str) -> bool {
    token.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
}

/// By how much a token goes into groups, or out of them.
fn step(token: &str) -> i32 {
    match token {
        "{" | "(" | "[" => 1,
        "}" | ")" | "]" => -1,
        _ => 0,
    }
}

/// Where the group ends that begins at `start`.
fn end_of_group(tokens: &[&str], start: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        depth += step(token);
        if depth == 0 {
            return at;
        }
    }
    tokens.len()
}

/// Where the item ends that begins at `at`.
fn end_of_item(tokens: &[&str], mut at: usize) -> usize {
    while word(tokens, at) == "#" {
        at = end_of_group(tokens, at + 1) + 1;
    }
    if word(tokens, at) == "pub" {
        at += 1;
        if word(tokens, at) == "(" {
            at = end_of_group(tokens, at) + 1;
        }
    }
    let kind = word(tokens, at);
    let ends_with_semicolon = matches!(kind, "use" | "static") || (kind == "const" && word(tokens, at + 1) != "fn");
    loop {
        match word(tokens, at) {
            ";" | "" => return at,
            "{" if !ends_with_semicolon => return end_of_group(tokens, at),
            "{" | "(" | "[" => at = end_of_group(tokens, at) + 1,
            _ => at += 1,
        }
    }
}

fn without_tests<'t>(tokens: &[&'t str]) -> Vec<&'t str> {
    let (mut kept, mut at) = (Vec::new(), 0);
    while let Some(rest) = tokens.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with(&TEST) {
            at = end_of_item(tokens, at + TEST.len()) + 1;
        } else {
            kept.push(word(tokens, at));
            at += 1;
        }
    }
    kept
}

/// Words, `::` and other single characters. Texts, letters in quotes, lifetimes and comments are left out.
fn tokens(text: &str) -> Vec<&str> {
    let (mut rest, mut found) = (text, Vec::new());
    while let Some(letter) = rest.chars().next() {
        let (length, counts) = match letter {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), false),
            '/' if rest.starts_with("/*") => (rest.find("*/").map_or(rest.len(), |end| end + 2), false),
            '"' => (text_length(rest), false),
            '\'' => (quote_length(rest), false),
            ':' if rest.starts_with("::") => (2, true),
            _ if is_of_word(letter) => match raw_text_length(rest) {
                Some(length) => (length, false),
                None => (word_length(rest), true),
            },
            _ => (letter.len_utf8(), !letter.is_whitespace()),
        };
        let (token, after) = rest.split_at(length);
        if counts {
            found.push(token);
        }
        rest = after;
    }
    found
}

fn word_length(rest: &str) -> usize {
    rest.find(|letter: char| !is_of_word(letter)).unwrap_or(rest.len())
}

fn text_length(rest: &str) -> usize {
    let mut is_escaped = false;
    for (at, letter) in rest.char_indices().skip(1) {
        if letter == '"' && !is_escaped {
            return at + 1;
        }
        is_escaped = letter == '\\' && !is_escaped;
    }
    rest.len()
}

/// The length of a raw text such as `r#"…"#`, if one begins here.
fn raw_text_length(rest: &str) -> Option<usize> {
    let after = ["br", "cr", "r"].iter().find_map(|start| rest.strip_prefix(start))?;
    let unmarked = after.trim_start_matches('#');
    let inside = unmarked.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(after.len() - unmarked.len()));
    let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
    Some(rest.len() - inside.len() + length)
}

/// The length of a letter in quotes, or of a lifetime.
fn quote_length(rest: &str) -> usize {
    let mut letters = rest.chars().skip(1);
    match (letters.next(), letters.next()) {
        // What follows the backslash may be the quote itself.
        (Some('\\'), _) => {
            let closing = rest.get(3..).and_then(|after| after.find('\''));
            closing.map_or(rest.len(), |at| at + 4)
        }
        (Some(letter), Some('\'')) => letter.len_utf8() + 2,
        _ => 1 + rest.get(1..).map_or(0, word_length),
    }
}
