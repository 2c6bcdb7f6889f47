//! oclock.toml: what is asked for. People write it; this module reads it and says where it is wrong.
//!
//! It knows the languages of requirements and not which versions there are.

mod model;
mod parse;
mod place;
mod policy;
mod requirement;

pub use model::*;
pub use parse::{KEYS, ManifestError, parse_manifest, parse_settings};
pub use place::{ManifestFile, Place};
pub use requirement::{
    AptChoice, AptRequirement, NpmRequirement, PipRequirement, WheelUrl, check_override_wish, is_like,
    parse_override_key, parse_pip_constraint, parse_pip_release, parse_pip_requirement, parse_suite, pip_accepts,
    split_override_key,
};
