//! Data sets from their places: read where they are, or fetched when the server has newer ones.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use futures::TryStreamExt;
use reqwest::StatusCode;
use reqwest::header::ETAG;
use serde::{Deserialize, Serialize};
use url::Url;

use super::data::{DataError, DataPlace, open_archive, open_path};
use super::index::Index;
use crate::base::fs::{FsError, scratch_file};
use crate::base::http::{HttpClient, HttpError, Request};
use crate::model::{Ecosystem, Sha256};
use crate::store::{Store, StoreError};

/// The largest archive that is fetched.
const LARGEST_ARCHIVE: u64 = 8 << 30;
const MEMO: &str = "advisory-answer";

/// One data set, or why there is none.
#[derive(Debug)]
pub struct DataSet {
    /// Where it is.
    pub place: DataPlace,
    /// The ecosystem that it must hold, where its place says so; else it may hold any.
    pub ecosystem: Option<Ecosystem>,
    /// What it says.
    pub index: Result<Index, DataError>,
}

/// What a server answered the last time.
#[derive(Serialize, Deserialize)]
struct Kept {
    etag: String,
    data: Sha256,
}

/// Opens what is at some places. A failure is part of the answer: it says which pins could not be audited.
pub async fn open_data(
    places: &[DataPlace],
    ecosystems: &[Ecosystem],
    http: &HttpClient,
    store: &Store,
) -> Vec<DataSet> {
    let mut sets = Vec::new();
    for place in places {
        match place {
            DataPlace::Path(path) => {
                sets.push(DataSet { place: place.clone(), ecosystem: None, index: open_path(path, store) });
            }
            DataPlace::Url(url) if url.path().ends_with('/') => {
                for ecosystem in ecosystems {
                    let Ok(url) = url.join(&format!("{}/all.zip", directory_of(*ecosystem))) else { continue };
                    let index = open_url(&url, http, store).await;
                    sets.push(DataSet { place: DataPlace::Url(url), ecosystem: Some(*ecosystem), index });
                }
            }
            DataPlace::Url(url) => {
                sets.push(DataSet { place: place.clone(), ecosystem: None, index: open_url(url, http, store).await });
            }
        }
    }
    sets
}

fn directory_of(ecosystem: Ecosystem) -> &'static str {
    match ecosystem {
        Ecosystem::Apt => "Debian",
        Ecosystem::Npm => "npm",
        Ecosystem::Pip => "PyPI",
    }
}

async fn open_url(url: &Url, http: &HttpClient, store: &Store) -> Result<Index, DataError> {
    let question = Sha256::of(url.as_str());
    let kept = store.memo(MEMO, &question).and_then(|answer| serde_json::from_slice::<Kept>(&answer).ok());
    let kept = kept.and_then(|kept| Some((kept.etag, Index::kept(store, &kept.data)?)));
    let request = Request::get(url.clone()).limit(LARGEST_ARCHIVE);
    let request = request.unless_named(kept.as_ref().map(|(etag, _)| etag.as_str()), None);
    match (fetch(&request, http, store).await, kept) {
        (Err(DataError::Http(HttpError::Status { status: StatusCode::NOT_MODIFIED, .. })), Some((_, index))) => {
            Ok(index)
        }
        // What was fetched before is as good as its newest advisory is new, which is looked at in any case.
        (Err(DataError::Http(HttpError::Offline { .. })), Some((_, index))) => Ok(index),
        (Err(error), _) => Err(error),
        (Ok((file, etag)), _) => {
            let mut file = file;
            let (data, _) = Sha256::of_reader(&mut file).map_err(FsError::new("read", store.root()))?;
            file.seek(SeekFrom::Start(0)).map_err(FsError::new("read", store.root()))?;
            let index = open_archive(file, Path::new(url.path()), store)?;
            if let Some(etag) = etag {
                let answer = serde_json::to_vec(&Kept { etag, data }).unwrap_or_default();
                store.set_memo(MEMO, &question, &answer)?;
            }
            Ok(index)
        }
    }
}

/// Streams an answer to a scratch file; returns it rewound, and the server's name for these bytes.
async fn fetch(request: &Request, http: &HttpClient, store: &Store) -> Result<(File, Option<String>), DataError> {
    let mut attempt = 1;
    loop {
        match fetch_once(request, http, store).await {
            Err(DataError::Http(error)) if http.wait_before_another_try(&error, attempt).await => attempt += 1,
            other => return other,
        }
    }
}

async fn fetch_once(request: &Request, http: &HttpClient, store: &Store) -> Result<(File, Option<String>), DataError> {
    let answer = http.open(request).await?;
    let etag = answer.headers.get(ETAG).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let fail = || {
        let fail = FsError::new("write to", store.root());
        |error| StoreError::from(fail(error))
    };
    let mut file = scratch_file(store.root()).map_err(StoreError::from)?;
    let mut pieces = std::pin::pin!(answer.pieces(LARGEST_ARCHIVE));
    while let Some(piece) = pieces.try_next().await? {
        file.write_all(&piece).map_err(fail())?;
    }
    file.seek(SeekFrom::Start(0)).map_err(fail())?;
    Ok((file, etag))
}
