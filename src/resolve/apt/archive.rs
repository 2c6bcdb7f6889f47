//! One suite of one source: its InRelease fetched and verified, its Packages files fetched by the hash it lists.
//!
//! Everything that is used lies in the store afterwards, so that the chain can be verified again without a network.

use std::io::{Read, Write};

use super::control;
use super::error::AptError;
use super::release::{Listed, Release};
use super::signature::Keyring;
use crate::base::archive::decompress;
use crate::base::http::{HttpClient, HttpError, Request};
use crate::lock::ArchivePin;
use crate::model::{Artifact, ArtifactPath, Hasher, Sha256};
use crate::source::Source;
use crate::store::Store;

/// The most that an InRelease may have, in bytes.
const RELEASE_LIMIT: u64 = 16 << 20;
/// The most that a Packages file may unpack to, in bytes.
const INDEX_LIMIT: u64 = 1 << 30;
/// The memo of reduced indexes; the number rises when what is kept of a stanza changes.
const MEMO: &str = "apt-index-1";

/// A suite that was fetched and verified.
#[derive(Clone, Debug)]
pub(super) struct Archive {
    /// What the lock says of it.
    pub(super) pin: ArchivePin,
    /// The names it goes by: its Suite and its Codename.
    pub(super) release: Release,
    /// The stanzas of its Packages files, with nothing but the fields that are read.
    pub(super) texts: Vec<String>,
}

/// What is asked of a source.
#[derive(Clone, Copy, Debug)]
pub(super) struct SuiteRequest<'a> {
    pub(super) source: &'a Source,
    pub(super) keyring: &'a Keyring,
    pub(super) suite: &'a str,
    pub(super) architecture: &'static str,
    pub(super) now: i64,
}

impl SuiteRequest<'_> {
    /// Fetches and verifies the suite.
    pub(super) async fn fetch(self, http: &HttpClient, store: &Store) -> Result<Archive, AptError> {
        let name = &self.source.name;
        let path = release_path(self.suite);
        let answer = fetch_from_any(self.source, http, &path, RELEASE_LIMIT).await;
        let bytes = answer.map_err(|source| AptError::Fetch { name: name.clone(), path: path.clone(), source })?;
        let signature = |source| AptError::Signature { name: name.clone(), path: path.clone(), source };
        let verified = self.keyring.verify(&bytes, self.now).map_err(signature)?;
        let refused = |source| AptError::Release { name: name.clone(), path: path.clone(), source };
        let release = Release::parse(&verified.text).map_err(refused)?;
        release.check(self.suite, self.now).map_err(refused)?;
        let mut wanted = Vec::new();
        for component in &self.source.components {
            wanted.extend(release.indexes(component, self.architecture).map_err(refused)?);
        }
        let fetches = wanted.iter().map(|(below, listed)| self.fetch_index(&release, below, *listed, http, store));
        let texts = futures::future::try_join_all(fetches).await?;
        let sha256 = store.add_blob(&bytes)?;
        let artifact = |path: &str, listed: Listed| artifact(self.source, path, listed);
        let mut indexes = wanted
            .iter()
            .map(|(below, listed)| artifact(&format!("dists/{}/{below}", self.suite), *listed))
            .collect::<Result<Vec<_>, _>>()?;
        indexes.sort_by(|left, right| left.path.cmp(&right.path));
        let pin = ArchivePin {
            source: name.clone(),
            suite: self.suite.to_owned(),
            date: release.date,
            keys: verified.keys,
            in_release: artifact(&path, Listed { sha256, size: bytes.len() as u64 })?,
            indexes,
        };
        Ok(Archive { pin, release, texts })
    }

    /// One Packages file, reduced: from the memo where its blob is at hand, fetched otherwise.
    async fn fetch_index(
        &self,
        release: &Release,
        below: &str,
        listed: Listed,
        http: &HttpClient,
        store: &Store,
    ) -> Result<String, AptError> {
        let path = format!("dists/{}/{below}", self.suite);
        if !store.contains(&listed.sha256) {
            let bytes = self.fetch_listed(release, &path, listed, http).await?;
            let mut writer = store.create_blob()?;
            writer
                .write_all(&bytes)
                .map_err(crate::base::fs::FsError::new("write to", store.root()))
                .map_err(crate::store::StoreError::from)?;
            writer.commit(Some(&listed.sha256))?;
        }
        let (store, shown) = (store.clone(), path.clone());
        let work = move || read_index(&store, &shown, listed);
        tokio::task::spawn_blocking(work).await.map_err(|_| AptError::Worker)?
    }

    async fn fetch_listed(
        &self,
        release: &Release,
        path: &str,
        listed: Listed,
        http: &HttpClient,
    ) -> Result<Vec<u8>, AptError> {
        let name = &self.source.name;
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let by_hash = format!("{directory}/by-hash/SHA256/{}", listed.sha256);
        let mut answer = match release.by_hash {
            true => fetch_from_any(self.source, http, &by_hash, listed.size).await,
            false => fetch_from_any(self.source, http, path, listed.size).await,
        };
        if release.by_hash && matches!(&answer, Err(error) if error.is_not_found()) {
            answer = fetch_from_any(self.source, http, path, listed.size).await;
        }
        let bytes = answer.map_err(|source| AptError::Fetch { name: name.clone(), path: path.to_owned(), source })?;
        let found = (Sha256::of(&bytes), bytes.len() as u64);
        if found != (listed.sha256, listed.size) {
            let listed = (listed.sha256, listed.size);
            return Err(AptError::OtherIndex { name: name.clone(), path: path.to_owned(), listed, found });
        }
        Ok(bytes)
    }
}

/// A suite's InRelease, below its source.
pub(super) fn release_path(suite: &str) -> String {
    format!("dists/{suite}/InRelease")
}

/// A Packages file of the store, unpacked and reduced; from the memo where there is one.
fn read_index(store: &Store, path: &str, listed: Listed) -> Result<String, AptError> {
    let mut question = Hasher::default();
    question.field(listed.sha256.as_bytes());
    let question = question.finish();
    if let Some(text) = store.memo(MEMO, &question).and_then(|bytes| String::from_utf8(bytes).ok()) {
        return Ok(text);
    }
    let text = control::reduce(&unpack_index(store, path, listed)?);
    store.set_memo(MEMO, &question, text.as_bytes())?;
    Ok(text)
}

/// A Packages file of the store, verified and unpacked.
pub(super) fn unpack_index(store: &Store, path: &str, listed: Listed) -> Result<String, AptError> {
    let bad = |why: String| AptError::BadIndex { path: path.to_owned(), why };
    let blob = store.open_blob(&listed.sha256)?;
    let reader = decompress(blob).map_err(|error| bad(error.to_string()))?;
    let mut text = String::new();
    reader.take(INDEX_LIMIT + 1).read_to_string(&mut text).map_err(|error| bad(error.to_string()))?;
    if text.len() as u64 > INDEX_LIMIT {
        return Err(bad(format!("it unpacks to more than {INDEX_LIMIT} bytes")));
    }
    Ok(text)
}

fn artifact(source: &Source, path: &str, listed: Listed) -> Result<Artifact, AptError> {
    let path = ArtifactPath::parse(path)
        .map_err(|error| AptError::BadIndex { path: path.to_owned(), why: error.to_string() })?;
    Ok(Artifact { source: source.name.clone(), path, size: listed.size, sha256: listed.sha256, sha512: None })
}

/// Asks the source, then its mirrors in order; the first error is the one reported.
async fn fetch_from_any(source: &Source, http: &HttpClient, path: &str, limit: u64) -> Result<Vec<u8>, HttpError> {
    let mut first = None;
    for (index, base) in std::iter::once(&source.url).chain(&source.mirrors).enumerate() {
        let mut url = base.clone();
        url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
        let authorization = source.authorization.as_deref().filter(|_| index == 0);
        // `limit` is also what a file must have, so an empty one must still be answerable.
        let request = Request::get(url).authorization(authorization).limit(limit.max(1));
        match http.fetch(request).await {
            Ok(answer) => return Ok(answer.body),
            Err(error) => first = first.or(Some(error)),
        }
    }
    match first {
        Some(error) => Err(error),
        None => Ok(Vec::new()),
    }
}
