//! Where a file can be had: addresses worked out from the source and the path, or looked up in a Python index.

use serde::Deserialize;
use std::borrow::Cow;

use url::Url;

use crate::base::http::{HttpClient, HttpError, Request, redact};
use crate::manifest::SourceKind;
use crate::model::Artifact;
use crate::source::{Source, at_moment, is_dated, names};

use super::error::FailureCause;

/// An address with the credentials for it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub url: Url,
    pub authorization: Option<String>,
}

/// The base URLs of a source: its own, then its mirrors; those of snapshot-style archives at each of the moments.
pub(super) fn bases(source: &Source, moments: &[i64]) -> Vec<Url> {
    // Only the manifest says where these are.
    if source.name.as_str() == names::URL {
        return Vec::new();
    }
    let all = std::iter::once(&source.url).chain(&source.mirrors);
    all.flat_map(|url| match is_dated(url) {
        true => moments.iter().map(|moment| at_moment(url, *moment)).collect(),
        false => vec![url.clone()],
    })
    .collect()
}

/// A place at `url`; the source's credentials go with it only to the source's own host.
pub(super) fn place(source: &Source, url: Url) -> Place {
    let authorization = source.authorization.clone().filter(|_| url.origin() == source.url.origin());
    Place { url, authorization }
}

/// The addresses of a file below a base URL, the likeliest first.
pub(super) fn addresses(source: &Source, base: &Url, artifact: &Artifact) -> Vec<Url> {
    let mut paths = Vec::new();
    let path = artifact.path.as_str();
    // An index is replaced at its path with every update, and kept for a while under its hash.
    if source.kind == SourceKind::Apt
        && path.starts_with("dists/")
        && let Some((directory, file)) = path.rsplit_once('/')
        && !file.contains("Release")
    {
        paths.push(format!("{directory}/by-hash/SHA256/{}", artifact.sha256));
    }
    paths.push(path.to_owned());
    // Joined as text: a path such as `a:b/c` would be taken for a URL of its own.
    paths.iter().filter_map(|path| Url::parse(&format!("{base}{path}")).ok()).collect()
}

/// A project's page in a Python index (PEP 691).
#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    files: Vec<PageFile<'a>>,
}

#[derive(Deserialize)]
struct PageFile<'a> {
    #[serde(borrow)]
    filename: Cow<'a, str>,
    #[serde(borrow)]
    url: Cow<'a, str>,
}

/// The largest page that is read; the largest seen has 21 MB.
const PAGE_LIMIT: u64 = 128 << 20;

/// Looks a wheel up in the page of its project; none when the index does not have it.
pub(super) async fn look_up_wheel(
    source: &Source,
    index: &Url,
    artifact: &Artifact,
    http: &HttpClient,
) -> Result<Option<Url>, FailureCause> {
    let path = artifact.path.as_str();
    let project = path.split('/').next().unwrap_or(path);
    let Ok(url) = Url::parse(&format!("{index}{project}/")) else { return Ok(None) };
    let page = place(source, url.clone());
    let request = Request::get(page.url)
        .accept("application/vnd.pypi.simple.v1+json")
        .authorization(page.authorization.as_deref())
        .limit(PAGE_LIMIT);
    let answer = match http.fetch(request).await {
        Err(error) if error.is_not_found() => return Ok(None),
        other => other?,
    };
    let unreadable = |reason: String| FailureCause::Index { url: redact(&url), reason };
    let page: Page<'_> = serde_json::from_slice(&answer.body).map_err(|error| unreadable(error.to_string()))?;
    let file = page.files.iter().find(|file| file.filename == artifact.path.file_name());
    let link = file.map(|file| answer.url.join(&file.url)).transpose();
    let mut link = link.map_err(|error| unreadable(error.to_string()))?;
    if let Some(link) = &mut link {
        link.set_fragment(None);
        if !matches!(link.scheme(), "https" | "http") {
            return Err(unreadable(format!("it links to `{}:`", link.scheme())));
        }
    }
    Ok(link)
}

impl From<HttpError> for FailureCause {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}
