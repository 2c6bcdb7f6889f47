//! One file per verb: `<Verb>Options` in, `<Verb>Outcome` out. No command line, no printing.

mod build;
mod context;
mod error;
mod fetch;
mod first_seen;
mod info;
mod init;
mod list;
mod previous;
mod pruned;
mod rebuild;
mod render;
mod selective;
mod session;
mod store;
mod update;
mod vary;
mod verify;
mod what;
mod why;

pub use build::{BuildOptions, BuildOutcome, ImageOutput, Loading, Recording, Reuse, Steps, WantDigest, build};
pub use context::{ContextOutcome, context};
pub use error::OpsError;
pub use fetch::{FetchReport, fetch};
pub use info::{InfoOutcome, info};
pub use init::{InitOutcome, init};
pub use list::{ListOutcome, ListedPin, list};
pub use rebuild::RebuildOptions;
pub use render::render;
pub use session::{Paths, Session, SessionOptions};
pub use store::{Repair, StorePath, StoreSize, StoreVerification, store_path, store_size, store_verify};
pub use update::{Pruned, Scope, UpdateMode, UpdateOptions, UpdateOutcome, check, update};
pub use vary::Variation;
pub use verify::{Asking, Check, Missing, Verdict, VerifyOptions, VerifyOutcome, verify};
pub use what::What;
pub use why::{AskedBy, Chain, Explained, Link, WhyOutcome, why};
