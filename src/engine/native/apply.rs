//! ADD, COPY and WORKDIR on a state: files of the context, or the entries of an archive, with the owners that are asked for.
//!
//! The rules are docker's: a directory's contents are copied, not itself; the destination is a directory when it says so with
//! a slash, when it is one, or when there is more than one source or a directory among them. Links are followed inside the
//! root, whatever they say; of a path that is written to, the last part of an archive's entry is not.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::archive::Archive;
use super::plan::{Action, CopyAction};
use super::root::{Owner, at};
use super::state::State;
use crate::base::tar::TarMeta;
use crate::base::tree::{CAPABILITY, Content, Entry, Node};
use crate::base::untar::{TarEntry, TarKind};
use crate::engine::Known;
use crate::model::Sha256;

/// As the kernel has it.
const LINKS_MOST: usize = 40;

/// The staged context.
#[derive(Debug)]
pub(super) struct Files<'a> {
    directory: PathBuf,
    known: Known<'a>,
    /// Archives that were added, because their contents may be needed by path.
    pub archives: Vec<Archive>,
}

impl<'a> Files<'a> {
    pub(super) fn open(context: &Path, known: Known<'a>) -> io::Result<Self> {
        let directory = fs::canonicalize(context).map_err(|error| at(context, error))?;
        Ok(Self { directory, known, archives: Vec::new() })
    }

    fn find(&self, source: &str) -> io::Result<PathBuf> {
        let path = self.directory.join(source.trim_start_matches('/'));
        let found = fs::canonicalize(&path).map_err(|error| at(Path::new(source), error))?;
        if found.starts_with(&self.directory) {
            return Ok(found);
        }
        Err(io::Error::other(format!("{source}: it leads out of the context")))
    }

    fn known_digest(&self, path: &Path) -> Option<&'a Sha256> {
        self.known.digests?.get(path.strip_prefix(&self.directory).ok()?.to_str()?)
    }

    fn content(&self, path: &Path, metadata: &Metadata) -> io::Result<Content> {
        let digest = match self.known_digest(path) {
            Some(digest) => *digest,
            None => Sha256::of_reader(&mut File::open(path)?)?.0,
        };
        let content = Content::File { path: path.to_owned(), inode: (metadata.dev(), metadata.ino()) };
        Ok(Content::Known { content: Box::new(content), digest: *digest.as_bytes() })
    }
}

/// Does what a step says without running anything: of a RUN that is nothing.
pub(super) fn change(state: &mut State, files: &mut Files<'_>, action: &Action) -> io::Result<()> {
    match action {
        Action::MakeDirectory { path } => state.ensure_directory(Path::new(path), Owner::ROOT).map(drop),
        Action::Copy(copy) => copy_into(state, files, copy),
        Action::Run { .. } => Ok(()),
    }
}

/// Copies or unpacks each source.
fn copy_into(state: &mut State, files: &mut Files<'_>, copy: &CopyAction) -> io::Result<()> {
    let owner = match &copy.owner {
        Some(owner) => find_owner(state, owner)?,
        None => Owner::ROOT,
    };
    let destination = Path::new(&copy.destination);
    for source in &copy.sources {
        let path = files.find(source)?;
        let metadata = fs::metadata(&path).map_err(|error| at(&path, error))?;
        if !metadata.is_dir() && copy.unpacks && is_archive(&path)? {
            add_archive(state, files, &path, destination)?;
            continue;
        }
        let mut copier = Copier { state, files, owner, mode: copy.mode };
        if metadata.is_dir() {
            let to = copier.state.ensure_directory(destination, owner)?;
            copier.below(&path, &to)?;
        } else {
            let name = Path::new(source).file_name().unwrap_or_default();
            let is_directory =
                copy.destination.ends_with('/') || copy.sources.len() > 1 || copier.state.is_directory(destination);
            let target = if is_directory { destination.join(name) } else { destination.to_owned() };
            copier.file(&path, &metadata, &target)?;
        }
    }
    Ok(())
}

/// `USER`, `USER:GROUP`: a number stands for itself, and alone for the group too; names are the image's own.
fn find_owner(state: &State, text: &str) -> io::Result<Owner> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let lookup = |file: &str, name: &str, field: usize| -> io::Result<u32> {
        if let Ok(number) = name.parse() {
            return Ok(number);
        }
        let table = state.tree.read_file(Path::new(file))?.unwrap_or_default();
        let table = String::from_utf8_lossy(&table);
        let mut lines = table.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let line = lines.find(|line| line[0] == name);
        let found = line.and_then(|line| line.get(field)?.parse().ok());
        found.ok_or_else(|| io::Error::other(format!("`{name}` is not in the image's {file}")))
    };
    let uid = lookup("/etc/passwd", user, 2)?;
    let gid = match group {
        Some(group) => lookup("/etc/group", group, 2)?,
        None if user.parse::<u32>().is_ok() => uid,
        None => lookup("/etc/passwd", user, 3)?,
    };
    Ok(Owner { uid, gid })
}

/// A plain tar by its mark. A compressed one is refused: builders differ in what they take for one.
fn is_archive(path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(512).read_to_end(&mut start)?;
    let compressed: [&[u8]; 4] = [b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"BZh"];
    if compressed.iter().any(|mark| start.starts_with(mark)) {
        return Err(io::Error::other(
            "ADD of a compressed archive is not done here; unpack it, or use buildah or docker",
        ));
    }
    Ok(start.get(257..262) == Some(b"ustar"))
}

/// Later entries over earlier ones, as docker's and buildah's own unpacking does. Times of directories are the archive's.
fn add_archive(state: &mut State, files: &mut Files<'_>, path: &Path, destination: &Path) -> io::Result<()> {
    let archive = Archive::open(path, files.known_digest(path), files.known.store).map_err(|error| at(path, error))?;
    let destination = state.ensure_directory(destination, Owner::ROOT)?;
    let mut adder = Adder { state, archive: &archive, destination, last: None };
    for entry in &archive.entries {
        adder.put(entry).map_err(|error| at(&entry.path, error))?;
    }
    files.archives.push(archive);
    Ok(())
}

struct Adder<'a> {
    state: &'a mut State,
    archive: &'a Archive,
    destination: PathBuf,
    /// The directory that the last entry went to, as it was named and as it was found: the next one is mostly beside it.
    last: Option<(PathBuf, PathBuf)>,
}

impl Adder<'_> {
    fn put(&mut self, entry: &TarEntry) -> io::Result<()> {
        // The root itself is not the archive's to change.
        let Some(name) = entry.path.file_name() else { return Ok(()) };
        let path = self.parent(entry.path.parent().unwrap_or(Path::new("")))?.join(name);
        let too_large = |id: u64| u32::try_from(id).is_err();
        if too_large(entry.meta.uid) || too_large(entry.meta.gid) {
            return Err(io::Error::other("its owner's number is too large"));
        }
        let node = match &entry.kind {
            TarKind::Directory => Node::Directory,
            TarKind::File { offset, size } => Node::File { size: *size, content: self.archive.content(*offset) },
            TarKind::Symlink(target) => {
                // It may stand in place of a directory's name that was found before.
                self.last = None;
                Node::Symlink(target.clone())
            }
            TarKind::Special(special) => Node::Special(*special),
            TarKind::HardLink(target) => {
                let (linked, time) = self.linked(target)?;
                return self.state.replace(path, linked, time);
            }
        };
        let mut meta = entry.meta.clone();
        meta.xattrs.retain(|name, _| matches!(node, Node::File { .. }) && name == CAPABILITY);
        self.state.replace(path, Entry { node, meta }, Some(entry.mtime))
    }

    fn parent(&mut self, named: &Path) -> io::Result<PathBuf> {
        if let Some((_, found)) = self.last.as_ref().filter(|(last, _)| last == named) {
            return Ok(found.clone());
        }
        let found = self.state.ensure_directory(&self.destination.join(named), Owner::ROOT)?;
        self.last = Some((named.to_owned(), found.clone()));
        Ok(found)
    }

    fn linked(&self, target: &Path) -> io::Result<(Entry, Option<i64>)> {
        let name = target.file_name().ok_or_else(|| io::Error::other("it is a link to the root"))?;
        let above = self.state.find_directory(&self.destination.join(target.parent().unwrap_or(Path::new(""))));
        let path = above.map(|above| above.join(name));
        let entry = path.as_ref().and_then(|path| self.state.tree.get(path)).filter(|entry| !entry.is_directory());
        let (Some(path), Some(entry)) = (&path, entry) else {
            return Err(io::Error::other("it is a hard link to nothing"));
        };
        Ok((entry.clone(), self.state.times.get(path).copied()))
    }
}

impl State {
    /// A directory; where there is none it is made with mode 0755 for `owner`, and its parents for root. Gives its own path.
    fn ensure_directory(&mut self, path: &Path, owner: Owner) -> io::Result<PathBuf> {
        let mut waiting = parts(path);
        let (mut here, mut links) = (PathBuf::new(), 0);
        while let Some(part) = waiting.pop() {
            let name = match Path::new(&part).components().next() {
                Some(Component::Normal(name)) => name,
                Some(Component::ParentDir) => {
                    here.pop();
                    continue;
                }
                Some(Component::RootDir) => {
                    here = PathBuf::new();
                    continue;
                }
                _ => continue,
            };
            let next = here.join(name);
            match self.tree.get(&next).map(|entry| &entry.node) {
                Some(Node::Directory) => here = next,
                Some(Node::Symlink(target)) => {
                    links += 1;
                    if links > LINKS_MOST {
                        return Err(at(path, rustix::io::Errno::LOOP));
                    }
                    waiting.extend(parts(Path::new(target)));
                }
                Some(_) => return Err(at(path, rustix::io::Errno::NOTDIR)),
                None => {
                    let owner = if waiting.is_empty() { owner } else { Owner::ROOT };
                    self.put(next.clone(), Entry { node: Node::Directory, meta: owner.meta(0o755) }, None);
                    here = next;
                }
            }
        }
        Ok(here)
    }

    fn find_directory(&self, path: &Path) -> Option<PathBuf> {
        let found = self.tree.resolve(path)?;
        (found.as_os_str().is_empty() || self.is_directory_itself(&found)).then_some(found)
    }

    /// Links followed.
    fn is_directory(&self, path: &Path) -> bool {
        self.find_directory(path).is_some()
    }

    fn is_directory_itself(&self, path: &Path) -> bool {
        self.tree.get(path).is_some_and(Entry::is_directory)
    }

    /// A directory stays what it holds; anything else may not take its place.
    fn replace(&mut self, path: PathBuf, entry: Entry, time: Option<i64>) -> io::Result<()> {
        if !entry.is_directory() && self.is_directory_itself(&path) {
            return Err(io::Error::other("a directory is in the way"));
        }
        self.put(path, entry, time);
        Ok(())
    }

    /// The path that a file is written to: where the last part is a link, what it points to, whether that is there or not.
    fn without_last_links(&self, path: &Path) -> io::Result<PathBuf> {
        let mut path = path.to_owned();
        for _ in 0..LINKS_MOST {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(path) };
            let Some(above) = self.find_directory(parent) else { return Ok(path) };
            match self.tree.get(&above.join(name)).map(|entry| &entry.node) {
                Some(Node::Symlink(target)) => path = Path::new("/").join(&above).join(target),
                _ => return Ok(path),
            }
        }
        Err(at(&path, rustix::io::Errno::LOOP))
    }
}

fn parts(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|part| part.as_os_str().to_owned()).collect()
}

struct Copier<'a, 'b> {
    state: &'a mut State,
    files: &'a Files<'b>,
    owner: Owner,
    mode: Option<u32>,
}

impl Copier<'_, '_> {
    fn meta(&self, metadata: &Metadata) -> TarMeta {
        self.owner.meta(self.mode.unwrap_or(metadata.mode() & 0o7777))
    }

    fn file(&mut self, from: &Path, metadata: &Metadata, to: &Path) -> io::Result<()> {
        let to = self.state.without_last_links(to)?;
        let (Some(parent), Some(name)) = (to.parent(), to.file_name()) else {
            return Err(at(&to, io::Error::other("it is no name for a file")));
        };
        let parent = self.state.ensure_directory(parent, self.owner)?;
        self.put(from, metadata, parent.join(name)).map_err(|error| at(&to, error))
    }

    fn below(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        for entry in crate::base::fs::sorted_entries(from).map_err(|error| error.source)? {
            let path = entry.path();
            let metadata = fs::symlink_metadata(&path).map_err(|error| at(&path, error))?;
            self.put(&path, &metadata, to.join(entry.file_name())).map_err(|error| at(&path, error))?;
        }
        Ok(())
    }

    fn put(&mut self, from: &Path, metadata: &Metadata, to: PathBuf) -> io::Result<()> {
        let meta = self.meta(metadata);
        let time = Some(metadata.mtime());
        let kind = metadata.file_type();
        if kind.is_dir() {
            self.state.replace(to.clone(), Entry { node: Node::Directory, meta }, time)?;
            return self.below(from, &to);
        }
        let node = if kind.is_symlink() {
            Node::Symlink(fs::read_link(from)?.into_os_string())
        } else if kind.is_file() {
            Node::File { size: metadata.len(), content: self.files.content(from, metadata)? }
        } else {
            return Err(io::Error::other("it is neither a file, a directory nor a link"));
        };
        self.state.replace(to, Entry { node, meta }, time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(files: &[(&str, &str)], links: &[(&str, &str)]) -> State {
        let mut state = State::default();
        for (path, text) in files {
            state.tree.insert_with_parents(Path::new(path), Entry::file(0o644, text.as_bytes().to_vec()));
        }
        for (path, target) in links {
            let entry = Entry { node: Node::Symlink(target.into()), meta: TarMeta::root(0o777) };
            state.tree.insert_with_parents(Path::new(path), entry);
        }
        state
    }

    #[test]
    fn links_lead_nowhere_outside() {
        let mut state = state(&[], &[("absolute", "/a/b"), ("relative", "../../outside"), ("round", "round")]);
        for (path, found) in [("/absolute/x", "a/b/x"), ("/relative/y", "outside/y"), ("a/../relative/z", "outside/z")]
        {
            assert_eq!(state.ensure_directory(Path::new(path), Owner::ROOT).unwrap(), Path::new(found));
        }
        assert_eq!(state.without_last_links(Path::new("/absolute")).unwrap(), Path::new("/a/b"));
        assert!(state.ensure_directory(Path::new("/round/x"), Owner::ROOT).is_err());
        assert_eq!(state.tree.get(Path::new("outside/y")).unwrap().meta, TarMeta::root(0o755));
    }

    #[test]
    fn owners_are_found_as_docker_finds_them() {
        let state = state(&[("etc/passwd", "web:x:33:34::/:\n"), ("etc/group", "www:x:35:\n")], &[]);
        for (text, uid, gid) in [("7", 7, 7), ("7:8", 7, 8), ("web", 33, 34), ("web:www", 33, 35), ("7:www", 7, 35)] {
            assert_eq!(find_owner(&state, text).unwrap(), Owner { uid, gid }, "{text}");
        }
        let error = find_owner(&state, "none").unwrap_err().to_string();
        assert!(error.contains("`none` is not in the image's /etc/passwd"), "{error}");
    }

    #[test]
    fn a_source_stays_in_the_context() {
        let directory = tempfile::tempdir().unwrap();
        let context = directory.path().join("context");
        fs::create_dir(&context).unwrap();
        fs::write(directory.path().join("secret"), "").unwrap();
        std::os::unix::fs::symlink("../secret", context.join("link")).unwrap();
        let files = Files::open(&context, Known::default()).unwrap();
        for source in ["link", "../secret"] {
            assert!(files.find(source).unwrap_err().to_string().contains("leads out"), "{source}");
        }
        assert!(files.find("none").is_err());
    }
}
