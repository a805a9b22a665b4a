//! Keeps a quiet stack on one core: `dp-cores FOLDER`, a small process beside the stack.
//!
//! Role: a quiet market costs wake-ups, and a wake-up on another core costs a fifth more than one on the same (docs/performance.md).
//! So twice a second this looks at how idle the cores are, and moves the processes of the stack: to one core after five quiet seconds,
//! back to all when that core has been full for a second.
//! Invariants: one for each folder (a lock). It ends with the stack, or when the stack is to use all cores from now on, and leaves
//! the stack on all cores.
//! Failure: without it the stack runs on all cores, which costs more and is never wrong.

mod affinity;
mod place;

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use procfs::{CpuTime, CurrentSI as _, KernelStats};

use crate::config::StackConfig;
use crate::error::StackError;
use crate::process::Running;
use crate::servers::launcher;
use crate::state::{self, CORES_LOCK, State};
use affinity::Allowed;
use place::{Place, Placing};

/// Its program.
pub(crate) const PROGRAM: &str = "dp-cores";
const LOOK: Duration = Duration::from_millis(500);
/// A stack that is started again right after its end finds the earlier process, which may be about to end.
const LOCK_LIMIT: Duration = Duration::from_secs(5);
/// Looks without a process of the stack after which it has ended.
const ENDED_LOOKS: u32 = 4;

/// Starts it for the stack of this folder; one that finds another in its place ends by itself.
pub(crate) fn start(config: &StackConfig) -> Result<(), StackError> {
    let program = config.program(PROGRAM)?;
    let mut command = launcher(config, &program)?;
    command.arg(&config.dir).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| StackError::Command {
        program: program.display().to_string(),
        message: error.to_string(),
    })?;
    // If it ends before this process, it must not become a zombie.
    std::thread::spawn(move || child.wait());
    Ok(())
}

/// Waits until no such process moves the stack of this folder; false if one still does after `limit`.
pub(crate) fn wait_ended(dir: &Path, limit: Duration) -> Result<bool, StackError> {
    let deadline = Instant::now() + limit;
    Ok(lock(dir, deadline)?.is_some())
}

/// The process that moves the stack of this folder, if one runs.
pub(crate) fn running(dir: &Path) -> Option<Running> {
    let signed = fs::read(dir.join(CORES_LOCK)).ok()?;
    let process: Running = serde_json::from_slice(&signed).ok()?;
    process.is_alive().then_some(process)
}

/// Keeps the stack of this folder on one core while the machine is quiet. Returns when the stack has ended.
///
/// # Errors
/// The folder has no stack, or the kernel does not tell how idle its cores are.
pub fn keep_quiet(dir: &Path) -> Result<(), StackError> {
    let Some(lock) = lock(dir, Instant::now() + LOCK_LIMIT)? else {
        return Ok(());
    };
    sign(&lock, dir)?;
    let allowed = Allowed::of_this_process()?;
    let mut watched = Watched::default();
    let (mut placing, mut place) = (Placing::new(), Place::Everywhere);
    let mut earlier = cpu_times(&allowed)?;
    while watched.look(dir) {
        std::thread::sleep(LOOK);
        let now = cpu_times(&allowed)?;
        let change = placing.after(&idle_shares(&earlier, &now));
        earlier = now;
        if let Some(next) = change {
            allowed.move_all(&watched.family(), place, next)?;
            place = next;
        } else if watched.is_changed {
            // Processes that have just started.
            allowed.move_all(&watched.family(), Place::Everywhere, place)?;
        }
    }
    allowed.move_all(&watched.family(), place, Place::Everywhere)
}

/// The processes of the stack, read again when its state changes.
#[derive(Debug, Default)]
struct Watched {
    written: Option<SystemTime>,
    processes: Vec<Running>,
    is_wanted: bool,
    /// Whether the last look found another state.
    is_changed: bool,
    looks_without: u32,
}

impl Watched {
    /// Looks; false when there is nothing more to do.
    fn look(&mut self, dir: &Path) -> bool {
        let written = fs::metadata(state::file(dir)).and_then(|file| file.modified()).ok();
        self.is_changed = written != self.written;
        if self.is_changed {
            // A state that cannot be read is one of a stack that is being removed.
            let state = State::load(dir).ok().flatten();
            self.written = written;
            self.is_wanted = state.as_ref().is_some_and(|state| state.quiet_core);
            let recorded = state.into_iter().flat_map(|state| state.processes);
            self.processes = recorded.filter_map(|entry| entry.running).collect();
        }
        let runs = self.processes.iter().any(|process| process.is_alive());
        self.looks_without = if runs { 0 } else { self.looks_without + 1 };
        self.is_wanted && self.looks_without < ENDED_LOOKS
    }

    /// The processes and their descendants, and this one.
    fn family(&self) -> Vec<i32> {
        let all = self.processes.iter().flat_map(|process| process.with_descendants());
        all.map(|process| process.pid)
            .chain([std::process::id() as i32])
            .collect()
    }
}

fn lock(dir: &Path, deadline: Instant) -> Result<Option<File>, StackError> {
    let path = dir.join(CORES_LOCK);
    let opened = File::options().create(true).append(true).open(&path);
    let file = opened.map_err(StackError::io("open", &path))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(LOOK / 5),
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(StackError::io("lock", &path)(error)),
        }
    }
}

/// Writes into the locked file which process holds it: its CPU time is a part of what the stack costs.
fn sign(mut lock: &File, dir: &Path) -> Result<(), StackError> {
    let this = serde_json::to_vec(&Running::this()?);
    let this = this.map_err(|error| StackError::Refused(format!("{PROGRAM} cannot name itself: {error}")))?;
    let written = lock.set_len(0).and_then(|()| lock.write_all(&this));
    written.map_err(StackError::io("write", &dir.join(CORES_LOCK)))
}

/// Idle and whole time of each allowed core, in ticks.
fn cpu_times(allowed: &Allowed) -> Result<Vec<(u64, u64)>, StackError> {
    let stats = KernelStats::current().map_err(|error| StackError::Refused(format!("read /proc/stat: {error}")))?;
    let of = |core: &usize| stats.cpu_time.get(*core).map(idle_and_whole);
    Ok(allowed.numbers.iter().filter_map(of).collect())
}

fn idle_and_whole(time: &CpuTime) -> (u64, u64) {
    let idle = time.idle + time.iowait.unwrap_or(0);
    let interrupts = time.irq.unwrap_or(0) + time.softirq.unwrap_or(0);
    // Guests are part of user time.
    let busy = time.user + time.nice + time.system + interrupts + time.steal.unwrap_or(0);
    (idle, idle + busy)
}

fn idle_shares(earlier: &[(u64, u64)], now: &[(u64, u64)]) -> Vec<f64> {
    let share = |((idle_then, whole_then), (idle_now, whole_now)): (&(u64, u64), &(u64, u64))| {
        let whole = whole_now.saturating_sub(*whole_then).max(1);
        idle_now.saturating_sub(*idle_then) as f64 / whole as f64
    };
    earlier.iter().zip(now).map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idle_share_is_that_since_the_look_before() {
        let shares = idle_shares(&[(100, 200), (10, 10), (5, 5)], &[(125, 300), (60, 60), (5, 5)]);
        assert_eq!(shares, [0.25, 1.0, 0.0]);
    }
}
