//! Runs a line as an operator pastes it: in bash, with `dp` on the stack of the test.
//!
//! Invariants: every `dp` of a line has the folder of the stack, so that none means another one. Its exit code and its output are kept
//! beside those of the line, since a pipe hides them. What a line writes is in one folder, which is removed.
//! Failure: a line that does not end is ended, and named by the caller.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use e2e::Pipeline;
use localstack::Service;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// Longest run of one `dp`.
const LIMIT: Duration = Duration::from_secs(120);
/// A line that goes on until Ctrl-C shows something within this time, and ends within the other one.
const SHOWS_WITHIN: Duration = Duration::from_secs(60);
const ENDS_WITHIN: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);
/// Characters that are shown of what a line printed.
const SHOWN: usize = 1_500;
/// Settings of this shell would change what the programs do.
const SETTINGS: [&str; 5] = [
    "DATA_PROC_",
    "NORMALIZATION_",
    "ENRICHMENT_",
    "AGGREGATION_",
    "PROJECTION_",
];
/// `dp` of a line. `dp ping` takes an address, or the port of this setting, only if no stack is named. `tee -i` outlives Ctrl-C, since `dp`
/// prints until its end.
const DP: &str = r#"
dp() {
  local place=(--dir "$STACK") code
  case "$1 $2 $3" in
    "ping  " | "ping -s"* | "ping "*" -s"*)
      place=()
      export DATA_PROC_HEALTH_PORT="$PORT"
      ;;
  esac
  timeout --foreground -s INT "$LIMIT" "$DP" "${place[@]}" "$@" | tee -i -a "$OWN/printed"
  code=${PIPESTATUS[0]}
  echo "$code" >>"$OWN/codes"
  return "$code"
}
set -o pipefail
"#;
/// Without jq the lines run all the same, unfiltered.
const NO_JQ: &str = "jq() { cat; }\n";

/// Where the lines run.
pub struct Shell {
    folder: TempDir,
    dp: PathBuf,
    stack: PathBuf,
    env: Vec<(&'static str, String)>,
    has_jq: bool,
    runs: AtomicUsize,
}

/// What a line has done.
#[derive(Debug)]
pub struct Done {
    /// Exit code of the line; `None` if a signal has ended it.
    code: Option<i32>,
    /// Exit codes of the `dp` in it.
    codes: Vec<i32>,
    has_printed: bool,
    follows: bool,
    /// The end of what was printed.
    pub said: String,
}

impl Shell {
    /// A shell whose lines use this stack, and this Alertmanager.
    pub fn new(pipeline: &Pipeline, alertmanager: &str) -> anyhow::Result<Shell> {
        let config = pipeline.stack().config();
        let folder = tempfile::tempdir().context("create a folder")?;
        fs::create_dir(folder.path().join("here"))?;
        fs::create_dir(folder.path().join("incidents"))?;
        let path = |path: &Path| path.display().to_string();
        let port = pipeline.stack().port(Service::Normalization);
        let port = port.context("normalization has no port")?;
        Ok(Shell {
            dp: config.bin_dir.join("dp"),
            stack: config.dir.clone(),
            env: vec![
                ("DP", path(&config.bin_dir.join("dp"))),
                ("STACK", path(&config.dir)),
                ("LIMIT", LIMIT.as_secs().to_string()),
                ("PORT", port.to_string()),
                ("LOG", path(&pipeline.stack().log(Service::Normalization))),
                ("BACKUPS", path(&folder.path().join("backups"))),
                ("INCIDENTS", path(&folder.path().join("incidents"))),
                ("DATA_PROC_ALERTMANAGER_URL", alertmanager.to_owned()),
                ("NO_COLOR", "1".to_owned()),
            ],
            has_jq: Command::new("jq").arg("--version").output().is_ok(),
            runs: AtomicUsize::new(0),
            folder,
        })
    }

    /// Whether the filters of the lines run, too.
    pub fn has_jq(&self) -> bool {
        self.has_jq
    }

    /// The folder in which the lines run.
    pub fn here(&self) -> PathBuf {
        self.folder.path().join("here")
    }

    /// A program with the environment of the lines.
    fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        let ours = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let is_setting = |name: &String| SETTINGS.iter().any(|begin| name.starts_with(begin));
        for name in ours.filter(|name| is_setting(name) && name != "DATA_PROC_CACHE") {
            command.env_remove(name);
        }
        command.envs(self.env.iter().map(|(name, value)| (*name, value)));
        command.current_dir(self.here()).stdin(Stdio::null());
        command
    }

    /// The output of `dp` with these arguments; codes 0 and 1 are fine.
    pub fn dp(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.program(&self.dp);
        let output = command.arg("--dir").arg(&self.stack).args(arguments).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(
            matches!(output.status.code(), Some(0 | 1)),
            "dp {}: {}: {}",
            arguments.join(" "),
            output.status,
            text(&output.stderr)
        );
        Ok(text(&output.stdout))
    }

    /// The same with `--json`.
    pub fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let printed = self.dp(&[arguments, &["--json"]].concat())?;
        serde_json::from_str(&printed).with_context(|| format!("dp {}: {printed}", arguments.join(" ")))
    }

    /// Runs a line. If it follows, it is ended by Ctrl-C as soon as it has printed something.
    pub fn run(&self, line: &str, follows: bool) -> anyhow::Result<Done> {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let own = self.folder.path().join(number.to_string());
        fs::create_dir(&own)?;
        let jq = if self.has_jq { "" } else { NO_JQ };
        let mut child = self
            .program(Path::new("bash"))
            .args(["-c", &format!("{DP}{jq}{line}\n")])
            .env("OWN", &own)
            .stdout(File::create(own.join("out"))?)
            .stderr(File::create(own.join("err"))?)
            // Ctrl-C reaches all programs of a line.
            .process_group(0)
            .spawn()
            .context("start bash")?;
        let status = match follows {
            true => self.interrupted(&mut child, &own)?,
            false => child.wait()?,
        };
        let read = |name: &str| fs::read_to_string(own.join(name)).unwrap_or_default();
        Ok(Done {
            code: status.code(),
            codes: read("codes").lines().filter_map(|code| code.parse().ok()).collect(),
            has_printed: has_printed(&own),
            follows,
            said: last(&(read("out") + &read("err"))),
        })
    }

    /// Publishes until the line has printed something, then ends it.
    fn interrupted(&self, child: &mut Child, own: &Path) -> anyhow::Result<ExitStatus> {
        let group = Pid::from_raw(i32::try_from(child.id()).context("the id of bash")?);
        let deadline = Instant::now() + SHOWS_WITHIN;
        while !has_printed(own) && Instant::now() < deadline {
            self.dp(&["simulate", "--ticks", "200", "--poison-percent", "10"])?;
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
        }
        killpg(group, Signal::SIGINT).context("interrupt the line")?;
        let deadline = Instant::now() + ENDS_WITHIN;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                killpg(group, Signal::SIGKILL).context("kill the line")?;
                child.wait()?;
                bail!("it does not end within {} s after Ctrl-C", ENDS_WITHIN.as_secs());
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Done {
    /// What is wrong with it.
    pub fn wrong(&self) -> Option<String> {
        let is_fine = |code: &i32| matches!(code, 0 | 1) || (self.follows && *code == 130);
        if !self.codes.iter().all(is_fine) {
            return Some(format!("dp ended with {:?}", self.codes));
        }
        // The shell of a line that follows is interrupted itself, before it has noted the code.
        if !self.follows && self.codes.is_empty() {
            return Some("dp did not run".to_owned());
        }
        if !self.follows && !self.code.as_ref().is_some_and(is_fine) {
            return Some(format!("the line ended with {:?}", self.code));
        }
        (!self.has_printed).then(|| "dp printed nothing".to_owned())
    }
}

/// Whether `dp` has printed anything, to stdout or stderr.
fn has_printed(own: &Path) -> bool {
    let is_filled = |name: &str| fs::metadata(own.join(name)).is_ok_and(|file| file.len() > 0);
    is_filled("printed") || is_filled("err")
}

/// The end of a text.
fn last(text: &str) -> String {
    let skipped = text.chars().count().saturating_sub(SHOWN);
    text.chars().skip(skipped).collect()
}

/// Backups that name no folder are beside the stack, which is not removed with it.
pub struct Backups(PathBuf);

impl Backups {
    /// Those of this stack, which are removed at the end.
    pub fn of(pipeline: &Pipeline) -> Backups {
        Backups(PathBuf::from(format!(
            "{}-backups",
            pipeline.stack().config().dir.display()
        )))
    }
}

impl Drop for Backups {
    fn drop(&mut self) {
        // There may be none.
        let _removed = fs::remove_dir_all(&self.0);
    }
}
