//! `oclock update --pruned`: which pins no source has any more, and where the archives of today list the others.
//!
//! Whether a file can be had is a question to the sources, never to this machine's store. What the signed indexes of today
//! list is there; each of the other files is asked for.

use std::collections::BTreeSet;

use super::base::Ground;
use super::error::OpsError;
use super::session::Session;
use super::update::{apt_request, merged};
use crate::base::text::count;
use crate::fetch::{self, Failure, Wanted};
use crate::lock::{AptPin, ArchivePin, Lockfile};
use crate::manifest::Manifest;
use crate::model::{Artifact, Platform};
use crate::resolve::apt::{AptRequest, Listing, Today};
use crate::source::{AsOf, Source, Sources};

/// A platform's Debian pins, and where the archives of today list each.
pub(super) struct Survey<'a> {
    pub(super) platform: Platform,
    pub(super) today: Today,
    pub(super) pins: Vec<(&'a AptPin, Listing)>,
}

impl<'a> Survey<'a> {
    /// Fetches the archives of today.
    pub(super) async fn take(
        session: &Session,
        request: &AptRequest<'_>,
        sources: &Sources,
        platform: Platform,
        pins: Vec<&'a AptPin>,
    ) -> Result<Self, OpsError> {
        let archives = sources.apt(request.suite)?;
        let archives: Vec<&Source> = archives.iter().collect();
        let phase = session.progress.spinner("fetching the archives of today");
        let today = Today::fetch(request, &archives, &session.http, &session.store).await?;
        phase.finish(&count(archives.len(), "source"));
        let listings = today.listings(&pins);
        Ok(Self { platform, today, pins: pins.into_iter().zip(listings).collect() })
    }
}

/// Fetches the archives of today for all platforms with Debian pins.
pub(super) async fn surveys<'a>(
    session: &Session,
    manifest: &Manifest,
    sources: &Sources,
    lock: &'a Lockfile,
    as_of: Option<&AsOf>,
) -> Result<Vec<Survey<'a>>, OpsError> {
    let mut surveys = Vec::new();
    for platform in lock.platforms.iter().copied() {
        let pins: Vec<&AptPin> = lock.apt.iter().filter(|pin| pin.platform == platform).collect();
        if pins.is_empty() {
            continue;
        }
        let ground = Ground::of(session, manifest, sources, &lock.base, platform).await?;
        if let Some(request) = apt_request(manifest, platform, (as_of, ground.as_ref()))? {
            surveys.push(Survey::take(session, &request, sources, platform, pins).await?);
        }
    }
    Ok(surveys)
}

/// The pins that no source has any more.
pub(super) async fn find_gone(
    session: &Session,
    sources: &Sources,
    lock: &Lockfile,
    surveys: &[Survey<'_>],
) -> Result<Vec<Failure>, OpsError> {
    let listed: BTreeSet<&Artifact> = surveys
        .iter()
        .flat_map(|survey| &survey.pins)
        .filter(|(_, listing)| *listing != Listing::Nowhere)
        .map(|(pin, _)| &pin.artifact)
        .collect();
    let mut seen = BTreeSet::new();
    let open = lock.pins().filter(|pin| !listed.contains(pin.artifact) && seen.insert(pin.artifact));
    let wanted: Vec<Wanted<'_>> = open.map(|pin| Wanted::of(pin, lock)).collect();
    let phase = session.progress.spinner("asking the sources");
    let gone = fetch::find_gone(&wanted, sources, &session.http).await?;
    phase.finish(&format!("{}, {} gone", count(wanted.len(), "file"), gone.len()));
    Ok(gone)
}

/// The archives that vouch for the pins: those of today for a suite in which something moved, beside the lock's own where
/// today's do not list all that was kept; and the `fresh` ones of platforms that were not locked before.
pub(super) fn settle_archives(
    old: &Lockfile,
    surveys: &[Survey<'_>],
    pins: &[AptPin],
    fresh: Vec<ArchivePin>,
) -> Vec<ArchivePin> {
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
    merged(own.chain(today).cloned().chain(fresh).collect())
}

fn key(pin: &AptPin) -> (Platform, &Artifact, &str) {
    (pin.platform, &pin.artifact, &pin.suite)
}
