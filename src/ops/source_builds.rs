//! Python projects that are built from source: which have to be, with what, and whether the same wheel comes out.

use std::collections::BTreeMap;

use super::base::Ground;
use super::error::OpsError;
use super::room::{Outcome, Room, RoomOptions};
use super::session::Session;
use super::update::{self, Target};
use crate::audit::proof::{BUILT, UNCHECKED};
use crate::audit::{Finding, Level};
use crate::fetch::{self, FetchPlan, Wanted};
use crate::lock::{BUILD_SYSTEM, BuiltWheel, Keep, Lockfile, MANIFEST, PipBuildPin, PipPin};
use crate::manifest::{Manifest, PipSection};
use crate::model::{Platform, Sha256};
use crate::resolve::pip::{Built, PipError, UnbuiltSource, WishedPip, build_system};

/// How often a backend may say that it needs more.
const MOST_ROOMS: usize = 4;
/// How often a wheel is built that was never built before.
const ROUNDS: usize = 2;

/// What was chosen for Python.
#[derive(Debug, Default)]
pub(super) struct PipAnswer {
    pub(super) pins: Vec<PipPin>,
    pub(super) builds: Vec<PipBuildPin>,
}

/// What stays of what is there.
#[derive(Clone, Copy)]
pub(super) struct Held<'a> {
    pub(super) pip: Keep<'a, PipPin>,
    pub(super) builds: &'a [PipBuildPin],
}

/// Goes on where the resolver stopped at source distributions that must be built: builds them and asks it again.
pub(super) async fn resolve_building(
    session: &Session,
    target: Target<'_>,
    held: Option<Held<'_>>,
    wished: &[WishedPip],
    first: Result<Vec<PipPin>, OpsError>,
) -> Result<PipAnswer, OpsError> {
    let builder = Builder { session, target, held };
    let mut built = Built::new();
    let mut rooms: BTreeMap<Sha256, Vec<PipPin>> = BTreeMap::new();
    let mut answer = first;
    loop {
        let sources = match answer {
            Err(OpsError::Pip(PipError::Unbuilt { sources })) => sources,
            Err(error) => return Err(error),
            Ok(pins) => return Ok(PipAnswer { builds: build_pins(&pins, &rooms), pins }),
        };
        for source in sources {
            let (wheel, requires) = builder.build(&source).await?;
            let digest = source.artifact.sha256;
            if built.insert(digest, wheel).is_some() {
                return Err(PipError::Bug { what: format!("{} was built twice", source.label()) }.into());
            }
            rooms.insert(digest, requires);
        }
        let keep = held.map(|held| held.pip);
        answer = update::resolve_pip(session, target, keep, wished, &built).await;
    }
}

/// The pins of all rooms whose wheels were chosen, in the lock's order.
fn build_pins(pins: &[PipPin], rooms: &BTreeMap<Sha256, Vec<PipPin>>) -> Vec<PipBuildPin> {
    let built = pins.iter().filter(|pin| pin.built.is_some());
    let of = |pin: &PipPin| {
        let wheels = rooms.get(&pin.artifact.sha256).into_iter().flatten();
        wheels.map(|wheel| PipBuildPin { builds: pin.name.clone(), wheel: wheel.clone() }).collect::<Vec<_>>()
    };
    built.flat_map(of).collect()
}

struct Builder<'a> {
    session: &'a Session,
    target: Target<'a>,
    held: Option<Held<'a>>,
}

impl Builder<'_> {
    /// The wheel of a source distribution, and the wheels that it was built with.
    async fn build(&self, source: &UnbuiltSource) -> Result<(BuiltWheel, Vec<PipPin>), OpsError> {
        let Target { manifest, platform, base, archives, apt, ground, choosing } = self.target;
        self.bring(source).await?;
        let archive = self.session.store.open_blob(&source.artifact.sha256)?;
        let system = build_system(archive, source.artifact.path.file_name());
        let bad = |why: String| OpsError::BadSource { label: source.label(), why };
        let mut asked = system.map_err(bad)?.requires;
        let epoch = update::epoch(manifest, archives, ground.and_then(Ground::created))?;
        for _ in 0..MOST_ROOMS {
            let requires = self.requirements(source, &asked).await?;
            let room = Room { manifest, platform, base, archives, apt, epoch, source, requires: &requires };
            let options = RoomOptions::with(choosing.engine);
            // It fetches too, and takes its time: nothing else is under way.
            let outcome = tokio::task::block_in_place(|| room.build_or_recall(self.session, options, ROUNDS))?;
            let more = match outcome {
                Outcome::Wheel(wheel) => return Ok((wheel, requires)),
                Outcome::Requires(more) => more,
            };
            if more.iter().all(|text| asked.contains(text)) {
                return Err(bad(format!("its backend needs {}, which is not for this platform", more.join(", "))));
            }
            asked.extend(more);
        }
        Err(bad("its backend needs more each time that it is asked".to_owned()))
    }

    /// Brings a source distribution into the store.
    async fn bring(&self, source: &UnbuiltSource) -> Result<(), OpsError> {
        let Session { http, store, progress, paths, .. } = self.session;
        if store.contains(&source.artifact.sha256) {
            return Ok(());
        }
        let artifacts = vec![Wanted { artifact: &source.artifact, label: source.label(), moments: Vec::new() }];
        let plan = FetchPlan { artifacts, ..FetchPlan::default() };
        fetch::fetch(&plan, self.target.choosing.sources, http, store, progress, &paths.quarantine()).await?;
        Ok(())
    }

    /// Chooses what a source distribution is built with: wheels alone, within the manifest's constraints.
    async fn requirements(&self, source: &UnbuiltSource, asked: &[String]) -> Result<Vec<PipPin>, OpsError> {
        let manifest = self.target.manifest;
        let pip = PipSection {
            packages: asked.to_vec(),
            constraints: manifest.pip.constraints.clone(),
            python: manifest.pip.python.clone(),
            ..PipSection::default()
        };
        let manifest = Manifest { pip, ..manifest.clone() };
        let target = Target { manifest: &manifest, ..self.target };
        let is_own = |pin: &&PipBuildPin| pin.builds == source.name && pin.wheel.platform == target.platform;
        let own: Vec<&PipPin> =
            self.held.map_or(&[][..], |held| held.builds).iter().filter(is_own).map(|pin| &pin.wheel).collect();
        let keep = self.held.map(|held| Keep { pins: &own, ..held.pip });
        let pins = update::resolve_pip(self.session, target, keep, &[], &Built::new()).await;
        let mut pins = pins.map_err(|error| match error {
            OpsError::Pip(error) => OpsError::BuildRequirements { label: source.label(), source: Box::new(error) },
            other => other,
        })?;
        for pin in &mut pins {
            let by = pin.required_by.iter_mut().filter(|by| *by == MANIFEST);
            by.for_each(|by| BUILD_SYSTEM.clone_into(by));
            pin.required_by.sort();
        }
        Ok(pins)
    }
}

/// A pin's source distribution and the wheels that it is built with, as a lock has them.
struct LockedRoom<'a> {
    pin: &'a PipPin,
    wheel: &'a BuiltWheel,
    source: UnbuiltSource,
    requires: Vec<PipPin>,
}

impl<'a> LockedRoom<'a> {
    /// All rooms of a lock.
    fn all(lock: &'a Lockfile) -> impl Iterator<Item = Self> {
        lock.pip.iter().filter_map(|pin| {
            let wheel = pin.built.as_ref()?;
            let (name, version) = (pin.name.clone(), pin.version.clone());
            let source = UnbuiltSource { name, version, artifact: pin.artifact.clone() };
            let own = |other: &&PipBuildPin| other.builds == pin.name && other.wheel.platform == pin.platform;
            let requires = lock.pip_builds.iter().filter(own).map(|other| other.wheel.clone()).collect();
            Some(Self { pin, wheel, source, requires })
        })
    }

    fn room<'r>(&'r self, manifest: &'r Manifest, lock: &'r Lockfile) -> Room<'r> {
        Room {
            manifest,
            platform: self.pin.platform,
            base: &lock.base,
            archives: &lock.archives,
            apt: &lock.apt,
            epoch: lock.epoch,
            source: &self.source,
            requires: &self.requires,
        }
    }
}

/// Builds the wheels of a lock that the store lacks, each from what is locked for it.
///
/// # Errors
/// When one cannot be built, or is another than the locked one.
pub(super) fn ensure_built(
    session: &Session,
    manifest: &Manifest,
    lock: &Lockfile,
    platform: Platform,
    options: RoomOptions,
) -> Result<(), OpsError> {
    let rooms = LockedRoom::all(lock).filter(|room| room.pin.platform == platform);
    for locked in rooms.filter(|room| !session.store.contains(&room.wheel.sha256)) {
        let label = locked.source.label();
        match locked.room(manifest, lock).build(session, options, 1)? {
            Outcome::Wheel(found) if found == *locked.wheel => {}
            Outcome::Wheel(found) => {
                let wheels = Box::new((locked.wheel.clone(), found));
                return Err(OpsError::OtherWheel { label, wheels });
            }
            Outcome::Requires(more) => {
                let why = format!("its backend needs {}, which is not locked for it", more.join(", "));
                return Err(OpsError::BadSource { label, why });
            }
        }
    }
    Ok(())
}

/// Holds the wheels of a lock against what its inputs were built to on this machine. A wheel that was not is as grave as
/// `missing`: nothing here says that this source gives it.
pub(super) fn check_built(session: &Session, manifest: &Manifest, lock: &Lockfile, missing: Level) -> Vec<Finding> {
    let judge = |locked: LockedRoom<'_>| {
        let (label, subject) = (locked.source.label(), format!("pip:{}", locked.pin.name));
        match locked.room(manifest, lock).remembered(session) {
            Some(found) if found == *locked.wheel => None,
            Some(found) => {
                let evidence = vec![
                    format!("  locked  sha256:{}", locked.wheel.sha256),
                    format!("   built  sha256:{}", found.sha256),
                ];
                let message = format!("`{label}` is not built to the locked wheel");
                Some(Finding { evidence, ..Finding::new(&BUILT, subject, message) })
            }
            None => {
                let message = format!("`{label}` was not built here from what is locked: `oclock build` does it");
                Some(Finding { level: missing, ..Finding::new(&UNCHECKED, subject, message) })
            }
        }
    };
    LockedRoom::all(lock).filter_map(judge).collect()
}

/// The digests of the wheels that are built for a platform.
pub(super) fn built_wheels(lock: &Lockfile, platform: Platform) -> impl Iterator<Item = &Sha256> {
    let pins = lock.pip.iter().filter(move |pin| pin.platform == platform);
    pins.filter_map(|pin| pin.built.as_ref()).map(|built| &built.sha256)
}
