//! The grants and rights of docs/security.md, so that what is written there is what is tried here.

use testkit::secured::documented;

/// The code block after this marker, an HTML comment of the page.
pub fn block(marker: &str) -> String {
    documented::block(include_str!("../../../../docs/security.md"), marker).unwrap()
}
