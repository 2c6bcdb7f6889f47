//! Archives whose files are known by their digests, so that states made of them can be told apart unread.
//!
//! The digests are worked out once for an archive and kept, with one over all of its headers: later only headers are read,
//! and held against that. A content is held against its own digest whenever it is read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::state::State;
use crate::base::tree::Content;
use crate::base::untar::{FileRange, TarEntry, TarKind, read_tar};
use crate::model::{Hasher, Sha256};
use crate::store::Store;

const MEMO: &str = "archive";
const DIGEST: usize = 32;

/// A tar in a file.
#[derive(Debug)]
pub(super) struct Archive {
    pub path: PathBuf,
    pub file: Arc<File>,
    pub entries: Vec<TarEntry>,
    /// Of each file's content, by where it starts.
    digests: BTreeMap<u64, [u8; DIGEST]>,
}

impl Archive {
    /// Opens an archive. `digest` is what its bytes should hash to, where that is known.
    ///
    /// # Errors
    /// When it cannot be read, is no archive, or has other bytes than it should.
    pub(super) fn open(path: &Path, digest: Option<&Sha256>, store: Option<&Store>) -> io::Result<Self> {
        Self::open_hashing(path, digest, store, digest)
    }

    /// Opens an archive of the store whose bytes were hashed while they were written there, just now.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(super) fn open_written(digest: &Sha256, store: &Store) -> io::Result<Self> {
        Self::open_hashing(&store.blob_path(digest), Some(digest), Some(store), None)
    }

    /// Where its contents' digests are not kept, all of its bytes are held against `whole` while they are worked out.
    fn open_hashing(
        path: &Path,
        digest: Option<&Sha256>,
        store: Option<&Store>,
        whole: Option<&Sha256>,
    ) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut entries = Vec::new();
        read_tar(&file, 0, |entry| {
            entries.push(entry);
            Ok(())
        })?;
        let headers = digest_of_headers(&entries);
        let kept = digest.zip(store).and_then(|(digest, store)| store.memo(MEMO, digest));
        let digests = match kept {
            Some(kept) => {
                let (known, digests) = kept.split_at_checked(DIGEST).unwrap_or_default();
                if known != headers.as_bytes() {
                    return Err(damaged());
                }
                digests.chunks_exact(DIGEST).map(|digest| digest.try_into().unwrap_or_default()).collect()
            }
            None => {
                let digests = digest_contents(&file, &entries, whole)?;
                if let (Some(digest), Some(store)) = (digest, store) {
                    let answer: Vec<u8> = headers.as_bytes().iter().chain(digests.iter().flatten()).copied().collect();
                    store.set_memo(MEMO, digest, &answer).map_err(io::Error::other)?;
                }
                digests
            }
        };
        let offsets: Vec<u64> = files(&entries).map(|(offset, _)| offset).collect();
        if offsets.len() != digests.len() {
            return Err(damaged());
        }
        let digests = offsets.into_iter().zip(digests).collect();
        Ok(Self { path: path.to_owned(), file: Arc::new(file), entries, digests })
    }

    /// The content that starts at an offset.
    pub(super) fn content(&self, offset: u64) -> Content {
        let range = Content::Range { archive: Arc::clone(&self.file), offset };
        match self.digests.get(&offset) {
            Some(digest) => Content::Known { content: Box::new(range), digest: *digest },
            None => range,
        }
    }

    /// Lays the archive over a state: whiteouts are files named `.wh.…`.
    pub(super) fn lay_over(&self, state: &mut State) -> io::Result<()> {
        self.lay_entries_over(self.entries.clone(), state)
    }

    /// The same with some of its entries.
    pub(super) fn lay_entries_over(&self, entries: Vec<TarEntry>, state: &mut State) -> io::Result<()> {
        let State { tree, times } = state;
        tree.add_layer(
            entries,
            |offset| self.content(offset),
            |path, time| {
                times.insert(path.to_owned(), time);
            },
        )
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "its bytes are not those that were kept")
}

fn files(entries: &[TarEntry]) -> impl Iterator<Item = (u64, u64)> {
    entries.iter().filter_map(|entry| match entry.kind {
        TarKind::File { offset, size } => Some((offset, size)),
        _ => None,
    })
}

fn digest_of_headers(entries: &[TarEntry]) -> Sha256 {
    let mut hasher = Hasher::default();
    for TarEntry { path, kind, meta, mtime } in entries {
        hasher.field(path.as_os_str().as_encoded_bytes());
        match kind {
            TarKind::File { offset, size } => {
                hasher.field(b"file");
                hasher.update(&offset.to_le_bytes());
                hasher.update(&size.to_le_bytes());
            }
            TarKind::Directory => hasher.field(b"directory"),
            TarKind::Symlink(target) => {
                hasher.field(b"link");
                hasher.field(target.as_encoded_bytes());
            }
            TarKind::HardLink(target) => {
                hasher.field(b"hard link");
                hasher.field(target.as_os_str().as_encoded_bytes());
            }
            TarKind::Special(special) => hasher.field(format!("{special:?}")),
        }
        hasher.update(&meta.mode.to_le_bytes());
        hasher.update(&meta.uid.to_le_bytes());
        hasher.update(&meta.gid.to_le_bytes());
        hasher.update(&mtime.to_le_bytes());
        for (name, value) in &meta.xattrs {
            hasher.field(name);
            hasher.field(value);
        }
    }
    hasher.finish()
}

/// Hashes every content, and beside that the whole file where its digest is known.
fn digest_contents(file: &File, entries: &[TarEntry], whole: Option<&Sha256>) -> io::Result<Vec<[u8; DIGEST]>> {
    let length = file.metadata()?.len();
    std::thread::scope(|scope| {
        let checked = whole.map(|whole| {
            scope.spawn(move || {
                let (found, _) = Sha256::of_reader(&mut FileRange::new(file, 0, length))?;
                if found == *whole { Ok(()) } else { Err(damaged()) }
            })
        });
        let digests = files(entries)
            .map(|(offset, size)| {
                Sha256::of_reader(&mut FileRange::new(file, offset, size)).map(|(digest, _)| *digest.as_bytes())
            })
            .collect();
        match checked.map(std::thread::ScopedJoinHandle::join) {
            Some(Ok(result)) => result?,
            Some(Err(_)) => return Err(io::Error::other("hashing it was cut short")),
            None => {}
        }
        digests
    })
}
