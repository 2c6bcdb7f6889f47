//! Debian packages unpacked into one canonical tar, as `dpkg --unpack` would leave them, without running anything.
//!
//! It owns the rules by which dpkg unpacks (which file wins, what its database says) and the scripts that finish the work
//! inside the image. It knows nothing of how versions were chosen, and nothing of engines: what runs there is data in the tar.
//!
//! On a base image nothing is unpacked here: its own dpkg does it inside, because that alone obeys its configuration
//! (`path-exclude`), diversions and overrides, and can put newer versions in the place of installed ones.
//!
//! The tar holds the tree, sorted by path, and then `/.oclock`: `step` (the shell of every RUN), `configure` with its plan,
//! and the packages whose preinst must see the tree before they are unpacked, which dpkg unpacks inside.

mod base_files;
mod contents;
mod control;
mod database;
mod deb;
mod error;
mod plan;
mod preinst;
mod tree;
mod version;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use base_files::BaseFiles;
pub use contents::package_contents;
pub use error::AptAssembleError;

use crate::base::fs::scratch_file;
use crate::base::tar::{Special, TarMeta, TarWriter};
use crate::lock::AptPin;
use crate::model::{Platform, Sha256};
use crate::store::Store;
use deb::{Deb, Spool};
use tree::{Content, Meta, NodeKind, Tree};

/// What runs inside: part of the question that a kept tree answers.
pub(super) fn recipe() -> Sha256 {
    Sha256::of([CLEAN, STEP, CONFIGURE].concat())
}

const CLEAN: &str = include_str!("scripts/clean");
const STEP: &str = include_str!("scripts/step");
const CONFIGURE: &str = include_str!("scripts/configure");
/// On a base dpkg unpacks all packages, and reads its whole database for each run: one run takes many of them.
const UNPACK_ONE: &str = "--unpack \"$apt/debs/$arguments\"";
const UNPACK_MANY: &str = "--unpack $arguments";

/// Where oclock's own files are in the image while it is built.
const OWN: &str = ".oclock";
/// Memory for decoding is bounded by this, whatever the machine has.
const WORKERS_MAX: usize = 8;

/// Which packages are to be unpacked onto what.
#[derive(Clone, Copy, Debug)]
pub struct AptTreeRequest<'a> {
    /// The packages, in any order.
    pub pins: &'a [&'a AptPin],
    /// The platform that all of them are for.
    pub platform: Platform,
    /// SOURCE_DATE_EPOCH for scripts, in seconds since 1970. The times of files are the writer's.
    pub epoch: i64,
    /// The base image's files, when not from an empty root: they are the lowest part of the tar.
    pub base: Option<BaseFiles<'a>>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AptTree {
    /// How many packages are in the tar.
    pub packages: usize,
    /// Names of those that dpkg itself unpacks inside, because their preinst must see the tree as it was before.
    pub deferred: Vec<String>,
    /// The command that brings the packages to the state `installed`, for an exec-form RUN.
    pub configure: Vec<String>,
    /// The words of the SHELL instruction that makes every RUN a closed step.
    pub shell: Vec<String>,
}

/// Writes the unpacked packages and all that is needed to configure them. Ends no archive: the caller calls `finish`.
///
/// # Errors
/// When a package is missing, damaged, not the one pinned, or brings what must not be unpacked; when the set does not fit
/// together; when writing fails.
pub fn write_root<W: Write>(
    request: &AptTreeRequest<'_>,
    store: &Store,
    out: &mut TarWriter<W>,
) -> Result<AptTree, AptAssembleError> {
    let pins = unpack_order(request)?;
    let debs = read_debs(&pins, store)?;
    let failed = |source| AptAssembleError::Write { source };
    let (deferred, plan) = match &request.base {
        Some(base) => {
            base.write(request.epoch, out).map_err(failed)?;
            let deferred = deferred_files(&debs, (0..debs.len()).collect());
            let plan = plan::render_plan(&debs, &deferred, &BTreeSet::new());
            let plan = plan::join_unpacking(&plan, &format!("/{OWN}/apt/debs"));
            (deferred, plan)
        }
        None => {
            let essential = plan::essential_closure(&debs);
            let deferred = deferred_files(&debs, preinst::deferred(&debs, &essential));
            write_tree(&unpack(&debs, &deferred)?, out).map_err(failed)?;
            let plan = plan::render_plan(&debs, &deferred, &essential);
            (deferred, plan)
        }
    };
    write_own_files(request, &debs, &deferred, &plan, out).map_err(failed)?;
    for (index, file) in &deferred {
        write_deferred(pins[*index], file, store, out)?;
    }
    let own = |name: &str| format!("/{OWN}/{name}");
    Ok(AptTree {
        packages: debs.len(),
        deferred: deferred.keys().map(|index| debs[*index].name.clone()).collect(),
        configure: vec!["/bin/sh".into(), own("configure")],
        shell: vec!["/bin/sh".into(), own("step")],
    })
}

/// Unpacks all that is not deferred onto an empty root.
fn unpack(debs: &[Deb], deferred: &BTreeMap<usize, String>) -> Result<Tree, AptAssembleError> {
    let mut tree = Tree::default();
    let mut unpacked = Vec::new();
    for (_, deb) in debs.iter().enumerate().filter(|(index, _)| !deferred.contains_key(index)) {
        unpacked.push((deb, tree.unpack(deb)?));
    }
    for mount in ["dev", "proc", "sys", "run"] {
        tree.ensure_directory(mount, 0o755);
    }
    tree.ensure_directory("tmp", 0o1777);
    database::put_database(&mut tree, &unpacked)?;
    Ok(tree)
}

/// base-files first, because it brings the links and directories that others go through; base-passwd next; the rest by name.
fn unpack_order<'a>(request: &AptTreeRequest<'a>) -> Result<Vec<&'a AptPin>, AptAssembleError> {
    let mut pins = request.pins.to_vec();
    let rank = |pin: &AptPin| match pin.name.as_str() {
        "base-files" => 0,
        "base-passwd" => 1,
        _ => 2,
    };
    pins.sort_by(|left, right| (rank(left), &left.name).cmp(&(rank(right), &right.name)));
    let twice = pins.windows(2).find(|pair| pair[0].name == pair[1].name);
    if let Some(pair) = twice {
        return Err(AptAssembleError::Twice { package: pair[0].name.clone() });
    }
    let platform = request.platform.architecture.as_str();
    for pin in &pins {
        if pin.platform != request.platform || !["all", platform].contains(&pin.architecture.as_str()) {
            let found = format!("{} of {}", pin.architecture, pin.platform);
            let (package, locked) = (pin.name.clone(), request.platform.to_string());
            return Err(AptAssembleError::Mismatch { package, field: "Architecture", locked, found });
        }
    }
    Ok(pins)
}

/// Reads all packages on all cores; the result is in the order of `pins`.
fn read_debs(pins: &[&AptPin], store: &Store) -> Result<Vec<Deb>, AptAssembleError> {
    // The largest first, so that no core is left alone with one at the end.
    let mut queue: Vec<usize> = (0..pins.len()).collect();
    queue.sort_by_key(|index| std::cmp::Reverse(pins[*index].artifact.size));
    let next = AtomicUsize::new(0);
    let done: Vec<Mutex<Option<Result<Deb, AptAssembleError>>>> = pins.iter().map(|_| Mutex::default()).collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX).min(pins.len().max(1));
    let spools = (0..workers).map(|_| new_spool(store)).collect::<Result<Vec<_>, _>>()?;
    std::thread::scope(|scope| {
        for mut spool in spools {
            let (queue, next, done) = (&queue, &next, &done);
            scope.spawn(move || {
                while let Some(&index) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let deb = Deb::read(pins[index], store, &mut spool);
                    *done[index].lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(deb);
                }
            });
        }
    });
    let lost = || AptAssembleError::Write { source: io::Error::other("a reading thread ended early") };
    done.into_iter()
        .map(|slot| slot.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).unwrap_or_else(|| Err(lost())))
        .collect()
}

fn new_spool(store: &Store) -> Result<Spool, AptAssembleError> {
    let file = scratch_file(&store.root().join("tmp"))?;
    Spool::new(file).map_err(|source| AptAssembleError::Write { source })
}

/// The packages left to dpkg, with the names of their files in the tar.
fn deferred_files(debs: &[Deb], deferred: BTreeSet<usize>) -> BTreeMap<usize, String> {
    deferred.into_iter().map(|index| (index, format!("{index:04}_{}.deb", debs[index].name))).collect()
}

fn write_tree<W: Write>(tree: &Tree, out: &mut TarWriter<W>) -> io::Result<()> {
    let mut written: Vec<Option<&[u8]>> = vec![None; tree.inode_count()];
    for (bytes, node) in tree.entries() {
        let path = Path::new(OsStr::from_bytes(bytes));
        let meta = tar_meta(node.meta);
        match &node.kind {
            NodeKind::Directory => out.directory(path, &meta)?,
            NodeKind::Symlink(target) => out.symlink(path, &meta, OsStr::from_bytes(target))?,
            NodeKind::Fifo => out.special(path, &meta, Special::Fifo)?,
            NodeKind::File(inode) => match (written[*inode], tree.content(*inode)) {
                (Some(first), _) => out.hard_link(path, &meta, Path::new(OsStr::from_bytes(first)))?,
                (None, content) => {
                    written[*inode] = Some(bytes);
                    match content {
                        Content::Extent(extent) => out.file(path, &meta, extent.size, &mut extent.reader())?,
                        Content::Bytes(text) => out.file(path, &meta, text.len() as u64, &mut text.as_slice())?,
                    }
                }
            },
        }
    }
    Ok(())
}

fn tar_meta(meta: Meta) -> TarMeta {
    TarMeta { mode: meta.mode, uid: meta.uid, gid: meta.gid, ..TarMeta::default() }
}

/// Writes `/.oclock`: scripts, their environment and the plan.
fn write_own_files<W: Write>(
    request: &AptTreeRequest<'_>,
    debs: &[Deb],
    deferred: &BTreeMap<usize, String>,
    plan: &str,
    out: &mut TarWriter<W>,
) -> io::Result<()> {
    for directory in ["", "/apt", "/apt/control", "/apt/debs"] {
        out.directory(Path::new(&format!("{OWN}{directory}")), &TarMeta::root(0o755))?;
    }
    let mut file = |name: &str, mode: u32, bytes: &[u8]| {
        let path = format!("{OWN}/{name}");
        out.file(Path::new(&path), &TarMeta::root(mode), bytes.len() as u64, &mut &*bytes)
    };
    file("clean", 0o755, CLEAN.as_bytes())?;
    let configure = match request.base {
        None => CONFIGURE.to_owned(),
        Some(_) => CONFIGURE.replacen(UNPACK_ONE, UNPACK_MANY, 1),
    };
    file("configure", 0o755, configure.as_bytes())?;
    file("environment", 0o644, environment(request).as_bytes())?;
    file("step", 0o755, STEP.as_bytes())?;
    file("apt/plan", 0o644, plan.as_bytes())?;
    for (index, deb) in debs.iter().enumerate() {
        if let (Some(_), Some(control)) = (deb.files.get("preinst"), deb.files.get("control"))
            && !deferred.contains_key(&index)
        {
            file(&format!("apt/control/{}", deb.id()), 0o644, &control.bytes)?;
        }
    }
    Ok(())
}

/// The variables of every step, one assignment a line.
fn environment(request: &AptTreeRequest<'_>) -> String {
    let fixed = [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/root",
        "LC_ALL=C.UTF-8",
        "TZ=UTC0",
        "DEBIAN_FRONTEND=noninteractive",
        "DEBCONF_NONINTERACTIVE_SEEN=true",
        "DEBCONF_NOWARNINGS=yes",
        // Hash seeds decide the order in which scripts write what they keep in hashes.
        "PERL_HASH_SEED=0",
        "PERL_PERTURB_KEYS=0",
        "PYTHONHASHSEED=0",
    ];
    // A configuration file that the base changed stays as it is; nobody is there to be asked.
    let force = request.base.map_or("", |_| "DPKG_FORCE=confdef,confold\n");
    format!("{}\n{force}SOURCE_DATE_EPOCH={}\n", fixed.join("\n"), request.epoch)
}

fn write_deferred<W: Write>(
    pin: &AptPin,
    file: &str,
    store: &Store,
    out: &mut TarWriter<W>,
) -> Result<(), AptAssembleError> {
    let mut blob = store.open_blob(&pin.artifact.sha256).map_err(|source| AptAssembleError::Store {
        package: pin.name.clone(),
        version: pin.version.clone(),
        source: Box::new(source),
    })?;
    let failed = |source| AptAssembleError::Write { source };
    let size = blob.metadata().map_err(failed)?.len();
    let path = format!("{OWN}/apt/debs/{file}");
    out.file(Path::new(&path), &TarMeta::root(0o644), size, &mut blob).map_err(failed)
}
