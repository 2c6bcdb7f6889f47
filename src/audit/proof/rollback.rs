//! A lock against the one before it: no version may get other bytes, no signed archive may go back in time.

use std::collections::BTreeMap;

use super::artifacts::{label, subject};
use super::{REHASHED, ROLLBACK};
use crate::audit::finding::Finding;
use crate::lock::{ArchivePin, Lockfile};
use crate::model::SourceName;

/// Checks that nothing went back since the lock before.
pub fn check_rollback(before: &Lockfile, lock: &Lockfile) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut known = BTreeMap::new();
    for pin in before.pins() {
        known.insert((pin.ecosystem, pin.name, pin.version, pin.artifact.path.file_name()), pin.artifact.sha256);
    }
    for pin in lock.pins() {
        let file = pin.artifact.path.file_name();
        let Some(digest) = known.get(&(pin.ecosystem, pin.name, pin.version, file)) else { continue };
        if *digest != pin.artifact.sha256 {
            let message = format!("`{}` has other bytes than in the lockfile before", label(&pin));
            let evidence =
                vec![format!("  before  sha256:{digest}"), format!("  locked  sha256:{}", pin.artifact.sha256)];
            findings.push(Finding { evidence, ..Finding::new(&REHASHED, subject(&pin), message) });
        }
    }
    let (before, now) = (newest(&before.archives), newest(&lock.archives));
    for ((source, suite), date) in now {
        let Some(earlier) = before.get(&(source, suite)).filter(|earlier| **earlier > date) else { continue };
        let message = format!("the archive `{source}` of {suite} is older than in the lockfile before");
        let evidence = vec![format!("  before  {}", moment(*earlier)), format!("  locked  {}", moment(date))];
        findings.push(Finding { evidence, ..Finding::new(&ROLLBACK, format!("apt:{source}/{suite}"), message) });
    }
    findings
}

fn newest(archives: &[ArchivePin]) -> BTreeMap<(&SourceName, &str), i64> {
    let mut newest = BTreeMap::new();
    for archive in archives {
        let date = newest.entry((&archive.source, archive.suite.as_str())).or_insert(archive.date);
        *date = archive.date.max(*date);
    }
    newest
}

pub(super) fn moment(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|moment| moment.to_string()).unwrap_or_default()
}
