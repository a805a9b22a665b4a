//! A JSON reader for the hot path: one pass over borrowed text, no allocation, numbers kept as digits.
//!
//! It accepts exactly RFC 8259, nested at most 128 deep; property tests compare it with `serde_json`. It reports the JSON
//! pointer of every error and rejects duplicate fields.
//! Failure: [`JsonError`], built only in case of an error.

mod error;
mod token;

use crate::rejection::{RejectCode, excerpt};

pub(crate) use error::JsonError;
use error::inside;
pub(crate) use token::{Kind, Slot, Token, unescape};

const DEEPEST: u32 = 128;
/// Number of characters that an error shows of the text it found.
const FOUND: usize = 20;

pub(crate) type Read<T> = Result<T, Box<JsonError>>;

/// Reads one text from the beginning.
pub(crate) struct Reader<'a> {
    whole: &'a str,
    /// The unread rest.
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

    /// Reads the whole text as one object. `visit` receives each key and must read its value.
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

    /// Reads an object or null; `visit` reads the fields of an object. `present` is `None` until the field is seen, then
    /// whether its value is an object.
    pub(crate) fn optional_object(
        &mut self,
        present: &mut Option<bool>,
        visit: impl FnMut(&mut Reader<'a>, &str) -> Read<()>,
    ) -> Read<()> {
        if present.is_some() {
            return Err(self.twice());
        }
        let is_null = self.peek() == Some(b'n');
        *present = Some(!is_null);
        if is_null {
            return self.skip();
        }
        self.object(visit)
    }

    /// Reads an array; `visit` receives each element.
    pub(crate) fn array(&mut self, mut visit: impl FnMut(Token<'a>)) -> Read<()> {
        self.elements(|reader| {
            visit(reader.value()?);
            Ok(())
        })
        .map(|_| ())
    }

    /// Reads an array and returns its text. `visit` is called at each element and must read it.
    pub(crate) fn elements(&mut self, mut visit: impl FnMut(&mut Reader<'a>) -> Read<()>) -> Read<&'a str> {
        let start = self.at();
        if self.peek() != Some(b'[') {
            self.other_than("must be an array")?;
        }
        self.open()?;
        if !self.closes(b']') {
            loop {
                self.space();
                visit(self)?;
                if self.ends_after(b']')? {
                    break;
                }
            }
        }
        Ok(self.whole.get(start..self.at()).unwrap_or_default())
    }

    /// Whether the next value is an array.
    pub(crate) fn is_at_array(&self) -> bool {
        self.peek() == Some(b'[')
    }

    /// Reads a value into its slot, which must be empty. Null is a value too.
    pub(crate) fn put(&mut self, slot: &mut Slot<'a>) -> Read<()> {
        if slot.is_taken() {
            return Err(self.twice());
        }
        *slot = Slot::of(self.value()?);
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

    /// Reads any value and discards it.
    pub(crate) fn skip(&mut self) -> Read<()> {
        self.value().map(|_| ())
    }

    /// Fails if anything but white space follows.
    pub(crate) fn end(&mut self) -> Read<()> {
        self.space();
        match self.peek() {
            None => Ok(()),
            Some(b'{' | b'[') => Err(self.syntax("a second value follows; a message must be one JSON value")),
            Some(_) => Err(self.syntax("unexpected text after the end")),
        }
    }

    /// Skips white space, which machine-written JSON rarely has.
    #[inline(always)]
    pub(crate) fn space(&mut self) {
        if let [0..=b' ', ..] = self.rest {
            self.some_space();
        }
    }

    #[inline(never)]
    fn some_space(&mut self) {
        self.pass(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t'));
    }

    #[inline]
    fn at(&self) -> usize {
        self.whole.len() - self.rest.len()
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    // Reads the next byte if it is this one; returns whether it was.
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

    // Reads the leading bytes for which `is_such` holds; returns their number.
    #[inline]
    fn pass(&mut self, is_such: impl Fn(&u8) -> bool) -> usize {
        let rest = self.rest;
        let count = rest.iter().position(|byte| !is_such(byte)).unwrap_or(rest.len());
        self.rest = rest.get(count..).unwrap_or_default();
        count
    }

    // The caller has checked the opening bracket.
    fn open(&mut self) -> Read<()> {
        self.rest = self.rest.get(1..).unwrap_or_default();
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.syntax("nested more than 128 deep"));
        }
        Ok(())
    }

    // Right after the opening bracket: reads the closing one if the object or array is empty.
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
        match self.rest {
            [b',', rest @ ..] => {
                self.rest = rest;
                Ok(false)
            }
            [byte, rest @ ..] if *byte == close => {
                self.rest = rest;
                self.depth -= 1;
                Ok(true)
            }
            _ => Err(self.syntax("a comma or the end of the object or array is expected")),
        }
    }

    #[inline]
    fn key(&mut self) -> Read<Token<'a>> {
        self.space();
        let [b'"', inner @ ..] = self.rest else {
            return Err(self.syntax("a key is expected"));
        };
        let key = self.string(inner)?;
        // Fast path: the colon usually follows immediately.
        if !self.eat(b':') {
            self.space();
            if !self.eat(b':') {
                return Err(self.syntax("a colon is expected"));
            }
        }
        self.space();
        Ok(key)
    }

    // `inner` starts after the opening quote. Nearly every text ends at the first byte that is not plain.
    #[inline(always)]
    fn string(&mut self, inner: &'a [u8]) -> Read<Token<'a>> {
        let start = self.whole.len() - inner.len();
        let length = token::plain_length(inner);
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
            self.rest = self.rest.get(token::plain_length(self.rest)..).unwrap_or_default();
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
                [] => return Err(self.syntax("an unterminated string")),
                _ => return Err(self.syntax("a control character inside a string")),
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
        match self.pass(|byte| byte.is_ascii_digit()) {
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

    // Broken JSON is a syntax error; a valid value of another type is a schema violation.
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

    /// The error for a duplicate field.
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
            // Cut first: the rest may be megabytes.
            found: self.whole.get(self.at()..).map_or_else(String::new, |rest| {
                excerpt(&rest.chars().take(FOUND).collect::<String>())
            }),
        })
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
