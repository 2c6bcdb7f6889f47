//! The first-seen ledger: which bytes a package's version had when this machine first saw it. A version that has other bytes
//! later was republished, or comes from a mirror that was swapped.
//!
//! A text file, one line a file of a package, only ever appended to. Lines mean the same in any order and any number, so two
//! ledgers are merged by putting one behind the other. It knows nothing of locks that are not there yet and of the network.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use super::finding::{Finding, Level, Rule};
use crate::base::fs::{FileLock, FsError, append, ensure_directory, read_text_if_present};
use crate::lock::PinView;
use crate::model::{Ecosystem, PackageName, PackageVersion, Sha256, SourceName};

/// The first line of a new ledger.
const HEAD: &str = "# oclock ledger 1: what was first seen when; lines may be merged in any order\n";

/// A version that has other bytes than it had.
pub static REPUBLISHED: Rule = Rule {
    id: "ledger-republished",
    level: Level::Error,
    title: "a version with other bytes than it once had",
    help: "A published version is never replaced: suspect the source or what is in between, and compare with another place.",
};

/// A version that another source has with other bytes.
pub static OTHER_SOURCE: Rule = Rule {
    id: "ledger-other-source",
    level: Level::Error,
    title: "a version with other bytes than another source had for it",
    help: "Two sources have different packages under one name: make sure that this is the one that is meant, and bind it to its source.",
};

/// A line of the ledger that cannot be read.
pub static UNREADABLE: Rule = Rule {
    id: "ledger-unreadable",
    level: Level::Warning,
    title: "a line of the ledger that cannot be read",
    help: "A torn last line comes from a machine that stopped while it was written; any other one was changed by hand.",
};

/// One file of a package as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sighting {
    /// When, in seconds since 1970.
    pub seen: i64,
    /// Whose package it is.
    pub ecosystem: Ecosystem,
    /// The source it came from.
    pub source: SourceName,
    /// The package.
    pub name: PackageName,
    /// Its version.
    pub version: PackageVersion,
    /// The file's name: a version has one file for each architecture or set of tags.
    pub file: String,
    /// Its digest.
    pub sha256: Sha256,
}

/// What a ledger says of a sighting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement<'a> {
    /// This file of this version was never seen.
    New,
    /// It was seen with the same bytes.
    Known,
    /// It was seen with other bytes from the same source; the earliest such sighting.
    Republished(&'a Sighting),
    /// It was seen with other bytes, from other sources alone; the earliest such sighting.
    OtherSource(&'a Sighting),
}

/// All that was seen.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// By ecosystem, name, version and file; earliest first.
    sightings: BTreeMap<(Ecosystem, PackageName, PackageVersion, String), Vec<Sighting>>,
    names: BTreeSet<(Ecosystem, PackageName)>,
    /// The numbers of lines that cannot be read, from 1.
    unreadable: Vec<usize>,
    /// The number of a last line without its end.
    torn: Option<usize>,
}

impl Sighting {
    /// A pin, seen at a moment (seconds since 1970).
    pub fn of(pin: PinView<'_>, seen: i64) -> Self {
        Self {
            seen,
            ecosystem: pin.ecosystem,
            source: pin.artifact.source.clone(),
            name: pin.name.clone(),
            version: pin.version.clone(),
            file: pin.artifact.path.file_name().to_owned(),
            sha256: pin.artifact.sha256,
        }
    }

    /// The day, for people.
    pub fn day(&self) -> String {
        self.moment().chars().take(10).collect()
    }

    fn moment(&self) -> String {
        jiff::Timestamp::from_second(self.seen).map(|moment| moment.to_string()).unwrap_or_default()
    }

    fn key(&self) -> (Ecosystem, PackageName, PackageVersion, String) {
        (self.ecosystem, self.name.clone(), self.version.clone(), self.file.clone())
    }

    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(' ').collect();
        let [seen, ecosystem, source, name, version, file, digest] = fields[..] else { return None };
        let sighting = Self {
            seen: seen.parse::<jiff::Timestamp>().ok()?.as_second(),
            ecosystem: *Ecosystem::ALL.iter().find(|known| known.as_str() == ecosystem)?,
            source: SourceName::parse(source).ok()?,
            name: PackageName::parse(name).ok()?,
            version: PackageVersion::parse(version).ok()?,
            file: crate::model::ArtifactPath::parse(file).ok().filter(|path| !path.as_str().contains('/'))?.to_string(),
            sha256: Sha256::parse_prefixed(digest).ok()?,
        };
        // One form alone, so that a line is the same wherever it was written.
        (sighting.to_string() == line).then_some(sighting)
    }
}

/// The line, without its end.
impl fmt::Display for Sighting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ecosystem, source, name, version, file, sha256, .. } = self;
        write!(formatter, "{} {ecosystem} {source} {name} {version} {file} {}", self.moment(), sha256.prefixed())
    }
}

impl Ledger {
    /// Reads a ledger; one that is not there yet is empty.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(path: &Path) -> Result<Self, FsError> {
        Ok(Self::parse(&read_text_if_present(path)?.unwrap_or_default()))
    }

    /// Reads the text of one ledger, or of several, one behind the other.
    pub fn parse(text: &str) -> Self {
        let is_torn = !text.is_empty() && !text.ends_with('\n');
        let mut ledger = Self { torn: is_torn.then(|| text.lines().count()), ..Self::default() };
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            match Sighting::parse(line) {
                Some(sighting) => {
                    ledger.names.insert((sighting.ecosystem, sighting.name.clone()));
                    ledger.sightings.entry(sighting.key()).or_default().push(sighting);
                }
                None => ledger.unreadable.push(index + 1),
            }
        }
        for sightings in ledger.sightings.values_mut() {
            sightings.sort();
        }
        ledger
    }

    /// Whether any version of this name was ever seen.
    pub fn knows(&self, ecosystem: Ecosystem, name: &PackageName) -> bool {
        self.names.contains(&(ecosystem, name.clone()))
    }

    /// When this file of this version was first seen with these bytes, in seconds since 1970.
    pub fn first_seen(&self, sighting: &Sighting) -> Option<i64> {
        let same = self.sightings.get(&sighting.key())?.iter().find(|known| known.sha256 == sighting.sha256);
        same.map(|known| known.seen)
    }

    /// Holds a sighting against all that was seen before.
    pub fn judge(&self, sighting: &Sighting) -> Judgement<'_> {
        let Some(known) = self.sightings.get(&sighting.key()) else { return Judgement::New };
        let mut others = known.iter().filter(|known| known.sha256 != sighting.sha256);
        let is_own = |other: &&Sighting| other.source == sighting.source;
        if let Some(own) = known.iter().filter(|known| known.sha256 != sighting.sha256).find(is_own) {
            return Judgement::Republished(own);
        }
        others.next().map_or(Judgement::Known, Judgement::OtherSource)
    }

    /// What is wrong with sightings: republished versions and names that mean different packages; and lines that cannot be read.
    pub fn check(&self, sightings: &[Sighting], file: &str) -> Vec<Finding> {
        let mut findings: Vec<Finding> = sightings.iter().filter_map(|sighting| self.finding(sighting)).collect();
        findings.extend(self.unreadable.iter().map(|line| {
            let what = if self.torn == Some(*line) { "was torn off" } else { "is no sighting" };
            Finding::new(&UNREADABLE, file, format!("line {line} of the ledger `{file}` {what}"))
        }));
        findings
    }

    fn finding(&self, sighting: &Sighting) -> Option<Finding> {
        let (rule, first, what) = match self.judge(sighting) {
            Judgement::New | Judgement::Known => return None,
            Judgement::Republished(first) => (&REPUBLISHED, first, "has other bytes than when it was first seen"),
            Judgement::OtherSource(first) => (&OTHER_SOURCE, first, "has other bytes than another source had for it"),
        };
        let Sighting { ecosystem, name, version, source, file, sha256, .. } = sighting;
        let evidence = vec![
            format!("  locked  sha256:{sha256}  from `{source}`"),
            format!("    seen  sha256:{}  from `{}`, first on {}", first.sha256, first.source, first.day()),
            format!("    file  {file}"),
        ];
        let message = format!("`{ecosystem}:{name} {version}` {what}");
        Some(Finding { evidence, ..Finding::new(rule, format!("{ecosystem}:{name}"), message) })
    }
}

/// Adds what was not seen yet. A version that was seen with other bytes is not added: its first sighting stands.
///
/// Safe beside other writers: the file is locked, read, and appended to in one write that is synced. Returns how many were new.
///
/// # Errors
/// When the file cannot be read or written.
pub fn record(path: &Path, sightings: &[Sighting]) -> Result<usize, FsError> {
    if let Some(directory) = path.parent() {
        ensure_directory(directory)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let _held = FileLock::exclusive(Path::new(&beside))?;
    let text = read_text_if_present(path)?;
    let ledger = Ledger::parse(text.as_deref().unwrap_or_default());
    let new: BTreeSet<&Sighting> =
        sightings.iter().filter(|sighting| ledger.judge(sighting) == Judgement::New).collect();
    if new.is_empty() {
        return Ok(0);
    }
    let mut lines = match &text {
        None => HEAD.to_owned(),
        // What a machine that stopped left half-written gets a line of its own.
        Some(_) if ledger.torn.is_some() => "\n".to_owned(),
        Some(_) => String::new(),
    };
    new.iter().for_each(|sighting| lines.push_str(&format!("{sighting}\n")));
    append(path, lines.as_bytes())?;
    Ok(new.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(name: &str, version: &str, bytes: &str, seen: i64) -> Sighting {
        Sighting {
            seen,
            ecosystem: Ecosystem::Npm,
            source: SourceName::parse("npm").unwrap(),
            name: PackageName::parse(name).unwrap(),
            version: PackageVersion::parse(version).unwrap(),
            file: format!("{name}-{version}.tgz"),
            sha256: Sha256::of(bytes),
        }
    }

    #[test]
    fn a_line_has_one_form() {
        let one = sighting("lodash", "4.17.21", "a", 1_795_132_800);
        let line = one.to_string();
        assert!(line.starts_with("2026-11-20T00:00:00Z npm npm lodash 4.17.21 lodash-4.17.21.tgz sha256:"), "{line}");
        assert_eq!(Sighting::parse(&line), Some(one));
        for wrong in [&line[..line.len() - 1], &line.replace("npm npm", "npm  npm"), &line.replace("Z ", "+00:00 ")] {
            assert_eq!(Sighting::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn other_bytes_are_found_and_named_with_the_day() {
        let text = format!("{}\n{}\n", sighting("a", "1", "later", 200_000), sighting("a", "1", "first", 100));
        let ledger = Ledger::parse(&text);
        let found = ledger.check(&[sighting("a", "1", "now", 300_000)], "ledger");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].rule.id, found[0].subject.as_str()), ("ledger-republished", "npm:a"));
        assert!(found[0].evidence[1].ends_with("from `npm`, first on 1970-01-01"), "{:?}", found[0].evidence);
        assert!(ledger.check(&[sighting("b", "1", "x", 1)], "ledger").is_empty());
        // Someone else saw other bytes: that is told also to those who have the first ones.
        assert!(matches!(ledger.judge(&sighting("a", "1", "first", 1)), Judgement::Republished(_)));
        let other = Sighting { source: SourceName::parse("mine").unwrap(), ..sighting("a", "1", "now", 1) };
        assert!(matches!(ledger.judge(&other), Judgement::OtherSource(_)));
        assert!(ledger.knows(Ecosystem::Npm, &other.name) && !ledger.knows(Ecosystem::Pip, &other.name));
    }

    #[test]
    fn a_torn_line_is_told_and_kept_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/ledger");
        assert_eq!(record(&path, &[sighting("a", "1", "x", 1)]).unwrap(), 1);
        assert_eq!(record(&path, &[sighting("a", "1", "x", 9), sighting("a", "1", "y", 9)]).unwrap(), 0);
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{}", &sighting("b", "2", "x", 1).to_string()[..40])).unwrap();
        assert_eq!(Ledger::read(&path).unwrap().check(&[], "l")[0].message, "line 3 of the ledger `l` was torn off");
        assert_eq!(record(&path, &[sighting("b", "2", "x", 5)]).unwrap(), 1);
        let ledger = Ledger::read(&path).unwrap();
        assert_eq!(ledger.first_seen(&sighting("b", "2", "x", 0)), Some(5));
        assert_eq!(ledger.unreadable, [3]);
    }

    #[test]
    fn many_writers_lose_nothing_and_write_nothing_twice() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    for number in 0..25 {
                        let own = sighting(&format!("w{writer}-{number}"), "1", "x", 1);
                        record(path, &[own, sighting(&format!("all-{number}"), "1", "x", writer)]).unwrap();
                    }
                });
            }
        });
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1 + 8 * 25 + 25);
        let ledger = Ledger::parse(&text);
        assert!(ledger.unreadable.is_empty() && ledger.torn.is_none());
        assert_eq!(ledger.sightings.len(), 8 * 25 + 25);
    }

    #[test]
    fn ledgers_are_merged_by_putting_one_behind_the_other() {
        let (one, other) = (sighting("a", "1", "x", 20), sighting("a", "1", "x", 10));
        let merged = Ledger::parse(&format!("{HEAD}{one}\n{HEAD}{other}\n{one}\n"));
        assert_eq!(merged.first_seen(&one), Some(10));
        assert_eq!(merged.judge(&one), Judgement::Known);
        assert!(merged.unreadable.is_empty());
    }
}
