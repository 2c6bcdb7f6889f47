//! Whether a version is affected: the evaluation algorithm of the OSV schema (its section "Evaluation").

use std::cmp::Ordering;

use super::order::Version;
use super::record::{Entry, Event, Package, Range, RangeKind, Record, RecordError};
use crate::model::Ecosystem;

/// What an advisory means for one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is affected.
    Affected {
        /// The lowest later version of the range that has a fix.
        fixed: Option<String>,
    },
    /// It is not.
    NotAffected,
    /// The advisory says it in a way that cannot be judged, and why.
    Unknown(String),
}

/// Judges one version of a package by the text of one advisory.
///
/// # Errors
/// When the text is no advisory.
pub fn evaluate_record(text: &[u8], package: &Package, version: &str) -> Result<Verdict, RecordError> {
    let record = Record::parse(text)?;
    let own = record.entries.iter().filter(|(about, _)| about == package);
    Ok(evaluate(own.map(|(_, entry)| entry), package.ecosystem, version))
}

/// Judges one version by all that one advisory says of its package: affected wins over unknown, and that over not affected.
pub(super) fn evaluate<'a>(
    entries: impl IntoIterator<Item = &'a Entry>,
    ecosystem: Ecosystem,
    version: &str,
) -> Verdict {
    let mut verdict = Verdict::NotAffected;
    for entry in entries {
        match (evaluate_entry(entry, ecosystem, version), &verdict) {
            (affected @ Verdict::Affected { fixed: Some(_) }, _) => return affected,
            (affected @ Verdict::Affected { .. }, _) => verdict = affected,
            (unknown @ Verdict::Unknown(_), Verdict::NotAffected) => verdict = unknown,
            _ => {}
        }
    }
    verdict
}

fn evaluate_entry(entry: &Entry, ecosystem: Ecosystem, text: &str) -> Verdict {
    let version = Version::parse(ecosystem, text);
    let is_listed = is_listed(&entry.versions, ecosystem, text, version.as_ref());
    let mut is_affected = is_listed;
    let mut fixed = None;
    let mut unknown = None;
    for range in &entry.ranges {
        match (&range.kind, &version) {
            (RangeKind::Versions, Some(version)) => match Timeline::read(range, ecosystem) {
                Ok(timeline) => {
                    let is_inside = timeline.contains(version);
                    is_affected |= is_inside;
                    if is_inside || is_listed {
                        fixed = lower(fixed, timeline.next_fix(version));
                    }
                }
                Err(why) => unknown = Some(why),
            },
            (RangeKind::Versions, None) => unknown = Some(format!("`{text}` is no version that can be compared")),
            // An order of commits says nothing of versions; the list of versions then stands for it.
            (RangeKind::Commits, _) if entry.has_versions() => {}
            (RangeKind::Commits, _) => unknown = Some("it names commits and no versions".to_owned()),
            (RangeKind::Unknown(kind), _) => unknown = Some(format!("ranges of type `{kind}` are not known")),
        }
    }
    match unknown {
        _ if is_affected => Verdict::Affected { fixed: fixed.map(|(_, text)| text) },
        Some(why) => Verdict::Unknown(why),
        None => Verdict::NotAffected,
    }
}

impl Entry {
    fn has_versions(&self) -> bool {
        !self.versions.is_empty() || self.ranges.iter().any(|range| range.kind == RangeKind::Versions)
    }
}

/// The same text, or another spelling of the same version.
fn is_listed(versions: &[String], ecosystem: Ecosystem, text: &str, version: Option<&Version>) -> bool {
    let is_same = |listed: &String| {
        let order = || version?.compare(&Version::parse(ecosystem, listed)?);
        listed == text || order() == Some(Ordering::Equal)
    };
    versions.iter().any(is_same)
}

type Fix = (Version, String);

fn lower(one: Option<Fix>, other: Option<Fix>) -> Option<Fix> {
    match (one, other) {
        (Some(one), Some(other)) if one.0.compare(&other.0) == Some(Ordering::Greater) => Some(other),
        (None, other) => other,
        (one, _) => one,
    }
}

/// What happens at which version, in order.
struct Timeline {
    events: Vec<(Point, Change)>,
    limits: Vec<Option<Version>>,
}

/// Where on the timeline.
enum Point {
    /// Before every version: `introduced` at `0`.
    Start,
    At(Version),
}

#[derive(Clone)]
enum Change {
    Introduced,
    Fixed(String),
    LastAffected,
}

impl Timeline {
    fn read(range: &Range, ecosystem: Ecosystem) -> Result<Self, String> {
        let parse = |text: &str| {
            Version::parse(ecosystem, text).ok_or_else(|| format!("`{text}` in it is no version that can be compared"))
        };
        let mut timeline = Self { events: Vec::new(), limits: Vec::new() };
        for event in &range.events {
            let event = match event {
                Event::Introduced(text) if text == "0" => (Point::Start, Change::Introduced),
                Event::Introduced(text) => (Point::At(parse(text)?), Change::Introduced),
                Event::Fixed(text) => (Point::At(parse(text)?), Change::Fixed(text.clone())),
                Event::LastAffected(text) => (Point::At(parse(text)?), Change::LastAffected),
                Event::Limit(text) => {
                    timeline.limits.push(if text.contains('*') { None } else { Some(parse(text)?) });
                    continue;
                }
                Event::Unknown(kind) => return Err(format!("an event `{kind}` in it is not known")),
            };
            timeline.events.push(event);
        }
        // Stable: what happens at the same version happens in the order written.
        timeline.events.sort_by(|(one, _), (other, _)| one.compare(other));
        Ok(timeline)
    }

    fn contains(&self, version: &Version) -> bool {
        let before =
            |limit: &Option<Version>| limit.as_ref().is_none_or(|limit| version.compare(limit) == Some(Ordering::Less));
        if !self.limits.is_empty() && !self.limits.iter().any(before) {
            return false;
        }
        let mut vulnerable = false;
        for (point, change) in &self.events {
            let order = point.seen_from(version);
            match change {
                Change::Introduced if order != Ordering::Less => vulnerable = true,
                Change::Fixed(_) if order != Ordering::Less => vulnerable = false,
                Change::LastAffected if order == Ordering::Greater => vulnerable = false,
                _ => {}
            }
        }
        vulnerable
    }

    fn next_fix(&self, version: &Version) -> Option<Fix> {
        self.events.iter().find_map(|(point, change)| match (point, change) {
            (Point::At(fix), Change::Fixed(text)) if version.compare(fix) == Some(Ordering::Less) => {
                Some((fix.clone(), text.clone()))
            }
            _ => None,
        })
    }
}

impl Point {
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Start, Self::Start) => Ordering::Equal,
            (Self::Start, Self::At(_)) => Ordering::Less,
            (Self::At(_), Self::Start) => Ordering::Greater,
            (Self::At(one), Self::At(other)) => one.compare(other).unwrap_or(Ordering::Equal),
        }
    }

    /// How a version stands to this point.
    fn seen_from(&self, version: &Version) -> Ordering {
        match self {
            Self::Start => Ordering::Greater,
            Self::At(point) => version.compare(point).unwrap_or(Ordering::Less),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(scope: &str, affected: &str, version: &str) -> Verdict {
        let text = format!(
            r#"{{"id":"A","modified":"2026-01-02T00:00:00Z","affected":[{{"package":{{"ecosystem":"{scope}","name":"a"}},{affected}}}]}}"#
        );
        evaluate_record(text.as_bytes(), &Package::new(scope, "a").unwrap(), version).unwrap()
    }

    fn fixed_in(version: &str) -> Verdict {
        Verdict::Affected { fixed: Some(version.to_owned()) }
    }

    #[test]
    fn events_count_in_the_order_of_versions() {
        let range = r#""ranges":[{"type":"SEMVER","events":[{"fixed":"3.2.5"},{"introduced":"1.0.0"},{"introduced":"3.0.0"},{"fixed":"1.0.2"}]}]"#;
        for (version, verdict) in [
            ("0.9.0", Verdict::NotAffected),
            ("1.0.0-rc.1", Verdict::NotAffected),
            ("1.0.0", fixed_in("1.0.2")),
            ("1.0.2", Verdict::NotAffected),
            ("3.2.4", fixed_in("3.2.5")),
            ("3.2.5", Verdict::NotAffected),
        ] {
            assert_eq!(judge("npm", range, version), verdict, "{version}");
        }
    }

    #[test]
    fn the_last_affected_version_is_affected_and_the_limit_is_not() {
        let last = r#""ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"last_affected":"2.0"}]}]"#;
        assert_eq!(judge("PyPI", last, "2.0"), Verdict::Affected { fixed: None });
        assert_eq!(judge("PyPI", last, "2.0.post1"), Verdict::NotAffected);
        let limit = r#""ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"limit":"2.0"}]}]"#;
        assert_eq!(judge("PyPI", limit, "1.9"), Verdict::Affected { fixed: None });
        assert_eq!(judge("PyPI", limit, "2.0"), Verdict::NotAffected);
        let open = r#""ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"limit":"2.0"},{"limit":"*"}]}]"#;
        assert_eq!(judge("PyPI", open, "3"), Verdict::Affected { fixed: None });
    }

    #[test]
    fn what_cannot_be_judged_is_neither_yes_nor_no() {
        let commits = r#""ranges":[{"type":"GIT","repo":"x","events":[{"introduced":"0"}]}]"#;
        assert!(matches!(judge("npm", commits, "1.0.0"), Verdict::Unknown(_)));
        let both = format!("{commits},\"versions\":[\"1.0.0\"]");
        assert_eq!(judge("npm", &both, "1.0.1"), Verdict::NotAffected);
        assert_eq!(judge("npm", &both, "1.0.0"), Verdict::Affected { fixed: None });
        let strange = r#""ranges":[{"type":"CALVER","events":[{"introduced":"0"}]}]"#;
        assert!(matches!(judge("npm", strange, "1.0.0"), Verdict::Unknown(_)));
        let unreadable = r#""ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"soon"}]}]"#;
        assert!(matches!(judge("PyPI", unreadable, "1.0"), Verdict::Unknown(_)));
    }

    #[test]
    fn a_listed_version_may_be_spelled_otherwise() {
        assert_eq!(judge("PyPI", r#""versions":["1.0.0"]"#, "1.0"), Verdict::Affected { fixed: None });
        assert_eq!(judge("PyPI", r#""versions":["1.0.1"]"#, "1.0"), Verdict::NotAffected);
    }
}
