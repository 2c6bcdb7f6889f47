//! Updates that move some pins and hold on to the others: `update WHAT…`, `--minimal`, `--pruned`.
//!
//! A section that asks for nothing new and of which nothing shall move keeps its pins as they are, without a look at its
//! sources. The others are resolved with the old pins as preferences.

use std::collections::{BTreeMap, BTreeSet};

use super::base::{Ground, kept_base, resolve_base};
use super::build::seal_of;
use super::error::OpsError;
use super::pruned::{Survey, settle_archives};
use super::session::Session;
use super::source_builds::{Held, PipAnswer, resolve_building};
use super::update::{self, Choosing, Target, apt_request, epoch};
use super::what::Moving;
use crate::fetch;
use crate::lock::{
    self, AptPin, Drift, Finding, Keep, Lockfile, NpmPin, PinView, PipPin, fingerprints, pinned_upstream,
};
use crate::manifest::Place;
use crate::model::{Ecosystem, PackageName, PackageVersion, Platform, Sha256};
use crate::resolve::apt::{self, Kept, Listing};
use crate::resolve::pip::Built;

/// What is known before anything is chosen.
pub(super) struct Selective<'a> {
    pub(super) session: &'a Session,
    pub(super) choosing: Choosing<'a>,
    /// The lock that is held on to.
    pub(super) lock: &'a Lockfile,
    /// What shall move.
    pub(super) moving: Moving,
    /// The version that it shall have.
    pub(super) precise: Option<&'a PackageVersion>,
    /// What no source has any more.
    pub(super) gone: BTreeMap<Ecosystem, BTreeSet<(PackageName, PackageVersion)>>,
    /// The Debian archives of today, where they were looked at already.
    pub(super) surveys: Vec<Survey<'a>>,
    /// How the lock does not answer the manifest.
    pub(super) drifts: Vec<Drift>,
}

/// What npm and Python packages stand on now.
#[derive(Clone, Copy)]
struct New<'a> {
    apt: &'a [AptPin],
    is_same_base: bool,
}

impl<'a> Selective<'a> {
    /// Chooses again what has to be chosen.
    pub(super) async fn run(mut self) -> Result<Lockfile, OpsError> {
        let mut lock = Lockfile {
            epoch: 0,
            platforms: self.choosing.manifest.image.platforms.clone(),
            fingerprints: fingerprints(self.choosing.manifest),
            seal: seal_of(self.choosing.manifest),
            base: match kept_base(self.choosing.manifest, self.lock).filter(|_| !self.moving.base) {
                Some(base) => base,
                None => resolve_base(self.session, self.choosing.manifest, self.choosing.sources).await?,
            },
            archives: Vec::new(),
            apt: Vec::new(),
            npm: Vec::new(),
            pip: Vec::new(),
            pip_builds: Vec::new(),
            images: BTreeMap::new(),
        };
        let mut fresh = Vec::new();
        let is_same_base = self.lock.base == lock.base;
        let mut created = None;
        for platform in self.choosing.manifest.image.platforms.clone() {
            let ground =
                Ground::of(self.session, self.choosing.manifest, self.choosing.sources, &lock.base, platform).await?;
            let ground = ground.as_ref();
            created = created.max(ground.and_then(Ground::created));
            if self.lock.platforms.contains(&platform) && is_same_base {
                lock.apt.extend(self.apt(platform, ground).await?);
            } else {
                let (archives, apt) = update::resolve_apt(
                    self.session,
                    self.choosing.manifest,
                    self.choosing.sources,
                    platform,
                    (self.choosing.as_of, ground),
                )
                .await?;
                fresh.extend(archives);
                lock.apt.extend(apt);
            }
            let new = New { apt: &lock.apt, is_same_base };
            let (choosing, manifest) = (self.choosing, self.choosing.manifest);
            let archives = if is_same_base { &self.lock.archives } else { &fresh };
            let target = Target { choosing, manifest, platform, base: &lock.base, archives, apt: &lock.apt, ground };
            // One after the other: nothing else goes on while something is built.
            let (npm, pip) = (self.npm(target, new).await?, self.pip(target, new).await?);
            lock.npm.extend(npm);
            lock.pip.extend(pip.pins);
            lock.pip_builds.extend(pip.builds);
        }
        lock.archives = match is_same_base {
            true => settle_archives(self.lock, &self.surveys, &lock.apt, fresh),
            false => update::merged(fresh),
        };
        lock.epoch = epoch(self.choosing.manifest, &lock.archives, created)?;
        self.check(&lock)?;
        Ok(lock)
    }

    /// Whether the pins of a section stay as they are.
    fn is_settled(&self, ecosystem: Ecosystem, platform: Platform) -> bool {
        self.lock.platforms.contains(&platform)
            && self.moving.of(ecosystem).is_empty()
            && !self.drifts.iter().any(|drift| concerns(drift, ecosystem))
    }

    async fn apt(&mut self, platform: Platform, ground: Option<&Ground>) -> Result<Vec<AptPin>, OpsError> {
        let pins: Vec<&'a AptPin> = self.lock.apt.iter().filter(|pin| pin.platform == platform).collect();
        let request = apt_request(self.choosing.manifest, platform, (self.choosing.as_of, ground))?;
        let request = request.filter(|_| !self.is_settled(Ecosystem::Apt, platform));
        let Some(request) = request else { return Ok(pins.into_iter().cloned().collect()) };
        let index = match self.surveys.iter().position(|survey| survey.platform == platform) {
            Some(index) => index,
            None => {
                let survey =
                    Survey::take(self.session, &request, self.choosing.sources, platform, pins.clone()).await?;
                self.surveys.push(survey);
                self.surveys.len() - 1
            }
        };
        let survey = &self.surveys[index];
        let moving = self.moving.of(Ecosystem::Apt);
        self.bring_unlisted(survey, &moving).await?;
        let kept = Kept { pins: &pins, moving: &moving, precise: self.precise, archives: &self.lock.archives };
        let solution = apt::resolve_keeping(&request, kept, &survey.today, &self.session.store).await?;
        for name in &solution.released {
            tracing::debug!("apt:{name} must move too");
        }
        Ok(solution.pins)
    }

    /// Brings what is still there and listed nowhere: only the `.deb` itself says what it needs.
    async fn bring_unlisted(&self, survey: &Survey<'_>, moving: &BTreeSet<PackageName>) -> Result<(), OpsError> {
        let unlisted = survey
            .pins
            .iter()
            .filter(|(pin, listing)| *listing == Listing::Nowhere && !moving.contains(&pin.name))
            .filter(|(pin, _)| !self.session.store.contains(&pin.artifact.sha256));
        let artifacts = unlisted.map(|(pin, _)| fetch::Wanted::of(pin.view(), self.lock)).collect();
        let plan = fetch::FetchPlan { artifacts, ..fetch::FetchPlan::default() };
        let Session { http, store, progress, paths, .. } = self.session;
        let quarantine = paths.scratch().join("quarantine");
        fetch::fetch(&plan, self.choosing.sources, http, store, progress, &quarantine).await?;
        Ok(())
    }

    async fn npm(&self, target: Target<'_>, new: New<'_>) -> Result<Vec<NpmPin>, OpsError> {
        let platform = target.platform;
        let pins: Vec<&NpmPin> = self.lock.npm.iter().filter(|pin| pin.platform == platform).collect();
        if self.is_settled(Ecosystem::Npm, platform) && self.is_same_target("nodejs", platform, new) {
            return Ok(pins.into_iter().cloned().collect());
        }
        let (moving, gone) = (self.moving.of(Ecosystem::Npm), self.gone.get(&Ecosystem::Npm).cloned());
        let keep = Keep { pins: &pins, moving: &moving, gone: &gone.unwrap_or_default(), precise: self.precise };
        update::resolve_npm(self.session, target, &self.lock.npm, self.held(platform).then_some(keep)).await
    }

    async fn pip(&self, target: Target<'_>, new: New<'_>) -> Result<PipAnswer, OpsError> {
        let platform = target.platform;
        let pins: Vec<&PipPin> = self.lock.pip.iter().filter(|pin| pin.platform == platform).collect();
        if self.is_pip_settled(platform, new) {
            let builds = self.lock.pip_builds.iter().filter(|pin| pin.wheel.platform == platform);
            return Ok(PipAnswer { builds: builds.cloned().collect(), pins: pins.into_iter().cloned().collect() });
        }
        let (moving, gone) = (self.moving.of(Ecosystem::Pip), self.gone.get(&Ecosystem::Pip).cloned());
        let keep = Keep { pins: &pins, moving: &moving, gone: &gone.unwrap_or_default(), precise: self.precise };
        let held = Held { pip: keep, builds: &self.lock.pip_builds };
        let held = self.held(platform).then_some(held);
        let keep = held.map(|held| held.pip);
        let first = update::resolve_pip(self.session, target, keep, &[], &Built::new()).await;
        resolve_building(self.session, target, held, &[], first).await
    }

    /// Whether the pins of Python stay as they are. What is built from source is built anew where a Debian package moved.
    fn is_pip_settled(&self, platform: Platform, new: New<'_>) -> bool {
        let debian = |pins: &[AptPin]| -> Vec<Sha256> {
            pins.iter().filter(|pin| pin.platform == platform).map(|pin| pin.artifact.sha256).collect()
        };
        let is_same = ["python3", "libc6"].iter().all(|name| self.is_same_target(name, platform, new));
        let builds = self.lock.pip.iter().any(|pin| pin.platform == platform && pin.built.is_some());
        self.is_settled(Ecosystem::Pip, platform) && is_same && (!builds || debian(&self.lock.apt) == debian(new.apt))
    }

    fn held(&self, platform: Platform) -> bool {
        self.lock.platforms.contains(&platform)
    }

    /// Whether what packages are chosen for is what it was.
    fn is_same_target(&self, package: &str, platform: Platform, new: New<'_>) -> bool {
        let (old, now) = (&self.lock.apt, new.apt);
        new.is_same_base && pinned_upstream(old, package, platform) == pinned_upstream(now, package, platform)
    }

    /// Refuses a lock that does not answer the manifest, or has another version than was asked for.
    fn check(&self, lock: &Lockfile) -> Result<(), OpsError> {
        let drifts = lock::check(self.choosing.manifest, lock).into_iter().map(|drift| drift.to_string());
        let mut reasons: Vec<String> = drifts.chain(lock::check_lockfile(lock).err()).collect();
        reasons.extend(self.precise.and_then(|version| self.other_version(lock, version)));
        if reasons.is_empty() { Ok(()) } else { Err(OpsError::CannotMove { reasons }) }
    }

    fn other_version(&self, lock: &Lockfile, version: &PackageVersion) -> Option<String> {
        let mut named = lock.pins().filter(|pin| self.moving.of(pin.ecosystem).contains(pin.name)).peekable();
        if named.peek().is_none() {
            return Some("nothing asks for it any more".to_owned());
        }
        let found: Vec<PinView<'_>> = named.collect();
        let has = |platform: &Platform| found.iter().any(|pin| pin.platform == *platform && same_version(pin, version));
        let first = found.first().filter(|_| !lock.platforms.iter().all(has))?;
        let by = first.required_by.join(", ");
        Some(format!(
            "{}:{} {} is what its requirements allow, not {version}  required by {by}",
            first.ecosystem, first.name, first.version
        ))
    }
}

fn same_version(pin: &PinView<'_>, version: &PackageVersion) -> bool {
    use std::str::FromStr;
    match pin.ecosystem {
        Ecosystem::Apt | Ecosystem::Npm => pin.version == version,
        Ecosystem::Pip => {
            let read = |text: &PackageVersion| uv_pep440::Version::from_str(text.as_str()).ok();
            read(pin.version).is_some_and(|found| {
                Some(found.clone().without_local()) == read(version) || Some(found) == read(version)
            })
        }
    }
}

/// Whether a disagreement is about the pins of an ecosystem.
fn concerns(drift: &Drift, ecosystem: Ecosystem) -> bool {
    let section = match &drift.place {
        Place::Apt(_) => Some(Ecosystem::Apt),
        Place::Npm(_) | Place::NpmProject { .. } => Some(Ecosystem::Npm),
        Place::Pip(_) | Place::PipConstraint(_) | Place::PipOverride(_) => Some(Ecosystem::Pip),
        Place::Key(key) => Ecosystem::ALL.into_iter().find(|known| key.split('.').next() == Some(known.as_str())),
        Place::Source(_) => match &drift.finding {
            Finding::OtherSource { pin, .. } => Some(pin.ecosystem),
            _ => None,
        },
    };
    section == Some(ecosystem)
}
