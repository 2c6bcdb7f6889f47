//! What a `.deb` says of itself, for a pin that no index lists any more (deb(5)). Its files are never looked at.

use std::io::{Read, Seek, SeekFrom};

use super::control::Stanza;
use super::error::AptError;
use super::relation;
use crate::base::archive::{ar_entries, decompress};
use crate::lock::AptPin;
use crate::store::Store;

/// The most that a control file may have, in bytes.
const CONTROL_LIMIT: u64 = 4 << 20;

/// The stanza that an index would have for a pin, made of the control file in its `.deb`, which is in the store.
pub(super) fn read_stanza(pin: &AptPin, store: &Store) -> Result<String, AptError> {
    let bad = |why: String| AptError::BadIndex { path: pin.artifact.path.to_string(), why };
    let mut file = store.open_blob(&pin.artifact.sha256)?;
    let control = read_control(&mut file).map_err(|error| bad(error.to_string()))?;
    let control = control.trim_matches('\n');
    if control.contains("\n\n") {
        return Err(bad("its control file has not exactly one paragraph".into()));
    }
    let said = Stanza::parse(control);
    let is_pin = said.package() == pin.name.as_str()
        && said.version() == pin.version.as_str()
        && said.architecture() == pin.architecture;
    if !is_pin {
        return Err(bad(format!("it calls itself {} {} for {}", said.package(), said.version(), said.architecture())));
    }
    let artifact = &pin.artifact;
    Ok(format!("{control}\nFilename: {}\nSize: {}\nSHA256: {}\n\n", artifact.path, artifact.size, artifact.sha256))
}

/// What a `.deb` says of itself in its control file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebIdentity {
    /// Package.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture.
    pub architecture: String,
    /// The package it was built from, and that one's version: its own where it does not say.
    pub source: (String, String),
    /// The names that each group of Pre-Depends and Depends names.
    pub needs: Vec<Vec<String>>,
    /// All names in Pre-Depends, Depends and Recommends.
    pub mentions: Vec<String>,
    /// The names it provides.
    pub provides: Vec<String>,
}

/// Reads what a `.deb` says of itself.
///
/// # Errors
/// When it is no `.deb`, or its control file has not exactly one paragraph.
pub fn read_identity(file: &mut (impl Read + Seek + Send)) -> std::io::Result<DebIdentity> {
    let text = read_control(file)?;
    let control = text.trim_matches('\n');
    if control.contains("\n\n") {
        let why = "its control file has not exactly one paragraph";
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why));
    }
    let said = Stanza::parse(control);
    let architecture = said.architecture();
    let (source, source_version) = super::pins::source_of(&said);
    let groups = |field| relation::groups(field, architecture).into_iter();
    let needs = [said.pre_depends(), said.depends()].into_iter().flat_map(groups);
    let mentions = [said.pre_depends(), said.depends(), said.recommends()].into_iter().flat_map(groups).flatten();
    Ok(DebIdentity {
        name: said.package().to_owned(),
        version: said.version().to_owned(),
        architecture: architecture.to_owned(),
        source: (source.to_owned(), source_version.to_owned()),
        needs: needs.map(|group| group.iter().map(|relation| relation.name.to_owned()).collect()).collect(),
        mentions: mentions.map(|relation| relation.name.to_owned()).collect(),
        provides: groups(said.provides()).flatten().map(|relation| relation.name.to_owned()).collect(),
    })
}

fn read_control(file: &mut (impl Read + Seek + Send)) -> std::io::Result<String> {
    let missing = |what| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    let entries = ar_entries(file)?;
    let entry = entries.iter().find(|entry| entry.name.starts_with("control.tar"));
    let entry = entry.ok_or_else(|| missing("it has no part `control.tar`"))?;
    file.seek(SeekFrom::Start(entry.offset))?;
    let mut archive = tar::Archive::new(decompress(file.take(entry.size))?);
    for entry in archive.entries()? {
        let entry = entry?;
        if matches!(&*entry.path_bytes(), b"./control" | b"control") && entry.header().entry_type().is_file() {
            let mut text = String::new();
            entry.take(CONTROL_LIMIT).read_to_string(&mut text)?;
            return Ok(text);
        }
    }
    Err(missing("it has no control file"))
}
