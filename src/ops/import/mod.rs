//! Files of other tools → what a manifest asks for, what a template keeps, and the versions that old locks name.
//!
//! Everything in such a file is either taken, changed, not needed, or left to the user; each is told with its line. It reads text
//! alone: no registry is asked and nothing is run.

mod dockerfile;
mod error;
mod npm;
mod project;
mod python;
mod requirements;
mod run;
mod shell;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use error::ImportError;

use super::imported::Imported;
use crate::base::fs::read_text;
use crate::base::text::sanitize;
use crate::manifest::NpmOverride;

/// What became of a part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ImportFate {
    /// It stands in the manifest now.
    Taken,
    /// It is there in another form.
    Changed,
    /// oclock does it anyway, or it makes no difference.
    Needless,
    /// It could not be carried over: the user has something to do.
    Left,
}

/// A part of a file and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ImportNote {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What became of it.
    pub fate: ImportFate,
    /// The part.
    pub what: String,
    /// Where it is now, or why it is not and what to do.
    pub then: String,
}

/// What was found in all files.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// The image's name.
    pub name: Option<String>,
    /// `[image] base`, as TOML.
    pub base: Option<String>,
    /// `[image] platforms`.
    pub platforms: Vec<String>,
    /// `[apt] packages`.
    pub apt: Vec<String>,
    /// `[apt] recommends`.
    pub recommends: bool,
    /// `[npm.packages]`.
    pub npm: BTreeMap<String, String>,
    /// `[npm.projects]`.
    pub projects: BTreeMap<String, BTreeMap<String, String>>,
    /// `[npm.overrides]`.
    pub npm_overrides: Vec<NpmOverride>,
    /// `[pip] packages`.
    pub pip: Vec<String>,
    /// `[pip] constraints`.
    pub constraints: Vec<String>,
    /// `[pip] overrides`.
    pub pip_overrides: Vec<String>,
    /// What of a Dockerfile stands below the packages.
    pub rest: Option<String>,
    /// Versions that old locks name.
    pub imported: Imported,
    /// What became of each part.
    pub notes: Vec<ImportNote>,
    /// Whether the image says NODE_ENV=production.
    pub production: bool,
    /// Whether a file that is no lock says what is asked of pip.
    pub asks_pip: bool,
    /// The `npm ci` of a Dockerfile.
    project: Option<project::ProjectUse>,
    /// Where a Dockerfile's image stands at its end.
    pub directory: Option<String>,
    /// Files that others read (`-r FILE`, `npm ci`): name, who, line.
    pub reads: Vec<(String, String, usize)>,
}

impl Collected {
    fn note(&mut self, (file, line): (&str, usize), fate: ImportFate, what: &str, then: impl Into<String>) {
        let what: String = sanitize(&without_credentials(&what.split_whitespace().collect::<Vec<_>>().join(" ")));
        let note = ImportNote { file: file.to_owned(), line, fate, what, then: sanitize(&then.into()) };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// The files that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Dockerfile,
    PackageJson,
    Pyproject,
    Requirements,
    PackageLock,
    UvLock,
    Pylock,
}

impl Form {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_lowercase();
        Some(match name.as_str() {
            "package.json" => Self::PackageJson,
            "package-lock.json" | "npm-shrinkwrap.json" => Self::PackageLock,
            "pyproject.toml" => Self::Pyproject,
            "uv.lock" => Self::UvLock,
            _ if name.starts_with("pylock.") && name.ends_with(".toml") => Self::Pylock,
            _ if name.contains("dockerfile") || name.contains("containerfile") => Self::Dockerfile,
            _ if name.ends_with(".txt") || name.ends_with(".in") => Self::Requirements,
            _ => return None,
        })
    }
}

/// A file with its text.
#[derive(Debug)]
struct Input {
    path: PathBuf,
    name: String,
    form: Form,
    text: String,
}

impl Input {
    /// The line, from 1, in which a text first stands.
    fn line_of(&self, needle: &str) -> usize {
        self.text.find(needle).map_or(1, |offset| self.line_at(offset))
    }

    fn line_at(&self, offset: usize) -> usize {
        self.text[..offset.min(self.text.len())].matches('\n').count() + 1
    }

    fn bad(&self, why: impl ToString) -> ImportError {
        ImportError::Unreadable { file: self.name.clone(), why: why.to_string() }
    }
}

/// Reads the files, a Dockerfile first: it says where the others' packages go.
///
/// # Errors
/// When a file cannot be read, is none that is known, or is not what its name says.
pub(super) fn collect(paths: &[PathBuf]) -> Result<Collected, ImportError> {
    let mut inputs = paths.iter().map(|path| read_input(path)).collect::<Result<Vec<_>, _>>()?;
    inputs.sort_by_key(|input| (input.form, !input.name.ends_with(".in")));
    for pair in inputs.windows(2) {
        if pair[0].form == pair[1].form && pair[0].form != Form::Requirements {
            return Err(ImportError::Twice { one: pair[0].name.clone(), other: pair[1].name.clone() });
        }
    }
    let mut collected = Collected::default();
    let has = |form| inputs.iter().any(|input| input.form == form);
    let given: Vec<&Path> = inputs.iter().map(|input| input.path.as_path()).collect();
    let (asks_npm, asks_pip) = (has(Form::PackageJson), has(Form::Pyproject) || has(Form::Requirements));
    for input in &inputs {
        match input.form {
            Form::Dockerfile => dockerfile::import(input, &given, &mut collected)?,
            Form::PackageJson => npm::import_package(input, &mut collected)?,
            Form::PackageLock => npm::import_lock(input, asks_npm, &mut collected)?,
            Form::Requirements => requirements::import(input, &given, &mut collected)?,
            Form::Pyproject => python::import_pyproject(input, &mut collected)?,
            Form::UvLock => python::import_uv(input, asks_pip, &mut collected)?,
            Form::Pylock => python::import_pylock(input, asks_pip, &mut collected)?,
        }
    }
    project::settle(&given, &mut collected);
    Ok(collected)
}

fn read_input(path: &Path) -> Result<Input, ImportError> {
    let name = path.display().to_string();
    let form = Form::of(path).ok_or_else(|| ImportError::Unknown { file: name.clone() })?;
    Ok(Input { path: path.to_owned(), text: read_text(path)?, name, form })
}

/// A text whose URLs have no user name and password any more.
fn without_credentials(text: &str) -> String {
    let mut rest = text;
    let mut safe = String::with_capacity(text.len());
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        let host = tail.find(|c: char| c.is_whitespace() || "/\"'?#".contains(c)).unwrap_or(tail.len());
        safe.push_str(head);
        safe.push_str(if tail[..host].contains('@') { "…@" } else { "" });
        let from = tail[..host].rfind('@').map_or(0, |sign| sign + 1);
        safe.push_str(&tail[from..host]);
        rest = &tail[host..];
    }
    safe + rest
}

pub(super) use write::{manifest_text, template_text};
