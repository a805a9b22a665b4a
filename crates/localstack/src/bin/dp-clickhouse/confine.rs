//! Closes the machine to the engine: it reaches its own folder, and reads the few files that a program needs.
//!
//! Role: a client of `clickhouse local` can read every file that the process can (`SELECT file('…')` asks for no grant). The
//! kernel's Landlock takes that from the process, and from everything it starts, for good; and the user is given up where it
//! is root. Both happen before the engine answers anybody.
//! Invariant: a process that was started as root never runs the engine as root.
//! Failure: a user that cannot be taken is an error. A kernel without Landlock (before 5.19, or switched off) is a warning:
//! then the grants of `users.xml` and the rights of the user are what protects.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, path_beneath_rules,
};
use nix::unistd::{Gid, Uid, getegid, geteuid, setgid, setgroups, setuid};

/// The newest rights that this program knows; a kernel that knows fewer applies those.
const NEWEST: ABI = ABI::V6;

/// What the C library and the engine read of the machine: time zones, names, numbers of processors and memory.
const READ: [&str; 14] = [
    "/proc",
    "/sys",
    "/dev/null",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/usr/share/zoneinfo",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/ld.so.cache",
];

/// Allows from now on: everything in `folder`, and reading `files` and what every program reads.
///
/// # Errors
/// What the kernel lacks, as a sentence for the log.
pub fn to_folder(folder: &Path, files: &[PathBuf]) -> Result<(), String> {
    let status = restrict(folder, files).map_err(|error| format!("Landlock: {error}"))?;
    match status {
        RulesetStatus::NotEnforced => Err("Landlock is switched off in this kernel".to_owned()),
        RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Ok(()),
    }
}

fn restrict(folder: &Path, files: &[PathBuf]) -> Result<RulesetStatus, RulesetError> {
    let all = AccessFs::from_all(NEWEST);
    let status = Ruleset::default()
        // Without this right the engine could not move a file to another folder: no Landlock is better then.
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        // It listens, and asks nobody.
        .handle_access(AccessNet::ConnectTcp)?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(READ, AccessFs::from_read(NEWEST)))?
        .add_rules(path_beneath_rules(files, AccessFs::from_read(NEWEST)))?
        .add_rules(path_beneath_rules(["/dev/null"], AccessFs::from_file(NEWEST)))?
        .add_rules(path_beneath_rules([folder], all))?
        .restrict_self()?;
    Ok(status.ruleset)
}

/// Takes the user `uid:gid` for good, with no other group.
///
/// # Errors
/// The text names no user, or the kernel refuses.
pub fn to_user(ids: &str) -> Result<(), String> {
    let (uid, gid) = ids
        .split_once(':')
        .and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)))
        .filter(|(uid, _): &(u32, u32)| *uid != 0)
        .ok_or_else(|| format!("--user must be UID:GID of a user that is not root, got {ids}"))?;
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&[gid])
        .and_then(|()| setgid(gid))
        .and_then(|()| setuid(uid))
        .map_err(|error| format!("cannot become user {ids}: {error}"))?;
    if (geteuid(), getegid()) == (uid, gid) && setuid(Uid::from_raw(0)).is_err() {
        Ok(())
    } else {
        Err(format!("user {ids} was taken, and root could be taken back"))
    }
}
