//! The tree that grows while packages are unpacked: what `dpkg --unpack` would leave on disk, decided without a disk.
//!
//! The rules are those of dpkg's `tarobject` (dpkg, src/main/archives.c): a directory that is there stays as it is, a path
//! goes through symbolic links to directories (so /lib/x lands in /usr/lib/x), files of other packages are overwritten only
//! where `Replaces` allows it, configuration files are set aside as `X.dpkg-new`.

use std::collections::{BTreeMap, BTreeSet};

use super::control::{Conffile, ConffileState, Relation};
use super::deb::{Deb, Extent, Member, MemberKind};
use super::error::AptAssembleError;

/// As many symbolic links as Linux follows in one path.
const LINKS_MAX: usize = 40;
/// Engines mount something over these, so that files in them would be lost.
const MOUNT_POINTS: [&[u8]; 3] = [b"dev", b"proc", b"sys"];

/// Paths with what they are, and the packages that brought them.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// By path relative to the root. Sorted by bytes, a directory comes before what is in it.
    nodes: BTreeMap<Vec<u8>, Node>,
    /// Contents, each with its owner and mode; hard links are nodes of one inode.
    inodes: Vec<Inode>,
    /// Who brings a path that is no directory, by the path as packages have it.
    owners: BTreeMap<Vec<u8>, Vec<usize>>,
    packages: Vec<Unpacked>,
}

/// A path of the tree.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub kind: NodeKind,
    pub meta: Meta,
    /// Index of the package; none for what oclock brings.
    package: Option<usize>,
}

/// What a path is.
#[derive(Clone, Debug)]
pub(super) enum NodeKind {
    Directory,
    /// Index of the inode.
    File(usize),
    Symlink(Vec<u8>),
    Fifo,
}

/// Mode and numeric owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
}

impl Meta {
    pub fn root(mode: u32) -> Self {
        Self { mode, uid: 0, gid: 0 }
    }
}

/// The content of a file.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Extent(Extent),
    Bytes(Vec<u8>),
}

#[derive(Debug)]
struct Inode {
    content: Content,
    meta: Meta,
}

/// A package as the dpkg database will know it.
#[derive(Debug)]
pub(super) struct Unpacked {
    name: String,
    version: String,
    replaces: Vec<Relation>,
    /// The lines of its `.list`, each with a slash in front.
    pub list: Vec<Vec<u8>>,
    /// The `.md5sums` that dpkg makes of what it unpacks, where the package brings none.
    pub md5sums: Option<Vec<u8>>,
    pub conffiles: Vec<Conffile>,
}

/// What is to happen to a member whose path another package has.
enum Claim {
    /// It takes the place of these packages' file.
    Take(Vec<usize>),
    /// The other package's file stays.
    Leave,
}

impl Tree {
    /// Unpacks one package. Returns its index for [`package`](Self::package).
    pub fn unpack(&mut self, deb: &Deb) -> Result<usize, AptAssembleError> {
        let index = self.packages.len();
        self.packages.push(Unpacked {
            name: deb.name.clone(),
            version: deb.version.clone(),
            replaces: deb.control.relations("Replaces").into_iter().flatten().collect(),
            list: Vec::new(),
            md5sums: None,
            conffiles: deb.conffiles.clone(),
        });
        let conffiles: BTreeSet<&[u8]> = deb
            .conffiles
            .iter()
            .filter(|conffile| conffile.state == ConffileState::New)
            .map(|conffile| conffile.path.trim_start_matches('/').as_bytes())
            .collect();
        let mut parents = BTreeMap::new();
        for member in &deb.members {
            let conffile = conffiles.contains(member.path.as_slice());
            self.place(index, member, conffile, &mut parents)?;
            if matches!(member.kind, MemberKind::Symlink(_)) {
                parents.clear();
            }
        }
        let unpacked = &mut self.packages[index];
        unpacked.md5sums = deb.md5sums.as_ref().map(|sums| render_md5sums(sums, &unpacked.list));
        Ok(index)
    }

    /// What dpkg's database will say of a package that was unpacked.
    pub fn package(&self, index: usize) -> &Unpacked {
        &self.packages[index]
    }

    /// Adds a directory where there is none yet.
    pub fn ensure_directory(&mut self, path: &str, mode: u32) {
        let node = Node { kind: NodeKind::Directory, meta: Meta::root(mode), package: None };
        self.nodes.entry(path.as_bytes().to_vec()).or_insert(node);
    }

    /// Adds a file of root's, or replaces the one that is there.
    pub fn put_file(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        self.put_content(path, mode, Content::Bytes(bytes));
    }

    fn put_content(&mut self, path: &str, mode: u32, content: Content) {
        let kind = self.new_inode(content, Meta::root(mode));
        let node = Node { kind, meta: Meta::root(mode), package: None };
        self.nodes.insert(path.as_bytes().to_vec(), node);
    }

    /// All of it, in the order of its path.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_slice(), node))
    }

    /// The content of an inode.
    pub fn content(&self, inode: usize) -> &Content {
        &self.inodes[inode].content
    }

    /// How many inodes there are.
    pub fn inode_count(&self) -> usize {
        self.inodes.len()
    }

    fn new_inode(&mut self, content: Content, meta: Meta) -> NodeKind {
        self.inodes.push(Inode { content, meta });
        NodeKind::File(self.inodes.len() - 1)
    }

    fn place(
        &mut self,
        package: usize,
        member: &Member,
        conffile: bool,
        parents: &mut BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<(), AptAssembleError> {
        let mut line = b"/".to_vec();
        line.extend(if member.path.is_empty() { b".".as_slice() } else { &member.path });
        if member.path.is_empty() {
            self.packages[package].list.push(line);
            return Ok(());
        }
        let target = self.target(package, &member.path, parents)?;
        if self.is_directory_kept(&member.kind, &target) {
            self.packages[package].list.push(line);
            return Ok(());
        }
        self.check_place(package, member, &target)?;
        match self.claim(package, &member.path, &target)? {
            Claim::Leave => {
                self.mark_obsolete(package, &member.path);
                return Ok(());
            }
            Claim::Take(others) => self.take_from(&others, &member.path, conffile)?,
        }
        let node = self.node_of(package, member, parents)?;
        self.packages[package].list.push(line);
        if !matches!(node.kind, NodeKind::Directory) {
            self.owners.entry(member.path.clone()).or_default().push(package);
        }
        let path = if conffile { aside(&target) } else { target };
        self.nodes.insert(path, node);
        Ok(())
    }

    /// Where a member goes: its directory resolved.
    fn target(
        &self,
        package: usize,
        path: &[u8],
        parents: &mut BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<Vec<u8>, AptAssembleError> {
        let (parent, last) = split_last(path);
        if !parents.contains_key(parent) {
            let resolved = self.resolve_directory(parent).map_err(|why| self.hostile(package, path, why))?;
            parents.insert(parent.to_vec(), resolved);
        }
        Ok(join(&parents[parent], last))
    }

    /// Follows a path to a directory through symbolic links, as the kernel would below this root.
    fn resolve_directory(&self, path: &[u8]) -> Result<Vec<u8>, String> {
        let mut waiting: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
        let mut here = Vec::new();
        let mut links = 0;
        while let Some(part) = waiting.pop() {
            if part == b".." {
                if here.is_empty() {
                    return Err("it goes through a symbolic link that leads out of the root".into());
                }
                here = split_last(&here).0.to_vec();
                continue;
            }
            let next = join(&here, &part);
            match self.nodes.get(&next).map(|node| &node.kind) {
                Some(NodeKind::Directory) => here = next,
                Some(NodeKind::Symlink(target)) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err("it goes through symbolic links that lead to each other".into());
                    }
                    if target.starts_with(b"/") {
                        here.clear();
                    }
                    waiting.extend(components(target).rev().map(<[u8]>::to_vec));
                }
                Some(_) => return Err(format!("`/{}` is no directory", String::from_utf8_lossy(&next))),
                None => return Err(format!("no package brings its directory `/{}`", String::from_utf8_lossy(&next))),
            }
        }
        Ok(here)
    }

    /// dpkg's `existingdir`: a directory is there, also by way of a link, and the member asks for no more.
    fn is_directory_kept(&self, kind: &MemberKind, target: &[u8]) -> bool {
        let resolved = || self.resolve_directory(target).ok();
        match (kind, self.nodes.get(target).map(|node| &node.kind)) {
            (MemberKind::Directory | MemberKind::Symlink(_), Some(NodeKind::Directory)) => true,
            (MemberKind::Directory, Some(NodeKind::Symlink(_))) => resolved().is_some(),
            (MemberKind::Symlink(link), Some(NodeKind::Symlink(_))) => {
                let mut path = if link.starts_with(b"/") { Vec::new() } else { split_last(target).0.to_vec() };
                path.push(b'/');
                path.extend(link);
                resolved().is_some_and(|there| self.resolve_directory(&path).is_ok_and(|new| new == there))
            }
            _ => false,
        }
    }

    /// Refuses what no package should do and what is not emulated.
    fn check_place(&self, package: usize, member: &Member, target: &[u8]) -> Result<(), AptAssembleError> {
        let refuse = |why: &str| Err(self.hostile(package, &member.path, why.to_owned()));
        let first = components(target).next().unwrap_or_default();
        let is_directory = matches!(member.kind, MemberKind::Directory);
        if first == b".oclock" {
            return refuse("oclock keeps that name for itself");
        }
        if !is_directory && (MOUNT_POINTS.contains(&first) || target.starts_with(b"var/lib/dpkg/")) {
            return refuse("it would lie where the engine or dpkg keeps its own");
        }
        let Some(there) = self.nodes.get(target) else { return Ok(()) };
        if there.package == Some(package) {
            return refuse("the package brings that path twice");
        }
        if is_directory || matches!(there.kind, NodeKind::Directory) {
            return refuse("a directory and something else would have the same path");
        }
        Ok(())
    }

    /// Who may have the path: dpkg's check for file conflicts.
    fn claim(&self, package: usize, path: &[u8], target: &[u8]) -> Result<Claim, AptAssembleError> {
        let others = self.owners.get(path).map(Vec::as_slice).unwrap_or_default();
        let mine = &self.packages[package];
        let mut taken = Vec::new();
        for &other in others {
            let theirs = &self.packages[other];
            if replaces(mine, theirs) {
                taken.push(other);
            } else if replaces(theirs, mine) {
                return Ok(Claim::Leave);
            } else {
                return Err(self.overlap(path, other, package));
            }
        }
        // The same place under another name (/lib/x and /usr/lib/x) dpkg would overwrite in silence.
        if let Some(Node { package: Some(other), .. }) = self.nodes.get(target)
            && !others.contains(other)
        {
            return Err(self.overlap(path, *other, package));
        }
        Ok(Claim::Take(taken))
    }

    /// Takes the path out of the other packages' lists.
    fn take_from(&mut self, others: &[usize], path: &[u8], conffile: bool) -> Result<(), AptAssembleError> {
        for &other in others {
            if conffile {
                self.mark_obsolete(other, path);
            }
            self.packages[other].list.retain(|line| line.strip_prefix(b"/") != Some(path));
            if let Some(owners) = self.owners.get_mut(path) {
                owners.retain(|owner| *owner != other);
            }
            // dpkg would let the package disappear, with a script and a state of its own.
            let left = &self.packages[other].list;
            let owns = |path: &[u8]| self.owners.get(path).is_some_and(|owners| owners.contains(&other));
            if !left.iter().filter_map(|line| line.strip_prefix(b"/")).any(owns) {
                return Err(AptAssembleError::Unsupported {
                    package: self.packages[other].name.clone(),
                    why: "all of its files are replaced by another package".into(),
                });
            }
        }
        Ok(())
    }

    fn mark_obsolete(&mut self, package: usize, path: &[u8]) {
        let conffiles = self.packages[package].conffiles.iter_mut();
        for conffile in conffiles.filter(|conffile| conffile.path.trim_start_matches('/').as_bytes() == path) {
            conffile.state = ConffileState::Obsolete;
        }
    }

    fn node_of(
        &mut self,
        package: usize,
        member: &Member,
        parents: &mut BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<Node, AptAssembleError> {
        let mut meta = Meta { mode: member.mode, uid: member.uid, gid: member.gid };
        let kind = match &member.kind {
            MemberKind::Directory => NodeKind::Directory,
            MemberKind::Symlink(target) => NodeKind::Symlink(target.clone()),
            MemberKind::Fifo => NodeKind::Fifo,
            MemberKind::File(extent) => self.new_inode(Content::Extent(extent.clone()), meta),
            MemberKind::HardLink(path) => {
                let target = self.target(package, path, parents)?;
                let nodes = [aside(&target), target];
                let found = nodes.iter().filter_map(|path| self.nodes.get(path));
                match found.filter(|node| node.package == Some(package)).find_map(|node| match node.kind {
                    NodeKind::File(inode) => Some(inode),
                    _ => None,
                }) {
                    Some(inode) => {
                        meta = self.inodes[inode].meta;
                        NodeKind::File(inode)
                    }
                    None => {
                        let why = "it is a hard link to what is no file of the package before it".to_owned();
                        return Err(self.hostile(package, &member.path, why));
                    }
                }
            }
        };
        Ok(Node { kind, meta, package: Some(package) })
    }

    fn hostile(&self, package: usize, path: &[u8], why: String) -> AptAssembleError {
        let path = format!("/{}", String::from_utf8_lossy(path));
        AptAssembleError::Hostile { package: self.packages[package].name.clone(), path, why }
    }

    fn overlap(&self, path: &[u8], first: usize, second: usize) -> AptAssembleError {
        AptAssembleError::Overlap {
            path: format!("/{}", String::from_utf8_lossy(path)),
            first: self.packages[first].name.clone(),
            second: self.packages[second].name.clone(),
        }
    }
}

fn replaces(new: &Unpacked, old: &Unpacked) -> bool {
    new.replaces.iter().any(|relation| relation.is_met_by(&old.name, &old.version))
}

fn render_md5sums(sums: &BTreeMap<Vec<u8>, String>, list: &[Vec<u8>]) -> Vec<u8> {
    let paths = list.iter().filter_map(|line| line.strip_prefix(b"/"));
    let lines = paths.filter_map(|path| Some([sums.get(path)?.as_bytes(), b"  ", path, b"\n"].concat()));
    lines.collect::<Vec<_>>().concat()
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."))
}

fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn join(parent: &[u8], last: &[u8]) -> Vec<u8> {
    if parent.is_empty() { last.to_vec() } else { [parent, b"/", last].concat() }
}

/// Where dpkg puts a configuration file until `--configure`.
fn aside(path: &[u8]) -> Vec<u8> {
    [path, b".dpkg-new"].concat()
}
