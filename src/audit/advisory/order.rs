//! The order of versions, which is each ecosystem's own: npm's (SemVer 2.0 as npm reads it), PEP 440, Debian's.

use std::cmp::Ordering;
use std::str::FromStr;

use crate::model::{Ecosystem, compare_debian_versions};

/// A version that can be compared with others of its ecosystem.
#[derive(Clone, Debug)]
pub(super) enum Version {
    Npm(deno_semver::Version),
    Pip(Box<uv_pep440::Version>),
    Apt(String),
}

impl Version {
    /// Reads a version; none when the ecosystem has no such version.
    pub(super) fn parse(ecosystem: Ecosystem, text: &str) -> Option<Self> {
        match ecosystem {
            Ecosystem::Npm => deno_semver::Version::parse_from_npm(&with_all_numbers(text)).ok().map(Self::Npm),
            Ecosystem::Pip => uv_pep440::Version::from_str(text).ok().map(|version| Self::Pip(Box::new(version))),
            Ecosystem::Apt => is_debian_version(text).then(|| Self::Apt(text.to_owned())),
        }
    }

    /// Compares two versions of one ecosystem; there is no order between ecosystems.
    pub(super) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Npm(one), Self::Npm(other)) => Some(one.cmp(other)),
            (Self::Pip(one), Self::Pip(other)) => Some(one.cmp(other)),
            (Self::Apt(one), Self::Apt(other)) => Some(compare_debian_versions(one, other)),
            _ => None,
        }
    }
}

/// `1.2` stands in some advisories where SemVer has `1.2.0`.
fn with_all_numbers(text: &str) -> String {
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    match numbers.matches('.').count() {
        0 => format!("{numbers}.0.0{rest}"),
        1 => format!("{numbers}.0{rest}"),
        _ => text.to_owned(),
    }
}

/// The form of `deb-version(7)`.
fn is_debian_version(text: &str) -> bool {
    let (epoch, rest) = text.split_once(':').unwrap_or(("0", text));
    let upstream = rest.rsplit_once('-').map_or(rest, |(upstream, _)| upstream);
    let inside = |b: u8| b.is_ascii_alphanumeric() || b".+-~:".contains(&b);
    !epoch.is_empty()
        && epoch.bytes().all(|b| b.is_ascii_digit())
        && upstream.starts_with(|c: char| c.is_ascii_digit())
        && !rest.ends_with('-')
        && rest.bytes().all(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(ecosystem: Ecosystem, one: &str, other: &str) -> Option<Ordering> {
        Version::parse(ecosystem, one)?.compare(&Version::parse(ecosystem, other)?)
    }

    #[test]
    fn each_ecosystem_has_its_own_order() {
        assert_eq!(order(Ecosystem::Npm, "1.10.0", "1.9.0-rc.1"), Some(Ordering::Greater));
        assert_eq!(order(Ecosystem::Npm, "1.0.0+a", "1.0"), Some(Ordering::Equal));
        assert_eq!(order(Ecosystem::Npm, "1.2-beta", "1.2.0"), Some(Ordering::Less));
        assert_eq!(order(Ecosystem::Pip, "1.0.post1", "1.0"), Some(Ordering::Greater));
        assert_eq!(order(Ecosystem::Apt, "1.0~rc1-1", "1.0-1"), Some(Ordering::Less));
    }

    #[test]
    fn what_is_no_version_has_no_order() {
        for (ecosystem, text) in [
            (Ecosystem::Npm, "one"),
            (Ecosystem::Pip, "2004d-x"),
            (Ecosystem::Apt, "a:1"),
            (Ecosystem::Apt, "1.0_2"),
            (Ecosystem::Apt, ""),
        ] {
            assert!(Version::parse(ecosystem, text).is_none(), "{text}");
        }
    }
}
