//! The build context as a pure function of lockfile, store and the project's `context/`: canonical tars that are ready to
//! be layers, and the rendered Containerfile. No network, no clock, nothing of the host.

pub mod apt;
mod base_image;
mod context;
mod error;
pub mod files;
pub mod npm;
mod parts;
pub mod pip;

pub use base_image::{BaseConfig, BaseFacts, BaseImage, BaseImageError, NODE_VARIABLE, PYTHON_VARIABLE};
pub use context::{ByteCode, Context, ContextRequest, Hashed, assemble};
pub use error::AssembleError;
pub use files::{Project, ProjectFile};
