//! The built-in engine: carries out the Containerfile itself on an unpacked root, with nothing installed.
//!
//! A Containerfile becomes a list of [`Step`]s, plain values that hold all that decides what they do; each is then carried
//! out on a root directory in turn. Commands run in a closed room (`base/sandbox`); files are put into the root by tasks
//! that see its owners as the room does. Both are this program started again with a hidden argument (`oclock __step …`),
//! which is no command of the user's.

mod copy;
mod pack;
mod plan;
mod root;
mod task;
mod unpack;

use std::path::{Path, PathBuf};

use super::containerfile::{Containerfile, parse_containerfile};
use super::{BuildRequest, BuiltRoot, Engine, EngineError, OnLine, RootLayer, Unusable};
use crate::base::environment::Environment;
use crate::base::fs;
use crate::base::process::{Cleanup, ProcessError};
use crate::base::sandbox::{Limits, RunOrder, Sandbox, remove_tree};
use crate::model::Sha256;

use plan::{Action, Step, plan_steps};
pub use task::run_task;
use task::{Task, run};

const NAME: &str = "native";
const HOST_NAME: &str = "oclock";
/// More than any build needs at one time, and few enough for the machine to go on.
const PROCESSES: u64 = 2048;
const MEMORY_LEAST: u64 = 512 * 1024 * 1024;

/// The engine as it was found usable.
#[derive(Debug)]
pub(super) struct Native {
    sandbox: Sandbox,
}

impl Native {
    pub(super) fn find(environment: &Environment) -> Result<Self, Unusable> {
        if !cfg!(target_os = "linux") {
            return Err(Unusable::new(NAME, "it needs Linux"));
        }
        Sandbox::find(environment).map(|sandbox| Self { sandbox }).map_err(|why| Unusable::new(NAME, why))
    }

    fn read(request: &BuildRequest<'_>) -> Result<Containerfile, EngineError> {
        let file = parse_containerfile(&fs::read_text(&request.context.join("Containerfile"))?)?;
        if file.from == "scratch" { Ok(file) } else { Err(EngineError::NotScratch { from: file.from }) }
    }

    /// Changes the root as one step says.
    fn carry_out(
        &self,
        step: &Step,
        root: &Path,
        request: &BuildRequest<'_>,
        on_line: OnLine<'_>,
    ) -> Result<(), EngineError> {
        let fail = |source: ProcessError| EngineError::Step {
            number: step.number,
            step: step.title.clone(),
            engine: NAME,
            source: Box::new(source),
        };
        on_line(&format!("step {}: {}", step.number, step.title));
        let root = root.to_owned();
        match &step.action {
            Action::MakeDirectory { path } => run(&self.sandbox, &Task::MakeDirectory { root, path: path.clone() }),
            Action::Copy(copy) => {
                run(&self.sandbox, &Task::Copy { root, context: request.context.to_owned(), copy: copy.clone() })
            }
            Action::Run { words, variables, directory, user } => {
                let memory = request.memory.unwrap_or_else(usual_memory);
                let order = RunOrder {
                    root,
                    words: words.clone(),
                    variables: variables.clone(),
                    directory: directory.clone(),
                    user: user.clone(),
                    hostname: HOST_NAME.to_owned(),
                    limits: Limits { time: request.limit, memory, processes: PROCESSES },
                };
                self.sandbox.run(&order, on_line)
            }
        }
        .map_err(fail)
    }

    /// The finished root as a layer. Without root, only the room sees its owners and may read all of it.
    fn layer(&self, place: &Path, root: PathBuf) -> Result<RootLayer, EngineError> {
        if self.sandbox.is_root() {
            return Ok(RootLayer::Directory(root));
        }
        let archive = place.join("root.tar");
        let failed =
            |source| EngineError::Failed { engine: NAME, action: "read the root filesystem", source: Box::new(source) };
        run(&self.sandbox, &Task::Pack { root, archive: archive.clone() }).map_err(failed)?;
        Ok(RootLayer::Tar { path: archive, offset: 0 })
    }

    fn cleanup(&self, place: &Path) -> Cleanup {
        let (sandbox, place) = (self.sandbox.clone(), place.to_owned());
        Cleanup::new(move || drop(remove(&sandbox, &place)))
    }
}

impl Engine for Native {
    fn name(&self) -> &str {
        NAME
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn flavour(&self) -> String {
        self.sandbox.describe().to_owned()
    }

    fn build(&self, request: &BuildRequest<'_>, on_line: OnLine<'_>) -> Result<BuiltRoot, EngineError> {
        let steps = plan_steps(&Self::read(request)?)?;
        let scratch = std::path::absolute(request.scratch).map_err(fs::FsError::new("find", request.scratch))?;
        let place = scratch.join(NAME);
        let root = place.join("root");
        let cleanup = self.cleanup(&place);
        fs::ensure_directory(&root)?;
        fs::set_mode(&root, 0o755)?;
        for step in &steps {
            self.carry_out(step, &root, request, on_line)?;
        }
        let layer = self.layer(&place, root)?;
        Ok(BuiltRoot::kept_until_dropped(vec![layer], vec![cleanup]))
    }

    fn keeps_images(&self) -> bool {
        false
    }

    fn load(&self, _archive: &Path, _tags: &[String]) -> Result<(), EngineError> {
        Err(EngineError::KeepsNoImages { engine: NAME })
    }

    fn has_image(&self, _id: &Sha256, _tags: &[String]) -> bool {
        false
    }
}

/// Removes what a build left that was ended before it could clean up, whoever its files belong to.
///
/// # Errors
/// When it cannot be removed.
pub(super) fn remove_leftover(path: &Path, environment: &Environment) -> Result<(), EngineError> {
    if remove_tree(path).is_ok() {
        return Ok(());
    }
    let gone = |source| EngineError::Failed { engine: NAME, action: "remove what an earlier build left", source };
    let sandbox =
        Sandbox::find(environment).map_err(|why| EngineError::NoneUsable { tried: vec![Unusable::new(NAME, why)] })?;
    remove(&sandbox, path).map_err(|source| gone(Box::new(source)))
}

fn remove(sandbox: &Sandbox, path: &Path) -> Result<(), ProcessError> {
    if sandbox.is_root() && remove_tree(path).is_ok() {
        return Ok(());
    }
    run(sandbox, &Task::Remove { path: path.to_owned() })
}

/// Three quarters of the machine's memory.
fn usual_memory() -> u64 {
    let text = fs::read_text(Path::new("/proc/meminfo")).unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok());
    (total.unwrap_or(0_u64) * 1024 / 4 * 3).max(MEMORY_LEAST)
}
