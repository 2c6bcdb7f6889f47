//! The files of an image: its layers laid over each other, each path with its metadata and the digest of its content.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::InspectError;
use super::owners::is_document;
use super::{Blob, LayerBlob, OpenImage};
use crate::base::archive::decompress;
use crate::base::fs::copy_with;
use crate::base::tar::{Special, TarMeta};
use crate::base::untar::{TarEntry, TarKind, stream_tar};
use crate::model::{Hasher, Sha256};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const BUFFER: usize = 256 * 1024;
/// Lists of files larger than this are not kept: none is.
const DOCUMENT_MAX: u64 = 8 * 1024 * 1024;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// What its bytes hash to.
        digest: Sha256,
    },
    /// A symbolic link to this text.
    Symlink(OsString),
    /// A device or FIFO.
    Special(Special),
}

/// One path of an image.
#[derive(Clone, Debug)]
pub struct FileRecord {
    /// What it is.
    pub kind: RecordKind,
    /// Owner, mode and extended attributes.
    pub meta: TarMeta,
    /// Seconds since 1970.
    pub mtime: i64,
    /// The position of its layer, from 0.
    pub layer: usize,
    /// The first of all paths that are hard links of each other; none when it stands alone.
    pub linked: Option<PathBuf>,
    /// Its content, where it is a list of a package's files.
    pub(super) document: Option<Arc<[u8]>>,
    inode: (usize, usize),
}

/// The files of an image.
#[derive(Debug)]
pub struct ImageFiles {
    /// All paths, relative to the root, which itself is not among them.
    pub paths: BTreeMap<PathBuf, FileRecord>,
    /// What made each layer, lowest first.
    pub steps: Vec<Option<String>>,
}

/// Layers that were read already, so that what two images share is read once.
#[derive(Debug, Default)]
pub struct LayerCache {
    layers: BTreeMap<Sha256, (Blob, Arc<Vec<LayerItem>>)>,
}

/// What a layer says of a path, in its order.
#[derive(Debug)]
struct LayerItem {
    path: PathBuf,
    what: ItemKind,
}

#[derive(Debug)]
enum ItemKind {
    /// Hide what lower layers have there.
    Whiteout,
    /// Hide what lower layers have below it.
    Opaque,
    HardLink(PathBuf),
    Node {
        kind: RecordKind,
        meta: TarMeta,
        mtime: i64,
        document: Option<Arc<[u8]>>,
    },
}

impl LayerCache {
    /// Reads an image's layers and lays them over each other.
    ///
    /// # Errors
    /// When a layer cannot be read, is damaged, or has a hard link to nothing.
    pub fn files(&mut self, image: &OpenImage) -> Result<ImageFiles, InspectError> {
        let mut files = ImageFiles { paths: BTreeMap::new(), steps: Vec::new() };
        for (number, layer) in image.layers.iter().enumerate() {
            let items = match self.layers.get(&layer.diff_id) {
                Some((blob, items)) => {
                    if !blob.is_same_place(&layer.blob)? {
                        verify_layer(layer, &image.name)?;
                    }
                    Arc::clone(items)
                }
                None => {
                    let items = Arc::new(read_layer(layer, &image.name)?);
                    self.layers.insert(layer.diff_id, (layer.blob.clone(), Arc::clone(&items)));
                    items
                }
            };
            files.steps.push(layer.step.clone());
            files.lay(number, &items).map_err(|source| InspectError::Layer { place: image.name.clone(), source })?;
        }
        files.link();
        Ok(files)
    }
}

fn read_layer(layer: &LayerBlob, place: &str) -> Result<Vec<LayerItem>, InspectError> {
    let mut items = Vec::new();
    stream_layer(layer, place, |plain| {
        stream_tar(plain, |entry, content| {
            items.extend(item(entry, content)?);
            Ok(())
        })
    })?;
    Ok(items)
}

/// Another copy of a layer that was read: its bytes must be those of its digests, too.
fn verify_layer(layer: &LayerBlob, place: &str) -> Result<(), InspectError> {
    stream_layer(layer, place, |_| Ok(()))
}

/// Gives the uncompressed layer to `consume`, and verifies all of it.
fn stream_layer(
    layer: &LayerBlob,
    place: &str,
    consume: impl FnOnce(&mut dyn Read) -> io::Result<()>,
) -> Result<(), InspectError> {
    let fail = |source| InspectError::Layer { place: place.to_owned(), source };
    let mut packed = Hashing { reader: layer.blob.reader(), hasher: Hasher::default() };
    let diff_id = {
        let reader = decompress(BufReader::with_capacity(BUFFER, &mut packed)).map_err(fail)?;
        let mut plain = Hashing { reader, hasher: Hasher::default() };
        consume(&mut plain).map_err(fail)?;
        io::copy(&mut plain, &mut io::sink()).map_err(fail)?;
        plain.hasher.finish()
    };
    io::copy(&mut packed, &mut io::sink()).map_err(fail)?;
    let digests = [(Some(layer.diff_id), diff_id), (layer.digest, packed.hasher.finish())];
    for (named, found) in digests {
        if let Some(named) = named.filter(|named| *named != found) {
            let what = "a layer".to_owned();
            return Err(InspectError::Damaged { place: place.to_owned(), what, named, found });
        }
    }
    Ok(())
}

/// Nothing for the root itself, and for what only other builders' tools read.
fn item(entry: TarEntry, content: &mut dyn Read) -> io::Result<Option<LayerItem>> {
    let name = entry.path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
    let parent = entry.path.parent().unwrap_or(Path::new(""));
    if entry.path.as_os_str().is_empty() {
        return Ok(None);
    }
    if name == OPAQUE {
        return Ok(Some(LayerItem { path: parent.to_owned(), what: ItemKind::Opaque }));
    }
    if let Some(hidden) = name.strip_prefix(WHITEOUT) {
        // The storage driver aufs left its own files in layers: `.wh..wh.plnk` and the like.
        let is_own = hidden.starts_with(WHITEOUT);
        let path = parent.join(OsStr::from_bytes(hidden));
        return Ok((!is_own).then_some(LayerItem { path, what: ItemKind::Whiteout }));
    }
    let mut document = None;
    let kind = match entry.kind {
        TarKind::Directory => RecordKind::Directory,
        TarKind::Symlink(target) => RecordKind::Symlink(target),
        TarKind::Special(special) => RecordKind::Special(special),
        TarKind::HardLink(target) => {
            return Ok(Some(LayerItem { path: entry.path, what: ItemKind::HardLink(target) }));
        }
        TarKind::File { size, .. } => {
            let mut kept = Vec::new();
            let keeps = size <= DOCUMENT_MAX && is_document(&entry.path);
            let mut hasher = Hasher::default();
            let read = copy_with(&mut &mut *content, &mut io::sink(), |piece| {
                hasher.update(piece);
                if keeps {
                    kept.extend_from_slice(piece);
                }
            })?;
            if read != size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            document = keeps.then(|| kept.into());
            RecordKind::File { size, digest: hasher.finish() }
        }
    };
    let what = ItemKind::Node { kind, meta: entry.meta, mtime: entry.mtime, document };
    Ok(Some(LayerItem { path: entry.path, what }))
}

impl ImageFiles {
    /// Lays one more layer over what is there. What a layer hides is hidden first, wherever its marks stand in it.
    fn lay(&mut self, layer: usize, items: &[LayerItem]) -> io::Result<()> {
        for item in items {
            match item.what {
                ItemKind::Whiteout => self.remove(&item.path),
                ItemKind::Opaque => self.remove_below(&item.path),
                ItemKind::HardLink(_) | ItemKind::Node { .. } => {}
            }
        }
        for (number, item) in items.iter().enumerate() {
            let record = match &item.what {
                ItemKind::Whiteout | ItemKind::Opaque => continue,
                ItemKind::HardLink(target) => {
                    let linked = self.paths.get(target).cloned();
                    let missing = || io::Error::other(format!("`{}` is a hard link to nothing", item.path.display()));
                    FileRecord { layer, ..linked.ok_or_else(missing)? }
                }
                ItemKind::Node { kind, meta, mtime, document } => FileRecord {
                    kind: kind.clone(),
                    meta: meta.clone(),
                    mtime: *mtime,
                    layer,
                    linked: None,
                    document: document.clone(),
                    inode: (layer, number),
                },
            };
            if record.kind != RecordKind::Directory {
                self.remove_below(&item.path);
            }
            self.paths.insert(item.path.clone(), record);
        }
        Ok(())
    }

    fn remove(&mut self, path: &Path) {
        self.remove_below(path);
        self.paths.remove(path);
    }

    fn remove_below(&mut self, path: &Path) {
        // Paths are ordered part by part, so that what is below one follows it at once.
        let range = (std::ops::Bound::Excluded(path.to_owned()), std::ops::Bound::Unbounded);
        let below = self.paths.range::<PathBuf, _>(range).map(|(other, _)| other);
        let below: Vec<PathBuf> = below.take_while(|other| other.starts_with(path)).cloned().collect();
        for other in &below {
            self.paths.remove(other);
        }
    }

    /// Tells paths that are hard links of each other by the first of them.
    fn link(&mut self) {
        let mut groups: BTreeMap<(usize, usize), Vec<PathBuf>> = BTreeMap::new();
        let files = self.paths.iter().filter(|(_, record)| matches!(record.kind, RecordKind::File { .. }));
        for (path, record) in files {
            groups.entry(record.inode).or_default().push(path.clone());
        }
        for paths in groups.into_values().filter(|paths| paths.len() > 1) {
            for path in &paths {
                if let Some(record) = self.paths.get_mut(path) {
                    record.linked = paths.first().cloned();
                }
            }
        }
    }
}

struct Hashing<R> {
    reader: R,
    hasher: Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}
