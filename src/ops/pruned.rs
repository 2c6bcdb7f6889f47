//! `oclock update --pruned`: moves the pins that no source has any more, with what they force, and nothing else.
//!
//! Whether a file can be had is a question to the sources, never to this machine's store. What the signed indexes of today
//! list is there; each of the other files is asked for.

use std::collections::{BTreeMap, BTreeSet};

use super::base::Ground;
use super::error::OpsError;
use super::session::Session;
use super::update::{UpdateMode, UpdateOutcome, apt_request, epoch, finish, merged};
use crate::base::text::count;
use crate::fetch::{self, Failure, FetchPlan, Wanted};
use crate::lock::{self, AptPin, ArchivePin, Lockfile, PinView};
use crate::manifest::Manifest;
use crate::model::{Artifact, Ecosystem, PackageName, Platform};
use crate::resolve::apt::{self, Kept, Listing, Today};
use crate::source::{Source, Sources};

/// Moves the pins that no source has any more. When nothing is gone the lockfile stays as it is, to the byte.
///
/// # Errors
/// When the lockfile does not answer the manifest, a source could not be asked, or what is gone cannot be moved alone.
pub fn update_pruned(session: &Session, mode: UpdateMode) -> Result<UpdateOutcome, OpsError> {
    let file = session.manifest()?;
    let previous = session.lock()?;
    let drifts = lock::check(&file.manifest, &previous);
    if !drifts.is_empty() {
        return Err(OpsError::drifted(&file, drifts));
    }
    let sources = session.sources(&file.manifest)?;
    let pruning = Pruning { session, manifest: &file.manifest, sources: &sources, lock: &previous };
    let (lock, gone) = session.block_on(pruning.run())?;
    let outcome = finish(session, mode, Some(&previous), &lock)?;
    Ok(UpdateOutcome { gone: gone.into_iter().map(|failure| failure.label).collect(), ..outcome })
}

struct Pruning<'a> {
    session: &'a Session,
    manifest: &'a Manifest,
    sources: &'a Sources,
    lock: &'a Lockfile,
}

/// A platform's Debian pins, and where the archives of today list each.
struct Survey<'a> {
    platform: Platform,
    ground: Option<Ground>,
    today: Today,
    pins: Vec<(&'a AptPin, Listing)>,
}

impl<'a> Pruning<'a> {
    async fn run(&self) -> Result<(Lockfile, Vec<Failure>), OpsError> {
        let mut surveys = Vec::new();
        for platform in &self.lock.platforms {
            surveys.extend(self.survey(*platform).await?);
        }
        let gone = self.find_gone(&surveys).await?;
        if gone.is_empty() {
            return Ok((self.lock.clone(), gone));
        }
        refuse_other_ecosystems(self.lock, &gone)?;
        let moved = self.move_apt(&surveys, &gone).await?;
        Ok((moved, gone))
    }

    /// Fetches the archives of today for a platform with Debian pins.
    async fn survey(&self, platform: Platform) -> Result<Option<Survey<'a>>, OpsError> {
        let pins: Vec<&AptPin> = self.lock.apt.iter().filter(|pin| pin.platform == platform).collect();
        if pins.is_empty() {
            return Ok(None);
        }
        let ground = Ground::of(self.session, self.manifest, self.sources, &self.lock.base, platform).await?;
        let Some(request) = apt_request(self.manifest, platform, ground.as_ref())? else { return Ok(None) };
        let archives = self.sources.apt(request.suite)?;
        let archives: Vec<&Source> = archives.iter().collect();
        let phase = self.session.progress.spinner("fetching the archives of today");
        let today = Today::fetch(&request, &archives, &self.session.http, &self.session.store).await?;
        phase.finish(&count(archives.len(), "source"));
        let listings = today.listings(&pins);
        Ok(Some(Survey { platform, ground, today, pins: pins.into_iter().zip(listings).collect() }))
    }

    async fn find_gone(&self, surveys: &[Survey<'_>]) -> Result<Vec<Failure>, OpsError> {
        let listed: BTreeSet<&Artifact> = surveys
            .iter()
            .flat_map(|survey| &survey.pins)
            .filter(|(_, listing)| *listing != Listing::Nowhere)
            .map(|(pin, _)| &pin.artifact)
            .collect();
        let mut seen = BTreeSet::new();
        let open = self.lock.pins().filter(|pin| !listed.contains(pin.artifact) && seen.insert(pin.artifact));
        let wanted: Vec<Wanted<'_>> = open.map(wanted).collect();
        let phase = self.session.progress.spinner("asking the sources");
        let gone = fetch::find_gone(&wanted, self.sources, &self.session.http).await?;
        phase.finish(&format!("{}, {} gone", count(wanted.len(), "file"), gone.len()));
        Ok(gone)
    }

    async fn move_apt(&self, surveys: &[Survey<'_>], gone: &[Failure]) -> Result<Lockfile, OpsError> {
        let gone: BTreeSet<&Artifact> = gone.iter().map(|failure| &failure.artifact).collect();
        self.bring_unlisted(surveys, &gone).await?;
        let mut pins = Vec::new();
        for survey in surveys {
            pins.extend(self.choose(survey, &gone).await?);
        }
        let archives = settle_archives(self.lock, surveys, &pins);
        let lock = Lockfile {
            epoch: epoch(self.manifest, &archives, Some(self.lock.epoch))?,
            archives,
            apt: pins,
            images: BTreeMap::new(),
            ..self.lock.clone()
        };
        let drifts = lock::check(self.manifest, &lock).into_iter().map(|drift| drift.to_string());
        let reasons: Vec<String> = drifts.chain(lock::check_lockfile(&lock).err()).collect();
        if reasons.is_empty() { Ok(lock) } else { Err(OpsError::CannotMove { reasons }) }
    }

    /// Brings what is still there and listed nowhere: only the `.deb` itself says what it needs.
    async fn bring_unlisted(&self, surveys: &[Survey<'_>], gone: &BTreeSet<&Artifact>) -> Result<(), OpsError> {
        let unlisted = surveys
            .iter()
            .flat_map(|survey| &survey.pins)
            .filter(|(pin, listing)| *listing == Listing::Nowhere && !gone.contains(&pin.artifact))
            .filter(|(pin, _)| !self.session.store.contains(&pin.artifact.sha256));
        let plan =
            FetchPlan { artifacts: unlisted.map(|(pin, _)| wanted(pin.view())).collect(), ..FetchPlan::default() };
        let Session { http, store, progress, paths, .. } = self.session;
        let quarantine = paths.scratch().join("quarantine");
        fetch::fetch(&plan, self.sources, http, store, progress, &quarantine).await?;
        Ok(())
    }

    async fn choose(&self, survey: &Survey<'_>, gone: &BTreeSet<&Artifact>) -> Result<Vec<AptPin>, OpsError> {
        let pins: Vec<&AptPin> = survey.pins.iter().map(|(pin, _)| *pin).collect();
        let names: BTreeSet<PackageName> =
            pins.iter().filter(|pin| gone.contains(&pin.artifact)).map(|pin| pin.name.clone()).collect();
        let request = apt_request(self.manifest, survey.platform, survey.ground.as_ref())?;
        let request = request.filter(|_| !names.is_empty());
        let Some(request) = request else { return Ok(pins.into_iter().cloned().collect()) };
        let kept = Kept { pins: &pins, gone: &names, archives: &self.lock.archives };
        let solution = apt::resolve_keeping(&request, kept, &survey.today, &self.session.store).await?;
        for name in &solution.released {
            tracing::debug!("apt:{name} must move too");
        }
        Ok(solution.pins)
    }
}

fn wanted(pin: PinView<'_>) -> Wanted<'_> {
    Wanted { artifact: pin.artifact, label: format!("{}:{} {}", pin.ecosystem, pin.name, pin.version) }
}

/// npm and pip cannot keep all their other pins yet, so they move none.
fn refuse_other_ecosystems(lock: &Lockfile, gone: &[Failure]) -> Result<(), OpsError> {
    let mut others = BTreeSet::new();
    for pin in lock.pins().filter(|pin| pin.ecosystem != Ecosystem::Apt) {
        if gone.iter().any(|failure| failure.artifact == *pin.artifact) {
            others
                .insert(format!("gone  {}:{} {}  from {}", pin.ecosystem, pin.name, pin.version, pin.artifact.source));
        }
    }
    match others.is_empty() {
        true => Ok(()),
        false => Err(OpsError::CannotMove { reasons: others.into_iter().collect() }),
    }
}

/// The archives that vouch for the pins: those of today for a suite in which something moved, beside the lock's own where
/// today's do not list all that was kept.
fn settle_archives(old: &Lockfile, surveys: &[Survey<'_>], pins: &[AptPin]) -> Vec<ArchivePin> {
    let before: BTreeSet<(Platform, &Artifact, &str)> = old.apt.iter().map(key).collect();
    let listed: BTreeSet<(Platform, &Artifact, &str)> = surveys
        .iter()
        .flat_map(|survey| &survey.pins)
        .filter(|(_, listing)| *listing == Listing::OwnSuite)
        .map(|(pin, _)| key(pin))
        .collect();
    let suite_of = |pin: &AptPin| (pin.artifact.source.clone(), pin.suite.clone());
    let (kept, moved): (Vec<&AptPin>, Vec<&AptPin>) = pins.iter().partition(|pin| before.contains(&key(pin)));
    let moved: BTreeSet<_> = moved.into_iter().map(suite_of).collect();
    let unlisted: BTreeSet<_> = kept.into_iter().filter(|pin| !listed.contains(&key(pin))).map(suite_of).collect();
    let suite = |archive: &ArchivePin| (archive.source.clone(), archive.suite.clone());
    let own =
        old.archives.iter().filter(|archive| !moved.contains(&suite(archive)) || unlisted.contains(&suite(archive)));
    let today = surveys.iter().flat_map(|survey| survey.today.archives());
    let today = today.filter(|archive| moved.contains(&suite(archive)));
    merged(own.chain(today).cloned().collect())
}

fn key(pin: &AptPin) -> (Platform, &Artifact, &str) {
    (pin.platform, &pin.artifact, &pin.suite)
}
