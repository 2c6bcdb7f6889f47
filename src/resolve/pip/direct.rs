//! Wheels that the manifest asks for by URL: each is all that there is of its project.

use std::collections::BTreeSet;

use url::Url;
use uv_normalize::PackageName;

use super::PipError;
use super::metadata::Asker;
use super::page::{Choice, ListedFile, Page};
use super::target::Target;
use crate::base::fs::FsError;
use crate::base::http::HttpClient;
use crate::manifest::WheelUrl;
use crate::model::Sha256;
use crate::source::{Source, url_source};
use crate::store::{Store, StoreError};

/// A wheel with the source whose name the lock has for it.
#[derive(Clone, Debug)]
pub(super) struct Direct {
    wheel: WheelUrl,
    /// The source that it is below, else one without a name of its own.
    pub(super) source: Source,
}

impl Direct {
    /// Finds the source of a wheel: the one of `sources` that its address is below. `bound` is the one that its project is
    /// bound to.
    ///
    /// # Errors
    /// When it is bound to another one.
    pub(super) fn new(wheel: WheelUrl, sources: &[&Source], bound: Option<&Source>) -> Result<Self, PipError> {
        let is_above = |source: &&&Source| wheel.url.as_str().starts_with(source.url.as_str());
        let above = sources.iter().filter(is_above).max_by_key(|source| source.url.as_str().len());
        let source = match above {
            Some(source) => Source::clone(source),
            None => url_source(&wheel.url).map_err(|error| refuse(&wheel.url, error.to_string()))?,
        };
        match bound.filter(|bound| bound.name != source.name) {
            Some(bound) => {
                let why =
                    format!("its project is bound to the source `{}`, and this address is not below it", bound.name);
                Err(refuse(&wheel.url, why))
            }
            None => Ok(Self { wheel, source }),
        }
    }

    /// A page with this file alone. The whole file is brought into the store first, for no index vouches for its metadata.
    pub(super) async fn page(
        &self,
        name: &PackageName,
        gone: &BTreeSet<Sha256>,
        target: &Target,
        http: &HttpClient,
        store: &Store,
    ) -> Result<Page, PipError> {
        let file = ListedFile {
            filename: self.wheel.filename.clone(),
            url: self.wheel.url.clone(),
            sha256: Some(self.wheel.sha256),
            size: None,
            metadata: None,
            requires_python: None,
            yanked: false,
            published: None,
        };
        let choice = Choice { preferred: None, wished: &[], gone, as_of: None, builds: false };
        let mut page = Page::judge(name, vec![file], target, choice);
        for file in page.files.values_mut() {
            Asker { file, source: &self.source, http, store }.bring().await?;
            let length = store.open_blob(&file.sha256)?.metadata();
            file.size = Some(length.map_err(FsError::new("read", store.root())).map_err(StoreError::from)?.len());
        }
        Ok(page)
    }
}

fn refuse(url: &Url, why: String) -> PipError {
    PipError::Requirement { text: url.to_string(), why }
}
