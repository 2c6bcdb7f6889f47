//! `oclock list`: what the lockfile pins.

use std::collections::BTreeMap;

use super::error::OpsError;
use super::session::Session;
use crate::lock::{BuiltWheel, PinKey};
use crate::model::{Ecosystem, Platform, Sha256};

/// What is pinned.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ListOutcome {
    /// The pins in the lockfile's order.
    pub pins: Vec<ListedPin>,
}

/// One pin, as it is listed.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ListedPin {
    /// Its ecosystem.
    pub ecosystem: Ecosystem,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The platform it is for.
    pub platform: Platform,
    /// The size of its artifact in bytes.
    pub size: u64,
    /// Its artifact's digest.
    pub sha256: Sha256,
    /// The wheel, where it is built of the artifact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub built: Option<BuiltWheel>,
    /// The project that it builds, where it is in no image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builds: Option<String>,
    /// Who asked for it.
    pub required_by: Vec<String>,
}

/// Reads the lockfile and lists its pins.
///
/// # Errors
/// When it is missing or wrong.
pub fn list(session: &Session) -> Result<ListOutcome, OpsError> {
    let lock = session.lock()?;
    let built: BTreeMap<PinKey<'_>, &BuiltWheel> =
        lock.pip.iter().filter_map(|pin| Some((pin.view().key(), pin.built.as_ref()?))).collect();
    let pins = lock.pins().map(|pin| ListedPin {
        built: built.get(&pin.key()).copied().cloned(),
        builds: pin.builds.map(ToString::to_string),
        ecosystem: pin.ecosystem,
        name: pin.name.to_string(),
        version: pin.version.to_string(),
        platform: pin.platform,
        size: pin.artifact.size,
        sha256: pin.artifact.sha256,
        required_by: pin.required_by.to_vec(),
    });
    Ok(ListOutcome { pins: pins.collect() })
}
