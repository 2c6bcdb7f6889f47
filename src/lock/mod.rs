//! lockfile.toml: what was chosen, everything that is needed to build it again, and nothing else.

mod model;

pub use model::*;
