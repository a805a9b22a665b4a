//! The page of settings is generated from the code, and its example is a file that every service accepts. The page of routes has all of them.
#![allow(clippy::unwrap_used)]

use std::fs;

use service::settings::{CONFIG_FILE, Part, TABLES, declare, document};
use service::{Definition, Env, SHARED_ROUTES};

fn page() -> String {
    fs::read_to_string(e2e::root().join("docs/configuration.md")).unwrap()
}

#[test]
fn the_page_of_settings_is_the_one_that_the_declarations_give() {
    let parts = [
        Part::of(&normalization::DEFINITION),
        Part::of(&enrichment::DEFINITION),
        Part::of(&aggregation::DEFINITION),
        Part::of(&projection::DEFINITION),
    ];
    assert!(
        page() == document(&parts),
        "docs/configuration.md is out of date: cargo run -p e2e --example configuration-page > docs/configuration.md"
    );
}

#[test]
fn every_service_accepts_the_example_of_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let (file, secret) = (folder.path().join("pipeline.toml"), folder.path().join("postgres-dsn"));
    fs::write(&secret, "postgresql://pipeline@localhost/db").unwrap();
    let page = page();
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let example = example
        .replace("\"staging\"", "\"local\"")
        .replace("/run/secrets/postgres-dsn", secret.to_str().unwrap());
    fs::write(&file, example).unwrap();
    let env = Env::from([(CONFIG_FILE.to_owned(), file.to_str().unwrap().to_owned())]);
    accepts(&normalization::DEFINITION, &env);
    accepts(&enrichment::DEFINITION, &env);
    accepts(&aggregation::DEFINITION, &env);
    accepts(&projection::DEFINITION, &env);
}

fn accepts<S>(definition: &Definition<S>, env: &Env) {
    assert!(TABLES.contains(&definition.name), "{} has no table", definition.name);
    let problems = declare(env, definition.default_port, definition.settings).problems;
    assert_eq!(problems, Vec::<String>::new(), "{}", definition.name);
}

#[test]
fn the_page_of_routes_has_each_route_of_each_service_and_no_other() {
    let page = fs::read_to_string(e2e::root().join("docs/api.md")).unwrap();
    let sections = [
        ("Every service", &SHARED_ROUTES[..]),
        (normalization::DEFINITION.name, normalization::DEFINITION.routes),
        (enrichment::DEFINITION.name, enrichment::DEFINITION.routes),
        (aggregation::DEFINITION.name, aggregation::DEFINITION.routes),
        (projection::DEFINITION.name, projection::DEFINITION.routes),
    ];
    for (title, routes) in sections {
        let (_, rest) = page.split_once(&format!("## {title}\n")).unwrap();
        let section = rest.split("\n## ").next().unwrap();
        let mut listed: Vec<&str> = section
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .collect();
        let mut routes = routes.to_vec();
        listed.sort_unstable();
        routes.sort_unstable();
        assert_eq!(listed, routes, "{title}");
    }
}
