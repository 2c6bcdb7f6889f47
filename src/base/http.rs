//! One pooled HTTP client for the whole run: HTTP/2, a cap on requests under way, retries where they help, hard caps on sizes.
//!
//! TLS trusts the platform's roots. Credentials never appear in an error or a log line.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, RANGE};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use url::Url;

use super::explain::{Explain, Kind};

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
    #[error("`{}` answered {status}", redact(url))]
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
    pub fn is_worth_another_try(&self) -> bool {
        match self {
            Self::Transport { .. } => true,
            Self::Status { status, .. } => status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429),
            _ => false,
        }
    }
}

impl Explain for HttpError {
    fn kind(&self) -> Kind {
        Kind::Unable
    }

    fn hints(&self) -> Vec<String> {
        match self {
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
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self { concurrency: 32, offline: false, tries: 4 }
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
    client: reqwest::Client,
    permits: Arc<Semaphore>,
    options: HttpOptions,
}

impl HttpClient {
    /// Prepares the client.
    ///
    /// # Errors
    /// When TLS cannot be set up, for example because no root certificates are there.
    pub fn new(options: HttpOptions) -> Result<Self, HttpError> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("oclock/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(20))
            .read_timeout(Duration::from_secs(60))
            .http2_adaptive_window(true)
            .build()
            .map_err(|source| HttpError::Client { source })?;
        Ok(Self { client, permits: Arc::new(Semaphore::new(options.concurrency.max(1))), options })
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
                Err(error) if error.is_worth_another_try() && attempt < self.options.tries => {
                    tracing::debug!(attempt, "{error}: trying again");
                    tokio::time::sleep(Duration::from_millis(200 << attempt)).await;
                    attempt += 1;
                }
                other => return other,
            }
        }
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
        let response = self
            .client
            .get(url.clone())
            .headers(request.headers.clone())
            .send()
            .await
            .map_err(|source| HttpError::Transport { url: url.clone(), source: source.without_url() })?;
        let status = response.status();
        tracing::trace!(%status, "GET {}", redact(&url));
        match status {
            _ if status.is_success() => Ok(OpenAnswer {
                status,
                headers: response.headers().clone(),
                url: response.url().clone(),
                response,
                _permit: permit,
            }),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(HttpError::NotFound { url, status }),
            _ => Err(HttpError::Status { url, status, headers: Box::new(response.headers().clone()) }),
        }
    }

    /// The client below, for what is not a GET (pushing to a registry).
    pub fn raw(&self) -> &reqwest::Client {
        &self.client
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
    _permit: Option<OwnedSemaphorePermit>,
}

impl OpenAnswer {
    /// The body piece by piece; an error once it passes `limit` bytes.
    pub fn pieces(self, limit: u64) -> impl Stream<Item = Result<Vec<u8>, HttpError>> {
        let url = self.url;
        let permit = self._permit;
        let mut total = 0u64;
        self.response.bytes_stream().map(move |piece| {
            let _held = &permit;
            let piece =
                piece.map_err(|source| HttpError::Transport { url: url.clone(), source: source.without_url() })?;
            total += piece.len() as u64;
            if total > limit {
                return Err(HttpError::TooLarge { url: url.clone(), limit });
            }
            Ok(piece.to_vec())
        })
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

    #[tokio::test]
    async fn offline_refuses_before_any_socket_is_opened() {
        let client = HttpClient::new(HttpOptions { offline: true, ..HttpOptions::default() }).unwrap();
        let error = client.fetch(Request::get(Url::parse("https://host.invalid/").unwrap())).await.unwrap_err();
        assert!(matches!(error, HttpError::Offline { .. }));
    }
}
