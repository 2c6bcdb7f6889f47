//! Sources as values.

use std::path::PathBuf;

use url::Url;

use crate::manifest::SourceKind;
use crate::model::SourceName;

/// The default names of sources in a lockfile.
pub mod names {
    /// The Debian archive with the suite itself and its `-updates`.
    pub const DEBIAN: &str = "debian";
    /// The Debian security archive.
    pub const DEBIAN_SECURITY: &str = "debian-security";
    /// The npm registry.
    pub const NPM: &str = "npm";
    /// The Python index.
    pub const PYPI: &str = "pypi";
    /// The registry of base images.
    pub const REGISTRY: &str = "registry";
    /// The addresses of wheels that the manifest asks for by URL, where they are below no source.
    pub const URL: &str = "url";
}

/// One registry with all that is needed to ask it.
#[derive(Clone)]
pub struct Source {
    /// Its name in the lockfile.
    pub name: SourceName,
    /// Which protocol it speaks.
    pub kind: SourceKind,
    /// The base URL, ending in `/`. For `Pip` the simple index itself.
    pub url: Url,
    /// Other base URLs that have the same bytes.
    pub mirrors: Vec<Url>,
    /// The value of an `Authorization` header; never shown.
    pub authorization: Option<String>,
    /// Packages that are bound to this source (`name` or `@scope/*`).
    pub packages: Vec<String>,
    /// apt: suites it serves, with `{suite}` for the asked one.
    pub suites: Vec<String>,
    /// apt: components.
    pub components: Vec<String>,
    /// apt: the keyring; the bundled Debian archive keyring when none.
    pub signed_by: Option<PathBuf>,
    /// Where it was found, for people: `~/.npmrc`, `/etc/apt/sources.list.d/debian.sources`, `oclock.toml`.
    pub found_in: String,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Source({}, {:?}, {})", self.name, self.kind, crate::base::http::redact(&self.url))
    }
}
