//! What oclock is told by the process around it: variables, the home directory, the working directory.
//!
//! Read once at start and passed down as a value, so that nothing below ever asks the process itself and tests can set all of it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::fs::FsError;

/// A snapshot of the process's environment.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    root: PathBuf,
    program: Option<PathBuf>,
}

impl Environment {
    /// What this process was started with.
    pub fn of_process() -> Self {
        Self::from_variables(std::env::vars_os())
    }

    /// Takes the variables given (those that are not UTF-8 are left out) and `/` as root of the host's files.
    pub fn from_variables(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let variables = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { variables, root: PathBuf::from("/"), program: None }
    }

    /// The same, but with the host's files (`/etc/apt` and the like) looked for below `root`.
    pub fn with_root(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = root.into();
        self
    }

    /// The same, but with another program than this process's own to be started as a helper.
    pub fn with_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// The program to start as a helper: the running one, whatever has become of its file since.
    pub fn program(&self) -> PathBuf {
        self.program.clone().unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
    }

    /// A variable's value; an empty one counts as not set.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All variables, sorted by name.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The user's home directory.
    pub fn home(&self) -> Option<PathBuf> {
        self.variable("HOME").map(PathBuf::from)
    }

    /// Where a file of the host is: `etc/apt/sources.list` below `/`, or below a test's root.
    pub fn host_path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// `$XDG_CONFIG_HOME/oclock` or `~/.config/oclock`.
    pub fn config_directory(&self) -> Option<PathBuf> {
        self.xdg("XDG_CONFIG_HOME", ".config")
    }

    /// `$XDG_CACHE_HOME/oclock` or `~/.cache/oclock`.
    pub fn cache_directory(&self) -> Option<PathBuf> {
        self.xdg("XDG_CACHE_HOME", ".cache")
    }

    /// `$XDG_DATA_HOME/oclock` or `~/.local/share/oclock`.
    pub fn data_directory(&self) -> Option<PathBuf> {
        self.xdg("XDG_DATA_HOME", ".local/share")
    }

    fn xdg(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let base = self
            .variable(variable)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| Some(self.home()?.join(below_home)))?;
        Some(base.join("oclock"))
    }
}

/// Makes a directory the process's own, so that every relative path means one below it. To be called before anything else.
///
/// # Errors
/// When it is no directory or may not be entered.
pub fn enter_directory(directory: &Path) -> Result<(), FsError> {
    std::env::set_current_dir(directory).map_err(FsError::new("enter", directory))
}
