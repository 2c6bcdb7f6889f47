//! `oclock init`: a manifest and a template to start from, commented ones or what other tools' files say.

use std::path::PathBuf;

use super::error::OpsError;
use super::import::{self, Collected, ImportFate, ImportNote};
use super::imported;
use super::session::below;
use crate::base::fs::{ensure_directory, write_atomically};
use crate::manifest::parse_manifest;
use crate::template::TEMPLATE_FILE;

/// What is asked of `init`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitOptions {
    /// Where the files go.
    pub directory: PathBuf,
    /// Files of other tools that are imported.
    pub from: Vec<PathBuf>,
}

/// What was written.
#[derive(Clone, Debug, serde::Serialize)]
pub struct InitOutcome {
    /// The files, in the order written.
    pub written: Vec<PathBuf>,
    /// What became of each part of the imported files, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<ImportNote>,
    /// How many versions of old locks the next `update` keeps.
    #[serde(skip_serializing_if = "is_zero")]
    pub versions: usize,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl InitOutcome {
    /// Whether everything was carried over.
    pub fn is_whole(&self) -> bool {
        self.notes.iter().all(|note| note.fate != ImportFate::Left)
    }
}

const MANIFEST: &str = include_str!("template/oclock.toml");
const TEMPLATE: &str = include_str!("template/Containerfile.in");
const MANIFEST_FILE: &str = "oclock.toml";

/// Writes oclock.toml, Containerfile.in, an empty `context/` and a `.gitignore`; overwrites nothing.
///
/// # Errors
/// When one of the files is already there or cannot be written, or an imported one cannot be read.
pub fn init(options: &InitOptions) -> Result<InitOutcome, OpsError> {
    let path_of = |name: &str| below(&options.directory, name.as_ref());
    let present = |name: &str| path_of(name).exists();
    if let Some(name) = [MANIFEST_FILE, TEMPLATE_FILE, imported::FILE].into_iter().find(|name| present(name)) {
        return Err(OpsError::Exists { path: path_of(name) });
    }
    let (collected, manifest, template) = match options.from.is_empty() {
        true => (Collected::default(), MANIFEST.to_owned(), TEMPLATE.to_owned()),
        false => {
            let collected = import::collect(&options.from)?;
            let (manifest, template) = (import::manifest_text(&collected), import::template_text(&collected));
            parse_manifest(&manifest, MANIFEST_FILE)?;
            (collected, manifest, template)
        }
    };
    let versions = collected.imported.len();
    let mut files = vec![(MANIFEST_FILE, manifest), (TEMPLATE_FILE, template)];
    files.extend((!present(".gitignore")).then(|| (".gitignore", "/.oclock/\n".to_owned())));
    files.extend((versions > 0).then(|| (imported::FILE, collected.imported.text())));
    ensure_directory(&path_of("context"))?;
    let mut written = Vec::new();
    for (name, text) in files {
        let path = path_of(name);
        write_atomically(&path, text.as_bytes())?;
        written.push(path);
    }
    Ok(InitOutcome { written, notes: collected.notes, versions })
}
