//! What a wheel requires, read without fetching all of it: from the metadata served beside it (PEP 658) where the index
//! vouches for that by hash, else from the wheel's end by range requests. Kept as a memo by the wheel's own sha256.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use futures::TryStreamExt;
use url::Url;
use uv_normalize::{ExtraName, PackageName};
use uv_pep440::{Version, VersionSpecifiers};
use uv_pypi_types::ResolutionMetadata;
use zip::ZipArchive;

use super::PipError;
use super::page::Candidate;
use super::requirement::Requirement;
use super::sdist::source_file;
use super::target::Target;
use crate::base::http::{HttpClient, HttpError, OpenAnswer, Request};
use crate::lock::BuiltWheel;
use crate::model::Sha256;
use crate::source::Source;
use crate::store::{Store, StoreError};

/// The unit of range requests: the same offsets for everyone, so that a mirror between can keep them.
const WINDOW: u64 = 128 << 10;
/// The largest METADATA file accepted.
const METADATA_LIMIT: u64 = 16 << 20;
/// The largest wheel that is fetched whole from a server that knows no ranges.
const WHEEL_LIMIT: u64 = 4 << 30;
/// The kind of memo that METADATA files are kept as.
const MEMO: &str = "wheel-metadata";

/// What a wheel says about itself, as far as it matters here.
#[derive(Debug)]
pub(super) enum Metadata {
    /// It can be used.
    Usable {
        /// Its requirements, in the order written.
        requires: Box<[Requirement]>,
        /// The extras it knows.
        extras: Box<[ExtraName]>,
    },
    /// It cannot be used, and why.
    Unusable(String),
}

/// Metadata as read, not yet held against a target.
pub(super) enum RawMetadata {
    Parsed(Box<ResolutionMetadata>),
    Broken(String),
}

impl RawMetadata {
    /// Judges `Requires-Python`, as pip does with its upper bounds too.
    pub(super) fn for_target(self, target: &Target) -> Metadata {
        let metadata = match self {
            Self::Parsed(metadata) => *metadata,
            Self::Broken(why) => return Metadata::Unusable(why),
        };
        let refused = |specifiers: &&VersionSpecifiers| !specifiers.contains(&target.python);
        match metadata.requires_python.as_ref().filter(refused) {
            Some(specifiers) => Metadata::Unusable(format!("it requires Python {specifiers}")),
            None => Metadata::Usable { requires: metadata.requires_dist, extras: metadata.provides_extra },
        }
    }
}

/// Reads the metadata of a wheel that was built of a source distribution; the store has it.
pub(super) fn read_built(
    name: &PackageName,
    version: &Version,
    wheel: &BuiltWheel,
    store: &Store,
) -> Result<RawMetadata, PipError> {
    Ok(match read_metadata(store.open_blob(&wheel.sha256)?) {
        Ok(text) => parse(&text, name, version),
        Err(why) => RawMetadata::Broken(format!("its METADATA cannot be found: {why}")),
    })
}

fn parse(text: &[u8], name: &PackageName, version: &Version) -> RawMetadata {
    match ResolutionMetadata::parse_metadata(text) {
        Err(error) => {
            let why = error.to_string().lines().next().unwrap_or_default().to_owned();
            RawMetadata::Broken(format!("its METADATA cannot be read: {why}"))
        }
        Ok(metadata) => of_right_project(metadata, name, version),
    }
}

fn of_right_project(metadata: ResolutionMetadata, name: &PackageName, version: &Version) -> RawMetadata {
    if metadata.name == *name && metadata.version == *version {
        return RawMetadata::Parsed(Box::new(metadata));
    }
    RawMetadata::Broken(format!("its METADATA says that it is {} {}", metadata.name, metadata.version))
}

/// Asks one source about one file.
pub(super) struct Asker<'a> {
    pub(super) file: &'a Candidate,
    pub(super) source: &'a Source,
    pub(super) http: &'a HttpClient,
    pub(super) store: &'a Store,
}

impl Asker<'_> {
    /// Reads the metadata of a wheel.
    pub(super) async fn read(&self, name: &PackageName, version: &Version) -> Result<RawMetadata, PipError> {
        if let Some(known) = self.store.memo(MEMO, &self.file.sha256) {
            return Ok(parse(&known, name, version));
        }
        let text = match self.fetch().await? {
            Ok(text) => text,
            Err(why) => return Ok(RawMetadata::Broken(why)),
        };
        let parsed = parse(&text, name, version);
        self.store.set_memo(MEMO, &self.file.sha256, &text)?;
        Ok(parsed)
    }

    /// Reads the metadata of a source distribution, which is brought into the store as a whole; nothing when it says that
    /// building may change what counts here, or is older than that promise (metadata 2.2).
    pub(super) async fn read_source(
        &self,
        name: &PackageName,
        version: &Version,
    ) -> Result<Option<RawMetadata>, PipError> {
        self.bring().await?;
        let archive = self.store.open_blob(&self.file.sha256)?;
        let text = match source_file(archive, &self.file.filename, "PKG-INFO") {
            Ok(text) => text,
            Err(why) => return Ok(Some(RawMetadata::Broken(why))),
        };
        let parsed = text.and_then(|text| ResolutionMetadata::parse_pkg_info(&text).ok());
        Ok(parsed.map(|metadata| of_right_project(metadata, name, version)))
    }

    /// The METADATA file; inner error when the wheel is no usable one.
    async fn fetch(&self) -> Result<Result<Vec<u8>, String>, PipError> {
        if self.store.contains(&self.file.sha256) {
            return Ok(self.stored()?);
        }
        if let Some(promised) = self.file.metadata
            && let Some(text) = self.beside(promised).await?
        {
            return Ok(Ok(text));
        }
        self.by_windows().await
    }

    fn request(&self, url: Url) -> Request {
        request(url, self.source)
    }

    fn failed(&self) -> impl FnOnce(HttpError) -> PipError {
        let name = self.file.filename.clone();
        move |error| PipError::Http { name, source: error.into() }
    }

    /// The file `<wheel>.metadata`; nothing when the index promises it and yet has none.
    async fn beside(&self, promised: Sha256) -> Result<Option<Vec<u8>>, PipError> {
        let mut url = self.file.url.clone();
        url.set_path(&format!("{}.metadata", url.path()));
        let answer = match self.http.fetch(self.request(url).limit(METADATA_LIMIT)).await {
            Err(error) if error.is_not_found() => return Ok(None),
            other => other.map_err(self.failed())?,
        };
        let found = Sha256::of(&answer.body);
        if found == promised {
            return Ok(Some(answer.body));
        }
        let (source_name, file) = (self.source.name.clone(), format!("{}.metadata", self.file.filename));
        Err(PipError::WrongBytes { source_name, file, promised, found })
    }

    async fn by_windows(&self) -> Result<Result<Vec<u8>, String>, PipError> {
        let size = match self.file.size {
            Some(size) => size,
            None => size_of(&self.file.url, &self.file.filename, self.source, self.http).await?,
        };
        let mut sparse = Sparse { size, ..Sparse::default() };
        let tail = size.saturating_sub(WINDOW / 2) / WINDOW;
        let mut wanted = Some((tail * WINDOW, size));
        loop {
            if let Some((from, to)) = wanted.take() {
                match self.window(from, to).await? {
                    Some(bytes) => sparse.add(from, &bytes),
                    None => return self.whole().await,
                }
            }
            match read_metadata(&mut sparse) {
                Ok(text) => return Ok(Ok(text)),
                Err(why) => match sparse.missing() {
                    Some(window) => wanted = Some((window * WINDOW, size.min((window + 1) * WINDOW))),
                    None => return Ok(Err(format!("its METADATA cannot be found: {why}"))),
                },
            }
        }
    }

    /// The bytes `from..to`; nothing when the server knows no ranges.
    async fn window(&self, from: u64, to: u64) -> Result<Option<Vec<u8>>, PipError> {
        let request = self.request(self.file.url.clone()).range(from, to.saturating_sub(1));
        let opened = match self.http.open(&request).await {
            Ok(opened) if opened.status != 206 => return Ok(None),
            Ok(opened) => collect(opened, to - from).await,
            Err(error) => Err(error),
        };
        let body = match opened {
            Ok(body) => body,
            Err(_) => self.http.fetch(request.limit(to - from)).await.map_err(self.failed())?.body,
        };
        if body.len() as u64 == to - from {
            return Ok(Some(body));
        }
        let why = format!("`{}` was answered with {} bytes of {}", self.file.filename, body.len(), to - from);
        let source_name = self.source.name.clone();
        Err(PipError::Page { name: self.file.filename.clone(), source_name, why })
    }

    async fn whole(&self) -> Result<Result<Vec<u8>, String>, PipError> {
        self.bring().await?;
        Ok(self.stored()?)
    }

    /// Brings the whole file into the store, verified, unless it is there; it will be needed anyway if it is chosen.
    pub(super) async fn bring(&self) -> Result<(), PipError> {
        if self.store.contains(&self.file.sha256) {
            return Ok(());
        }
        let opened = self.http.open(&self.request(self.file.url.clone())).await.map_err(self.failed())?;
        let mut pieces = std::pin::pin!(opened.pieces(self.file.size.unwrap_or(WHEEL_LIMIT)));
        let mut blob = self.store.create_blob()?;
        while let Some(piece) = pieces.try_next().await.map_err(self.failed())? {
            blob.write_all(&piece)
                .map_err(crate::base::fs::FsError::new("write to", self.store.root()))
                .map_err(StoreError::from)?;
        }
        match blob.commit(Some(&self.file.sha256)) {
            Err(StoreError::Unexpected { expected, found, .. }) => {
                let (source_name, file) = (self.source.name.clone(), self.file.filename.clone());
                Err(PipError::WrongBytes { source_name, file, promised: expected, found })
            }
            other => Ok(other.map(drop)?),
        }
    }

    fn stored(&self) -> Result<Result<Vec<u8>, String>, StoreError> {
        let file = self.store.open_blob(&self.file.sha256)?;
        Ok(read_metadata(file).map_err(|why| format!("its METADATA cannot be found: {why}")))
    }
}

async fn collect(opened: OpenAnswer, limit: u64) -> Result<Vec<u8>, HttpError> {
    let pieces: Vec<Vec<u8>> = opened.pieces(limit).try_collect().await?;
    Ok(pieces.concat())
}

/// A request for a file of a source; credentials go along only to the source's own host.
fn request(url: Url, source: &Source) -> Request {
    let own = url.origin() == source.url.origin();
    Request::get(url).authorization(source.authorization.as_deref().filter(|_| own))
}

/// The size of a file whose page does not say it: asked by a range of one byte.
pub(super) async fn size_of(url: &Url, file: &str, source: &Source, http: &HttpClient) -> Result<u64, PipError> {
    let failed = |error: HttpError| PipError::Http { name: file.to_owned(), source: error.into() };
    let answer = http.open(&request(url.clone(), source).range(0, 0)).await.map_err(failed)?;
    let text = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
    let size = match answer.status.as_u16() {
        206 => text("content-range").and_then(|range| range.rsplit('/').next()),
        _ => text("content-length"),
    };
    size.and_then(|size| size.parse().ok()).ok_or_else(|| PipError::Page {
        name: file.to_owned(),
        source_name: source.name.clone(),
        why: "neither the index nor the server says how large it is".to_owned(),
    })
}

/// A file of which some windows are known. Reading elsewhere fails and notes the window.
#[derive(Debug, Default)]
struct Sparse {
    size: u64,
    position: u64,
    windows: BTreeMap<u64, Vec<u8>>,
    /// The first window missed, plus one; zero for none.
    missed: AtomicU64,
}

impl Sparse {
    /// Adds bytes from a window's start on.
    fn add(&mut self, from: u64, bytes: &[u8]) {
        for (number, piece) in (from / WINDOW..).zip(bytes.chunks(WINDOW as usize)) {
            self.windows.insert(number, piece.to_vec());
        }
    }

    fn missing(&self) -> Option<u64> {
        let missed = self.missed.swap(0, Ordering::Relaxed);
        missed.checked_sub(1).filter(|window| !self.windows.contains_key(window))
    }
}

impl Read for Sparse {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        let number = self.position / WINDOW;
        let Some(window) = self.windows.get(&number) else {
            self.missed.store(number + 1, Ordering::Relaxed);
            return Err(io::Error::other("a window that is not here yet"));
        };
        let piece = window.get((self.position % WINDOW) as usize..).unwrap_or_default();
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| io::Error::other("a step before the start"))?;
        Ok(self.position)
    }
}

/// Reads the one `*.dist-info/METADATA` of a wheel.
fn read_metadata(file: impl Read + Seek) -> Result<Vec<u8>, String> {
    let mut archive = ZipArchive::new(file).map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    for name in archive.file_names() {
        let name = name.map_err(|error| error.to_string())?;
        if name.strip_suffix("/METADATA").is_some_and(|info| info.ends_with(".dist-info") && !info.contains('/')) {
            found.push(name.into_owned());
        }
    }
    let [name] = &found[..] else { return Err("it has none, or several".to_owned()) };
    let mut text = Vec::new();
    let entry = archive.by_name(name).map_err(|error| error.to_string())?;
    entry.take(METADATA_LIMIT + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    match text.len() as u64 > METADATA_LIMIT {
        true => Err("it is too large".to_owned()),
        false => Ok(text),
    }
}
