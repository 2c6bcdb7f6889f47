//! A suite's Release file: when it was made, how long it may be used, and the hash of every index (repository format of
//! the Debian wiki, "DebianRepository/Format").
//!
//! Reads text whose signature was verified; knows neither keys nor the network.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::explain::{Explain, Kind};
use crate::base::text::sanitize;
use crate::model::Sha256;

/// How far in the future a Date may be, in seconds, for clocks that are not quite right.
pub(super) const CLOCK_SLACK: i64 = 300;

/// A Release file that may not be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// A field is missing or cannot be read.
    #[error("its field `{field}` {why}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong.
        why: String,
    },
    /// It is for something else than what was asked.
    #[error("it is for suite `{found}`, not for `{asked}`")]
    OtherSuite {
        /// What was asked.
        asked: String,
        /// What it says of itself.
        found: String,
    },
    /// Its time is over.
    #[error("it was valid until {until} and may not be used any more")]
    Expired {
        /// The end, for people.
        until: String,
        /// The moment of asking, for people.
        now: String,
    },
    /// It is from the future.
    #[error("it is dated {date}, which is in the future")]
    Future {
        /// Its date, for people.
        date: String,
        /// The moment of asking, for people.
        now: String,
    },
    /// It has no such component or architecture.
    #[error("it lists no packages of component `{component}` for `{architecture}`")]
    NoIndex {
        /// The component.
        component: String,
        /// The architecture.
        architecture: String,
        /// The components it has.
        components: String,
        /// The architectures it has.
        architectures: String,
    },
}

impl Explain for ReleaseError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoIndex { .. } => Kind::Asked,
            _ => Kind::Distrust,
        }
    }

    fn evidence(&self) -> Vec<String> {
        match self {
            Self::Expired { until, now } => vec![format!("valid until  {until}"), format!("        now  {now}")],
            Self::Future { date, now } => vec![format!("date  {date}"), format!(" now  {now}")],
            Self::NoIndex { components, architectures, .. } => {
                vec![format!("   components  {components}"), format!("architectures  {architectures}")]
            }
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Expired { .. } => vec!["name a mirror that is kept up to date in `[sources]`".into()],
            Self::Future { .. } => vec!["set this machine's clock".into()],
            _ => Vec::new(),
        }
    }
}

/// A file that a Release lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) sha256: Sha256,
    pub(super) size: u64,
}

/// What a Release file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Release {
    /// Its Suite and its Codename; one may be missing.
    pub(super) names: BTreeSet<String>,
    /// Its Version; none in suites that are never done.
    pub(super) version: Option<String>,
    /// Its Date in seconds since 1970.
    pub(super) date: i64,
    /// Its Valid-Until in seconds since 1970.
    pub(super) valid_until: Option<i64>,
    /// Whether files can be had by their hash.
    pub(super) by_hash: bool,
    /// apt's pin priority: 500; 100 or 1 where it is not meant to be taken by itself.
    pub(super) priority: u16,
    components: BTreeSet<String>,
    architectures: BTreeSet<String>,
    all_is_separate: bool,
    files: BTreeMap<String, Listed>,
}

impl Release {
    /// Reads a Release file.
    pub(super) fn parse(text: &str) -> Result<Self, ReleaseError> {
        let fields = fields(text)?;
        let get = |name: &str| fields.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
        let words = |name: &str| get(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        let names: BTreeSet<String> = ["Suite", "Codename"].iter().filter_map(|name| get(name)).map(sanitize).collect();
        if names.is_empty() {
            return Err(ReleaseError::Field { field: "Suite", why: "is missing, and so is `Codename`".into() });
        }
        let date = get("Date").ok_or_else(|| ReleaseError::Field { field: "Date", why: "is missing".into() })?;
        let is_yes = |name: &str| get(name) == Some("yes");
        let architectures: BTreeSet<String> = words("Architectures");
        let all_in_each = get("No-Support-for-Architecture-all").is_some_and(|what| what.contains("Packages"));
        Ok(Self {
            names,
            version: get("Version").map(sanitize),
            date: parse_date("Date", date)?,
            valid_until: get("Valid-Until").map(|date| parse_date("Valid-Until", date)).transpose()?,
            by_hash: is_yes("Acquire-By-Hash"),
            priority: match (is_yes("NotAutomatic"), is_yes("ButAutomaticUpgrades")) {
                (false, _) => 500,
                (true, true) => 100,
                (true, false) => 1,
            },
            components: words("Components"),
            all_is_separate: architectures.contains("all") && !all_in_each,
            architectures,
            files: parse_files(fields.get("SHA256").copied().unwrap_or_default())?,
        })
    }

    /// Whether it may be used for `suite` at `now` (seconds since 1970).
    pub(super) fn check(&self, suite: &str, now: i64) -> Result<(), ReleaseError> {
        self.check_suite(suite)?;
        if self.date > now.saturating_add(CLOCK_SLACK) {
            return Err(ReleaseError::Future { date: show_time(self.date), now: show_time(now) });
        }
        match self.valid_until {
            Some(until) if until < now => Err(ReleaseError::Expired { until: show_time(until), now: show_time(now) }),
            _ => Ok(()),
        }
    }

    /// Whether it is the Release file of `suite`, by its Suite or its Codename.
    pub(super) fn check_suite(&self, suite: &str) -> Result<(), ReleaseError> {
        if self.names.contains(suite) {
            return Ok(());
        }
        let found = self.names.iter().map(String::as_str).collect::<Vec<_>>().join("`, `");
        Err(ReleaseError::OtherSuite { asked: suite.to_owned(), found })
    }

    /// The Packages files of a component, each with its path below the suite: the architecture's, and that of `all` where
    /// it is separate. The best compressed form of each.
    pub(super) fn indexes(&self, component: &str, architecture: &str) -> Result<Vec<(String, Listed)>, ReleaseError> {
        let own = self.index(component, architecture).ok_or_else(|| ReleaseError::NoIndex {
            component: component.to_owned(),
            architecture: architecture.to_owned(),
            components: join(&self.components),
            architectures: join(&self.architectures),
        })?;
        let all = if self.all_is_separate { self.index(component, "all") } else { None };
        Ok(std::iter::once(own).chain(all).collect())
    }

    fn index(&self, component: &str, architecture: &str) -> Option<(String, Listed)> {
        ["Packages.xz", "Packages.gz", "Packages"].iter().find_map(|name| {
            let path = format!("{component}/binary-{architecture}/{name}");
            let listed = *self.files.get(&path)?;
            Some((path, listed))
        })
    }

    /// What it says of a file below the suite.
    pub(super) fn listed(&self, path: &str) -> Option<Listed> {
        self.files.get(path).copied()
    }
}

/// A time for people: `2026-11-24T02:00:00Z`.
pub(super) fn show_time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds} s"), |time| time.to_string())
}

fn join(words: &BTreeSet<String>) -> String {
    sanitize(&words.iter().map(String::as_str).collect::<Vec<_>>().join(" "))
}

/// The fields of the one stanza; a second one or a repeated field is refused.
fn fields(text: &str) -> Result<BTreeMap<&str, &str>, ReleaseError> {
    let bad = |why: &str| ReleaseError::Field { field: "SHA256", why: why.to_owned() };
    let mut fields = BTreeMap::new();
    let mut rest = text.trim_end_matches('\n');
    while !rest.is_empty() {
        let end = rest.match_indices('\n').map(|(at, _)| at).find(|at| !rest[at + 1..].starts_with([' ', '\t']));
        let (field, after) = end.map_or((rest, ""), |at| (&rest[..at], &rest[at + 1..]));
        let (name, value) = field.split_once(':').ok_or_else(|| bad("is not to be found: a line has no field"))?;
        if fields.insert(name, value).is_some() {
            return Err(bad("is not to be trusted: a field stands there twice"));
        }
        rest = after;
    }
    Ok(fields)
}

fn parse_date(field: &'static str, text: &str) -> Result<i64, ReleaseError> {
    let numeric = text.strip_suffix("UTC").or_else(|| text.strip_suffix("GMT"));
    let numeric = numeric.map_or_else(|| text.to_owned(), |start| format!("{start}+0000"));
    let parsed = jiff::fmt::rfc2822::parse(&numeric);
    let time = parsed.map_err(|_| ReleaseError::Field { field, why: format!("is no date: `{}`", sanitize(text)) })?;
    Ok(time.timestamp().as_second())
}

fn parse_files(text: &str) -> Result<BTreeMap<String, Listed>, ReleaseError> {
    let bad = |line: &str| ReleaseError::Field { field: "SHA256", why: format!("has a bad line `{}`", sanitize(line)) };
    let mut files = BTreeMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [digest, size, path] = words[..] else { return Err(bad(line)) };
        let sha256 = Sha256::parse(digest).map_err(|_| bad(line))?;
        let size = size.parse().map_err(|_| bad(line))?;
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(ReleaseError::Field {
                field: "SHA256",
                why: format!("lists `{}`, which leads out", sanitize(path)),
            });
        }
        if files.insert(path.to_owned(), Listed { sha256, size }).is_some() {
            return Err(bad(line));
        }
    }
    if files.is_empty() {
        return Err(ReleaseError::Field { field: "SHA256", why: "is missing".into() });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn text(extra: &str) -> String {
        format!(
            "Suite: stable-security\nCodename: trixie-security\nDate: Sat, 21 Nov 2026 09:15:44 UTC\n\
             Architectures: amd64 arm64\nComponents: updates/main\n{extra}SHA256:\n {DIGEST} 0 main/binary-amd64/Packages\n \
             {DIGEST}        7 main/binary-amd64/Packages.xz\n {DIGEST} 9 main/binary-all/Packages.xz\n"
        )
    }

    const DATE: i64 = 1_795_252_544;

    #[test]
    fn a_release_is_read() {
        let release = Release::parse(&text("Acquire-By-Hash: yes\n")).unwrap();
        assert_eq!((release.date, release.by_hash, release.priority), (DATE, true, 500));
        let paths = |release: &Release| {
            let indexes = release.indexes("main", "amd64").unwrap();
            indexes.into_iter().map(|(path, listed)| format!("{path} {}", listed.size)).collect::<Vec<_>>()
        };
        assert_eq!(paths(&release), ["main/binary-amd64/Packages.xz 7"]);
        assert!(matches!(release.indexes("main", "arm64"), Err(ReleaseError::NoIndex { .. })));
        let separate = text("").replace("amd64 arm64", "all amd64");
        assert_eq!(paths(&Release::parse(&separate).unwrap()).len(), 2);
        let merged = text("No-Support-for-Architecture-all: Packages\n").replace("amd64 arm64", "all amd64");
        assert_eq!(paths(&Release::parse(&merged).unwrap()).len(), 1);
    }

    #[test]
    fn time_and_suite_are_judged() {
        let release = Release::parse(&text("Valid-Until: Sat, 28 Nov 2026 09:15:44 UTC\n")).unwrap();
        assert_eq!(release.check("trixie-security", DATE), Ok(()));
        assert_eq!(release.check("stable-security", DATE + 7 * 86400), Ok(()));
        assert!(matches!(release.check("trixie-security", DATE + 7 * 86400 + 1), Err(ReleaseError::Expired { .. })));
        assert!(matches!(release.check("trixie-security", DATE - 301), Err(ReleaseError::Future { .. })));
        assert!(matches!(release.check("trixie", DATE), Err(ReleaseError::OtherSuite { .. })));
    }

    #[test]
    fn what_is_missing_or_double_is_refused() {
        let whole = text("");
        for (from, to) in [
            ("Date: Sat, 21 Nov 2026 09:15:44 UTC\n", ""),
            ("Date: Sat, 21 Nov 2026 09:15:44 UTC\n", "Date: today\n"),
            ("SHA256:", "MD5Sum:"),
            ("Components: updates/main\n", "Suite: other\n"),
            ("Components: updates/main\n", "\n"),
            (DIGEST, "e3b0"),
        ] {
            assert!(matches!(Release::parse(&whole.replace(from, to)), Err(ReleaseError::Field { .. })), "{from} {to}");
        }
        let nameless = whole.replace("Suite: stable-security\nCodename: trixie-security\n", "");
        assert!(Release::parse(&nameless).is_err());
    }
}
