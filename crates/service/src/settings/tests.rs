#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use stream::kafka::brokers::Login;

use super::*;

fn env(pairs: &[(&str, &str)]) -> Env {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn loaded(pairs: &[(&str, &str)]) -> Settings {
    load(&env(pairs), 8080, |_| ()).expect("settings").settings
}

/// Settings that are required outside of a local machine.
const ELSEWHERE: [(&str, &str); 6] = [
    ("DATA_PROC_ENV", "prod"),
    ("DATA_PROC_KAFKA_BOOTSTRAP", "kafka:9092"),
    ("DATA_PROC_CLICKHOUSE_URL", "https://clickhouse:8123"),
    ("DATA_PROC_CLICKHOUSE_PASSWORD", "s3cret"),
    (
        "DATA_PROC_POSTGRES_DSN",
        "postgresql://pipeline:s3cret@postgres/db?sslmode=verify-full",
    ),
    ("REDIS_ADDR", "redis:6379"),
];

fn elsewhere(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    ELSEWHERE.into_iter().chain(more.iter().copied()).collect()
}

fn problems(pairs: &[(&str, &str)]) -> Vec<String> {
    load(&env(pairs), 8080, |_| ())
        .map(|_| ())
        .expect_err("must be refused")
        .problems
}

#[test]
fn an_empty_environment_gives_the_documented_defaults() {
    let settings = loaded(&[]);
    assert_eq!(settings.environment, Environment::Local);
    assert_eq!(settings.kafka_bootstrap.addresses(), "localhost:9092");
    assert_eq!(settings.kafka_replication, 1);
    assert_eq!(settings.clickhouse.url.expose(), "http://localhost:8123");
    assert_eq!(settings.clickhouse.database, "market_data");
    assert_eq!(
        settings.postgres_dsn.expose(),
        "postgresql://user:password@localhost:5432/db"
    );
    assert_eq!(settings.redis_url.expose(), "redis://localhost:6379/0");
    assert_eq!(
        settings.log,
        LogSettings {
            filter: "info".into(),
            format: LogFormat::Json
        }
    );
    assert_eq!((settings.http.port, settings.http.metrics_port), (8080, None));
    assert_eq!(settings.http.host.to_string(), "127.0.0.1");
    assert_eq!(
        (settings.max_batch_size, settings.db_pool_size, settings.workers),
        (10_000, 20, 1)
    );
    assert_eq!(settings.processing_timeout, Duration::from_secs(30));
    assert_eq!(settings.raw_topics, ["ingestion.market.raw.v1"]);
    assert_eq!(settings.topic_partitions, 4);
    let kept = settings.retention;
    let hours = [kept.raw, kept.stages, kept.legs, kept.dlq].map(|kept| (kept.hours, kept.is_set));
    assert_eq!(hours, [(168, false), (168, false), (336, false), (720, false)]);
    assert_eq!(settings.breaker.max_timeout, Duration::from_secs(300));
}

#[test]
fn outside_of_local_the_defaults_are_those_of_a_container() {
    let settings = loaded(&elsewhere(&[]));
    assert_eq!(settings.topic_partitions, 12);
    assert_eq!(settings.http.host.to_string(), "0.0.0.0");
    assert_eq!(settings.http.metrics_port, Some(9090));
    assert_eq!(
        loaded(&elsewhere(&[("DATA_PROC_METRICS_PORT", "")])).http.metrics_port,
        None
    );
}

#[test]
fn older_names_are_fallbacks_and_ours_win() {
    for (pairs, kafka, redis) in [
        (
            vec![("KAFKA_ADDR", "k:1"), ("REDIS_ADDR", "r:2")],
            "k:1",
            "redis://r:2/0",
        ),
        (
            vec![
                ("KAFKA_ADDR", "k:1"),
                ("DATA_PROC_KAFKA_BOOTSTRAP", "b:9"),
                ("REDIS_ADDR", "r:2"),
                ("DATA_PROC_REDIS_URL", "redis://q:3/1"),
            ],
            "b:9",
            "redis://q:3/1",
        ),
    ] {
        let settings = loaded(&pairs);
        assert_eq!(settings.kafka_bootstrap.addresses(), kafka);
        assert_eq!(settings.redis_url.expose(), redis);
    }
}

#[test]
fn rust_log_overrides_our_level_which_overrides_log_level() {
    for (pairs, filter) in [
        (vec![("LOG_LEVEL", "WARN")], "warn"),
        (vec![("LOG_LEVEL", "warn"), ("DATA_PROC_LOG_LEVEL", "debug")], "debug"),
        (
            vec![("DATA_PROC_LOG_LEVEL", "debug"), ("RUST_LOG", "info,stream=trace")],
            "info,stream=trace",
        ),
    ] {
        assert_eq!(loaded(&pairs).log.filter, filter);
    }
}

#[test]
fn every_problem_is_listed_at_once_with_name_and_value() {
    let found = problems(&[
        ("DATA_PROC_ENV", "production"),
        ("DATA_PROC_WORKERS", "0"),
        ("DATA_PROC_MAX_BATCH_SIZE", "many"),
        ("DATA_PROC_HTTP_HOST", "here"),
        ("DATA_PROC_METRICS_PORT", "99999"),
        ("DATA_PROC_PROCESSING_TIMEOUT", "soon"),
        ("DATA_PROC_GENERATION", "-G2"),
        ("DATA_PROC_INSTANCE_ID", "host 1"),
        ("DATA_PROC_RAW_TOPICS", "a b,"),
        ("DATA_PROC_TENANT_ID", "a|b"),
        ("DATA_PROC_CLICKHOUSE_URL", "localhost:8123"),
        ("DATA_PROC_CLICKHOUSE_DATABASE", "a;b"),
        ("DATA_PROC_LOG_FORMAT", "xml"),
        ("DATA_PROC_KAFKA_COMPRESSION", "zip"),
        ("DATA_PROC_CIRCUIT_BREAKER_BASE_TIMEOUT", "10m"),
    ]);
    assert_eq!(found.len(), 15, "{found:#?}");
    for name in [
        "ENV",
        "WORKERS",
        "MAX_BATCH_SIZE",
        "HTTP_HOST",
        "METRICS_PORT",
        "GENERATION",
        "RAW_TOPICS",
        "TENANT_ID",
    ] {
        assert!(
            found
                .iter()
                .any(|problem| problem.contains(&format!("DATA_PROC_{name}"))),
            "{name}: {found:#?}"
        );
    }
}

#[test]
fn values_that_only_look_right_are_refused_by_name() {
    for (name, value, part) in [
        ("DATA_PROC_SCHEMA_REGISTRY_URL", "registry:8081", "name a host"),
        ("DATA_PROC_SCHEMA_REGISTRY_URL", "/registry", "name a host"),
        ("DATA_PROC_CLICKHOUSE_URL", "http://", "name a host"),
        ("DATA_PROC_OTLP_ENDPOINT", "collector:4318", "name a host"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "name a host"),
        ("DATA_PROC_METRICS_PORT", "8080", "differ from DATA_PROC_HEALTH_PORT"),
        ("DATA_PROC_LOG_LEVEL", "verbose", "error, warn, info, debug or trace"),
        ("LOG_LEVEL", "verbose", "error, warn, info, debug or trace"),
        ("DATA_PROC_RAW_TOPICS", "dlq", "the pipeline itself writes"),
        (
            "DATA_PROC_RAW_TOPICS",
            "aggregation.bars.v1-g2",
            "the pipeline itself writes",
        ),
        ("DATA_PROC_RAW_TOPICS", ",", "at least one item"),
        ("DATA_PROC_KAFKA_BOOTSTRAP", "kafka", "host:port"),
        ("DATA_PROC_KAFKA_BOOTSTRAP", "a:9092,b", "got 'b'"),
        ("DATA_PROC_KAFKA_BOOTSTRAP", "!!", "host:port"),
        ("KAFKA_ADDR", "kafka", "host:port"),
    ] {
        let found = problems(&[(name, value)]);
        assert_eq!(found.len(), 1, "{name}={value}: {found:#?}");
        assert!(found[0].starts_with(name) && found[0].contains(part), "{found:#?}");
    }
    for (name, value) in [
        ("DATA_PROC_LOG_LEVEL", "DEBUG"),
        ("RUST_LOG", "info,stream=debug"),
        ("DATA_PROC_KAFKA_BOOTSTRAP", "a:9092, [::1]:9092"),
        ("DATA_PROC_SCHEMA_REGISTRY_URL", "https://u:p@registry:8081/x"),
    ] {
        let loaded = load(&env(&[(name, value)]), 8080, |_| ());
        assert!(loaded.is_ok(), "{name}={value}: {:#?}", loaded.err());
    }
}

#[test]
fn peers_are_named_with_their_addresses_and_have_no_login() {
    assert_eq!(loaded(&[]).cluster_peers, []);
    let peers = loaded(&[("DATA_PROC_CLUSTER_PEERS", "a=http://a:8080, b=https://b/x")]).cluster_peers;
    let peers: Vec<(&str, &str)> = peers.iter().map(|peer| (&*peer.name, &*peer.url)).collect();
    assert_eq!(peers, [("a", "http://a:8080"), ("b", "https://b/x")]);
    let many = vec!["a=http://a"; 33].join(",");
    for (wrong, part) in [
        ("http://a:8080", "NAME=URL"),
        ("a=http://u:s3cret@a:8080", "without a login"),
        ("a=file:///etc/passwd", "NAME=URL"),
        (many.as_str(), "up to 32"),
    ] {
        let found = problems(&[("DATA_PROC_CLUSTER_PEERS", wrong)]);
        assert!(found.len() == 1 && found[0].contains(part), "{found:#?}");
        assert!(!found[0].contains("s3cret"), "{found:#?}");
    }
}

#[test]
fn a_services_own_mistakes_are_listed_with_the_shared_ones() {
    let env = env(&[("DATA_PROC_WORKERS", "x"), ("ENRICHMENT_RATIO", "x")]);
    let error = load(&env, 8081, |r| r.number("ENRICHMENT_RATIO", 1, 0..=9, "a ratio"))
        .map(|_| ())
        .expect_err("both are wrong");
    assert_eq!(error.problems.len(), 2);
}

#[test]
fn a_misspelt_variable_of_any_prefix_is_reported_with_the_name_that_was_meant() {
    let env = env(&[
        ("DATA_PROC_WORKER", "2"),
        ("DATA_PROC_WORKERS", "2"),
        ("DATA_PROC_CACHE", "/cache"),
        ("ENRICHMENT_RATOI", "1"),
        ("ENRICHMENT_COLOUR_OF_THE_SKY", "1"),
        ("PROJECTION_OF_ANOTHER_SERVICE", "1"),
        ("HOME", "/root"),
    ]);
    let unknown = load(&env, 8080, |r| r.number("ENRICHMENT_RATIO", 1, 0..=9, "a ratio"))
        .expect("settings")
        .unknown;
    let pairs: Vec<(&str, Option<&str>)> = unknown
        .iter()
        .map(|unknown| (unknown.name.as_str(), unknown.nearest.as_deref()))
        .collect();
    assert_eq!(
        pairs,
        [
            ("DATA_PROC_WORKER", Some("DATA_PROC_WORKERS")),
            ("ENRICHMENT_COLOUR_OF_THE_SKY", None),
            ("ENRICHMENT_RATOI", Some("ENRICHMENT_RATIO")),
        ]
    );
}

#[test]
fn outside_of_local_default_addresses_and_credentials_are_rejected() {
    let found = problems(&[("DATA_PROC_ENV", "staging")]);
    for name in [
        "KAFKA_BOOTSTRAP",
        "CLICKHOUSE_URL",
        "CLICKHOUSE_PASSWORD",
        "POSTGRES_DSN",
        "REDIS_URL",
    ] {
        let about = format!("DATA_PROC_{name} must be set if DATA_PROC_ENV is staging");
        assert_eq!(
            found.iter().filter(|problem| problem.starts_with(&about)).count(),
            1,
            "{found:#?}"
        );
    }
    let found = problems(&elsewhere(&[(
        "DATA_PROC_POSTGRES_DSN",
        "postgresql://user:password@db.internal:5432/db?sslmode=require",
    )]));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("user:password"), "{found:#?}");
}

#[test]
fn spans_are_exported_to_the_named_collector_else_to_the_usual_one() {
    const USUAL: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://usual:4318");
    for (pairs, expected) in [
        (&[][..], None),
        (&[USUAL][..], Some("http://usual:4318")),
        (
            &[USUAL, ("DATA_PROC_OTLP_ENDPOINT", "http://own:4318")][..],
            Some("http://own:4318"),
        ),
        (&[USUAL, ("DATA_PROC_OTLP_ENDPOINT", "")][..], None),
    ] {
        let endpoint = loaded(pairs).otlp_endpoint.map(|url| url.expose());
        assert_eq!(endpoint.as_deref(), expected, "{pairs:?}");
    }
}

#[test]
fn secrets_are_masked_wherever_settings_are_printed() {
    let env = env(&[
        (
            "DATA_PROC_POSTGRES_DSN",
            "postgresql://u:h@nter2@db:5432/x?sslpassword=h@nter2",
        ),
        ("DATA_PROC_CLICKHOUSE_PASSWORD", "h@nter2"),
        ("DATA_PROC_REDIS_URL", "redis://:h@nter2@r:6379/0"),
        ("DATA_PROC_CLICKHOUSE_URL", "http://u:h@nter2@c:8123"),
        ("DATA_PROC_SCHEMA_REGISTRY_URL", "http://u:h@nter2@s:8081"),
        ("DATA_PROC_OTLP_ENDPOINT", "http://u:h@nter2@o:4318"),
    ]);
    let loaded = load(&env, 8080, |_| ()).expect("settings");
    let printed = format!("{loaded:?}");
    assert!(!printed.contains("h@nter2"), "{printed}");
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(printed.contains("postgresql://u:***@db:5432/x?***"), "{printed}");
}

#[test]
fn a_password_that_is_not_encoded_is_masked_too() {
    for (address, shown) in [
        ("http://host:1/path?key=x", "http://host:1/path?***"),
        ("http://u:a/b@host", "http://***"),
        ("http://u:a?b@host", "http://***"),
        ("http://u:a#b@host/x", "http://***"),
        ("http://u:a@b/c@host", "http://***"),
        ("http://u:a@b@host/x", "http://u:***@host/x"),
        ("host=x password=y", "***"),
        ("", ""),
    ] {
        assert_eq!(super::mask(address), shown, "{address}");
    }
}

#[test]
fn durations_have_units() {
    for (text, millis) in [
        ("500ms", Some(500)),
        ("30", Some(30_000)),
        ("30s", Some(30_000)),
        ("1m", Some(60_000)),
        ("2h", Some(7_200_000)),
    ] {
        assert_eq!(parse_duration(text).map(|d| d.as_millis()), millis, "{text}");
    }
    for text in ["", "s", "1d", "-1s", "1.5s", "99999999999999999999s"] {
        assert_eq!(parse_duration(text), None, "{text}");
    }
}

/// Settings of a secured connection to Kafka.
const SECURED: [(&str, &str); 4] = [
    ("DATA_PROC_KAFKA_SECURITY_PROTOCOL", "SASL_SSL"),
    ("DATA_PROC_KAFKA_SASL_MECHANISM", "SCRAM-SHA-512"),
    ("DATA_PROC_KAFKA_SASL_USERNAME", "pipeline"),
    ("DATA_PROC_KAFKA_SASL_PASSWORD", "h@nter2"),
];

#[test]
fn a_kafka_login_is_read_and_masked_and_may_live_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "h@nter2\n").unwrap();
    let path = file.to_str().unwrap();
    let in_file = [
        SECURED[0],
        SECURED[1],
        SECURED[2],
        ("DATA_PROC_KAFKA_SASL_PASSWORD_FILE", path),
    ];
    for pairs in [SECURED, in_file] {
        let loaded = load(&env(&pairs), 8080, |_| ()).expect("settings");
        let security = loaded.settings.kafka_bootstrap.security();
        let Some(Login::Password { username, password, .. }) = &security.login else {
            panic!("{security:?}");
        };
        assert_eq!((username.as_str(), password.expose().as_str()), ("pipeline", "h@nter2"));
        assert!(!format!("{loaded:?}").contains("nter2"), "{loaded:?}");
    }
}

#[test]
fn contradicting_kafka_settings_are_all_named() {
    for (pairs, expected) in [
        (vec![("SECURITY_PROTOCOL", "TLS")], vec!["SECURITY_PROTOCOL must be"]),
        (
            vec![("SECURITY_PROTOCOL", "SASL_SSL")],
            vec!["SASL_MECHANISM must be set"],
        ),
        (
            vec![("SECURITY_PROTOCOL", "SASL_SSL"), ("SASL_MECHANISM", "GSSAPI")],
            vec!["SASL_MECHANISM must be PLAIN"],
        ),
        (
            vec![
                ("SECURITY_PROTOCOL", "SASL_SSL"),
                ("SASL_MECHANISM", "PLAIN"),
                ("SASL_PASSWORD", "x"),
            ],
            vec!["SASL_USERNAME must be set"],
        ),
        (
            vec![
                ("SECURITY_PROTOCOL", "SASL_SSL"),
                ("SASL_MECHANISM", "OAUTHBEARER"),
                ("SASL_USERNAME", "x"),
            ],
            vec![
                "SASL_OAUTH_TOKEN_URL must be set",
                "SASL_OAUTH_CLIENT_ID must be set",
                "SASL_OAUTH_CLIENT_SECRET must be set",
                "SASL_USERNAME is set",
            ],
        ),
        (
            vec![("SASL_PASSWORD", "x")],
            vec!["SASL_PASSWORD is set, but DATA_PROC_KAFKA_SASL_MECHANISM is not"],
        ),
        (
            vec![
                ("SASL_MECHANISM", "PLAIN"),
                ("SASL_USERNAME", "x"),
                ("SASL_PASSWORD", "x"),
            ],
            vec!["SASL_MECHANISM is set, but DATA_PROC_KAFKA_SECURITY_PROTOCOL is PLAINTEXT"],
        ),
        (
            vec![("SECURITY_PROTOCOL", "SSL"), ("SSL_CERTIFICATE", "/dev/null")],
            vec!["SSL_CERTIFICATE is set, but DATA_PROC_KAFKA_SSL_KEY is not"],
        ),
        (
            vec![
                ("SECURITY_PROTOCOL", "SSL"),
                ("SSL_CA", "/nowhere/ca.pem"),
                ("SSL_KEY_PASSWORD", "x"),
            ],
            vec!["SSL_CA: file /nowhere/ca.pem cannot be read", "SSL_KEY_PASSWORD is set"],
        ),
        (
            vec![("SSL_CA", "/dev/null")],
            vec!["SSL_CA is set, but DATA_PROC_KAFKA_SECURITY_PROTOCOL is PLAINTEXT"],
        ),
        (vec![("REPLICATION_FACTOR", "0")], vec!["REPLICATION_FACTOR must be"]),
    ] {
        let full: Vec<(String, &str)> = pairs
            .iter()
            .map(|(name, value)| (format!("DATA_PROC_KAFKA_{name}"), *value))
            .collect();
        let full: Vec<(&str, &str)> = full.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let found = problems(&full);
        assert_eq!(found.len(), expected.len(), "{pairs:?}: {found:#?}");
        for words in expected {
            let words = format!("DATA_PROC_KAFKA_{words}");
            assert!(
                found.iter().any(|problem| problem.starts_with(&words)),
                "{words}: {found:#?}"
            );
        }
    }
}

#[test]
fn a_secret_and_its_file_exclude_each_other_and_an_unreadable_file_is_named() {
    let found = problems(&[
        ("DATA_PROC_CLICKHOUSE_PASSWORD", "x"),
        ("DATA_PROC_CLICKHOUSE_PASSWORD_FILE", "/nowhere/x"),
        ("DATA_PROC_POSTGRES_DSN_FILE", "/nowhere/dsn"),
        ("DATA_PROC_TLS_CA", "/nowhere/ca.pem"),
    ]);
    assert_eq!(found.len(), 3, "{found:#?}");
    for words in [
        "DATA_PROC_CLICKHOUSE_PASSWORD and DATA_PROC_CLICKHOUSE_PASSWORD_FILE are both set",
        "DATA_PROC_POSTGRES_DSN_FILE: file /nowhere/dsn cannot be read",
        "DATA_PROC_TLS_CA: certificate file /nowhere/ca.pem cannot be read",
    ] {
        assert!(
            found.iter().any(|problem| problem.starts_with(words)),
            "{words}: {found:#?}"
        );
    }
}

#[test]
fn outside_of_local_no_password_is_sent_unencrypted() {
    for (name, refused, taken) in [
        (
            "DATA_PROC_CLICKHOUSE_URL",
            "http://clickhouse:8123",
            "http://127.0.0.1:8123",
        ),
        (
            "DATA_PROC_POSTGRES_DSN",
            "postgresql://pipeline:s3cret@postgres/db?sslmode=disable",
            "postgresql://pipeline:s3cret@postgres/db?sslmode=require",
        ),
        (
            "DATA_PROC_POSTGRES_DSN",
            "host=postgres user=pipeline password=s3cret",
            "host=/run/postgresql user=pipeline password=s3cret",
        ),
        (
            "DATA_PROC_REDIS_URL",
            "redis://:s3cret@redis:6379/0",
            "rediss://:s3cret@redis:6379/0",
        ),
        (
            "DATA_PROC_REDIS_URL",
            "rediss://user:password@redis:6379/0",
            "redis://redis:6379/0",
        ),
        (
            "DATA_PROC_SCHEMA_REGISTRY_URL",
            "http://u:s3cret@registry:8081",
            "https://u:s3cret@registry:8081",
        ),
        (
            "DATA_PROC_OTLP_ENDPOINT",
            "http://u:s3cret@collector:4318",
            "https://u:s3cret@collector:4318",
        ),
    ] {
        let found = problems(&elsewhere(&[(name, refused)]));
        assert_eq!(found.len(), 1, "{refused}: {found:#?}");
        assert!(found[0].starts_with(name) && !found[0].contains("s3cret"), "{found:#?}");
        loaded(&elsewhere(&[(name, taken)]));
    }
    let plaintext: Vec<_> = SECURED
        .into_iter()
        .map(|(name, value)| (name, if value == "SASL_SSL" { "SASL_PLAINTEXT" } else { value }))
        .collect();
    let found = problems(&elsewhere(&plaintext));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].starts_with("DATA_PROC_KAFKA_SECURITY_PROTOCOL is SASL_PLAINTEXT"),
        "{found:#?}"
    );
    loaded(&elsewhere(&SECURED));
}
