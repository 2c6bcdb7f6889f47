//! Outcomes for people: one thing a line, columns where they help.

use std::collections::BTreeSet;

use crate::base::text::{count, human_size, sanitize};
use crate::lock::{LockDiff, PinChange, PinDiff};
use crate::ops::{
    AttestOutcome, BuildAllOutcome, BuildOutcome, ContextOutcome, FetchReport, InfoOutcome, InitOutcome, ListOutcome,
    StorePath, StoreSize, StoreVerification, UpdateOutcome,
};

/// The files that were written, one a line.
pub fn init_lines(outcome: &InitOutcome) -> String {
    outcome.written.iter().map(|path| format!("{}\n", path.display())).collect()
}

/// The context's digest, alone on its line.
pub fn context_lines(outcome: &ContextOutcome) -> String {
    format!("{}\n", outcome.digest.prefixed())
}

/// The store's directory, alone on its line.
pub fn path_lines(outcome: &StorePath) -> String {
    format!("{}\n", outcome.path.display())
}

/// The image ID, alone on its line: what scripts read.
pub fn build_lines(outcome: &BuildOutcome) -> String {
    format!("{}\n", outcome.id.prefixed())
}

/// Each platform with its image ID, then the index with its digest.
pub fn build_all_lines(outcome: &BuildAllOutcome) -> String {
    let line = |(platform, image): &(_, BuildOutcome)| format!("{platform}  {}\n", image.id.prefixed());
    let images: String = outcome.images.iter().map(line).collect();
    format!("{images}index        {}\n", outcome.index.prefixed())
}

/// `ecosystem:name version size sha256`, in columns.
pub fn list_lines(outcome: &ListOutcome) -> String {
    let names: Vec<String> = outcome.pins.iter().map(|pin| format!("{}:{}", pin.ecosystem, pin.name)).collect();
    let name_width = names.iter().map(String::len).max().unwrap_or(0);
    let version_width = outcome.pins.iter().map(|pin| pin.version.len()).max().unwrap_or(0);
    let line = |(name, pin): (&String, &crate::ops::ListedPin)| {
        let size = human_size(pin.size);
        format!("{name:name_width$}  {:version_width$}  {size:>9}  sha256:{}\n", pin.version, pin.sha256)
    };
    names.iter().zip(&outcome.pins).map(line).collect()
}

/// What `update` did: each pin that moved, came or went, and what it means for the lockfile.
pub fn update_lines(outcome: &UpdateOutcome) -> String {
    let mut text = diff_lines(&outcome.diff, &outcome.gone);
    text.push_str(&update_summary(outcome));
    text
}

fn update_summary(outcome: &UpdateOutcome) -> String {
    let what = match (outcome.changed, outcome.written) {
        (false, _) => "nothing changed",
        (true, true) => "the lockfile was written",
        (true, false) => "the lockfile would change; nothing was written",
    };
    format!("{}, {what}\n", count(outcome.pins, "pin"))
}

/// One line for each pin that moved, came or went. What is loud starts with `!`. `gone` are the pins that had to move.
fn diff_lines(diff: &LockDiff, gone: &[String]) -> String {
    let platforms: BTreeSet<_> = diff.pins.iter().map(|pin| pin.platform).collect();
    let mut text = String::new();
    for pin in &diff.pins {
        let place = if platforms.len() > 1 { format!("  ({})", pin.platform) } else { String::new() };
        for line in pin_lines(pin, gone) {
            text.push_str(&format!("{line}{place}\n"));
        }
    }
    for (platform, _, new) in &diff.images {
        if new.is_none() {
            text.push_str(&format!("the recorded image for {platform} no longer holds and was dropped\n"));
        }
    }
    text
}

fn pin_lines(pin: &PinDiff, gone: &[String]) -> Vec<String> {
    let name = format!("{}:{}", pin.ecosystem, pin.name);
    let (old, new) = match (&pin.old, &pin.new) {
        (Some(old), Some(new)) => (&old.version, &new.version),
        (None, Some(new)) => return vec![format!("+ {name} {}", new.version)],
        (Some(old), None) => return vec![format!("- {name} {}", old.version)],
        (None, None) => return Vec::new(),
    };
    let is_forced = !gone.is_empty() && !gone.contains(&format!("{name} {old}"));
    let forced = if is_forced { ", which the others force" } else { "" };
    let lines = pin.changes.iter().filter_map(|change| match change {
        PinChange::Version(_) => Some(format!("{name} {old} -> {new}{forced}")),
        PinChange::Rehashed { from, to } => {
            Some(format!("! {name} {new} has other bytes under the same version: sha256:{from} -> sha256:{to}"))
        }
        PinChange::File { from, to } => {
            Some(format!("! {name} {new} is another file of the same version: {from} -> {to}"))
        }
        PinChange::Evidence(lost) => Some(format!("! {name} {new} has no {} any more", lost.join(" and "))),
        PinChange::Source { from, to } => Some(format!("! {name} {new} comes from another source: {from} -> {to}")),
        PinChange::Scripts { .. } => Some(format!("! {name} {new} has other install scripts than {old}")),
        PinChange::Path | PinChange::Details => Some(format!("~ {name} {new} is recorded otherwise")),
        PinChange::Places => Some(format!("~ {name} {new} is laid elsewhere")),
        PinChange::Size { .. } | PinChange::RequiredBy => None,
    });
    lines.collect()
}

/// What `fetch` brought.
pub fn fetch_lines(report: &FetchReport) -> String {
    let mut text = match report.files {
        0 => "nothing to fetch: the store has every locked file\n".to_owned(),
        files => format!("{} fetched, {}\n", count(files, "file"), human_size(report.bytes)),
    };
    if report.superseded > 0 {
        let what = count(report.superseded, "signed index");
        text.push_str(&format!(
            "{what} of the lockfile replaced by the archive since; the pins are still verified by hash\n"
        ));
    }
    text
}

/// Directories, sources and engines.
pub fn info_lines(outcome: &InfoOutcome) -> String {
    let mut text = format!(
        "oclock    {}  lockfile format {}\nstore     {}\n",
        outcome.version, outcome.lock_format, outcome.store
    );
    let names = outcome.sources.iter().map(|(name, ..)| name).chain(outcome.engines.iter().map(|(name, _)| name));
    let width = names.map(String::len).max().unwrap_or(0);
    for (name, url, found_in) in &outcome.sources {
        text.push_str(&format!("source    {name:width$}  {}  ({})\n", sanitize(url), sanitize(found_in)));
    }
    for (name, state) in &outcome.engines {
        text.push_str(&format!("engine    {name:width$}  {}\n", sanitize(state)));
    }
    text
}

/// The document; or the digest of what was attached, alone on its line; or whose signature is good.
pub fn attest_lines(outcome: &AttestOutcome) -> String {
    match outcome {
        AttestOutcome::Document(document) => serde_json::to_string_pretty(document).unwrap_or_default() + "\n",
        AttestOutcome::Attached { attached } => format!("{}\n", attached.prefixed()),
        AttestOutcome::Verified { verified, key } => {
            format!("{} is signed by key sha256:{key} and says what this project says\n", verified.display())
        }
    }
}

/// How much the store holds.
pub fn size_lines(size: &StoreSize) -> String {
    format!("{}, {}\n", count(size.blobs, "blob"), human_size(size.bytes))
}

/// Which blobs are damaged.
pub fn verify_lines(outcome: &StoreVerification) -> String {
    let fate = if outcome.removed { "damaged, removed" } else { "damaged" };
    let mut text: String = outcome.damaged.iter().map(|digest| format!("sha256:{digest}  {fate}\n")).collect();
    text.push_str(&format!("{}, {} damaged\n", count(outcome.blobs, "blob"), outcome.damaged.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{Direction, PinSide};
    use crate::model::{Ecosystem, PackageName, PackageVersion, Platform, Sha256};

    fn side(version: &str) -> Option<PinSide> {
        let version = PackageVersion::parse(version).unwrap();
        Some(PinSide { version, published: None, size: 1, required_by: Vec::new() })
    }

    fn pin(name: &str, old: Option<PinSide>, new: Option<PinSide>, changes: Vec<PinChange>) -> PinDiff {
        let name = PackageName::parse(name).unwrap();
        PinDiff { ecosystem: Ecosystem::Npm, platform: Platform::LINUX_AMD64, name, old, new, changes }
    }

    #[test]
    fn what_moved_is_told_and_other_bytes_are_loud() {
        let (from, to) = (Sha256::of("a"), Sha256::of("b"));
        let pins = vec![
            pin("came", None, side("1"), Vec::new()),
            pin("went", side("1"), None, Vec::new()),
            pin("moved", side("1"), side("2"), vec![PinChange::Version(Direction::Up)]),
            pin("other", side("1"), side("1"), vec![PinChange::Rehashed { from, to }]),
            pin("asked", side("1"), side("1"), vec![PinChange::RequiredBy]),
        ];
        let diff = LockDiff { pins, ..LockDiff::default() };
        let expected = format!(
            "+ npm:came 1\n- npm:went 1\nnpm:moved 1 -> 2\n\
             ! npm:other 1 has other bytes under the same version: sha256:{from} -> sha256:{to}\n"
        );
        assert_eq!(diff_lines(&diff, &[]), expected);
        assert!(diff_lines(&diff, &["npm:came 1".into()]).contains("moved 1 -> 2, which the others force"));
    }
}
