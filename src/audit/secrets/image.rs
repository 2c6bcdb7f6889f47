//! Secrets in a sealed image: its config and every file of its layers.
//!
//! What a layer holds is kept in the store by its diff_id and the patterns, so that a layer is looked through once. Packages
//! are looked through only for secrets in files that are not theirs, byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use super::scan::{Hit, Scanner, patterns_digest};
use super::{Secrets, SecretsError, as_note, finding};
use crate::base::fs::FsError;
use crate::base::progress::Progress;
use crate::base::text::{count, human_size};
use crate::base::untar::{FileRange, TarKind, read_tar};
use crate::image::{SealedImage, SealedLayer, python_source};
use crate::model::{Hasher, Sha256};
use crate::store::Store;

const MEMO: &str = "file-secrets";
const CONFIG_MEMO: &str = "config-secrets";
const CONTENTS_MEMO: &str = "tar-contents";

/// What is looked through.
#[derive(Clone, Copy, Debug)]
pub struct ImageRequest<'a> {
    /// The image; its layers and config are blobs of the store.
    pub image: &'a SealedImage,
    /// Tars of the store with what locked packages ship: secrets in them are public.
    pub public: &'a [Sha256],
    /// What was found in the project: not told again where the project's files are in the image.
    pub project: &'a Secrets,
    /// The store.
    pub store: &'a Store,
    /// Progress for people.
    pub progress: &'a Progress,
}

/// The secrets of one file of a tar.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FileHits {
    /// Its path in the image, absolute.
    path: String,
    hits: Vec<Hit>,
    /// The file itself, where it is one of a tar.
    content: Option<Content>,
    /// Of Python's byte code: its source beside it.
    source: Option<Content>,
}

/// A path in a tar and what is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Content {
    path: PathBuf,
    size: u64,
    digest: Sha256,
}

/// Looks for secrets in the image's config and in each file of its layers. The subjects are `/PATH` and `image config`.
///
/// A secret that stands in a locked package or a layer of the base image as well is a note; any other is as grave as its rule.
///
/// # Errors
/// When a layer is missing or damaged.
pub fn check_image(request: &ImageRequest<'_>) -> Result<Secrets, SecretsError> {
    let size = request.image.layers.iter().map(|layer| layer.size).sum();
    let phase = request.progress.bytes("looking for secrets", size);
    let mut work = Work { store: request.store, scanner: None, looked: 0, advance: &|bytes| phase.advance(bytes) };
    let config = work.config(&request.image.id)?;
    let mut found: Vec<(FileHits, String)> = config.into_iter().map(|file| (file, "config".to_owned())).collect();
    for layer in &request.image.layers {
        found.extend(work.tar(&layer.diff_id)?.into_iter().map(|file| (file, layer.origin.clone())));
    }
    for (file, _) in &mut found {
        file.hits.retain(|hit| !request.project.known.contains(&hit.digest));
    }
    found.retain(|(file, _)| !file.hits.is_empty());
    let is_locked = |layer: &&SealedLayer| layer.blob.is_some();
    let base = request.image.layers.iter().filter(is_locked).map(|layer| layer.diff_id);
    let public: Vec<Sha256> = request.public.iter().copied().chain(base).collect();
    let secrets = judged(&found, &public, &mut work)?;
    let words = count(secrets.findings.iter().filter(|finding| finding.counts()).count(), "secret");
    let looked = human_size(work.looked);
    phase.finish(&format!("{looked}, {words}, {} in packages", secrets.findings.len() - secrets.known.len()));
    Ok(secrets)
}

fn judged(found: &[(FileHits, String)], tars: &[Sha256], work: &mut Work<'_>) -> Result<Secrets, SecretsError> {
    let public = Public::of(found, tars, work)?;
    let mut secrets = Secrets::default();
    for (file, origin) in found {
        let is_compiled = public.is_compiled(file);
        for hit in &file.hits {
            let Some(mut finding) = finding(&file.path, hit, None) else { continue };
            finding.evidence.iter_mut().for_each(|line| line.push_str(&format!(", layer {origin}")));
            if public.hits.contains(&hit.digest) || is_compiled {
                finding = as_note(finding);
            } else {
                secrets.known.insert(hit.digest);
            }
            secrets.findings.push(finding);
        }
    }
    Ok(secrets)
}

/// What packages ship.
#[derive(Default)]
struct Public {
    hits: BTreeSet<Sha256>,
    contents: BTreeSet<Content>,
}

impl Public {
    /// Learns of the tars what decides over these files, and no more: what is known of them, then whether they have the same
    /// files, and at last what all of their files hold.
    fn of(found: &[(FileHits, String)], tars: &[Sha256], work: &mut Work<'_>) -> Result<Self, SecretsError> {
        let mut public = Self::default();
        let mut known = Vec::new();
        for tar in tars {
            let hits = work.kept(MEMO, tar);
            public.add_hits(hits.iter().flatten());
            known.push((tar, hits.is_some(), work.kept_contents(tar)));
        }
        // A tar that was never asked is new, and so what is new in the image is most likely of it.
        known.sort_by_key(|(_, _, answers)| !answers.is_empty());
        public.add_contents(known.iter().flat_map(|(_, _, answers)| answers.clone()), found);
        for (tar, has_told_hits, answers) in known {
            let open = found.iter().map(|(file, _)| file).filter(|file| !public.is_settled(file));
            let contents = open.flat_map(|file| file.content.iter().filter(|_| !has_told_hits).chain(&file.source));
            let asked: BTreeSet<&Content> = contents.filter(|content| !answers.contains_key(*content)).collect();
            if !asked.is_empty() {
                public.add_contents(work.contents(tar, &asked, answers)?, found);
            }
        }
        for tar in tars {
            if found.iter().all(|(file, _)| public.is_settled(file)) {
                break;
            }
            public.add_hits(&work.tar(tar)?);
        }
        Ok(public)
    }

    fn add_hits<'a>(&mut self, files: impl IntoIterator<Item = &'a FileHits>) {
        self.hits.extend(files.into_iter().flat_map(|file| &file.hits).map(|hit| hit.digest));
    }

    /// What an unmodified file of a package holds, the package holds.
    fn add_contents(&mut self, answers: impl IntoIterator<Item = (Content, bool)>, found: &[(FileHits, String)]) {
        self.contents.extend(answers.into_iter().filter(|(_, is_there)| *is_there).map(|(content, _)| content));
        let is_there = |file: &&FileHits| file.content.as_ref().is_some_and(|content| self.contents.contains(content));
        let files: Vec<&FileHits> = found.iter().map(|(file, _)| file).filter(is_there).collect();
        self.add_hits(files);
    }

    fn is_settled(&self, file: &FileHits) -> bool {
        file.hits.iter().all(|hit| self.hits.contains(&hit.digest)) || self.is_compiled(file)
    }

    /// Whether a file is byte code whose source is an unmodified file of a package: the compiler joins what stands apart
    /// there, so that a secret may be whole in the byte code alone.
    fn is_compiled(&self, file: &FileHits) -> bool {
        file.source.as_ref().is_some_and(|source| self.contents.contains(source))
    }
}

impl Member {
    fn content(&self, tar: &File) -> io::Result<Content> {
        let (digest, size) = Sha256::of_reader(&mut FileRange::new(tar, self.offset, self.size))?;
        Ok(Content { path: self.path.clone(), size, digest })
    }
}

/// Looks through tars that are not known yet.
struct Work<'a> {
    store: &'a Store,
    scanner: Option<Scanner>,
    looked: u64,
    advance: &'a (dyn Fn(u64) + Sync),
}

/// A regular file in a tar.
struct Member {
    path: PathBuf,
    offset: u64,
    size: u64,
}

impl Work<'_> {
    fn scanner(&mut self) -> Result<&Scanner, SecretsError> {
        if self.scanner.is_none() {
            self.scanner = Some(Scanner::new()?);
        }
        self.scanner.as_ref().ok_or_else(|| SecretsError::Patterns { what: "none".to_owned() })
    }

    /// The kept answer for a config, or a new one.
    fn config(&mut self, id: &Sha256) -> Result<Vec<FileHits>, SecretsError> {
        if let Some(files) = self.kept(CONFIG_MEMO, id) {
            return Ok(files);
        }
        let bytes = self.store.read_blob(id)?;
        let hits = self.scanner()?.scan(&mut &bytes[..]).map_err(FsError::new("read", "the image's config"))?;
        let files = vec![FileHits { path: "image config".to_owned(), hits, content: None, source: None }];
        self.keep(CONFIG_MEMO, id, &files)?;
        Ok(files)
    }

    /// What is kept of whether a tar has files.
    fn kept_contents(&self, tar: &Sha256) -> BTreeMap<Content, bool> {
        let answers = self.store.memo(CONTENTS_MEMO, tar).and_then(|answer| serde_json::from_slice(&answer).ok());
        answers.map(|answers: Vec<(Content, bool)>| answers.into_iter().collect()).unwrap_or_default()
    }

    /// Whether a tar has these files, with these bytes under these paths; kept with the answers that there were before.
    fn contents(
        &self,
        tar: &Sha256,
        asked: &BTreeSet<&Content>,
        mut answers: BTreeMap<Content, bool>,
    ) -> Result<BTreeMap<Content, bool>, SecretsError> {
        let (archive, members) = self.members(tar)?;
        let sizes: BTreeSet<(&[u8], u64)> =
            asked.iter().map(|content| (content.path.as_os_str().as_bytes(), content.size)).collect();
        let alike = members.iter().filter(|member| sizes.contains(&(member.path.as_os_str().as_bytes(), member.size)));
        let there = alike.map(|member| member.content(&archive)).collect::<io::Result<BTreeSet<_>>>();
        let there = there.map_err(FsError::new("read", self.store.blob_path(tar)))?;
        answers.extend(asked.iter().map(|content| ((*content).clone(), there.contains(*content))));
        let answer = serde_json::to_vec(&answers.iter().collect::<Vec<_>>()).unwrap_or_default();
        self.store.set_memo(CONTENTS_MEMO, tar, &answer)?;
        Ok(answers)
    }

    fn members(&self, digest: &Sha256) -> Result<(File, Vec<Member>), SecretsError> {
        let tar = self.store.open_blob(digest)?;
        let mut members = Vec::new();
        read_tar(&tar, 0, |entry| {
            if let TarKind::File { offset, size } = entry.kind {
                members.push(Member { path: entry.path, offset, size });
            }
            Ok(())
        })
        .map_err(FsError::new("read", self.store.blob_path(digest)))?;
        Ok((tar, members))
    }

    /// The kept answer for a blob.
    fn kept(&self, memo: &'static str, digest: &Sha256) -> Option<Vec<FileHits>> {
        self.store.memo(memo, &question(digest)).and_then(|answer| serde_json::from_slice(&answer).ok())
    }

    fn keep(&self, memo: &'static str, digest: &Sha256, files: &[FileHits]) -> Result<(), SecretsError> {
        let answer = serde_json::to_vec(files).unwrap_or_default();
        Ok(self.store.set_memo(memo, &question(digest), &answer)?)
    }

    /// The kept answer for a tar, or a new one.
    fn tar(&mut self, digest: &Sha256) -> Result<Vec<FileHits>, SecretsError> {
        if let Some(files) = self.kept(MEMO, digest) {
            return Ok(files);
        }
        let (tar, members) = self.members(digest)?;
        self.looked += members.iter().map(|member| member.size).sum::<u64>();
        let advance = self.advance;
        let fail = FsError::new("read", self.store.blob_path(digest));
        let files = scan_members(self.scanner()?, &tar, &members, advance).map_err(fail)?;
        self.keep(MEMO, digest, &files)?;
        Ok(files)
    }
}

fn question(blob: &Sha256) -> Sha256 {
    let mut question = Hasher::default();
    question.field(patterns_digest().as_bytes());
    question.field(blob.as_bytes());
    question.finish()
}

/// Looks through files side by side; the answer is in the tar's order.
fn scan_members(
    scanner: &Scanner,
    tar: &File,
    members: &[Member],
    advance: &(dyn Fn(u64) + Sync),
) -> io::Result<Vec<FileHits>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let work = || {
        while let Some((number, member)) = {
            let number = next.fetch_add(1, Ordering::SeqCst);
            members.get(number).map(|member| (number, member))
        } {
            let hits = scanner.scan(&mut FileRange::new(tar, member.offset, member.size));
            advance(member.size);
            if hits.as_ref().is_ok_and(Vec::is_empty) {
                continue;
            }
            let found = hits.and_then(|hits| {
                let source = python_source(&member.path);
                let source = source.and_then(|path| members.iter().find(|other| other.path == path));
                let source = source.map(|source| source.content(tar)).transpose()?;
                let path = format!("/{}", member.path.display());
                Ok(FileHits { path, hits, content: Some(member.content(tar)?), source })
            });
            results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((number, found));
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, found)| found).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::audit::Level;
    use crate::base::archive::Compression;
    use crate::base::tar::{TarMeta, TarWriter};
    use crate::image::{BaseBlob, Blob};
    use crate::model::Platform;

    const KEY: &str = "AKIA\u{b7}Q3EGZ7WXTN5VJ2LM";

    fn key() -> String {
        KEY.replace('\u{b7}', "")
    }

    fn tar(store: &Store, files: &[(&str, String)]) -> Sha256 {
        let mut writer = TarWriter::new(Vec::new(), 0);
        for (path, text) in files {
            let size = text.len() as u64;
            writer.file(Path::new(path), &TarMeta::root(0o644), size, &mut text.as_bytes()).unwrap();
        }
        store.add_blob(&writer.finish().unwrap()).unwrap()
    }

    fn check(store: &Store, layer: Sha256, public: &[Sha256]) -> Vec<(String, Level, String)> {
        check_layer(store, layer, None, public)
    }

    fn check_layer(
        store: &Store,
        layer: Sha256,
        blob: Option<BaseBlob>,
        public: &[Sha256],
    ) -> Vec<(String, Level, String)> {
        let id = store.add_blob(b"{\"config\":{\"Env\":[\"A=b\"]}}").unwrap();
        let layers = vec![SealedLayer { origin: "system".into(), diff_id: layer, size: 0, blob }];
        let image = SealedImage { id, platform: Platform::LINUX_AMD64, has_healthcheck: false, layers };
        let (project, progress) = (Secrets::default(), Progress::hidden());
        let request = ImageRequest { image: &image, public, project: &project, store, progress: &progress };
        let found = check_image(&request).unwrap().findings.into_iter();
        found.map(|finding| (finding.subject, finding.level, finding.evidence.join(" "))).collect()
    }

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        (directory, store)
    }

    #[test]
    fn a_secret_in_a_layer_is_found_and_one_that_a_package_ships_is_a_note() {
        let (_directory, store) = store();
        let layer = tar(&store, &[("etc/a", "plain\n".into()), ("etc/b", format!("\nid={}\n", key()))]);
        let evidence = "line 2: AKIA… (20 characters), layer system".to_owned();
        assert_eq!(check(&store, layer, &[]), [("/etc/b".to_owned(), Level::Error, evidence.clone())]);
        // In another file and with other bytes around it: it is the secret that is public.
        let package = tar(&store, &[("usr/share/doc/x", format!("see {}", key()))]);
        assert_eq!(check(&store, layer, &[package]), [("/etc/b".to_owned(), Level::Note, evidence)]);
    }

    #[test]
    fn what_a_layer_of_the_base_image_holds_is_public() {
        let (_directory, store) = store();
        let layer = tar(&store, &[("etc/b", key())]);
        let base = BaseBlob { blob: Blob { digest: layer, size: 0 }, compression: Compression::Gzip };
        assert_eq!(check_layer(&store, layer, Some(base), &[])[0].1, Level::Note);
    }

    #[test]
    fn byte_code_of_an_unmodified_source_is_public() {
        let (_directory, store) = store();
        let source = format!("k = 'AKIA' '{}'\n", &key()[4..]);
        let code = ("s/__pycache__/m.cpython-313.pyc", format!("\0{}\0", key()));
        let package = tar(&store, &[("s/m.py", source.clone())]);
        let layer = tar(&store, &[("s/m.py", source.clone()), code.clone()]);
        assert_eq!(check(&store, layer, &[package])[0].1, Level::Note);
        let modified = tar(&store, &[("s/m.py", source + "# more\n"), code]);
        assert_eq!(check(&store, modified, &[package])[0].1, Level::Error);
    }

    #[test]
    fn packages_are_looked_through_only_for_what_is_not_theirs() {
        let (_directory, store) = store();
        let text = format!("id={}", key());
        let [package, other] = [tar(&store, &[("etc/b", text.clone())]), tar(&store, &[("etc/c", String::new())])];
        let layer = tar(&store, &[("etc/b", text.clone())]);
        assert_eq!(check(&store, layer, &[other, package])[0].1, Level::Note);
        assert_eq!(store.memos(MEMO).unwrap().len(), 1, "the layer");
        store.remove_blob(&package).unwrap();
        assert_eq!(check(&store, layer, &[other, package])[0].1, Level::Note, "the answer is kept");

        let changed = tar(&store, &[("etc/b", text + "\n")]);
        assert_eq!(check(&store, changed, &[other])[0].1, Level::Error);
        assert_eq!(store.memos(MEMO).unwrap().len(), 3, "two layers and a package");
    }

    #[test]
    fn a_damaged_package_makes_nothing_public() {
        let (_directory, store) = store();
        let files = [("etc/b", key()), ("etc/c", "1".into())];
        let (layer, package) = (tar(&store, &files[..1]), tar(&store, &files));
        let mut bytes = std::fs::read(store.blob_path(&package)).unwrap();
        let at = bytes.iter().rposition(|byte| *byte == b'1').unwrap();
        bytes[at] = b'2';
        std::fs::write(store.blob_path(&package), bytes).unwrap();
        let id = store.add_blob(b"{}").unwrap();
        let layers = vec![SealedLayer { origin: "system".into(), diff_id: layer, size: 0, blob: None }];
        let image = SealedImage { id, platform: Platform::LINUX_AMD64, has_healthcheck: false, layers };
        let (project, progress) = (Secrets::default(), Progress::hidden());
        let request =
            ImageRequest { image: &image, public: &[package], project: &project, store: &store, progress: &progress };
        assert!(matches!(check_image(&request), Err(SecretsError::Store(_))));
    }

    #[test]
    fn what_is_public_is_the_same_whether_packages_were_looked_through_or_not() {
        let other = "AKIA\u{b7}ZK7VQ2MTXW4NLE3R".replace('\u{b7}', "");
        let parts = |key: &str| (format!("k = 'AKIA' '{}'\n", &key[4..]), format!("\0{key}\0"));
        let ((source, code), (_, other_code)) = (parts(&key()), parts(&other));
        let pyc = "s/__pycache__/m.cpython-313.pyc";
        let layers = [
            vec![("etc/b", key())],
            vec![("etc/b", key() + "\n"), ("etc/c", other.clone())],
            vec![("s/m.py", source.clone()), (pyc, code.clone())],
            vec![("s/m.py", source.clone() + "#\n"), (pyc, code), ("t/__pycache__/m.cpython-313.pyc", other_code)],
        ];
        let packages = [
            vec![],
            vec![("etc/b", key())],
            vec![("usr/b", key()), ("etc/c", other.clone())],
            vec![("s/m.py", source), ("etc/b", key() + "\t")],
            vec![("t/m.py", other)],
        ];
        for (number, layer) in layers.iter().enumerate() {
            for (at, first) in packages.iter().enumerate() {
                for second in &packages[at..] {
                    let (_directory, store) = store();
                    let public = [first, second].map(|files| tar(&store, files));
                    let layer = tar(&store, layer);
                    let lazily = check(&store, layer, &public);
                    assert_eq!(check(&store, layer, &public), lazily, "a second time");
                    let progress = Progress::hidden();
                    let phase = progress.bytes("", 0);
                    let advance = |bytes| phase.advance(bytes);
                    let mut work = Work { store: &store, scanner: None, looked: 0, advance: &advance };
                    public.iter().for_each(|tar| drop(work.tar(tar).unwrap()));
                    assert_eq!(check(&store, layer, &public), lazily, "layer {number}, {first:?}, {second:?}");
                }
            }
        }
    }

    #[test]
    fn a_layer_that_is_known_is_not_read_again() {
        let (_directory, store) = store();
        let layer = tar(&store, &[("etc/b", key())]);
        let first = check(&store, layer, &[]);
        store.remove_blob(&layer).unwrap();
        assert_eq!(check(&store, layer, &[]), first);
    }
}
