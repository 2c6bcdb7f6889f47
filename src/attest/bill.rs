//! What is in an image, as a value: the image, what it stands on, every pin with its facts, and who requires whom.

use std::collections::{BTreeMap, BTreeSet};

use super::error::AttestError;
use super::facts::{self, Facts, Party};
use super::licence::Licence;
use super::purl;
use crate::base::progress::Progress;
use crate::lock::{
    AptPin, BaseManifest, BasePin, ESSENTIAL, ImagePin, Lockfile, MANIFEST, NpmPin, PinView, PipPin, wheel_path,
};
use crate::model::{Artifact, Ecosystem, Platform, Sha256};
use crate::store::Store;

/// How much is said of each package.
#[derive(Clone, Copy, Debug)]
pub enum Detail<'a> {
    /// What the lockfile says: no licences, suppliers and authors.
    LockAlone,
    /// That, and what the artifacts in the store say of themselves.
    Artifacts(&'a Store),
}

/// Of what a bill is wanted.
#[derive(Clone, Copy, Debug)]
pub struct BillRequest<'a> {
    /// The lock.
    pub lock: &'a Lockfile,
    /// sha256 of the lockfile's bytes.
    pub lockfile: Sha256,
    /// The image's name in the manifest.
    pub name: &'a str,
    /// The platform; a bill is of one image.
    pub platform: Platform,
    /// How much is said.
    pub detail: Detail<'a>,
}

/// What is in an image.
#[derive(Clone, Debug)]
pub struct Bill {
    /// The image's name.
    pub name: String,
    /// Its platform.
    pub platform: Platform,
    /// What the lock records of it, when it was built.
    pub image: Option<ImagePin>,
    /// Its epoch, which stands for the time in the documents.
    pub epoch: i64,
    /// sha256 of the lockfile.
    pub lockfile: Sha256,
    /// The base.
    pub base: Base,
    /// The packages in the lockfile's order.
    pub components: Vec<Component>,
    /// Those that are required by the manifest or are essential.
    pub required: Vec<usize>,
}

/// What the image stands on.
#[derive(Clone, Debug)]
pub enum Base {
    /// Nothing but Debian packages of this suite.
    Debian {
        /// The suite.
        suite: String,
    },
    /// An image of a registry.
    Image {
        /// Its name as asked.
        name: String,
        /// Its package URL.
        purl: String,
        /// Its manifest and layers.
        manifest: BaseManifest,
    },
}

/// One package.
#[derive(Clone, Debug)]
pub struct Component {
    /// Its ecosystem.
    pub ecosystem: Ecosystem,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its package URL: unique in a bill.
    pub purl: String,
    /// Its file.
    pub artifact: Artifact,
    /// Its licence.
    pub licence: Licence,
    /// Who hands it out, where known.
    pub supplier: Option<Party>,
    /// Who wrote it, where known.
    pub author: Option<Party>,
    /// What else the lock says: name and value, sorted.
    pub properties: Vec<(&'static str, String)>,
    /// What it requires: places in [`Bill::components`], sorted.
    pub requires: Vec<usize>,
}

/// A pin with what only its ecosystem has.
enum Pin<'a> {
    Apt(&'a AptPin),
    Npm(&'a NpmPin),
    Pip(&'a PipPin),
}

impl<'a> Pin<'a> {
    fn view(&self) -> PinView<'a> {
        match self {
            Self::Apt(pin) => pin.view(),
            Self::Npm(pin) => pin.view(),
            Self::Pip(pin) => pin.view(),
        }
    }

    fn purl(&self) -> String {
        match self {
            Self::Apt(pin) => purl::of_apt(pin),
            Self::Npm(pin) => purl::of_npm(pin),
            Self::Pip(pin) => purl::of_pip(pin),
        }
    }

    fn properties(&self) -> Vec<(&'static str, String)> {
        let artifact = self.view().artifact;
        let mut properties = vec![
            ("oclock:path", artifact.path.to_string()),
            ("oclock:size", artifact.size.to_string()),
            ("oclock:source", artifact.source.to_string()),
        ];
        match self {
            Self::Apt(pin) => {
                properties.push(("oclock:source-package", format!("{} {}", pin.source_package, pin.source_version)));
                properties.push(("oclock:suite", pin.suite.clone()));
            }
            Self::Npm(pin) => {
                properties.extend(pin.places.iter().map(|place| ("oclock:place", place.clone())));
                properties
                    .extend(pin.scripts.iter().map(|(name, hash)| ("oclock:script", format!("{name} sha256:{hash}"))));
            }
            Self::Pip(pin) => {
                properties.push(("oclock:tags", pin.tags.clone()));
                let built = pin.built.as_ref();
                properties
                    .extend(built.map(|built| ("oclock:built", format!("{} sha256:{}", built.file, built.sha256))));
            }
        }
        properties.sort();
        properties
    }

    /// The wheel that its artifact is built to, which says what the source distribution does not.
    fn built_wheel(&self) -> Result<Option<Artifact>, AttestError> {
        let Self::Pip(PipPin { name, artifact, built: Some(built), .. }) = self else { return Ok(None) };
        let path = wheel_path(name, &built.file);
        let path = path.map_err(|error| AttestError::Artifact { package: name.to_string(), why: error.to_string() })?;
        Ok(Some(Artifact { path, size: built.size, sha256: built.sha256, ..artifact.clone() }))
    }

    /// The names under which it stands in `required-by` of its ecosystem.
    fn names(&self) -> Vec<&'a str> {
        match self {
            Self::Apt(pin) => vec![pin.name.as_str()],
            Self::Npm(pin) => pin.places.iter().map(String::as_str).collect(),
            Self::Pip(pin) => vec![pin.name.as_str()],
        }
    }
}

impl Bill {
    /// Works out what is in the image of a lock.
    ///
    /// # Errors
    /// When artifacts that have to be looked into are missing, damaged or not in their ecosystem's form.
    pub fn new(request: &BillRequest<'_>, progress: &Progress) -> Result<Self, AttestError> {
        let BillRequest { lock, platform, .. } = *request;
        let pins = pins_of(lock, platform);
        let views: Vec<PinView<'_>> = pins.iter().map(Pin::view).collect();
        let facts = match request.detail {
            Detail::LockAlone => vec![lock_alone(); pins.len()],
            Detail::Artifacts(store) => {
                let wheels: Vec<Option<Artifact>> = pins.iter().map(Pin::built_wheel).collect::<Result<_, _>>()?;
                let look = |(view, wheel)| view_of(view, wheel);
                let looked: Vec<PinView<'_>> = views.iter().zip(&wheels).map(look).collect();
                facts::read(&looked, store, progress)?
            }
        };
        let (required, mut requires) = relations(&pins);
        let components = pins
            .iter()
            .zip(facts)
            .enumerate()
            .map(|(index, (pin, facts))| component(pin, facts, requires.remove(&index).unwrap_or_default()))
            .collect();
        Ok(Self {
            name: request.name.to_owned(),
            platform,
            image: lock.images.get(&platform).copied(),
            epoch: lock.epoch,
            lockfile: request.lockfile,
            base: base(lock, platform)?,
            components,
            required,
        })
    }

    /// The image's package URL, when the lock records the image.
    pub(super) fn purl(&self) -> Option<String> {
        self.image.map(|image| purl::of_image(&self.name, &image.digest, self.platform))
    }
}

/// A pin with another file to be looked into, where there is one.
fn view_of<'a>(view: &PinView<'a>, other: &'a Option<Artifact>) -> PinView<'a> {
    PinView { artifact: other.as_ref().unwrap_or(view.artifact), ..*view }
}

fn lock_alone() -> Facts {
    let licence = Licence::unknown("the artifacts were not looked into");
    Facts { licence, supplier: None, author: None, licence_of: None }
}

fn pins_of(lock: &Lockfile, platform: Platform) -> Vec<Pin<'_>> {
    let apt = lock.apt.iter().filter(|pin| pin.platform == platform).map(Pin::Apt);
    let npm = lock.npm.iter().filter(|pin| pin.platform == platform).map(Pin::Npm);
    let pip = lock.pip.iter().filter(|pin| pin.platform == platform).map(Pin::Pip);
    apt.chain(npm).chain(pip).collect()
}

fn base(lock: &Lockfile, platform: Platform) -> Result<Base, AttestError> {
    match &lock.base {
        BasePin::Debian { suite } => Ok(Base::Debian { suite: suite.clone() }),
        BasePin::Image { reference, manifests, .. } => {
            let manifest = manifests.get(&platform).ok_or(AttestError::NotRecorded { platform })?;
            let purl = purl::of_image(&reference.repository, &manifest.digest, platform);
            Ok(Base::Image { name: reference.to_string(), purl, manifest: manifest.clone() })
        }
    }
}

/// The pins that the manifest or the essential set asks for, and for each pin those that it requires.
fn relations(pins: &[Pin<'_>]) -> (Vec<usize>, BTreeMap<usize, BTreeSet<usize>>) {
    let mut by_name: BTreeMap<(Ecosystem, &str), usize> = BTreeMap::new();
    for (index, pin) in pins.iter().enumerate() {
        by_name.extend(pin.names().into_iter().map(|name| ((pin.view().ecosystem, name), index)));
    }
    let mut required = Vec::new();
    let mut requires: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (index, pin) in pins.iter().enumerate() {
        let view = pin.view();
        let is_root = |by: &str| by == MANIFEST || (view.ecosystem == Ecosystem::Apt && by == ESSENTIAL);
        if view.required_by.iter().any(|by| is_root(by)) {
            required.push(index);
        }
        for by in view.required_by {
            if let Some(parent) = by_name.get(&(view.ecosystem, by.as_str())).filter(|parent| **parent != index) {
                requires.entry(*parent).or_default().insert(index);
            }
        }
    }
    (required, requires)
}

fn component(pin: &Pin<'_>, facts: Facts, requires: BTreeSet<usize>) -> Component {
    let view = pin.view();
    Component {
        ecosystem: view.ecosystem,
        name: view.name.to_string(),
        version: view.version.to_string(),
        purl: pin.purl(),
        artifact: view.artifact.clone(),
        licence: facts.licence,
        supplier: facts.supplier,
        author: facts.author,
        properties: pin.properties(),
        requires: requires.into_iter().collect(),
    }
}
