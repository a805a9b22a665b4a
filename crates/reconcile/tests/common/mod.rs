//! A ClickHouse of its own for each test, with the tables of the product.

use service::{Env, Names};
use stores::ClickHouse;
use stores::fixtures::{Started, started};

pub struct Setup {
    _server: Started,
    pub clickhouse: ClickHouse,
    pub names: Names,
}

pub async fn setup() -> Setup {
    let server = started().await;
    let settings = service::settings::load(&Env::new(), 8080, |_| ()).unwrap().settings;
    Setup {
        clickhouse: server.clickhouse.clone(),
        _server: server,
        names: Names::new(&settings),
    }
}
