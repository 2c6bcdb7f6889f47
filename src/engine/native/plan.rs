//! A Containerfile as steps: values that hold everything that decides what they do, apart from the files they copy.

use serde::{Deserialize, Serialize};

use super::NAME;
use crate::engine::EngineError;
use crate::engine::containerfile::{
    CommandForm, Containerfile, CopyStep, DEFAULT_PATH, Instruction, Variables, join_path,
};

/// One change of a root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Step {
    /// The instruction's place, from 1; FROM is not counted.
    pub number: usize,
    /// The instruction, for people.
    pub title: String,
    /// What is done.
    pub action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Action {
    /// A directory of root, with its parents, where there is none.
    MakeDirectory {
        path: String,
    },
    Copy(CopyAction),
    Run {
        words: Vec<String>,
        variables: Vec<(String, String)>,
        directory: String,
        user: Option<String>,
    },
}

/// ADD or COPY.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CopyAction {
    /// Whether archives are unpacked.
    pub unpacks: bool,
    /// Paths in the context.
    pub sources: Vec<String>,
    /// Absolute; ends in a slash where it says that it is a directory.
    pub destination: String,
    /// `USER:GROUP` by name or number; root's when not given.
    pub owner: Option<String>,
    /// The source's when not given.
    pub mode: Option<u32>,
}

/// Turns instructions into steps. Those that only speak of the image's config make none.
///
/// # Errors
/// When an instruction has a form that this engine does not carry out.
pub(super) fn plan_steps(file: &Containerfile) -> Result<Vec<Step>, EngineError> {
    let mut planner = Planner::new();
    let mut steps = Vec::new();
    for (place, instruction) in file.instructions.iter().enumerate() {
        if let Some((title, action)) = planner.plan(instruction)? {
            steps.push(Step { number: place + 1, title, action });
        }
    }
    Ok(steps)
}

struct Planner {
    variables: Variables,
    directory: String,
    user: Option<String>,
    shell: Vec<String>,
}

impl Planner {
    fn new() -> Self {
        let mut variables = Variables::default();
        variables.set("PATH", DEFAULT_PATH);
        variables.set("HOSTNAME", super::HOST_NAME);
        Self { variables, directory: "/".into(), user: None, shell: vec!["/bin/sh".into(), "-c".into()] }
    }

    fn plan(&mut self, instruction: &Instruction) -> Result<Option<(String, Action)>, EngineError> {
        match instruction {
            Instruction::Copy(copy) => return Ok(Some((copy.describe(), Action::Copy(self.copy(copy)?)))),
            Instruction::Run(command) => return Ok(Some((command.describe_run(), self.run(command)))),
            Instruction::WorkingDirectory(path) => {
                self.directory.clone_from(path);
                return Ok(Some((format!("WORKDIR {path}"), Action::MakeDirectory { path: path.clone() })));
            }
            Instruction::Env(pairs) => pairs.iter().for_each(|(name, value)| self.variables.set(name, value)),
            Instruction::User(user) => self.user = Some(user.clone()),
            Instruction::Shell(words) | Instruction::OwnShell(words) => self.shell.clone_from(words),
            // They speak of the image's config, which oclock writes itself.
            Instruction::Command(_)
            | Instruction::Entrypoint(_)
            | Instruction::Expose(_)
            | Instruction::Healthcheck(_)
            | Instruction::Label(_)
            | Instruction::Volume(_)
            | Instruction::StopSignal(_) => {}
        }
        Ok(None)
    }

    fn run(&self, command: &CommandForm) -> Action {
        let words = match command {
            CommandForm::Exec(words) => words.clone(),
            CommandForm::Shell(line) => self.shell.iter().chain([line]).cloned().collect(),
        };
        let variables = self.variables.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Action::Run { words, variables, directory: self.directory.clone(), user: self.user.clone() }
    }

    fn copy(&self, copy: &CopyStep) -> Result<CopyAction, EngineError> {
        let cannot = |what: String| EngineError::Instruction { engine: NAME, what, other: "buildah or docker" };
        if let Some(source) = copy.sources.iter().find(|source| source.contains(['*', '?', '['])) {
            return Err(cannot(format!("the pattern `{source}` of {}", copy.instruction())));
        }
        let mode = copy.mode.as_ref().map(|mode| {
            u32::from_str_radix(mode, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777)
                .ok_or_else(|| cannot(format!("COPY --chmod={mode}")))
        });
        let is_directory =
            copy.destination.ends_with('/') || copy.destination.ends_with("/.") || copy.destination == ".";
        let mut destination = join_path(&self.directory, &copy.destination);
        if is_directory && !destination.ends_with('/') {
            destination.push('/');
        }
        Ok(CopyAction {
            unpacks: copy.unpacks,
            sources: copy.sources.clone(),
            destination,
            owner: copy.owner.clone(),
            mode: mode.transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::containerfile::parse_containerfile;

    fn steps(text: &str) -> Result<Vec<Step>, EngineError> {
        plan_steps(&parse_containerfile(&format!("FROM scratch\n{text}\n")).unwrap())
    }

    #[test]
    fn a_step_holds_all_that_decides_what_it_does() {
        let text = "ENV A=1\nSHELL [\"/s\"]\nUSER u\nWORKDIR /w\nRUN x $A\nLABEL l=1\nCOPY --chown=1 --chmod=750 a b/\nRUN [\"y\"]";
        let steps = steps(text).unwrap();
        let numbers: Vec<usize> = steps.iter().map(|step| step.number).collect();
        assert_eq!(numbers, [4, 5, 7, 8]);
        let Action::Run { words, variables, directory, user } = &steps[1].action else { panic!() };
        assert_eq!((words.join("|").as_str(), directory.as_str(), user.as_deref()), ("/s|x $A", "/w", Some("u")));
        assert!(variables.contains(&("A".into(), "1".into())), "{variables:?}");
        let Action::Copy(copy) = &steps[2].action else { panic!() };
        assert_eq!((copy.destination.as_str(), copy.mode, copy.owner.as_deref()), ("/w/b/", Some(0o750), Some("1")));
    }

    #[test]
    fn what_cannot_be_done_names_who_can() {
        use crate::base::explain::Explain;
        for text in ["COPY a* /", "COPY --chmod=u+x a /"] {
            let error = steps(text).unwrap_err();
            assert!(error.hints()[0].contains("buildah"), "{error}");
        }
    }
}
