//! Confines the engine to its own folder and the few system files that a program needs to read.
//!
//! Role: a client of `clickhouse local` can read every file that the process can (`SELECT file('…')` needs no grant). The
//! kernel's Landlock permanently removes this access from the process and its children. If the process is root, it also
//! switches to another user. Both happen before the engine serves a request.
//! Invariant: a process that was started as root never runs the engine as root.
//! Failure: a user that cannot be switched to is an error. A kernel without Landlock (before 5.19, or disabled) is a warning:
//! then only the grants of `users.xml` and the user's permissions protect the machine.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, path_beneath_rules,
};
use nix::unistd::{Gid, Uid, getegid, geteuid, setgid, setgroups, setuid};

/// The newest access rights that this program handles; an older kernel applies those that it supports.
const NEWEST: ABI = ABI::V6;

/// System files that the C library and the engine read: time zones, names, numbers of processors and memory.
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

/// From now on, allows only full access to `folder`, and reading `files` and the common system files.
///
/// # Errors
/// What the kernel does not support, as a sentence for the log.
pub fn to_folder(folder: &Path, files: &[PathBuf]) -> Result<(), String> {
    let status = restrict(folder, files).map_err(|error| format!("Landlock: {error}"))?;
    match status {
        RulesetStatus::NotEnforced => Err("Landlock is disabled in this kernel".to_owned()),
        RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Ok(()),
    }
}

fn restrict(folder: &Path, files: &[PathBuf]) -> Result<RulesetStatus, RulesetError> {
    let all = AccessFs::from_all(NEWEST);
    let status = Ruleset::default()
        // Without this right the engine could not move a file to another folder: then Landlock is not used at all.
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        // It listens, and opens no connections.
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

/// Permanently switches to the user `uid:gid`, without other groups.
///
/// # Errors
/// The text is not a valid user, or the kernel does not allow the switch.
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
        Err(format!("switched to user {ids}, but could switch back to root"))
    }
}
