//! The whole context: what is in it, its digest, and how it is staged for an engine.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};

use super::base_image::{BaseConfig, BaseFacts, BaseImage, PYTHON_VARIABLE};
use super::error::AssembleError;
use super::files::{Project, ProjectFile};
use super::parts::{ASSEMBLY_VERSION, Part, PartWriter, Written, part};
use super::{apt, npm, pip};
use crate::base::fs::{FsError, ensure_directory, set_mode};
use crate::lock::{AptPin, BaseManifest, BasePin, Lockfile, NpmPin, PinView, PipPin, npm_location, npm_trees};
use crate::manifest::Manifest;
use crate::model::{Hasher, Platform, Sha256};
use crate::store::Store;
use crate::template::{COMPILE_LINE, RESERVED, Rendered};

/// What a context is made from.
#[derive(Clone, Copy, Debug)]
pub struct ContextRequest<'a> {
    /// The manifest, for what is not in the lock: where things go.
    pub manifest: &'a Manifest,
    /// The pins.
    pub lock: &'a Lockfile,
    /// For which platform.
    pub platform: Platform,
    /// The Containerfile.
    pub rendered: &'a Rendered,
    /// The project's own files.
    pub project: &'a Project,
    /// Where the artifacts are.
    pub store: &'a Store,
}

impl<'a> ContextRequest<'a> {
    /// The base image's manifest for the platform; nothing when the lock stands on packages alone.
    fn base_manifest(&self) -> Result<Option<&'a BaseManifest>, AssembleError> {
        match &self.lock.base {
            BasePin::Debian { .. } => Ok(None),
            BasePin::Image { manifests, .. } => manifests.get(&self.platform).map(Some).ok_or(AssembleError::NoBase),
        }
    }
}

/// A build context, planned but not staged.
#[derive(Clone, Debug)]
pub struct Context {
    entries: BTreeMap<String, Entry>,
    /// Paths in the image that npm's tree owns.
    pub npm_roots: Vec<String>,
    /// Paths in the image that the Python environment owns.
    pub pip_roots: Vec<String>,
    /// Paths in the image that the project's files fill.
    pub file_roots: Vec<String>,
    /// How byte code is made, where there is a Python environment.
    pub byte_code: Option<ByteCode>,
}

/// The step that makes byte code: for each directory of packages what it makes is a function of that directory alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteCode {
    /// The command line, as it stands behind RUN.
    pub line: String,
    /// The packages' directory, absolute.
    pub directory: String,
    /// How the paths begin that are enough to run it.
    pub sees: Vec<String>,
}

/// When blobs of the store are hashed that go into a staged context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashed {
    /// Before they are staged.
    First,
    /// By the reader, which holds what it reads against their digests.
    ByReader,
}

#[derive(Clone, Debug)]
enum Entry {
    Directory,
    Text { mode: u32, bytes: Vec<u8> },
    Blob { digest: Sha256 },
    Host { location: PathBuf, mode: u32, digest: Sha256 },
    Link(String),
}

/// Plans the context: unpacks what is not kept yet, hashes everything.
///
/// # Errors
/// When an artifact is missing or damaged, or is not what its pin says.
pub fn assemble(request: &ContextRequest<'_>) -> Result<Context, AssembleError> {
    let staged = |(path, file): (&String, &ProjectFile)| (format!("context/{path}"), file.clone().into());
    let mut entries: BTreeMap<String, Entry> = request.project.files.iter().map(staged).collect();
    entries.insert("context".to_owned(), Entry::Directory);
    let text = request.rendered.text.clone().into_bytes();
    entries.insert("Containerfile".to_owned(), Entry::Text { mode: 0o644, bytes: text });
    let mut own = Own { entries: &mut entries };
    own.text("steps/env", variables(&request.rendered.instructions.variables));
    let (system, npm, pip) = parts(request)?;
    own.tar("system", &system);
    if let Some(scripted) = &npm.scripted {
        own.tar("npm-scripted", scripted);
        own.script("steps/npm-scripts", scripted);
    }
    if let Some(others) = &npm.others {
        own.tar("npm", others);
    }
    if let Some(pip) = &pip {
        own.tar("pip", pip);
        own.script("steps/compile", pip);
    }
    entries.insert(RESERVED.to_owned(), Entry::Directory);
    entries.insert(format!("{RESERVED}/steps"), Entry::Directory);
    let byte_code = pip.as_ref().and_then(|part| byte_code(request, part));
    Ok(Context {
        entries,
        npm_roots: npm.scripted.into_iter().chain(npm.others).flat_map(|part| part.roots).collect(),
        pip_roots: pip.map(|part| part.roots).unwrap_or_default(),
        file_roots: request.project.roots.clone(),
        byte_code,
    })
}

impl Context {
    /// The tars with the files of locked packages, which are blobs of the store.
    pub fn package_tars(&self) -> Vec<Sha256> {
        let tar = |(_, entry): (&String, &Entry)| match entry {
            Entry::Blob { digest } => Some(*digest),
            Entry::Directory | Entry::Text { .. } | Entry::Host { .. } | Entry::Link(_) => None,
        };
        self.entries.iter().filter_map(tar).collect()
    }

    /// Bytes of all its files, where blobs of the store are whole.
    pub fn size(&self, store: &Store) -> u64 {
        let size = |entry: &Entry| match entry {
            Entry::Text { bytes, .. } => bytes.len() as u64,
            Entry::Blob { digest } => fs::metadata(store.blob_path(digest)).map_or(0, |found| found.len()),
            Entry::Host { location, .. } => fs::metadata(location).map_or(0, |found| found.len()),
            Entry::Directory | Entry::Link(_) => 0,
        };
        self.entries.values().map(size).sum()
    }

    /// The sha256 of every file, by its path in the context.
    pub fn digests(&self) -> BTreeMap<String, Sha256> {
        let digest = |(path, entry): (&String, &Entry)| {
            let digest = match entry {
                Entry::Text { bytes, .. } => Sha256::of(bytes),
                Entry::Blob { digest } | Entry::Host { digest, .. } => *digest,
                Entry::Directory | Entry::Link(_) => return None,
            };
            Some((path.clone(), digest))
        };
        self.entries.iter().filter_map(digest).collect()
    }

    /// One digest over every path, kind, mode and content; independent of machine, umask, times and directory order.
    pub fn digest(&self) -> Sha256 {
        let mut hasher = Hasher::default();
        hasher.field("oclock context 1");
        for (path, entry) in &self.entries {
            hasher.field(path);
            let (kind, mode, content) = match entry {
                Entry::Directory => ("directory", 0o755, String::new()),
                Entry::Text { mode, bytes } => ("file", *mode, Sha256::of(bytes).to_string()),
                Entry::Blob { digest } => ("file", 0o644, digest.to_string()),
                Entry::Host { mode, digest, .. } => ("file", *mode, digest.to_string()),
                Entry::Link(target) => ("link", 0o777, target.clone()),
            };
            hasher.field(kind);
            hasher.field(format!("{mode:o}"));
            hasher.field(content);
        }
        hasher.finish()
    }

    /// Hashes every blob of the store that the context has.
    ///
    /// # Errors
    /// When one is missing or damaged.
    pub fn verify_blobs(&self, store: &Store) -> Result<(), AssembleError> {
        self.package_tars().iter().try_for_each(|digest| Ok(store.open_blob(digest).map(drop)?))
    }

    /// Writes the context into a new directory. A blob of the store is hashed by whoever reads it, or before, as `hashed` says.
    ///
    /// # Errors
    /// When the directory cannot be written, a blob is damaged, or a file of the project changed meanwhile.
    pub fn stage(&self, directory: &Path, store: &Store, hashed: Hashed) -> Result<(), AssembleError> {
        ensure_directory(directory)?;
        set_mode(directory, 0o755)?;
        for (path, entry) in &self.entries {
            let target = directory.join(path);
            match entry {
                Entry::Directory => {
                    ensure_directory(&target)?;
                    set_mode(&target, 0o755)?;
                }
                Entry::Text { mode, bytes } => {
                    fs::write(&target, bytes).map_err(FsError::new("write", &target))?;
                    set_mode(&target, *mode)?;
                }
                Entry::Blob { digest } => stage_blob(digest, &target, store, hashed)?,
                Entry::Host { location, mode, digest } => stage_file(location, *mode, digest, &target)?,
                Entry::Link(to) => symlink(to, &target).map_err(FsError::new("link", &target))?,
            }
        }
        Ok(())
    }
}

/// Copies by reflink or in the kernel where the file system can; the copy is hashed, not the original.
fn stage_blob(digest: &Sha256, target: &Path, store: &Store, hashed: Hashed) -> Result<(), AssembleError> {
    let path = store.blob_path(digest);
    if hashed == Hashed::First {
        store.open_blob(digest)?;
    }
    if fs::hard_link(&path, target).is_err() {
        fs::copy(&path, target).map_err(FsError::new("copy", &path))?;
        set_mode(target, 0o644)?;
    }
    Ok(())
}

fn stage_file(location: &Path, mode: u32, digest: &Sha256, target: &Path) -> Result<(), AssembleError> {
    fs::copy(location, target).map_err(FsError::new("copy", location))?;
    set_mode(target, mode)?;
    let mut copy = fs::File::open(target).map_err(FsError::new("read", target))?;
    let (found, _) = Sha256::of_reader(&mut copy).map_err(FsError::new("read", target))?;
    if found == *digest {
        return Ok(());
    }
    let changed = io::Error::other("it changed while the context was assembled");
    Err(FsError::new("copy", location)(changed).into())
}

impl From<ProjectFile> for Entry {
    fn from(file: ProjectFile) -> Self {
        match file {
            ProjectFile::Directory => Self::Directory,
            ProjectFile::Regular { location, mode, digest, .. } => Self::Host { location, mode, digest },
            ProjectFile::Link(target) => Self::Link(target),
        }
    }
}

struct Own<'a> {
    entries: &'a mut BTreeMap<String, Entry>,
}

impl Own<'_> {
    fn text(&mut self, path: &str, text: String) {
        self.entries.insert(format!("{RESERVED}/{path}"), Entry::Text { mode: 0o644, bytes: text.into_bytes() });
    }

    fn tar(&mut self, name: &str, part: &Part) {
        self.entries.insert(format!("{RESERVED}/{name}.tar"), Entry::Blob { digest: part.digest });
    }

    fn script(&mut self, path: &str, part: &Part) {
        if let Some(script) = &part.script {
            self.text(path, script.clone());
        }
    }
}

fn variables(names: &[String]) -> String {
    names.iter().map(|name| format!("{name}\n")).collect()
}

fn question(request: &ContextRequest<'_>, kind: &str, pins: &[PinView<'_>]) -> Hasher {
    let mut hasher = Hasher::default();
    for field in [ASSEMBLY_VERSION, kind, &request.platform.to_string(), &request.lock.epoch.to_string()] {
        hasher.field(field);
    }
    for pin in pins {
        hasher.field(pin.name.as_str());
        hasher.field(pin.version.as_str());
        hasher.field(pin.artifact.sha256.as_bytes());
        hasher.field(if pin.required_by.iter().any(|by| by == crate::lock::MANIFEST) { "asked" } else { "" });
    }
    hasher
}

/// Debian's part, npm's and Python's, made side by side. Where several fail, the first of them in this order is told.
fn parts(request: &ContextRequest<'_>) -> Result<(Part, NpmParts, Option<Part>), AssembleError> {
    std::thread::scope(|scope| {
        let (npm, pip) = (scope.spawn(|| npm_parts(request)), scope.spawn(|| pip_part(request)));
        let (system, npm, pip) = (system_part(request), npm.join(), pip.join());
        Ok((
            system?,
            npm.unwrap_or_else(|panic| resume_unwind(panic))?,
            pip.unwrap_or_else(|panic| resume_unwind(panic))?,
        ))
    })
}

fn system_part(request: &ContextRequest<'_>) -> Result<Part, AssembleError> {
    let pins: Vec<&AptPin> = request.lock.apt.iter().filter(|pin| pin.platform == request.platform).collect();
    let views: Vec<PinView<'_>> = pins.iter().map(|pin| pin.view()).collect();
    let mut key = question(request, "system", &views);
    key.field(apt::recipe().as_bytes());
    let base = request.base_manifest()?;
    for layer in base.into_iter().flat_map(|manifest| &manifest.layers) {
        key.field(layer.diff_id.as_bytes());
    }
    let key = key.finish();
    part("system", &key, request.lock.epoch, request.store, |out: &mut PartWriter| {
        let image = base.map(|manifest| BaseImage::read(manifest, request.store)).transpose()?;
        let base = image.as_ref().map(|image| apt::BaseFiles { tree: &image.tree, times: &image.times });
        let tree = apt::AptTreeRequest { pins: &pins, platform: request.platform, epoch: request.lock.epoch, base };
        apt::write_root(&tree, request.store, out)?;
        Ok(Written { roots: Vec::new(), script: None })
    })
}

/// What npm installs. A directory's packages whose scripts run come first, and the scripts before the rest: a pin that has
/// nothing to do with them does not run them again.
struct NpmParts {
    scripted: Option<Part>,
    others: Option<Part>,
}

fn npm_parts(request: &ContextRequest<'_>) -> Result<NpmParts, AssembleError> {
    let pins: Vec<&NpmPin> = request.lock.npm.iter().filter(|pin| pin.platform == request.platform).collect();
    npm::check_places(&request.manifest.npm, &pins)?;
    let trees = npm_trees(request.lock, &request.manifest.npm, request.platform);
    let part = |runs_scripts: bool| {
        let wanted = trees.iter().filter(|(_, runs)| **runs == runs_scripts);
        npm_part(request, &pins, &wanted.map(|(directory, _)| directory.as_str()).collect::<Vec<_>>(), runs_scripts)
    };
    Ok(NpmParts { scripted: part(true)?, others: part(false)? })
}

/// The trees of npm's packages in some directories; `all` are the pins of the platform.
fn npm_part(
    request: &ContextRequest<'_>,
    all: &[&NpmPin],
    directories: &[&str],
    runs_scripts: bool,
) -> Result<Option<Part>, AssembleError> {
    if directories.is_empty() {
        return Ok(None);
    }
    let is_here = |place: &&String| directories.iter().any(|directory| npm_location(place, directory).is_some());
    let pins = all.iter().filter(|pin| pin.places.iter().any(|place| is_here(&place)));
    let views: Vec<PinView<'_>> = pins.clone().map(|pin| pin.view()).collect();
    let mut key = question(request, "npm", &views);
    for place in pins.flat_map(|pin| &pin.places).filter(is_here).map(String::as_str).chain(directories.iter().copied())
    {
        key.field(place);
    }
    let section = &request.manifest.npm;
    key.field(format!("{section:?}"));
    part("npm", &key.finish(), request.lock.epoch, request.store, |out: &mut PartWriter| {
        let tree = npm::write_trees(section, all, |directory| directories.contains(&directory), request.store, out)?;
        if let Some(npm::NpmScript { package, event, .. }) = tree.scripts.first().filter(|_| !runs_scripts) {
            let (package, event) = (package.clone(), event.clone());
            return Err(npm::NpmAssembleError::UnlockedScript { package, event }.into());
        }
        Ok(Written { roots: tree.roots, script: npm_script(&tree.scripts) })
    })
    .map(Some)
}

/// The approved scripts as npm runs them: in the package's directory, with its lifecycle event named.
fn npm_script(scripts: &[npm::NpmScript]) -> Option<String> {
    let line = |script: &npm::NpmScript| {
        let (directory, event, bin) =
            (quote(&script.directory), quote(&script.event), quote(&bin_path(&script.directory)));
        let variables =
            format!("npm_lifecycle_event={event} npm_config_offline=true HOME=/.oclock/home PATH={bin}:\"$PATH\"");
        format!("(cd {directory} && env {variables} sh -c {})\n", quote(&script.command))
    };
    let lines: String = scripts.iter().map(line).collect();
    (!scripts.is_empty()).then(|| format!("set -eu\nmkdir -p /.oclock/home\n{lines}rm -rf /.oclock/home\n"))
}

/// Where a package's scripts find the commands of what is installed with it: in its own directory and in each above that has a
/// `node_modules`, as npm has it.
fn bin_path(directory: &str) -> String {
    let above = directory.rmatch_indices("/node_modules/").map(|(at, _)| &directory[..at]);
    let bins: Vec<String> =
        std::iter::once(directory).chain(above).map(|at| format!("{at}/node_modules/.bin")).collect();
    bins.join(":")
}

fn script_of(command: &[String]) -> String {
    let words: Vec<String> = command.iter().map(|word| quote(word)).collect();
    format!("set -eu\n{}\n", words.join(" "))
}

/// One word for the shell, whatever is in it.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn major_minor(version: &str) -> Option<(u16, u16)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

const DEBIAN_PYTHON: &str = "/usr/bin/python3";
const LOCAL_PYTHON: &str = "/usr/local/bin/python3";

/// The Python that an environment is made for.
struct Python {
    /// In full, such as `3.13.5`.
    version: String,
    executable: &'static str,
}

/// Debian's Python where one is pinned or in the base, else the one that the base brings below `/usr/local`.
fn python(request: &ContextRequest<'_>) -> Result<Python, AssembleError> {
    let said = crate::lock::python_version(request.lock, request.manifest, request.platform);
    let Some(manifest) = request.base_manifest()? else {
        return said.map(|version| Python { version, executable: DEBIAN_PYTHON }).ok_or(AssembleError::NoPython);
    };
    let facts = BaseFacts::read(manifest, request.store)?;
    let is_pinned = crate::lock::pinned_upstream(&request.lock.apt, "python3", request.platform).is_some();
    let installed = facts.installed_upstream("python3");
    if !is_pinned && installed.is_none() && facts.has_local_python {
        let config = BaseConfig::read(manifest, request.store)?;
        let version = said.or_else(|| config.variable(PYTHON_VARIABLE).map(str::to_owned));
        return version.map(|version| Python { version, executable: LOCAL_PYTHON }).ok_or(AssembleError::NoPython);
    }
    said.or(installed).map(|version| Python { version, executable: DEBIAN_PYTHON }).ok_or(AssembleError::NoPython)
}

/// What the shell and the interpreter of a Debian root are made of: nothing that Debian's scripts change.
const INTERPRETER: &[&str] = &[
    "/.oclock/clean",
    "/.oclock/compile",
    "/.oclock/env",
    "/.oclock/step",
    "/bin",
    "/lib",
    "/usr/bin/dash",
    "/usr/bin/env",
    "/usr/bin/python3",
    "/usr/bin/setsid",
    "/usr/bin/sh",
    "/usr/lib64",
    "/usr/lib/python3.",
];
/// What an interpreter below `/usr/local` needs besides.
const LOCAL_INTERPRETER: &[&str] =
    &["/etc/ld.so.cache", "/usr/local/bin/python3", "/usr/local/lib/libpython3", "/usr/local/lib/python3."];
const LIBRARIES: &[&str] =
    &["ld-", "libc.", "libdl.", "libexpat.", "libm.", "libpthread.", "librt.", "libutil.", "libz."];

fn byte_code(request: &ContextRequest<'_>, part: &Part) -> Option<ByteCode> {
    let Python { version, executable } = python(request).ok()?;
    let (major, minor) = major_minor(&version)?;
    let local = if executable == DEBIAN_PYTHON { &[] } else { LOCAL_INTERPRETER };
    let libraries = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        .iter()
        .flat_map(|triplet| LIBRARIES.iter().map(move |library| format!("/usr/lib/{triplet}/{library}")));
    Some(ByteCode {
        line: COMPILE_LINE.to_owned(),
        directory: format!("{}/lib/python{major}.{minor}/site-packages", part.roots.first()?),
        sees: INTERPRETER.iter().chain(local).map(|path| (*path).to_owned()).chain(libraries).collect(),
    })
}

fn pip_part(request: &ContextRequest<'_>) -> Result<Option<Part>, AssembleError> {
    let pins: Vec<&PipPin> = request.lock.pip.iter().filter(|pin| pin.platform == request.platform).collect();
    if pins.is_empty() {
        return Ok(None);
    }
    let Python { version: python, executable } = python(request)?;
    let minor = major_minor(&python).ok_or(AssembleError::NoPython)?;
    let views: Vec<PinView<'_>> = pins.iter().map(|pin| pin.view()).collect();
    let mut key = question(request, "pip", &views);
    key.field(&request.manifest.pip.path);
    key.field(&python);
    for built in pins.iter().filter_map(|pin| pin.built.as_ref()) {
        key.field(built.sha256.as_bytes());
    }
    key.field(pip::recipe().as_bytes());
    if executable != DEBIAN_PYTHON {
        key.field(executable);
    }
    let mut laid = None;
    let part = part("pip", &key.finish(), request.lock.epoch, request.store, |out: &mut PartWriter| {
        let spec =
            pip::VenvSpec { path: &request.manifest.pip.path, python: minor, python_version: &python, executable };
        let tree = pip::write_environment(&spec, &pins, request.store, out)?;
        laid = Some(tree.laid);
        Ok(Written { roots: tree.roots, script: Some(script_of(&tree.compile)) })
    })?;
    if let Some(laid) = laid {
        laid.keep(&part.digest, request.store)?;
    }
    Ok(Some(part))
}
