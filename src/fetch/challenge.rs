//! The same file from every place that may have it, compared by hash; nothing is kept.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use futures::future::join_all;
use reqwest::header::{ACCEPT_ENCODING, HeaderValue};
use tokio::sync::Semaphore;
use url::Url;

use crate::base::http::{HttpClient, HttpError, Request, redact};
use crate::manifest::SourceKind;
use crate::model::{Artifact, Hasher, Sha256};
use crate::source::Source;

use super::error::FailureCause;
use super::places::{Place, addresses, bases, look_up_wheel, place};
use super::plan::Wanted;
use super::transfer::PAGES;

/// What one place has under the name of a locked file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// The locked bytes.
    Same,
    /// Other bytes.
    Other {
        /// What they hash to, as far as they were read.
        sha256: Sha256,
        /// How many were read: one piece more than locked at most.
        size: u64,
    },
    /// Nothing.
    Nothing,
    /// It could not be asked.
    Unknown(String),
}

/// Asks every place of these sources for a locked file: each source's own address and its mirrors. Gives one answer a
/// place, with the place for people.
///
/// `named` is its address, where the manifest names it: that of the first source.
pub async fn challenge(
    wanted: &Wanted<'_>,
    sources: &[Source],
    named: Option<&Url>,
    http: &HttpClient,
) -> Vec<(String, Held)> {
    let artifact = wanted.artifact;
    let pages = Semaphore::new(PAGES);
    let mut seen = BTreeSet::new();
    let own = |index: usize| named.filter(|_| index == 0);
    let places: Vec<(&Source, Url)> = sources
        .iter()
        .enumerate()
        .flat_map(|(index, source)| {
            let bases = own(index).map_or_else(|| bases(source, &wanted.moments), |url| vec![url.clone()]);
            bases.into_iter().map(move |base| (source, base))
        })
        .filter(|(_, base)| seen.insert(base.clone()))
        .collect();
    let asked = places.iter().map(async |(source, base)| {
        let held = match named.is_some_and(|url| url == base) {
            true => read(place(source, base.clone()), artifact, http).await.map_err(FailureCause::from).or_else(absent),
            false => ask(source, base, artifact, http, &pages).await,
        };
        (redact(base), held.unwrap_or_else(|cause| Held::Unknown(told(&cause))))
    });
    join_all(asked).await
}

/// What is not there is an answer.
fn absent(cause: FailureCause) -> Result<Held, FailureCause> {
    match cause {
        FailureCause::Http(error) if error.is_not_found() => Ok(Held::Nothing),
        other => Err(other),
    }
}

fn told(cause: &FailureCause) -> String {
    cause.to_string()
}

async fn ask(
    source: &Source,
    base: &url::Url,
    artifact: &Artifact,
    http: &HttpClient,
    pages: &Semaphore,
) -> Result<Held, FailureCause> {
    let urls = match source.kind {
        SourceKind::Pip => {
            let _held = pages.acquire().await.ok();
            look_up_wheel(source, base, artifact, http).await?.into_iter().collect()
        }
        SourceKind::Apt | SourceKind::Npm | SourceKind::Image => addresses(source, base, artifact),
    };
    for url in urls {
        match read(place(source, url), artifact, http).await {
            Err(error) if error.is_not_found() => {}
            other => return Ok(other?),
        }
    }
    Ok(Held::Nothing)
}

/// Hashes what a place sends, until it is more than is locked.
async fn read(place: Place, artifact: &Artifact, http: &HttpClient) -> Result<Held, HttpError> {
    let request = Request::get(place.url)
        .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
        .authorization(place.authorization.as_deref());
    let answer = http.open(&request).await?;
    let (mut hasher, mut size) = (Hasher::default(), 0u64);
    let mut pieces = std::pin::pin!(answer.pieces(u64::MAX));
    while let Some(piece) = pieces.try_next().await? {
        hasher.update(&piece);
        size += piece.len() as u64;
        if size > artifact.size {
            break;
        }
    }
    match hasher.finish() {
        sha256 if sha256 == artifact.sha256 => Ok(Held::Same),
        sha256 => Ok(Held::Other { sha256, size }),
    }
}
