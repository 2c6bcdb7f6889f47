//! As of when sources are asked: what was published later does not count, and a snapshot-style archive is read at a moment.

use std::collections::BTreeSet;

use url::Url;

use super::model::Source;
use crate::model::SourceName;

/// What stands in the address of a snapshot-style archive for the moment, as URLs write it.
const TIME: &str = "%7Btime%7D";

/// The moment as of which everything is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsOf {
    /// The last moment, in seconds since 1970, at which what counts was published.
    pub before: i64,
    /// This machine's time, from which ages are told.
    pub today: i64,
    /// Sources that are asked as they are now: they serve no times, and that is waived.
    pub waived: BTreeSet<SourceName>,
}

impl AsOf {
    /// Whether a source must say when something was published.
    pub fn asks(&self, source: &SourceName) -> bool {
        !self.waived.contains(source)
    }

    /// Whether something counts; what has no time does not.
    pub fn admits(&self, published: Option<i64>) -> bool {
        published.is_some_and(|moment| moment <= self.before)
    }

    /// Why something does not count, for people: `published 2026-11-27T00:00:00Z, 2 days ago`.
    pub fn explain(&self, published: Option<i64>) -> String {
        match published {
            None => "published at a time that the source does not say".to_owned(),
            Some(moment) => format!("published {}, {}", show_moment(moment), age(self.today - moment)),
        }
    }
}

/// What can be done where a source says no times.
pub fn no_times_hint(source: &SourceName) -> String {
    format!(
        "or take from it what is there today: `[[policy.waivers]]` with `rule = \"{NO_TIMES}\"` and `subject = \"{source}\"`"
    )
}

/// The rule whose waivers excuse a source that serves no times.
pub const NO_TIMES: &str = "source-times";

/// A moment for people: `2026-11-27T00:00:00Z`.
pub fn show_moment(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds} s"), |moment| moment.to_string())
}

/// How long ago, for people, in the largest unit that there are two of.
pub fn age(seconds: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400 * 365, "years"), (86_400, "days"), (3_600, "hours"), (60, "minutes")];
    let fitting = UNITS.into_iter().find(|(length, _)| seconds >= 2 * length);
    match fitting {
        Some((length, unit)) => format!("{} {unit} ago", seconds / length),
        None if seconds < 0 => "in the future".to_owned(),
        None => "just now".to_owned(),
    }
}

/// Reads a moment as `published` times have it (RFC 3339); whole seconds.
pub fn parse_moment(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

/// Whether an address is of a snapshot-style archive, with `{time}` for the moment.
pub fn is_dated(url: &Url) -> bool {
    url.path().contains(TIME)
}

/// The address at a moment, written as `20260131T235959Z`.
pub fn at_moment(url: &Url, seconds: i64) -> Url {
    let mut url = url.clone();
    let moment = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    let path = url.path().replace(TIME, &moment.strftime("%Y%m%dT%H%M%SZ").to_string());
    url.set_path(&path);
    url
}

impl Source {
    /// Whether its own address, not only a mirror's, is of a snapshot-style archive.
    pub fn is_snapshot(&self) -> bool {
        is_dated(&self.url)
    }

    /// The source as it was at a moment. Mirrors without `{time}` know no moment and are left out of a snapshot.
    #[must_use]
    pub fn at(&self, seconds: i64) -> Self {
        let is_snapshot = self.is_snapshot();
        let mirrors = self.mirrors.iter().filter(|mirror| is_dated(mirror) == is_snapshot);
        let mirrors = mirrors.map(|mirror| at_moment(mirror, seconds)).collect();
        Self { url: at_moment(&self.url, seconds), mirrors, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dated_address_is_written_for_a_moment() {
        let url = Url::parse("http://snapshot.invalid/archive/debian/{time}/").unwrap();
        assert!(is_dated(&url));
        let moment = parse_moment("2026-01-31T23:59:59Z").unwrap();
        assert_eq!(at_moment(&url, moment).as_str(), "http://snapshot.invalid/archive/debian/20260131T235959Z/");
        assert!(!is_dated(&at_moment(&url, moment)));
    }

    #[test]
    fn ages_are_told_in_the_largest_unit() {
        let told = [-1, 5, 3_600, 2 * 86_400, 3 * 86_400, 800 * 86_400].map(age);
        assert_eq!(told, ["in the future", "just now", "60 minutes ago", "2 days ago", "3 days ago", "2 years ago"]);
    }

    #[test]
    fn what_has_no_time_does_not_count() {
        let as_of = AsOf { before: 10, today: 10, waived: BTreeSet::new() };
        assert_eq!([Some(10), Some(11), None].map(|moment| as_of.admits(moment)), [true, false, false]);
    }
}
