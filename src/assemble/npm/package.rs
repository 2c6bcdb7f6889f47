//! One package's files, as npm would unpack its tarball (behaviour of pacote 21 and node-tar 7).
//!
//! Links and devices are skipped, as npm does. Paths that leave the package are refused, where npm skips them. The first part of
//! every path is stripped, whatever it is called. Of files with the same path, the last one counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use serde_json::Value;
use tar::EntryType;

use super::error::NpmAssembleError;
use super::links;
use crate::base::archive::decompress;
use crate::base::fs::scratch_file;
use crate::base::untar::FileRange;
use crate::lock::NpmPin;
use crate::resolve::npm::{HasBinding, claimed_identity};
use crate::store::Store;

/// Files up to this size are kept in memory while their package is written.
const SMALL_FILE: u64 = 1 << 20;
/// So much of a package is kept in memory; the rest is put into a scratch file.
const HELD_PER_PACKAGE: u64 = 8 << 20;
/// So much of a file npm looks at for a line ending of Windows.
const SHEBANG_WINDOW: u64 = 2048;

/// Where a file's bytes are.
#[derive(Debug)]
pub(super) enum Content {
    /// Here.
    Held(Vec<u8>),
    /// In the package's scratch file, from this offset on.
    Scratch(Arc<File>, u64),
}

/// One file.
#[derive(Debug)]
pub(super) struct PackageFile {
    /// Permission bits.
    pub mode: u32,
    /// Bytes.
    pub size: u64,
    /// The bytes or where they are.
    pub content: Content,
}

impl PackageFile {
    /// Reads its bytes from the start.
    pub fn reader(&self) -> Box<dyn Read + '_> {
        match &self.content {
            Content::Held(bytes) => Box::new(&bytes[..]),
            Content::Scratch(file, offset) => Box::new(FileRange::new(file, *offset, self.size)),
        }
    }

    /// All bytes, or the first `limit` of them.
    pub fn bytes(&self, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader().take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// A package, unpacked.
#[derive(Debug, Default)]
pub(super) struct Package {
    /// `name@version`.
    pub label: String,
    /// Directories that the tarball names, relative to the package.
    pub directories: BTreeSet<String>,
    /// Files by path relative to the package.
    pub files: BTreeMap<String, PackageFile>,
    /// Each package.json of a package: at `""` its own, at `node_modules/x` that of a bundled one.
    pub manifests: BTreeMap<String, Value>,
}

impl Package {
    /// Reads a pin's tarball from the store.
    pub fn read(pin: &NpmPin, store: &Store) -> Result<Self, NpmAssembleError> {
        let label = format!("{}@{}", pin.name, pin.version);
        let mut package = Self { label: label.clone(), ..Self::default() };
        let blob = store.open_blob(&pin.artifact.sha256)?;
        Reader { ignores: BTreeSet::new(), held: 0, scratch: None, store }.read(&mut package, blob).map_err(
            |error| {
                let package = label.clone();
                match error {
                    EntryError::Io(source) => NpmAssembleError::Archive { package, source },
                    EntryError::Path(path, why) => NpmAssembleError::HostilePath { package, path, why },
                }
            },
        )?;
        let found = package.manifests.get("").map(claimed_identity).unwrap_or_default();
        if Some(found.as_str()) != label.split('+').next() {
            return Err(NpmAssembleError::WrongPackage { package: label, found });
        }
        if let Some(manifest) = package.manifests.get_mut("") {
            links::expand_directory(manifest, package.files.keys().map(String::as_str));
        }
        Ok(package)
    }

    /// Whether `directory` (relative, `""` for the package itself) has a `binding.gyp`.
    pub fn has_binding(&self, directory: &str) -> HasBinding {
        match self.files.contains_key(&join(directory, "binding.gyp")) {
            true => HasBinding::Yes,
            false => HasBinding::No,
        }
    }

    /// Makes a command executable and takes the carriage return from its first line, as npm does when it links it.
    pub fn fix_command(&mut self, path: &str) -> io::Result<()> {
        let Some(file) = self.files.get_mut(path) else { return Ok(()) };
        file.mode = 0o755;
        let Some(at) = windows_line_end(&file.bytes(SHEBANG_WINDOW)?) else { return Ok(()) };
        let mut bytes = file.bytes(u64::MAX)?;
        bytes.remove(at);
        let text = String::from_utf8_lossy(&bytes).into_owned().into_bytes();
        file.size = text.len() as u64;
        file.content = Content::Held(text);
        Ok(())
    }
}

/// Where `\r` ends the first line of a script.
fn windows_line_end(start: &[u8]) -> Option<usize> {
    let end = start.iter().position(|byte| *byte == b'\n')?;
    let is_script = start.starts_with(b"#!") && end > 3 && start[end - 1] == b'\r';
    is_script.then(|| end - 1)
}

/// A relative path below a directory that may be the package itself.
pub(super) fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

/// What went wrong with an entry.
enum EntryError {
    /// Reading.
    Io(io::Error),
    /// Its path, and why.
    Path(String, &'static str),
}

impl From<io::Error> for EntryError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

type Entry<'a, 'b> = tar::Entry<'a, Box<dyn Read + Send + 'b>>;

struct Reader<'a> {
    ignores: BTreeSet<String>,
    held: u64,
    /// With its length.
    scratch: Option<(Arc<File>, u64)>,
    store: &'a Store,
}

impl Reader<'_> {
    fn read(&mut self, package: &mut Package, blob: File) -> Result<(), EntryError> {
        let mut archive = tar::Archive::new(decompress(io::BufReader::with_capacity(1 << 18, blob))?);
        for entry in archive.entries()? {
            self.take(package, &mut entry?)?;
        }
        Ok(())
    }

    fn take(&mut self, package: &mut Package, entry: &mut Entry<'_, '_>) -> Result<(), EntryError> {
        let kind = entry.header().entry_type();
        let is_file = matches!(kind, EntryType::Regular | EntryType::Continuous);
        if !is_file && kind != EntryType::Directory {
            return Ok(());
        }
        let raw = entry.path_bytes().into_owned();
        let is_directory = kind == EntryType::Directory || raw.ends_with(b"/");
        let Some(path) = safe_path(&raw)? else { return Ok(()) };
        if is_directory {
            if !package.files.contains_key(&path) {
                package.directories.insert(path);
            }
            return Ok(());
        }
        let Some(path) = self.renamed(path) else { return Ok(()) };
        check_parents(package, &path)?;
        Ok(self.keep(package, path, entry)?)
    }

    /// npm takes `.gitignore` for `.npmignore`, unless there was one before.
    fn renamed(&mut self, path: String) -> Option<String> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", &path));
        match name {
            ".npmignore" => drop(self.ignores.insert(path.clone())),
            ".gitignore" => {
                let ignore = join(directory, ".npmignore");
                return (!self.ignores.contains(&ignore)).then_some(ignore);
            }
            _ => {}
        }
        Some(path)
    }

    fn keep(&mut self, package: &mut Package, path: String, entry: &mut Entry<'_, '_>) -> io::Result<()> {
        let size = entry.size();
        let mode = ((entry.header().mode()? | 0o666) & 0o777 & !0o022) | 0o600;
        let manifest_of = manifest_directory(&path);
        let is_held = size <= SMALL_FILE && self.held + size <= HELD_PER_PACKAGE;
        let content = if is_held || manifest_of.is_some() {
            let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
            entry.read_to_end(&mut bytes)?;
            self.held += size;
            Content::Held(bytes)
        } else {
            self.put_aside(entry)?
        };
        if let (Some(directory), Content::Held(bytes)) = (manifest_of, &content) {
            let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            match serde_json::from_slice(text) {
                Ok(manifest) => drop(package.manifests.insert(directory.to_owned(), manifest)),
                Err(error) if directory.is_empty() => return Err(io::Error::other(error)),
                Err(_) => {}
            }
        }
        package.files.insert(path, PackageFile { mode, size, content });
        Ok(())
    }

    fn put_aside(&mut self, entry: &mut Entry<'_, '_>) -> io::Result<Content> {
        let (file, length) = match &mut self.scratch {
            Some(scratch) => scratch,
            none => {
                let file = scratch_file(&self.store.root().join("tmp")).map_err(io::Error::other)?;
                none.insert((Arc::new(file), 0))
            }
        };
        let offset = *length;
        *length += io::copy(entry, &mut &**file)?;
        Ok(Content::Scratch(Arc::clone(file), offset))
    }
}

/// The directory of a package whose package.json this is: `""`, `node_modules/a`, `node_modules/@s/b/node_modules/c`.
fn manifest_directory(path: &str) -> Option<&str> {
    if path == "package.json" {
        return Some("");
    }
    let directory = path.strip_suffix("/package.json")?;
    let mut parts = directory.split('/');
    while let Some(part) = parts.next() {
        let is_scoped = part == "node_modules" && parts.next()?.starts_with('@');
        if part != "node_modules" || is_scoped && parts.next().is_none() {
            return None;
        }
    }
    Some(directory)
}

/// The path without its first part. `None` for what has no other part.
fn safe_path(raw: &[u8]) -> Result<Option<String>, EntryError> {
    let shown = String::from_utf8_lossy(raw).into_owned();
    let refuse = |why| Err(EntryError::Path(shown.clone(), why));
    let Ok(text) = std::str::from_utf8(raw) else { return refuse("it is not UTF-8") };
    if text.starts_with('/') {
        return refuse("it is absolute");
    }
    if text.chars().any(char::is_control) {
        return refuse("it has a control character");
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return refuse("it steps upwards");
    }
    Ok((parts.len() > 1).then(|| parts[1..].join("/")))
}

/// No file may be where another entry needs a directory.
fn check_parents(package: &Package, path: &str) -> Result<(), EntryError> {
    let is_file = |(at, _): (usize, _)| package.files.contains_key(&path[..at]);
    if package.directories.contains(path) || path.match_indices('/').any(is_file) {
        return Err(EntryError::Path(path.to_owned(), "it is a file in one place and a directory in another"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_package_are_refused() {
        let path = |raw: &str| safe_path(raw.as_bytes()).map_err(|_| ());
        assert_eq!(path("package/lib/a.js"), Ok(Some("lib/a.js".into())));
        assert_eq!(path("./package//lib/./a.js"), Ok(Some("lib/a.js".into())));
        assert_eq!(path("package/"), Ok(None));
        for bad in ["/etc/passwd", "package/../../x", "package/..", "package/a\nb"] {
            assert_eq!(path(bad), Err(()), "{bad}");
        }
        assert!(safe_path(b"package/\xff").is_err());
    }

    #[test]
    fn only_packages_have_manifests() {
        assert_eq!(manifest_directory("package.json"), Some(""));
        assert_eq!(manifest_directory("node_modules/a/package.json"), Some("node_modules/a"));
        assert_eq!(
            manifest_directory("node_modules/@s/b/node_modules/c/package.json"),
            Some("node_modules/@s/b/node_modules/c")
        );
        for other in [
            "lib/package.json",
            "node_modules/package.json",
            "node_modules/a/lib/package.json",
            "node_modules/@s/package.json",
        ] {
            assert_eq!(manifest_directory(other), None, "{other}");
        }
    }

    #[test]
    fn a_line_end_of_windows_is_found_on_the_first_line_alone() {
        assert_eq!(windows_line_end(b"#!/usr/bin/env node\r\nx"), Some(19));
        assert_eq!(windows_line_end(b"#!/usr/bin/env node\nx\r\n"), None);
        assert_eq!(windows_line_end(b"x\r\n"), None);
    }
}
