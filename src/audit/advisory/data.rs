//! Data sets as files: directories and zip archives of advisories, each read once and one advisory at a time.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use url::Url;
use zip::ZipArchive;

use super::index::{Index, IndexBuilder, IndexError};
use super::record::RecordError;
use crate::base::fs::{FsError, sorted_entries};
use crate::base::http::{HttpError, redact};
use crate::base::text::sanitize;
use crate::model::{Hasher, Sha256};
use crate::store::{Store, StoreError};

/// The largest advisory that is read; the largest seen have a few MB of listed versions.
const LARGEST_RECORD: u64 = 64 << 20;

/// Where advisories are, as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataPlace {
    /// A directory or a zip archive.
    Path(PathBuf),
    /// A zip archive, or with `/` at the end what has `npm/all.zip`, `PyPI/all.zip` and `Debian/all.zip` below it.
    Url(Url),
}

impl DataPlace {
    /// Reads a place; a path is relative to `directory`.
    pub fn parse(text: &str, directory: &Path) -> Self {
        match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Self::Url(url),
            _ => Self::Path(directory.join(text)),
        }
    }
}

impl std::fmt::Display for DataPlace {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => write!(formatter, "{}", path.display()),
            Self::Url(url) => formatter.write_str(&redact(url)),
        }
    }
}

/// Why a data set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Nothing is there.
    #[error("there is no such file or directory")]
    Absent,
    /// It holds no advisory.
    #[error("it holds no advisories")]
    Empty,
    /// It cannot be read.
    #[error("{fault}: {}", fault.source)]
    Fs {
        /// The system's answer.
        #[from]
        fault: FsError,
    },
    /// It is no zip archive, or only a part of one.
    #[error("it is no whole zip archive: {0}")]
    Zip(#[from] zip::result::ZipError),
    /// One of its files is larger than an advisory can be.
    #[error("`{}` in it is larger than {LARGEST_RECORD} bytes", sanitize(file))]
    TooLarge {
        /// The file.
        file: String,
    },
    /// One of its files is no advisory.
    #[error("`{}` in it cannot be used: {source}", sanitize(file))]
    Record {
        /// The file.
        file: String,
        /// Why.
        source: RecordError,
    },
    /// The server did not give it.
    #[error("{0}")]
    Http(#[from] HttpError),
    /// The index of it could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The index of a directory or zip archive, made anew only when its bytes are others than before.
pub(super) fn open_path(path: &Path, store: &Store) -> Result<Index, DataError> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => open_directory(path, store),
        Ok(_) => open_archive(File::open(path).map_err(FsError::new("read", path))?, path, store),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(DataError::Absent),
        Err(error) => Err(FsError::new("read", path)(error).into()),
    }
}

fn open_directory(root: &Path, store: &Store) -> Result<Index, DataError> {
    let mut files = Vec::new();
    collect(root, &mut files)?;
    let mut hasher = Hasher::default();
    for file in &files {
        hasher.field(file.strip_prefix(root).unwrap_or(file).as_os_str().as_encoded_bytes());
        hasher.field(Sha256::of_reader(&mut open(file)?).map_err(FsError::new("read", file))?.0.as_bytes());
    }
    let data = hasher.finish();
    if let Some(index) = Index::kept(store, &data) {
        return Ok(index);
    }
    let mut builder = IndexBuilder::new(store)?;
    for file in &files {
        match file.extension().is_some_and(|extension| extension == "zip") {
            true => add_archive(&mut builder, open(file)?)?,
            false => add_record(&mut builder, open(file)?, &file.display().to_string())?,
        }
    }
    finish(builder, &data)
}

/// The advisories and archives below a directory, sorted; what is hidden is not looked at.
fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    for entry in sorted_entries(directory)? {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "json" || extension == "zip") {
            files.push(path);
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<File, FsError> {
    File::open(path).map_err(FsError::new("read", path))
}

/// The index of a zip archive; `path` is what complaints call it.
pub(super) fn open_archive(mut file: File, path: &Path, store: &Store) -> Result<Index, DataError> {
    let (data, size) = Sha256::of_reader(&mut file).map_err(FsError::new("read", path))?;
    if size == 0 {
        return Err(DataError::Empty);
    }
    if let Some(index) = Index::kept(store, &data) {
        return Ok(index);
    }
    file.seek(SeekFrom::Start(0)).map_err(FsError::new("read", path))?;
    let mut builder = IndexBuilder::new(store)?;
    add_archive(&mut builder, file)?;
    finish(builder, &data)
}

fn add_archive(builder: &mut IndexBuilder, file: File) -> Result<(), DataError> {
    let mut archive = ZipArchive::new(std::io::BufReader::new(file))?;
    for number in 0..archive.len() {
        let entry = archive.by_index(number)?;
        let name = entry.name()?.into_owned();
        if entry.is_file() && name.ends_with(".json") {
            add_record(builder, entry, &name)?;
        }
    }
    Ok(())
}

fn add_record(builder: &mut IndexBuilder, reader: impl Read, file: &str) -> Result<(), DataError> {
    let mut text = Vec::new();
    reader.take(LARGEST_RECORD + 1).read_to_end(&mut text).map_err(FsError::new("read", file))?;
    if text.len() as u64 > LARGEST_RECORD {
        return Err(DataError::TooLarge { file: file.to_owned() });
    }
    builder.add(&text).map_err(|error| match error {
        IndexError::Record(source) => DataError::Record { file: file.to_owned(), source },
        IndexError::Store(error) => error.into(),
    })
}

fn finish(builder: IndexBuilder, data: &Sha256) -> Result<Index, DataError> {
    match builder.advisories() {
        0 => Err(DataError::Empty),
        _ => Ok(builder.finish(data)?),
    }
}
