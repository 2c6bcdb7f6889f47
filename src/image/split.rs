//! Which layer each path of an image goes to, so that one changed pin moves few bytes: by origin, then by package. The rules
//! (`rules.toml`, "layers") say how many layers there may be; which of them a package goes to follows from its name, and for a
//! large one from its size as a power of two, never from what the other packages are.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::Deserialize;

use super::SealError;
use super::layers::Origin;
use super::packages::{
    DPKG, DPKG_INFO, distribution, dpkg_info_package, dpkg_sources, joined, outermost_npm_package, python_source,
    record_path,
};
use super::rules::Pattern;
use super::seal::{NPM_LAYER, PIP_LAYER, STATE_LAYER, SYSTEM_LAYER};
use super::tree::{Entry, Node, Tree};
use crate::model::Sha256;

/// What a path costs in a layer besides its content.
const HEADER: u64 = 512;

/// How files are shared out among layers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct SplitRules {
    /// Layers of an image, those of the base among them.
    most: usize,
    /// Bytes from which an origin is shared out.
    split_from: u64,
    /// Bytes from which a package may get a layer of its own.
    own_from: u64,
    origins: BTreeMap<String, Share>,
}

/// Layers of one origin.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Share {
    /// For large packages.
    own: usize,
    /// For all others together.
    groups: u64,
}

impl Share {
    fn halved(self, times: u32) -> Self {
        Self { own: self.own >> times, groups: (self.groups >> times).max(1) }
    }
}

impl SplitRules {
    /// The share of an origin where so many layers lie below: nothing when it is not to be shared out.
    fn share(&self, origin: &str, below: usize) -> Option<Share> {
        let needed = |times: u32| {
            let shares = self.origins.values().map(|share| share.halved(times));
            // What no package owns, the project's own files and the state have a layer each.
            shares.map(|share| share.own + share.groups as usize + 1).sum::<usize>() + 2
        };
        let fitting =
            (0..usize::BITS).find(|times| below + needed(*times) <= self.most || needed(*times) == needed(31));
        Some(self.origins.get(origin)?.halved(fitting.unwrap_or_default()))
    }
}

/// A path that is written, with the number of its origin: 0 for the system.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written<'a> {
    pub(super) path: &'a Path,
    pub(super) entry: &'a Entry,
    pub(super) origin: usize,
}

/// What is shared out.
#[derive(Clone, Copy, Debug)]
pub(super) struct SplitRequest<'a> {
    pub(super) tree: &'a Tree,
    /// In the tree's order.
    pub(super) written: &'a [Written<'a>],
    /// Files that are written as hard links, by the position of the file that they are links of.
    pub(super) links: &'a BTreeMap<usize, usize>,
    pub(super) origins: &'a [Origin],
    /// How many layers lie below.
    pub(super) below: usize,
    pub(super) rules: &'a SplitRules,
    pub(super) state: &'a [Pattern],
}

/// What a path is of, within its origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Package(Rc<str>),
    Rest,
    /// Of several packages: with the rest, so that none of them moves it.
    Shared,
    State,
}

/// A layer's place among the others: large packages lowest, what changes most uppermost, since some engines keep a layer only
/// as long as all below it stay.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    origin: usize,
    kind: SlotKind,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SlotKind {
    Own(Rc<str>),
    Group(u64),
    Rest,
}

impl Slot {
    /// The slot of what no package of an origin owns.
    pub(super) fn rest(origin: usize) -> Self {
        Self { origin, kind: SlotKind::Rest }
    }

    /// What the layer is called: the origin, and in it the package or group.
    pub(super) fn name(&self, origins: &[Origin]) -> String {
        let origin = match self.origin.checked_sub(1) {
            None => SYSTEM_LAYER,
            Some(number) => origins.get(number).map_or(STATE_LAYER, |origin| &origin.name),
        };
        match &self.kind {
            SlotKind::Own(package) => format!("{origin}/{package}"),
            SlotKind::Group(number) => format!("{origin}/part-{:02}", number + 1),
            SlotKind::Rest => origin.to_owned(),
        }
    }
}

/// The slot of each path that is written; nothing for a directory that is in a layer anyway, with what lies below it.
pub(super) fn split(request: &SplitRequest<'_>) -> Result<Vec<Option<Slot>>, SealError> {
    let mut parts = Parts::new(request).find()?;
    for (link, target) in request.links {
        parts[*link] = parts[*target].clone();
    }
    let mut weights: BTreeMap<(usize, &Part), u64> = BTreeMap::new();
    for (number, (item, part)) in request.written.iter().zip(&parts).enumerate() {
        let content = match item.entry.node {
            Node::File { size, .. } if !request.links.contains_key(&number) => size,
            _ => 0,
        };
        *weights.entry((item.origin, part)).or_default() += HEADER + content;
    }
    let slots: Vec<BTreeMap<&Part, Slot>> =
        (0..=request.origins.len()).map(|origin| slots_of(origin, &weights, request)).collect();
    let is_parent = |number: usize, item: &Written<'_>| {
        item.entry.is_directory()
            && request.written.get(number + 1).is_some_and(|next| next.path.starts_with(item.path))
    };
    let slot = |(number, (item, part)): (usize, (&Written<'_>, &Part))| {
        if is_parent(number, item) { None } else { slots[item.origin].get(part).cloned() }
    };
    Ok(request.written.iter().zip(&parts).enumerate().map(slot).collect())
}

/// Where the parts of one origin go.
fn slots_of<'p>(
    origin: usize,
    weights: &BTreeMap<(usize, &'p Part), u64>,
    request: &SplitRequest<'_>,
) -> BTreeMap<&'p Part, Slot> {
    let parts: Vec<(&'p Part, u64)> =
        weights.iter().filter(|((of, _), _)| *of == origin).map(|((_, part), weight)| (*part, *weight)).collect();
    let name = origin.checked_sub(1).map_or(SYSTEM_LAYER, |number| request.origins[number].name.as_str());
    let is_large = parts.iter().map(|(_, weight)| weight).sum::<u64>() >= request.rules.split_from;
    let share = request.rules.share(name, request.below).filter(|_| is_large);
    let Some(share) = share else {
        return parts.into_iter().map(|(part, _)| (part, Slot::rest(origin))).collect();
    };
    let mut large: Vec<(u32, &'p Part)> = parts
        .iter()
        .filter(|(part, weight)| matches!(part, Part::Package(_)) && *weight >= request.rules.own_from)
        .map(|(part, weight)| (weight.leading_zeros(), *part))
        .collect();
    large.sort();
    large.truncate(share.own);
    let slot = |part: &'p Part| match part {
        Part::Rest | Part::Shared => Slot::rest(origin),
        Part::State => Slot::rest(request.origins.len() + 1),
        Part::Package(package) if large.iter().any(|(_, own)| *own == part) => {
            Slot { origin, kind: SlotKind::Own(Rc::clone(package)) }
        }
        Part::Package(package) => Slot { origin, kind: SlotKind::Group(group(package, share.groups)) },
    };
    parts.iter().map(|(part, _)| (*part, slot(part))).collect()
}

/// The group of a package: a function of its name alone.
fn group(package: &str, groups: u64) -> u64 {
    let digest = Sha256::of(package);
    let start = digest.as_bytes().iter().take(8);
    start.fold(0, |number, byte| number << 8 | u64::from(*byte)) % groups.max(1)
}

/// Finds out what each path is of.
struct Parts<'a> {
    request: &'a SplitRequest<'a>,
    /// Positions by path, for looking up what lists name.
    positions: BTreeMap<&'a [u8], usize>,
    parts: Vec<Part>,
}

impl<'a> Parts<'a> {
    fn new(request: &'a SplitRequest<'a>) -> Self {
        let positions = request.written.iter().enumerate().map(|(number, item)| (bytes(item.path), number)).collect();
        Self { request, positions, parts: vec![Part::Rest; request.written.len()] }
    }

    fn find(mut self) -> Result<Vec<Part>, SealError> {
        self.debian()?;
        for (number, origin) in self.request.origins.iter().enumerate() {
            match origin.name.as_str() {
                NPM_LAYER => self.npm(number + 1),
                PIP_LAYER => self.python(number + 1)?,
                _ => {}
            }
        }
        self.byte_code();
        self.state();
        Ok(self.parts)
    }

    /// Gives a path of an origin to a package.
    fn set(&mut self, path: &Path, origin: usize, package: &Rc<str>) {
        let Some(number) = self.positions.get(bytes(path)) else { return };
        if self.request.written[*number].origin == origin {
            let part = &mut self.parts[*number];
            match part {
                Part::Rest => *part = Part::Package(Rc::clone(package)),
                Part::Package(other) if other != package => *part = Part::Shared,
                Part::Package(_) | Part::Shared | Part::State => {}
            }
        }
    }

    fn of_origin(&self, origin: usize) -> impl Iterator<Item = (usize, &'a Path)> + use<'a> {
        let written = self.request.written.iter().enumerate();
        written.filter(move |(_, item)| item.origin == origin).map(|(number, item)| (number, item.path))
    }

    /// By dpkg's lists; dpkg's files about a package are the package's, too.
    fn debian(&mut self) -> Result<(), SealError> {
        let tree = self.request.tree;
        let status = read(tree, &Path::new(DPKG).join("status"))?;
        let status = String::from_utf8_lossy(&status);
        let sources: BTreeMap<&str, Rc<str>> =
            dpkg_sources(&status).map(|(package, source)| (package, Rc::from(source))).collect();
        let links = top_links(tree);
        for path in tree.children(Path::new(DPKG_INFO)) {
            let Some(file) = path.file_name().and_then(OsStr::to_str) else { continue };
            let Some(package) = dpkg_info_package(file) else { continue };
            let source = sources.get(package).cloned().unwrap_or_else(|| Rc::from(package));
            self.set(path, 0, &source);
            if file.ends_with(".list") {
                for line in read(tree, path)?.split(|byte| *byte == b'\n') {
                    let listed = line.strip_prefix(b"/").unwrap_or(line);
                    self.set(&behind_links(Path::new(OsStr::from_bytes(listed)), &links), 0, &source);
                }
            }
        }
        Ok(())
    }

    fn npm(&mut self, origin: usize) {
        for (number, path) in self.of_origin(origin) {
            if let Some(package) = outermost_npm_package(path) {
                self.parts[number] = Part::Package(Rc::from(package));
            }
        }
    }

    /// By the RECORD of each distribution.
    fn python(&mut self, origin: usize) -> Result<(), SealError> {
        for (_, path) in self.of_origin(origin) {
            let Some(name) = distribution(path) else { continue };
            let name: Rc<str> = Rc::from(name);
            let site = path.parent().and_then(Path::parent).unwrap_or(Path::new(""));
            self.set(path, origin, &name);
            for line in read(self.request.tree, path)?.split(|byte| *byte == b'\n') {
                if let Some(listed) = joined(site, record_path(line)) {
                    self.set(&listed, origin, &name);
                }
            }
        }
        Ok(())
    }

    /// Byte code that no list names goes with its source.
    fn byte_code(&mut self) {
        for (number, item) in self.request.written.iter().enumerate() {
            if self.parts[number] != Part::Rest {
                continue;
            }
            let source = python_source(item.path).and_then(|source| self.positions.get(bytes(&source)).copied());
            if let Some(source) = source.filter(|source| self.request.written[*source].origin == item.origin) {
                self.parts[number] = self.parts[source].clone();
            }
        }
    }

    fn state(&mut self) {
        for path in self.request.state.iter().flat_map(|pattern| pattern.matches(self.request.tree)) {
            let first = self.request.written.partition_point(|item| item.path < path.as_path());
            let below = self.request.written[first..].iter().take_while(|item| item.path.starts_with(&path)).count();
            for number in first..first + below {
                if self.request.written[number].origin == 0 {
                    self.parts[number] = Part::State;
                }
            }
        }
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// A file of the tree; nothing when there is none.
fn read(tree: &Tree, path: &Path) -> Result<Vec<u8>, SealError> {
    let fail = |source: io::Error| SealError::Root { path: path.to_owned(), source };
    Ok(tree.read_file(path).map_err(fail)?.unwrap_or_default())
}

/// The symbolic links of the root directory, such as `lib` to `usr/lib`.
fn top_links(tree: &Tree) -> BTreeMap<PathBuf, PathBuf> {
    let link = |path: &Path| match &tree.get(path)?.node {
        Node::Symlink(target) => {
            Some((path.to_owned(), Path::new(target).strip_prefix("/").unwrap_or(Path::new(target)).to_owned()))
        }
        _ => None,
    };
    tree.children(Path::new("")).filter_map(link).collect()
}

/// Where a listed path is when directories of the root are links: `usr/lib/x` for `lib/x`.
fn behind_links(path: &Path, links: &BTreeMap<PathBuf, PathBuf>) -> PathBuf {
    let mut parts = path.components();
    let target = parts.next().and_then(|first| links.get(Path::new(first.as_os_str())));
    match target {
        Some(target) if !parts.as_path().as_os_str().is_empty() => target.join(parts.as_path()),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::layers::{LayersRequest, write_layers};
    use super::super::rules::{Rules, rules_text};
    use super::super::seal::{Encoding, SealedLayer};
    use super::*;
    use crate::base::progress::Progress;
    use crate::base::untar::read_tar;
    use crate::store::Store;

    /// Sixty-four times smaller than a real one, as are the bounds in [`rules`].
    const KB: usize = 16;

    /// Bytes of a package's own, so that no two of its files are one.
    fn content(name: &str, size: usize) -> Vec<u8> {
        name.bytes().chain("\n".bytes()).cycle().take(size).collect()
    }

    fn put(tree: &mut Tree, path: &str, bytes: Vec<u8>) {
        tree.insert_with_parents(Path::new(path), Entry::file(0o644, bytes));
    }

    fn debian(tree: &mut Tree, name: &str, version: &str, size: usize) {
        put(tree, &format!("usr/lib/{name}/library"), content(&format!("{name} {version}"), size));
        let list = format!("/.\n/lib\n/lib/{name}\n/lib/{name}/library\n");
        put(tree, &format!("var/lib/dpkg/info/{name}:amd64.list"), list.into_bytes());
        let paragraph = format!("Package: {name}\nSource: src-{name} (1)\nVersion: {version}\n\n");
        let mut status = tree.read_file(Path::new("var/lib/dpkg/status")).unwrap().unwrap_or_default();
        status.extend_from_slice(paragraph.as_bytes());
        put(tree, "var/lib/dpkg/status", status);
    }

    fn npm(tree: &mut Tree, name: &str, version: &str, size: usize) {
        let path = format!("usr/local/lib/node_modules/{name}/node_modules/inner/index.js");
        put(tree, &path, content(&format!("{name} {version}"), size));
    }

    fn python(tree: &mut Tree, name: &str, version: &str, size: usize) {
        let site = "opt/venv/lib/site-packages";
        put(tree, &format!("{site}/{name}.py"), content(&format!("{name} {version}"), size));
        put(tree, &format!("{site}/__pycache__/{name}.cpython-313.pyc"), content(version, 100));
        put(tree, &format!("opt/venv/bin/{name}"), content(name, 50));
        let record = format!("{name}.py,,\n../../bin/{name},,\n");
        put(tree, &format!("{site}/{name}-{version}.dist-info/RECORD"), record.into_bytes());
    }

    fn origins() -> Vec<Origin> {
        let origin = |name: &str, root: &str| Origin { name: name.into(), roots: vec![root.into()] };
        vec![origin("files", "/srv"), origin("npm", "/usr/local/lib/node_modules"), origin("pip", "/opt/venv")]
    }

    fn rules() -> Rules {
        let text = rules_text().replace("= 1048576", "= 16384").replace("= 4194304", "= 65536");
        Rules::parse(&text).unwrap()
    }

    /// The layers by name, with their digests and paths.
    fn layers(tree: &Tree, below: usize) -> Vec<(SealedLayer, Vec<String>)> {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let rules = rules();
        let origins = origins();
        let request = LayersRequest {
            tree,
            delta: None,
            origins: &origins,
            below,
            rules: &rules,
            epoch: 9,
            encoding: Encoding::Later,
        };
        let read = |layer: SealedLayer| {
            let mut paths = Vec::new();
            let archive = store.open_blob(&layer.diff_id).unwrap();
            read_tar(&archive, 0, |entry| {
                paths.push(entry.path.display().to_string());
                Ok(())
            })
            .unwrap();
            (layer, paths)
        };
        let layers = write_layers(&request, &store, &Progress::hidden().bytes("", 0)).unwrap();
        layers.into_iter().map(read).collect()
    }

    /// Fifty packages of each sort, and one large one of each.
    fn whole() -> Tree {
        let mut tree = Tree::default();
        tree.insert("lib".into(), Entry { node: Node::Symlink("usr/lib".into()), meta: Default::default() });
        for number in 0..50 {
            debian(&mut tree, &format!("deb{number}"), "1", 40 * KB);
            npm(&mut tree, &format!("@s/npm{number}"), "1", 40 * KB);
            python(&mut tree, &format!("py{number}"), "1", 40 * KB);
        }
        debian(&mut tree, "large", "1", 5000 * KB);
        npm(&mut tree, "large", "1", 5000 * KB);
        python(&mut tree, "large", "1", 5000 * KB);
        put(&mut tree, "etc/alternatives/x", b"made".to_vec());
        put(&mut tree, "etc/ld.so.cache", b"cache".to_vec());
        put(&mut tree, "srv/own", b"own".to_vec());
        tree
    }

    /// The names of the layers of the second that the first does not have.
    fn moved(first: &Tree, second: &Tree) -> Vec<String> {
        let known = layers(first, 0);
        let now = layers(second, 0);
        let is_new = |layer: &SealedLayer| known.iter().all(|(other, _)| other.diff_id != layer.diff_id);
        now.iter().filter(|(layer, _)| is_new(layer)).map(|(layer, _)| layer.origin.clone()).collect()
    }

    #[test]
    fn a_package_has_all_its_files_in_one_layer() {
        let layers = layers(&whole(), 0);
        let of = |path: &str| -> Vec<&str> {
            let has = layers.iter().filter(|(_, paths)| paths.iter().any(|other| other == path));
            has.map(|(layer, _)| layer.origin.as_str()).collect()
        };
        for paths in [
            ["usr/lib/large/library", "var/lib/dpkg/info/large:amd64.list", "usr/lib/large"],
            ["usr/lib/deb7/library", "var/lib/dpkg/info/deb7:amd64.list", "usr/lib/deb7"],
            [
                "usr/local/lib/node_modules/large",
                "usr/local/lib/node_modules/large/node_modules/inner/index.js",
                "usr/local/lib/node_modules/large/node_modules",
            ],
            [
                "opt/venv/lib/site-packages/py3.py",
                "opt/venv/lib/site-packages/__pycache__/py3.cpython-313.pyc",
                "opt/venv/bin/py3",
            ],
        ] {
            let homes: Vec<Vec<&str>> = paths.iter().map(|path| of(path)).collect();
            assert_eq!(homes[0].len(), 1, "{paths:?}");
            assert!(homes.iter().all(|home| *home == homes[0]), "{paths:?}: {homes:?}");
        }
        assert_eq!(of("usr/lib/large/library"), ["system/src-large"]);
        assert_eq!(of("opt/venv/lib/site-packages/large.py"), ["pip/large"]);
        assert_eq!(of("usr/local/lib/node_modules/large"), ["npm/large"]);
        assert_eq!(
            (of("etc/alternatives/x"), of("lib"), of("srv/own")),
            (vec!["system"], vec!["system"], vec!["files"])
        );
        assert_eq!((of("etc/ld.so.cache"), of("var/lib/dpkg/status")), (vec!["state"], vec!["state"]));
        assert_eq!(of(""), ["system"]);
        assert_eq!(layers.last().unwrap().0.origin, "state");
        let names: Vec<&str> = layers.iter().map(|(layer, _)| layer.origin.as_str()).collect();
        assert!(names.len() > 30 && names.len() <= 60, "{names:?}");
    }

    #[test]
    fn every_path_but_directories_is_in_one_layer() {
        let tree = whole();
        let mut seen = BTreeMap::new();
        for (_, paths) in layers(&tree, 0) {
            paths.into_iter().for_each(|path| *seen.entry(path).or_insert(0) += 1);
        }
        for (path, entry) in tree.iter() {
            let times = seen.get(path.to_str().unwrap()).copied().unwrap_or_default();
            assert!(if entry.is_directory() { times > 0 } else { times == 1 }, "{} {times}", path.display());
        }
        assert_eq!(seen.len(), tree.len() + 1);
    }

    #[test]
    fn a_changed_package_moves_its_own_layer_alone() {
        let tree = whole();
        for number in [0, 17, 49] {
            let mut other = tree.clone();
            npm(&mut other, &format!("@s/npm{number}"), "2", 41 * KB);
            let moved_by_npm = moved(&tree, &other);
            assert!(moved_by_npm.len() == 1 && moved_by_npm[0].starts_with("npm/part-"), "{moved_by_npm:?}");
            let mut other = tree.clone();
            python(&mut other, &format!("py{number}"), "1", 42 * KB);
            let moved_by_pip = moved(&tree, &other);
            assert!(moved_by_pip.len() == 1 && moved_by_pip[0].starts_with("pip/part-"), "{moved_by_pip:?}");
            let mut other = tree.clone();
            debian(&mut other, &format!("deb{number}"), "2", 43 * KB);
            let moved_by_apt = moved(&tree, &other);
            assert!(moved_by_apt.len() == 2 && moved_by_apt[1] == "state", "{moved_by_apt:?}");
        }
        let mut other = tree.clone();
        debian(&mut other, "large", "2", 5100 * KB);
        assert_eq!(moved(&tree, &other), ["system/src-large", "state"]);
    }

    #[test]
    fn a_package_that_comes_or_goes_moves_no_other() {
        let tree = whole();
        let mut more = tree.clone();
        debian(&mut more, "another", "1", 300 * KB);
        npm(&mut more, "aaa", "1", 30 * KB);
        python(&mut more, "zzz", "1", 30 * KB);
        for (one, other) in [(&tree, &more), (&more, &tree)] {
            let moved = moved(one, other);
            let kinds: Vec<&str> = moved.iter().map(|name| name.split("part-").next().unwrap()).collect();
            assert_eq!(kinds, ["system/", "npm/", "pip/", "state"], "{moved:?}");
        }
        let mut larger = tree.clone();
        npm(&mut larger, "huge", "1", 9000 * KB);
        assert_eq!(moved(&tree, &larger), ["npm/huge"]);
    }

    #[test]
    fn small_origins_and_full_bases_are_shared_out_less() {
        let mut small = Tree::default();
        debian(&mut small, "one", "1", KB);
        python(&mut small, "two", "1", KB);
        let names = |tree: &Tree, below: usize| -> Vec<String> {
            layers(tree, below).into_iter().map(|(layer, _)| layer.origin).collect()
        };
        assert_eq!(names(&small, 0), ["system", "pip"]);
        let tree = whole();
        let counts: Vec<usize> = [0, 9, 10, 30, 50, 120].map(|below| names(&tree, below).len()).into();
        assert!(counts.is_sorted_by(|one, other| one >= other), "{counts:?}");
        assert_eq!(counts[0], counts[1]);
        assert!(counts[2] <= 50 && counts[3] <= 30 && counts[4] <= 10 && counts[5] <= 8, "{counts:?}");
    }

    #[test]
    fn equal_large_files_of_two_packages_are_one_in_the_layer_of_the_first() {
        let mut tree = whole();
        let same = content("the same", 1100 * 1024);
        put(&mut tree, "usr/local/lib/node_modules/large/tool", same.clone());
        put(&mut tree, "usr/local/lib/node_modules/a-copy/tool", same);
        let layers = layers(&tree, 0);
        let holding: Vec<&Vec<String>> = layers
            .iter()
            .map(|(_, paths)| paths)
            .filter(|paths| paths.iter().any(|path| path.ends_with("/tool")))
            .collect();
        assert_eq!(holding.len(), 1);
        assert!(holding[0].iter().any(|path| path.ends_with("a-copy/tool")));
        assert!(holding[0].iter().any(|path| path.ends_with("large/tool")));
    }

    #[test]
    fn a_group_follows_from_the_name() {
        assert_eq!(["git", "curl", "openssl"].map(|name| group(name, 12)), GROUPS);
        assert_eq!(group("git", 1), 0);
    }

    /// A change here moves every package of every image.
    const GROUPS: [u64; 3] = [4, 4, 10];
}
