//! A file system with next to no room, to see what becomes of writes that fail half-way. Needs root, as the tests run.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Mounted until dropped.
pub struct FullDisk {
    at: PathBuf,
}

impl FullDisk {
    /// Mounts a tmpfs of 64 KiB over a directory.
    pub fn over(directory: &Path) -> Self {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(directory).status();
        assert!(mount.unwrap().success(), "this test mounts a tmpfs and needs to run as root");
        Self { at: directory.to_owned() }
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.at).status().ok();
    }
}
