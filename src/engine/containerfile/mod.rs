//! The rendered Containerfile as typed instructions, with variables put in as docker does.
//!
//! Strict: what could bring in something that is not in the lockfile (other stages, arguments, remote files, a parser
//! fetched from a registry), or what one of the builders does not know, is refused by name.

mod read;
mod steps;
mod words;

use std::time::Duration;

use crate::base::explain::{Excerpt, Explain, Kind};

pub(super) use read::join_path;
pub use read::parse_containerfile;
pub use steps::{run_steps, with_run_steps};
pub use words::Variables;

/// The comment line that marks the SHELL instruction which is oclock's own and no part of the image.
pub const OWN_SHELL_MARK: &str = "# oclock: shell";

/// Where programs are looked for when nothing else is said, in every builder.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A Containerfile that cannot be used, and where.
#[derive(Debug, thiserror::Error)]
#[error("the Containerfile cannot be used: {what}")]
pub struct ContainerfileError {
    /// What is wrong, with the instruction's name.
    pub what: String,
    /// Where.
    pub excerpt: Box<Excerpt>,
    /// What to do instead.
    pub hint: Option<&'static str>,
}

impl Explain for ContainerfileError {
    fn kind(&self) -> Kind {
        Kind::Asked
    }

    fn excerpt(&self) -> Option<Excerpt> {
        Some((*self.excerpt).clone())
    }

    fn hints(&self) -> Vec<String> {
        self.hint.iter().map(|hint| (*hint).to_owned()).collect()
    }
}

/// A whole Containerfile of one stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Containerfile {
    /// What it stands on: `scratch` or an image.
    pub from: String,
    /// The instructions after FROM, in order.
    pub instructions: Vec<Instruction>,
    /// The text with lines added that make all builders do the same where they would not: directories that WORKDIR and
    /// COPY make on the way belong to root.
    pub agreed_text: String,
}

/// A command in one of its two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandForm {
    /// `["program", "argument"]`
    Exec(Vec<String>),
    /// A line for the shell, continuations joined.
    Shell(String),
}

/// ADD or COPY of files of the context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyStep {
    /// Whether it is ADD, which unpacks archives.
    pub unpacks: bool,
    /// `--chown`.
    pub owner: Option<String>,
    /// `--chmod`.
    pub mode: Option<String>,
    /// Paths in the context.
    pub sources: Vec<String>,
    /// A path in the image.
    pub destination: String,
}

impl CommandForm {
    /// The RUN instruction for people, shortened.
    pub(super) fn describe_run(&self) -> String {
        let line = match self {
            Self::Exec(words) => words.join(" "),
            Self::Shell(line) => line.clone(),
        };
        let short: String = crate::base::text::sanitize(&line).chars().take(100).collect();
        format!("RUN {short}")
    }
}

impl CopyStep {
    /// `ADD` or `COPY`.
    pub(super) fn instruction(&self) -> &'static str {
        if self.unpacks { "ADD" } else { "COPY" }
    }

    /// The instruction for people.
    pub(super) fn describe(&self) -> String {
        format!("{} {} {}", self.instruction(), self.sources.join(" "), self.destination)
    }

    /// The directory that must be there before, when builders disagree who owns it: with `--chown`, and absolute.
    pub fn disputed_parent(&self, directory: &str) -> Option<String> {
        self.owner.as_ref()?;
        let whole = read::join_path(directory, &self.destination);
        let parent = whole.rsplit_once('/').map_or("", |(parent, _)| parent);
        (!parent.is_empty()).then(|| parent.to_owned())
    }
}

/// HEALTHCHECK CMD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthcheckStep {
    /// What is run.
    pub command: CommandForm,
    /// `--interval`
    pub interval: Option<Duration>,
    /// `--timeout`
    pub timeout: Option<Duration>,
    /// `--start-period`
    pub start_period: Option<Duration>,
    /// `--start-interval`
    pub start_interval: Option<Duration>,
    /// `--retries`
    pub retries: Option<u32>,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// ADD and COPY.
    Copy(CopyStep),
    /// RUN.
    Run(CommandForm),
    /// ENV: names with their values.
    Env(Vec<(String, String)>),
    /// WORKDIR: absolute.
    WorkingDirectory(String),
    /// USER.
    User(String),
    /// SHELL of the user's.
    Shell(Vec<String>),
    /// SHELL of oclock's own: wraps RUN and is no part of the image.
    OwnShell(Vec<String>),
    /// CMD.
    Command(CommandForm),
    /// ENTRYPOINT.
    Entrypoint(CommandForm),
    /// EXPOSE: `4096/tcp`.
    Expose(Vec<String>),
    /// HEALTHCHECK; nothing for NONE.
    Healthcheck(Option<HealthcheckStep>),
    /// LABEL: names with their values.
    Label(Vec<(String, String)>),
    /// VOLUME.
    Volume(Vec<String>),
    /// STOPSIGNAL.
    StopSignal(String),
}
