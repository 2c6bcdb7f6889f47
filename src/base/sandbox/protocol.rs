//! What the stages tell each other, as JSON.

use std::fmt::Display;
use std::io::{self, Read};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::identity::Identity;
use super::limits::Limits;

/// A command and the room it is to have.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunOrder {
    /// The directory that becomes `/`; absolute.
    pub root: PathBuf,
    /// What is laid over each other there; nothing when the directory holds it all.
    pub layers: Option<Layers>,
    /// The program and its arguments; the program is looked for on the PATH of `variables`.
    pub words: Vec<String>,
    /// All of its environment.
    pub variables: Vec<(String, String)>,
    /// The working directory, in the room.
    pub directory: String,
    /// `USER`, `USER:GROUP`, by name or number; root when not given.
    pub user: Option<String>,
    /// The room's host name.
    pub hostname: String,
    /// What it may have.
    pub limits: Limits,
}

/// Directories that overlayfs makes one root of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Layers {
    /// Where they all are; absolute.
    pub place: PathBuf,
    /// Names of those that are only read, the highest first; one at least.
    pub lower: Vec<String>,
    /// The name of the one that takes what is written.
    pub upper: String,
    /// The name of an empty directory for overlayfs itself.
    pub work: String,
    /// The name of the directory that becomes the root.
    pub root: String,
}

/// What can run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resource {
    /// Memory of all processes together.
    Memory,
    /// Processes and threads.
    Processes,
}

/// What `enter` is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub parent: u32,
    pub identity: Identity,
    pub work: Work,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Work {
    /// Make a room and do nothing in it but lay these over each other.
    Probe(Option<Layers>),
    /// Run a command, in these control groups.
    Run { order: RunOrder, groups: Vec<PathBuf> },
    /// Something of the caller's own.
    Task(Value),
}

/// What `init` is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Inside {
    /// The command; nothing for a probe.
    pub order: Option<RunOrder>,
    /// What a probe lays over each other.
    pub layers: Option<Layers>,
    /// Whether no control group holds the limits, so that they must be watched.
    pub is_watched: bool,
}

/// How it ended.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Verdict {
    Exited(i32),
    Signalled(i32),
    TimedOut,
    Exceeded(Resource),
    /// The room could not be made or the command not started.
    Refused(Reason),
}

/// What could not be done and why.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reason {
    pub what: String,
    pub why: String,
}

/// Attaches what could not be done to the system's answer.
pub(super) fn could_not<E: Display>(what: impl Into<String>) -> impl FnOnce(E) -> Reason {
    move |error| Reason { what: what.into(), why: error.to_string() }
}

pub(super) fn read_order<T: DeserializeOwned>(reader: &mut impl Read) -> io::Result<T> {
    let mut text = Vec::new();
    reader.read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}
