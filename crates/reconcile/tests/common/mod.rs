//! A ClickHouse of its own for each test, with the tables of the product.

use localstack::{Server, Temporary};
use service::{Env, Names};
use stores::{ClickHouse, ClickHouseConfig};
use testkit::PATIENCE;

pub struct Setup {
    _stack: Temporary,
    pub clickhouse: ClickHouse,
    pub names: Names,
}

pub async fn setup() -> Setup {
    let stack = Temporary::new().unwrap();
    stack.start(Server::ClickHouse).unwrap();
    stack.wait_ready(Server::ClickHouse, PATIENCE).unwrap();
    let clickhouse = ClickHouse::new(ClickHouseConfig {
        url: stack.env()["DATA_PROC_CLICKHOUSE_URL"].clone(),
        database: "market_data".into(),
        user: "default".into(),
        password: security::Secret::new(""),
        cluster: String::new(),
        trust: security::Trust::default(),
    })
    .unwrap();
    stores::clickhouse::migrate(&clickhouse, "").await.unwrap();
    let settings = service::settings::load(&Env::new(), 8080, |_| ()).unwrap().settings;
    Setup {
        _stack: stack,
        clickhouse,
        names: Names::new(&settings),
    }
}
