//! Where in a manifest something is asked for, so that later messages can point at the line.

use std::collections::BTreeMap;

use crate::base::explain::Excerpt;
use crate::model::{Ecosystem, SourceName};

use super::model::Manifest;
use super::parse::{ManifestError, parse_with_places};

/// Something that a manifest asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A key of a section, such as `image.base`; the section itself when there is no such key.
    Key(&'static str),
    /// A Debian requirement, as written.
    Apt(String),
    /// A globally installed npm package, by the name it is asked under.
    Npm(String),
    /// An npm package of a project.
    NpmProject {
        /// The project's directory.
        directory: String,
        /// The name it is asked under.
        name: String,
    },
    /// A Python requirement, as written.
    Pip(String),
    /// A Python constraint, as written.
    PipConstraint(String),
    /// A Python override, as written.
    PipOverride(String),
    /// A source.
    Source(SourceName),
}

/// A manifest together with its text.
#[derive(Clone, Debug)]
pub struct ManifestFile {
    /// What it says.
    pub manifest: Manifest,
    /// Its file, as the user names it.
    pub file: String,
    /// Its text.
    pub text: String,
    places: BTreeMap<Place, usize>,
}

impl ManifestFile {
    /// Reads a manifest and remembers where things stand.
    ///
    /// # Errors
    /// When it is no manifest.
    pub fn parse(text: &str, file: &str) -> Result<Self, ManifestError> {
        let mut places = BTreeMap::new();
        let manifest = parse_with_places(text, file, &mut places)?;
        Ok(Self { manifest, file: file.to_owned(), text: text.to_owned(), places })
    }

    /// Where something is asked for, if it is.
    pub fn locate_place(&self, place: &Place, label: &str) -> Option<Excerpt> {
        let section = match place {
            Place::Key(key) => key.split('.').next().map(|section| match section {
                "apt" => Place::Key("apt"),
                "npm" => Place::Key("npm"),
                "pip" => Place::Key("pip"),
                "policy" => Place::Key("policy"),
                _ => Place::Key("image"),
            }),
            _ => None,
        };
        let offset = self.places.get(place).or_else(|| self.places.get(&section?))?;
        Some(Excerpt::at(&self.file, &self.text, *offset, label))
    }

    /// Where a requirement stands: as written (`nodejs=20.*`), or by its npm name, in the global packages first.
    pub fn locate(&self, ecosystem: Ecosystem, requirement: &str) -> Option<Excerpt> {
        let found = self.places.keys().find(|place| match (ecosystem, place) {
            (Ecosystem::Apt, Place::Apt(text)) => text == requirement,
            (Ecosystem::Npm, Place::Npm(name) | Place::NpmProject { name, .. }) => name == requirement,
            (Ecosystem::Pip, Place::Pip(text) | Place::PipConstraint(text) | Place::PipOverride(text)) => {
                text == requirement
            }
            _ => false,
        })?;
        self.locate_place(found, "")
    }
}
