//! Names and versions of packages, as text that is safe in a path, a Containerfile comment and a terminal.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ValueError, text_value};

/// Where a package comes from. Matched without a catch-all arm, so that a new one cannot be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ecosystem {
    /// Debian packages.
    Apt,
    /// npm packages.
    Npm,
    /// Python wheels.
    Pip,
}

impl Ecosystem {
    /// All of them, in the order in which they are written.
    pub const ALL: [Self; 3] = [Self::Apt, Self::Npm, Self::Pip];

    /// The name as in `npm:lodash`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apt => "apt",
            Self::Npm => "npm",
            Self::Pip => "pip",
        }
    }
}

impl fmt::Display for Ecosystem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A package's name in its ecosystem's normal form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageName(String);

impl PackageName {
    /// Accepts letters, digits and `. _ + - ~`, and `@scope/name`.
    ///
    /// # Errors
    /// When it is empty, longer than 214, or has another character.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let error = |why: &str| Err(ValueError::new("package name", text, why));
        let unscoped = match text.strip_prefix('@') {
            Some(rest) => match rest.split_once('/') {
                Some((scope, name)) if is_name(scope) => name,
                _ => return error("a scope must be followed by `/` and a name"),
            },
            None => text,
        };
        if !is_name(unscoped) || text.len() > 214 {
            return error("it may hold letters, digits and `. _ + - ~`, and must not start with a dot");
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-~".contains(&b))
}

impl fmt::Display for PackageName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

text_value!(PackageName);

/// A package's version in its ecosystem's own form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageVersion(String);

impl PackageVersion {
    /// Accepts letters, digits and `. _ + - ~ : !`.
    ///
    /// # Errors
    /// When it is empty, longer than 256, or has another character.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        if text.is_empty()
            || text.len() > 256
            || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-~:!".contains(&b))
        {
            return Err(ValueError::new("version", text, "it may hold letters, digits and `. _ + - ~ : !`"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The version.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PackageVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

text_value!(PackageVersion);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_to_print_and_to_join() {
        for good in ["libstdc++6", "@opencode-ai/plugin", "graphiti-core", "JSONStream", "python3.13"] {
            assert!(PackageName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "..", "a/b", "@a", "@a/", "@/b", "a b", "a\nRUN x", "-x", "@../b"] {
            assert!(PackageName::parse(bad).is_err(), "{bad}");
        }
    }
}
