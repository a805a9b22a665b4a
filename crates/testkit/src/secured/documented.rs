//! Reads grants and rights from a page of the documentation, so that a test grants exactly these.

use anyhow::Context as _;

/// The code block after `<!-- MARKER -->` in a page.
///
/// # Errors
/// The page does not have the block.
pub fn block(page: &str, marker: &str) -> anyhow::Result<String> {
    let block = || {
        let (_, after) = page.split_once(&format!("<!-- {marker} -->"))?;
        let (_, after) = after.split_once("```")?;
        let (block, _) = after.split_once('\n')?.1.split_once("```")?;
        Some(block.trim().to_owned())
    };
    block().with_context(|| format!("the page has no block after <!-- {marker} -->"))
}

/// ClickHouse's `users.xml` with user `default`, which has all rights and no password, and these users: name, password,
/// profile, grants. Grants are statements that end with `TO NAME;`; no grants means all rights. `profiles` is XML.
pub fn clickhouse_users(profiles: &str, users: &[(&str, &str, &str, &str)]) -> String {
    let user = |(name, password, profile, grants): &(&str, &str, &str, &str)| {
        let grants: Vec<String> = grants
            .lines()
            .map(|line| format!("<query>{}</query>", line.trim_end_matches(&format!(" TO {name};"))))
            .collect();
        let grants = match grants.is_empty() {
            true => String::new(),
            false => format!("<grants>{}</grants>", grants.concat()),
        };
        format!(
            "<{name}><password>{password}</password><networks><ip>::/0</ip></networks><profile>{profile}</profile>\
             <quota>default</quota>{grants}</{name}>"
        )
    };
    let users: Vec<String> = [("default", "", "default", "")].iter().chain(users).map(user).collect();
    format!(
        "<clickhouse><profiles><default/>{profiles}</profiles><quotas><default/></quotas><users>{}</users></clickhouse>",
        users.concat()
    )
}
