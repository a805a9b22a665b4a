//! What a local user can do to the machine through the servers of a stack that another user, in particular root, has started.
//!
//! Every request is sent as user `nobody` if the test runs as root, else as the user of the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use localstack::{Server, Stack, Temporary};
use nix::unistd::geteuid;

/// Never dropped: the stack's watcher removes it when the test program ends.
fn stack() -> &'static Stack {
    static STACK: OnceLock<Temporary> = OnceLock::new();
    STACK.get_or_init(|| {
        let stack = Temporary::new().unwrap();
        stack.up().unwrap();
        stack
    })
}

/// The command as an unprivileged user.
fn as_nobody(program: &str) -> Command {
    let mut command = if geteuid().is_root() {
        let mut setpriv = Command::new("setpriv");
        setpriv
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(program);
        setpriv
    } else {
        Command::new(program)
    };
    command.current_dir("/");
    command
}

/// Sends the bytes to the local port, and returns the response.
fn send(port: u16, request: &str) -> String {
    const SCRIPT: &str = "exec 3<>\"/dev/tcp/127.0.0.1/$1\" && printf %s \"$2\" >&3 && timeout 20 cat <&3";
    let output = as_nobody("bash")
        .args(["-c", SCRIPT, "send", &port.to_string(), request])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn http(port: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    send(
        port,
        &format!("POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"),
    )
}

fn clickhouse(sql: &str) -> String {
    http(stack().config().ports.clickhouse_http, "Host: localhost\r\n", sql)
}

fn redis(command: &str) -> String {
    send(stack().config().ports.redis, &format!("{command}\r\nQUIT\r\n"))
}

fn psql(user: &str, sql: &str) -> (bool, String) {
    let port = stack().config().ports.postgres;
    let output = as_nobody("psql")
        .args(["-X", "-t", "-A", "-w", "-c", sql])
        .arg(format!("postgresql://{user}@127.0.0.1:{port}/db"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

/// A file that all users may read, in a folder that all users may write: a server must not access even these.
struct Canary {
    dir: tempfile::TempDir,
}

const SONG: &str = "the canary sings";

impl Canary {
    fn new() -> Canary {
        let dir = tempfile::Builder::new()
            .prefix("254carbon-canary-")
            .tempdir_in("/var/tmp")
            .unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        fs::write(dir.path().join("song"), SONG).unwrap();
        Canary { dir }
    }

    fn song(&self) -> PathBuf {
        self.dir.path().join("song")
    }

    /// Fails if any file was created next to the song.
    fn check(&self) {
        let found: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(found, ["song"]);
        assert_eq!(fs::read_to_string(self.song()).unwrap(), SONG);
    }
}

#[test]
fn no_server_runs_as_root_and_each_folder_is_closed_to_other_users() {
    let dir = &stack().config().dir;
    for server in Server::ALL {
        let pid = stack().pid(server).unwrap();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let ids = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace()
                .map(|id| id.parse().unwrap())
                .collect::<Vec<u32>>()
        };
        let uid = ids("Uid:")[0];
        assert!(
            ids("Uid:").iter().all(|id| *id == uid && *id != 0),
            "{server:?}: {status}"
        );
        assert!(ids("Gid:").iter().all(|id| *id != 0), "{server:?}: {status}");
        assert!(ids("Groups:").iter().all(|id| *id != 0), "{server:?}: {status}");
        let folder = dir.join(server.name());
        let metadata = fs::metadata(&folder).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o700, "{}", folder.display());
        assert_eq!(metadata.uid(), uid, "{}", folder.display());
        if geteuid().is_root() {
            let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
            let names: Vec<&str> = environment
                .split('\0')
                .filter_map(|pair| pair.split('=').next())
                .collect();
            assert!(
                !names.iter().any(|name| name.starts_with("CARGO")),
                "{server:?}: {names:?}"
            );
        }
    }
    let logs = fs::metadata(dir.join("logs")).unwrap();
    assert_eq!(logs.permissions().mode() & 0o777, 0o700);
    for hidden in [dir.join("logs"), dir.join("kafka/data"), dir.join("clickhouse/data")] {
        let listed = as_nobody("ls").arg(&hidden).output().unwrap();
        assert_eq!(listed.status.success(), !geteuid().is_root(), "{}", hidden.display());
    }
}

/// Statements that access resources outside the engine, with the path of the song, of a new file, and the engine's native port.
fn statements_that_reach_out(song: &Path, new: &Path, native: u16) -> Vec<String> {
    let (song, new) = (song.display(), new.display());
    vec![
        format!("SELECT * FROM file('{song}', 'LineAsString')"),
        format!("SELECT file('{song}')"),
        format!("SELECT * FROM `{song}`"),
        format!("SELECT * FROM default.`{song}`"),
        format!("INSERT INTO FUNCTION file('{new}', 'CSV', 'a Int8') VALUES (1)"),
        format!("SELECT 1 INTO OUTFILE '{new}'"),
        format!("INSERT INTO reach.t FROM INFILE '{song}' FORMAT LineAsString"),
        format!("SELECT * FROM url('http://127.0.0.1:{native}/', 'CSV', 'a String')"),
        format!("SELECT * FROM remote('127.0.0.1:{native}', system.one)"),
        format!("SELECT * FROM postgresql('127.0.0.1:{native}', 'db', 't', 'user', 'password')"),
        "SELECT * FROM executable('../../../../../../bin/id', 'CSV', 'a String')".to_owned(),
        "SELECT * FROM s3('http://127.0.0.1:1/b/k', 'CSV', 'a String')".to_owned(),
        format!("SELECT * FROM sqlite('{song}', 't')"),
        format!("SELECT * FROM filesystem('{song}')"),
        format!("SELECT * FROM loop(file('{song}', 'LineAsString'))"),
        format!("SELECT 1 SETTINGS format_schema = '{song}:M' FORMAT Protobuf"),
        format!("CREATE TABLE reach.file (a String) ENGINE = File('LineAsString', '{song}')"),
        "CREATE TABLE reach.url (a String) ENGINE = URL('http://127.0.0.1:1/', 'CSV')".to_owned(),
        "CREATE TABLE reach.run (a String) ENGINE = Executable('id', 'CSV')".to_owned(),
        "CREATE TABLE reach.queue (a String) ENGINE = Kafka('127.0.0.1:1', 't', 'g', 'CSV')".to_owned(),
        format!("CREATE TABLE reach.rocks (a UInt64) ENGINE = EmbeddedRocksDB(0, '{new}') PRIMARY KEY a"),
        format!(
            "CREATE TABLE reach.disk (a String) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = '{new}/')"
        ),
        format!("CREATE VIEW reach.view AS SELECT * FROM file('{song}', 'LineAsString')"),
        format!(
            "CREATE DICTIONARY reach.words (a UInt64, b String) PRIMARY KEY a SOURCE(FILE(PATH '{song}' FORMAT 'CSV')) \
             LAYOUT(FLAT()) LIFETIME(0)"
        ),
        format!(
            "CREATE DATABASE files ENGINE = Filesystem('{}')",
            song.to_string().trim_end_matches("/song")
        ),
        format!("CREATE DATABASE other ENGINE = PostgreSQL('127.0.0.1:{native}', 'db', 'user', 'password')"),
        format!("BACKUP TABLE reach.t TO File('{new}')"),
        format!("RESTORE TABLE reach.t FROM File('{song}')"),
        "SYSTEM SHUTDOWN".to_owned(),
        "SYSTEM KILL".to_owned(),
        "CREATE USER intruder".to_owned(),
        "GRANT ALL ON *.* TO default".to_owned(),
        "CREATE NAMED COLLECTION intruder AS a = 1".to_owned(),
        "SELECT * FROM file('/proc/self/environ', 'LineAsString')".to_owned(),
    ]
}

#[test]
fn no_statement_makes_clickhouse_access_files_outside_its_folder() {
    let canary = Canary::new();
    let pid = stack().pid(Server::ClickHouse).unwrap();
    for sql in [
        "CREATE DATABASE reach",
        "CREATE TABLE reach.t (a String) ENGINE = MergeTree ORDER BY a",
        "INSERT INTO reach.t VALUES ('x')",
    ] {
        let answer = clickhouse(sql);
        assert!(answer.starts_with("HTTP/1.1 200"), "{sql}: {answer}");
    }
    let ports = &stack().config().ports;
    for sql in statements_that_reach_out(&canary.song(), &canary.dir.path().join("new"), ports.clickhouse_tcp) {
        let answer = clickhouse(&sql);
        assert!(answer.contains("Exception: "), "{sql}: {answer}");
        assert!(!answer.contains(SONG), "{sql}: {answer}");
    }
    canary.check();
    assert!(clickhouse("SELECT a FROM reach.t").contains('x'));
    assert_eq!(stack().pid(Server::ClickHouse), Some(pid), "the engine still runs");
}

#[test]
fn a_page_in_a_browser_cannot_query_clickhouse() {
    let port = stack().config().ports.clickhouse_http;
    for (headers, allowed) in [
        ("Host: localhost\r\n", true),
        ("Host: 127.0.0.1:8123\r\nOrigin: http://127.0.0.1:8123\r\n", true),
        ("Host: localhost\r\nOrigin: https://page.example\r\n", false),
        ("Host: localhost\r\nOrigin: null\r\n", false),
        ("Host: localhost\r\nOrigin: http://localhost.page.example\r\n", false),
        // A host name of the page that resolves to this machine.
        ("Host: page.example\r\n", false),
        (
            "Host: 127.0.0.1.page.example:8123\r\nOrigin: http://127.0.0.1\r\n",
            false,
        ),
    ] {
        let answer = http(port, headers, "SELECT 'asked'");
        assert_eq!(
            answer.contains("\r\nasked") || answer.contains("\nasked"),
            allowed,
            "{headers}: {answer}"
        );
        assert_eq!(answer.starts_with("HTTP/1.1 403"), !allowed, "{headers}: {answer}");
    }
}

#[test]
fn the_role_of_postgres_can_access_its_database_only() {
    let canary = Canary::new();
    let (song, new) = (canary.song(), canary.dir.path().join("new"));
    let (song, new) = (song.display(), new.display());
    let role = "user:password";
    for sql in ["CREATE TABLE reach (line text)", "INSERT INTO reach VALUES ('x')"] {
        let (done, text) = psql(role, sql);
        assert!(done, "{sql}: {text}");
    }
    for sql in [
        format!("COPY reach FROM PROGRAM 'cat {song}'"),
        format!("COPY reach TO PROGRAM 'cat >{new}'"),
        format!("COPY reach FROM '{song}'"),
        format!("COPY reach TO '{new}'"),
        format!("SELECT pg_read_file('{song}')"),
        format!("SELECT pg_ls_dir('{}')", canary.dir.path().display()),
        format!("SELECT lo_import('{song}')"),
        "SELECT pg_read_server_files()".to_owned(),
        "CREATE EXTENSION file_fdw".to_owned(),
        "CREATE EXTENSION dblink".to_owned(),
        format!("LOAD '{song}'"),
        "CREATE FUNCTION run(cstring) RETURNS int AS '/lib/x86_64-linux-gnu/libc.so.6', 'system' LANGUAGE c".to_owned(),
        "ALTER SYSTEM SET archive_command = 'id'".to_owned(),
        "ALTER ROLE \"user\" SUPERUSER".to_owned(),
        "CREATE ROLE intruder SUPERUSER".to_owned(),
        "SET ROLE postgres".to_owned(),
        "GRANT pg_execute_server_program TO \"user\"".to_owned(),
    ] {
        let (done, text) = psql(role, &sql);
        assert!(!done && text.contains("ERROR"), "{sql}: {text}");
        assert!(!text.contains(SONG), "{sql}: {text}");
    }
    for user in ["postgres", "postgres:password", "postgres:postgres"] {
        let (done, text) = psql(user, "SELECT 1");
        assert!(!done, "{user}: {text}");
    }
    canary.check();
}

#[test]
fn a_client_of_redis_has_no_administrative_rights() {
    let canary = Canary::new();
    let dir = canary.dir.path().display();
    for command in [
        "SET song x",
        "INFO server",
        "EVAL \"return redis.call('GET','song')\" 0",
        "KEYS *",
    ] {
        let answer = redis(command);
        assert!(!answer.starts_with('-'), "{command}: {answer}");
    }
    for command in [
        format!("CONFIG SET dir {dir}"),
        "CONFIG SET dbfilename new".to_owned(),
        "CONFIG SET maxmemory 1".to_owned(),
        "CONFIG SET bind 0.0.0.0".to_owned(),
        "CONFIG REWRITE".to_owned(),
        "SAVE".to_owned(),
        "BGSAVE".to_owned(),
        "BGREWRITEAOF".to_owned(),
        "SHUTDOWN NOSAVE".to_owned(),
        "DEBUG SEGFAULT".to_owned(),
        format!("MODULE LOAD {dir}/song"),
        "REPLICAOF 127.0.0.1 1".to_owned(),
        "MIGRATE 127.0.0.1 1 song 0 100".to_owned(),
        "ACL SETUSER intruder on nopass +@all".to_owned(),
        "MONITOR".to_owned(),
    ] {
        let answer = redis(&command);
        assert!(
            answer.starts_with("-NOPERM") || answer.contains("command not allowed"),
            "{command}: {answer}"
        );
    }
    canary.check();
    assert!(redis("PING").starts_with("+PONG"));
}
