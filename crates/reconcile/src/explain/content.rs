//! Bytes as shown to users: JSON is indented without changing a digit, other text is unchanged, binary data is hexadecimal.
//! Pure.

use serde::Serialize;

/// Bytes of a message that are shown by default.
pub const SHOWN: usize = 1_200;

/// The bytes of a message, or its first bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Content {
    /// Size of the whole message.
    pub size: usize,
    /// `text` or `hex`.
    pub encoding: &'static str,
    /// The bytes in that encoding.
    pub bytes: String,
    /// Whether bytes at the end are left out.
    pub is_cut: bool,
}

impl Content {
    /// At most `limit` of these bytes.
    pub fn new(bytes: &[u8], limit: usize) -> Content {
        let shown = bytes.get(..limit).unwrap_or(bytes);
        let is_text = |text: &str| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'));
        let (encoding, text) = match std::str::from_utf8(bytes) {
            Ok(text) if is_text(text) => (
                "text",
                String::from_utf8_lossy(shown).trim_end_matches('\u{fffd}').to_owned(),
            ),
            _ => ("hex", hex::encode(shown)),
        };
        Content {
            size: bytes.len(),
            encoding,
            bytes: text,
            is_cut: shown.len() < bytes.len(),
        }
    }

    /// The content in lines of at most `width` characters.
    pub fn lines(&self, width: usize) -> Vec<String> {
        let is_json = self.encoding == "text" && self.bytes.trim_start().starts_with(['{', '[']);
        let text = match self.encoding {
            "text" if is_json => indented(&self.bytes),
            "text" => self.bytes.clone(),
            _ => format!("0x{}", self.bytes),
        };
        let mut lines = Vec::new();
        for line in text.lines() {
            let characters: Vec<char> = line.chars().collect();
            match characters.is_empty() {
                true => lines.push(String::new()),
                false => lines.extend(
                    characters
                        .chunks(width.max(1))
                        .map(|part| part.iter().collect::<String>()),
                ),
            }
        }
        lines
    }
}

/// Indents JSON. Digits and strings are not changed. Of invalid JSON, only white space is changed.
fn indented(json: &str) -> String {
    let (mut out, mut depth) = (String::new(), 0_usize);
    let (mut in_text, mut escaped) = (false, false);
    let new_line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth.min(20)));
    };
    let mut characters = json.chars().peekable();
    while let Some(c) = characters.next() {
        if in_text {
            out.push(c);
            in_text = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '"' => {
                in_text = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                while characters.next_if(|next| next.is_whitespace()).is_some() {}
                if let Some(closing) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(closing);
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_without_changing_a_digit() {
        let content = Content::new(
            br#"{"price":31.5500000000000000001,"a":"x, \"y\": {","none":{ },"list":[1,2]}"#,
            SHOWN,
        );
        assert_eq!(
            content.lines(90),
            [
                "{",
                "  \"price\": 31.5500000000000000001,",
                "  \"a\": \"x, \\\"y\\\": {\",",
                "  \"none\": {},",
                "  \"list\": [",
                "    1,",
                "    2",
                "  ]",
                "}"
            ]
        );
    }

    #[test]
    fn long_and_binary_content_is_cut_and_marked_as_cut() {
        let content = Content::new(&[0xC3, 0x01, 0, 255], 3);
        assert_eq!(
            (content.encoding, &*content.bytes, content.size, content.is_cut),
            ("hex", "c30100", 4, true)
        );
        let content = Content::new("é".repeat(100).as_bytes(), 11);
        assert_eq!((&*content.bytes, content.is_cut), ("ééééé", true));
        assert!(
            Content::new(&[b'x'; 500], SHOWN)
                .lines(90)
                .iter()
                .all(|line| line.len() <= 90)
        );
    }
}
