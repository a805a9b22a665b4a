//! A JSON reader for the hot path: one pass over borrowed text, no allocation, numbers kept as their digits.
//!
//! It accepts what RFC 8259 accepts (nested at most 128 deep) and nothing else; property tests compare it with
//! `serde_json`. Beside its speed, it knows the JSON pointer of every error, and refuses a field that occurs twice.
//! Failure: [`JsonError`], built only when something is wrong.

use std::borrow::Cow;

use crate::rejection::{RejectCode, Rejection};

const DEEPEST: u32 = 128;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    Text,
    /// A text with escapes.
    EscapedText,
    Array,
    Object,
}

/// A value as it is written; of a text, what stands between the quotes, escapes not undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub kind: Kind,
    pub raw: &'a str,
}

impl<'a> Token<'a> {
    /// Whether it is a text.
    pub(crate) fn is_text(self) -> bool {
        matches!(self.kind, Kind::Text | Kind::EscapedText)
    }

    /// The text, allocated only where it has escapes; `None` where it is no text, or holds half a surrogate pair.
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
        let cut: String = self.raw.chars().take(60).collect();
        format!("{quote}{cut}{quote}")
    }
}

/// Why a text is not the JSON that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct JsonError {
    code: RejectCode,
    /// JSON pointer.
    path: String,
    what: &'static str,
    at: usize,
}

impl JsonError {
    /// As a rejection; `place` is the pointer of the text that was read, empty for the whole message.
    pub(crate) fn rejection(self, place: &str) -> Rejection {
        let separator = if place.is_empty() && self.path.is_empty() {
            ""
        } else {
            ": "
        };
        Rejection::new(
            self.code,
            format!("{place}{}{separator}{} at byte {}", self.path, self.what, self.at),
        )
    }
}

pub(crate) type Read<T> = Result<T, Box<JsonError>>;

/// Reads one text from its beginning.
pub(crate) struct Reader<'a> {
    whole: &'a str,
    /// What has not been read.
    rest: &'a [u8],
    depth: u32,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Reader<'a> {
        Reader {
            whole: text,
            rest: text.as_bytes(),
            depth: 0,
        }
    }

    /// Reads the whole text as one object; `visit` gets each key and has to read its value.
    pub(crate) fn whole_object(text: &'a str, visit: impl FnMut(&mut Reader<'a>, &str) -> Read<()>) -> Read<()> {
        let mut reader = Reader::new(text);
        reader.space();
        reader.object(visit)?;
        reader.end()
    }

    /// Reads an object.
    pub(crate) fn object(&mut self, mut visit: impl FnMut(&mut Reader<'a>, &str) -> Read<()>) -> Read<()> {
        if self.peek() != Some(b'{') {
            return self.other_than("must be an object");
        }
        self.open()?;
        if self.closes(b'}') {
            return Ok(());
        }
        loop {
            let token = self.key()?;
            let unescaped;
            let key = match token.kind {
                Kind::Text => token.raw,
                _ => {
                    unescaped = token
                        .text()
                        .ok_or_else(|| self.syntax("a key with half a surrogate pair"))?;
                    &*unescaped
                }
            };
            visit(self, key).map_err(|error| inside(error, key))?;
            if self.ends_after(b'}')? {
                return Ok(());
            }
        }
    }

    /// Reads an object into slots of `visit`, where there is one: null counts as none. `present` says which.
    pub(crate) fn optional_object(
        &mut self,
        present: &mut bool,
        visit: impl FnMut(&mut Reader<'a>, &str) -> Read<()>,
    ) -> Read<()> {
        if *present {
            return Err(self.twice());
        }
        if self.peek() == Some(b'n') {
            return self.skip();
        }
        *present = true;
        self.object(visit)
    }

    /// Reads an array; `visit` gets each element.
    pub(crate) fn array(&mut self, mut visit: impl FnMut(Token<'a>)) -> Read<()> {
        if self.peek() != Some(b'[') {
            return self.other_than("must be an array");
        }
        self.open()?;
        if self.closes(b']') {
            return Ok(());
        }
        loop {
            self.space();
            visit(self.value()?);
            if self.ends_after(b']')? {
                return Ok(());
            }
        }
    }

    /// Reads a value into its slot; null leaves it empty.
    pub(crate) fn put(&mut self, slot: &mut Option<Token<'a>>) -> Read<()> {
        if slot.is_some() {
            return Err(self.twice());
        }
        let token = self.value()?;
        *slot = (token.kind != Kind::Null).then_some(token);
        Ok(())
    }

    /// Reads any value.
    pub(crate) fn value(&mut self) -> Read<Token<'a>> {
        if let [b'"', inner @ ..] = self.rest {
            return self.string(inner);
        }
        let start = self.at();
        let kind = match self.peek() {
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'{') => {
                self.object(|reader, _| reader.skip())?;
                Kind::Object
            }
            Some(b'[') => {
                self.array(|_| ())?;
                Kind::Array
            }
            Some(b't') => self.literal("true", Kind::Bool)?,
            Some(b'f') => self.literal("false", Kind::Bool)?,
            Some(b'n') => self.literal("null", Kind::Null)?,
            _ => return Err(self.syntax("a value is expected")),
        };
        Ok(Token {
            kind,
            raw: self.whole.get(start..self.at()).unwrap_or_default(),
        })
    }

    /// Reads any value and forgets it.
    pub(crate) fn skip(&mut self) -> Read<()> {
        self.value().map(|_| ())
    }

    /// Nothing but white space may follow.
    pub(crate) fn end(&mut self) -> Read<()> {
        self.space();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.syntax("something follows the end")),
        }
    }

    /// Skips white space.
    #[inline]
    pub(crate) fn space(&mut self) {
        while let [byte, rest @ ..] = self.rest
            && *byte <= b' '
            && matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
        {
            self.rest = rest;
        }
    }

    #[inline]
    fn at(&self) -> usize {
        self.whole.len() - self.rest.len()
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    // Whether the next byte is this one, which is then read.
    #[inline]
    fn eat(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    // The bracket is there.
    fn open(&mut self) -> Read<()> {
        self.rest = self.rest.get(1..).unwrap_or_default();
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.syntax("nested more than 128 deep"));
        }
        Ok(())
    }

    // Right after opening: whether it closes at once.
    fn closes(&mut self, close: u8) -> bool {
        self.space();
        let closes = self.eat(close);
        self.depth -= u32::from(closes);
        closes
    }

    // After an element: whether it was the last.
    #[inline]
    fn ends_after(&mut self, close: u8) -> Read<bool> {
        self.space();
        if self.eat(b',') {
            Ok(false)
        } else if self.eat(close) {
            self.depth -= 1;
            Ok(true)
        } else {
            Err(self.syntax("a comma or the end of the object or array is expected"))
        }
    }

    #[inline]
    fn key(&mut self) -> Read<Token<'a>> {
        self.space();
        let [b'"', inner @ ..] = self.rest else {
            return Err(self.syntax("a key is expected"));
        };
        let key = self.string(inner)?;
        self.space();
        if !self.eat(b':') {
            return Err(self.syntax("a colon is expected"));
        }
        self.space();
        Ok(key)
    }

    // `inner` is what follows the opening quote. Nearly every text ends at the first byte that is not plain.
    #[inline(always)]
    fn string(&mut self, inner: &'a [u8]) -> Read<Token<'a>> {
        let start = self.whole.len() - inner.len();
        let length = plain_length(inner);
        match (inner.get(length..), self.whole.get(start..start + length)) {
            (Some([b'"', after @ ..]), Some(raw)) => {
                self.rest = after;
                Ok(Token { kind: Kind::Text, raw })
            }
            _ => self.escaped_string(inner),
        }
    }

    #[inline(never)]
    fn escaped_string(&mut self, inner: &'a [u8]) -> Read<Token<'a>> {
        let start = self.whole.len() - inner.len();
        self.rest = inner;
        loop {
            self.rest = self.rest.get(plain_length(self.rest)..).unwrap_or_default();
            match self.rest {
                [b'"', after @ ..] => {
                    let raw = self.whole.get(start..self.at()).unwrap_or_default();
                    self.rest = after;
                    return Ok(Token {
                        kind: Kind::EscapedText,
                        raw,
                    });
                }
                [b'\\', escape @ ..] => self.rest = self.after_escape(escape)?,
                [] => return Err(self.syntax("a text without end")),
                _ => return Err(self.syntax("a control character inside a text")),
            }
        }
    }

    fn after_escape(&self, escape: &'a [u8]) -> Read<&'a [u8]> {
        match escape {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', rest @ ..] => Ok(rest),
            [b'u', a, b, c, d, rest @ ..] if [a, b, c, d].iter().all(|byte| byte.is_ascii_hexdigit()) => Ok(rest),
            _ => Err(self.syntax("an unknown escape")),
        }
    }

    fn number(&mut self) -> Read<Kind> {
        self.eat(b'-');
        let leading_zero = self.peek() == Some(b'0');
        if self.digits()? > 1 && leading_zero {
            return Err(self.syntax("a number with a leading zero"));
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Ok(Kind::Number)
    }

    fn digits(&mut self) -> Read<usize> {
        let before = self.rest.len();
        while let [b'0'..=b'9', rest @ ..] = self.rest {
            self.rest = rest;
        }
        match before - self.rest.len() {
            0 => Err(self.syntax("a digit is expected")),
            count => Ok(count),
        }
    }

    fn literal(&mut self, literal: &'static str, kind: Kind) -> Read<Kind> {
        match self.rest.strip_prefix(literal.as_bytes()) {
            Some(rest) => {
                self.rest = rest;
                Ok(kind)
            }
            None => Err(self.syntax("a value is expected")),
        }
    }

    // Broken JSON stays that; a sound value of another type is a violation of the schema.
    #[cold]
    fn other_than(&mut self, what: &'static str) -> Read<()> {
        let rest = self.rest;
        self.skip()?;
        self.rest = rest;
        Err(self.schema(what))
    }

    #[cold]
    fn syntax(&self, what: &'static str) -> Box<JsonError> {
        self.error(RejectCode::BrokenJson, what)
    }

    #[cold]
    fn schema(&self, what: &'static str) -> Box<JsonError> {
        self.error(RejectCode::SchemaViolation, what)
    }

    /// The error of a field that was there before.
    #[cold]
    pub(crate) fn twice(&self) -> Box<JsonError> {
        self.schema("the field occurs twice")
    }

    fn error(&self, code: RejectCode, what: &'static str) -> Box<JsonError> {
        Box::new(JsonError {
            code,
            path: String::new(),
            what,
            at: self.at(),
        })
    }
}

#[cold]
fn inside(mut error: Box<JsonError>, key: &str) -> Box<JsonError> {
    let key: String = key.chars().take(60).collect();
    error.path = format!("/{}{}", key.replace('~', "~0").replace('/', "~1"), error.path);
    error
}

/// Length of the beginning without quote, backslash and control characters, eight bytes at a time.
#[inline]
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, _) = bytes.as_chunks::<8>();
    let mut length = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        // The lowest marked byte is exact; borrows can only mark bytes above it.
        let below = |byte: u64, limit: u64| byte.wrapping_sub(ONES * limit) & !byte & HIGH;
        let marks = below(word, 0x20) | below(word ^ (ONES * 0x22), 1) | below(word ^ (ONES * 0x5C), 1);
        if marks != 0 {
            return length + (marks.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    let rest = bytes.get(length..).unwrap_or_default();
    length
        + rest
            .iter()
            .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))
            .unwrap_or(rest.len())
}

/// Appends what stands between the quotes of a text, with its escapes undone. `None` for half a surrogate pair.
pub(crate) fn unescape(quoted: &str, out: &mut String) -> Option<()> {
    out.reserve(quoted.len());
    let mut rest = quoted;
    // A text between quotes is plain up to its next escape.
    while let Some((plain, [b'\\', ..])) = rest.as_bytes().split_at_checked(plain_length(rest.as_bytes())) {
        out.push_str(rest.get(..plain.len())?);
        let escape = rest.get(plain.len() + 1..)?;
        let mut chars = escape.chars();
        match chars.next()? {
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'u' => {
                let (character, after) = unicode(chars.as_str())?;
                out.push(character);
                rest = after;
                continue;
            }
            other => out.push(other),
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    Some(())
}

// After `\u`: the character, and what follows it.
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

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
