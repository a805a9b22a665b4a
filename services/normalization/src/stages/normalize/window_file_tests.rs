#![allow(clippy::unwrap_used)]

use super::*;

const PROGRAM: u64 = 7;

fn entry(offset: i64) -> Entry {
    Entry {
        offset,
        appended_at: 1_000 + offset / 3,
        key: EventKey {
            id: (offset % 5) as u64,
            facts: offset as u64,
        },
    }
}

/// The log: a message at each offset that is no multiple of 7, which are dead letters.
fn is_event(offset: &i64) -> bool {
    offset % 7 != 0
}

fn log(offset: i64) -> Option<Micros> {
    Some(entry(offset).appended_at)
}

fn events(from: i64, to: i64) -> Vec<i64> {
    (from..to).filter(is_event).collect()
}

fn open(folder: &Path) -> WindowFile {
    WindowFile::open(folder, "raw-0", PROGRAM, 50).unwrap()
}

fn recall(file: &mut WindowFile, from: i64, committed: i64) -> (i64, Vec<i64>) {
    let mut found = Vec::new();
    let next = file
        .recall((from, committed), &log, &mut |one| {
            assert_eq!(one, entry(one.offset));
            found.push(one.offset);
        })
        .unwrap();
    (next, found)
}

fn append(file: &mut WindowFile, from: i64, to: i64) {
    for offset in events(from, to) {
        file.append(entry(offset));
        if offset % 11 == 0 {
            file.flush().unwrap();
        }
    }
}

fn written(folder: &Path, to: i64) {
    let mut file = open(folder);
    append(&mut file, 1, to);
    file.flush().unwrap();
}

#[test]
fn a_restarted_process_gets_what_reading_back_would_give() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 30);
    assert_eq!(recall(&mut open(folder.path()), 5, 20), (20, events(5, 20)));
    // What was seen and not committed is processed again, and then is not written twice.
    let mut file = open(folder.path());
    assert_eq!(recall(&mut file, 5, 25).1, events(5, 25));
    append(&mut file, 25, 45);
    file.flush().unwrap();
    drop(file);
    assert_eq!(recall(&mut open(folder.path()), 5, 60), (45, events(5, 45)));
}

#[test]
fn random_kills_leave_a_window_without_gap_or_repetition() {
    let mut random = fastrand::Rng::with_seed(254);
    for _ in 0..300 {
        let folder = tempfile::tempdir().unwrap();
        let mut committed = 0;
        for _ in 0..random.usize(1..8) {
            let mut file = open(folder.path());
            let from = (committed - 50).max(1);
            let (next, mut seen) = recall(&mut file, from, committed);
            assert!(next >= from && next <= committed.max(from), "{from} {next} {committed}");
            let more = events(next, committed);
            append(&mut file, next, committed);
            seen.extend(&more);
            assert_eq!(seen, events(from, committed));
            let end = committed + random.i64(0..80);
            append(&mut file, committed.max(1), end);
            // Killed: what is buffered is lost.
            drop(file);
            committed = random.i64(committed..=end);
            if random.u8(..4) == 0 {
                // Another process had the partition.
                committed += random.i64(0..60);
            }
            let newer = folder.path().join("raw-0.new");
            if random.u8(..4) == 0 && newer.exists() {
                let length = fs::metadata(&newer).unwrap().len();
                let file = File::options().write(true).open(&newer).unwrap();
                file.set_len(random.u64(..=length)).unwrap();
            }
        }
    }
}

#[test]
fn files_that_do_not_fit_the_log_or_the_program_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let other_time = |_| Some(0);
    type Time<'t> = &'t dyn Fn(i64) -> Option<Micros>;
    for (program, from, time) in [
        (PROGRAM + 1, 5, &log as Time<'_>),
        // The file begins too late, ends too early, or is about another log.
        (PROGRAM, 0, &log),
        (PROGRAM, 35, &log),
        (PROGRAM, 5, &other_time),
        (PROGRAM, 5, &|_| None),
    ] {
        written(folder.path(), 30);
        let mut file = WindowFile::open(folder.path(), "raw-0", program, 50).unwrap();
        let next = file.recall((from, 40), time, &mut |_| unreachable!()).unwrap();
        assert_eq!(next, from);
        assert!(!folder.path().join("raw-0.new").exists());
    }
}

#[test]
fn a_damaged_older_file_is_not_continued_by_the_newer_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = open(folder.path());
    append(&mut file, 1, 90);
    file.flush().unwrap();
    drop(file);
    let older = folder.path().join("raw-0.old");
    let mut bytes = fs::read(&older).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&older, bytes).unwrap();
    assert_eq!(recall(&mut open(folder.path()), 5, 90), (5, Vec::new()));
}

#[test]
fn a_process_that_still_lives_keeps_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let frozen = open(folder.path());
    assert!(WindowFile::open(folder.path(), "raw-0", PROGRAM, 50).is_err());
    drop(frozen);
    open(folder.path());
}
