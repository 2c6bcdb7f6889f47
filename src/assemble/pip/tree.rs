//! The tar as it grows: every path at most once, parents first, nothing replaced.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::PipAssembleError;
use super::environment::Layout;
use super::laid::{FoundFile, LaidFile};
use crate::base::tar::{TarMeta, TarWriter};
use crate::model::{Hasher, Sha256};

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    Directory,
    Link,
    /// With its content's digest and whether it is executable.
    File(Sha256, Executable),
}

/// Whether a file may be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Executable {
    No,
    Yes,
}

/// The entries written so far.
pub(super) struct Tree<'a, W: Write> {
    out: &'a mut TarWriter<W>,
    root: String,
    placed: BTreeMap<String, Placed>,
    files: Vec<LaidFile>,
}

impl<'a, W: Write> Tree<'a, W> {
    pub(super) fn new(out: &'a mut TarWriter<W>, layout: &Layout) -> Self {
        Self { out, root: layout.root.clone(), placed: BTreeMap::new(), files: Vec::new() }
    }

    /// The files that were written since this was last asked.
    pub(super) fn take_files(&mut self) -> Vec<LaidFile> {
        std::mem::take(&mut self.files)
    }

    /// What stands at a path, if anything.
    pub(super) fn placed(&self, path: &str) -> Option<Placed> {
        self.placed.get(path).copied()
    }

    /// Makes a directory and its parents up to the environment's root.
    pub(super) fn directory(&mut self, path: &str) -> Result<(), PipAssembleError> {
        if self.placed.get(path) == Some(&Placed::Directory) {
            return Ok(());
        }
        if path != self.root
            && let Some((parent, _)) = path.rsplit_once('/')
        {
            self.directory(parent)?;
        }
        self.claim(path, Placed::Directory, path)?;
        self.out.directory(relative(path), &TarMeta::root(0o755)).map_err(PipAssembleError::Write)
    }

    /// Makes a symbolic link.
    pub(super) fn link(&mut self, path: &str, target: &str) -> Result<(), PipAssembleError> {
        self.parent(path)?;
        self.claim(path, Placed::Link, path)?;
        let meta = TarMeta::root(0o777);
        self.out.symlink(relative(path), &meta, OsStr::new(target)).map_err(PipAssembleError::Write)
    }

    /// Writes a file that is at hand; `who` is the wheel it comes from.
    pub(super) fn small_file(&mut self, path: &str, content: &[u8], who: &str) -> Result<(), PipAssembleError> {
        self.content(path, content, Executable::No, who)
    }

    /// Writes a script that is at hand.
    pub(super) fn script(&mut self, path: &str, content: &[u8], who: &str) -> Result<(), PipAssembleError> {
        self.content(path, content, Executable::Yes, who)
    }

    fn content(
        &mut self,
        path: &str,
        content: &[u8],
        executable: Executable,
        who: &str,
    ) -> Result<(), PipAssembleError> {
        let digest = Sha256::of(content);
        self.file(path, executable, digest, content.len() as u64, &mut &content[..], who)
    }

    /// Writes a file of `size` bytes that hash to `digest`. One that stands there already with the same bytes stays.
    pub(super) fn file(
        &mut self,
        path: &str,
        executable: Executable,
        digest: Sha256,
        size: u64,
        content: &mut dyn Read,
        who: &str,
    ) -> Result<(), PipAssembleError> {
        let placed = Placed::File(digest, executable);
        if self.placed.get(path) == Some(&placed) {
            return Ok(());
        }
        let mut hashing = Hashing { inner: content, hasher: Hasher::default() };
        self.verified_file(LaidFile { place: path.to_owned(), digest, executable }, size, &mut hashing, who)?;
        if hashing.hasher.finish() == digest {
            return Ok(());
        }
        Err(hostile(who, "a file has other bytes than its RECORD says", path))
    }

    /// Writes a file whose bytes need not be held against its digest any more.
    pub(super) fn verified_file(
        &mut self,
        file: LaidFile,
        size: u64,
        content: &mut dyn Read,
        who: &str,
    ) -> Result<(), PipAssembleError> {
        self.parent(&file.place)?;
        self.claim(&file.place, Placed::File(file.digest, file.executable), who)?;
        let mode = if file.executable == Executable::Yes { 0o755 } else { 0o644 };
        let written = self.out.file(relative(&file.place), &TarMeta::root(mode), size, content);
        self.files.push(file);
        written.map_err(PipAssembleError::Write)
    }

    /// Writes files of another environment; returns how many they are.
    pub(super) fn copy(&mut self, files: Vec<FoundFile<'_>>, who: &str) -> Result<usize, PipAssembleError> {
        let count = files.len();
        for mut found in files {
            self.verified_file(found.file.clone(), found.size, &mut found.content, who)?;
        }
        Ok(count)
    }

    fn parent(&mut self, path: &str) -> Result<(), PipAssembleError> {
        path.rsplit_once('/').map_or(Ok(()), |(parent, _)| self.directory(parent))
    }

    fn claim(&mut self, path: &str, what: Placed, who: &str) -> Result<(), PipAssembleError> {
        match self.placed.insert(path.to_owned(), what) {
            None => Ok(()),
            Some(_) => Err(hostile(who, "it would replace what is there already, with other content", path)),
        }
    }
}

pub(super) fn hostile(wheel: &str, why: &str, file: &str) -> PipAssembleError {
    PipAssembleError::Hostile { wheel: wheel.to_owned(), why: why.to_owned(), file: file.to_owned() }
}

fn relative(path: &str) -> &Path {
    Path::new(path.trim_start_matches('/'))
}

struct Hashing<'a> {
    inner: &'a mut dyn Read,
    hasher: Hasher,
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        Ok(length)
    }
}
