//! The name of an image in a registry, as people write it.

use std::fmt;

use super::{Sha256, ValueError, text_value};

/// `[registry/]repository[:tag][@sha256:…]`. The registry may be left out: it then comes from the user's settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference {
    /// The registry's host and port, if named.
    pub registry: Option<String>,
    /// The repository, such as `library/node` or `node`.
    pub repository: String,
    /// The tag, if named.
    pub tag: Option<String>,
    /// The digest, if named.
    pub digest: Option<Sha256>,
}

impl ImageReference {
    /// Reads a reference (grammar of the distribution project: the first part is a host when it has a dot, a colon or is `localhost`).
    ///
    /// # Errors
    /// When a part has a character it may not have.
    pub fn parse(text: &str) -> Result<Self, ValueError> {
        let error = |why: &str| ValueError::new("image reference", text, why);
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(Sha256::parse_prefixed(digest)?)),
            None => (text, None),
        };
        let (registry, rest) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
            _ => (None, name),
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        if repository
            .split('/')
            .any(|part| part.is_empty() || part.starts_with(['.', '-', '_']) || !part.bytes().all(lower))
        {
            return Err(error("the repository may hold lower-case letters, digits and `. _ - /`"));
        }
        let is_tag = |tag: &str| {
            !tag.is_empty()
                && tag.len() <= 128
                && !tag.starts_with(['.', '-'])
                && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(error("the tag may hold letters, digits and `. _ -`, at most 128"));
        }
        if registry.is_some_and(|host| !host.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-[]".contains(&b))) {
            return Err(error("the registry must be a host and an optional port"));
        }
        Ok(Self {
            registry: registry.map(str::to_owned),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(registry) = &self.registry {
            write!(formatter, "{registry}/")?;
        }
        formatter.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{}", digest.prefixed())?;
        }
        Ok(())
    }
}

text_value!(ImageReference);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_written_alike() {
        let digest = Sha256::of(b"").prefixed();
        for text in
            ["node:20-slim", "localhost:5000/a/b:1", "registry.invalid/x", &format!("node@{digest}"), "localhost/x:1"]
        {
            assert_eq!(ImageReference::parse(text).unwrap().to_string(), *text);
        }
        for bad in ["", "Node", "a b", "a:", "a@sha256:1", "a/../b", "a:-x"] {
            assert!(ImageReference::parse(bad).is_err(), "{bad}");
        }
    }
}
