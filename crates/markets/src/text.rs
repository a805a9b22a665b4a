//! Texts that borrow from the message. Only unescaped texts are owned.

use std::borrow::Cow;
use std::fmt::Display;

use crate::check;
use crate::json::{Kind, Token};
use crate::rejection::{RejectCode, Rejection};

/// A string of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text<'a>(pub Cow<'a, str>);

impl<'a> Text<'a> {
    /// Placeholder for a string that could not be read.
    pub(crate) const UNREAD: Text<'static> = Text(Cow::Borrowed(""));

    /// The trimmed text of a required field.
    ///
    /// # Errors
    /// `schema_violation`, naming `place`, if it is missing, not a string, or blank.
    #[inline]
    pub(crate) fn required(token: Option<Token<'a>>, place: impl Display + Copy) -> Result<Text<'a>, Rejection> {
        if let Some(text) = token.and_then(Text::usual) {
            return Ok(text);
        }
        let token = token.ok_or_else(|| Rejection::missing(place))?;
        Text::read(token, place)?.trimmed().ok_or_else(|| {
            let message = format!("{place} is {}: a non-blank string is required", token.shown());
            Rejection::new(RejectCode::SchemaViolation, message)
        })
    }

    /// The trimmed text of an optional field. A blank text counts as missing.
    ///
    /// # Errors
    /// `schema_violation`, naming `place`, if it is not a string.
    #[inline]
    pub(crate) fn optional(token: Option<Token<'a>>, place: impl Display) -> Result<Option<Text<'a>>, Rejection> {
        match token {
            None => Ok(None),
            Some(token) => match Text::usual(token) {
                Some(text) => Ok(Some(text)),
                None => Ok(Text::read(token, place)?.trimmed()),
            },
        }
    }

    // Fast path for nearly every text: no escapes, and no white space around it.
    #[inline(always)]
    fn usual(token: Token<'a>) -> Option<Text<'a>> {
        match (token.kind, token.raw.as_bytes()) {
            (Kind::Text, [b'!'..=b'~', .., b'!'..=b'~'] | [b'!'..=b'~']) => Some(token.raw.into()),
            _ => None,
        }
    }

    /// An optional text with the rules of identifiers, such as no control characters, so that every store can hold it.
    ///
    /// # Errors
    /// As [`Text::optional`], or `invalid_identifier`.
    pub(crate) fn label(token: Option<Token<'a>>, place: impl Display + Copy) -> Result<Option<Text<'a>>, Rejection> {
        let text = Text::optional(token, place)?;
        if let Some(text) = &text {
            check::identifier(text.as_str(), place)?;
        }
        Ok(text)
    }

    /// The trimmed id of a tenant or an event.
    ///
    /// # Errors
    /// `schema_violation` if it is missing or not a string, `invalid_identifier` if it is not allowed in keys.
    pub(crate) fn identifier(token: Option<Token<'a>>, place: impl Display + Copy) -> Result<Text<'a>, Rejection> {
        let token = token.ok_or_else(|| Rejection::missing(place))?;
        let text = match Text::usual(token) {
            Some(text) => text,
            None => Text::read(token, place)?.trimmed().unwrap_or(Text::UNREAD),
        };
        check::identifier(text.as_str(), place)?;
        Ok(text)
    }

    /// The id of an instrument.
    ///
    /// # Errors
    /// As [`Text::label`], or `missing_instrument`.
    pub(crate) fn instrument(token: Option<Token<'a>>, place: impl Display + Copy) -> Result<Text<'a>, Rejection> {
        Text::label(token, place)?.ok_or_else(|| {
            let message = match token {
                None => format!("{place} is missing"),
                Some(token) => format!("{place} is {}: an instrument id is required", token.shown()),
            };
            Rejection::new(RejectCode::MissingInstrument, message)
        })
    }

    #[inline(never)]
    fn read(token: Token<'a>, place: impl Display) -> Result<Text<'a>, Rejection> {
        token.text().map(Text).ok_or_else(|| no_text(token, place))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The trimmed text; `None` if it is blank.
    pub(crate) fn trimmed(self) -> Option<Text<'a>> {
        let text = match self.0 {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
            Cow::Owned(text) if text.trim().len() == text.len() => Cow::Owned(text),
            Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
        };
        (!text.is_empty()).then_some(Text(text))
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Text<'a> {
        Text(Cow::Borrowed(text))
    }
}

#[cold]
fn no_text(token: Token<'_>, place: impl Display) -> Rejection {
    let message = if token.is_text() {
        format!("{place} is {}: it contains half a surrogate pair", token.shown())
    } else {
        format!("{place} is {}: a string is expected", token.shown())
    };
    Rejection::new(RejectCode::SchemaViolation, message)
}
