//! One file on its way: asked for at each of its places, taken up again where it broke off, verified as it streams.

use std::io::Write;
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, HeaderMap, HeaderValue};
use sha2::Digest as _;
use tokio::sync::Semaphore;

use crate::base::fs::FsError;
use crate::base::http::{HttpClient, HttpError, Request, redact};
use crate::base::progress::Phase;
use crate::manifest::SourceKind;
use crate::model::{Artifact, Sha512};
use crate::source::{Source, recall_link, remember_link};
use crate::store::{BlobWriter, Store, StoreError};

use super::error::FailureCause;
use super::places::{Place, addresses, bases, look_up_wheel, place};
use super::plan::OwnedWant;

/// Whether a file must come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing can be built without it.
    Needed,
    /// A signed index, which its archive replaces by newer ones under the same path.
    Proof,
}

/// Pages of Python indexes that are held at once; they can have 20 MB each.
pub(super) const PAGES: usize = 4;

/// What all transfers share.
pub(super) struct Courier {
    http: HttpClient,
    store: Store,
    quarantine: PathBuf,
    phase: Phase,
    pages: Semaphore,
}

/// What has come of a file so far.
struct Partial {
    writer: BlobWriter,
    sha512: sha2::Sha512,
}

impl Courier {
    pub(super) fn new(http: &HttpClient, store: &Store, quarantine: &Path, phase: Phase) -> Self {
        let (http, store) = (http.clone(), store.clone());
        Self { http, store, quarantine: quarantine.to_owned(), phase, pages: Semaphore::new(PAGES) }
    }

    pub(super) fn finish(self, summary: &str) {
        self.phase.finish(summary);
    }

    /// Brings one file into the store from the first place that has it.
    pub(super) async fn bring(&self, source: &Source, want: &OwnedWant, role: Role) -> Result<(), FailureCause> {
        let artifact = &want.artifact;
        let mut trail = Trail::default();
        if let Some(url) = &want.url {
            trail.asked.push(redact(url));
            return match self.attempt(place(source, url.clone()), artifact, role, &mut trail).await? {
                true => Ok(()),
                false => Err(trail.into_cause()),
            };
        }
        if source.kind == SourceKind::Pip
            && let Some(link) = recall_link(&self.store, source, artifact)
            && self.attempt(place(source, link), artifact, role, &mut trail).await?
        {
            return Ok(());
        }
        for base in &bases(source, &want.moments) {
            let urls = match source.kind {
                SourceKind::Pip => match self.wheel_link(source, base, artifact).await {
                    Ok(link) => link.into_iter().collect(),
                    Err(cause) => {
                        trail.note(cause);
                        continue;
                    }
                },
                SourceKind::Apt | SourceKind::Npm | SourceKind::Image => addresses(source, base, artifact),
            };
            trail.asked.push(redact(base));
            for url in urls {
                if self.attempt(place(source, url), artifact, role, &mut trail).await? {
                    return Ok(());
                }
            }
        }
        Err(trail.into_cause())
    }

    async fn wheel_link(
        &self,
        source: &Source,
        index: &url::Url,
        artifact: &Artifact,
    ) -> Result<Option<url::Url>, FailureCause> {
        let _held = self.pages.acquire().await.ok();
        let link = look_up_wheel(source, index, artifact, &self.http).await?;
        if let Some(link) = &link {
            remember_link(&self.store, source, artifact, link)?;
        }
        Ok(link)
    }

    /// Whether the file came from this place. What can be tried elsewhere is noted; other failures end the search.
    async fn attempt(
        &self,
        place: Place,
        artifact: &Artifact,
        role: Role,
        trail: &mut Trail,
    ) -> Result<bool, FailureCause> {
        match self.transfer(&place, artifact, role).await {
            Ok(()) => Ok(true),
            Err(FailureCause::Http(error)) => {
                trail.note(error.into());
                Ok(false)
            }
            Err(FailureCause::Superseded) => Ok(false),
            Err(cause) => Err(cause),
        }
    }

    async fn transfer(&self, place: &Place, artifact: &Artifact, role: Role) -> Result<(), FailureCause> {
        let mut partial = Partial::new(&self.store)?;
        let mut attempt = 1;
        loop {
            match self.stream(place, artifact, &mut partial).await {
                Ok(()) => return self.keep(partial, place, artifact, role).await,
                Err(FailureCause::Http(HttpError::TooLarge { .. })) => {
                    return Err(self.refuse(partial, place, role));
                }
                Err(FailureCause::Http(error)) if self.http.wait_before_another_try(&error, attempt).await => {
                    attempt += 1;
                }
                Err(cause) => return Err(cause),
            }
        }
    }

    /// Streams what is still missing; starts over when the server does not take up where it broke off.
    async fn stream(&self, place: &Place, artifact: &Artifact, partial: &mut Partial) -> Result<(), FailureCause> {
        let received = partial.writer.size();
        // An answer that is packed on the way has other bytes than those locked.
        let mut request = Request::get(place.url.clone())
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
            .authorization(place.authorization.as_deref());
        if received > 0 && received < artifact.size {
            request = request.range(received, artifact.size - 1);
        }
        let answer = self.http.open(&request).await?;
        if received > 0 && !continues(answer.status, &answer.headers, received) {
            *partial = Partial::new(&self.store)?;
        }
        let limit = artifact.size - partial.writer.size().min(artifact.size);
        let mut pieces = std::pin::pin!(answer.pieces(limit));
        while let Some(piece) = pieces.try_next().await? {
            partial.write(&piece).map_err(FsError::new("write to", self.store.root())).map_err(StoreError::from)?;
            self.phase.advance(piece.len() as u64);
        }
        Ok(())
    }

    /// Takes a whole file into the store, when it is the one locked.
    async fn keep(&self, partial: Partial, place: &Place, artifact: &Artifact, role: Role) -> Result<(), FailureCause> {
        let sha512 = Sha512::from_bytes(partial.sha512.clone().finalize().into());
        let is_locked = partial.writer.digest() == artifact.sha256
            && partial.writer.size() == artifact.size
            && artifact.sha512.is_none_or(|locked| locked == sha512);
        if !is_locked {
            return Err(self.refuse(partial, place, role));
        }
        // Syncing to the disk waits; other transfers go on meanwhile.
        let (writer, expected) = (partial.writer, artifact.sha256);
        match tokio::task::spawn_blocking(move || writer.commit(Some(&expected))).await {
            Ok(result) => result.map(|_| ()).map_err(FailureCause::from),
            Err(_) => Err(FailureCause::Interrupted),
        }
    }

    /// Keeps bytes that were not locked where people can look at them.
    fn refuse(&self, partial: Partial, place: &Place, role: Role) -> FailureCause {
        if role == Role::Proof {
            return FailureCause::Superseded;
        }
        match partial.writer.quarantine(&self.quarantine) {
            Ok((found, size, kept)) => FailureCause::Mismatch { found, size, from: redact(&place.url), kept },
            Err(error) => error.into(),
        }
    }
}

/// Whether an answer goes on at byte `received`.
fn continues(status: StatusCode, headers: &HeaderMap, received: u64) -> bool {
    let range = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    status == StatusCode::PARTIAL_CONTENT && range.is_some_and(|range| range.starts_with(&format!("bytes {received}-")))
}

impl Partial {
    fn new(store: &Store) -> Result<Self, StoreError> {
        Ok(Self { writer: store.create_blob()?, sha512: sha2::Sha512::new() })
    }

    fn write(&mut self, piece: &[u8]) -> std::io::Result<()> {
        self.sha512.update(piece);
        self.writer.write_all(piece)
    }
}

/// Where a file was asked for in vain, and the worst that was said.
#[derive(Default)]
pub(super) struct Trail {
    pub(super) asked: Vec<String>,
    failure: Option<FailureCause>,
}

impl Trail {
    /// A place that does not have it is no failure while there are others.
    pub(super) fn note(&mut self, cause: FailureCause) {
        match cause {
            FailureCause::Http(error) if error.is_not_found() => {}
            other => self.failure = Some(other),
        }
    }

    pub(super) fn into_cause(self) -> FailureCause {
        self.failure.unwrap_or(FailureCause::Gone { asked: self.asked })
    }
}

impl From<StoreError> for FailureCause {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
