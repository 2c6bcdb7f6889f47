//! The Python environment, laid out ready: a virtual environment as `python3 -m venv --without-pip` and then
//! `pip install --no-deps` of the locked wheels would leave it, as one canonical tar.
//!
//! What differs on purpose: no `activate` scripts (a container sets PATH), no `.gitignore`, console scripts that only import
//! and call, `INSTALLER` says `oclock`, and byte code is compiled inside by a step of its own ([`PipTree::compile`]), because
//! only the image's own interpreter can. No path of the host is written. A wheel is trusted no further than its hash: its
//! RECORD is held against every file, and what would leave or overwrite anything is refused.

mod canonical;
mod environment;
mod error;
mod laid;
mod record;
mod scripts;
mod tree;
mod wheel;

use std::io::Write;

use super::parts::read_ahead;
use crate::base::tar::TarWriter;
use crate::lock::{MANIFEST, PipPin};
use crate::model::{Hasher, Sha256};
use crate::store::Store;

pub use canonical::{CanonicalWheel, canonical_wheel};
pub use error::PipAssembleError;
pub use laid::LaidWheels;

use environment::Layout;
use laid::{FoundFile, wheel_key};
use tree::Tree;
use wheel::Wheel;
pub use wheel::WheelFacts;

/// How many wheels are opened ahead of the one that is being written.
const WHEELS_AHEAD: usize = 4;

/// Where the environment is and which interpreter it is for.
#[derive(Clone, Copy, Debug)]
pub struct VenvSpec<'a> {
    /// The environment's directory, absolute, such as `/opt/venv`.
    pub path: &'a str,
    /// Major and minor version, such as `(3, 13)`.
    pub python: (u16, u16),
    /// The full version, such as `3.13.5`.
    pub python_version: &'a str,
    /// The interpreter it stands on, absolute, such as `/usr/bin/python3`.
    pub executable: &'a str,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipTree {
    /// The absolute directories that everything is below.
    pub roots: Vec<String>,
    /// The command that compiles all byte code inside the image, in parallel and with unchecked hashes, so that neither
    /// times nor cores matter. Files that are no valid Python are left without, as pip leaves them.
    pub compile: Vec<String>,
    /// Where the files of wheels are, to be kept with the tar.
    pub laid: LaidWheels,
}

/// What runs inside: part of the question that a kept environment answers.
pub(super) fn recipe() -> Sha256 {
    let mut hasher = Hasher::default();
    environment::FLAGS.iter().chain([&environment::COMPILE]).for_each(|word| hasher.field(word));
    hasher.finish()
}

/// Writes the environment's entries to `out`: the skeleton, then the wheels in the order of their names.
///
/// # Errors
/// When a wheel is missing, damaged or not to be trusted, or `out` fails. What was written until then is of no use.
pub fn write_environment<W: Write>(
    spec: &VenvSpec<'_>,
    pins: &[&PipPin],
    store: &Store,
    out: &mut TarWriter<W>,
) -> Result<PipTree, PipAssembleError> {
    let layout = Layout::new(spec)?;
    let mut tree = Tree::new(out, &layout);
    environment::write_skeleton(&layout, &mut tree)?;
    let mut pins = pins.to_vec();
    pins.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(twice) = pins.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(PipAssembleError::Twice { name: twice[0].name.clone() });
    }
    let laid = install(&pins, store, &layout, &mut tree)?;
    Ok(PipTree { roots: vec![layout.root.clone()], compile: environment::compile_command(&layout), laid })
}

/// Verifies the wheel of a pin without laying it out: its hash, its archive, that its METADATA names the pin's project and
/// version, and every file against its RECORD.
///
/// # Errors
/// When it is missing, damaged or not to be trusted.
pub fn verify_wheel(pin: &PipPin, store: &Store) -> Result<WheelFacts, PipAssembleError> {
    Wheel::open(pin, store)?.verify()
}

/// A wheel on its way into the environment.
enum Next<'a> {
    /// To be unpacked.
    Wheel(Box<Wheel<'a>>),
    /// In the last environment.
    Laid(Vec<FoundFile<'a>>),
}

/// Installs wheels in order, while a second thread finds or opens the next ones, which means hashing all their bytes.
fn install<W: Write>(
    pins: &[&PipPin],
    store: &Store,
    layout: &Layout,
    tree: &mut Tree<'_, W>,
) -> Result<LaidWheels, PipAssembleError> {
    let mut laid = LaidWheels::new(layout);
    let last = laid.last(store);
    let is_asked = |pin: &PipPin| pin.required_by.iter().any(|by| by == MANIFEST);
    tree.take_files();
    let read = |pin| match last.as_ref().and_then(|last| last.wheel(&wheel_key(pin, is_asked(pin)))) {
        Some(files) => Ok(Next::Laid(files)),
        None => Wheel::open(pin, store).map(|wheel| Next::Wheel(Box::new(wheel))),
    };
    read_ahead(pins.iter().copied(), WHEELS_AHEAD, read, |pin, next| {
        let is_free = |found: &FoundFile<'_>| tree.placed(&found.file.place).is_none();
        let count = match next? {
            Next::Wheel(wheel) => wheel.install(layout, is_asked(pin), tree)?,
            Next::Laid(files) if files.iter().all(is_free) => tree.copy(files, pin.wheel_file())?,
            // Another wheel has brought one of its files: whether it may is for the wheel itself to say.
            Next::Laid(_) => Wheel::open(pin, store)?.install(layout, is_asked(pin), tree)?,
        };
        let files = tree.take_files();
        if files.len() == count {
            laid.insert(wheel_key(pin, is_asked(pin)), files);
        }
        Ok::<_, PipAssembleError>(())
    })?;
    Ok(laid)
}
