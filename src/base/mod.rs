//! What every program needs and nothing of oclock: the only code that writes to the disk, spawns processes, opens
//! sockets or reads the clock. It must not know what a lockfile, a pin or an image is.

pub mod archive;
pub mod clock;
pub mod document;
pub mod environment;
pub mod explain;
pub mod fs;
pub mod http;
pub mod memory;
pub mod path_map;
pub mod process;
pub mod progress;
pub mod sandbox;
pub mod tar;
pub mod text;
pub mod tree;
pub mod untar;
pub mod zip;
