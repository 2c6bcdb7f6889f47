//! One repository of one registry: manifests and blobs, with the token that the registry asks for. What has a digest may
//! come from a mirror as well.

use std::io::Write;

use futures::TryStreamExt;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, HeaderMap, WWW_AUTHENTICATE};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use super::documents::{ACCEPT, CONFIG_LIMIT, Served};
use super::error::ImageError;
use crate::base::fs::FsError;
use crate::base::http::{HttpClient, HttpError, Request, redact};
use crate::base::progress::Phase;
use crate::model::{ImageReference, Sha256};
use crate::source::{Source, repository_at};
use crate::store::{BlobWriter, Store, StoreError};

pub(super) struct Registry<'a> {
    source: &'a Source,
    http: &'a HttpClient,
    repository: String,
    name: String,
    /// The registry itself, then its mirrors.
    places: Vec<Place>,
}

/// Where the repository can be asked for.
struct Place {
    base: Url,
    /// What the user logged in with; a mirror gets nothing of it.
    login: Option<String>,
    /// What to send as `Authorization`: the login, or the token that was got for it.
    authorization: Mutex<Option<String>>,
}

impl Place {
    fn new(base: &Url, login: Option<String>) -> Self {
        Self { base: base.clone(), authorization: Mutex::new(login.clone()), login }
    }
}

impl<'a> Registry<'a> {
    pub(super) fn new(source: &'a Source, http: &'a HttpClient, reference: &ImageReference) -> Self {
        let own = Place::new(&source.url, source.authorization.clone());
        let mirrors = source.mirrors.iter().map(|mirror| Place::new(mirror, None));
        Self {
            source,
            http,
            repository: repository_at(source, reference),
            name: reference.to_string(),
            places: std::iter::once(own).chain(mirrors).collect(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What a tag names: asked of the registry itself, for a mirror may be late.
    pub(super) async fn tagged(&self, tag: &str) -> Result<Served, ImageError> {
        let bytes = self.document(&self.places[0], "manifests", tag, CONFIG_LIMIT).await?;
        Ok(Served { digest: Sha256::of(&bytes), bytes })
    }

    /// A manifest by its digest, from the first place that has it.
    pub(super) async fn manifest(&self, digest: &Sha256) -> Result<Served, ImageError> {
        let bytes = self.anywhere(async |place| self.verified(place, "manifests", digest, CONFIG_LIMIT).await).await?;
        Ok(Served { digest: *digest, bytes })
    }

    /// A config by its digest, from the first place that has it.
    pub(super) async fn config(&self, digest: &Sha256) -> Result<Vec<u8>, ImageError> {
        self.anywhere(async |place| self.verified(place, "blobs", digest, CONFIG_LIMIT).await).await
    }

    /// Streams a blob into the store from the first place that has it; `size` is a hard cap.
    pub(super) async fn blob(
        &self,
        digest: &Sha256,
        size: u64,
        store: &Store,
        phase: &Phase,
    ) -> Result<(), ImageError> {
        self.anywhere(async |place| self.transfer(place, digest, size, store, phase).await).await
    }

    /// Tries the places in their order. Bytes of another digest end the search: whoever sends them is not to be trusted.
    async fn anywhere<T>(&self, ask: impl AsyncFn(&Place) -> Result<T, ImageError>) -> Result<T, ImageError> {
        let mut first = None;
        for place in &self.places {
            match ask(place).await {
                Err(error @ (ImageError::Unknown { .. } | ImageError::Denied { .. } | ImageError::Http { .. })) => {
                    tracing::debug!("{}: {error}", redact(&place.base));
                    first = first.or(Some(error));
                }
                other => return other,
            }
        }
        Err(first.unwrap_or_else(|| self.denied()))
    }

    async fn verified(&self, place: &Place, kind: &str, digest: &Sha256, limit: u64) -> Result<Vec<u8>, ImageError> {
        let bytes = self.document(place, kind, &digest.prefixed(), limit).await?;
        let found = Sha256::of(&bytes);
        if found == *digest { Ok(bytes) } else { Err(self.other_digest(*digest, found)) }
    }

    async fn document(&self, place: &Place, kind: &str, name: &str, limit: u64) -> Result<Vec<u8>, ImageError> {
        let url = self.url(place, kind, name)?;
        let ask = async |authorization: Option<&str>| {
            let request = Request::get(url.clone()).accept(ACCEPT).limit(limit).authorization(authorization);
            self.http.fetch(request).await
        };
        Ok(self.authorized(place, ask).await?.body)
    }

    async fn transfer(
        &self,
        place: &Place,
        digest: &Sha256,
        size: u64,
        store: &Store,
        phase: &Phase,
    ) -> Result<(), ImageError> {
        let url = self.url(place, "blobs", &digest.prefixed())?;
        let mut writer = store.create_blob()?;
        let mut attempt = 1;
        loop {
            match self.stream(place, &url, size, &mut writer, store, phase).await {
                Err(ImageError::Http { source, .. }) if self.http.wait_before_another_try(&source, attempt).await => {
                    attempt += 1;
                }
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        match writer.commit(Some(digest)) {
            Err(StoreError::Unexpected { expected, found, .. }) => Err(self.other_digest(expected, found)),
            other => Ok(other.map(|_| ())?),
        }
    }

    /// Streams what is still missing; starts over when the registry does not take up where it broke off.
    async fn stream(
        &self,
        place: &Place,
        url: &Url,
        size: u64,
        writer: &mut BlobWriter,
        store: &Store,
        phase: &Phase,
    ) -> Result<(), ImageError> {
        let received = writer.size();
        let ask = async |authorization: Option<&str>| {
            let request = Request::get(url.clone()).authorization(authorization);
            let is_rest = received > 0 && received < size;
            self.http.open(&if is_rest { request.range(received, size - 1) } else { request }).await
        };
        let answer = self.authorized(place, ask).await?;
        let goes_on = answer.status == StatusCode::PARTIAL_CONTENT
            && answer
                .headers
                .get(CONTENT_RANGE)
                .and_then(|value| value.to_str().ok())
                .is_some_and(|range| range.starts_with(&format!("bytes {received}-")));
        if received > 0 && !goes_on {
            *writer = store.create_blob()?;
        }
        let mut pieces = std::pin::pin!(answer.pieces(size - writer.size()));
        while let Some(piece) = pieces.try_next().await.map_err(|error| self.http_error(error))? {
            writer.write_all(&piece).map_err(FsError::new("write to", store.root()))?;
            phase.advance(piece.len() as u64);
        }
        Ok(())
    }

    /// Asks with what is held for the place; when that is not enough, once more with a token of the registry's choosing.
    async fn authorized<T>(
        &self,
        place: &Place,
        ask: impl AsyncFn(Option<&str>) -> Result<T, HttpError>,
    ) -> Result<T, ImageError> {
        let held = place.authorization.lock().await.clone();
        let headers = match ask(held.as_deref()).await {
            Err(HttpError::Status { status: StatusCode::UNAUTHORIZED, headers, .. }) => headers,
            other => return other.map_err(|error| self.http_error(error)),
        };
        let token = {
            let mut now = place.authorization.lock().await;
            // Another request may have got one meanwhile.
            if *now == held {
                *now = Some(self.token(place, &headers).await?);
            }
            now.clone()
        };
        ask(token.as_deref()).await.map_err(|error| self.http_error(error))
    }

    /// Gets a token where the challenge says (distribution token specification).
    async fn token(&self, place: &Place, headers: &HeaderMap) -> Result<String, ImageError> {
        let challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenge = challenges.filter_map(Challenge::parse).next().ok_or_else(|| self.denied())?;
        let realm = challenge.url(&self.repository, &place.base).ok_or_else(|| self.denied())?;
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let request = Request::get(realm).authorization(place.login.as_deref()).limit(CONFIG_LIMIT);
        let answer = self.http.fetch(request).await.map_err(|error| self.http_error(error))?;
        let token: Token = serde_json::from_slice(&answer.body).map_err(|_| self.denied())?;
        Ok(format!("Bearer {}", token.token.or(token.access_token).ok_or_else(|| self.denied())?))
    }

    fn url(&self, place: &Place, kind: &str, name: &str) -> Result<Url, ImageError> {
        let path = format!("v2/{}/{kind}/{name}", self.repository);
        place
            .base
            .join(&path)
            .map_err(|error| ImageError::Document { reference: self.name.clone(), detail: error.to_string() })
    }

    fn denied(&self) -> ImageError {
        ImageError::Denied { reference: self.name.clone(), source_name: self.source.name.to_string() }
    }

    fn other_digest(&self, expected: Sha256, found: Sha256) -> ImageError {
        ImageError::OtherDigest { reference: self.name.clone(), expected, found }
    }

    fn http_error(&self, error: HttpError) -> ImageError {
        match error {
            HttpError::NotFound { .. } => {
                ImageError::Unknown { reference: self.name.clone(), source_name: self.source.name.to_string() }
            }
            HttpError::Status { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. } => self.denied(),
            source => ImageError::Http { reference: self.name.clone(), source: Box::new(source) },
        }
    }
}

/// What a registry answers to who has no token: `Bearer realm="…",service="…",scope="…"` (distribution token specification).
#[derive(Debug, PartialEq, Eq)]
pub struct Challenge {
    realm: Url,
    service: Option<String>,
    scope: Option<String>,
}

impl Challenge {
    /// Reads the header `WWW-Authenticate`.
    pub fn parse(header: &str) -> Option<Self> {
        let (scheme, parameters) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        let mut rest = parameters.trim();
        while let Some((key, after)) = rest.split_once("=\"") {
            let (value, next) = after.split_once('"')?;
            match key.trim_start_matches([',', ' ']) {
                "realm" => realm = Url::parse(value).ok(),
                "service" => service = Some(value.to_owned()),
                "scope" => scope = Some(value.to_owned()),
                _ => {}
            }
            rest = next;
        }
        Some(Self { realm: realm?, service, scope })
    }

    /// Where the token is had. Only what the registry at `base` names is asked for, or pulling from this repository. A login
    /// leaves an encrypted connection only for another one.
    pub fn url(self, repository: &str, base: &Url) -> Option<Url> {
        let mut url = self.realm;
        if url.scheme() != "https" && url.scheme() != base.scheme() {
            return None;
        }
        let scope = self.scope.unwrap_or_else(|| format!("repository:{repository}:pull"));
        url.query_pairs_mut()
            .extend_pairs(self.service.iter().map(|service| ("service", service)))
            .append_pair("scope", &scope);
        Some(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_may_have_commas_in_its_values() {
        let base = Url::parse("https://r.invalid/").unwrap();
        let header =
            r#"Bearer realm="https://auth.invalid/token",service="r.invalid",scope="repository:a/b:pull,push""#;
        let url = Challenge::parse(header).unwrap().url("a/b", &base).unwrap();
        assert_eq!(url.as_str(), "https://auth.invalid/token?service=r.invalid&scope=repository%3Aa%2Fb%3Apull%2Cpush");
        let plain = Challenge::parse("Bearer realm=\"http://auth.invalid/token\"").unwrap();
        assert_eq!(plain.url("a/b", &base), None);
        assert_eq!(Challenge::parse("Basic realm=\"x\""), None);
        assert_eq!(Challenge::parse("Bearer service=\"x\""), None);
    }
}
