//! A difference of states written into a directory, by a process that sees owners as the room does. It is told as a list
//! in a file: what is put where, and where the bytes are.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, makedev};
use serde::{Deserialize, Serialize};

use super::archive::Archive;
use super::root::{
    Meta, Owner, at, open_directory, open_root, put_directory, put_file, put_hard_link, put_special, put_symlink,
    set_directory, set_time,
};
use super::state::{Changes, State};
use crate::base::sandbox::remove_tree;
use crate::base::tar::Special;
use crate::base::tree::{CAPABILITY, Content, Entry, Node};

/// How a path that is gone is told to what lies below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Gone {
    /// It is removed.
    Removed,
    /// A whiteout of overlayfs hides it.
    Hidden,
}

/// The list.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Lay {
    /// Files that hold contents.
    sources: Vec<PathBuf>,
    puts: Vec<Put>,
    gone: Vec<Bytes>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Put {
    path: Bytes,
    mode: u32,
    owner: (u32, u32),
    time: Option<i64>,
    capability: Option<Vec<u8>>,
    kind: Kind,
}

#[derive(Debug, Serialize, Deserialize)]
enum Kind {
    Directory,
    File {
        source: usize,
        offset: u64,
        size: u64,
        digest: Bytes,
    },
    /// Another name of what was put before.
    Link(Bytes),
    Symlink(Bytes),
    Character(u32, u32),
    Block(u32, u32),
    Fifo,
}

/// Bytes as text, one character each: most are paths, and those are mostly ASCII.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Bytes(String);

impl Bytes {
    fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(bytes.as_ref().iter().copied().map(char::from).collect())
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.chars().map(|character| u8::try_from(character).unwrap_or(b'?')).collect()
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(&self.bytes()))
    }
}

/// Where a file's bytes start: names that share it are links of each other.
type Place = (usize, u64);

struct Planner<'a> {
    archives: &'a [Archive],
    sources: Vec<PathBuf>,
    by_path: BTreeMap<PathBuf, usize>,
    places: BTreeMap<Place, (PathBuf, &'a Entry)>,
}

/// Says what to write for these changes of a state, whose archives are these.
///
/// # Errors
/// When the state has a content whose place is not known.
pub(super) fn plan_lay(state: &State, changes: &Changes, archives: &[Archive]) -> io::Result<Lay> {
    let mut planner = Planner { archives, sources: Vec::new(), by_path: BTreeMap::new(), places: BTreeMap::new() };
    let mut puts = Vec::with_capacity(changes.put.len());
    for (path, entry) in &changes.put {
        puts.push(planner.put(path, entry, state.times.get(path).copied()).map_err(|error| at(path, error))?);
    }
    let gone = changes.gone.iter().map(|path| Bytes::of(path.as_os_str().as_bytes())).collect();
    Ok(Lay { sources: planner.sources, puts, gone })
}

impl<'a> Planner<'a> {
    fn put(&mut self, path: &Path, entry: &'a Entry, time: Option<i64>) -> io::Result<Put> {
        let kind = match &entry.node {
            Node::Directory => Kind::Directory,
            Node::Symlink(target) => Kind::Symlink(Bytes::of(target.as_bytes())),
            Node::Special(Special::CharacterDevice(major, minor)) => Kind::Character(*major, *minor),
            Node::Special(Special::BlockDevice(major, minor)) => Kind::Block(*major, *minor),
            Node::Special(Special::Fifo) => Kind::Fifo,
            Node::File { size, content } => self.file(path, entry, *size, content)?,
        };
        let id = |id: u64| u32::try_from(id).map_err(|_| io::Error::other("its owner's number is too large"));
        Ok(Put {
            path: Bytes::of(path.as_os_str().as_bytes()),
            mode: entry.meta.mode,
            owner: (id(entry.meta.uid)?, id(entry.meta.gid)?),
            time,
            capability: entry.meta.xattrs.get(CAPABILITY).cloned(),
            kind,
        })
    }

    fn file(&mut self, path: &Path, entry: &'a Entry, size: u64, content: &Content) -> io::Result<Kind> {
        let unknown = || io::Error::other("where its bytes are is not known");
        let Content::Known { content, digest } = content else { return Err(unknown()) };
        let (source, offset, is_own) = match &**content {
            Content::Range { archive, offset } => {
                let known = self.archives.iter().find(|known| Arc::ptr_eq(&known.file, archive));
                (self.source(&known.ok_or_else(unknown)?.path), *offset, false)
            }
            Content::File { path, .. } => (self.source(path), 0, true),
            Content::Bytes(_) | Content::Known { .. } => return Err(unknown()),
        };
        if !is_own && size > 0 {
            match self.places.get(&(source, offset)) {
                Some((first, known)) if known.meta == entry.meta => {
                    return Ok(Kind::Link(Bytes::of(first.as_os_str().as_bytes())));
                }
                _ => drop(self.places.insert((source, offset), (path.to_owned(), entry))),
            }
        }
        Ok(Kind::File { source, offset, size, digest: Bytes::of(digest) })
    }

    fn source(&mut self, path: &Path) -> usize {
        if let Some(known) = self.by_path.get(path) {
            return *known;
        }
        self.sources.push(path.to_owned());
        self.by_path.insert(path.to_owned(), self.sources.len() - 1);
        self.sources.len() - 1
    }
}

/// Does what the list in the file says.
pub(super) fn lay(directory: &Path, list: &Path, gone: Gone) -> io::Result<()> {
    let list: Lay = serde_json::from_reader(io::BufReader::with_capacity(1 << 18, File::open(list)?))?;
    let mut layer = Layer { root: open_root(directory)?, sources: &list.sources, open: None, parent: None };
    for path in &list.gone {
        let path = path.path();
        match gone {
            Gone::Removed => remove(&directory.join(&path)),
            Gone::Hidden => layer.hide(&path),
        }
        .map_err(|error| at(&path, error))?;
    }
    for put in &list.puts {
        layer.put(put).map_err(|error| at(&put.path.path(), error))?;
    }
    for put in list.puts.iter().rev().filter(|put| matches!(put.kind, Kind::Directory)) {
        let path = put.path.path();
        layer
            .directory(&path)
            .and_then(|found| set_time(found.as_fd(), &put.meta()))
            .map_err(|error| at(&path, error))?;
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => remove_tree(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

impl Put {
    fn meta(&self) -> Meta {
        Meta {
            mode: self.mode,
            owner: Owner { uid: self.owner.0, gid: self.owner.1 },
            mtime: self.time,
            capability: self.capability.clone(),
        }
    }
}

struct Layer<'a> {
    root: OwnedFd,
    sources: &'a [PathBuf],
    open: Option<(usize, Arc<File>)>,
    parent: Option<(PathBuf, OwnedFd)>,
}

impl Layer<'_> {
    /// Every part by its own name: the list holds the parents, so none of them is a link.
    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut found = self.root.try_clone()?;
        for name in path {
            found = open_directory(found.as_fd(), name)?;
        }
        Ok(found)
    }

    fn enter(&mut self, path: &Path) -> io::Result<()> {
        if self.parent.as_ref().is_none_or(|(known, _)| known != path) {
            self.parent = Some((path.to_owned(), self.directory(path)?));
        }
        Ok(())
    }

    fn hide(&mut self, path: &Path) -> io::Result<()> {
        let Some((parent, name)) = path.parent().zip(path.file_name()) else { return Ok(()) };
        let mut above = self.root.try_clone()?;
        for name in parent {
            above = put_directory(above.as_fd(), name)?;
        }
        let meta = Meta { mode: 0, owner: Owner::ROOT, mtime: None, capability: None };
        put_special(above.as_fd(), name, &meta, FileType::CharacterDevice, 0)
    }

    fn put(&mut self, put: &Put) -> io::Result<()> {
        let path = put.path.path();
        let Some((parent, name)) = path.parent().zip(path.file_name()) else { return Ok(()) };
        self.enter(parent)?;
        let source = match &put.kind {
            Kind::File { source, .. } => Some(self.source(*source)?),
            _ => None,
        };
        let Some((_, parent)) = &self.parent else { return Ok(()) };
        let (parent, meta) = (parent.as_fd(), put.meta());
        match &put.kind {
            Kind::Directory => set_directory(put_directory(parent, name)?.as_fd(), &meta),
            Kind::Symlink(target) => put_symlink(parent, name, &meta, OsStr::from_bytes(&target.bytes())),
            Kind::Character(major, minor) => {
                put_special(parent, name, &meta, FileType::CharacterDevice, makedev(*major, *minor))
            }
            Kind::Block(major, minor) => {
                put_special(parent, name, &meta, FileType::BlockDevice, makedev(*major, *minor))
            }
            Kind::Fifo => put_special(parent, name, &meta, FileType::Fifo, 0),
            Kind::Link(first) => {
                let first = first.path();
                let above = self.directory(first.parent().unwrap_or(Path::new("")))?;
                put_hard_link(parent, name, above.as_fd(), first.file_name().unwrap_or_default())
            }
            Kind::File { offset, size, digest, .. } => {
                let Some(archive) = source else { return Ok(()) };
                let digest = digest.bytes().try_into().map_err(|_| io::Error::other("it has no digest"))?;
                let range = Content::Range { archive, offset: *offset };
                let content = Content::Known { content: Box::new(range), digest };
                content.with_reader(*size, |reader| put_file(parent, name, &meta, reader))
            }
        }
    }

    fn source(&mut self, number: usize) -> io::Result<Arc<File>> {
        if let Some((_, file)) = self.open.as_ref().filter(|(known, _)| *known == number) {
            return Ok(Arc::clone(file));
        }
        let path = self.sources.get(number).ok_or_else(|| io::Error::other("the list names no such file"))?;
        let file = Arc::new(File::open(path).map_err(|error| at(path, error))?);
        self.open = Some((number, Arc::clone(&file)));
        Ok(file)
    }
}
