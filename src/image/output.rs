//! What an image is written as: an OCI layout, a docker archive, a plain directory of blobs. Each appears whole or not at
//! all, and its bytes are a function of the image and its tags.

use std::collections::BTreeSet;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::SealError;
use super::manifest::{Blob, EncodedManifest};
use super::seal::SealedImage;
use crate::base::fs::{self, FsError, NewDirectory, NewFile};
use crate::base::tar::{TarMeta, TarWriter};
use crate::model::{Platform, Sha256};
use crate::store::Store;

const BUFFER: usize = 512 * 1024;
/// Files that tell our own directories from others, which are never replaced.
const OCI_MARK: &str = "oci-layout";
const DIRECTORY_MARK: &str = "version";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IndexFile {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<IndexEntry>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IndexEntry {
    media_type: &'static str,
    size: u64,
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<PlatformFields>,
}

#[derive(Clone, Serialize)]
struct Annotations {
    #[serde(rename = "org.opencontainers.image.ref.name")]
    name: String,
}

#[derive(Serialize)]
struct PlatformFields {
    architecture: &'static str,
    os: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ArchiveManifest {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl IndexEntry {
    /// The entry of one platform's manifest, without a name.
    fn of(platform: Platform, manifest: &EncodedManifest) -> Self {
        Self {
            media_type: manifest.format.manifest_type(),
            size: manifest.bytes.len() as u64,
            digest: manifest.digest.prefixed(),
            annotations: None,
            platform: Some(PlatformFields { architecture: platform.architecture.as_str(), os: platform.os() }),
        }
    }
}

/// Writes an OCI layout (Image Layout Specification 1.1) with the manifest under the given names, or without one.
///
/// # Errors
/// When a blob is missing or damaged, the disk says no, or `path` is there and no OCI layout.
pub fn write_oci(
    path: &Path,
    manifest: &EncodedManifest,
    platform: Platform,
    names: &[String],
    store: &Store,
) -> Result<(), SealError> {
    check_replaceable(path, OCI_MARK)?;
    let new = NewDirectory::create(path)?;
    let blobs = new.path().join("blobs/sha256");
    fs::ensure_directory(&blobs)?;
    copy_blobs(manifest, store, &blobs)?;
    write(&blobs.join(manifest.digest.to_string()), &manifest.bytes)?;
    finish_oci(new, names, |annotations| IndexEntry { annotations, ..IndexEntry::of(platform, manifest) })
}

const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// The index of one image's platforms (Image Index Specification 1.1).
///
/// # Errors
/// When it cannot be written as JSON.
pub fn index_of(manifests: &[(Platform, EncodedManifest)]) -> Result<Vec<u8>, SealError> {
    let manifests = manifests.iter().map(|(platform, manifest)| IndexEntry::of(*platform, manifest));
    json("index", &IndexFile { schema_version: 2, media_type: INDEX_TYPE, manifests: manifests.collect() })
}

/// Writes an OCI layout with an index of several platforms under the given names, or without one.
///
/// # Errors
/// As [`write_oci`].
pub fn write_oci_index(
    path: &Path,
    index: &[u8],
    manifests: &[(Platform, EncodedManifest)],
    names: &[String],
    store: &Store,
) -> Result<(), SealError> {
    check_replaceable(path, OCI_MARK)?;
    let new = NewDirectory::create(path)?;
    let blobs = new.path().join("blobs/sha256");
    fs::ensure_directory(&blobs)?;
    for (_, manifest) in manifests {
        copy_blobs(manifest, store, &blobs)?;
        write(&blobs.join(manifest.digest.to_string()), &manifest.bytes)?;
    }
    let digest = Sha256::of(index);
    write(&blobs.join(digest.to_string()), index)?;
    let entry = |annotations| IndexEntry {
        media_type: INDEX_TYPE,
        size: index.len() as u64,
        digest: digest.prefixed(),
        annotations,
        platform: None,
    };
    finish_oci(new, names, entry)
}

/// Writes the layout's own list of what it has: an entry for each name, or one without a name.
fn finish_oci(
    new: NewDirectory,
    names: &[String],
    entry: impl Fn(Option<Annotations>) -> IndexEntry,
) -> Result<(), SealError> {
    let manifests = match names {
        [] => vec![entry(None)],
        names => names.iter().map(|name| entry(Some(Annotations { name: name.clone() }))).collect(),
    };
    let index = IndexFile { schema_version: 2, media_type: INDEX_TYPE, manifests };
    write(&new.path().join("index.json"), &json("index", &index)?)?;
    write(&new.path().join(OCI_MARK), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(new.commit()?)
}

/// Writes a directory as the `dir:` transport of containers/image reads it: manifest, config and layers side by side.
///
/// # Errors
/// As [`write_oci`].
pub fn write_directory(path: &Path, manifest: &EncodedManifest, store: &Store) -> Result<(), SealError> {
    check_replaceable(path, DIRECTORY_MARK)?;
    let new = NewDirectory::create(path)?;
    copy_blobs(manifest, store, new.path())?;
    write(&new.path().join("manifest.json"), &manifest.bytes)?;
    write(&new.path().join(DIRECTORY_MARK), b"Directory Transport Version: 1.1\n")?;
    Ok(new.commit()?)
}

/// Writes an archive as `docker load` reads it. Its layers are not compressed and the config is the image's own, so the
/// image ID stays what it is.
///
/// # Errors
/// When a blob is missing or damaged, or the disk says no.
pub fn write_docker_archive(path: &Path, image: &SealedImage, tags: &[String], store: &Store) -> Result<(), SealError> {
    let fail = || FsError::new("write", path);
    let config = store.read_blob(&image.id)?;
    let layer_name = |diff_id: &Sha256| format!("{diff_id}/layer.tar");
    let manifest = ArchiveManifest {
        config: format!("{}.json", image.id),
        repo_tags: (!tags.is_empty()).then(|| tags.iter().map(|tag| with_tag(tag)).collect()),
        layers: image.layers.iter().map(|layer| layer_name(&layer.diff_id)).collect(),
    };
    let listing = json("archive manifest", &[&manifest])?;
    let out = BufWriter::with_capacity(BUFFER, NewFile::create(path)?);
    let mut writer = TarWriter::new(out, 0);
    let meta = TarMeta::root(0o644);
    let mut add = |name: &str, bytes: &[u8]| writer.file(Path::new(name), &meta, bytes.len() as u64, &mut &*bytes);
    add("manifest.json", &listing).map_err(fail())?;
    add(&manifest.config, &config).map_err(fail())?;
    let distinct: BTreeSet<(Sha256, u64)> = image.layers.iter().map(|layer| (layer.diff_id, layer.size)).collect();
    for (diff_id, size) in distinct {
        writer.directory(Path::new(&diff_id.to_string()), &TarMeta::root(0o755)).map_err(fail())?;
        let mut blob = store.open_blob(&diff_id)?;
        writer.file(Path::new(&layer_name(&diff_id)), &meta, size, &mut blob).map_err(fail())?;
    }
    let buffer = writer.finish().map_err(fail())?;
    let file = buffer.into_inner().map_err(|error| fail()(error.into_error()))?;
    Ok(file.commit()?)
}

/// `name` → `name:latest`, as docker reads it.
fn with_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') { name.to_owned() } else { format!("{name}:latest") }
}

fn copy_blobs(manifest: &EncodedManifest, store: &Store, directory: &Path) -> Result<(), SealError> {
    let blobs: BTreeSet<Sha256> =
        manifest.layers.iter().chain([&manifest.config]).map(|blob: &Blob| blob.digest).collect();
    for digest in blobs {
        fs::write_stream(&directory.join(digest.to_string()), &mut store.open_blob(&digest)?)?;
    }
    Ok(())
}

/// A path may be taken when nothing is there, or an empty directory, or what this program wrote before.
fn check_replaceable(path: &Path, mark: &str) -> Result<(), SealError> {
    let is_free = match path.symlink_metadata() {
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        Ok(metadata) if metadata.is_dir() => path.join(mark).is_file() || fs::sorted_entries(path)?.is_empty(),
        Ok(_) => false,
    };
    if is_free {
        return Ok(());
    }
    let source = std::io::Error::new(std::io::ErrorKind::AlreadyExists, "something else is there");
    Err(FsError { action: "replace", path: PathBuf::from(path), source }.into())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), SealError> {
    fs::write_stream(path, &mut &*bytes)?;
    Ok(())
}

fn json(what: &'static str, value: &impl Serialize) -> Result<Vec<u8>, SealError> {
    serde_json::to_vec(value).map_err(|source| SealError::Json { what, source })
}
