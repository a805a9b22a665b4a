//! Which functions the threads of this process spend their CPU time in.
//!
//! Role: each thread has a timer on its own CPU clock that interrupts this thread; the handler notes the stack. So a sample belongs to
//! the thread whose time it is, a sleeping thread is never woken, and a thread costs nothing while it waits. One timer for the
//! process (`ITIMER_PROF`) would hand the samples of threads that block signals to others: librdkafka's block all of them.
//! Invariants: the weights of the stacks add up to the CPU time of the process, as far as the kernel keeps the frequency. Threads that
//! block the signal are in the profile with their measured time and without stacks. One sampler at a time.
//! Failure: a sampler that cannot start says why; when it is dropped, it stops.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use nix::unistd::gettid;
use procfs::process::Process;
use serde::{Deserialize, Serialize};

use crate::raw::{self, Current, Frames};
use crate::records::{ROOM, Record, Records};
use crate::stacks::{Folding, Stacks};
use crate::symbols::Symbols;

/// Samples in a second of CPU time, if none are asked for. Not a divisor of the intervals at which programs do something.
pub const FREQUENCY: u32 = 99;
/// Most samples in a second of CPU time: many kernels look at CPU timers no more often (`CONFIG_HZ`).
pub const MAX_FREQUENCY: u32 = 250;
/// The only frame of a thread that blocks the signal.
pub const BLOCKED: &str = "[not sampled: the thread blocks signals]";

static RECORDING: Current<Records> = Current::none();

/// Notes the stack of the calling thread, which was interrupted at this address. Called by the signal handler.
pub(crate) fn sample(interrupted: usize) {
    RECORDING.with(|records| {
        let frames = Frames::here();
        let stack = frames.as_slice();
        // The frames before are those of the handler.
        let first = stack.iter().position(|address| *address == interrupted);
        let thread = gettid().as_raw() as usize;
        match first.and_then(|first| stack.get(first..)) {
            Some(stack) => records.add(thread, stack),
            None => records.add(thread, &[interrupted]),
        };
    });
}

/// Samples all threads of the process.
pub struct Sampler {
    frequency: u32,
    began: Instant,
    threads: BTreeMap<i32, Thread>,
    is_finished: bool,
}

struct Thread {
    name: String,
    clock: ClockId,
    /// CPU time when the sampler saw it first, and when it saw it last.
    first: Duration,
    last: Duration,
    /// `None` if the system has no more timers.
    timer: Option<Timer>,
}

impl Thread {
    /// Measures it, and reads its name: a thread that has just begun still has that of the one that started it.
    fn seen_again(&mut self, id: i32) {
        self.last = now(self.clock).unwrap_or(self.last);
        self.name = thread_name(id).unwrap_or_else(|| std::mem::take(&mut self.name));
    }
}

/// What a sampler has noted, before its addresses have names.
pub struct Sampled {
    frequency: u32,
    seconds: f64,
    lost: u64,
    records: Vec<Record>,
    threads: BTreeMap<usize, Measured>,
}

#[derive(Debug, Clone)]
struct Measured {
    name: String,
    cpu: Duration,
}

/// A profile of CPU time, as the service answers it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CpuProfile {
    /// Name of the service.
    pub service: String,
    /// How long it was.
    pub seconds: f64,
    /// CPU time that the process used meanwhile.
    pub cpu_seconds: f64,
    /// Samples in a second of CPU time.
    pub frequency: u32,
    /// Samples that had no room.
    pub lost: u64,
    /// Threads that used CPU time, the busiest first.
    pub threads: Vec<ThreadTime>,
    /// Weights are samples.
    pub stacks: Stacks,
}

/// What a thread used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThreadTime {
    /// Its name.
    pub name: String,
    /// Its CPU time.
    pub cpu_seconds: f64,
    /// False if it blocks the signal, so that its stacks are not known.
    pub is_sampled: bool,
}

impl Sampler {
    /// Starts to sample, this many times in a second of CPU time.
    ///
    /// # Errors
    /// What is missing: a newer glibc, timers, or the end of another profile.
    pub fn start(frequency: u32) -> Result<Sampler, String> {
        raw::prepare_unwinder()?;
        raw::catch_signals().map_err(|error| format!("handle SIGPROF: {error}"))?;
        if !RECORDING.put(Records::with_room(ROOM)) {
            return Err("another CPU profile runs".to_owned());
        }
        let mut sampler = Sampler {
            frequency: frequency.clamp(1, MAX_FREQUENCY),
            began: Instant::now(),
            threads: BTreeMap::new(),
            is_finished: false,
        };
        sampler.follow(true)?;
        match sampler.threads.values().any(|thread| thread.timer.is_some()) {
            true => Ok(sampler),
            false => Err("the system gives no timers on the CPU time of threads (timer_create)".to_owned()),
        }
    }

    /// Looks for threads that have begun. To be called a few times a second.
    ///
    /// # Errors
    /// The threads cannot be listed.
    pub fn follow_threads(&mut self) -> Result<(), String> {
        self.follow(false)
    }

    fn follow(&mut self, is_first: bool) -> Result<(), String> {
        let tasks = Process::myself().and_then(|process| process.tasks());
        for task in tasks.map_err(|error| format!("list the threads: {error}"))?.flatten() {
            match self.threads.get_mut(&task.tid) {
                Some(thread) => thread.seen_again(task.tid),
                None => self.threads.extend(self.adopted(task.tid, is_first)),
            }
        }
        Ok(())
    }

    /// Begins to sample a thread; `None` if it has ended meanwhile.
    fn adopted(&self, id: i32, is_first: bool) -> Option<(i32, Thread)> {
        let clock = clock_of(id);
        let used = now(clock)?;
        let thread = Thread {
            name: thread_name(id).unwrap_or_else(|| format!("thread {id}")),
            clock,
            // What began after the profile used all its time in it.
            first: if is_first { used } else { Duration::ZERO },
            last: used,
            timer: timer(id, clock, self.frequency).ok(),
        };
        Some((id, thread))
    }

    /// Stops.
    pub fn finish(mut self) -> Sampled {
        // Without the list, what a thread used since it was last looked at is missing: a fraction of a second.
        let _ = self.follow(false);
        let seconds = self.began.elapsed().as_secs_f64();
        let threads = std::mem::take(&mut self.threads)
            .into_iter()
            .map(|(id, thread)| {
                let cpu = thread.last.saturating_sub(thread.first);
                (id as usize, Measured { name: thread.name, cpu })
            })
            .collect();
        // The timers are gone; a signal that still comes finds nothing.
        let records = RECORDING.take();
        self.is_finished = true;
        Sampled {
            frequency: self.frequency,
            seconds,
            lost: records.as_ref().map_or(0, |records| records.lost()),
            records: records.iter().flat_map(|records| records.all()).collect(),
            threads,
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.threads.clear();
        // After `finish`, another one may run already.
        if !self.is_finished {
            drop(RECORDING.take());
        }
    }
}

impl Sampled {
    /// Gives the addresses names. Takes up to a second and some memory: for a thread that may compute.
    pub fn named(self, service: &str) -> CpuProfile {
        let symbols = symbols(&self.records);
        self.folded(service, |record| names(&symbols, record))
    }

    /// `names` gives the functions of a stack, outermost first.
    fn folded(self, service: &str, mut names: impl FnMut(&Record) -> Vec<String>) -> CpuProfile {
        let mut folding = Folding::default();
        let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
        for record in &self.records {
            *counts.entry(record.tag).or_default() += 1;
            let thread = self.threads.get(&record.tag).map_or("[ended]", |thread| &thread.name);
            let names = names(record);
            folding.add(Some(thread), names.iter().map(String::as_str), 1);
        }
        let mut threads = Vec::new();
        for (id, thread) in &self.threads {
            // Half a sample may be missing by chance, a whole one only where the signal does not arrive.
            let expected = (thread.cpu.as_secs_f64() * f64::from(self.frequency)).floor() as u64;
            let is_sampled = counts.contains_key(id) || expected < 2;
            if !is_sampled {
                folding.add(Some(&thread.name), [BLOCKED], expected);
            }
            threads.push(ThreadTime {
                name: thread.name.clone(),
                cpu_seconds: thread.cpu.as_secs_f64(),
                is_sampled,
            });
        }
        threads.retain(|thread| thread.cpu_seconds > 0.0);
        threads.sort_by(|one, other| other.cpu_seconds.total_cmp(&one.cpu_seconds));
        CpuProfile {
            service: service.to_owned(),
            seconds: self.seconds,
            cpu_seconds: threads.iter().map(|thread| thread.cpu_seconds).sum(),
            frequency: self.frequency,
            lost: self.lost,
            threads,
            stacks: folding.done(),
        }
    }
}

/// The names that these stacks need.
pub(crate) fn symbols(records: &[Record]) -> Symbols {
    Symbols::of(records.iter().flat_map(instructions))
}

/// The functions of a stack, outermost first.
pub(crate) fn names(symbols: &Symbols, record: &Record) -> Vec<String> {
    let mut names: Vec<String> = instructions(record)
        .map(|address| symbols.name(address).to_owned())
        .collect();
    names.reverse();
    names
}

/// The addresses of the instructions that run: the innermost one was interrupted, the others are before those that calls return to.
fn instructions(record: &Record) -> impl Iterator<Item = usize> {
    let before = |(place, address): (usize, &usize)| {
        if place == 0 {
            *address
        } else {
            address.saturating_sub(1)
        }
    };
    record.addresses.iter().enumerate().map(before)
}

/// The clock of a thread's CPU time, as `pthread_getcpuclockid` makes it.
fn clock_of(thread: i32) -> ClockId {
    const PER_THREAD: i32 = 4;
    const SCHEDULER: i32 = 2;
    ClockId::from_raw((!thread << 3) | PER_THREAD | SCHEDULER)
}

fn now(clock: ClockId) -> Option<Duration> {
    clock.now().ok().map(Duration::from)
}

fn timer(thread: i32, clock: ClockId, frequency: u32) -> nix::Result<Timer> {
    let event = SigEvent::new(SigevNotify::SigevThreadId {
        signal: Signal::SIGPROF,
        thread_id: thread,
        si_value: 0,
    });
    let mut timer = Timer::new(clock, event)?;
    let every = Duration::from_secs(1) / frequency;
    timer.set(Expiration::Interval(every.into()), TimerSetTimeFlags::empty())?;
    Ok(timer)
}

/// `None` if the thread has ended, or has no name.
fn thread_name(id: i32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/self/task/{id}/comm")).ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(name: &str, millis: u64) -> Measured {
        Measured {
            name: name.to_owned(),
            cpu: Duration::from_millis(millis),
        }
    }

    #[test]
    fn threads_that_block_the_signal_are_in_the_profile_with_their_time() {
        let record = |tag, addresses: &[usize]| Record {
            tag,
            addresses: addresses.to_vec(),
        };
        let sampled = Sampled {
            frequency: 100,
            seconds: 2.0,
            lost: 0,
            records: vec![record(1, &[2, 1]), record(1, &[2, 1]), record(9, &[1])],
            threads: [
                (1, measured("worker", 20)),
                (2, measured("rdk:broker1", 55)),
                (3, measured("idle", 0)),
                (4, measured("short", 12)),
            ]
            .into(),
        };
        let profile = sampled.folded("tested", |record| {
            record
                .addresses
                .iter()
                .rev()
                .map(|address| format!("f{address}"))
                .collect()
        });
        assert_eq!(
            profile.stacks.folded(),
            format!("[ended];f1 1\nrdk:broker1;{BLOCKED} 5\nworker;f1;f2 2\n")
        );
        let threads: Vec<(&str, bool)> = profile
            .threads
            .iter()
            .map(|thread| (thread.name.as_str(), thread.is_sampled))
            .collect();
        assert_eq!(threads, [("rdk:broker1", false), ("worker", true), ("short", true)]);
        assert!((profile.cpu_seconds - 0.087).abs() < 1e-9, "{}", profile.cpu_seconds);
    }

    #[inline(never)]
    fn burn_the_time(until: Instant) -> u64 {
        let mut sum = 1_u64;
        while Instant::now() < until {
            for number in 0..1_000 {
                sum = std::hint::black_box(sum.wrapping_mul(31) ^ number);
            }
        }
        sum
    }

    #[test]
    fn a_busy_thread_is_seen_with_its_function_and_a_second_profile_is_refused() {
        let until = Instant::now() + Duration::from_secs(20);
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = std::sync::Arc::clone(&stop);
        let (known, is_known) = std::sync::mpsc::channel();
        let busy = std::thread::Builder::new()
            .name("early".to_owned())
            .spawn(move || {
                is_known.recv().unwrap();
                nix::sys::prctl::set_name(c"busy").unwrap();
                while !stopped.load(std::sync::atomic::Ordering::Relaxed) && Instant::now() < until {
                    burn_the_time(Instant::now() + Duration::from_millis(10));
                }
            })
            .unwrap();
        let mut sampler = Sampler::start(FREQUENCY).unwrap();
        assert!(Sampler::start(FREQUENCY).is_err_and(|error| error.contains("another")));
        // Until a new thread sets its own name, it has that of its parent.
        known.send(()).unwrap();
        // A slow machine gives the thread little time: until there are samples, or the time is over.
        let mut seen = 0;
        while seen < 20 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
            sampler.follow_threads().unwrap();
            seen = RECORDING.with(|records| records.all().count()).unwrap();
        }
        let profile = sampler.finish().named("tested");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        busy.join().unwrap();
        let folded = profile.stacks.folded();
        let is_found = |line: &str| line.starts_with("busy;") && line.contains("burn_the_time");
        assert!(folded.lines().any(is_found), "{folded}");
        assert!(profile.cpu_seconds > 0.0 && profile.lost == 0);
        assert!(!RECORDING.is_some());
        // What was refused has not stopped the first; after its end the next one starts.
        drop(Sampler::start(FREQUENCY).unwrap());
    }
}
