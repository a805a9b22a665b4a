//! What is rare in JSON on the hot path: escapes, exponents, nested values that nobody reads, white space, errors.
//!
//! Failure: [`JsonError`].

use std::borrow::Cow;

use super::{FOUND, JsonError, Key, Kind, Read, Reader, Token, scan};
use crate::rejection::{RejectCode, excerpt};

impl<'a> Reader<'a> {
    // A key of any form and its colon. `inner` starts after the opening quote.
    #[inline(never)]
    pub(super) fn other_key(mut self, inner: &'a [u8]) -> Read<(Cow<'a, str>, Reader<'a>)> {
        let key;
        (key, self) = self.string(inner)?;
        self.space();
        if !self.eat(b':') {
            return Err(self.syntax("a colon is expected"));
        }
        self.space();
        let key = key
            .text()
            .ok_or_else(|| self.syntax("a key with half a surrogate pair"))?;
        Ok((key, self))
    }

    // Any value, also after white space.
    #[inline(never)]
    pub(super) fn other_value(mut self) -> Read<(Token<'a>, Reader<'a>)> {
        self.space();
        let start = self.rest;
        let kind = match start {
            [b'"', inner @ ..] => return self.string(inner),
            [b'-' | b'0'..=b'9', ..] => self.number()?,
            [b'{', ..] => {
                self.object(&mut |reader: &mut Reader<'a>, _: Key<'_>| reader.skip())?;
                Kind::Object
            }
            [b'[', ..] => {
                self.elements(|reader| reader.skip())?;
                Kind::Array
            }
            [b't', ..] => self.literal("true", Kind::Bool)?,
            [b'f', ..] => self.literal("false", Kind::Bool)?,
            [b'n', ..] => self.literal("null", Kind::Null)?,
            _ => return Err(self.syntax("a value is expected")),
        };
        let raw = self.since(start);
        Ok((Token { kind, raw }, self))
    }

    // Any string. `inner` starts after the opening quote.
    fn string(mut self, inner: &'a [u8]) -> Read<(Token<'a>, Reader<'a>)> {
        let mut kind = Kind::Text;
        self.rest = inner;
        loop {
            self.rest = self.rest.get(scan::plain_length(self.rest)..).unwrap_or_default();
            match self.rest {
                [b'"', after @ ..] => {
                    let raw = self.since(inner);
                    self.rest = after;
                    return Ok((Token { kind, raw }, self));
                }
                [b'\\', escape @ ..] => self.rest = self.after_escape(escape)?,
                [] => return Err(self.syntax("an unterminated string")),
                _ => return Err(self.syntax("a control character inside a string")),
            }
            kind = Kind::EscapedText;
        }
    }

    fn after_escape(self, escape: &'a [u8]) -> Read<&'a [u8]> {
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
        let count = scan::digits(self.rest);
        if count == 0 {
            return Err(self.syntax("a digit is expected"));
        }
        self.rest = self.rest.get(count..).unwrap_or_default();
        Ok(count)
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
    pub(super) fn other_than(self, what: &'static str) -> Box<JsonError> {
        match self.other_value() {
            Ok(_) => self.schema(what),
            Err(error) => error,
        }
    }

    #[cold]
    pub(super) fn syntax(self, what: &'static str) -> Box<JsonError> {
        self.error(RejectCode::BrokenJson, what)
    }

    #[cold]
    fn schema(self, what: &'static str) -> Box<JsonError> {
        self.error(RejectCode::SchemaViolation, what)
    }

    /// The error for a duplicate field.
    #[cold]
    pub(crate) fn twice(mut self) -> Box<JsonError> {
        self.space();
        self.schema("the field occurs twice")
    }

    #[inline(never)]
    fn error(self, code: RejectCode, what: &'static str) -> Box<JsonError> {
        let at = self.whole.len() - self.rest.len();
        Box::new(JsonError {
            code,
            path: String::new(),
            what,
            at,
            // Cut first: the rest may be megabytes.
            found: self.whole.get(at..).map_or_else(String::new, |rest| {
                excerpt(&rest.chars().take(FOUND).collect::<String>())
            }),
        })
    }
}

#[inline(never)]
pub(super) fn after_space(bytes: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
    let count = bytes.iter().take_while(|byte| is_space(byte)).count();
    bytes.get(count..).unwrap_or_default()
}
