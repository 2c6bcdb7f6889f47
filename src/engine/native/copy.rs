//! COPY, and ADD of what is no archive, as docker and buildah do it.
//!
//! A directory's contents are copied, never the directory itself. A destination is a directory when it says so with a slash,
//! when it is one, or when there is more than one source or a directory among them. It is followed through links; what lies
//! below it is not.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::plan::CopyAction;
use super::root::{Meta, Owner, Root, at, put_directory, put_file, put_symlink, set_directory, set_time};
use super::unpack::unpack;

/// Copies or unpacks each source.
pub(super) fn copy_into(root: &Root, context: &Path, copy: &CopyAction) -> io::Result<()> {
    let owner = match &copy.owner {
        Some(owner) => find_owner(root, owner)?,
        None => Owner::ROOT,
    };
    let context = fs::canonicalize(context).map_err(|error| at(context, error))?;
    let destination = Path::new(&copy.destination);
    let copier = Copier { root, owner, mode: copy.mode };
    for source in &copy.sources {
        let path = find_source(&context, source)?;
        let metadata = fs::metadata(&path).map_err(|error| at(&path, error))?;
        if metadata.is_dir() {
            copier.contents(&path, destination)?;
        } else if copy.unpacks && is_archive(&path)? {
            unpack(root, &path, destination)?;
        } else {
            let name = Path::new(source).file_name().unwrap_or_default();
            let is_directory = copy.destination.ends_with('/')
                || copy.sources.len() > 1
                || root.kind(destination)? == Some(FileType::Directory);
            let target = if is_directory { destination.join(name) } else { destination.to_owned() };
            copier.file(&path, &metadata, &target)?;
        }
    }
    Ok(())
}

fn find_source(context: &Path, source: &str) -> io::Result<PathBuf> {
    let path = context.join(source.trim_start_matches('/'));
    let found = fs::canonicalize(&path).map_err(|error| at(Path::new(source), error))?;
    if found.starts_with(context) {
        return Ok(found);
    }
    Err(io::Error::other(format!("{source}: it leads out of the context")))
}

/// `USER`, `USER:GROUP`: a number stands for itself, and alone for the group too; names are the image's own.
fn find_owner(root: &Root, text: &str) -> io::Result<Owner> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let lookup = |file: &str, name: &str, field: usize| -> io::Result<u32> {
        if let Ok(number) = name.parse() {
            return Ok(number);
        }
        let table = root.read_text(file)?;
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

struct Copier<'a> {
    root: &'a Root,
    owner: Owner,
    mode: Option<u32>,
}

impl Copier<'_> {
    fn meta(&self, metadata: &Metadata) -> Meta {
        Meta {
            mode: self.mode.unwrap_or(metadata.mode() & 0o7777),
            owner: self.owner,
            mtime: (metadata.mtime(), u32::try_from(metadata.mtime_nsec()).unwrap_or_default()),
            capability: None,
        }
    }

    fn file(&self, from: &Path, metadata: &Metadata, to: &Path) -> io::Result<()> {
        let to = self.root.without_last_links(to)?;
        let (Some(parent), Some(name)) = (to.parent(), to.file_name()) else {
            return Err(at(&to, io::Error::other("it is no name for a file")));
        };
        let parent = self.root.ensure_directory(parent, self.owner)?;
        self.put(from, metadata, parent.as_fd(), name).map_err(|error| at(&to, error))
    }

    fn contents(&self, from: &Path, to: &Path) -> io::Result<()> {
        let directory = self.root.ensure_directory(to, self.owner)?;
        self.below(from, directory.as_fd())
    }

    fn below(&self, from: &Path, to: BorrowedFd<'_>) -> io::Result<()> {
        for entry in crate::base::fs::sorted_entries(from).map_err(|error| error.source)? {
            let path = entry.path();
            let metadata = fs::symlink_metadata(&path).map_err(|error| at(&path, error))?;
            self.put(&path, &metadata, to, &entry.file_name()).map_err(|error| at(&path, error))?;
        }
        Ok(())
    }

    fn put(&self, from: &Path, metadata: &Metadata, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        let meta = self.meta(metadata);
        if metadata.is_dir() {
            let directory = put_directory(parent, name)?;
            set_directory(directory.as_fd(), &meta)?;
            self.below(from, directory.as_fd())?;
            set_time(directory.as_fd(), &meta)
        } else if metadata.is_symlink() {
            put_symlink(parent, name, &meta, fs::read_link(from)?.as_os_str())
        } else if metadata.is_file() {
            put_file(parent, name, &meta, &mut File::open(from)?)
        } else {
            Err(io::Error::other("it is neither a file, a directory nor a link"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_found_as_docker_finds_them() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("etc")).unwrap();
        fs::write(directory.path().join("etc/passwd"), "web:x:33:34::/:\n").unwrap();
        fs::write(directory.path().join("etc/group"), "www:x:35:\n").unwrap();
        let root = Root::open(directory.path()).unwrap();
        for (text, uid, gid) in [("7", 7, 7), ("7:8", 7, 8), ("web", 33, 34), ("web:www", 33, 35), ("7:www", 7, 35)] {
            assert_eq!(find_owner(&root, text).unwrap(), Owner { uid, gid }, "{text}");
        }
        assert!(
            find_owner(&root, "none").unwrap_err().to_string().contains("`none` is not in the image's /etc/passwd")
        );
    }

    #[test]
    fn a_source_stays_in_the_context() {
        let directory = tempfile::tempdir().unwrap();
        let context = directory.path().join("context");
        fs::create_dir(&context).unwrap();
        fs::write(directory.path().join("secret"), "").unwrap();
        std::os::unix::fs::symlink("../secret", context.join("link")).unwrap();
        let context = fs::canonicalize(context).unwrap();
        for source in ["link", "../secret"] {
            assert!(find_source(&context, source).unwrap_err().to_string().contains("leads out"), "{source}");
        }
        assert!(find_source(&context, "none").is_err());
    }
}
