//! `oclock update`: choose versions, hash everything, write lockfile.toml.

use std::collections::{BTreeMap, BTreeSet};

use super::base::{Ground, glibc, node_version, python_version, resolve_base};
use super::build::seal_of;
use super::diff::{ChangedPin, moved_pins};
use super::error::OpsError;
use super::first_seen;
use super::imported::{self, Imported, ImportedOutcome};
use super::pruned;
use super::selective::Selective;
use super::session::Session;
use super::source_builds::resolve_building;
use super::what::{Moving, What};
use crate::base::clock;
use crate::base::fs::write_atomically;
use crate::engine::EngineChoice;
use crate::lock::{
    self, AptPin, ArchivePin, BasePin, Keep, LockDiff, Lockfile, NpmPin, PipPin, fingerprints, render_lockfile,
};
use crate::manifest::{BaseRequest, Manifest};
use crate::model::{Ecosystem, PackageVersion, Platform, Sha256, SourceName};
use crate::resolve::pip::Built;
use crate::resolve::{apt, npm, pip};
use crate::source::{AsOf, NO_TIMES, Source, Sources};

/// What `update` does with its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpdateMode {
    /// Write the lockfile.
    #[default]
    Write,
    /// Only say what would change.
    DryRun,
}

/// Which pins `update` moves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All that have something newer.
    #[default]
    Everything,
    /// These and what they force; none of them is what the manifest alone forces.
    Only(Vec<What>),
}

/// Whether pins that no source has any more move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pruned {
    /// They stay, and are an error where they are in the way.
    #[default]
    Stay,
    /// They move, beside what else shall; nothing else does where everything would.
    Move,
}

/// What is asked of `update`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateOptions {
    /// What is done with the answer.
    pub mode: UpdateMode,
    /// Which pins move.
    pub scope: Scope,
    /// The version that the one package named shall have.
    pub precise: Option<PackageVersion>,
    /// The moment, in seconds since 1970, as of which releases count; now when not given.
    pub as_of: Option<i64>,
    /// What becomes of pins that no source has any more.
    pub pruned: Pruned,
    /// The engine in whose rooms source distributions are built.
    pub engine: EngineChoice,
}

/// What `update` chose.
#[derive(Clone, Debug, serde::Serialize)]
pub struct UpdateOutcome {
    /// Whether the new lockfile differs from the one that was there.
    pub changed: bool,
    /// Whether it was written (not when nothing changed or nothing should be written).
    pub written: bool,
    /// Pins in the new lockfile.
    pub pins: usize,
    /// What differs from the lockfile that was there; empty when there was none.
    pub diff: LockDiff,
    /// The pins in it, each with how far it moved, its age and growth, and who asks for it.
    pub moves: Vec<ChangedPin>,
    /// `ecosystem:name version` of the pins that no source had any more; only ever asked for [`Pruned::Move`].
    pub gone: Vec<String>,
    /// What became of the versions that imported locks name; only where they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imported: Option<ImportedOutcome>,
}

/// Asks offline whether the lockfile answers the manifest.
///
/// # Errors
/// When it does not, or either cannot be read.
pub fn check(session: &Session) -> Result<(), OpsError> {
    let file = session.manifest()?;
    let drifts = lock::check(&file.manifest, &session.lock()?);
    if drifts.is_empty() { Ok(()) } else { Err(OpsError::drifted(&file, drifts)) }
}

/// Chooses versions and writes the lockfile when it changed.
///
/// # Errors
/// When a source cannot be reached, a requirement has no solution, or something is not to be trusted; when what is named
/// is not there, or cannot be moved alone.
pub fn update(session: &Session, options: &UpdateOptions) -> Result<UpdateOutcome, OpsError> {
    if options.scope != Scope::Everything || options.pruned == Pruned::Move {
        return update_some(session, options);
    }
    let file = session.manifest()?;
    let previous = session.lock_if_present()?;
    let sources = session.sources(&file.manifest)?;
    let as_of = as_of(&file.manifest, options.as_of)?;
    let imported = if previous.is_some() { Imported::default() } else { Imported::read(session)? };
    let mut before = Before { previous: previous.as_ref(), imported: &imported, gone: BTreeSet::new() };
    let choosing =
        Choosing { manifest: &file.manifest, sources: &sources, as_of: as_of.as_ref(), engine: options.engine };
    let resolved = session.block_on(resolve(session, choosing, &mut before))?;
    let gone = before.gone;
    let lock = settle(resolved, previous.as_ref());
    if imported == Imported::default() {
        return finish(session, options, &file.manifest, previous.as_ref(), &lock);
    }
    let compared = session.block_on(imported::compare(session, &imported, &gone, &sources, &lock))?;
    let outcome = finish(session, options, &file.manifest, previous.as_ref(), &lock)?;
    if outcome.written {
        imported::remove(&session.paths.manifest)?;
    }
    Ok(UpdateOutcome { imported: Some(compared), ..outcome })
}

/// What was chosen before: by this project, or by another tool.
struct Before<'a> {
    previous: Option<&'a Lockfile>,
    imported: &'a Imported,
    /// `npm:name version` of what other tools chose and no registry has any more.
    gone: BTreeSet<String>,
}

fn update_some(session: &Session, options: &UpdateOptions) -> Result<UpdateOutcome, OpsError> {
    let file = session.manifest()?;
    let manifest = &file.manifest;
    let previous = session.lock()?;
    let drifts = lock::check(manifest, &previous);
    if let (Scope::Only(what), Some(_)) = (&options.scope, &options.precise)
        && !matches!(what[..], [What::Package { .. }])
    {
        return Err(OpsError::Precise);
    }
    let mut moving = match &options.scope {
        Scope::Everything if !drifts.is_empty() => return Err(OpsError::drifted(&file, drifts)),
        Scope::Everything => Moving::default(),
        Scope::Only(what) => Moving::named(what, manifest, &previous)?,
    };
    let sources = session.sources(manifest)?;
    let as_of = as_of(manifest, options.as_of)?;
    let as_of = as_of.as_ref();
    let mut surveys = Vec::new();
    let mut failures = Vec::new();
    if options.pruned == Pruned::Move {
        surveys = session.block_on(pruned::surveys(session, manifest, &sources, &previous, as_of))?;
        failures = session.block_on(pruned::find_gone(session, &sources, &previous, &surveys))?;
    }
    let mut gone: BTreeMap<Ecosystem, BTreeSet<_>> = BTreeMap::new();
    for pin in previous.pins().filter(|pin| failures.iter().any(|failure| failure.artifact == *pin.artifact)) {
        gone.entry(pin.ecosystem).or_default().insert((pin.name.clone(), pin.version.clone()));
        moving.add(pin.ecosystem, pin.name.clone());
    }
    let precise = options.precise.as_ref();
    let (lock, sources) = (&previous, &sources);
    let choosing = Choosing { manifest, sources, as_of, engine: options.engine };
    let selective = Selective { session, choosing, lock, moving, precise, gone, surveys, drifts };
    let lock = settle(session.block_on(selective.run())?, Some(&previous));
    let outcome = finish(session, options, manifest, Some(&previous), &lock)?;
    Ok(UpdateOutcome { gone: failures.into_iter().map(|failure| failure.label).collect(), ..outcome })
}

pub(super) fn finish(
    session: &Session,
    options: &UpdateOptions,
    manifest: &Manifest,
    previous: Option<&Lockfile>,
    lock: &Lockfile,
) -> Result<UpdateOutcome, OpsError> {
    // Older lists are what `--as-of` asks for.
    if let Some(previous) = previous.filter(|_| options.as_of.is_none()) {
        apt::check_rollback(&previous.archives, &lock.archives)?;
    }
    first_seen::refuse_republished(session, lock)?;
    lock::check_lockfile(lock).map_err(|reason| OpsError::Unreadable { reason })?;
    let changed = previous != Some(lock);
    let written = changed && options.mode == UpdateMode::Write;
    if written {
        write_atomically(&session.paths.lockfile, render_lockfile(lock).as_bytes())?;
    }
    if options.mode == UpdateMode::Write {
        first_seen::record(session, lock.pins());
    }
    let diff = previous.map(|previous| lock::diff(previous, lock)).unwrap_or_default();
    let moves = previous.map(|previous| moved_pins(&diff, previous, lock, manifest)).unwrap_or_default();
    Ok(UpdateOutcome { changed, written, pins: lock.pins().count(), diff, moves, gone: Vec::new(), imported: None })
}

async fn resolve(session: &Session, choosing: Choosing<'_>, before: &mut Before<'_>) -> Result<Lockfile, OpsError> {
    let Choosing { manifest, sources, as_of, .. } = choosing;
    let wished = before.imported.wished().map_err(|source| OpsError::Asked { source })?;
    let mut lock = Lockfile {
        epoch: 0,
        platforms: manifest.image.platforms.clone(),
        fingerprints: fingerprints(manifest),
        seal: seal_of(manifest),
        base: resolve_base(session, manifest, sources).await?,
        archives: Vec::new(),
        apt: Vec::new(),
        npm: Vec::new(),
        pip: Vec::new(),
        pip_builds: Vec::new(),
        images: BTreeMap::new(),
    };
    let mut created = None;
    for platform in &manifest.image.platforms {
        let ground = Ground::of(session, manifest, sources, &lock.base, *platform).await?;
        let ground = ground.as_ref();
        created = created.max(ground.and_then(Ground::created));
        let debian = resolve_apt(session, manifest, sources, *platform, (as_of, ground));
        let target =
            |base, archives, apt| Target { choosing, manifest, platform: *platform, base, archives, apt, ground };
        // Node and Python are mostly those of last time: what stands on them need not wait for Debian's answer.
        let (debian, early) = match before.previous {
            Some(previous) => {
                let guess = target(&lock.base, &[], &previous.apt);
                let (debian, early) = tokio::join!(debian, resolve_above(session, guess, before, &wished));
                (debian, Some((guess.interpreters(), early)))
            }
            None => (debian.await, None),
        };
        let (archives, apt) = debian?;
        lock.archives.extend(archives);
        lock.apt.extend(apt);
        let target = target(&lock.base, &lock.archives, &lock.apt);
        let (npm, pip) = match early.filter(|(guessed, _)| *guessed == target.interpreters()) {
            Some((_, early)) => early,
            None => resolve_above(session, target, before, &wished).await,
        };
        let npm = npm?;
        let pip = resolve_building(session, target, None, &wished, pip).await?;
        lock.npm.extend(npm);
        lock.pip.extend(pip.pins);
        lock.pip_builds.extend(pip.builds);
    }
    lock.archives = merged(lock.archives);
    lock.epoch = epoch(manifest, &lock.archives, created)?;
    Ok(lock)
}

/// npm packages and wheels for a target.
async fn resolve_above(
    session: &Session,
    target: Target<'_>,
    before: &mut Before<'_>,
    wished: &[pip::WishedPip],
) -> (Result<Vec<NpmPin>, OpsError>, Result<Vec<PipPin>, OpsError>) {
    let (previous, built) = (before.previous.map_or(&[][..], |lock| &lock.npm), Built::new());
    tokio::join!(
        imported::resolve_npm_keeping(session, target, previous, before.imported, &mut before.gone),
        resolve_pip(session, target, None, wished, &built),
    )
}

/// Archives in the lock's order; one InRelease that several platforms use stands once, with the indexes of all.
pub(super) fn merged(mut archives: Vec<ArchivePin>) -> Vec<ArchivePin> {
    archives.sort_by_key(ArchivePin::order);
    archives.dedup_by(|next, first| {
        let is_same = next.order() == first.order();
        if is_same {
            first.indexes.append(&mut next.indexes);
            first.indexes.sort();
            first.indexes.dedup();
        }
        is_same
    });
    archives
}

/// As of when releases count, and the base image that packages are chosen for.
pub(super) type Standing<'a> = (Option<&'a AsOf>, Option<&'a Ground>);

pub(super) async fn resolve_apt(
    session: &Session,
    manifest: &Manifest,
    sources: &Sources,
    platform: Platform,
    standing: Standing<'_>,
) -> Result<(Vec<ArchivePin>, Vec<AptPin>), OpsError> {
    let Some(request) = apt_request(manifest, platform, standing)? else { return Ok((Vec::new(), Vec::new())) };
    let archives = sources.apt(request.suite)?;
    let archives: Vec<&Source> = archives.iter().collect();
    let phase = session.progress.spinner("resolving apt");
    let solution = apt::resolve(&request, &archives, &session.http, &session.store).await?;
    phase.finish(&crate::base::text::count(solution.pins.len(), "package"));
    Ok((solution.archives, solution.pins))
}

/// What is asked of the Debian archives; nothing where a base image has all that it needs.
pub(super) fn apt_request<'a>(
    manifest: &'a Manifest,
    platform: Platform,
    (as_of, ground): Standing<'a>,
) -> Result<Option<apt::AptRequest<'a>>, OpsError> {
    let suite = match &manifest.image.base {
        BaseRequest::Debian { suite } => suite,
        BaseRequest::Image(_) if manifest.apt.packages.is_empty() => return Ok(None),
        BaseRequest::Image(_) => {
            let said = manifest.apt.suite.as_deref().or_else(|| ground.and_then(Ground::suite));
            said.ok_or(OpsError::UnknownTarget {
                what: "Debian suite",
                hint: "set `[apt] suite`: the base's os-release names none",
            })?
        }
    };
    Ok(Some(apt::AptRequest {
        platform,
        suite,
        packages: &manifest.apt.packages,
        recommends: manifest.apt.recommends,
        installed: ground.map(Ground::status),
        now: clock::now(),
        as_of,
    }))
}

/// What is asked for, and what is chosen from.
#[derive(Clone, Copy)]
pub(super) struct Choosing<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) sources: &'a Sources,
    /// As of when releases count.
    pub(super) as_of: Option<&'a AsOf>,
    /// The engine that builds what has to be built.
    pub(super) engine: EngineChoice,
}

/// What npm and Python packages are chosen for.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) choosing: Choosing<'a>,
    /// What is asked of the ecosystem: the project's manifest, or one made for a room.
    pub(super) manifest: &'a Manifest,
    pub(super) platform: Platform,
    /// What the image stands on.
    pub(super) base: &'a BasePin,
    /// The archives that the Debian packages come from.
    pub(super) archives: &'a [ArchivePin],
    /// Debian packages, which say the versions of Node, Python and the C library.
    pub(super) apt: &'a [AptPin],
    /// The base image below them.
    pub(super) ground: Option<&'a Ground>,
}

impl Target<'_> {
    /// Node, Python and the C library: all that npm packages and wheels know of what is below them.
    fn interpreters(&self) -> (Option<String>, Option<String>, (u16, u16)) {
        let Self { manifest, platform, apt, ground, .. } = *self;
        let node = node_version(manifest, apt, ground, platform);
        (node, python_version(manifest, apt, ground, platform), glibc(apt, ground, platform))
    }
}

pub(super) async fn resolve_npm(
    session: &Session,
    target: Target<'_>,
    previous: &[NpmPin],
    keep: Option<Keep<'_, NpmPin>>,
) -> Result<Vec<NpmPin>, OpsError> {
    let Target { manifest, platform, apt, ground, .. } = target;
    let Choosing { sources, as_of, .. } = target.choosing;
    if manifest.npm.packages.is_empty() && manifest.npm.projects.is_empty() {
        return Ok(Vec::new());
    }
    let node = node_version(manifest, apt, ground, platform).ok_or(OpsError::UnknownTarget {
        what: "Node",
        hint: "add `nodejs` to `[apt] packages`, or set `[npm] node`",
    })?;
    let registries = sources.npm()?;
    let registries: Vec<&Source> = registries.iter().collect();
    let request = npm::NpmRequest { platform, section: &manifest.npm, node_version: &node, previous, as_of, keep };
    let phase = session.progress.spinner("resolving npm");
    let pins = npm::resolve(&request, &registries, &session.http, &session.store, &session.progress).await?;
    phase.finish(&crate::base::text::count(pins.len(), "package"));
    Ok(pins)
}

pub(super) async fn resolve_pip(
    session: &Session,
    target: Target<'_>,
    keep: Option<Keep<'_, PipPin>>,
    wished: &[pip::WishedPip],
    built: &Built,
) -> Result<Vec<PipPin>, OpsError> {
    let Target { manifest, platform, apt, ground, .. } = target;
    let Choosing { sources, as_of, .. } = target.choosing;
    if manifest.pip.packages.is_empty() {
        return Ok(Vec::new());
    }
    let python = python_version(manifest, apt, ground, platform).ok_or(OpsError::UnknownTarget {
        what: "Python",
        hint: "add `python3` to `[apt] packages`, or set `[pip] python`",
    })?;
    let indexes = sources.pip()?;
    let indexes: Vec<&Source> = indexes.iter().collect();
    let (section, glibc) = (&manifest.pip, glibc(apt, ground, platform));
    let request = pip::PipRequest { platform, section, python_version: &python, glibc, as_of, keep, wished, built };
    let phase = session.progress.spinner("resolving pip");
    let pins = pip::resolve(&request, &indexes, &session.http, &session.store, &session.progress).await?;
    phase.finish(&crate::base::text::count(pins.len(), "package"));
    Ok(pins)
}

/// The image's time: said by the manifest, else the newest Date of the archives, else when the base image was made.
pub(super) fn epoch(manifest: &Manifest, archives: &[ArchivePin], created: Option<i64>) -> Result<i64, OpsError> {
    let newest = archives.iter().map(|archive| archive.date).max().or(created);
    let epoch = manifest.image.epoch.or(newest).ok_or(OpsError::UnknownTarget {
        what: "time",
        hint: "set `[image] epoch`, for example `epoch = 2026-01-01T00:00:00Z`",
    })?;
    if epoch > clock::now() { Err(OpsError::EpochAhead { epoch }) } else { Ok(epoch) }
}

/// As of when releases count: as was asked, and as old as the policy wants them. None when neither says anything.
fn as_of(manifest: &Manifest, asked: Option<i64>) -> Result<Option<AsOf>, OpsError> {
    let (today, policy) = (clock::now(), &manifest.policy);
    if let Some(moment) = asked.filter(|moment| *moment > today) {
        return Err(OpsError::AsOfAhead { moment });
    }
    if asked.is_none() && policy.min_age_days.is_none() {
        return Ok(None);
    }
    let age = i64::from(policy.min_age_days.unwrap_or(0)) * 86_400;
    let waivers = policy.waivers.iter().filter(|waiver| waiver.rule == NO_TIMES && today < waiver.expires);
    let waived = waivers.filter_map(|waiver| SourceName::parse(&waiver.subject).ok()).collect();
    Ok(Some(AsOf { before: asked.unwrap_or(today) - age, today, waived }))
}

/// Keeps the old lockfile's evidence, time and recorded images when nothing that is built from changed: a new Date on the
/// same packages is no reason for another image. A pin of which nothing differs but when it was published stays as it was.
fn settle(mut new: Lockfile, previous: Option<&Lockfile>) -> Lockfile {
    let Some(previous) = previous else { return new };
    let npm = by_bytes(&previous.npm, |pin| pin.artifact.sha256);
    for pin in &mut new.npm {
        let olds = npm.get(&pin.artifact.sha256).into_iter().flatten();
        let same = olds.copied().find(|old| **old == NpmPin { published: old.published, ..pin.clone() });
        pin.published = same.map_or(pin.published, |old| old.published);
    }
    let pip = by_bytes(&previous.pip, |pin| pin.artifact.sha256);
    let builds = previous.pip_builds.iter().map(|pin| pin.wheel.clone()).collect::<Vec<_>>();
    let builds = by_bytes(&builds, |pin| pin.artifact.sha256);
    let known = new.pip.iter_mut().map(|pin| (pin, &pip));
    for (pin, known) in known.chain(new.pip_builds.iter_mut().map(|pin| (&mut pin.wheel, &builds))) {
        let olds = known.get(&pin.artifact.sha256).into_iter().flatten();
        let same = olds.copied().find(|old| **old == PipPin { published: old.published, ..pin.clone() });
        pin.published = same.map_or(pin.published, |old| old.published);
    }
    let same = previous.base == new.base
        && previous.platforms == new.platforms
        && previous.fingerprints == new.fingerprints
        && previous.seal == new.seal
        && previous.apt == new.apt
        && previous.npm == new.npm
        && previous.pip == new.pip
        && previous.pip_builds == new.pip_builds;
    if same { previous.clone() } else { new }
}

fn by_bytes<P>(pins: &[P], digest: impl Fn(&P) -> Sha256) -> BTreeMap<Sha256, Vec<&P>> {
    let mut found: BTreeMap<Sha256, Vec<&P>> = BTreeMap::new();
    pins.iter().for_each(|pin| found.entry(digest(pin)).or_default().push(pin));
    found
}
