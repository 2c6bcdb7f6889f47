//! One advisory as the OSV schema writes it, and what is kept of it for one package.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::Ecosystem;

/// Why a text is no advisory.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is no JSON, or not of the schema's shape.
    #[error("it is no advisory of the OSV schema: {0}")]
    Shape(#[from] serde_json::Error),
    /// A moment that is none.
    #[error("`{id}` has no valid `modified`")]
    Modified {
        /// The advisory.
        id: String,
    },
}

/// A package as advisories name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its ecosystem, whose order of versions is used.
    pub ecosystem: Ecosystem,
    /// `npm`, `PyPI`, `Debian:13`.
    pub scope: String,
    /// Its name in its normal form; Debian's is that of the source package.
    pub name: String,
}

impl Package {
    /// A package in a scope of the OSV schema (`npm`, `PyPI`, `Debian:13`, `Debian`); none for ecosystems that have no pins.
    pub fn new(scope: &str, name: &str) -> Option<Self> {
        let ecosystem = ecosystem_of(scope)?;
        let name = match ecosystem {
            Ecosystem::Pip => normal_python_name(name),
            Ecosystem::Npm | Ecosystem::Apt => name.to_owned(),
        };
        Some(Self { ecosystem, scope: scope.to_owned(), name })
    }

    /// What its lines in an index start with.
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.scope, self.name)
    }
}

/// The ecosystem of a scope, whatever release it names.
pub(super) fn ecosystem_of(scope: &str) -> Option<Ecosystem> {
    match scope.split(':').next().unwrap_or(scope) {
        "npm" => Some(Ecosystem::Npm),
        "PyPI" => Some(Ecosystem::Pip),
        "Debian" => Some(Ecosystem::Apt),
        _ => None,
    }
}

/// The name normalisation of PEP 503.
fn normal_python_name(name: &str) -> String {
    let parts: Vec<&str> = name.split(['-', '_', '.']).filter(|part| !part.is_empty()).collect();
    parts.join("-").to_lowercase()
}

/// An advisory with what it says of each package.
#[derive(Debug)]
pub(super) struct Record {
    /// Seconds since 1970.
    pub modified: i64,
    /// What it says, each with its package. None when it was withdrawn.
    pub entries: Vec<(Package, Entry)>,
    /// The scopes that it speaks of, also when it was withdrawn.
    pub scopes: Vec<String>,
}

/// What one advisory says of one package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub id: String,
    /// Other names of the same vulnerability.
    pub aliases: Vec<String>,
    pub summary: String,
    /// `CVSS:3.1/AV:…` and words such as `high`, as the data has them.
    pub severity: Vec<String>,
    pub ranges: Vec<Range>,
    pub versions: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Range {
    pub kind: RangeKind,
    pub events: Vec<Event>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum RangeKind {
    /// In the order of the ecosystem's versions.
    Versions,
    /// In the order of commits, which no pin has.
    Commits,
    /// A kind that this program does not know.
    Unknown(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Event {
    Introduced(String),
    Fixed(String),
    LastAffected(String),
    Limit(String),
    /// An event that this program does not know, or that says several things at once.
    Unknown(String),
}

#[derive(Deserialize)]
struct RawRecord {
    id: String,
    modified: String,
    withdrawn: Option<String>,
    aliases: Option<Vec<String>>,
    upstream: Option<Vec<String>>,
    summary: Option<String>,
    severity: Option<Vec<RawSeverity>>,
    affected: Option<Vec<RawAffected>>,
    database_specific: Option<Value>,
}

#[derive(Deserialize)]
struct RawSeverity {
    score: String,
}

#[derive(Deserialize)]
struct RawAffected {
    package: Option<RawPackage>,
    ranges: Option<Vec<RawRange>>,
    versions: Option<Vec<String>>,
    severity: Option<Vec<RawSeverity>>,
    ecosystem_specific: Option<Value>,
}

#[derive(Deserialize)]
struct RawPackage {
    ecosystem: String,
    name: String,
}

#[derive(Deserialize)]
struct RawRange {
    #[serde(rename = "type")]
    kind: String,
    events: Vec<BTreeMap<String, Value>>,
}

impl Record {
    /// Reads an advisory; what it says of ecosystems without pins is left out.
    pub(super) fn parse(text: &[u8]) -> Result<Self, RecordError> {
        let raw: RawRecord = serde_json::from_slice(text)?;
        let modified: jiff::Timestamp =
            raw.modified.parse().map_err(|_| RecordError::Modified { id: raw.id.clone() })?;
        let affected = raw.affected.unwrap_or_default();
        let mut record = Self { modified: modified.as_second(), entries: Vec::new(), scopes: Vec::new() };
        let aliases = aliases(&raw.id, raw.aliases.unwrap_or_default(), raw.upstream.unwrap_or_default());
        let word = raw.database_specific.as_ref().and_then(|fields| fields.get("severity")).and_then(Value::as_str);
        let general: Vec<String> = scores(raw.severity).chain(word.map(str::to_lowercase)).collect();
        for affected in affected {
            let Some(named) = affected.package else { continue };
            let Some(package) = Package::new(&named.ecosystem, &named.name) else { continue };
            record.scopes.push(named.ecosystem);
            if raw.withdrawn.is_some() {
                continue;
            }
            let urgency = affected.ecosystem_specific.as_ref().and_then(|fields| fields.get("urgency"));
            let own = scores(affected.severity).chain(urgency.and_then(Value::as_str).map(str::to_owned));
            let entry = Entry {
                id: raw.id.clone(),
                aliases: aliases.clone(),
                summary: raw.summary.clone().unwrap_or_default(),
                severity: own.chain(general.clone()).collect(),
                ranges: affected.ranges.unwrap_or_default().into_iter().map(Range::from).collect(),
                versions: affected.versions.unwrap_or_default(),
            };
            record.entries.push((package, entry));
        }
        record.scopes.sort();
        record.scopes.dedup();
        Ok(record)
    }
}

/// Names of the same vulnerability. A distribution's record of one upstream vulnerability is about that one.
fn aliases(id: &str, mut aliases: Vec<String>, upstream: Vec<String>) -> Vec<String> {
    if let [only] = &upstream[..] {
        aliases.push(only.clone());
    }
    aliases.sort();
    aliases.dedup();
    aliases.retain(|alias| alias != id);
    aliases
}

fn scores(severity: Option<Vec<RawSeverity>>) -> impl Iterator<Item = String> {
    severity.unwrap_or_default().into_iter().map(|severity| severity.score)
}

impl From<RawRange> for Range {
    fn from(raw: RawRange) -> Self {
        let kind = match raw.kind.as_str() {
            "SEMVER" | "ECOSYSTEM" => RangeKind::Versions,
            "GIT" => RangeKind::Commits,
            _ => RangeKind::Unknown(raw.kind),
        };
        Self { kind, events: raw.events.into_iter().map(Event::from).collect() }
    }
}

impl From<BTreeMap<String, Value>> for Event {
    fn from(fields: BTreeMap<String, Value>) -> Self {
        let mut fields = fields.into_iter();
        match (fields.next(), fields.next()) {
            (Some((kind, Value::String(version))), None) => match kind.as_str() {
                "introduced" => Self::Introduced(version),
                "fixed" => Self::Fixed(version),
                "last_affected" => Self::LastAffected(version),
                "limit" => Self::Limit(version),
                _ => Self::Unknown(kind),
            },
            (first, _) => Self::Unknown(first.map(|(kind, _)| kind).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_pins_need() {
        let text = r#"{"id":"DEBIAN-CVE-1","modified":"2026-01-02T00:00:00Z","upstream":["CVE-1"],"details":"long",
            "affected":[{"package":{"ecosystem":"Debian:13","name":"openssl"},"ecosystem_specific":{"urgency":"low"},
              "ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"3.5.1-1"}]}]},
             {"package":{"ecosystem":"Go","name":"x"}}, {"ranges":[{"type":"GIT","events":[{"introduced":"0"}]}]}]}"#;
        let record = Record::parse(text.as_bytes()).unwrap();
        assert_eq!((record.modified, record.scopes.len(), record.entries.len()), (1_767_312_000, 1, 1));
        let (package, entry) = &record.entries[0];
        assert_eq!((package.key().as_str(), &entry.aliases[..]), ("Debian:13/openssl", &["CVE-1".to_owned()][..]));
        assert_eq!(entry.severity, ["low"]);
        assert_eq!(entry.ranges[0].events[1], Event::Fixed("3.5.1-1".into()));
    }

    #[test]
    fn a_withdrawn_advisory_says_nothing() {
        let text = r#"{"id":"A","modified":"2026-01-02T00:00:00Z","withdrawn":"2026-01-03T00:00:00Z",
            "affected":[{"package":{"ecosystem":"npm","name":"a"},"versions":["1.0.0"]}]}"#;
        let record = Record::parse(text.as_bytes()).unwrap();
        assert_eq!((record.entries.len(), &record.scopes[..]), (0, &["npm".to_owned()][..]));
    }

    #[test]
    fn what_says_two_things_at_once_says_nothing_certain() {
        let text = r#"{"id":"A","modified":"2026-01-02T00:00:00Z","affected":[{"package":{"ecosystem":"npm","name":"a"},
            "ranges":[{"type":"SEMVER","events":[{"introduced":"1.0.0","fixed":"2.0.0"},{"fixed":3}]}]}]}"#;
        let record = Record::parse(text.as_bytes()).unwrap();
        let events = &record.entries[0].1.ranges[0].events;
        assert!(events.iter().all(|event| matches!(event, Event::Unknown(_))), "{events:?}");
    }
}
