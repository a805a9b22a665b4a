//! Which local stack a command means.
//!
//! Role: resolves folder and port offset, as the user named them, to a stack on disk.
//! Failure: a missing stack, or options that contradict each other, are errors that say which option to omit.

use std::path::PathBuf;

use anyhow::bail;
use localstack::{Ports, Stack};

/// Selects a local stack.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Added to every port of the default stack.
    pub port_offset: u16,
    /// Folder of the stack, if the user named one.
    pub dir: Option<PathBuf>,
}

impl Place {
    /// The folder of the stack.
    pub fn folder(&self) -> PathBuf {
        self.dir
            .clone()
            .unwrap_or_else(|| localstack::default_dir(self.port_offset))
    }

    /// Opens the stack that an earlier command created in the folder.
    ///
    /// # Errors
    /// There is none, or its ports contradict the port offset that was given with the folder.
    pub fn open(&self) -> anyhow::Result<Stack> {
        let stack = Stack::open(&self.folder())?;
        let ports = &stack.config().ports;
        if self.dir.is_some() && self.port_offset != 0 && Ports::with_offset(self.port_offset).as_ref() != Some(ports) {
            bail!(
                "--port-offset {} and --dir contradict each other: Kafka of the stack in {} uses port {}; omit one of them",
                self.port_offset,
                self.folder().display(),
                ports.kafka
            );
        }
        Ok(stack)
    }

    /// Whether the user named a stack instead of using the default one.
    pub fn is_named(&self) -> bool {
        self.dir.is_some() || self.port_offset != 0
    }
}
