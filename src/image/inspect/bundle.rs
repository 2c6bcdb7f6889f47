//! Images as they lie on the disk: docker archives, OCI layouts (directories or archives), `dir:` directories.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::error::InspectError;
use super::{LayerBlob, OpenImage};
use crate::base::fs::FsError;
use crate::base::untar::{FileRange, TarKind, clean_path, read_tar};
use crate::model::{Platform, Sha256};

/// Manifests, indexes and configs larger than this are refused: real ones have some kilobytes.
const DOCUMENT_MAX: u64 = 16 * 1024 * 1024;
/// How deep an index may lie within an index.
const DEPTH_MAX: usize = 4;

/// Bytes in a file.
#[derive(Clone, Debug)]
pub struct Blob {
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    pub(super) size: u64,
}

impl Blob {
    /// A whole file.
    pub(super) fn of_file(path: &Path) -> Result<Self, FsError> {
        let fail = || FsError::new("read", path);
        let file = File::open(path).map_err(fail())?;
        let size = file.metadata().map_err(fail())?.len();
        Ok(Self { file: Arc::new(file), offset: 0, size })
    }

    /// Whether both are the same bytes of one file.
    pub(super) fn is_same_place(&self, other: &Self) -> Result<bool, FsError> {
        let place = |blob: &Self| {
            let metadata = blob.file.metadata().map_err(FsError::new("look at", "a layer"))?;
            Ok((metadata.dev(), metadata.ino(), blob.offset, blob.size))
        };
        Ok(place(self)? == place(other)?)
    }

    pub(super) fn reader(&self) -> FileRange<'_> {
        FileRange::new(&self.file, self.offset, self.size)
    }
}

/// Named files: of a directory, or of a tar archive.
enum Bundle {
    Directory(PathBuf),
    Archive { file: Arc<File>, members: BTreeMap<PathBuf, TarKind> },
}

impl Bundle {
    fn open(path: &Path) -> Result<Self, InspectError> {
        if path.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        let blob = Blob::of_file(path)?;
        let mut members = BTreeMap::new();
        let read = read_tar(&blob.file, 0, |entry| {
            members.insert(entry.path, entry.kind);
            Ok(())
        });
        read.map_err(|error| not_an_image(&path.display().to_string(), &error.to_string()))?;
        Ok(Self::Archive { file: blob.file, members })
    }

    /// A file by its name; nothing when it is not there. Links of an archive are followed.
    fn find(&self, name: &str) -> Result<Option<Blob>, InspectError> {
        let Some(mut path) = clean_path(Path::new(name)) else { return Ok(None) };
        let (file, members) = match self {
            Self::Directory(root) => {
                let path = root.join(path);
                return if path.is_file() { Ok(Some(Blob::of_file(&path)?)) } else { Ok(None) };
            }
            Self::Archive { file, members } => (file, members),
        };
        for _ in 0..8 {
            path = match members.get(&path) {
                Some(TarKind::File { offset, size }) => {
                    return Ok(Some(Blob { file: Arc::clone(file), offset: *offset, size: *size }));
                }
                Some(TarKind::HardLink(target)) => target.clone(),
                Some(TarKind::Symlink(target)) => match resolve(&path, Path::new(target)) {
                    Some(target) => target,
                    None => return Ok(None),
                },
                _ => return Ok(None),
            };
        }
        Ok(None)
    }
}

/// Where a symbolic link leads within its archive.
fn resolve(link: &Path, target: &Path) -> Option<PathBuf> {
    let mut path = link.parent().unwrap_or(Path::new("")).to_owned();
    for component in target.components() {
        match component {
            Component::ParentDir => path.pop().then_some(())?,
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ArchivedImage {
    config: String,
    layers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    media_type: Option<String>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    platform: Option<DescribedPlatform>,
}

#[derive(Clone, Deserialize)]
struct DescribedPlatform {
    os: String,
    architecture: String,
}

impl DescribedPlatform {
    fn name(&self) -> String {
        format!("{}/{}", self.os, self.architecture)
    }
}

/// Opens the image that lies at a path, whatever its form.
///
/// # Errors
/// When it is no image, holds several for the platform, or a document of it is damaged.
pub fn open_path(path: &Path, platform: Option<Platform>) -> Result<OpenImage, InspectError> {
    let place = path.display().to_string();
    let bundle = Bundle::open(path)?;
    Opener { bundle, place, platform }.open()
}

struct Opener {
    bundle: Bundle,
    place: String,
    platform: Option<Platform>,
}

impl Opener {
    fn open(&self) -> Result<OpenImage, InspectError> {
        let manifest = self.bundle.find("manifest.json")?;
        match (manifest, self.bundle.find("index.json")?) {
            (Some(manifest), index) => {
                let bytes = self.document(&manifest)?;
                match (serde_json::from_slice::<Vec<ArchivedImage>>(&bytes), index) {
                    (Ok(images), _) => self.docker_archive(&images),
                    (Err(_), Some(index)) => self.layout(&index),
                    (Err(_), None) => self.manifest(&bytes, Layout::Flat),
                }
            }
            (None, Some(index)) => self.layout(&index),
            (None, None) => Err(self.no("it has neither a manifest.json nor an index.json")),
        }
    }

    fn no(&self, why: &str) -> InspectError {
        not_an_image(&self.place, why)
    }

    fn document(&self, blob: &Blob) -> Result<Vec<u8>, InspectError> {
        if blob.size > DOCUMENT_MAX {
            return Err(self.no("a document of it is too large"));
        }
        let mut bytes = Vec::new();
        blob.reader().read_to_end(&mut bytes).map_err(FsError::new("read", &self.place))?;
        Ok(bytes)
    }

    fn parse<'a, T: Deserialize<'a>>(&self, what: &str, bytes: &'a [u8]) -> Result<T, InspectError> {
        serde_json::from_slice(bytes).map_err(|error| self.no(&format!("its {what} is not understood: {error}")))
    }

    fn member(&self, name: &str) -> Result<Blob, InspectError> {
        self.bundle.find(name)?.ok_or_else(|| self.no(&format!("it has no `{name}`")))
    }

    fn docker_archive(&self, images: &[ArchivedImage]) -> Result<OpenImage, InspectError> {
        let [image] = images else {
            return Err(self.no(&format!("the archive holds {} images, and one is understood", images.len())));
        };
        let config = self.document(&self.member(&image.config)?)?;
        let layers = image.layers.iter().map(|name| Ok((self.member(name)?, None)));
        self.image(config, layers.collect::<Result<_, InspectError>>()?)
    }

    fn layout(&self, index: &Blob) -> Result<OpenImage, InspectError> {
        let mut manifests = Vec::new();
        self.collect(&self.document(index)?, 0, &mut manifests)?;
        // Attestations lie beside images and are for no platform.
        manifests.retain(|found| found.platform.as_ref().is_none_or(|platform| platform.os != "unknown"));
        manifests.sort_by(|one, other| one.digest.cmp(&other.digest));
        manifests.dedup_by(|one, other| one.digest == other.digest);
        if let Some(wanted) = self.platform {
            let fits = |found: &Descriptor| {
                found.platform.as_ref().is_none_or(|platform| platform.name() == wanted.to_string())
            };
            manifests.retain(fits);
            if manifests.is_empty() {
                return Err(InspectError::NoPlatform { place: self.place.clone(), platform: wanted });
            }
        }
        match &manifests[..] {
            [one] => self.manifest(&self.verified(one, Layout::Blobs)?, Layout::Blobs),
            [] => Err(self.no("its index names no image")),
            several => {
                let name = |found: &Descriptor| match &found.platform {
                    Some(platform) => format!("{}  {}", platform.name(), found.digest),
                    None => found.digest.clone(),
                };
                Err(InspectError::Several { place: self.place.clone(), platforms: several.iter().map(name).collect() })
            }
        }
    }

    /// The manifests of an index and of indexes within it.
    fn collect(&self, index: &[u8], depth: usize, manifests: &mut Vec<Descriptor>) -> Result<(), InspectError> {
        if depth > DEPTH_MAX {
            return Err(self.no("its indexes lie too deep within each other"));
        }
        for found in self.parse::<Document>("index", index)?.manifests {
            let is_index = found.media_type.contains("index") || found.media_type.contains("manifest.list");
            if is_index {
                self.collect(&self.verified(&found, Layout::Blobs)?, depth + 1, manifests)?;
            } else {
                manifests.push(found);
            }
        }
        Ok(())
    }

    fn manifest(&self, bytes: &[u8], layout: Layout) -> Result<OpenImage, InspectError> {
        let manifest: Document = self.parse("manifest", bytes)?;
        let Some(config) = manifest.config else {
            let kind = manifest.media_type.unwrap_or_default();
            return Err(self.no(&format!("its manifest ({kind}) names no config")));
        };
        let config = self.verified(&config, layout)?;
        let layers = manifest.layers.iter().map(|layer| {
            let digest = self.digest(layer)?;
            Ok((self.member(&layout.name(&digest))?, Some(digest)))
        });
        self.image(config, layers.collect::<Result<_, InspectError>>()?)
    }

    fn digest(&self, descriptor: &Descriptor) -> Result<Sha256, InspectError> {
        Sha256::parse_prefixed(&descriptor.digest).map_err(|error| self.no(&error.to_string()))
    }

    /// A document, whose bytes must be those of its digest.
    fn verified(&self, descriptor: &Descriptor, layout: Layout) -> Result<Vec<u8>, InspectError> {
        let named = self.digest(descriptor)?;
        let bytes = self.document(&self.member(&layout.name(&named))?)?;
        match Sha256::of(&bytes) {
            found if found == named => Ok(bytes),
            found => {
                Err(InspectError::Damaged { place: self.place.clone(), what: "a document".to_owned(), named, found })
            }
        }
    }

    fn image(&self, config: Vec<u8>, blobs: Vec<(Blob, Option<Sha256>)>) -> Result<OpenImage, InspectError> {
        let document: ConfigDocument = self.parse("config", &config)?;
        let diff_ids = document.diff_ids().map_err(|error| self.no(&error.to_string()))?;
        if diff_ids.len() != blobs.len() {
            return Err(self.no("its config and its manifest have another number of layers"));
        }
        let steps = document.steps();
        let layers = blobs.into_iter().zip(diff_ids).enumerate().map(|(number, ((blob, digest), diff_id))| LayerBlob {
            blob,
            digest,
            diff_id,
            step: steps.get(number).cloned(),
        });
        Ok(OpenImage {
            name: self.place.clone(),
            id: Sha256::of(&config),
            config: self.parse("config", &config)?,
            layers: layers.collect(),
        })
    }
}

/// How the blobs of a layout are named.
#[derive(Clone, Copy)]
enum Layout {
    /// `blobs/sha256/DIGEST`.
    Blobs,
    /// `DIGEST`.
    Flat,
}

impl Layout {
    fn name(self, digest: &Sha256) -> String {
        match self {
            Self::Blobs => format!("blobs/sha256/{digest}"),
            Self::Flat => digest.to_string(),
        }
    }
}

/// What is read of a config.
#[derive(Deserialize)]
pub(super) struct ConfigDocument {
    #[serde(default)]
    history: Vec<HistoryDocument>,
    rootfs: RootFsDocument,
}

#[derive(Deserialize)]
struct HistoryDocument {
    #[serde(default)]
    created_by: String,
    #[serde(default)]
    empty_layer: bool,
}

#[derive(Deserialize)]
struct RootFsDocument {
    diff_ids: Vec<String>,
}

impl ConfigDocument {
    fn diff_ids(&self) -> Result<Vec<Sha256>, crate::model::ValueError> {
        self.rootfs.diff_ids.iter().map(|text| Sha256::parse_prefixed(text)).collect()
    }

    /// What made each layer, as far as the history says.
    pub(super) fn steps(&self) -> Vec<String> {
        let filled = self.history.iter().filter(|entry| !entry.empty_layer);
        filled.map(|entry| entry.created_by.clone()).collect()
    }
}

fn not_an_image(place: &str, why: &str) -> InspectError {
    InspectError::NotAnImage { place: place.to_owned(), why: why.to_owned() }
}
