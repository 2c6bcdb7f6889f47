//! Where bytes come from: the sources that the user's own clients know, and what `[sources]` adds or overrides.
//!
//! Names no host: defaults are read from client configuration by kept libraries, or asked of the pip or uv on the PATH.

mod model;

pub use model::*;
