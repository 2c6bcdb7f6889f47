//! What several test programs share: registries on loopback, and the real binary in a project of its own.

pub mod advisories;
pub mod based;
pub mod console;
pub mod fake_registry;
pub mod full_disk;
pub mod git;
pub mod image_registry;
pub mod mutations;
pub mod oracle;
pub mod project;
pub mod registries;
pub mod registry_server;
pub mod sdists;
pub mod site;
pub mod wheels;
