//! A base image seen by dpkg: what is installed in it and which paths it has.

use std::collections::BTreeMap;

use super::control::Paragraph;
use super::error::AptAssembleError;

/// The dpkg database and the paths of a base image, read from its layers without running it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseSystem {
    /// `/var/lib/dpkg/status`.
    pub status: String,
    /// Other files below `/var/lib/dpkg/`, by their path there: `diversions`, `statoverride`, `triggers/*`, `info/*.list`.
    /// Files that are not there are left out; others may be there and are not looked at.
    pub database: BTreeMap<String, Vec<u8>>,
    /// Every path of the image, relative to its root, without a slash at its end.
    pub paths: BTreeMap<Vec<u8>, BasePath>,
}

/// What a path of a base image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BasePath {
    /// A directory.
    Directory,
    /// A symbolic link with its target.
    Symlink(Vec<u8>),
    /// Anything else.
    File,
}

/// One diversion (dpkg-divert(1)): files of other packages than `package` go to `to` instead of `from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Diversion {
    pub from: Vec<u8>,
    pub to: Vec<u8>,
    /// `:` when the administrator made it.
    pub package: String,
}

/// Owner and mode that replace those of the package (dpkg-statoverride(1)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StatOverride {
    pub uid: u64,
    pub gid: u64,
    pub mode: u32,
}

impl BaseSystem {
    pub(super) fn packages(&self) -> Result<Vec<Paragraph>, AptAssembleError> {
        Paragraph::parse_all(&self.status).map_err(|why| AptAssembleError::Base { why: format!("status: {why}") })
    }

    pub(super) fn text(&self, file: &str) -> String {
        self.database.get(file).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
    }

    /// The file `diversions`: three lines for each.
    pub(super) fn diversions(&self) -> Vec<Diversion> {
        let bytes = self.database.get("diversions").map(Vec::as_slice).unwrap_or_default();
        let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
        let strip = |path: &[u8]| path.strip_prefix(b"/").unwrap_or(path).to_vec();
        lines
            .as_chunks::<3>()
            .0
            .iter()
            .map(|[from, to, package]| Diversion {
                from: strip(from),
                to: strip(to),
                package: String::from_utf8_lossy(package).into_owned(),
            })
            .collect()
    }

    /// The file `statoverride`: user, group, octal mode and path in each line. Names are looked up in nothing: only
    /// numbers (`#0`) and root are known, and another name is an error.
    pub(super) fn stat_overrides(&self) -> Result<BTreeMap<Vec<u8>, StatOverride>, AptAssembleError> {
        let text = self.text("statoverride");
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        lines
            .map(|line| {
                let bad = || AptAssembleError::Base { why: format!("statoverride: `{line}`") };
                let mut words = line.splitn(4, ' ');
                let mut number = || match words.next() {
                    Some("root") => Ok(0),
                    Some(word) => word.strip_prefix('#').and_then(|word| word.parse().ok()).ok_or_else(bad),
                    None => Err(bad()),
                };
                let (uid, gid) = (number()?, number()?);
                let mode = words.next().and_then(|word| u32::from_str_radix(word, 8).ok()).ok_or_else(bad)?;
                let path = words.next().and_then(|path| path.strip_prefix('/')).ok_or_else(bad)?;
                Ok((path.as_bytes().to_vec(), StatOverride { uid, gid, mode }))
            })
            .collect()
    }
}
