//! `oclock info`: which sources, engines and directories are used, and where they were found.

use super::error::OpsError;
use super::session::Session;
use crate::base::http::redact;
use crate::engine;
use crate::manifest::BaseRequest;
use crate::source::Source;

/// What oclock would use.
#[derive(Clone, Debug, serde::Serialize)]
pub struct InfoOutcome {
    /// This program's version.
    pub version: &'static str,
    /// The format of lockfiles it reads and writes.
    pub lock_format: u32,
    /// Where the store is.
    pub store: String,
    /// Sources: name, address, where it was found; or why there is none.
    pub sources: Vec<(String, String, String)>,
    /// Engines: name, and version or why it is not usable.
    pub engines: Vec<(String, String)>,
}

const ANY_SUITE: &str = "stable";

/// Looks around.
///
/// # Errors
/// When a client's configuration cannot be read.
pub fn info(session: &Session) -> Result<InfoOutcome, OpsError> {
    let manifest = session.manifest()?.manifest;
    let sources = session.sources(&manifest)?;
    let (image, suite) = match (&manifest.image.base, &manifest.apt.suite) {
        (BaseRequest::Debian { suite }, _) => (None, suite.as_str()),
        // Which suite an image is of, its layers say; sources are the same for all.
        (BaseRequest::Image(image), suite) => (Some(image), suite.as_deref().unwrap_or(ANY_SUITE)),
    };
    let mut lines = Vec::new();
    let mut add = |kind: &str, found: Result<Vec<Source>, crate::source::SourceError>| match found {
        Ok(found) => lines
            .extend(found.iter().map(|source| (source.name.to_string(), redact(&source.url), source.found_in.clone()))),
        Err(error) => lines.push((kind.to_owned(), "none".to_owned(), error.to_string())),
    };
    if let Some(image) = image {
        add("registry", sources.image_of(image).map(|source| vec![source]));
    }
    add("apt", sources.apt(suite));
    add("npm", sources.npm());
    add("pip", sources.pip());
    Ok(InfoOutcome {
        version: env!("CARGO_PKG_VERSION"),
        lock_format: crate::lock::FORMAT_VERSION,
        store: session.store.root().display().to_string(),
        sources: lines,
        engines: engine::survey(&session.environment),
    })
}
