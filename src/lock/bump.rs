//! How far a version moved, by the rules of its own ecosystem.

use std::cmp::Ordering;
use std::str::FromStr;

use crate::model::{Ecosystem, PackageVersion, compare_debian_versions};

/// How far a version moved, either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bump {
    /// What the ecosystem holds to be incompatible: the first number (npm: the first that is not 0, as `^` reads it), or
    /// the epoch of a Debian or Python version.
    Major,
    /// The second number.
    Minor,
    /// A later number.
    Patch,
    /// The same release otherwise made: a Debian revision, a pre-release, post-release, build or local version.
    Revision,
    /// What does not parse in its ecosystem.
    Unknown,
}

impl Bump {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Major => "major",
            Self::Minor => "minor",
            Self::Patch => "patch",
            Self::Revision => "revision",
            Self::Unknown => "unknown",
        }
    }
}

/// Compares versions as their ecosystem does; nothing when one of them does not parse there.
pub fn compare_versions(ecosystem: Ecosystem, one: &PackageVersion, other: &PackageVersion) -> Option<Ordering> {
    let (one, other) = (one.as_str(), other.as_str());
    match ecosystem {
        Ecosystem::Apt => Some(compare_debian_versions(one, other)),
        Ecosystem::Npm => Some(npm(one)?.cmp(&npm(other)?)),
        Ecosystem::Pip => Some(pip(one)?.cmp(&pip(other)?)),
    }
}

/// Says how far apart two versions are.
pub fn bump(ecosystem: Ecosystem, one: &PackageVersion, other: &PackageVersion) -> Bump {
    let (one, other) = (one.as_str(), other.as_str());
    let found = match ecosystem {
        Ecosystem::Apt => Some(debian_bump(one, other)),
        Ecosystem::Npm => npm(one).zip(npm(other)).map(|(one, other)| npm_bump(&one, &other)),
        Ecosystem::Pip => pip(one).zip(pip(other)).map(|(one, other)| match one.epoch() == other.epoch() {
            true => by_place(&one.release(), &other.release()),
            false => Bump::Major,
        }),
    };
    found.unwrap_or(Bump::Unknown)
}

fn npm(text: &str) -> Option<deno_semver::Version> {
    deno_semver::Version::parse_from_npm(text).ok()
}

fn pip(text: &str) -> Option<uv_pep440::Version> {
    uv_pep440::Version::from_str(text).ok()
}

fn npm_bump(one: &deno_semver::Version, other: &deno_semver::Version) -> Bump {
    let numbers = |version: &deno_semver::Version| [version.major, version.minor, version.patch];
    let (one, other) = (numbers(one), numbers(other));
    let first_that_counts = (0..3).find(|place| one[*place] != 0 || other[*place] != 0);
    match (0..3).find(|place| one[*place] != other[*place]) {
        None => Bump::Revision,
        Some(place) if Some(place) == first_that_counts => Bump::Major,
        Some(1) => Bump::Minor,
        Some(_) => Bump::Patch,
    }
}

/// Debian says nothing about what numbers mean, so that those of the upstream version are taken as they stand.
fn debian_bump(one: &str, other: &str) -> Bump {
    let epoch = |text: &str| text.split_once(':').map_or("0", |(epoch, _)| epoch).trim_start_matches('0').to_owned();
    let numbers = |text: &str| -> Vec<u64> {
        let upstream = text.split_once(':').map_or(text, |(_, rest)| rest);
        let upstream = upstream.rsplit_once('-').map_or(upstream, |(upstream, _)| upstream);
        let digits = upstream.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
        digits.map(|digits| digits.parse().unwrap_or(u64::MAX)).collect()
    };
    if epoch(one) == epoch(other) { by_place(&numbers(one), &numbers(other)) } else { Bump::Major }
}

/// By the first place in which two lists of numbers differ; a missing number is a 0.
fn by_place(one: &[u64], other: &[u64]) -> Bump {
    let at = |numbers: &[u64], place: usize| numbers.get(place).copied().unwrap_or(0);
    match (0..one.len().max(other.len())).find(|place| at(one, *place) != at(other, *place)) {
        None => Bump::Revision,
        Some(0) => Bump::Major,
        Some(1) => Bump::Minor,
        Some(_) => Bump::Patch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(ecosystem: Ecosystem, one: &str, other: &str) -> Bump {
        let version = |text| PackageVersion::parse(text).unwrap();
        assert_eq!(
            bump(ecosystem, &version(one), &version(other)),
            bump(ecosystem, &version(other), &version(one)),
            "either way"
        );
        bump(ecosystem, &version(one), &version(other))
    }

    #[test]
    fn each_ecosystem_has_its_own_rules() {
        for (ecosystem, one, other, expected) in [
            (Ecosystem::Npm, "1.2.3", "2.0.0", Bump::Major),
            (Ecosystem::Npm, "1.2.3", "1.3.0", Bump::Minor),
            (Ecosystem::Npm, "1.2.3", "1.2.4", Bump::Patch),
            (Ecosystem::Npm, "0.2.3", "0.3.0", Bump::Major),
            (Ecosystem::Npm, "0.2.3", "0.2.4", Bump::Patch),
            (Ecosystem::Npm, "0.0.3", "0.0.4", Bump::Major),
            (Ecosystem::Npm, "1.0.0-rc.1", "1.0.0", Bump::Revision),
            (Ecosystem::Npm, "x", "1.0.0", Bump::Unknown),
            (Ecosystem::Pip, "1.5", "1.6", Bump::Minor),
            (Ecosystem::Pip, "1.5", "1.5.1", Bump::Patch),
            (Ecosystem::Pip, "1.5", "1.5.post1", Bump::Revision),
            (Ecosystem::Pip, "2.0", "1!2.0", Bump::Major),
            (Ecosystem::Pip, "not:one", "1", Bump::Unknown),
            (Ecosystem::Apt, "2.10-3", "2.10-4", Bump::Revision),
            (Ecosystem::Apt, "2.10-3", "2.11-1", Bump::Minor),
            (Ecosystem::Apt, "1:2.10-3", "2:2.10-3", Bump::Major),
            (Ecosystem::Apt, "20.19.2+dfsg-1", "22.1.0+dfsg-1", Bump::Major),
            (Ecosystem::Apt, "20250419", "20260101", Bump::Major),
        ] {
            assert_eq!(kind(ecosystem, one, other), expected, "{ecosystem} {one} {other}");
        }
    }

    #[test]
    fn order_is_the_ecosystem_s() {
        let version = |text| PackageVersion::parse(text).unwrap();
        let order = |ecosystem, one, other| compare_versions(ecosystem, &version(one), &version(other));
        assert_eq!(order(Ecosystem::Apt, "1.0~rc1", "1.0"), Some(Ordering::Less));
        assert_eq!(order(Ecosystem::Npm, "1.10.0", "1.9.0"), Some(Ordering::Greater));
        assert_eq!(order(Ecosystem::Pip, "1.0", "1.0.0"), Some(Ordering::Equal));
        assert_eq!(order(Ecosystem::Npm, "x", "1.9.0"), None);
    }
}
