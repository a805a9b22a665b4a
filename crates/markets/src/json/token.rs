//! The values of a JSON text as written, and unescaped strings.
//!
//! Failure: a string with half a surrogate pair cannot be unescaped (`None`).

use std::borrow::Cow;

use super::scan::plain_length;
use crate::rejection::excerpt;

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    Text,
    /// A string with escapes.
    EscapedText,
    Array,
    Object,
}

/// A value as written. For a string: the text between the quotes, still escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub kind: Kind,
    pub raw: &'a str,
}

impl<'a> Token<'a> {
    /// Whether it is a string.
    pub(crate) fn is_text(self) -> bool {
        matches!(self.kind, Kind::Text | Kind::EscapedText)
    }

    /// The text, allocated only if it has escapes. `None` if it is not a string or contains half a surrogate pair.
    pub(crate) fn text(self) -> Option<Cow<'a, str>> {
        match self.kind {
            Kind::Text => Some(Cow::Borrowed(self.raw)),
            Kind::EscapedText => {
                let mut text = String::new();
                unescape(self.raw, &mut text)?;
                Some(Cow::Owned(text))
            }
            _ => None,
        }
    }

    /// The beginning of the value, for a message.
    pub(crate) fn shown(self) -> String {
        let quote = if self.is_text() { "\"" } else { "" };
        format!("{quote}{}{quote}", excerpt(self.raw))
    }
}

/// Holds the value of a field. A null fills the slot too, so that a duplicate field is always detected.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Slot<'a>(Option<Token<'a>>);

impl<'a> Slot<'a> {
    pub(super) fn of(token: Token<'a>) -> Slot<'a> {
        Slot(Some(token))
    }

    pub(super) fn is_taken(self) -> bool {
        self.0.is_some()
    }

    /// The value; `None` for null.
    #[inline]
    pub(crate) fn get(self) -> Option<Token<'a>> {
        self.0.filter(|token| token.kind != Kind::Null)
    }
}

/// Unescapes the text between the quotes of a string and appends it. `None` for half a surrogate pair.
pub(crate) fn unescape(quoted: &str, out: &mut String) -> Option<()> {
    out.reserve(quoted.len());
    let mut rest = quoted;
    // Length of the prefix of `rest` known to be plain: 1 after an escape such as `\\` that yields its second character.
    let mut known = 0;
    while let Some(length) = rest.as_bytes().get(known..).map(plain_length)
        && let Some((plain, escape)) = rest.split_at_checked(known + length)
        && let Some(escape) = escape.strip_prefix('\\')
    {
        out.push_str(plain);
        (rest, known) = match escape.as_bytes() {
            [b'"' | b'\\' | b'/', ..] => (escape, 1),
            [b'u', ..] => {
                let (character, after) = unicode(escape.get(1..)?)?;
                out.push(character);
                (after, 0)
            }
            [letter, ..] => {
                out.push(control(*letter)?);
                (escape.get(1..)?, 0)
            }
            [] => return None,
        };
    }
    out.push_str(rest);
    Some(())
}

fn control(letter: u8) -> Option<char> {
    match letter {
        b'b' => Some('\u{8}'),
        b'f' => Some('\u{c}'),
        b'n' => Some('\n'),
        b'r' => Some('\r'),
        b't' => Some('\t'),
        _ => None,
    }
}

// `text` starts after `\u`. Returns the character and the rest.
fn unicode(text: &str) -> Option<(char, &str)> {
    let unit = |text: &str| text.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let first = unit(text)?;
    let rest = text.get(4..)?;
    if !(0xD800..0xDC00).contains(&first) {
        return Some((char::from_u32(first)?, rest));
    }
    let low = rest.strip_prefix("\\u")?;
    let second = unit(low).filter(|second| (0xDC00..0xE000).contains(second))?;
    Some((
        char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))?,
        low.get(4..)?,
    ))
}
