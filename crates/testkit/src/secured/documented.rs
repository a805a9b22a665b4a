//! The grants and rights that a page of the documentation lists, so that a test gives exactly those.

use anyhow::Context as _;

/// The code block after `<!-- MARKER -->` of this page.
///
/// # Errors
/// The page has no such block.
pub fn block(page: &str, marker: &str) -> anyhow::Result<String> {
    let block = || {
        let (_, after) = page.split_once(&format!("<!-- {marker} -->"))?;
        let (_, after) = after.split_once("```")?;
        let (block, _) = after.split_once('\n')?.1.split_once("```")?;
        Some(block.trim().to_owned())
    };
    block().with_context(|| format!("the page has no block after <!-- {marker} -->"))
}

/// ClickHouse's `users.xml`: `default` without a password, who may do anything; and these users (name, password, profile,
/// grants as statements that end with `TO NAME;`, or none for everything). `profiles` is XML.
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
