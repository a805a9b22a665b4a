//! The configuration file: precedence, types, unknown keys, secrets.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tempfile::TempDir;

use super::*;

/// The settings of a service that has variables of its own.
fn own(r: &mut Reader<'_>) -> (u64, Vec<String>, bool, f64, Duration, Secret) {
    let decimal = Rule {
        kind: Kind::Decimal,
        expected: "a number from 0 to 1",
        accept: |value: &f64| (0.0..=1.0).contains(value),
    };
    (
        r.number("ENRICHMENT_SIZE", 1, 0..=99, "a size"),
        r.list("ENRICHMENT_NAMES", "", "names"),
        r.flag("ENRICHMENT_ON", false, "a flag"),
        r.value("ENRICHMENT_RATIO", 0.5, "a ratio", decimal),
        r.duration("ENRICHMENT_WAIT", "1s", "a wait"),
        r.secret("ENRICHMENT_TOKEN", "", "a token"),
    )
}

fn written(content: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipeline.toml");
    std::fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

fn env(path: &str, pairs: &[(&str, &str)]) -> Env {
    let pairs = pairs.iter().chain(&[(CONFIG_FILE, path)]).copied().collect::<Vec<_>>();
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The problems of a file, without the folder in front of its name.
fn problems(content: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    let (folder, path) = written(content);
    let declared = declare(&env(&path, pairs), 8081, own);
    let folder = format!("{}/", folder.path().display());
    let plain = |problem: &String| problem.replace(&folder, "");
    declared.problems.iter().map(plain).collect()
}

#[test]
fn the_file_sets_what_the_environment_does_not() {
    let (_folder, path) = written(
        r#"
        kafka_bootstrap = "file:1"
        workers = 0x10
        metrics_port = 9_091
        raw_topics = ["a", "b"]
        processing_timeout = 5
        http_host = "::1"

        [enrichment]
        size = 7
        names = []
        on = true
        ratio = 0.25
        wait = "250ms"
        token = "s3cret"

        [aggregation]
        only_aggregation_knows = 1
        "#,
    );
    let loaded = load(
        &env(&path, &[("DATA_PROC_WORKERS", "3"), ("KAFKA_ADDR", "older:1")]),
        8081,
        own,
    )
    .unwrap();
    let settings = &loaded.settings;
    assert_eq!(settings.kafka_bootstrap.addresses(), "file:1");
    assert_eq!((settings.workers, settings.http.metrics_port), (3, Some(9_091)));
    assert_eq!(settings.raw_topics, ["a", "b"]);
    assert_eq!(settings.processing_timeout, Duration::from_secs(5));
    assert_eq!(settings.http.host.to_string(), "::1");
    let (size, names, on, ratio, wait, token) = loaded.own;
    assert_eq!((size, names.len(), on, ratio), (7, 0, true, 0.25));
    assert_eq!((wait, token.expose().as_str()), (Duration::from_millis(250), "s3cret"));
    let source = |name: &str| {
        let variable = loaded.variables.iter().find(|variable| variable.name == name).unwrap();
        variable.source.clone()
    };
    assert_eq!(source("DATA_PROC_WORKERS"), Source::Environment);
    assert_eq!(source("DATA_PROC_METRICS_PORT"), Source::File(format!("{path}:4:9")));
    assert_eq!(source("ENRICHMENT_TOKEN"), Source::File(format!("{path}:15:9")));
    assert_eq!(source("DATA_PROC_TENANT_ID"), Source::Default);
    let printed = format!("{:?} {:?}", loaded.variables, loaded.settings);
    assert!(!printed.contains("s3cret"), "{printed}");
}

#[test]
fn an_empty_variable_of_the_environment_hides_the_file() {
    let (_folder, path) = written("metrics_port = 9091\ntenant_id = \"from-file\"");
    let loaded = load(
        &env(&path, &[("DATA_PROC_METRICS_PORT", ""), ("DATA_PROC_TENANT_ID", " ")]),
        8081,
        own,
    );
    let settings = loaded.unwrap().settings;
    assert_eq!(
        (settings.http.metrics_port, settings.tenant_id.as_str()),
        (None, "default")
    );
}

#[test]
fn an_empty_string_of_the_file_turns_an_optional_port_off() {
    let (_folder, path) = written("metrics_port = \"\"");
    let elsewhere = [
        ("DATA_PROC_ENV", "prod"),
        ("DATA_PROC_KAFKA_BOOTSTRAP", "kafka:9092"),
        ("DATA_PROC_CLICKHOUSE_URL", "https://clickhouse:8443"),
        ("DATA_PROC_CLICKHOUSE_PASSWORD", "s3cret"),
        ("DATA_PROC_POSTGRES_DSN", "postgresql://pipeline@postgres/db"),
        ("DATA_PROC_REDIS_URL", "rediss://redis:6379/0"),
    ];
    let loaded = load(&env(&path, &elsewhere), 8081, own).unwrap();
    assert_eq!(loaded.settings.http.metrics_port, None);
}

#[test]
fn a_form_of_a_secret_in_the_environment_hides_both_forms_in_the_file() {
    let (folder, path) = written("clickhouse_password_file = \"/nowhere\"\n[enrichment]\ntoken = \"of-file\"");
    let token = folder.path().join("token");
    std::fs::write(&token, "of-environment\n").unwrap();
    let pairs = [
        ("DATA_PROC_CLICKHOUSE_PASSWORD", "of-environment"),
        ("ENRICHMENT_TOKEN_FILE", token.to_str().unwrap()),
    ];
    let loaded = load(&env(&path, &pairs), 8081, own).unwrap();
    assert_eq!(loaded.settings.clickhouse.password.expose(), "of-environment");
    assert_eq!(loaded.own.5.expose(), "of-environment");
}

#[test]
fn values_of_a_wrong_type_are_named_with_their_location_and_never_shown() {
    for (line, expected) in [
        ("workers = \"two\"", "1:1: workers must be an integer, got a string"),
        (
            "workers = 2.5",
            "1:1: workers must be an integer, got a number with decimals",
        ),
        ("  tenant_id = 7", "1:3: tenant_id must be a string, got an integer"),
        (
            "tenant_id = 1979-05-27",
            "1:1: tenant_id must be a string, got a date or time",
        ),
        (
            "raw_topics = \"a,b\"",
            "1:1: raw_topics must be an array of strings, got a string",
        ),
        (
            "raw_topics = [\n  \"a\",\n  5,\n]",
            "3:3: raw_topics must be an array of strings, got an array with an integer",
        ),
        (
            "raw_topics = [\"a,b\"]",
            "1:15: an item of raw_topics must not contain a comma",
        ),
        (
            "clickhouse_password = 271828",
            "1:1: clickhouse_password must be a string, got an integer",
        ),
        (
            "clickhouse_password_file = true",
            "1:1: clickhouse_password_file must be a string (the path of a file), got true or false",
        ),
        (
            "[enrichment]\non = 1",
            "2:1: enrichment.on must be true or false, got an integer",
        ),
        (
            "[enrichment]\nratio = \"1\"",
            "2:1: enrichment.ratio must be a number, got a string",
        ),
        (
            "enrichment.wait = 1.5",
            "1:12: enrichment.wait must be a string such as \"30s\", or an integer of seconds, got a number with decimals",
        ),
    ] {
        assert_eq!(problems(line, &[]), [format!("pipeline.toml:{expected}")], "{line}");
    }
}

#[test]
fn an_invalid_value_is_named_with_its_location_and_all_problems_come_at_once() {
    let found = problems(
        "workers = 0\nlog_format = \"xml\"\n[enrichment]\nsize = 1000\nratio = 7\nsizes = 1",
        &[("DATA_PROC_MAX_BATCH_SIZE", "many")],
    );
    let expected = [
        "DATA_PROC_MAX_BATCH_SIZE must be an integer from 1 to 1000000, got 'many'",
        "DATA_PROC_WORKERS must be an integer from 1 to 256, got '0' (pipeline.toml:1:1)",
        "DATA_PROC_LOG_FORMAT must be json or pretty, got 'xml' (pipeline.toml:2:1)",
        "ENRICHMENT_SIZE must be an integer from 0 to 99, got '1000' (pipeline.toml:4:1)",
        "ENRICHMENT_RATIO must be a number from 0 to 1, got '7' (pipeline.toml:5:1)",
        "pipeline.toml:6:1: unknown key enrichment.sizes; did you mean enrichment.size?",
    ];
    assert_eq!(found, expected);
}

#[test]
fn unknown_keys_are_rejected_with_the_key_that_was_meant() {
    for (line, key, meant) in [
        ("worker = 1", "worker", Some("workers")),
        ("Workers = 1", "Workers", Some("workers")),
        ("DATA_PROC_WORKERS = 1", "DATA_PROC_WORKERS", Some("workers")),
        ("kafka.bootstrap = \"k:1\"", "kafka.bootstrap", Some("kafka_bootstrap")),
        ("ratio = 1", "ratio", Some("enrichment.ratio")),
        ("[enrichment]\nratoi = 1", "enrichment.ratoi", Some("enrichment.ratio")),
        ("[enrichmnt]\nratio = 1", "enrichmnt.ratio", Some("enrichment.ratio")),
        ("[enrichment]\nworkers = 1", "enrichment.workers", Some("workers")),
        (
            "[enrichment.inner]\nratio = 1",
            "enrichment.inner.ratio",
            Some("enrichment.ratio"),
        ),
        ("[other]", "other", None),
        ("colour_of_the_sky = \"blue\"", "colour_of_the_sky", None),
    ] {
        let found = problems(line, &[]);
        let [problem] = found.as_slice() else {
            unreachable!("{line}: {found:?}")
        };
        let words = match meant {
            Some(meant) => format!(": unknown key {key}; did you mean {meant}?"),
            None => format!(": unknown key {key}"),
        };
        assert!(problem.ends_with(&words), "{line}: {problem}");
    }
    for line in [
        "[aggregation]\nanything = 1",
        "[enrichment]",
        "service_urls = [\"enrichment=http://e:8080\"]",
        "",
    ] {
        assert_eq!(problems(line, &[]), Vec::<String>::new(), "{line}");
    }
    for line in [
        "[[enrichment]]\nratio = 1",
        "[enrichment]\non = true\n[[aggregation]]",
        "projection = 1",
    ] {
        let found = problems(line, &[]);
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert!(found[0].contains(" must be a table: ["), "{found:?}");
    }
    for name in ["config_file", "cache"] {
        let found = problems(&format!("{name} = \"x\""), &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("is read from the environment only"), "{found:?}");
    }
}

#[test]
fn a_file_that_is_not_toml_is_the_only_problem_and_its_lines_are_not_shown() {
    let found = problems(
        "clickhouse_password = \"s3cret\nworkers = = 2\nworkers = 3\n",
        &[("DATA_PROC_ENV", "prod")],
    );
    assert!(found.len() >= 2, "{found:#?}");
    assert!(found[0].starts_with("pipeline.toml:1:"), "{found:#?}");
    assert!(
        found.iter().all(|problem| problem.starts_with("pipeline.toml:")),
        "{found:#?}"
    );
    assert!(!found.concat().contains("s3cret"), "{found:#?}");

    let missing = declare(&env("/nowhere/pipeline.toml", &[("DATA_PROC_ENV", "prod")]), 8081, own).problems;
    assert_eq!(missing.len(), 1, "{missing:?}");
    let words = "DATA_PROC_CONFIG_FILE: file /nowhere/pipeline.toml cannot be read: No such file";
    assert!(missing[0].starts_with(words), "{missing:?}");
}

#[test]
fn outside_of_local_the_file_is_refused_like_the_environment() {
    let found = problems(
        "env = \"prod\"\nclickhouse_url = \"http://clickhouse:8123\"\nclickhouse_password = \"s3cret\"",
        &[],
    );
    let about = |name: &str| found.iter().filter(|problem| problem.starts_with(name)).count();
    assert_eq!(found.len(), 5, "{found:#?}");
    for name in [
        "KAFKA_BOOTSTRAP must",
        "POSTGRES_DSN must",
        "POSTGRES_DSN contains",
        "REDIS_URL must",
        "CLICKHOUSE_URL is http://",
    ] {
        assert_eq!(about(&format!("DATA_PROC_{name}")), 1, "{name}: {found:#?}");
    }
    assert!(
        found.iter().any(|problem| problem.ends_with("(pipeline.toml:2:1)")),
        "{found:#?}"
    );
}

#[test]
fn decisions_before_the_settings_are_read_see_the_file() {
    let (_folder, path) = written("env = \"prod\"\nhealth_port = 9000\nworkers = 2");
    let seen = with_file(&env(&path, &[("DATA_PROC_WORKERS", "")]));
    let value = |name: &str| seen.get(name).map(String::as_str);
    assert_eq!(value("DATA_PROC_ENV"), Some("prod"));
    assert_eq!(value("DATA_PROC_HEALTH_PORT"), Some("9000"));
    assert_eq!(value("DATA_PROC_WORKERS"), Some(""));
    assert_eq!(with_file(&env("/nowhere", &[])), env("/nowhere", &[]));
}

/// Every variable that a file can set has the value that the environment would give it.
#[test]
fn a_file_and_an_environment_with_the_same_values_give_the_same_settings() {
    let values = [
        ("DATA_PROC_TENANT_ID", "acme", "\"acme\""),
        ("DATA_PROC_KAFKA_REPLICATION_FACTOR", "2", "2"),
        ("DATA_PROC_KAFKA_COMPRESSION", "zstd", "\"zstd\""),
        ("DATA_PROC_CLICKHOUSE_DATABASE", "other", "\"other\""),
        (
            "DATA_PROC_POSTGRES_DSN",
            "postgresql://u:p@h/db",
            "'postgresql://u:p@h/db'",
        ),
        ("DATA_PROC_LOG_LEVEL", "debug", "\"debug\""),
        ("DATA_PROC_HTTP_HOST", "0.0.0.0", "\"0.0.0.0\""),
        ("DATA_PROC_HEALTH_PORT", "0", "0"),
        ("DATA_PROC_RATE_LIMIT_WINDOW", "2m", "120"),
        ("DATA_PROC_RAW_TOPICS", "x,y", "['x', 'y']"),
        ("DATA_PROC_GENERATION", "g2", "\"g2\""),
    ];
    let file: String = values
        .iter()
        .map(|(name, _, value)| format!("{} = {value}\n", variable::key(name)))
        .collect();
    let (_folder, path) = written(&file);
    let pairs = values.map(|(name, value, _)| (name.to_owned(), value.to_owned()));
    let of_environment = load(&Env::from(pairs), 8081, own).unwrap();
    let of_file = load(&env(&path, &[]), 8081, own).unwrap();
    assert_eq!(of_file.settings, of_environment.settings);
}

#[test]
fn an_empty_array_is_not_the_default_and_problems_follow_the_lines_of_the_file() {
    let (_folder, path) =
        written("workers = 0\nlog_level = \"loud\"\nraw_topics = []\nflush_interval_ms = 1\nenv = \"x\"\n");
    let problems = load(&env(&path, &[]), 8081, own).unwrap_err().problems;
    let lines: Vec<usize> = ["WORKERS", "LOG_LEVEL", "RAW_TOPICS", "FLUSH_INTERVAL_MS", "ENV"]
        .iter()
        .map(|name| {
            let begin = format!("DATA_PROC_{name} must");
            problems.iter().position(|problem| problem.starts_with(&begin)).unwrap()
        })
        .collect();
    assert_eq!(lines, [0, 1, 2, 3, 4], "{problems:#?}");
    assert!(
        problems[2].ends_with(&format!("an empty array ({path}:3:1)")),
        "{problems:#?}"
    );
}
