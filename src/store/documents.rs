//! Documents that servers change: asked for every time, and sent again only where they are others than those kept.
//!
//! What a server calls an answer (RFC 9110, section 8.8) is kept beside it as a memo. It is never taken without asking, whatever
//! `Cache-Control` says, and a server that calls it otherwise than before is asked for all of it.

use std::sync::Arc;

use reqwest::StatusCode;
use reqwest::header::{AsHeaderName, DATE, ETAG, HeaderMap, LAST_MODIFIED};
use serde::{Deserialize, Serialize};

use super::Store;
use crate::base::http::{Answer, HttpClient, HttpError, Request};
use crate::model::{Hasher, Sha256};

const MEMO: &str = "document";
/// For how long a document must have been as it is for the time of its last change to name it, in seconds: times are no finer
/// than a second, and servers may have several clocks (RFC 9110, section 8.8.2.2).
const SETTLED: i64 = 60;
/// Level of compression: documents of registries are long and say the same again and again.
const LEVEL: i32 = 1;

/// What a server calls an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Validators {
    etag: Option<String>,
    modified: Option<String>,
}

/// Fetches a document, and its bytes only where they have changed since the last time; all of them where there is no store.
///
/// # Errors
/// As [`HttpClient::fetch`].
pub async fn fetch_document(request: Request, http: &HttpClient, store: Option<&Store>) -> Result<Answer, HttpError> {
    let Some(store) = store else { return http.fetch(request).await };
    let question = question(&request);
    if let Some((validators, packed)) = recall(store, &question) {
        let conditional = request.clone().unless_named(validators.etag.as_deref(), validators.modified.as_deref());
        match http.fetch(conditional).await {
            Err(HttpError::Status { status: StatusCode::NOT_MODIFIED, headers, .. }) => {
                if validators.are_those_of(&headers)
                    && let Some(body) = unpacked(packed).await
                {
                    let url = request.url().clone();
                    return Ok(Answer { body, status: StatusCode::OK, headers: *headers, url });
                }
                tracing::debug!("`{}` is asked for again: it is not what was kept", request.url().path());
            }
            other => return Ok(keep(other?, &request, question, store).await),
        }
    }
    Ok(keep(http.fetch(request.clone()).await?, &request, question, store).await)
}

/// Two who may see different things do not share an answer.
fn question(request: &Request) -> Sha256 {
    let mut hasher = Hasher::default();
    hasher.field(request.url().as_str());
    for (name, value) in request.headers() {
        hasher.field(name.as_str());
        hasher.field(value.as_bytes());
    }
    hasher.finish()
}

fn recall(store: &Store, question: &Sha256) -> Option<(Validators, Vec<u8>)> {
    let mut memo = store.memo(MEMO, question)?;
    let end = memo.iter().position(|byte| *byte == b'\n')?;
    let validators = serde_json::from_slice(&memo[..end]).ok()?;
    memo.drain(..=end);
    Some((validators, memo))
}

async fn unpacked(packed: Vec<u8>) -> Option<Vec<u8>> {
    tokio::task::spawn_blocking(move || zstd::decode_all(&packed[..]).ok()).await.ok()?
}

/// Keeps an answer that has a name, and forgets the one before where this one has none.
async fn keep(mut answer: Answer, request: &Request, question: Sha256, store: &Store) -> Answer {
    let (store, is_direct) = (store.clone(), answer.url == *request.url());
    let validators = Validators::of(&answer.headers).filter(|_| is_direct && answer.status == StatusCode::OK);
    let Some(validators) = validators else {
        store.remove_memo(MEMO, &question).ok();
        return answer;
    };
    let body = Arc::new(std::mem::take(&mut answer.body));
    let kept = body.clone();
    let work = move || {
        let mut memo = serde_json::to_vec(&validators).unwrap_or_default();
        memo.push(b'\n');
        memo.extend(zstd::encode_all(&kept[..], LEVEL).ok()?);
        store.set_memo(MEMO, &question, &memo).ok()
    };
    // Without the memo it is sent again next time, which is slow and right.
    if !matches!(tokio::task::spawn_blocking(work).await, Ok(Some(()))) {
        tracing::debug!("`{}` cannot be kept", request.url().path());
    }
    answer.body = Arc::unwrap_or_clone(body);
    answer
}

impl Validators {
    /// What these headers call their answer, if it is a name that no other answer can have.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let etag = text(headers, ETAG).map(str::to_owned);
        let moment = |text: &str| Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_second());
        let modified = text(headers, LAST_MODIFIED).filter(|modified| {
            let (modified, now) = (moment(modified), text(headers, DATE).and_then(moment));
            modified.zip(now).is_some_and(|(modified, now)| now - modified >= SETTLED)
        });
        let modified = modified.map(str::to_owned);
        (etag.is_some() || modified.is_some()).then_some(Self { etag, modified })
    }

    /// Whether a server that says that nothing changed means this answer. It must repeat the name (RFC 9110, section 15.4.5);
    /// where there is a tag, the time does not count.
    fn are_those_of(&self, headers: &HeaderMap) -> bool {
        match &self.etag {
            Some(etag) => text(headers, ETAG).is_some_and(|said| strong(said) == strong(etag)),
            None => text(headers, LAST_MODIFIED).is_none_or(|said| Some(said) == self.modified.as_deref()),
        }
    }
}

fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// A tag without the mark that it stands for equal meaning rather than equal bytes.
fn strong(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag)
}
