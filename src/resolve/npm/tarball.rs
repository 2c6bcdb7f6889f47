//! Tarballs: fetched into the store, verified against the registry's integrity while they stream, and looked into for what
//! the registry's document does not say.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};

use base64::Engine as _;
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Digest as _;
use url::Url;

use super::error::NpmError;
use super::packument::Dist;
use super::scripts::{HasBinding, claimed_identity, install_scripts};
use crate::base::archive::decompress;
use crate::base::fs::FsError;
use crate::base::http::{HttpClient, HttpError, Request};
use crate::base::progress::Phase;
use crate::model::{ArtifactPath, Sha256, Sha512};
use crate::source::Source;
use crate::store::Store;

/// The largest tarball that is fetched, in bytes.
const LARGEST_TARBALL: u64 = 2 << 30;
const MEMO: &str = "npm-tarball";

/// What was learned from a tarball.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Contents {
    /// Its digest.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// sha256 of the command line of each install script.
    pub scripts: BTreeMap<String, Sha256>,
    /// Packages in its own `node_modules`.
    pub bundled: BTreeSet<String>,
}

/// Where a version's tarball is and what it must hash to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tarball {
    /// `name@version`.
    pub package: String,
    /// Its path below the registry.
    pub path: ArtifactPath,
    /// What the registry vouches for.
    pub sha512: Sha512,
}

impl Tarball {
    /// Reads the registry's `dist`.
    ///
    /// A sha1 alone is refused: collisions of it can be made, and every registry in use has had sha512 for years.
    pub fn new(package: String, source: &Source, dist: &Dist) -> Result<Self, NpmError> {
        let sha512 = dist.integrity.as_deref().and_then(parse_integrity);
        let Some(sha512) = sha512 else {
            let sha1 = dist.shasum.as_ref().map(|shasum| format!("sha1:{shasum}"));
            return Err(NpmError::NoIntegrity { package, served: dist.integrity.clone().or(sha1) });
        };
        let url = dist.tarball.as_deref().unwrap_or_default();
        let Some(path) = path_below(&source.url, url) else {
            let url = Url::parse(url).map(|url| crate::base::http::redact(&url)).unwrap_or_default();
            return Err(NpmError::ForeignTarball { package, url });
        };
        Ok(Self { package, path: ArtifactPath::parse(&path)?, sha512 })
    }

    fn memo_question(&self) -> Sha256 {
        Sha256::of(format!("{MEMO} 2 {} {}", self.package, self.sha512))
    }

    /// What is known of it from before, if its bytes are still in the store.
    pub fn recall(&self, store: &Store) -> Option<Contents> {
        let answer = store.memo(MEMO, &self.memo_question())?;
        let contents: Contents = serde_json::from_slice(&answer).ok()?;
        store.contains(&contents.sha256).then_some(contents)
    }

    /// Fetches it into the store and looks into it.
    pub async fn fetch(
        &self,
        source: &Source,
        http: &HttpClient,
        store: &Store,
        phase: &Phase,
    ) -> Result<Contents, NpmError> {
        let mut attempt = 1;
        let (sha256, size) = loop {
            match self.stream(source, http, store, phase).await {
                Err(NpmError::Tarball { source: error, .. }) if http.wait_before_another_try(&error, attempt).await => {
                    attempt += 1;
                }
                other => break other?,
            }
        };
        let contents = self.look_into(sha256, size, store.clone()).await?;
        let memo = serde_json::to_vec(&contents).unwrap_or_default();
        store.set_memo(MEMO, &self.memo_question(), &memo)?;
        Ok(contents)
    }

    async fn stream(
        &self,
        source: &Source,
        http: &HttpClient,
        store: &Store,
        phase: &Phase,
    ) -> Result<(Sha256, u64), NpmError> {
        let fail = |error: HttpError| NpmError::Tarball { package: self.package.clone(), source: Box::new(error) };
        let url = source
            .url
            .join(&format!("./{}", self.path))
            .map_err(|_| NpmError::ForeignTarball { package: self.package.clone(), url: self.path.to_string() })?;
        let request = Request::get(url).authorization(source.authorization.as_deref());
        let opened = http.open(&request).await.map_err(fail)?;
        let announced = opened.headers.get("content-length").and_then(|size| size.to_str().ok()?.parse().ok());
        phase.extend(announced.unwrap_or(0));
        let mut blob = store.create_blob()?;
        let mut hasher = sha2::Sha512::new();
        let mut pieces = std::pin::pin!(opened.pieces(LARGEST_TARBALL));
        while let Some(piece) = pieces.try_next().await.map_err(fail)? {
            hasher.update(&piece);
            blob.write_all(&piece)
                .map_err(FsError::new("write to", store.root()))
                .map_err(|error| NpmError::Store(error.into()))?;
            phase.advance(piece.len() as u64);
        }
        let found = Sha512::from_bytes(hasher.finalize().into());
        if found != self.sha512 {
            return Err(NpmError::Mismatch {
                package: self.package.clone(),
                source_name: source.name.clone(),
                expected: format!("sha512:{}", self.sha512),
                found: format!("sha512:{found}"),
                size: blob.size(),
            });
        }
        Ok(blob.commit(None)?)
    }

    async fn look_into(&self, sha256: Sha256, size: u64, store: Store) -> Result<Contents, NpmError> {
        let looked = tokio::task::spawn_blocking(move || {
            let blob = store.open_blob(&sha256).map_err(io::Error::other)?;
            read_tarball(blob)
        });
        let fail = |source| NpmError::Archive { package: self.package.clone(), source };
        let facts = looked.await.map_err(|error| fail(io::Error::other(error)))?.map_err(fail)?;
        if Some(facts.identity.as_str()) != self.package.split('+').next() {
            return Err(NpmError::WrongPackage { package: self.package.clone(), found: facts.identity });
        }
        Ok(Contents { sha256, size, scripts: facts.scripts, bundled: facts.bundled })
    }
}

/// What a tarball says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TarballFacts {
    /// The `name@version` that its package.json claims.
    pub identity: String,
    /// sha256 of the command line of each install script.
    pub scripts: BTreeMap<String, Sha256>,
    /// Packages in its own `node_modules`.
    pub bundled: BTreeSet<String>,
    /// Its package.json.
    pub manifest: Value,
}

/// Looks into a tarball.
///
/// # Errors
/// When it cannot be unpacked or has no package.json.
pub fn read_tarball(tarball: impl Read + Send) -> io::Result<TarballFacts> {
    let mut archive = tar::Archive::new(decompress(tarball)?);
    let (mut manifest, mut has_binding, mut bundled) = (Value::Null, HasBinding::No, BTreeSet::new());
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        match path.split('/').skip(1).collect::<Vec<_>>()[..] {
            ["package.json"] => {
                let mut text = Vec::new();
                entry.read_to_end(&mut text)?;
                let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
                manifest = serde_json::from_slice(text).map_err(io::Error::other)?;
            }
            ["binding.gyp"] => has_binding = HasBinding::Yes,
            ["node_modules", name, "package.json"] => {
                bundled.insert(name.to_owned());
            }
            ["node_modules", scope, name, "package.json"] if scope.starts_with('@') => {
                bundled.insert(format!("{scope}/{name}"));
            }
            _ => {}
        }
    }
    if !manifest.is_object() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it has no package.json"));
    }
    let hash = |(event, command): (String, String)| (event, Sha256::of(command));
    let scripts = install_scripts(&manifest, has_binding).into_iter().map(hash).collect();
    Ok(TarballFacts { identity: claimed_identity(&manifest), scripts, bundled, manifest })
}

/// The sha512 of a subresource integrity, which may list several hashes (W3C SRI, 3.3).
pub fn parse_integrity(text: &str) -> Option<Sha512> {
    text.split_ascii_whitespace().find_map(|hash| {
        let encoded = hash.strip_prefix("sha512-")?;
        let encoded = encoded.split('?').next()?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
        Some(Sha512::from_bytes(bytes.try_into().ok()?))
    })
}

/// A tarball's path below the registry. As npm does, a URL on npm's own default registry counts as one on the configured one.
fn path_below(base: &Url, tarball: &str) -> Option<String> {
    let tarball = Url::parse(tarball).ok()?;
    let default = Url::parse(deno_npmrc::NPM_DEFAULT_REGISTRY).ok()?;
    let root = match tarball.host_str() == base.host_str()
        && tarball.port_or_known_default() == base.port_or_known_default()
    {
        true => base.path(),
        false if tarball.host_str() == default.host_str() => "/",
        false => return None,
    };
    let path = tarball.path().strip_prefix(root)?;
    (tarball.query().is_none() && !path.is_empty()).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_hash_is_taken_and_a_weak_one_is_not() {
        let digest = Sha512::of(b"x");
        let encoded = base64::engine::general_purpose::STANDARD.encode(digest.as_bytes());
        assert_eq!(parse_integrity(&format!("sha1-AAAA sha512-{encoded}?opt")), Some(digest));
        assert_eq!(parse_integrity("sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk="), None);
        assert_eq!(parse_integrity("sha512-short"), None);
    }

    #[test]
    fn a_tarball_elsewhere_has_no_path() {
        let base = Url::parse("https://registry.invalid/npm/").unwrap();
        let below = |url: &str| path_below(&base, url);
        assert_eq!(below("https://registry.invalid/npm/a/-/a-1.0.0.tgz").as_deref(), Some("a/-/a-1.0.0.tgz"));
        assert_eq!(below("https://registry.invalid/other/a-1.0.0.tgz"), None);
        assert_eq!(below("https://other.invalid/npm/a/-/a-1.0.0.tgz"), None);
        assert_eq!(below("https://registry.invalid:8443/npm/a/-/a-1.0.0.tgz"), None);
    }
}
