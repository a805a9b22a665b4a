//! The grants and rights in docs/security.md, so that the tests use exactly what is documented.

use testkit::secured::documented;

/// The code block after this marker, an HTML comment of the page.
pub fn block(marker: &str) -> String {
    documented::block(include_str!("../../../../../docs/security.md"), marker).unwrap()
}
