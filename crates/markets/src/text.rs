//! Texts that borrow from the message, and own only what escapes had to be undone for.

use std::borrow::Cow;

use crate::json::{Kind, Token};
use crate::rejection::{RejectCode, Rejection};

/// A text of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text<'a>(pub Cow<'a, str>);

impl<'a> Text<'a> {
    /// The text of a field that has to be there.
    ///
    /// # Errors
    /// `schema_violation`, naming `place`: absent, or no text.
    pub(crate) fn required(token: Option<Token<'a>>, place: &str) -> Result<Text<'a>, Rejection> {
        match token {
            Some(Token { kind: Kind::Text, raw }) => Ok(raw.into()),
            Some(token) => token.text().map(Text).ok_or_else(|| no_text(token, place)),
            None => Err(Rejection::missing(place)),
        }
    }

    /// The text of a field that may be absent, without white space around it; blank counts as absent.
    ///
    /// # Errors
    /// `schema_violation`, naming `place`: no text.
    pub(crate) fn optional(token: Option<Token<'a>>, place: &str) -> Result<Option<Text<'a>>, Rejection> {
        match token {
            None => Ok(None),
            some => Ok(Text::required(some, place)?.trimmed()),
        }
    }

    /// An optional text that every store must be able to hold, as identifiers are: no control characters.
    ///
    /// # Errors
    /// As [`Text::optional`], or `invalid_identifier`.
    pub(crate) fn label(token: Option<Token<'a>>, place: &str) -> Result<Option<Text<'a>>, Rejection> {
        let text = Text::optional(token, place)?;
        if let Some(text) = &text {
            crate::check::identifier(text.as_str(), place)?;
        }
        Ok(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The text without white space around it; `None` where nothing is left.
    pub(crate) fn trimmed(self) -> Option<Text<'a>> {
        let text = match self.0 {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim_ascii()),
            Cow::Owned(text) if text.trim_ascii().len() == text.len() => Cow::Owned(text),
            Cow::Owned(text) => Cow::Owned(text.trim_ascii().to_owned()),
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
fn no_text(token: Token<'_>, place: &str) -> Rejection {
    Rejection::new(
        RejectCode::SchemaViolation,
        format!("{place} is {}: no text", token.shown()),
    )
}
