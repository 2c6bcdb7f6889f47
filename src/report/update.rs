//! What `update` did, for people: one line a pin.

use std::collections::BTreeSet;

use super::diff::{age, asker, growth};
use super::pin_name;
use crate::base::text::{count, sanitize};
use crate::lock::{Bump, LockDiff, PinChange, PinDiff, PinSide};
use crate::model::{PackageName, Sha256};
use crate::ops::{ChangedPin, Fate, UpdateOutcome};

/// What `update` did: each pin that moved, came or went, and what it means for the lockfile.
pub fn update_lines(outcome: &UpdateOutcome) -> String {
    let mut text = diff_lines(&outcome.diff, &outcome.moves, &outcome.gone);
    if let Some(imported) = &outcome.imported {
        text.extend(imported.moved.iter().map(|line| format!("! {}\n", sanitize(line))));
        let kept = count(imported.kept, "imported version");
        let more = match imported.unneeded {
            0 => String::new(),
            unneeded => format!(", {unneeded} that nothing asks for here"),
        };
        text.push_str(&format!("{kept} kept{more}\n"));
    }
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
fn diff_lines(diff: &LockDiff, moves: &[ChangedPin], gone: &[String]) -> String {
    let platforms: BTreeSet<_> = diff.pins.iter().map(|pin| pin.platform).collect();
    let mut text = String::new();
    for pin in &diff.pins {
        let place = if platforms.len() > 1 { format!("  ({})", pin.platform) } else { String::new() };
        for line in pin_lines(pin, &details(pin, moves), gone) {
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

fn pin_lines(pin: &PinDiff, details: &str, gone: &[String]) -> Vec<String> {
    let name = pin_name(pin.ecosystem, pin.name.as_str(), pin.builds.as_ref().map(PackageName::as_str));
    let (old, new) = match (&pin.old, &pin.new) {
        (Some(old), Some(new)) => (&old.version, &new.version),
        (None, Some(new)) => return vec![format!("+ {name} {}{details}", new.version)],
        (Some(old), None) => return vec![format!("- {name} {}{details}", old.version)],
        (None, None) => return Vec::new(),
    };
    let is_forced = !gone.is_empty() && !gone.contains(&format!("{name} {old}"));
    let forced = if is_forced { ", which the others force" } else { "" };
    let lines = pin.changes.iter().filter_map(|change| match change {
        PinChange::Version(_) => Some(format!("{name} {old} -> {new}{forced}{details}")),
        PinChange::Rehashed { from, to } => {
            Some(format!("! {name} {new} has other bytes under the same version: sha256:{from} -> sha256:{to}"))
        }
        PinChange::File { from, to } => {
            Some(format!("! {name} {new} is another file of the same version: {from} -> {to}"))
        }
        PinChange::Rebuilt { from, to } => {
            let digest = |digest: &Option<Sha256>| digest.map_or("none".to_owned(), |digest| digest.prefixed());
            Some(format!("~ {name} {new} is built to another wheel: {} -> {}", digest(from), digest(to)))
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

/// How far a pin moved, its age where it is known, by how much it grew and who asks for it, each after two spaces.
fn details(pin: &PinDiff, moves: &[ChangedPin]) -> String {
    let version = |side: &Option<PinSide>| side.as_ref().map(|side| side.version.to_string());
    let (from, to) = (version(&pin.old), version(&pin.new));
    let is_it = |one: &&ChangedPin| {
        let builds = pin.builds.as_ref().map(PackageName::as_str);
        (one.ecosystem, one.name.as_str(), one.builds.as_deref()) == (pin.ecosystem, pin.name.as_str(), builds)
            && (&one.from, &one.to) == (&from, &to)
    };
    let Some(moved) = moves.iter().find(is_it) else { return String::new() };
    let kind = match (moved.fate, moved.bump) {
        (Fate::Came, _) => "new",
        (Fate::Went, _) => "gone",
        (Fate::Down, _) => "downgrade",
        (_, bump) => bump.map_or("", Bump::as_str),
    };
    let growth = growth(i64::try_from(pin.growth()).unwrap_or(i64::MAX));
    let words = [kind.to_owned(), age(moved), growth, asker(moved)];
    words.iter().filter(|word| !word.is_empty()).map(|word| format!("  {}", sanitize(word))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Direction;
    use crate::model::{Ecosystem, PackageVersion, Platform};

    fn side(version: &str) -> Option<PinSide> {
        let version = PackageVersion::parse(version).unwrap();
        Some(PinSide { version, published: None, size: 1, required_by: Vec::new() })
    }

    fn pin(name: &str, old: Option<PinSide>, new: Option<PinSide>, changes: Vec<PinChange>) -> PinDiff {
        let name = PackageName::parse(name).unwrap();
        let (ecosystem, platform) = (Ecosystem::Npm, Platform::LINUX_AMD64);
        PinDiff { ecosystem, platform, builds: None, name, old, new, changes }
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
        assert_eq!(diff_lines(&diff, &[], &[]), expected);
        assert!(diff_lines(&diff, &[], &["npm:came 1".into()]).contains("moved 1 -> 2, which the others force"));
    }
}
