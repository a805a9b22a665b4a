//! A JSON reader for the hot path: one pass over borrowed text, no allocation, numbers kept as digits, names compared as
//! integers.
//!
//! It accepts exactly RFC 8259, nested at most 128 deep; property tests compare it with `serde_json`. It reports the JSON
//! pointer of every error and rejects duplicate fields.
//! Failure: [`JsonError`], built only in case of an error.
//!
//! The common path is inlined, and whatever is rare takes the reader by value. That keeps the reader in registers.

mod error;
mod outline;
mod rare;
mod scan;
mod token;

pub(crate) use error::JsonError;
use error::inside;
pub(crate) use outline::Outline;
use rare::after_space;
pub(crate) use scan::word;
pub(crate) use token::{Kind, Slot, Token, unescape};

const DEEPEST: u32 = 128;
/// Number of characters that an error shows of the text it found.
const FOUND: usize = 20;

pub(crate) type Read<T> = Result<T, Box<JsonError>>;

/// The name of a field.
#[derive(Clone, Copy)]
pub(crate) struct Key<'k> {
    bytes: &'k [u8],
    /// See [`word`].
    pub word: u128,
}

impl Key<'_> {
    /// The name as text, for readers that do not know it beforehand.
    pub(crate) fn name(&self) -> String {
        String::from_utf8_lossy(self.bytes).into_owned()
    }

    /// Whether it is this name.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.bytes == name.as_bytes()
    }
}

/// Receives the fields of an object. A closure does too, but the compiler may not inline it.
pub(crate) trait Object<'a> {
    /// Reads the value of the field with this key, at which the reader is.
    fn field(&mut self, reader: &mut Reader<'a>, key: Key<'_>) -> Read<()>;
}

impl<'a, F: FnMut(&mut Reader<'a>, Key<'_>) -> Read<()>> Object<'a> for F {
    #[inline(always)]
    fn field(&mut self, reader: &mut Reader<'a>, key: Key<'_>) -> Read<()> {
        self(reader, key)
    }
}

/// The slot of the field with this key, if it is one of the listed fields.
macro_rules! slot_of {
    ($owner:expr, $key:expr, $($field:ident),+ $(,)?) => {{
        #[allow(non_upper_case_globals)]
        mod words { $(pub(super) const $field: u128 = $crate::json::word(stringify!($field));)+ }
        match $key.word {
            $(words::$field => Some(&mut $owner.$field),)+
            _ => None,
        }
    }};
}
pub(crate) use slot_of;

/// An object whose listed fields are slots. Other fields are skipped.
macro_rules! fields_are_slots {
    ($object:ident, $($field:ident),+ $(,)?) => {
        impl<'a> $crate::json::Object<'a> for $object<'a> {
            #[inline(always)]
            fn field(
                &mut self,
                reader: &mut $crate::json::Reader<'a>,
                key: $crate::json::Key<'_>,
            ) -> $crate::json::Read<()> {
                reader.put($crate::json::slot_of!(self, key, $($field),+))
            }
        }
    };
}
pub(crate) use fields_are_slots;

/// Reads one text from the beginning.
#[derive(Clone, Copy)]
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

    /// Reads the whole text as one object.
    #[inline(always)]
    pub(crate) fn whole_object(text: &'a str, into: &mut impl Object<'a>) -> Read<()> {
        let mut reader = Reader::new(text);
        reader.space();
        reader.object(into)?;
        reader.end()
    }

    /// Reads an object.
    #[inline(always)]
    pub(crate) fn object(&mut self, into: &mut impl Object<'a>) -> Read<()> {
        if !self.is_at(b'{') {
            return Err(self.other_than("must be an object"));
        }
        self.open()?;
        if self.closes(b'}') {
            return Ok(());
        }
        loop {
            if !self.is_at(b'"') {
                return Err(self.syntax("a key is expected"));
            }
            let inner = self.rest.get(1..).unwrap_or_default();
            let unescaped;
            let key = match self.short_key(inner) {
                Some(key) => key,
                None => {
                    (unescaped, *self) = self.other_key(inner)?;
                    Key {
                        bytes: unescaped.as_bytes(),
                        word: word(&unescaped),
                    }
                }
            };
            if let Err(error) = into.field(self, key) {
                return Err(inside(error, &String::from_utf8_lossy(key.bytes)));
            }
            if self.ends_after(b'}')? {
                return Ok(());
            }
        }
    }

    /// Reads an object or null. `present` is `None` until the field is seen, then
    /// whether its value is an object.
    #[inline(always)]
    pub(crate) fn optional_object(&mut self, present: &mut Option<bool>, into: &mut impl Object<'a>) -> Read<()> {
        if present.is_some() {
            return Err(self.twice());
        }
        let is_null = self.is_at(b'n');
        *present = Some(!is_null);
        if is_null {
            return self.skip();
        }
        self.object(into)
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
        if !self.is_at(b'[') {
            return Err(self.other_than("must be an array"));
        }
        let start = self.rest;
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
        Ok(self.since(start))
    }

    /// Reads the elements behind one that has been read, as far as `visit` says, which must read each of them.
    pub(crate) fn further(mut self, mut visit: impl FnMut(&mut Reader<'a>) -> Read<bool>) -> Read<()> {
        while !self.ends_after(b']')? {
            self.space();
            if !visit(&mut self)? {
                break;
            }
        }
        Ok(())
    }

    /// Whether the next value is an array.
    pub(crate) fn is_at_array(&mut self) -> bool {
        self.is_at(b'[')
    }

    /// Whether the next value is an object.
    pub(crate) fn is_at_object(&mut self) -> bool {
        self.is_at(b'{')
    }

    /// Reads a value into its slot, which must be empty. Null is a value too. Without a slot the value is discarded.
    #[inline(always)]
    pub(crate) fn put(&mut self, slot: Option<&mut Slot<'a>>) -> Read<()> {
        let Some(slot) = slot else {
            return self.skip();
        };
        if slot.is_taken() {
            return Err(self.twice());
        }
        *slot = Slot::of(self.value()?);
        Ok(())
    }

    /// Reads any value.
    #[inline(always)]
    pub(crate) fn value(&mut self) -> Read<Token<'a>> {
        let token = match self.rest {
            [b'"', inner @ ..] => self.plain_string(inner),
            [b'-' | b'0'..=b'9', ..] => self.plain_number(),
            _ => None,
        };
        match token {
            Some(token) => Ok(token),
            None => {
                let (token, after) = self.other_value()?;
                *self = after;
                Ok(token)
            }
        }
    }

    /// Reads any value and discards it.
    pub(crate) fn skip(&mut self) -> Read<()> {
        *self = self.other_value()?.1;
        Ok(())
    }

    /// Fails if anything but white space follows.
    pub(crate) fn end(mut self) -> Read<()> {
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
            self.rest = after_space(self.rest);
        }
    }

    // Whether this is the next byte after white space. White space is only looked for if it is not the next byte at all.
    #[inline(always)]
    fn is_at(&mut self, byte: u8) -> bool {
        self.peek() == Some(byte) || {
            self.space();
            self.peek() == Some(byte)
        }
    }

    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    // The text from `start`, an earlier `rest`, up to the unread rest.
    #[inline(always)]
    fn since(&self, start: &[u8]) -> &'a str {
        self.text(start, start.len() - self.rest.len()).unwrap_or_default()
    }

    // The first `length` bytes of `start`, which is an end of the whole text.
    #[inline(always)]
    fn text(&self, start: &[u8], length: usize) -> Option<&'a str> {
        self.whole.get(self.whole.len() - start.len()..)?.get(..length)
    }

    // Reads the next byte if it is this one; returns whether it was.
    #[inline(always)]
    fn eat(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    // The caller has checked the opening bracket.
    #[inline(always)]
    fn open(&mut self) -> Read<()> {
        self.rest = self.rest.get(1..).unwrap_or_default();
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.syntax("nested more than 128 deep"));
        }
        Ok(())
    }

    // Right after the opening bracket: reads the closing one if the object or array is empty.
    #[inline(always)]
    fn closes(&mut self, close: u8) -> bool {
        self.space();
        let closes = self.eat(close);
        self.depth -= u32::from(closes);
        closes
    }

    // After an element: whether it was the last.
    #[inline(always)]
    fn ends_after(&mut self, close: u8) -> Read<bool> {
        if self.peek() != Some(b',') {
            self.space();
        }
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

    // A plain key of at most 15 bytes, and the colon right after it. `inner` starts after the opening quote.
    #[inline(always)]
    fn short_key(&mut self, inner: &'a [u8]) -> Option<Key<'a>> {
        let (length, word) = scan::short_name(inner)?;
        let (bytes, [b'"', b':', after @ ..]) = inner.split_at_checked(length)? else {
            return None;
        };
        self.rest = after;
        Some(Key { bytes, word })
    }

    // Nearly every string ends at the first byte that is not plain. `inner` starts after the opening quote.
    #[inline(always)]
    fn plain_string(&mut self, inner: &'a [u8]) -> Option<Token<'a>> {
        let length = scan::plain_length(inner);
        let [b'"', after @ ..] = inner.get(length..)? else {
            return None;
        };
        let raw = self.text(inner, length)?;
        self.rest = after;
        Some(Token { kind: Kind::Text, raw })
    }

    // Nearly every number is `-?digits[.digits]`.
    #[inline(always)]
    fn plain_number(&mut self) -> Option<Token<'a>> {
        let length = scan::plain_number(self.rest)?;
        let raw = self.text(self.rest, length)?;
        self.rest = self.rest.get(length..)?;
        Some(Token {
            kind: Kind::Number,
            raw,
        })
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
