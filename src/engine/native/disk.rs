//! The state on the disk, for the steps that must run: directories that overlayfs lays over each other, each step's changes
//! in one of its own; or, where that cannot be, one directory that is changed as a whole.

use std::path::{Path, PathBuf};

use super::archive::Archive;
use super::lay::{Gone, plan_lay};
use super::state::State;
use super::task::{Task, run};
use crate::base::fs::{self, FsError};
use crate::base::process::ProcessError;
use crate::base::sandbox::{Layers, RunOrder, Sandbox};
use crate::base::tree::Tree;
use crate::engine::OnLine;

const ROOT: &str = "root";

/// How a step's result is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// What it changed.
    Changes,
    /// All there is.
    Whole,
}

#[derive(Debug)]
pub(super) struct Disk<'a> {
    sandbox: &'a Sandbox,
    place: PathBuf,
    /// Found out when it is first needed.
    extent: Option<Extent>,
    /// What the directories hold.
    laid: Tree,
    /// Their names, the highest last.
    layers: Vec<String>,
    count: usize,
}

impl<'a> Disk<'a> {
    /// Uses a directory that need not be there.
    pub(super) fn new(sandbox: &'a Sandbox, place: &Path) -> Self {
        Self { sandbox, place: place.to_owned(), extent: None, laid: Tree::default(), layers: Vec::new(), count: 0 }
    }

    /// Runs a command on the state and writes what came of it to `archive`.
    pub(super) fn run(
        &mut self,
        state: &State,
        archives: &[Archive],
        order: &mut RunOrder,
        archive: &Path,
        on_line: OnLine<'_>,
    ) -> Result<Extent, ProcessError> {
        let extent = self.prepare().map_err(|error| refused(&error))?;
        self.catch_up(state, archives, extent)?;
        order.root = self.place.join(ROOT);
        let changed = match extent {
            Extent::Whole => order.root.clone(),
            Extent::Changes => {
                let upper = self.new_directory("layer").map_err(|error| refused(&error))?;
                let work = self.new_directory("work").map_err(|error| refused(&error))?;
                let lower = self.layers.iter().rev().cloned().collect();
                order.layers = Some(self.overlay(lower, upper.clone(), work));
                self.layers.push(upper.clone());
                self.place.join(upper)
            }
        };
        self.sandbox.run(order, on_line)?;
        run(self.sandbox, &Task::Pack { root: changed, archive: archive.to_owned() })?;
        Ok(extent)
    }

    pub(super) fn sandbox(&self) -> &'a Sandbox {
        self.sandbox
    }

    /// Says that what was run left the disk like this.
    pub(super) fn is_now(&mut self, state: &State) {
        self.laid.clone_from(&state.tree);
    }

    fn prepare(&mut self) -> Result<Extent, FsError> {
        if let Some(extent) = self.extent {
            return Ok(extent);
        }
        for name in [ROOT, "empty", "try", "try-work"] {
            let path = self.place.join(name);
            fs::ensure_directory(&path)?;
            fs::set_mode(&path, 0o755)?;
        }
        let layers = self.overlay(vec!["empty".into()], "try".into(), "try-work".into());
        let extent = if self.sandbox.can_layer(&layers) { Extent::Changes } else { Extent::Whole };
        if extent == Extent::Changes {
            self.layers.push("empty".into());
        }
        self.extent = Some(extent);
        Ok(extent)
    }

    fn overlay(&self, lower: Vec<String>, upper: String, work: String) -> Layers {
        Layers { place: self.place.clone(), lower, upper, work, root: ROOT.into() }
    }

    fn new_directory(&mut self, name: &str) -> Result<String, FsError> {
        self.count += 1;
        let name = format!("{name}{}", self.count);
        let path = self.place.join(&name);
        fs::ensure_directory(&path)?;
        fs::set_mode(&path, 0o755)?;
        Ok(name)
    }

    fn catch_up(&mut self, state: &State, archives: &[Archive], extent: Extent) -> Result<(), ProcessError> {
        let changes = state.changes(&self.laid);
        if changes.is_empty() {
            return Ok(());
        }
        let (name, gone) = match extent {
            Extent::Whole => (ROOT.to_owned(), Gone::Removed),
            Extent::Changes => (self.new_directory("layer").map_err(|error| refused(&error))?, Gone::Hidden),
        };
        let list = self.place.join("list");
        let lay = plan_lay(state, &changes, archives).map_err(|error| refused(&error))?;
        let text = serde_json::to_vec(&lay).map_err(|error| refused(&error))?;
        fs::write_stream(&list, &mut &text[..]).map_err(|error| refused(&error))?;
        run(self.sandbox, &Task::Lay { directory: self.place.join(&name), list, gone })?;
        if extent == Extent::Changes {
            self.layers.push(name);
        }
        self.laid.clone_from(&state.tree);
        Ok(())
    }
}

fn refused(error: &dyn std::error::Error) -> ProcessError {
    let why = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    ProcessError::Refused { what: "lay out the root filesystem".into(), why }
}
