//! Runs one piece of the hot path repeatedly. The instruction gate counts the instructions of this program.
//!
//! `hot-path NAME INPUTS TICKS`; with the name of a large document, it is read until it has given so many ticks.

use anyhow::Context as _;
use hot_paths::documents::{Reading, TICKS, sources};
use hot_paths::{Path, prepare};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, inputs, ticks] = arguments.as_slice() else {
        anyhow::bail!("usage: hot-path NAME INPUTS TICKS");
    };
    let ticks: usize = ticks.parse().context("TICKS")?;
    if let Some(source) = sources().iter().find(|source| source.name == name) {
        let (document, mut reading) = (source.document()?, Reading::new()?);
        for _ in 0..ticks.div_ceil(TICKS) {
            anyhow::ensure!(
                reading.read(&document) >= TICKS,
                "{name}: rows of its document are rejected"
            );
        }
        return Ok(());
    }
    let path =
        Path::from_name(name).with_context(|| format!("{name} is neither a piece of the hot path nor a document"))?;
    let mut work = prepare(path, inputs.parse().context("INPUTS")?)?;
    for number in 0..ticks {
        work.one(number);
    }
    Ok(())
}
