//! Moves threads between one core and all.
//!
//! Invariant: a thread that somebody else has pinned stays where it is: only threads on all allowed cores are moved to one, and only
//! threads on that one are given all again. New threads and processes inherit the cores of their parents.

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use procfs::process::Process;

use super::place::Place;
use crate::error::StackError;

/// The cores that this process may use.
#[derive(Debug)]
pub(super) struct Allowed {
    all: CpuSet,
    /// Their numbers, ascending.
    pub(super) numbers: Vec<usize>,
}

impl Allowed {
    pub(super) fn of_this_process() -> Result<Allowed, StackError> {
        let all = sched_getaffinity(Pid::from_raw(0)).map_err(refused)?;
        let numbers = (0..CpuSet::count())
            .filter(|core| all.is_set(*core).unwrap_or(false))
            .collect();
        Ok(Allowed { all, numbers })
    }

    /// Moves the threads of these processes from one place to the other.
    pub(super) fn move_all(&self, pids: &[i32], from: Place, to: Place) -> Result<(), StackError> {
        if from == to {
            return Ok(());
        }
        let (from, to) = (self.cores(from)?, self.cores(to)?);
        pids.iter().for_each(|pid| move_threads(*pid, &from, &to));
        Ok(())
    }

    /// Cores of a place are counted from zero among those that are allowed.
    fn cores(&self, place: Place) -> Result<CpuSet, StackError> {
        match place {
            Place::Everywhere => Ok(self.all),
            Place::Core(index) => {
                let core = self.numbers.get(index).copied();
                core.ok_or(Errno::EINVAL).and_then(only).map_err(refused)
            }
        }
    }
}

fn only(core: usize) -> nix::Result<CpuSet> {
    let mut one = CpuSet::new();
    one.set(core)?;
    Ok(one)
}

fn refused(error: Errno) -> StackError {
    StackError::Refused(format!("move the stack to other cores: {error}"))
}

/// Threads that end meanwhile, or belong to another user, are passed over: they run where they are, which is only slower.
fn move_threads(pid: i32, from: &CpuSet, to: &CpuSet) {
    let Ok(tasks) = Process::new(pid).and_then(|process| process.tasks()) else {
        return;
    };
    for thread in tasks.flatten().map(|task| Pid::from_raw(task.tid)) {
        if sched_getaffinity(thread).is_ok_and(|current| current == *from) {
            let _runs_where_it_is = sched_setaffinity(thread, to);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    struct Sleeper(Child);

    impl Sleeper {
        fn start() -> Sleeper {
            Sleeper(Command::new("sleep").arg("60").spawn().unwrap())
        }

        fn pid(&self) -> i32 {
            self.0.id() as i32
        }

        fn cores(&self) -> Vec<usize> {
            let set = sched_getaffinity(Pid::from_raw(self.pid())).unwrap();
            (0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap()).collect()
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ended = self.0.kill().and_then(|()| self.0.wait());
        }
    }

    #[test]
    fn threads_go_to_one_core_and_back_and_those_pinned_by_others_stay() {
        let allowed = Allowed::of_this_process().unwrap();
        let (Some(first), Some(last)) = (allowed.numbers.first(), allowed.numbers.last()) else {
            panic!("this process may use no core");
        };
        if first == last {
            eprintln!("skipped: this machine has one core");
            return;
        }
        let (ours, pinned) = (Sleeper::start(), Sleeper::start());
        sched_setaffinity(Pid::from_raw(pinned.pid()), &only(*last).unwrap()).unwrap();
        let gone = i32::MAX;
        let pids = [ours.pid(), pinned.pid(), gone];
        allowed.move_all(&pids, Place::Everywhere, Place::Core(0)).unwrap();
        assert_eq!((ours.cores(), pinned.cores()), (vec![*first], vec![*last]));
        allowed.move_all(&pids, Place::Core(0), Place::Everywhere).unwrap();
        assert_eq!((ours.cores(), pinned.cores()), (allowed.numbers.clone(), vec![*last]));
    }
}
