//! oclock turns a short manifest into a container image whose digest is a function of the lockfile alone.
//!
//! Data goes one way; each arrow is one module with one public door:
//!
//! ```text
//! oclock.toml ──resolve──▶ lockfile.toml ──fetch──▶ store ──assemble──▶ context ──engine──▶ rootfs ──seal──▶ image
//! ```
//!
//! The modules are listed in the order in which they may import each other: a module knows those above it and none
//! below it (`tests/architecture.rs` reads the sources and says so).

pub mod base;
pub mod model;

pub mod manifest;

pub mod lock;

pub mod template;

pub mod store;

pub mod source;

pub mod resolve;

pub mod fetch;

pub mod assemble;

pub mod engine;

pub mod image;

pub mod attest;

pub mod audit;

pub mod ops;

pub mod report;

pub mod cli;
