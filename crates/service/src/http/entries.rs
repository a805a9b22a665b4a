//! `limit` of a query: the most entries of an answer, the same on every route.

use super::Problem;

/// Without the parameter.
const USUAL: u16 = 100;
const MOST: u16 = 1_000;

/// The number of parameter `limit`. It is read here and not by serde, whose error does not name the parameter.
///
/// # Errors
/// 400: it is no number; 422: it is out of range.
pub fn limit_of(text: Option<&str>) -> Result<u16, Problem> {
    let Some(text) = text else { return Ok(USUAL) };
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Problem::bad_request(format!(
            "limit is '{text}'; it must be a number from 1 to {MOST}"
        )));
    }
    text.parse()
        .ok()
        .filter(|limit| (1..=MOST).contains(limit))
        .ok_or_else(|| Problem::unprocessable(format!("limit is {text}; it must be from 1 to {MOST}")))
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError as _;

    use super::*;

    #[test]
    fn a_limit_that_cannot_be_used_is_named_with_its_range() {
        for (text, limit) in [(None, 100), (Some("1"), 1), (Some("1000"), 1_000)] {
            assert_eq!(limit_of(text).ok(), Some(limit), "{text:?}");
        }
        for (text, status) in [
            ("x", 400),
            ("", 400),
            ("1.5", 400),
            ("0", 422),
            ("-1", 422),
            ("70000", 422),
            ("99999999999999999999", 422),
        ] {
            let refused = limit_of(Some(text)).err();
            let told = refused.map(|problem| (problem.status_code().as_u16(), problem.to_string()));
            assert!(
                told.as_ref().is_some_and(|(found, words)| *found == status
                    && words.starts_with("limit is ")
                    && words.ends_with("from 1 to 1000")),
                "{text}: {told:?}"
            );
        }
    }
}
