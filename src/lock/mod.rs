//! lockfile.toml: what was chosen, everything that is needed to build it again, and nothing else.
//!
//! Reading and writing again gives the same bytes (docs/lockfile.md). It knows no source, no store and no network:
//! whether a lock answers a manifest and how two locks differ is worked out from the two values alone.

mod asked;
mod bump;
mod check;
mod diff;
mod error;
mod fingerprint;
mod form;
mod keep;
mod lines;
mod model;
mod npm_trees;
mod read;
mod require;
#[cfg(test)]
mod sample;
mod satisfy;
mod target;
mod write;

pub use asked::{Asked, Asker, AskerName, Askers, Names, PinKey, names};
pub use bump::{Bump, bump, compare_versions};
pub use check::check_lockfile;
pub use diff::{Direction, LockDiff, PinChange, PinDiff, PinSide, diff};
pub use error::LockError;
pub use fingerprint::fingerprints;
pub use form::{is_buildable, is_npm_path, wheel_path};
pub use keep::Keep;
pub use lines::LockLines;
pub use model::*;
pub use npm_trees::{global_directory, npm_location, npm_trees};
pub use read::parse_lockfile;
pub use require::Requirements;
pub use satisfy::{Drift, Finding, PinName, check};
pub use target::{pinned_upstream, python_version, upstream_version};
pub use write::render_lockfile;
