//! Two images compared file by file: what a reviewer sees when a build gives something else than the lock says.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SealError;
use super::seal::{SealedImage, SealedLayer};
use crate::base::fs::FsError;
use crate::base::untar::{FileRange, TarEntry, TarKind, read_tar};
use crate::store::Store;

/// What differs about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// The second image does not have it.
    OnlyInFirst,
    /// The first image does not have it.
    OnlyInSecond,
    /// A file here, a directory or link there.
    Kind,
    /// The bytes.
    Content,
    /// The permission bits.
    Mode,
    /// The owner or group.
    Owner,
    /// What a link points to.
    Link,
    /// The extended attributes.
    Attributes,
    /// The time.
    Time,
    /// The layer it is in.
    Layer,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::OnlyInFirst => "only in the first",
            Self::OnlyInSecond => "only in the second",
            Self::Kind => "kind",
            Self::Content => "content",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Link => "link",
            Self::Attributes => "attributes",
            Self::Time => "time",
            Self::Layer => "layer",
        })
    }
}

/// A path and all that differs about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDifference {
    /// Relative to the root.
    pub path: PathBuf,
    /// What differs, sorted.
    pub differences: Vec<Difference>,
}

impl std::fmt::Display for FileDifference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<String> = self.differences.iter().map(ToString::to_string).collect();
        write!(formatter, "/{}  {}", self.path.display(), words.join(", "))
    }
}

/// Names the paths of two images that differ, sorted; none when only the configs differ.
///
/// # Errors
/// When a layer that the images do not share is missing from the store or damaged.
pub fn compare(first: &SealedImage, second: &SealedImage, store: &Store) -> Result<Vec<FileDifference>, SealError> {
    let first_files = files_apart(first, second, store)?;
    let second_files = files_apart(second, first, store)?;
    let mut differences = Vec::new();
    for (path, file) in &first_files {
        let found = match second_files.get(path) {
            None => vec![Difference::OnlyInFirst],
            Some(other) => compare_files(file, other).map_err(FsError::new("compare", path))?,
        };
        differences.push(FileDifference { path: path.clone(), differences: found });
    }
    let missing = second_files.keys().filter(|path| !first_files.contains_key(*path));
    differences
        .extend(missing.map(|path| FileDifference { path: path.clone(), differences: vec![Difference::OnlyInSecond] }));
    differences.retain(|difference| !difference.differences.is_empty());
    differences.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(differences)
}

/// A path in a layer, with where its content is.
struct Placed {
    entry: TarEntry,
    origin: String,
    archive: Arc<File>,
    content: Option<(u64, u64)>,
}

/// The paths of those layers that the other image does not have.
fn files_apart(
    image: &SealedImage,
    other: &SealedImage,
    store: &Store,
) -> Result<BTreeMap<PathBuf, Placed>, SealError> {
    let is_shared = |layer: &&SealedLayer| other.layers.iter().any(|known| known.diff_id == layer.diff_id);
    let mut files = BTreeMap::new();
    for layer in image.layers.iter().filter(|layer| !is_shared(layer)) {
        let archive = Arc::new(store.open_blob(&layer.diff_id)?);
        let path = store.blob_path(&layer.diff_id);
        read_tar(&archive, 0, |entry| place(entry, layer, &archive, &mut files)).map_err(FsError::new("read", path))?;
    }
    Ok(files)
}

fn place(
    entry: TarEntry,
    layer: &SealedLayer,
    archive: &Arc<File>,
    files: &mut BTreeMap<PathBuf, Placed>,
) -> io::Result<()> {
    // A parent that an upper layer names again is the same entry; it counts where it was first.
    if entry.kind == TarKind::Directory && files.contains_key(&entry.path) {
        return Ok(());
    }
    let content = match &entry.kind {
        TarKind::File { offset, size } => Some((*offset, *size)),
        TarKind::HardLink(target) => files.get(target).and_then(|placed| placed.content),
        _ => None,
    };
    let placed = Placed { origin: layer.origin.clone(), archive: Arc::clone(archive), content, entry };
    files.insert(placed.entry.path.clone(), placed);
    Ok(())
}

fn compare_files(first: &Placed, second: &Placed) -> io::Result<Vec<Difference>> {
    let (one, other) = (&first.entry, &second.entry);
    let mut found = Vec::new();
    match (&one.kind, &other.kind) {
        (TarKind::Symlink(one), TarKind::Symlink(other)) if one != other => found.push(Difference::Link),
        (TarKind::HardLink(one), TarKind::HardLink(other)) if one != other => found.push(Difference::Link),
        (TarKind::HardLink(_), TarKind::File { .. }) | (TarKind::File { .. }, TarKind::HardLink(_)) => {
            found.push(Difference::Link);
        }
        (TarKind::Special(one), TarKind::Special(other)) if one != other => found.push(Difference::Kind),
        (one, other) if std::mem::discriminant(one) != std::mem::discriminant(other) => found.push(Difference::Kind),
        _ => {}
    }
    if let (Some(_), Some(_)) = (first.content, second.content)
        && !is_same_content(first, second)?
    {
        found.push(Difference::Content);
    }
    let checks = [
        (one.meta.mode != other.meta.mode, Difference::Mode),
        ((one.meta.uid, one.meta.gid) != (other.meta.uid, other.meta.gid), Difference::Owner),
        (one.meta.xattrs != other.meta.xattrs, Difference::Attributes),
        (one.mtime != other.mtime, Difference::Time),
        (first.origin != second.origin, Difference::Layer),
    ];
    found.extend(checks.into_iter().filter(|(differs, _)| *differs).map(|(_, difference)| difference));
    found.sort();
    Ok(found)
}

fn is_same_content(first: &Placed, second: &Placed) -> io::Result<bool> {
    let (Some((one, size)), Some((other, other_size))) = (first.content, second.content) else { return Ok(true) };
    if size != other_size {
        return Ok(false);
    }
    let mut left = FileRange::new(&first.archive, one, size);
    let mut right = FileRange::new(&second.archive, other, size);
    let (mut these, mut those) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut rest = size;
    while rest > 0 {
        let length = usize::try_from(rest).unwrap_or(usize::MAX).min(these.len());
        left.read_exact(&mut these[..length])?;
        right.read_exact(&mut those[..length])?;
        if these[..length] != those[..length] {
            return Ok(false);
        }
        rest -= length as u64;
    }
    Ok(true)
}

/// The paths of a list of differences, for messages.
impl AsRef<Path> for FileDifference {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}
