//! One suite of one source: its InRelease fetched and verified, its Packages files fetched by the hash it lists.
//!
//! Everything that is used lies in the store afterwards, so that the chain can be verified again without a network.

use std::io::{Read, Write};

use super::control::Reduced;
use super::error::AptError;
use super::release::{CLOCK_SLACK, Listed, Release};
use super::signature::Keyring;
use crate::base::archive::decompress;
use crate::base::http::{HttpClient, HttpError, Request};
use crate::lock::ArchivePin;
use crate::model::{Artifact, ArtifactPath, Hasher, Sha256, SourceName};
use crate::source::Source;
use crate::store::{Store, fetch_document};

/// The most that an InRelease may have, in bytes.
const RELEASE_LIMIT: u64 = 16 << 20;
/// The most that a Packages file may unpack to, in bytes.
const INDEX_LIMIT: u64 = 1 << 30;
/// The memo of reduced indexes.
const MEMO: &str = "apt-index";
/// Rises when what is kept of a Packages file changes.
const MEMO_FORMAT: &str = "3";

/// A suite that was fetched and verified.
#[derive(Clone, Debug)]
pub(super) struct Archive {
    /// What the lock says of it.
    pub(super) pin: ArchivePin,
    /// The names it goes by: its Suite and its Codename.
    pub(super) release: Release,
    /// Its Packages files.
    pub(super) indexes: Vec<Reduced>,
}

/// What is asked of a source.
#[derive(Clone, Copy, Debug)]
pub(super) struct SuiteRequest<'a> {
    pub(super) source: &'a Source,
    pub(super) keyring: &'a Keyring,
    pub(super) suite: &'a str,
    pub(super) architecture: &'static str,
    pub(super) now: i64,
    /// The moment at which a snapshot-style archive is read.
    pub(super) snapshot: Option<i64>,
}

impl SuiteRequest<'_> {
    /// Fetches and verifies the suite.
    pub(super) async fn fetch(self, http: &HttpClient, store: &Store) -> Result<Archive, AptError> {
        let name = &self.source.name;
        let path = release_path(self.suite);
        let answer = fetch_from_any(self.source, http, Some(store), &path, RELEASE_LIMIT).await;
        let bytes = answer.map_err(|error| unreachable_file(name, &path, error))?;
        let signature = |source| AptError::Signature { name: name.clone(), path: path.clone(), source };
        let verified = self.keyring.verify(&bytes, self.now).map_err(signature)?;
        let refused = |error| AptError::Release { name: name.clone(), path: path.clone(), source: Box::new(error) };
        let release = Release::parse(&verified.text).map_err(refused)?;
        release.check(self.suite, self.now).map_err(refused)?;
        verified.check_made(self.now, CLOCK_SLACK).map_err(signature)?;
        let mut wanted = Vec::new();
        for component in &self.source.components {
            wanted.extend(release.indexes(component, self.architecture).map_err(refused)?);
        }
        let fetches = wanted.iter().map(|(below, listed)| self.fetch_index(&release, below, *listed, http, store));
        let reduced = futures::future::try_join_all(fetches).await?;
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
            snapshot: self.snapshot,
            keys: verified.keys,
            in_release: artifact(&path, Listed { sha256, size: bytes.len() as u64 })?,
            indexes,
        };
        Ok(Archive { pin, release, indexes: reduced })
    }

    /// One Packages file, reduced: from the memo where its blob is at hand, fetched otherwise.
    async fn fetch_index(
        &self,
        release: &Release,
        below: &str,
        listed: Listed,
        http: &HttpClient,
        store: &Store,
    ) -> Result<Reduced, AptError> {
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
        let architecture = self.architecture;
        let work = move || read_index(&store, &shown, listed, architecture);
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
            true => fetch_from_any(self.source, http, None, &by_hash, listed.size).await,
            false => fetch_from_any(self.source, http, None, path, listed.size).await,
        };
        if release.by_hash && matches!(&answer, Err(error) if error.is_not_found()) {
            answer = fetch_from_any(self.source, http, None, path, listed.size).await;
        }
        let bytes = answer.map_err(|error| unreachable_file(name, path, error))?;
        let found = (Sha256::of(&bytes), bytes.len() as u64);
        if found != (listed.sha256, listed.size) {
            let (listed, found) = (Box::new((listed.sha256, listed.size)), Box::new(found));
            return Err(AptError::OtherIndex { name: name.clone(), path: path.to_owned(), listed, found });
        }
        Ok(bytes)
    }
}

fn unreachable_file(name: &SourceName, path: &str, error: HttpError) -> AptError {
    AptError::Fetch { name: name.clone(), path: path.to_owned(), source: Box::new(error) }
}

/// A suite's InRelease, below its source.
pub(super) fn release_path(suite: &str) -> String {
    format!("dists/{suite}/InRelease")
}

/// A Packages file of the store, unpacked and reduced; from the memo where there is one.
fn read_index(store: &Store, path: &str, listed: Listed, architecture: &str) -> Result<Reduced, AptError> {
    let mut question = Hasher::default();
    question.field(MEMO_FORMAT);
    question.field(listed.sha256.as_bytes());
    question.field(architecture);
    let question = question.finish();
    let kept = store.memo(MEMO, &question).and_then(|bytes| String::from_utf8(bytes).ok());
    if let Some(reduced) = kept.and_then(Reduced::from_text) {
        return Ok(reduced);
    }
    let reduced = Reduced::new(&unpack_index(store, path, listed)?, architecture);
    store.set_memo(MEMO, &question, reduced.as_str().as_bytes())?;
    Ok(reduced)
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
async fn fetch_from_any(
    source: &Source,
    http: &HttpClient,
    store: Option<&Store>,
    path: &str,
    limit: u64,
) -> Result<Vec<u8>, HttpError> {
    let mut first = None;
    for (index, base) in std::iter::once(&source.url).chain(&source.mirrors).enumerate() {
        let mut url = base.clone();
        url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
        let authorization = source.authorization.as_deref().filter(|_| index == 0);
        // `limit` is also what a file must have, so an empty one must still be answerable.
        let request = Request::get(url).authorization(authorization).limit(limit.max(1));
        match fetch_document(request, http, store).await {
            Ok(answer) => return Ok(answer.body),
            Err(error) => first = first.or(Some(error)),
        }
    }
    match first {
        Some(error) => Err(error),
        None => Ok(Vec::new()),
    }
}
