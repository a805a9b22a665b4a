//! The faults and findings of a fault run so far: a JSON file that is replaced atomically after each fault, so that an
//! interrupted run resumes with its totals.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::pulse::Peaks;

/// One completed fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// Its number in the plan.
    pub number: u32,
    /// Name of the kind.
    pub kind: String,
    /// Name of the process.
    pub target: String,
    /// Seconds from the fault to the first new output of the restarted process. Includes `hold_seconds`.
    pub recovery_seconds: f64,
    /// Seconds for which the process was kept down or frozen, or had two replicas.
    pub hold_seconds: f64,
}

/// One complete check while no messages were in flight.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Check {
    pub after_kills: u32,
    /// Ticks in the raw log, without repetitions.
    pub ticks: u64,
    /// Documents in the raw log, without repetitions.
    pub documents: u64,
    /// Their rows that cannot be read, each in a dead letter.
    pub rejected_rows: u64,
    /// Ticks that give an interval another price than the one before.
    pub corrections: u64,
    /// Ticks that came when a window of theirs was forgotten, and reached their bars through the table.
    pub late_ticks: u64,
    /// Ticks that the publishers have published; `None` if a publisher was interrupted.
    pub published: Option<u64>,
    pub lost: u64,
    pub doubled: u64,
    pub wrong_bars: u64,
    /// Wrong in another way: contents of rows, served prices, dead letters.
    pub wrong: u64,
    pub bars: u64,
    /// Derived prices.
    pub derived: u64,
    /// Quotes of contracts in the raw log, without repetitions.
    pub quotes: u64,
    /// Snapshots of curves, one for each time and horizon.
    pub snapshots: u64,
    pub dp_verify_ok: bool,
    /// Seconds from the end of the load until every consumer had caught up and `dp verify` had finished.
    pub seconds: f64,
    pub disk_mb: u64,
    /// Findings as text, the first of each check.
    pub findings: Vec<String>,
}

impl Check {
    /// Whether there are no findings.
    pub fn is_ok(&self) -> bool {
        self.dp_verify_ok && self.lost + self.doubled + self.wrong_bars + self.wrong == 0 && self.findings.is_empty()
    }
}

/// The report of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Report {
    pub seed: u64,
    /// Planned number of faults.
    pub kills: u32,
    /// Messages per second.
    pub rate: u32,
    /// Number of starts; more than one if the run was interrupted.
    pub sessions: u32,
    pub finished: bool,
    pub done: Vec<Done>,
    pub checks: Vec<Check>,
    /// Events counted in the logs of the services: inserts refused by the fence, positions moved by another owner, unknown
    /// outcomes of inserts, and workers that restarted.
    pub refused: BTreeMap<String, u64>,
    /// Highest values seen.
    pub peaks: Peaks,
    pub seconds: f64,
    /// Ticks of publishers that ended cleanly.
    pub published_ticks: u64,
    /// A publisher was interrupted, so its messages in flight are known only from the log.
    pub publisher_interrupted: bool,
}

impl Report {
    /// The report of an earlier run with this seed, or an empty one.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn load(path: &Path) -> anyhow::Result<Report> {
        match fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).with_context(|| format!("read {}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Report::default()),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        let failed = || format!("write {}", path.display());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(failed)?;
        }
        let part = path.with_extension("part");
        fs::write(&part, serde_json::to_string_pretty(self)?).with_context(failed)?;
        fs::rename(&part, path).with_context(failed)
    }

    /// Whether this fault is completed.
    pub fn has_done(&self, number: u32) -> bool {
        self.done.iter().any(|done| done.number == number)
    }

    /// Whether every check so far was clean.
    pub fn is_ok(&self) -> bool {
        self.checks.iter().all(Check::is_ok)
    }

    fn by_kind(&self) -> BTreeMap<(&str, &str), (u32, f64)> {
        let mut kinds: BTreeMap<(&str, &str), (u32, f64)> = BTreeMap::new();
        for done in &self.done {
            let entry = kinds.entry((&done.kind, &done.target)).or_default();
            *entry = (entry.0 + 1, entry.1.max(done.recovery_seconds));
        }
        kinds
    }

    /// How often each fault and each event was seen.
    fn fmt_faults(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<30} {:<15} {:>6} {:>18}",
            "kind", "process", "times", "longest recovery"
        )?;
        for ((kind, target), (times, longest)) in self.by_kind() {
            writeln!(f, "{kind:<30} {target:<15} {times:>6} {longest:>16.1} s")?;
        }
        for (what, times) in &self.refused {
            writeln!(f, "{what:<46} {times:>6}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_faults(f)?;
        let longest = self.done.iter().map(|done| done.recovery_seconds).fold(0.0, f64::max);
        let last = self.checks.last().cloned().unwrap_or_default();
        writeln!(
            f,
            "kills {} of {}   ticks {}   lost {}   doubled {}   wrong bars {}   otherwise wrong {}   dp verify {}",
            self.done.len(),
            self.kills,
            last.ticks,
            last.lost,
            last.doubled,
            last.wrong_bars,
            last.wrong,
            if last.dp_verify_ok { "ok" } else { "NOT OK" },
        )?;
        let published = last
            .published
            .map_or("unknown (a publisher was interrupted)".to_owned(), |n| n.to_string());
        writeln!(
            f,
            "published ticks {published}   bars {}   checks {} ({} clean)   longest recovery {longest:.1} s",
            last.bars,
            self.checks.len(),
            self.checks.iter().filter(|check| check.is_ok()).count(),
        )?;
        writeln!(
            f,
            "documents {}   rejected rows {}   corrections {}   late ticks {}   derived prices {}   quotes {}   curve snapshots {}",
            last.documents,
            last.rejected_rows,
            last.corrections,
            last.late_ticks,
            last.derived,
            last.quotes,
            last.snapshots
        )?;
        let services = self
            .peaks
            .resident_mb
            .iter()
            .map(|(name, mb)| format!("{name} {mb} MB"));
        writeln!(f, "peak memory: {}", services.collect::<Vec<_>>().join(", "))?;
        writeln!(
            f,
            "hours {:.2}   sessions {}   disk {} MB   seed {}",
            self.seconds / 3600.0,
            self.sessions,
            last.disk_mb,
            self.seed
        )?;
        for finding in self.checks.iter().flat_map(|check| &check.findings) {
            writeln!(f, "FOUND {finding}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_report_is_loaded_with_its_totals() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs/7.json");
        assert_eq!(Report::load(&path).unwrap().sessions, 0);
        let mut report = Report {
            seed: 7,
            ..Report::default()
        };
        for (number, recovery_seconds) in [(1, 3.5), (3, 9.25)] {
            report.done.push(Done {
                number,
                kind: "kill -9".to_owned(),
                target: "kafka".to_owned(),
                recovery_seconds,
                hold_seconds: 1.0,
            });
        }
        report.checks.push(Check {
            documents: 12,
            corrections: 34,
            late_ticks: 56,
            derived: 78,
            quotes: 90,
            snapshots: 21,
            ..Check::default()
        });
        report.save(&path).unwrap();
        let loaded = Report::load(&path).unwrap();
        assert!(loaded.has_done(3) && !loaded.has_done(2));
        let shown = loaded.to_string();
        assert!(
            shown.contains("longest recovery 9.2") && shown.contains("seed 7"),
            "{shown}"
        );
        let counted = "documents 12   rejected rows 0   corrections 34   late ticks 56   derived prices 78   quotes 90   curve snapshots 21";
        assert!(shown.contains(counted), "{shown}");
        // A run that an earlier build began.
        let mut earlier = serde_json::to_value(&loaded).unwrap();
        for name in ["quotes", "snapshots"] {
            let removed = earlier["checks"][0]
                .as_object_mut()
                .and_then(|check| check.remove(name));
            assert!(removed.is_some(), "{name}");
        }
        let earlier: Report = serde_json::from_value(earlier).unwrap();
        assert_eq!((earlier.checks[0].snapshots, earlier.checks[0].derived), (0, 78));
    }
}
