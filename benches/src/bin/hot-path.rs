//! Runs one piece of the hot path repeatedly. The instruction gate counts the instructions of this program.
//!
//! `hot-path NAME INPUTS TICKS`

use anyhow::Context as _;
use hot_paths::{Path, prepare};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, inputs, ticks] = arguments.as_slice() else {
        anyhow::bail!("usage: hot-path NAME INPUTS TICKS");
    };
    let path = Path::from_name(name).with_context(|| format!("{name} is not a piece of the hot path"))?;
    let mut work = prepare(path, inputs.parse().context("INPUTS")?)?;
    for number in 0..ticks.parse().context("TICKS")? {
        work.one(number);
    }
    Ok(())
}
