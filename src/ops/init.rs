//! `oclock init`: a commented manifest and template to start from.

use std::path::{Path, PathBuf};

use super::error::OpsError;
use super::session::below;
use crate::base::fs::{ensure_directory, write_atomically};
use crate::template::TEMPLATE_FILE;

/// What was written.
#[derive(Clone, Debug, serde::Serialize)]
pub struct InitOutcome {
    /// The files, in the order written.
    pub written: Vec<PathBuf>,
}

const MANIFEST: &str = include_str!("template/oclock.toml");
const TEMPLATE: &str = include_str!("template/Containerfile.in");

/// Writes oclock.toml, Containerfile.in, an empty `context/` and a `.gitignore`; overwrites nothing.
///
/// # Errors
/// When one of the files is already there or cannot be written.
pub fn init(directory: &Path) -> Result<InitOutcome, OpsError> {
    let files = [("oclock.toml", MANIFEST), (TEMPLATE_FILE, TEMPLATE), (".gitignore", "/.oclock/\n")];
    let path_of = |name: &str| below(directory, Path::new(name));
    let present = |name: &str| path_of(name).exists();
    if let Some((name, _)) = files.iter().take(2).find(|(name, _)| present(name)) {
        return Err(OpsError::Exists { path: path_of(name) });
    }
    ensure_directory(&path_of("context"))?;
    let mut written = Vec::new();
    for (name, text) in files.iter().filter(|(name, _)| !present(name)) {
        let path = path_of(name);
        write_atomically(&path, text.as_bytes())?;
        written.push(path);
    }
    Ok(InitOutcome { written })
}
