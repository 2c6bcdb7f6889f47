//! The build context as a pure function of lockfile, store and the project's `context/`: canonical tars that are ready to
//! be layers, and the rendered Containerfile. No network, no clock, nothing of the host.

pub mod apt;
pub mod files;
pub mod npm;
pub mod pip;
