//! The stack of the benchmarks: its own ports and folder, created for each run and removed at the end.
//!
//! Role: [`Stage`] is the stack, [`Scene`] one measurement on it. Each scene has its own generation and raw topic, so that no
//! measurement sees the data of another.
//! Failure: a folder that the user names and that contains a stack is refused, since it would be removed. After any later
//! failure the stack is stopped and removed, unless `--keep` is given.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::{Context as _, bail};
use localstack::{Name, Server, Stack, StackError, default_dir};
use service::Names;
use stream::Brokers;
use stream::kafka::admin::{TopicSpec, create_topics};

use ops::connection::Connection;
use ops::migrations::{self, Stores};
use ops::place::Place;
use ops::{stack, topics};

/// Avoids the ports of a default stack of `dp up`.
const PORT_OFFSET: u16 = 2000;

/// The stack of one run of `dp bench`.
pub struct Stage {
    stack: Stack,
    keep: bool,
    /// Held while the benchmark runs: two at once would distort each other's results.
    _lock: File,
}

impl Stage {
    /// Starts the four servers in an empty folder. The services are those of a folder, if one is named.
    pub async fn open(place: &Place, keep: bool, services: Option<&Path>) -> anyhow::Result<Stage> {
        let place = own_place(place);
        let folder = place.folder();
        let lock = lock_of(&folder)?;
        if folder.join("stack.json").exists() {
            if place.dir != Some(own_folder(place.port_offset)) {
                bail!(
                    "{} contains a stack, and a benchmark empties its folder: name another one with --dir",
                    folder.display()
                );
            }
            remove(&Stack::open(&folder)?).context("remove the stack of an earlier benchmark")?;
        }
        match stack::bring_up_servers(&place, true).await {
            Ok(mut stack) => {
                stack.config_mut().service_dir = services.map(Path::to_owned);
                Ok(Stage {
                    stack,
                    keep,
                    _lock: lock,
                })
            }
            Err(error) => {
                // The first error is the one to report.
                let _removed = Stack::open(&folder).map(|stack| remove(&stack));
                Err(error)
            }
        }
    }

    /// Stops the stack and removes its folder, unless it is kept.
    pub fn close(self) -> anyhow::Result<()> {
        if self.keep {
            let dir = self.stack.config().dir.display();
            eprintln!(
                "» the stack of the benchmark is still running: dp --dir {dir} status, dp --dir {dir} clean-data"
            );
            return Ok(());
        }
        blocking(|| remove(&self.stack))
    }

    /// A measurement with its own names: topics, groups and tables end in `generation`, raw messages are in `raw`.
    pub async fn scene(&self, plan: &ScenePlan<'_>) -> anyhow::Result<Scene> {
        let mut stack = self.stack.clone();
        let mut env: BTreeMap<String, String> = BTreeMap::from([
            ("DATA_PROC_GENERATION".to_owned(), plan.generation.to_owned()),
            ("DATA_PROC_RAW_TOPICS".to_owned(), plan.raw.to_owned()),
            // The benchmark measures the pipeline, not the writing of its logs.
            ("DATA_PROC_LOG_LEVEL".to_owned(), "warn".to_owned()),
        ]);
        let more = plan.env.iter();
        env.extend(more.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        stack.config_mut().service_env = env.clone();
        let mut connection = Connection::to_stack(&stack, true)?;
        connection.env.extend(env);
        connection.settings = service::settings::load(&connection.env, 8080, |_| ())?.settings;
        connection.names = Names::new(&connection.settings);
        if plan.append_time {
            create_with_append_time(&connection).await?;
        }
        topics::create(&connection, None, false).await?;
        if stack.pid(Server::ClickHouse).is_some() {
            migrations::migrate(&connection, false).await?;
        }
        Ok(Scene {
            stores: migrations::stores(&connection)?,
            stack,
            connection,
        })
    }

    /// The stack itself.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }
}

/// The parameters of a measurement.
#[derive(Debug, Clone, Copy, Default)]
pub struct ScenePlan<'a> {
    /// Suffix of all topics, groups and tables after the raw topic: lower case letters and digits.
    pub generation: &'a str,
    /// Raw topic.
    pub raw: &'a str,
    /// Additional variables of the services.
    pub env: &'a [(&'a str, &'a str)],
    /// Whether topics between the stages have the broker's append time, the time at which a record becomes visible.
    pub append_time: bool,
}

/// One measurement.
pub struct Scene {
    /// The stack, whose services are started with the scene's names.
    pub stack: Stack,
    /// The scene's names and addresses.
    pub connection: Connection,
    /// Clients of the stores.
    pub stores: Stores,
}

impl Scene {
    /// Addresses of Kafka.
    pub fn bootstrap(&self) -> &Brokers {
        &self.connection.settings.kafka_bootstrap
    }

    /// Starts one process of every service and waits until all are ready.
    pub fn start_services(&self) -> anyhow::Result<()> {
        blocking(|| {
            self.stack.start_services()?;
            Ok(())
        })
    }

    /// Stops every service and replica.
    pub fn stop_services(&self) -> anyhow::Result<()> {
        blocking(|| {
            for process in self.stack.status()? {
                if matches!(process.name, Name::Service(..)) {
                    self.stack.stop(process.name)?;
                }
            }
            Ok(())
        })
    }

    /// The raw topic.
    pub fn raw(&self) -> &str {
        self.connection.names.raw.first().map_or("", String::as_str)
    }
}

/// Returns an error if Ctrl-C was pressed.
pub fn check_interrupted(stack: &Stack) -> anyhow::Result<()> {
    if stack.config().interrupted.load(Ordering::Relaxed) {
        return Err(StackError::Interrupted.into());
    }
    Ok(())
}

/// Runs blocking work without delaying other tasks of the runtime.
pub fn blocking<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    tokio::task::block_in_place(work)
}

/// Reports the current step on stderr.
pub fn say(what: &str) {
    eprintln!("» {what}");
}

async fn create_with_append_time(connection: &Connection) -> anyhow::Result<()> {
    let names = &connection.names;
    let specs: Vec<TopicSpec> = topics::specs(names, &connection.settings, None)
        .into_iter()
        .filter(|spec| spec.name == names.normalized || spec.name == names.enriched)
        .map(|mut spec| {
            let append_time = ("message.timestamp.type".to_owned(), "LogAppendTime".to_owned());
            spec.config.push(append_time);
            spec
        })
        .collect();
    create_topics(&connection.settings.kafka_bootstrap, &specs)
        .await
        .context("create topics with append time")?;
    Ok(())
}

fn own_place(place: &Place) -> Place {
    let port_offset = if place.port_offset == 0 {
        PORT_OFFSET
    } else {
        place.port_offset
    };
    let dir = place.dir.clone().unwrap_or_else(|| own_folder(port_offset));
    Place {
        port_offset,
        dir: Some(dir),
    }
}

fn own_folder(port_offset: u16) -> PathBuf {
    let name = if port_offset == PORT_OFFSET {
        "bench".to_owned()
    } else {
        format!("bench-{port_offset}")
    };
    default_dir(0).with_file_name(name)
}

fn lock_of(folder: &Path) -> anyhow::Result<File> {
    let path = folder.with_extension("lock");
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    if file.try_lock().is_err() {
        bail!(
            "another benchmark is running in {}: wait until it ends, or use --port-offset",
            folder.display()
        );
    }
    Ok(file)
}

fn remove(stack: &Stack) -> anyhow::Result<()> {
    stack.kill_all()?;
    Ok(stack.clean()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_benchmark_never_uses_the_stack_of_dp_up() {
        let place = own_place(&Place::default());
        assert_eq!(place.port_offset, PORT_OFFSET);
        assert!(place.folder().ends_with("bench"), "{}", place.folder().display());
        let other = own_place(&Place {
            port_offset: 3000,
            dir: None,
        });
        assert!(other.folder().ends_with("bench-3000"));
        assert!(default_dir(2000) != place.folder() && default_dir(0) != place.folder());
    }
}
