//! The grants and rights of docs/security.md, so that what is written there is what is tried here.

const PAGE: &str = include_str!("../../../../docs/security.md");

/// The code block after this marker, an HTML comment of the page.
pub fn block(marker: &str) -> String {
    let (_, after) = PAGE.split_once(&format!("<!-- {marker} -->")).expect("the marker");
    let (_, block) = after.split_once("```").expect("a block");
    let (_, block) = block.split_once('\n').expect("its lines");
    let (block, _) = block.split_once("```").expect("its end");
    block.trim().to_owned()
}
