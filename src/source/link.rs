//! Addresses: a base URL with its credentials taken out, and where a wheel was last found.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use url::Url;

use crate::model::{Artifact, Hasher, Sha256};
use crate::store::{Store, StoreError};

use super::model::Source;

/// Reads a base URL; returns it with `/` at its end and without credentials, and these as the value of `Authorization`.
pub(super) fn parse_url(text: &str) -> Result<(Url, Option<String>), String> {
    let mut url = Url::parse(text.trim()).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none_or(str::is_empty) {
        return Err(format!("`{}:` is not spoken, only `https:` and `http:`", url.scheme()));
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let authorization = match (url.username(), url.password()) {
        ("", None) => None,
        (user, password) => Some(basic(&decoded(user), &decoded(password.unwrap_or_default()))),
    };
    url.set_username("").ok();
    url.set_password(None).ok();
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok((url, authorization))
}

/// The value of `Authorization` for a user name and password (RFC 7617).
pub(super) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

const LINKS: &str = "wheel-link";

/// Keeps where a source's index says that a file is, so that the index need not be asked again. Bytes from there are
/// verified like any others.
///
/// # Errors
/// When the store cannot be written.
pub fn remember_link(store: &Store, source: &Source, artifact: &Artifact, url: &Url) -> Result<(), StoreError> {
    store.set_memo(LINKS, &question(source, artifact), url.as_str().as_bytes())
}

/// Where the source's index last said that a file is.
pub fn recall_link(store: &Store, source: &Source, artifact: &Artifact) -> Option<Url> {
    let answer = store.memo(LINKS, &question(source, artifact))?;
    Url::parse(std::str::from_utf8(&answer).ok()?).ok()
}

fn question(source: &Source, artifact: &Artifact) -> Sha256 {
    let mut hasher = Hasher::default();
    hasher.field(source.url.as_str());
    hasher.field(artifact.path.as_str());
    hasher.field(artifact.sha256.as_bytes());
    hasher.finish()
}
