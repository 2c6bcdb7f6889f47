//! Which locked files another machine could not fetch any more: the sources are asked, nothing is brought.

use futures::future::join_all;
use reqwest::header::{ACCEPT_ENCODING, HeaderValue};
use tokio::sync::Semaphore;
use url::Url;

use crate::base::http::{HttpClient, HttpError, Request, redact};
use crate::manifest::SourceKind;
use crate::source::{Source, Sources};

use super::error::{Failure, FailureCause, FetchError};
use super::places::{Place, addresses, bases, look_up_wheel, place};
use super::plan::Wanted;
use super::transfer::{PAGES, Trail};

/// The files that no place of their source has any more, in the order of `wanted`. The store plays no part in it: what
/// counts is what a machine without it could fetch. A wheel must be in the page of its project as well.
///
/// # Errors
/// When a place that may have a file could not be asked; it is never taken for one that dropped the file.
pub async fn find_gone(
    wanted: &[Wanted<'_>],
    sources: &Sources,
    http: &HttpClient,
) -> Result<Vec<Failure>, FetchError> {
    let mut asked = Vec::new();
    for want in wanted {
        asked.push((want, sources.get(&want.artifact.source)?));
    }
    let pages = Semaphore::new(PAGES);
    let asker = Asker { http, pages: &pages };
    let answers =
        join_all(asked.iter().map(|(want, source)| asker.ask(source, want, sources.wheel(want.artifact)))).await;
    let failures = asked.iter().zip(answers).filter_map(|((want, _), answer)| {
        let cause = answer.err()?;
        Some(Failure { label: want.label.clone(), artifact: want.artifact.clone(), cause })
    });
    let (gone, unknown): (Vec<Failure>, Vec<Failure>) = failures.partition(|failure| failure.cause.is_gone());
    if unknown.is_empty() { Ok(gone) } else { Err(FetchError::Unknown { failures: unknown }) }
}

struct Asker<'a> {
    http: &'a HttpClient,
    pages: &'a Semaphore,
}

impl Asker<'_> {
    /// Asks each place until one has the file.
    async fn ask(&self, source: &Source, want: &Wanted<'_>, named: Option<&Url>) -> Result<(), FailureCause> {
        let (artifact, mut trail) = (want.artifact, Trail::default());
        let own = named.map_or_else(|| bases(source, &want.moments), |url| vec![url.clone()]);
        for base in &own {
            let urls = match source.kind {
                _ if named.is_some() => vec![base.clone()],
                SourceKind::Pip => {
                    let _held = self.pages.acquire().await.ok();
                    match look_up_wheel(source, base, artifact, self.http).await {
                        Ok(link) => link.into_iter().collect(),
                        Err(cause) => {
                            trail.note(cause);
                            continue;
                        }
                    }
                }
                SourceKind::Apt | SourceKind::Npm | SourceKind::Image => addresses(source, base, artifact),
            };
            trail.asked.push(redact(base));
            for url in urls {
                match self.look(place(source, url)).await {
                    Ok(()) => return Ok(()),
                    Err(error) => trail.note(error.into()),
                }
            }
        }
        Err(trail.into_cause())
    }

    /// Asks for the first byte: some servers answer HEAD otherwise than GET. One that does not know ranges sends more,
    /// which is not read.
    async fn look(&self, place: Place) -> Result<(), HttpError> {
        let request = Request::get(place.url)
            .range(0, 0)
            .limit(1)
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
            .authorization(place.authorization.as_deref());
        match self.http.fetch(request).await {
            Ok(_) | Err(HttpError::TooLarge { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
