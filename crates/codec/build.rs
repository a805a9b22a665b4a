//! Lists `schemas/avro/old/<schema>.v<N>.avsc`: a version that is added there is compiled in.

use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let schemas = Path::new(&env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join("../../schemas/avro");
    // Watches the parent folder: `old` need not exist, and Cargo runs this again on every build if a watched path is missing.
    println!("cargo:rerun-if-changed={}", schemas.display());
    let mut files: Vec<_> = match fs::read_dir(schemas.join("old")) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    files.retain(|path| path.extension().is_some_and(|ending| ending == "avsc"));
    files.sort();
    let lines = files.iter().map(|path| {
        let name = path.file_name().unwrap_or_default();
        format!("({:?}, include_str!({:?})),\n", name, path)
    });
    let out = Path::new(&env::var("OUT_DIR").map_err(io::Error::other)?).join("old_schemas.rs");
    fs::write(out, format!("&[\n{}]\n", lines.collect::<String>()))
}
