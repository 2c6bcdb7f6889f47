//! One repository of one registry: manifests and blobs, with the token that the registry asks for.

use std::io::Write;

use futures::TryStreamExt;
use reqwest::StatusCode;
use reqwest::header::WWW_AUTHENTICATE;
use serde::Deserialize;
use tokio::sync::OnceCell;
use url::Url;

use super::documents::{ACCEPT, CONFIG_LIMIT, Descriptor, Served};
use super::error::ImageError;
use crate::base::fs::FsError;
use crate::base::http::{HttpClient, HttpError, Request};
use crate::base::progress::Phase;
use crate::model::{ImageReference, Sha256};
use crate::source::Source;
use crate::store::{Store, StoreError};

pub(super) struct Registry<'a> {
    source: &'a Source,
    http: &'a HttpClient,
    repository: String,
    name: String,
    token: OnceCell<Option<String>>,
}

impl<'a> Registry<'a> {
    pub(super) fn new(source: &'a Source, http: &'a HttpClient, reference: &ImageReference) -> Self {
        Self {
            source,
            http,
            repository: reference.repository.clone(),
            name: reference.to_string(),
            token: OnceCell::new(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn manifest(&self, tag_or_digest: &str) -> Result<Served, ImageError> {
        let url = self.url("manifests", tag_or_digest)?;
        let bytes = self.fetch(|url| Request::get(url).accept(ACCEPT).limit(CONFIG_LIMIT), url).await?;
        let digest = Sha256::of(&bytes);
        Ok(Served { bytes, digest })
    }

    pub(super) fn expect(&self, served: &Served, digest: &Sha256) -> Result<(), ImageError> {
        if served.digest == *digest {
            return Ok(());
        }
        Err(ImageError::OtherDigest { reference: self.name.clone(), expected: *digest, found: served.digest })
    }

    pub(super) async fn small_blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let url = self.url("blobs", &descriptor.digest.prefixed())?;
        let limit = descriptor.size.min(CONFIG_LIMIT);
        let bytes = self.fetch(|url| Request::get(url).limit(limit), url).await?;
        self.expect(&Served { digest: Sha256::of(&bytes), bytes: Vec::new() }, &descriptor.digest)?;
        Ok(bytes)
    }

    /// Streams a blob into the store; `size` is a hard cap.
    pub(super) async fn blob(
        &self,
        digest: &Sha256,
        size: u64,
        store: &Store,
        phase: &Phase,
    ) -> Result<(), ImageError> {
        let url = self.url("blobs", &digest.prefixed())?;
        let token = self.authorization(&url).await?;
        let opened =
            self.http.open(&Request::get(url).authorization(token)).await.map_err(|error| self.http_error(error))?;
        let mut writer = store.create_blob()?;
        let mut pieces = std::pin::pin!(opened.pieces(size));
        while let Some(piece) = pieces.try_next().await.map_err(|error| self.http_error(error))? {
            writer.write_all(&piece).map_err(FsError::new("write to", store.root()))?;
            phase.advance(piece.len() as u64);
        }
        match writer.commit(Some(digest)) {
            Err(StoreError::Unexpected { expected, found, .. }) => {
                Err(ImageError::OtherDigest { reference: self.name.clone(), expected, found })
            }
            other => Ok(other.map(|_| ())?),
        }
    }

    async fn fetch(&self, request: impl Fn(Url) -> Request, url: Url) -> Result<Vec<u8>, ImageError> {
        let token = self.authorization(&url).await?;
        let answer = self.http.fetch(request(url).authorization(token)).await;
        Ok(answer.map_err(|error| self.http_error(error))?.body)
    }

    /// What to send as `Authorization`: asked for once, by the challenge that the registry answers without it.
    async fn authorization(&self, url: &Url) -> Result<Option<&str>, ImageError> {
        let token = self.token.get_or_try_init(|| self.challenge(url)).await?;
        Ok(token.as_deref())
    }

    async fn challenge(&self, url: &Url) -> Result<Option<String>, ImageError> {
        let own = self.source.authorization.clone();
        let probe = Request::get(url.clone()).accept(ACCEPT).authorization(own.as_deref());
        let headers = match self.http.open(&probe).await {
            Ok(_) => return Ok(own),
            Err(HttpError::Status { status: StatusCode::UNAUTHORIZED, headers, .. }) => headers,
            Err(error) => return Err(self.http_error(error)),
        };
        let challenge = headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()).and_then(Challenge::parse);
        let realm = challenge.ok_or_else(|| self.denied())?.url(&self.repository).ok_or_else(|| self.denied())?;
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let answer = self
            .http
            .fetch(Request::get(realm).authorization(own.as_deref()))
            .await
            .map_err(|error| self.http_error(error))?;
        let token: Token = serde_json::from_slice(&answer.body).map_err(|_| self.denied())?;
        Ok(Some(format!("Bearer {}", token.token.or(token.access_token).ok_or_else(|| self.denied())?)))
    }

    fn url(&self, kind: &str, name: &str) -> Result<Url, ImageError> {
        let path = format!("v2/{}/{kind}/{name}", self.repository);
        self.source
            .url
            .join(&path)
            .map_err(|error| ImageError::Document { reference: self.name.clone(), detail: error.to_string() })
    }

    fn denied(&self) -> ImageError {
        ImageError::Denied { reference: self.name.clone(), source_name: self.source.name.to_string() }
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

    /// Where the token is had. Only what the registry names is asked for, or pulling from this repository.
    pub fn url(self, repository: &str) -> Option<Url> {
        let mut url = self.realm;
        if !matches!(url.scheme(), "http" | "https") {
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
        let header =
            r#"Bearer realm="https://auth.invalid/token",service="r.invalid",scope="repository:a/b:pull,push""#;
        let url = Challenge::parse(header).unwrap().url("a/b").unwrap();
        assert_eq!(url.as_str(), "https://auth.invalid/token?service=r.invalid&scope=repository%3Aa%2Fb%3Apull%2Cpush");
        assert_eq!(Challenge::parse("Basic realm=\"x\""), None);
        assert_eq!(Challenge::parse("Bearer service=\"x\""), None);
    }
}
