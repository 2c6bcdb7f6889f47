//! Attaching to an image in a registry (OCI distribution specification 1.1, "Pushing Manifests with Subject" and
//! "Referrers Tag Schema" for registries that have no list of referrers).

use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::error::AttestError;
use super::referrer::{EMPTY, INDEX_TYPE, MANIFEST_TYPE, Referrer, Subject};
use crate::base::http::{HttpClient, HttpError, Request};
use crate::model::{ImageReference, Sha256};
use crate::resolve::image::Challenge;
use crate::source::Source;

/// The media types of manifests that an image may have.
const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json";
/// What a registry says when it keeps the list of referrers itself.
const KEEPS_LIST: &str = "oci-subject";
/// The most that a manifest or an index may have, in bytes.
const LIMIT: u64 = 4 << 20;

/// Pushes the document beside its image in the repository that `reference` names, and gives the digest of its manifest.
/// Attaching the same twice changes nothing.
///
/// # Errors
/// When the registry cannot be reached, does not have the image, or refuses the document.
pub async fn attach_to_registry(
    referrer: &Referrer<'_>,
    reference: &ImageReference,
    source: &Source,
    http: &HttpClient,
) -> Result<Sha256, AttestError> {
    let mut repository = Repository { reference, source, http, authorization: source.authorization.clone() };
    repository.log_in().await?;
    let subject = repository.subject(&referrer.subject).await?;
    for bytes in [EMPTY, referrer.bytes] {
        repository.push_blob(bytes).await?;
    }
    let manifest = referrer.manifest(&subject);
    let digest = Sha256::of(&manifest);
    let headers = repository.push_manifest(&digest.prefixed(), MANIFEST_TYPE, &manifest).await?;
    if !headers.contains_key(KEEPS_LIST) {
        repository.list(&referrer.subject, referrer.entry(&manifest)).await?;
    }
    Ok(digest)
}

struct Repository<'a> {
    reference: &'a ImageReference,
    source: &'a Source,
    http: &'a HttpClient,
    authorization: Option<String>,
}

impl Repository<'_> {
    fn place(&self) -> String {
        self.reference.repository.clone()
    }

    fn url(&self, rest: &str) -> Result<Url, AttestError> {
        let path = format!("v2/{}/{rest}", self.reference.repository);
        let place = self.place();
        self.source.url.join(&path).map_err(|error| AttestError::Place { place, why: error.to_string() })
    }

    /// Gets the token that the registry asks for before it takes anything.
    async fn log_in(&mut self) -> Result<(), AttestError> {
        let answer = self.send(Method::POST, self.url("blobs/uploads/")?, None, Vec::new()).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(());
        }
        let header = answer.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let realm = header
            .and_then(Challenge::parse)
            .and_then(|challenge| challenge.url(&self.reference.repository, &self.source.url));
        let refused = || self.refused("login", StatusCode::UNAUTHORIZED);
        let request = Request::get(realm.ok_or_else(refused)?).authorization(self.source.authorization.as_deref());
        let body: Value = serde_json::from_slice(&self.http.fetch(request).await?.body).map_err(|_| refused())?;
        let token = body["token"].as_str().or_else(|| body["access_token"].as_str()).ok_or_else(refused)?;
        self.authorization = Some(format!("Bearer {token}"));
        Ok(())
    }

    /// The image as the registry has it.
    async fn subject(&self, digest: &Sha256) -> Result<Subject, AttestError> {
        let url = self.url(&format!("manifests/{}", digest.prefixed()))?;
        let request = Request::get(url).accept(ACCEPT).authorization(self.authorization.as_deref()).limit(LIMIT);
        let answer = match self.http.fetch(request).await {
            Err(error) if error.is_not_found() => {
                return Err(AttestError::NoImage { place: self.place(), digest: *digest });
            }
            other => other?,
        };
        if Sha256::of(&answer.body) != *digest {
            let why = "it serves other bytes than the image's digest says".to_owned();
            return Err(AttestError::Place { place: self.place(), why });
        }
        let media_type = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(Subject { media_type: media_type.to_owned(), size: answer.body.len() as u64 })
    }

    async fn push_blob(&self, bytes: &[u8]) -> Result<(), AttestError> {
        let digest = Sha256::of(bytes).prefixed();
        let there = self.send(Method::HEAD, self.url(&format!("blobs/{digest}"))?, None, Vec::new()).await?;
        if there.status().is_success() {
            return Ok(());
        }
        let started = self.send(Method::POST, self.url("blobs/uploads/")?, None, Vec::new()).await?;
        let location = started.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let upload = location.and_then(|location| self.source.url.join(location).ok());
        let refused = |status| self.refused("blob", status);
        let mut upload = upload.filter(|_| started.status().is_success()).ok_or_else(|| refused(started.status()))?;
        // Credentials go to the registry alone.
        if upload.origin() != self.source.url.origin() {
            let why = "it sends uploads to another host".to_owned();
            return Err(AttestError::Place { place: self.place(), why });
        }
        upload.query_pairs_mut().append_pair("digest", &digest);
        let done = self.send(Method::PUT, upload, Some("application/octet-stream"), bytes.to_vec()).await?;
        if done.status().is_success() { Ok(()) } else { Err(refused(done.status())) }
    }

    async fn push_manifest(&self, name: &str, media_type: &str, bytes: &[u8]) -> Result<HeaderMap, AttestError> {
        let url = self.url(&format!("manifests/{name}"))?;
        let answer = self.send(Method::PUT, url, Some(media_type), bytes.to_vec()).await?;
        match answer.status() {
            status if status.is_success() => Ok(answer.headers().clone()),
            status => Err(self.refused("manifest", status)),
        }
    }

    /// Adds to the list of the image's referrers, which is an index under a tag made of its digest.
    async fn list(&self, subject: &Sha256, entry: Value) -> Result<(), AttestError> {
        let tag = format!("sha256-{subject}");
        let url = self.url(&format!("manifests/{tag}"))?;
        let request = Request::get(url).accept(INDEX_TYPE).authorization(self.authorization.as_deref()).limit(LIMIT);
        let mut index = match self.http.fetch(request).await {
            Ok(answer) => serde_json::from_slice(&answer.body).unwrap_or(Value::Null),
            Err(error) if error.is_not_found() => {
                json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [] })
            }
            Err(error) => return Err(error.into()),
        };
        let place = self.place();
        let Some(entries) = index["manifests"].as_array_mut() else {
            return Err(AttestError::Place { place, why: format!("its tag `{tag}` is no list of referrers") });
        };
        if entries.iter().any(|known| known["digest"] == entry["digest"]) {
            return Ok(());
        }
        entries.push(entry);
        self.push_manifest(&tag, INDEX_TYPE, index.to_string().as_bytes()).await?;
        Ok(())
    }

    fn refused(&self, what: &'static str, status: StatusCode) -> AttestError {
        AttestError::Refused { place: self.place(), what, status: status.to_string() }
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        content_type: Option<&str>,
        body: Vec<u8>,
    ) -> Result<reqwest::Response, AttestError> {
        if self.http.is_offline() {
            return Err(HttpError::Offline { url }.into());
        }
        let mut request = self.http.raw()?.request(method, url.clone()).header(CONTENT_LENGTH, body.len());
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let sent = request.body(body).send().await;
        Ok(sent.map_err(|source| HttpError::Transport { url, source: source.without_url() })?)
    }
}
