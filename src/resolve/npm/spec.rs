//! What a dependency asks for (behaviour of npm-package-arg 13): a range, a version, a tag, or something that is no registry's.

use std::fmt;

use deno_semver::{Version, VersionReq};

/// A request for a package, read from the right-hand side of a `dependencies` entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    /// The text as written, without an alias in front; `*` when empty.
    pub text: String,
    /// The package that is asked for, where an alias names another one than the entry's key.
    pub alias: Option<String>,
    /// What sort of request it is.
    pub kind: SpecKind,
}

/// The sorts of request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SpecKind {
    /// Any version: `*` or nothing.
    Any,
    /// Exactly one version, in its clean form.
    Version(Version),
    /// A set of versions.
    Range(VersionReq),
    /// A tag of the registry, such as `next`.
    Tag,
    /// A folder, tarball, URL or repository.
    Elsewhere,
}

impl Spec {
    /// Reads a request.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        match text.get(..4) {
            Some(prefix) if prefix.eq_ignore_ascii_case("npm:") => {
                let (name, rest) = match text[4..].get(1..).and_then(|tail| tail.find('@')) {
                    Some(at) => (&text[4..at + 5], &text[at + 6..]),
                    None => (&text[4..], ""),
                };
                let inner = Self::parse_plain(rest.trim());
                Self { alias: Some(name.to_owned()), ..inner }
            }
            _ => Self::parse_plain(text),
        }
    }

    fn parse_plain(text: &str) -> Self {
        let kind = match text {
            "" | "*" => SpecKind::Any,
            _ if is_elsewhere(text) => SpecKind::Elsewhere,
            _ => match (Version::parse_from_npm(text), VersionReq::parse_from_npm(&closed(text))) {
                (Ok(version), _) => SpecKind::Version(version),
                (_, Ok(range)) if range.range().is_some() => SpecKind::Range(range),
                _ => SpecKind::Tag,
            },
        };
        let text = if text.is_empty() { "*" } else { text };
        Self { text: text.to_owned(), alias: None, kind }
    }

    /// The registry's name of what is asked for by an entry called `key`.
    pub fn package<'a>(&'a self, key: &'a str) -> &'a str {
        self.alias.as_deref().unwrap_or(key)
    }

    /// Whether a version answers it. A tag is answered by anything that came from a registry; nothing answers what is elsewhere.
    pub fn is_satisfied_by(&self, version: Option<&Version>) -> bool {
        match (&self.kind, version) {
            (SpecKind::Any, _) => true,
            (SpecKind::Version(wanted), Some(version)) => wanted == version,
            (SpecKind::Range(range), Some(version)) => range.matches(version),
            (SpecKind::Tag, Some(_)) => true,
            (SpecKind::Elsewhere, _) | (_, None) => false,
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.alias {
            Some(name) => write!(formatter, "npm:{name}@{}", self.text),
            None => formatter.write_str(&self.text),
        }
    }
}

/// A range in which `<8` and `<8.1` say what npm means by them: not the pre-releases of 8.0.0 and 8.1.0 either.
fn closed(text: &str) -> String {
    let mut closed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        closed.push_str(&rest[..=at]);
        rest = &rest[at + 1..];
        let version = rest.trim_start();
        let end = version.find(|c: char| c.is_whitespace() || c == '|').unwrap_or(version.len());
        let parts: Vec<&str> = version[..end].trim_start_matches(['v', '=']).split('.').collect();
        let is_partial = parts.len() < 3 && parts.iter().all(|part| part.parse::<u64>().is_ok());
        if is_partial && !version.starts_with('=') {
            closed.push_str(&format!("{}.{}.0-0", parts[0], parts.get(1).unwrap_or(&"0")));
            rest = &version[end..];
        }
    }
    closed + rest
}

/// Paths, URLs and hosted repositories, by their form alone.
fn is_elsewhere(text: &str) -> bool {
    let scheme = text.split_once(':').is_some_and(|(scheme, _)| {
        let scheme = scheme.strip_prefix("git+").unwrap_or(scheme);
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphabetic())
    });
    scheme
        || text.contains('/')
        || text.starts_with('.')
        || [".tgz", ".tar.gz", ".tar"].iter().any(|end| text.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sort_of_request_is_told_apart() {
        let kind = |text: &str| match Spec::parse(text).kind {
            SpecKind::Any => "any",
            SpecKind::Version(_) => "version",
            SpecKind::Range(_) => "range",
            SpecKind::Tag => "tag",
            SpecKind::Elsewhere => "elsewhere",
        };
        for (text, expected) in [
            ("", "any"),
            ("*", "any"),
            ("1.2.3", "version"),
            ("v1.2.3", "version"),
            ("=1.2.3-beta.1", "version"),
            ("^1", "range"),
            (">=1 <2 || 3.x", "range"),
            ("1 - 2", "range"),
            ("latest", "tag"),
            ("next-12", "tag"),
            ("user/repository", "elsewhere"),
            ("github:user/repository#semver:^1", "elsewhere"),
            ("git+ssh://git@host.invalid/a.git", "elsewhere"),
            ("file:../a", "elsewhere"),
            ("../a", "elsewhere"),
            ("workspace:*", "elsewhere"),
            ("a.tgz", "elsewhere"),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }

    #[test]
    fn an_alias_names_another_package() {
        let spec = Spec::parse("npm:@scope/real@^2");
        assert_eq!((spec.alias.as_deref(), spec.text.as_str()), (Some("@scope/real"), "^2"));
        assert_eq!(Spec::parse("npm:real").package("key"), "real");
        assert_eq!(Spec::parse("npm:@scope/real").package("key"), "@scope/real");
        assert_eq!(Spec::parse("^1").package("key"), "key");
    }

    #[test]
    fn a_prerelease_is_taken_only_where_it_is_named() {
        let beta = Version::parse_from_npm("2.0.0-beta.1").unwrap();
        assert!(!Spec::parse(">=1").is_satisfied_by(Some(&beta)));
        assert!(Spec::parse("^2.0.0-beta.0").is_satisfied_by(Some(&beta)));
        assert!(Spec::parse("*").is_satisfied_by(Some(&beta)));
        for (range, is_in) in [
            (">=2.0.0-alpha.0 <2", false),
            (">=2.0.0-alpha.0 < 2.0", false),
            ("1 || >=2.0.0-alpha.0 <v2||3", false),
            (">=2.0.0-alpha.0 <2.0.0", true),
            (">=2.0.0-alpha.0 <2.0.1", true),
            (">=2.0.0-alpha.0 <=2", true),
            (">=2.0.0-alpha.0 <3", true),
        ] {
            // node -e "console.log(require('semver').satisfies('2.0.0-beta.1', RANGE))"
            assert_eq!(Spec::parse(range).is_satisfied_by(Some(&beta)), is_in, "{range}");
        }
    }
}
