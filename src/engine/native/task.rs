//! Work on a root's files, done as the room's root: told as JSON, because another process does it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::lay::{Gone, lay};
use super::pack::pack;
use crate::base::process::ProcessError;
use crate::base::sandbox::{Sandbox, remove_tree};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Task {
    /// Changes of a state, as a list says.
    Lay { directory: PathBuf, list: PathBuf, gone: Gone },
    /// A whole directory as one archive.
    Pack { root: PathBuf, archive: PathBuf },
    /// A directory and all below it.
    Remove { path: PathBuf },
}

/// Has a task done.
pub(super) fn run(sandbox: &Sandbox, task: &Task) -> Result<(), ProcessError> {
    let failed = |error: serde_json::Error| ProcessError::Refused {
        what: "describe the work on the root filesystem".into(),
        why: error.to_string(),
    };
    sandbox.run_task(serde_json::to_value(task).map_err(failed)?)
}

/// Does a task: in the process that was started for it.
///
/// # Errors
/// What went wrong, for people.
pub fn run_task(task: Value) -> Result<(), String> {
    let task: Task = serde_json::from_value(task).map_err(|error| error.to_string())?;
    let result = match &task {
        Task::Lay { directory, list, gone } => lay(directory, list, *gone),
        Task::Pack { root, archive } => pack(root, archive),
        Task::Remove { path } => remove_tree(path),
    };
    result.map_err(|error| error.to_string())
}
