//! Redis from the system's packages, as a cache: it writes nothing to disk, and is empty after a restart.
//!
//! A client without a password can read and write keys, but has no administrative rights: it cannot change the configuration,
//! stop the server, make it save, or make it connect to another server. The password of user `admin` is in `admin-password`
//! in the server's folder.

use std::path::Path;
use std::process::Command;

use super::{new_secret, write_secret};
use crate::account::Account;
use crate::config::StackConfig;
use crate::error::StackError;
use crate::tools;

const ADMIN_PASSWORD: &str = "admin-password";

pub(super) fn prepare(config: &StackConfig, account: &Account, dir: &Path) -> Result<Command, StackError> {
    let program = config.tools().find(tools::REDIS)?;
    account.check_runs(config, &program)?;
    let file = dir.join("redis.conf");
    let password = new_secret()?;
    write_secret(account, &dir.join(ADMIN_PASSWORD), &password)?;
    write_secret(account, &file, &configuration(config.ports.redis, dir, &password))?;
    let mut command = account.launcher(config, &program)?;
    command.arg(file);
    Ok(command)
}

fn configuration(port: u16, dir: &Path, password: &str) -> String {
    format!(
        "bind 127.0.0.1\n\
         port {port}\n\
         dir \"{}\"\n\
         daemonize no\n\
         save \"\"\n\
         appendonly no\n\
         # Background work once a second instead of ten times: each wake-up of an idle server costs 0.1 ms.\n\
         hz 1\n\
         maxmemory 256mb\n\
         maxmemory-policy allkeys-lru\n\
         user default on nopass ~* &* +@all -@admin -migrate -restore +config|get\n\
         user admin on >{password} ~* &* +@all\n",
        dir.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_a_password_has_no_administrative_rights() {
        let text = configuration(6379, Path::new("/data"), "s3cret");
        assert!(text.contains("user default on nopass ~* &* +@all -@admin"), "{text}");
        assert!(text.contains("bind 127.0.0.1\n"), "{text}");
    }
}
