//! lockfile.toml: what was chosen, everything that is needed to build it again, and nothing else.

mod model;
mod target;

pub use model::*;
pub use target::{pinned_upstream, python_version, upstream_version};
