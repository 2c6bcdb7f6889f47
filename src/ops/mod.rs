//! One file per verb: `<Verb>Options` in, `<Verb>Outcome` out. No command line, no printing.

mod audit;
mod build;
mod build_all;
mod context;
mod error;
mod fetch;
mod info;
mod init;
mod list;
mod pruned;
mod render;
mod selective;
mod session;
mod store;
mod update;
mod what;
mod why;

pub use audit::{AuditAnswer, AuditOptions, AuditOutcome, Challenge, NotAudited, Signatures, audit};
pub use build::{BuildOptions, BuildOutcome, ImageOutput, Loading, Recording, Reuse, WantDigest, build};
pub use build_all::{BuildAllOutcome, build_all};
pub use context::{ContextOutcome, context};
pub use error::OpsError;
pub use fetch::{FetchReport, fetch};
pub use info::{InfoOutcome, info};
pub use init::{InitOutcome, init};
pub use list::{ListOutcome, ListedPin, list};
pub use render::render;
pub use session::{Paths, Session, SessionOptions};
pub use store::{Repair, StorePath, StoreSize, StoreVerification, store_path, store_size, store_verify};
pub use update::{Pruned, Scope, UpdateMode, UpdateOptions, UpdateOutcome, check, update};
pub use what::What;
pub use why::{AskedBy, Chain, Explained, Link, WhyOutcome, why};
