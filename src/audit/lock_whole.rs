//! What a change of a lockfile puts at risk beyond single pins: sources, signed archives, base, seal, recorded images.

use std::collections::BTreeSet;

use super::finding::{Finding, FindingPlace, Level, Rule};
use super::lock_changes::{Found, LockChange, digests, pair};
use super::lock_rules::*;
use crate::base::text::count;
use crate::lock::{ArchivePin, BasePin, Lockfile, SealPin};
use crate::model::{Platform, SourceName};

pub(super) fn check_whole(change: &LockChange<'_>, found: &mut Found) {
    let whole = Whole { change };
    let findings = whole.sources().into_iter().chain(whole.archives()).chain(whole.head()).chain(whole.images());
    findings.for_each(|finding| found.add(finding, None));
}

struct Whole<'a> {
    change: &'a LockChange<'a>,
}

impl<'a> Whole<'a> {
    fn finding(&self, rule: &'static Rule, line: Option<usize>, subject: &str, message: &str) -> Finding {
        let place = line.map(|line| FindingPlace { file: self.change.file.to_owned(), line });
        Finding { place, ..Finding::new(rule, subject, message) }
    }

    /// Sources that nothing came from before.
    fn sources(&self) -> Vec<Finding> {
        let known: BTreeSet<&SourceName> = sources(self.change.old).collect();
        let fresh: BTreeSet<&SourceName> = sources(self.change.new).filter(|source| !known.contains(source)).collect();
        let told = fresh.into_iter().map(|source| {
            let pins = self.change.new.pins().filter(|pin| pin.artifact.source == *source).count();
            let message =
                format!("nothing came from `{source}` before, and now {} of this lockfile", count(pins, "pin"));
            self.finding(&NEW_SOURCE, None, &format!("source:{source}"), &message)
        });
        told.collect()
    }

    fn archives(&self) -> Vec<Finding> {
        let change = self.change;
        let mut findings = Vec::new();
        for (source, suite, ..) in &change.diff.archives {
            let (Some((_, old)), Some((index, new))) =
                (newest(change.old, source, suite), newest(change.new, source, suite))
            else {
                continue;
            };
            let subject = format!("archive:{source}/{suite}");
            let lost: Vec<&String> = old.keys.iter().filter(|key| !new.keys.contains(key)).collect();
            if !lost.is_empty() {
                let message = format!("`{suite}` of `{source}` is not signed by a key that signed it before");
                let mut evidence: Vec<String> = lost.iter().map(|key| format!("gone  {key}")).collect();
                evidence.extend(new.keys.iter().map(|key| format!(" now  {key}")));
                let line = change.lines.archive(index, "keys");
                findings.push(Finding { evidence, ..self.finding(&EVIDENCE_LOST, line, &subject, &message) });
            }
            if new.date < old.date {
                let message = format!("`{suite}` of `{source}` is older than before");
                let evidence = pair(&moment(old.date), &moment(new.date));
                let line = change.lines.archive(index, "date");
                findings.push(Finding { evidence, ..self.finding(&ROLLBACK, line, &subject, &message) });
            }
        }
        findings
    }

    /// Base, seal, epoch and platforms.
    fn head(&self) -> Vec<Finding> {
        let (diff, lines) = (self.change.diff, self.change.lines);
        let told = |rule, line, subject: &str, message: &str, was: String, is: String| Finding {
            evidence: pair(&was, &is),
            ..self.finding(rule, lines.top(line), subject, message)
        };
        let base = diff.base.as_ref().map(|(old, new)| {
            told(&BASE, "[base]", "base", "the base is another one", base_words(old), base_words(new))
        });
        let seal = diff.seal.as_ref().map(|(old, new)| {
            let message = "the image is made into bytes by other rules";
            told(&SEAL, "[seal]", "seal", message, seal_words(old), seal_words(new))
        });
        let platforms = diff.platforms.as_ref().map(|(old, new)| {
            let words = |all: &[Platform]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            told(&PLATFORMS, "platforms", "platforms", "the platforms are others", words(old), words(new))
        });
        let epoch = diff.epoch.map(|(old, new)| {
            let (level, message) = match new < old {
                true => (Level::Warning, "the image's time goes back"),
                false => (EPOCH.level, "the image's time moves on"),
            };
            Finding { level, ..told(&EPOCH, "epoch", "epoch", message, moment(old), moment(new)) }
        });
        [base, seal, platforms, epoch].into_iter().flatten().collect()
    }

    fn images(&self) -> Vec<Finding> {
        let change = self.change;
        let told = change.diff.images.iter().filter_map(|(platform, old, new)| {
            let (rule, message, evidence) = match (old, new) {
                (Some(old), Some(new)) if old.context == new.context && change.diff.seal.is_none() => {
                    let message = format!("another image is recorded for the same context ({platform})");
                    (&OTHER_IMAGE, message, digests(old.id, new.id))
                }
                (Some(old), Some(new)) => {
                    (&IMAGE_MOVED, format!("another image is recorded ({platform})"), digests(old.id, new.id))
                }
                (Some(old), None) => {
                    let message = format!("no image is recorded any more ({platform})");
                    (&IMAGE_LOST, message, vec![format!("was  {}", old.id.prefixed())])
                }
                (None, _) => return None,
            };
            let line = change.lines.top(&format!("[image.\"{platform}\"]"));
            Some(Finding { evidence, ..self.finding(rule, line, "image", &message) })
        });
        told.collect()
    }
}

/// The newest list of a suite with its position: a lock may have several.
fn newest<'a>(lock: &'a Lockfile, source: &SourceName, suite: &str) -> Option<(usize, &'a ArchivePin)> {
    let all = lock.archives.iter().enumerate();
    all.filter(|(_, pin)| pin.source == *source && pin.suite == suite).max_by_key(|(_, pin)| pin.date)
}

fn sources(lock: &Lockfile) -> impl Iterator<Item = &SourceName> {
    let base = match &lock.base {
        BasePin::Debian { .. } => None,
        BasePin::Image { source, .. } => Some(source),
    };
    let pins = lock.pins().map(|pin| &pin.artifact.source);
    pins.chain(lock.archives.iter().map(|archive| &archive.source)).chain(base)
}

fn base_words(pin: &BasePin) -> String {
    match pin {
        BasePin::Debian { suite } => format!("debian {suite}"),
        BasePin::Image { reference, index, .. } => format!("{reference}  {}", index.prefixed()),
    }
}

fn seal_words(seal: &SealPin) -> String {
    format!("rules sha256:{}  {}", seal.rules, seal.encoder)
}

fn moment(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |moment| moment.to_string())
}
