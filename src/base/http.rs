//! One pooled HTTP client for the whole run: HTTP/2, a cap on requests under way, retries where they help, hard caps on sizes.
//!
//! TLS trusts the platform's roots. Credentials never appear in an error or a log line.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use reqwest::StatusCode;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE, RETRY_AFTER,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use url::Url;

use super::explain::{Explain, Kind};

/// How much of a body must come within the patience, in bytes, for the server not to be too slow.
const LEAST: u64 = 1024;
/// How long is waited for a connection, at most.
const LONGEST_CONNECT: Duration = Duration::from_secs(20);

/// A request that was not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// `--offline` was given.
    #[error("`{}` was asked for while offline", redact(url))]
    Offline {
        /// What was asked for.
        url: Url,
    },
    /// The server does not have it (404 or 410).
    #[error("`{}` is not there: {status}", redact(url))]
    NotFound {
        /// What was asked for.
        url: Url,
        /// The status.
        status: StatusCode,
    },
    /// Any other answer than success.
    #[error("`{}` answered {status}{}", redact(url), later(headers))]
    Status {
        /// What was asked for.
        url: Url,
        /// The status.
        status: StatusCode,
        /// The server's headers, for challenges.
        headers: Box<HeaderMap>,
    },
    /// The answer is larger than it may be.
    #[error("`{}` is larger than {limit} bytes", redact(url))]
    TooLarge {
        /// What was asked for.
        url: Url,
        /// The cap.
        limit: u64,
    },
    /// The server says nothing, or next to nothing.
    #[error("`{}` is too slow: less than {least} bytes in {} s", redact(url), patience.as_secs_f32())]
    Slow {
        /// What was asked for.
        url: Url,
        /// How long it was waited for.
        patience: Duration,
        /// What would have been enough.
        least: u64,
    },
    /// No connection, or it broke.
    #[error("could not reach `{}`", redact(url))]
    Transport {
        /// What was asked for.
        url: Url,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The client itself could not be made.
    #[error("could not prepare the HTTP client")]
    Client {
        /// Why.
        #[source]
        source: reqwest::Error,
    },
}

impl HttpError {
    /// Whether the server said that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the same request may be answered otherwise a moment later.
    fn is_worth_another_try(&self) -> bool {
        match self {
            Self::Transport { source, .. } => !source.is_redirect() && !source.is_builder(),
            Self::Slow { .. } => true,
            Self::Status { status, .. } => status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429),
            _ => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { headers, .. } => retry_after(headers),
            _ => None,
        }
    }
}

/// How long the server asks to be left alone: `Retry-After` in seconds (RFC 9110, section 10.2.3). A date is not read, as two
/// clocks would have to agree.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn later(headers: &HeaderMap) -> String {
    let after = retry_after(headers).filter(|after| !after.is_zero());
    after.map_or_else(String::new, |after| format!(", to be asked again in {} s", after.as_secs()))
}

impl Explain for HttpError {
    fn kind(&self) -> Kind {
        Kind::Unable
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Slow { .. } => vec!["`--timeout SECONDS` waits longer".into()],
            Self::Offline { .. } => vec!["run it once without `--offline`".into()],
            Self::Transport { .. } => {
                vec!["`oclock info` shows which sources are asked and where they were found".into()]
            }
            _ => Vec::new(),
        }
    }
}

/// How the client behaves.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Requests under way at once.
    pub concurrency: usize,
    /// Refuse every request.
    pub offline: bool,
    /// Tries per request, at least 1.
    pub tries: u32,
    /// How long a server may say next to nothing, and how long it may ask to be left alone.
    pub patience: Duration,
    /// How long is waited before the second try; twice as long before each further one.
    pub pause: Duration,
}

impl HttpOptions {
    /// How long to wait after the `attempt`th failure; nothing when another try is of no use, or would be too soon for the
    /// server after all patience.
    fn pause_after(&self, error: &HttpError, attempt: u32) -> Option<Duration> {
        if !error.is_worth_another_try() || attempt >= self.tries {
            return None;
        }
        let own = self.pause * (1 << (attempt - 1).min(8));
        let pause = error.retry_after().map_or(own, |asked| asked.max(own));
        (pause <= self.patience.max(own)).then_some(pause)
    }
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            concurrency: 32,
            offline: false,
            tries: 4,
            patience: Duration::from_secs(60),
            pause: Duration::from_millis(400),
        }
    }
}

/// What is asked of a server. Build one with [`Request::get`].
#[derive(Clone, Debug)]
pub struct Request {
    url: Url,
    headers: HeaderMap,
    limit: u64,
}

impl Request {
    /// Asks for `url`, with at most 64 MiB of answer.
    pub fn get(url: Url) -> Self {
        Self { url, headers: HeaderMap::new(), limit: 64 << 20 }
    }

    /// Sets the media types wanted.
    #[must_use]
    pub fn accept(self, types: &'static str) -> Self {
        self.header(ACCEPT, HeaderValue::from_static(types))
    }

    /// Sets `Authorization`; the value is never shown.
    #[must_use]
    pub fn authorization(self, value: Option<&str>) -> Self {
        let Some(mut value) = value.and_then(|text| HeaderValue::from_str(text).ok()) else { return self };
        value.set_sensitive(true);
        self.header(AUTHORIZATION, value)
    }

    /// Asks for bytes `first..=last` alone.
    #[must_use]
    pub fn range(self, first: u64, last: u64) -> Self {
        match HeaderValue::from_str(&format!("bytes={first}-{last}")) {
            Ok(value) => self.header(RANGE, value),
            Err(_) => self,
        }
    }

    /// Asks for it unless it is still what the server called by this tag, or else last changed at this time.
    #[must_use]
    pub fn unless_named(self, etag: Option<&str>, modified: Option<&str>) -> Self {
        let (name, text) = match (etag, modified) {
            (Some(etag), _) => (IF_NONE_MATCH, etag),
            (None, Some(modified)) => (IF_MODIFIED_SINCE, modified),
            (None, None) => return self,
        };
        match HeaderValue::from_str(text) {
            Ok(value) => self.header(name, value),
            Err(_) => self,
        }
    }

    /// Sets a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Caps the answer's size in bytes.
    #[must_use]
    pub fn limit(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// What is asked for.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// How it is asked for.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The body.
    pub body: Vec<u8>,
    /// 200, or 206 for a range.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// Where it came from after redirects.
    pub url: Url,
}

/// The pooled client. Cloning is cheap and shares the pool.
#[derive(Clone, Debug)]
pub struct HttpClient {
    /// Made for the first request: that reads all root certificates.
    client: Arc<OnceLock<reqwest::Client>>,
    permits: Arc<Semaphore>,
    options: HttpOptions,
}

impl HttpClient {
    /// Prepares the client.
    pub fn new(options: HttpOptions) -> Self {
        let permits = Arc::new(Semaphore::new(options.concurrency.max(1)));
        Self { client: Arc::default(), permits, options }
    }

    /// Whether every request is refused.
    pub fn is_offline(&self) -> bool {
        self.options.offline
    }

    /// Fetches a whole body, trying again after what may pass.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub async fn fetch(&self, request: Request) -> Result<Answer, HttpError> {
        let mut attempt = 1;
        loop {
            match self.fetch_once(&request).await {
                Err(error) if self.wait_before_another_try(&error, attempt).await => attempt += 1,
                other => return other,
            }
        }
    }

    /// Waits before a request is made again that failed for the `attempt`th time; false when it is of no use.
    pub async fn wait_before_another_try(&self, error: &HttpError, attempt: u32) -> bool {
        let Some(pause) = self.options.pause_after(error, attempt) else { return false };
        tracing::debug!(attempt, "{error}: trying again");
        tokio::time::sleep(pause).await;
        true
    }

    async fn fetch_once(&self, request: &Request) -> Result<Answer, HttpError> {
        let opened = self.open(request).await?;
        let (status, headers, url) = (opened.status, opened.headers.clone(), opened.url.clone());
        let mut body = Vec::new();
        let mut pieces = std::pin::pin!(opened.pieces(request.limit));
        while let Some(piece) = pieces.try_next().await? {
            body.extend_from_slice(&piece);
        }
        Ok(Answer { body, status, headers, url })
    }

    /// Opens one answer for streaming, with no second try: the caller knows what to do with half a body.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub async fn open(&self, request: &Request) -> Result<OpenAnswer, HttpError> {
        let url = request.url.clone();
        if self.options.offline {
            return Err(HttpError::Offline { url });
        }
        let permit = self.permits.clone().acquire_owned().await.ok();
        let sent = self.raw()?.get(url.clone()).headers(request.headers.clone()).send();
        let patience = self.options.patience;
        let response = tokio::time::timeout(patience, sent)
            .await
            .map_err(|_| HttpError::Slow { url: url.clone(), patience, least: 1 })?
            .map_err(|source| HttpError::Transport { url: url.clone(), source: source.without_url() })?;
        let status = response.status();
        tracing::trace!(%status, "GET {}", redact(&url));
        match status {
            _ if status.is_success() => Ok(OpenAnswer {
                status,
                headers: response.headers().clone(),
                url: response.url().clone(),
                response,
                patience,
                permit,
            }),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(HttpError::NotFound { url, status }),
            _ => Err(HttpError::Status { url, status, headers: Box::new(response.headers().clone()) }),
        }
    }

    /// The client below, for what is not a GET (pushing to a registry).
    ///
    /// # Errors
    /// When TLS cannot be set up, for example because no root certificates are there.
    pub fn raw(&self) -> Result<&reqwest::Client, HttpError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = reqwest::Client::builder()
            .user_agent(concat!("oclock/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.options.patience.min(LONGEST_CONNECT))
            .http2_adaptive_window(true)
            .build()
            .map_err(|source| HttpError::Client { source })?;
        Ok(self.client.get_or_init(|| client))
    }
}

/// An answer whose body has not been read yet.
#[derive(Debug)]
pub struct OpenAnswer {
    /// 200, or 206 for a range.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// Where it came from after redirects.
    pub url: Url,
    response: reqwest::Response,
    patience: Duration,
    permit: Option<OwnedSemaphorePermit>,
}

/// What is on its way of a body.
struct Body {
    url: Url,
    response: reqwest::Response,
    limit: u64,
    total: u64,
    patience: Duration,
    /// Until when [`LEAST`] bytes must have come.
    deadline: Instant,
    /// What came since the deadline was set.
    since: u64,
    _permit: Option<OwnedSemaphorePermit>,
}

impl OpenAnswer {
    /// The body piece by piece; an error once it passes `limit` bytes, or when next to nothing comes.
    pub fn pieces(self, limit: u64) -> impl Stream<Item = Result<Vec<u8>, HttpError>> {
        let (url, response, patience) = (self.url, self.response, self.patience);
        let deadline = Instant::now() + patience;
        let body = Body { url, response, limit, total: 0, patience, deadline, since: 0, _permit: self.permit };
        futures::stream::try_unfold(body, |mut body| async move { Ok(body.next().await?.map(|piece| (piece, body))) })
    }
}

impl Body {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, HttpError> {
        let piece = tokio::time::timeout_at(self.deadline, self.response.chunk()).await.map_err(|_| self.slow())?;
        let failed =
            |source: reqwest::Error| HttpError::Transport { url: self.url.clone(), source: source.without_url() };
        let Some(piece) = piece.map_err(failed)? else { return Ok(None) };
        self.total += piece.len() as u64;
        self.since += piece.len() as u64;
        if self.total > self.limit {
            return Err(HttpError::TooLarge { url: self.url.clone(), limit: self.limit });
        }
        if self.since >= LEAST {
            self.since = 0;
            self.deadline = Instant::now() + self.patience;
        }
        Ok(Some(piece.to_vec()))
    }

    fn slow(&self) -> HttpError {
        HttpError::Slow { url: self.url.clone(), patience: self.patience, least: LEAST }
    }
}

/// A URL for people: without user name, password and query, where credentials may be.
pub fn redact(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_username("").ok();
    shown.set_password(None).ok();
    shown.set_query(None);
    super::text::sanitize(shown.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_shown() {
        let url = Url::parse("https://user:secret@host.invalid/a?token=secret").unwrap();
        assert_eq!(redact(&url), "https://host.invalid/a");
    }

    fn answered(status: u16, retry_after: Option<&'static str>) -> HttpError {
        let mut headers = HeaderMap::new();
        headers.extend(retry_after.map(|text| (RETRY_AFTER, HeaderValue::from_static(text))));
        let url = Url::parse("https://host.invalid/").unwrap();
        HttpError::Status { url, status: StatusCode::from_u16(status).unwrap(), headers: Box::new(headers) }
    }

    #[test]
    fn another_try_waits_as_the_server_asks_and_not_for_ever() {
        let options = HttpOptions { tries: 3, ..HttpOptions::default() };
        let pause = |status, after, attempt| options.pause_after(&answered(status, after), attempt);
        let millis = |number| Some(Duration::from_millis(number));
        assert_eq!((pause(500, None, 1), pause(503, None, 2), pause(500, None, 3)), (millis(400), millis(800), None));
        assert_eq!((pause(429, Some("7"), 1), pause(429, Some("0"), 1)), (millis(7000), millis(400)));
        assert_eq!((pause(429, Some("61"), 1), pause(429, Some("soon"), 1)), (None, millis(400)));
        assert_eq!((pause(403, None, 1), pause(400, Some("1"), 1)), (None, None));
        let shown = answered(429, Some("61")).to_string();
        assert_eq!(shown, "`https://host.invalid/` answered 429 Too Many Requests, to be asked again in 61 s");
    }

    #[tokio::test]
    async fn offline_refuses_before_any_socket_is_opened() {
        let client = HttpClient::new(HttpOptions { offline: true, ..HttpOptions::default() });
        let error = client.fetch(Request::get(Url::parse("https://host.invalid/").unwrap())).await.unwrap_err();
        assert!(matches!(error, HttpError::Offline { .. }));
    }
}
