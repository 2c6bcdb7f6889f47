//! An artifact: one file of a source, known by its hash.

use std::fmt;

use super::{Sha256, Sha512, ValueError, text_value};

/// The name of a source as the lockfile and `[sources]` have it: `debian`, `npm`, `pypi`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceName(String);

impl SourceName {
    /// Accepts lower-case letters, digits, `-` and `.`, at most 64.
    ///
    /// # Errors
    /// When it is empty, too long or has another character.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let error = |why: &str| Err(ValueError::new("source name", text, why));
        match text.bytes().next() {
            None => error("it is empty"),
            Some(b'-' | b'.') => error("it must start with a letter or digit"),
            _ if text.len() > 64 => error("it has more than 64 characters"),
            _ if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.')) => {
                error("it may hold lower-case letters, digits, `-` and `.`")
            }
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

text_value!(SourceName);

/// Where in its source an artifact is: relative, ASCII, without `.` and `..`.
///
/// apt: the pool path. npm: the tarball's path below the registry. pip: `project/filename`, looked up in the
/// project's index page.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactPath(String);

impl ArtifactPath {
    /// Accepts a relative path of printable ASCII.
    ///
    /// # Errors
    /// When it is empty, absolute, names a host, steps upwards or has a character that URLs give a meaning to.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let error = |why: &str| Err(ValueError::new("artifact path", text, why));
        if text.is_empty() || text.len() > 1024 {
            return error("it must have 1 to 1,024 characters");
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~+@%/-!:=,".contains(&b)) {
            return error("it has a character that a path may not have");
        }
        if text.split('/').any(|part| matches!(part, "" | "." | "..")) || text.contains("://") {
            return error("it must be relative and without empty, `.` and `..` parts");
        }
        Ok(Self(text.to_owned()))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part after the last slash.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for ArtifactPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

text_value!(ArtifactPath);

/// One file with its digest and where it can be had.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Artifact {
    /// The source that has it.
    pub source: SourceName,
    /// Where it is there.
    pub path: ArtifactPath,
    /// Its size in bytes; also the hard cap on its download.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256,
    /// The registry's own hash, where that is the one it vouches for (npm's integrity).
    pub sha512: Option<Sha512>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_its_source() {
        for good in [
            "pool/main/a/adduser/adduser_3.152_all.deb",
            "@scope/name/-/name-1.0.0.tgz",
            "b2sdk/b2sdk-2.0-py3-none-any.whl",
        ] {
            assert!(ArtifactPath::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/../b", "a//b", "http://h/a", "a b", "a?b", "a#b", "a\u{202e}b", "./a", "a\\b"] {
            assert!(ArtifactPath::parse(bad).is_err(), "{bad}");
        }
    }
}
