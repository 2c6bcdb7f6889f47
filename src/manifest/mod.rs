//! oclock.toml: what is asked for. People write it; this module reads it and says where it is wrong.

mod model;

pub use model::*;
