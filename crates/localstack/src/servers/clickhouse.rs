//! ClickHouse: the engine of the chDB package, run by `dp-clickhouse` as the `clickhouse local` program that listens.

use std::path::Path;
use std::process::Command;

use super::{launcher, write_config};
use crate::config::StackConfig;
use crate::error::StackError;
use crate::fetch;

const PROGRAM: &str = "dp-clickhouse";
/// Opens both protocols, then never ends by itself.
const SERVE: &str = "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; \
                     SELECT sleepEachRow(3) FROM system.numbers SETTINGS max_block_size = 1 FORMAT Null";

/// Modest for a machine with two cores that it shares; the engine itself makes no system log tables in this mode.
const CONFIG: &str = "<clickhouse>
    <logger><levels>
        <!-- They warn a thousand times an hour that a task which is not urgent was put off. -->
        <logger><name>BackgroundSchedulePool/BgSchPool</name><level>error</level></logger>
        <logger><name>BackgroundSchedulePool/BgStrmSchPool</name><level>error</level></logger>
    </levels></logger>
    <max_server_memory_usage_to_ram_ratio>0.4</max_server_memory_usage_to_ram_ratio>
    <mark_cache_size>134217728</mark_cache_size>
    <primary_index_cache_size>67108864</primary_index_cache_size>
    <index_mark_cache_size>33554432</index_mark_cache_size>
    <compiled_expression_cache_size>33554432</compiled_expression_cache_size>
    <max_concurrent_queries>100</max_concurrent_queries>
    <max_thread_pool_size>400</max_thread_pool_size>
    <max_thread_pool_free_size>40</max_thread_pool_free_size>
    <max_io_thread_pool_size>8</max_io_thread_pool_size>
    <background_pool_size>2</background_pool_size>
    <max_active_parts_loading_thread_pool_size>2</max_active_parts_loading_thread_pool_size>
    <max_outdated_parts_loading_thread_pool_size>2</max_outdated_parts_loading_thread_pool_size>
    <max_parts_cleaning_thread_pool_size>2</max_parts_cleaning_thread_pool_size>
    <asynchronous_metrics_update_period_s>30</asynchronous_metrics_update_period_s>
    <merge_tree>
        <!-- Statistics of columns are a tenth of the work of an insert, and no query here asks for them. -->
        <auto_statistics_types></auto_statistics_types>
    </merge_tree>
</clickhouse>
";

pub(super) fn prepare(config: &StackConfig, dir: &Path) -> Result<Command, StackError> {
    let library = fetch::engine(config)?;
    let program = config.bin_dir.join(PROGRAM);
    if !program.is_file() {
        let message = format!(
            "{} is missing: build it with `cargo build --release --workspace --bins`",
            program.display()
        );
        return Err(StackError::Refused(message));
    }
    let config_file = dir.join("config.xml");
    let mut settings = CONFIG.to_owned();
    if let Some(users) = &config.clickhouse_users {
        let file = dir.join("users.xml");
        write_config(&file, users)?;
        let named = format!("<clickhouse>\n    <users_config>{}</users_config>", file.display());
        settings = settings.replacen("<clickhouse>", &named, 1);
    }
    write_config(&config_file, &settings)?;
    let mut command = launcher(config, &program)?;
    command.arg(library);
    command
        .arg("--config-file")
        .arg(config_file)
        .arg("--path")
        .arg(dir.join("data"));
    command.args([
        "--log-level",
        "warning",
        "--logger.console",
        "--listen_host",
        "127.0.0.1",
    ]);
    command.args(["--http_port", &config.ports.clickhouse_http.to_string()]);
    command.args(["--tcp_port", &config.ports.clickhouse_tcp.to_string()]);
    command.args(["--query", SERVE]);
    Ok(command)
}
