//! ClickHouse, PostgreSQL and Redis that accept only secured connections, with the rights of `docs/security.md`.

use std::collections::BTreeMap;

use e2e::{PATIENCE, root};
use localstack::{Server, Temporary};
use tempfile::TempDir;
use testkit::certificates::Authority;
use testkit::secured::documented::{block, clickhouse_users};
use testkit::secured::front::TlsFront;
use testkit::secured::postgres::{PgBouncer, Postgres};
use testkit::secured::redis::Redis;

/// The password in `docs/security.md`.
pub const PASSWORD: &str = "app-secret";
const USER: &str = "dataproc";

fn documented(marker: &str) -> String {
    let page = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    block(&page, marker).unwrap()
}

/// A stack whose ClickHouse has the documented user.
pub fn stack() -> Temporary {
    let grants = documented("clickhouse-grants");
    let users = clickhouse_users("", &[(USER, PASSWORD, "default", &grants)]);
    Temporary::with(|config| config.clickhouse_users = Some(users)).unwrap()
}

/// The servers: ClickHouse behind a TLS front, PostgreSQL behind PgBouncer, Redis with users.
pub struct Stores {
    front: TlsFront,
    postgres: Postgres,
    pooler: PgBouncer,
    redis: Redis,
    folder: TempDir,
}

impl Stores {
    /// Starts them. PostgreSQL's user gets its rights when the tables exist ([`Stores::grant`]).
    pub fn start(stack: &Temporary) -> Stores {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("of the stores").unwrap();
        authority.write(folder.path(), "ca.pem").unwrap();
        let certificate = authority.server().unwrap();
        stack.start(Server::ClickHouse).unwrap();
        stack.wait_ready(Server::ClickHouse, PATIENCE).unwrap();
        let plain = stack.env()["DATA_PROC_CLICKHOUSE_URL"].replace("http://", "");
        let postgres = Postgres::start(&certificate).unwrap();
        let pooler = PgBouncer::start(&postgres, &certificate, &[(USER, PASSWORD)]).unwrap();
        Stores {
            front: TlsFront::start(&certificate, &[&plain]).unwrap(),
            redis: Redis::start(&certificate, &documented("redis-acl")).unwrap(),
            postgres,
            pooler,
            folder,
        }
    }

    /// Grants PostgreSQL's user the documented rights.
    pub fn grant(&self) {
        self.postgres.sql(&documented("postgres-grants")).unwrap();
    }

    /// The store settings of a service, or with `operates` those of the `dp` user, who creates tables.
    pub fn login(&self, operates: bool) -> BTreeMap<String, String> {
        let dsn = match operates {
            true => self.postgres.admin_dsn(),
            false => self.pooler.dsn(USER, PASSWORD),
        };
        let (user, password) = if operates { ("default", "") } else { (USER, PASSWORD) };
        let redis = format!("rediss://{USER}:{PASSWORD}@localhost:{}/0", self.redis.port());
        let pairs = [
            ("CLICKHOUSE_URL", format!("https://localhost:{}", self.front.port())),
            ("CLICKHOUSE_USER", user.to_owned()),
            ("CLICKHOUSE_PASSWORD", password.to_owned()),
            ("POSTGRES_DSN", format!("{dsn}?sslmode=verify-full")),
            ("REDIS_URL", redis),
            ("TLS_CA", self.folder.path().join("ca.pem").display().to_string()),
        ];
        let named = pairs.map(|(name, value)| (format!("DATA_PROC_{name}"), value));
        named.into_iter().collect()
    }
}
