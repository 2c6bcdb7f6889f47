//! Layers: each path of the tree goes into one of them (`split`), and each is one canonical tar.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::io::{self, BufWriter, Read, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::SealError;
use super::delta::Delta;
use super::encode::{EncodingWriter, Pool, with_pool};
use super::known::{self, KnownLayer};
use super::manifest::{Blob, keep_encoded};
use super::rules::Rules;
use super::seal::{Encoding, SealedLayer};
use super::split::{Slot, SplitRequest, Written, split};
use super::tree::{Content, Entry, Node, Tree};
use crate::base::fs::FsError;
use crate::base::path_map::PathMap;
use crate::base::progress::Phase;
use crate::base::tar::{TarMeta, TarWriter};
use crate::model::Sha256;
use crate::store::{BlobWriter, Store};

/// From this size on, files of the same bytes and metadata become hard links of one.
const LINK_FROM: u64 = 1024 * 1024;
const BUFFER: usize = 512 * 1024;
/// Bounds the memory: each writer of a layer holds a few blocks that wait to be compressed.
const WRITERS_MAX: usize = 4;

/// Where files of a layer come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its name: `npm`, `pip`, `files`.
    pub name: String,
    /// Absolute paths whose trees belong to it.
    pub roots: Vec<String>,
}

/// What files must share to become one: origin, size, mode, owner, group, attributes.
type Alike<'a> = (usize, u64, u32, u64, u64, Vec<(&'a str, &'a [u8])>);

/// What is written as layers.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayersRequest<'a> {
    pub(super) tree: &'a Tree,
    /// On a base, of which only this is written.
    pub(super) delta: Option<&'a Delta>,
    pub(super) origins: &'a [Origin],
    /// How many layers the base has.
    pub(super) below: usize,
    pub(super) rules: &'a Rules,
    pub(super) epoch: i64,
    /// Whether layers are compressed while they are written.
    pub(super) encoding: Encoding,
}

/// One layer before it is written: its name and paths, parents included, in the tree's order.
#[derive(Default)]
struct Plan<'a> {
    name: String,
    entries: PathMap<&'a Entry, &'a Path>,
    links: PathMap<&'a Path, &'a Path>,
    /// Whether it has an entry for the root itself.
    has_root: bool,
}

/// Writes the tree as layers into the store, lowest first. Without a base, the layer of what no package of the system owns is
/// always there.
pub(super) fn write_layers(
    request: &LayersRequest<'_>,
    store: &Store,
    phase: &Phase,
) -> Result<Vec<SealedLayer>, SealError> {
    let plans = plan_layers(request)?;
    match request.encoding {
        Encoding::Later => write_plans(&plans, request.epoch, store, phase, None),
        Encoding::Now(compression) => {
            with_pool(compression, |pool| write_plans(&plans, request.epoch, store, phase, Some(pool)))
        }
    }
}

/// Writes layers side by side, the largest first, so that no core is left alone with one at the end.
fn write_plans(
    plans: &[Plan<'_>],
    epoch: i64,
    store: &Store,
    phase: &Phase,
    pool: Option<&Pool>,
) -> Result<Vec<SealedLayer>, SealError> {
    let mut queue: Vec<usize> = (0..plans.len()).collect();
    queue.sort_by_key(|number| std::cmp::Reverse(plans[*number].content_size()));
    let results: Vec<Mutex<Option<Result<SealedLayer, SealError>>>> = plans.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let writers = std::thread::available_parallelism().map_or(1, NonZero::get).min(WRITERS_MAX).min(plans.len());
    std::thread::scope(|scope| {
        for _ in 0..writers {
            scope.spawn(|| {
                while let Some(number) = queue.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let result = plans[*number].ensure(epoch, store, phase, pool);
                    *results[*number].lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(result);
                }
            });
        }
    });
    let unwritten = || SealError::Rules { what: "a layer was not written".into() };
    results
        .into_iter()
        .map(|result| result.into_inner().ok().flatten().ok_or_else(unwritten).and_then(|result| result))
        .collect()
}

fn plan_layers<'a>(request: &LayersRequest<'a>) -> Result<Vec<Plan<'a>>, SealError> {
    let claims = Claims::new(request.origins);
    let (tree, delta) = (request.tree, request.delta);
    let written: Vec<Written<'a>> = tree
        .iter()
        .filter(|(path, _)| delta.is_none_or(|delta| delta.has(path)))
        .map(|(path, entry)| Written { path, entry, origin: claims.of(path) })
        .collect();
    let links = find_links(&written)?;
    let slots = split(&SplitRequest {
        tree,
        written: &written,
        links: &links,
        origins: request.origins,
        below: request.below,
        rules: &request.rules.layers,
        state: &request.rules.state,
    })?;
    let mut plans: BTreeMap<Slot, Plan<'a>> = BTreeMap::new();
    if delta.is_none() {
        plans.insert(Slot::rest(0), Plan { has_root: true, ..Plan::default() });
    }
    for (number, (item, slot)) in written.iter().zip(slots).enumerate() {
        let Some(slot) = slot else { continue };
        let plan = plans.entry(slot).or_default();
        plan.entries.insert(item.path, item.entry);
        if let Some(target) = links.get(&number) {
            plan.links.insert(item.path, written[*target].path);
        }
    }
    for (gone, (path, entry)) in delta.into_iter().flat_map(|delta| &delta.whiteouts) {
        plans.entry(Slot::rest(claims.of(gone))).or_default().entries.insert(path, entry);
    }
    let finish = |(slot, mut plan): (Slot, Plan<'a>)| {
        plan.name = slot.name(request.origins);
        plan.add_parents(tree);
        plan
    };
    Ok(plans.into_iter().map(finish).collect())
}

/// Which origin a path is of.
struct Claims {
    origins: PathMap<usize>,
}

impl Claims {
    fn new(origins: &[Origin]) -> Self {
        let mut claims = Self { origins: PathMap::default() };
        for (number, origin) in origins.iter().enumerate() {
            for root in &origin.roots {
                let root = PathBuf::from(root.trim_matches('/'));
                if !claims.origins.contains(&root) {
                    claims.origins.insert(root, number + 1);
                }
            }
        }
        claims
    }

    /// The first origin of whose trees the path is a part; the system's 0 when there is none.
    fn of(&self, path: &Path) -> usize {
        path.ancestors().filter_map(|ancestor| self.origins.get(ancestor)).min().copied().unwrap_or_default()
    }
}

/// Large files that are the same as one before them in their origin, by position, with the position of that one.
fn find_links(written: &[Written<'_>]) -> Result<BTreeMap<usize, usize>, SealError> {
    let mut groups: BTreeMap<Alike<'_>, Vec<(usize, &Content)>> = BTreeMap::new();
    for (number, item) in written.iter().enumerate() {
        if let Node::File { size, content } = &item.entry.node
            && *size >= LINK_FROM
        {
            let meta = &item.entry.meta;
            let xattrs = meta.xattrs.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
            let alike = (item.origin, *size, meta.mode, meta.uid, meta.gid, xattrs);
            groups.entry(alike).or_default().push((number, content));
        }
    }
    let mut links = BTreeMap::new();
    for ((_, size, ..), files) in groups.into_iter().filter(|(_, files)| files.len() > 1) {
        link_equal_files(size, &files, written, &mut links)?;
    }
    Ok(links)
}

/// Links each file to the first of the same bytes. Files that share their place are known to be equal unread.
fn link_equal_files<'a>(
    size: u64,
    files: &[(usize, &'a Content)],
    written: &[Written<'_>],
    links: &mut BTreeMap<usize, usize>,
) -> Result<(), SealError> {
    let mut places: Vec<(usize, &'a Content, Vec<usize>)> = Vec::new();
    for (number, content) in files {
        match places.iter_mut().find(|(_, known, _)| known.is_same_place(content)) {
            Some((_, _, others)) => others.push(*number),
            None => places.push((*number, content, Vec::new())),
        }
    }
    let mut by_digest: BTreeMap<Option<Sha256>, Vec<usize>> = BTreeMap::new();
    let is_alone = places.len() == 1;
    for (number, content, others) in places {
        let hash = |mut reader: &mut dyn Read| Sha256::of_reader(&mut reader);
        let digest = if is_alone {
            None
        } else if let Some(digest) = content.digest() {
            Some(Sha256::from_bytes(digest))
        } else {
            let fail = |source| SealError::Root { path: written[number].path.to_owned(), source };
            Some(content.with_reader(size, hash).map_err(fail)?.0)
        };
        let group = by_digest.entry(digest).or_default();
        group.push(number);
        group.extend(others);
    }
    for mut group in by_digest.into_values() {
        group.sort_unstable();
        links.extend(group.iter().skip(1).map(|number| (*number, group[0])));
    }
    Ok(())
}

impl<'a> Plan<'a> {
    fn add_parents(&mut self, tree: &'a Tree) {
        let parents: HashSet<&'a OsStr> =
            self.entries.iter().filter_map(|(path, _)| Some(path.parent()?.as_os_str())).collect();
        let mut added = HashSet::new();
        for parent in parents {
            for above in Path::new(parent).ancestors().take_while(|above| added.insert(above.as_os_str())) {
                if let Some(entry) = tree.get(above) {
                    self.entries.insert(above, entry);
                }
            }
        }
    }

    fn content_size(&self) -> u64 {
        let sizes = self.entries.iter().map(|(path, entry)| match entry.node {
            Node::File { size, .. } if !self.links.contains(path) => size,
            _ => 0,
        });
        sizes.sum()
    }

    /// The layer that was written of the same entries before, or a new one.
    fn ensure(&self, epoch: i64, store: &Store, phase: &Phase, pool: Option<&Pool>) -> Result<SealedLayer, SealError> {
        let question = known::question(&self.entries, &self.links, self.has_root, epoch);
        if let Some(KnownLayer { diff_id, size }) = question.and_then(|question| known::find(&question, store)) {
            return Ok(SealedLayer { origin: self.name.clone(), diff_id, size, blob: None });
        }
        let layer = self.write(epoch, store, phase, pool)?;
        if let Some(question) = question {
            known::remember(&question, KnownLayer { diff_id: layer.diff_id, size: layer.size }, store)?;
        }
        Ok(layer)
    }

    fn write(&self, epoch: i64, store: &Store, phase: &Phase, pool: Option<&Pool>) -> Result<SealedLayer, SealError> {
        let fail = || FsError::new("write to", store.root());
        let encoded =
            pool.map(|pool| Ok::<_, SealError>(EncodingWriter::new(pool, store.create_blob()?))).transpose()?;
        let sink = LayerSink { plain: store.create_blob()?, encoded };
        let mut writer = TarWriter::new(BufWriter::with_capacity(BUFFER, sink), epoch);
        if self.has_root {
            writer.directory(Path::new("."), &TarMeta::root(0o755)).map_err(fail())?;
        }
        for (path, entry) in self.entries.iter() {
            let target = self.links.get(path).copied();
            let written = write_entry(&mut writer, path, entry, target);
            phase.advance(written.map_err(|source| SealError::Root { path: path.to_path_buf(), source })?);
        }
        let sink = writer.finish().and_then(|buffer| buffer.into_inner().map_err(io::Error::from)).map_err(fail())?;
        let (diff_id, size) = sink.plain.commit(None)?;
        if let Some(encoded) = sink.encoded {
            let compression = encoded.compression();
            let encoded = encoded.finish().map_err(|source| SealError::Encode { diff_id, source })?;
            let (digest, size) = encoded.commit(None)?;
            keep_encoded(&diff_id, compression, Blob { digest, size }, store)?;
        }
        Ok(SealedLayer { origin: self.name.clone(), diff_id, size, blob: None })
    }
}

/// Takes a layer's tar, and compresses it on the way where that is wanted.
struct LayerSink<'a> {
    plain: BlobWriter,
    encoded: Option<EncodingWriter<'a, BlobWriter>>,
}

impl Write for LayerSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.plain.write_all(bytes)?;
        if let Some(encoded) = &mut self.encoded {
            encoded.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes one entry and returns how many bytes of content it had.
fn write_entry(writer: &mut TarWriter<impl Write>, path: &Path, entry: &Entry, link: Option<&Path>) -> io::Result<u64> {
    let meta = &entry.meta;
    match (&entry.node, link) {
        (_, Some(target)) => writer.hard_link(path, meta, target).map(|()| 0),
        (Node::Directory, None) => writer.directory(path, meta).map(|()| 0),
        (Node::Symlink(target), None) => writer.symlink(path, meta, target).map(|()| 0),
        (Node::Special(special), None) => writer.special(path, meta, *special).map(|()| 0),
        (Node::File { size, content }, None) => {
            content.with_reader(*size, |reader| writer.file(path, meta, *size, reader)).map(|()| *size)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::progress::Progress;
    use crate::base::untar::{TarKind, read_tar};
    use crate::image::seal::SYSTEM_LAYER;
    use crate::model::LayerCompression;

    fn write(tree: &Tree, origins: &[Origin]) -> Vec<(String, Vec<(String, TarKind)>)> {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let rules = Rules::built_in().unwrap();
        let request =
            LayersRequest { tree, delta: None, origins, below: 0, rules: &rules, epoch: 9, encoding: Encoding::Later };
        let layers = write_layers(&request, &store, &Progress::hidden().bytes("", 0)).unwrap();
        let read = |layer: &SealedLayer| {
            let mut entries = Vec::new();
            let file = store.open_blob(&layer.diff_id).unwrap();
            read_tar(&file, 0, |entry| {
                assert_eq!(entry.mtime, 9);
                let kind = match entry.kind {
                    TarKind::File { size, .. } => TarKind::File { offset: 0, size },
                    other => other,
                };
                entries.push((entry.path.display().to_string(), kind));
                Ok(())
            })
            .unwrap();
            (layer.origin.clone(), entries)
        };
        layers.iter().map(read).collect()
    }

    fn origin(name: &str, roots: &[&str]) -> Origin {
        Origin { name: name.into(), roots: roots.iter().map(|root| (*root).to_owned()).collect() }
    }

    #[test]
    fn each_path_goes_to_its_origin_with_its_parents() {
        let mut tree = Tree::default();
        for path in ["bin/sh", "opt/venv/bin/python", "opt/venv-x", "usr/lib/node/a"] {
            tree.insert_with_parents(Path::new(path), Entry::file(0o644, path.into()));
        }
        let origins = [origin("npm", &["/usr/lib/node"]), origin("none", &["/gone"]), origin("pip", &["/opt/venv/"])];
        let layers = write(&tree, &origins);
        let names = |number: usize| -> Vec<&str> { layers[number].1.iter().map(|(path, _)| path.as_str()).collect() };
        assert_eq!(layers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), [SYSTEM_LAYER, "npm", "pip"]);
        assert_eq!(names(0), ["", "bin", "bin/sh", "opt", "opt/venv-x"]);
        assert_eq!(names(1), ["usr", "usr/lib", "usr/lib/node", "usr/lib/node/a"]);
        assert_eq!(names(2), ["opt", "opt/venv", "opt/venv/bin", "opt/venv/bin/python"]);
    }

    #[test]
    fn large_equal_files_are_linked_and_small_ones_are_not() {
        let large = vec![7; LINK_FROM as usize];
        let mut other = large.clone();
        other[9] = 1;
        let mut tree = Tree::default();
        for (name, mode, bytes) in [
            ("b", 0o644, large.clone()),
            ("a", 0o644, large.clone()),
            ("mode", 0o755, large),
            ("other", 0o644, other),
            ("s1", 0o644, vec![1]),
            ("s2", 0o644, vec![1]),
        ] {
            tree.insert(name.into(), Entry::file(mode, bytes));
        }
        let layers = write(&tree, &[]);
        let links: Vec<_> = layers[0].1.iter().filter(|(_, kind)| matches!(kind, TarKind::HardLink(_))).collect();
        assert_eq!(links, [&("b".to_owned(), TarKind::HardLink("a".into()))]);
    }

    #[test]
    fn layers_compressed_on_the_way_are_those_compressed_later() {
        let mut tree = Tree::default();
        let bytes: Vec<u8> = (0..9_000_000_u32).map(|number| (number.wrapping_mul(number) >> 7) as u8).collect();
        tree.insert_with_parents(Path::new("usr/large"), Entry::file(0o644, bytes));
        tree.insert_with_parents(Path::new("opt/venv/small"), Entry::file(0o644, b"x".to_vec()));
        let rules = Rules::built_in().unwrap();
        let origins = [origin("pip", &["/opt/venv"])];
        let written = [Encoding::Now(LayerCompression::Gzip), Encoding::Later].map(|encoding| {
            let directory = tempfile::tempdir().unwrap();
            let store = Store::open(directory.path()).unwrap();
            let request = LayersRequest {
                tree: &tree,
                delta: None,
                origins: &origins,
                below: 0,
                rules: &rules,
                epoch: 9,
                encoding,
            };
            let layers = write_layers(&request, &store, &Progress::hidden().bytes("", 0)).unwrap();
            let compressed = |layer: &SealedLayer| {
                let plain = std::fs::read(store.blob_path(&layer.diff_id)).unwrap();
                let encoded = with_pool(LayerCompression::Gzip, |pool| {
                    let mut writer = EncodingWriter::new(pool, Vec::new());
                    writer.write_all(&plain).and_then(|()| writer.finish()).unwrap()
                });
                Sha256::of(encoded)
            };
            let kept = layers.iter().map(|layer| store.contains(&compressed(layer))).collect::<Vec<bool>>();
            (layers, kept)
        });
        assert_eq!(written[0].0, written[1].0);
        assert_eq!((&written[0].1[..], &written[1].1[..]), (&[true; 2][..], &[false; 2][..]));
    }
}
