//! `oclock verify`: is what the lockfile says true? Offline from the store, and on request at the registries.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::base::Ground;
use super::build::{check_seal, kept_by_id};
use super::error::OpsError;
use super::first_seen;
use super::previous::previous_lock;
use super::rebuild::{RebuildOptions, rebuild};
use super::session::{Session, platform_of};
use super::source_builds::check_built;
use super::update::apt_request;
use crate::assemble::files::read_project;
use crate::assemble::{AssembleError, ContextRequest, assemble};
use crate::audit::ledger::{OTHER_SOURCE, REPUBLISHED};
use crate::audit::proof::{
    ArtifactReport, CHAIN, CONTENT, IMAGE_CONTEXT, IMAGE_DAMAGED, LOCK_DRIFT, LOCK_SEAL, OFFLINE_RULES, ONLINE_RULES,
    REBUILT, SOURCE, TODAY_YANKED, TodayRequest, UNREADABLE_BEFORE, check_archives, check_artifacts, check_base,
    check_requires, check_rollback, check_today, means_distrust,
};
use crate::audit::{Finding, FindingPlace, Level, Rule, Waived, apply_waivers};
use crate::base::clock;
use crate::base::explain::{Explain, Kind};
use crate::base::text::{count, human_size, sanitize};
use crate::image::{SealedImage, SealedLayer};
use crate::lock::{self, BasePin, ImagePin, Lockfile, parse_lockfile};
use crate::manifest::{ManifestFile, SourceKind};
use crate::model::{Ecosystem, Platform, SourceName};
use crate::resolve::apt::{Keyring, read_keyrings};
use crate::source::SourceError;
use crate::store::Store;

/// Who is asked beside the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// Nobody.
    Nobody,
    /// The registries.
    Registries,
}

/// What becomes of what is not in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It makes the answer no.
    Refused,
    /// It is said.
    Allowed,
}

/// How to verify.
#[derive(Clone, Debug)]
pub struct VerifyOptions {
    /// Who is asked.
    pub asking: Asking,
    /// What becomes of what cannot be looked at.
    pub missing: Missing,
    /// The lockfile before; what git has when not given.
    pub previous: Option<PathBuf>,
    /// How the image is built again, if it is.
    pub rebuild: Option<RebuildOptions>,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All that was asked was looked at and holds.
    Proven,
    /// Something is not in order or could not be looked at.
    No,
    /// Something is not to be trusted.
    Distrust,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Check {
    /// What: `artifacts`.
    pub what: &'static str,
    /// How it was, on one line.
    pub said: String,
}

/// What was looked at and found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct VerifyOutcome {
    /// The answer.
    pub verdict: Verdict,
    /// What was looked at, in order.
    pub checks: Vec<Check>,
    /// What was found, gravest first.
    pub findings: Vec<Finding>,
    /// The rules that were looked for.
    #[serde(skip)]
    pub rules: Vec<&'static Rule>,
}

/// Holds the lockfile against the manifest, the store, the signed archives, the lockfile before and the first-seen ledger.
///
/// # Errors
/// When manifest or lockfile are missing or not in their form. All else that is wrong is a finding.
pub fn verify(session: &Session, options: &VerifyOptions) -> Result<VerifyOutcome, OpsError> {
    let file = session.manifest()?;
    let lock = session.lock()?;
    let missing = match options.missing {
        Missing::Refused => Level::Error,
        Missing::Allowed => Level::Warning,
    };
    let (checks, findings) = (Vec::new(), Vec::new());
    let mut examiner = Examiner { session, file: &file, lock: &lock, missing, checks, findings };
    let mut rules: Vec<&'static Rule> = OFFLINE_RULES.to_vec();
    examiner.form();
    examiner.sources();
    // First: the signed indexes of today may stand in for those that an archive no longer has.
    if options.asking == Asking::Registries {
        examiner.registries()?;
        rules.extend(ONLINE_RULES);
    }
    let report = examiner.artifacts_and_archives();
    examiner.before(options)?;
    examiner.ledger(&report)?;
    examiner.images(&report)?;
    if let Some(options) = &options.rebuild {
        examiner.rebuild(options)?;
        rules.push(&REBUILT);
    }
    let Examiner { checks, mut findings, .. } = examiner;
    // What is not to be trusted cannot be excused; what is a matter of policy can.
    let excusable: Vec<&'static Rule> = rules.iter().copied().filter(|rule| is_policy(rule)).collect();
    let manifest = session.paths.manifest.display().to_string();
    let waivers = &file.manifest.policy.waivers;
    apply_waivers(&mut findings, &Waived { waivers, rules: &excusable, manifest: &manifest, now: clock::now() });
    Ok(VerifyOutcome { verdict: verdict(&findings), checks, findings, rules })
}

fn is_policy(rule: &Rule) -> bool {
    [OTHER_SOURCE.id, TODAY_YANKED.id].contains(&rule.id)
}

fn verdict(findings: &[Finding]) -> Verdict {
    let counting = findings.iter().filter(|finding| finding.counts());
    let worst = counting.map(|finding| if means_distrust(finding.rule) { Verdict::Distrust } else { Verdict::No });
    worst.max().unwrap_or(Verdict::Proven)
}

/// What is wrong with a kept image: its config must name its layers, and these must be there with their sizes. Their bytes are
/// hashed whenever they are read.
fn kept_flaw(image: &SealedImage, store: &Store) -> Option<String> {
    let config = match store.read_blob(&image.id) {
        Ok(config) => config,
        Err(error) => return Some(error.to_string()),
    };
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap_or_default();
    let listed = config.pointer("/rootfs/diff_ids").and_then(serde_json::Value::as_array).into_iter().flatten();
    let listed: Vec<&str> = listed.filter_map(serde_json::Value::as_str).collect();
    let own: Vec<String> = image.layers.iter().map(|layer| layer.diff_id.prefixed()).collect();
    if listed != own {
        return Some("its config names other layers".to_owned());
    }
    let size = |layer: &SealedLayer| std::fs::metadata(store.blob_path(&layer.diff_id)).map(|blob| blob.len()).ok();
    let damaged = image.layers.iter().find(|layer| size(layer) != Some(layer.size))?;
    Some(format!("its layer `{}` has another size", damaged.origin))
}

fn kind_of(ecosystem: Ecosystem) -> SourceKind {
    match ecosystem {
        Ecosystem::Apt => SourceKind::Apt,
        Ecosystem::Npm => SourceKind::Npm,
        Ecosystem::Pip => SourceKind::Pip,
    }
}

struct Examiner<'a> {
    session: &'a Session,
    file: &'a ManifestFile,
    lock: &'a Lockfile,
    missing: Level,
    checks: Vec<Check>,
    findings: Vec<Finding>,
}

impl Examiner<'_> {
    fn say(&mut self, what: &'static str, said: impl Into<String>) {
        self.checks.push(Check { what, said: said.into() });
    }

    /// Its form was judged when it was read; here, whether it answers the manifest and this program.
    fn form(&mut self) {
        let drifts = lock::check(&self.file.manifest, self.lock);
        let said = match drifts.len() {
            0 => "in its one form, and answers the manifest".to_owned(),
            number => format!("in its one form; {} from the manifest", count(number, "drift")),
        };
        for drift in drifts {
            let excerpt = self.file.locate_place(&drift.place, "");
            let place = excerpt.map(|excerpt| FindingPlace { file: excerpt.file, line: excerpt.line });
            let subject = drift.update_argument().unwrap_or_else(|| "lockfile".to_owned());
            self.findings.push(Finding { place, ..Finding::new(&LOCK_DRIFT, subject, drift.to_string()) });
        }
        if let Err(error) = check_seal(&self.file.manifest, self.lock) {
            let evidence = error.evidence();
            self.findings.push(Finding { evidence, ..Finding::new(&LOCK_SEAL, "lockfile", error.to_string()) });
        }
        self.say("lockfile", said);
    }

    /// Every source of the lock is known here and speaks what its packages need. Which address it has is not looked at, and
    /// clients that have no settings here are not asked.
    fn sources(&mut self) {
        let Ok(sources) = self.session.sources(&self.file.manifest) else { return };
        let mut wanted: BTreeMap<&SourceName, SourceKind> = BTreeMap::new();
        wanted.extend(self.lock.archives.iter().map(|archive| (&archive.source, SourceKind::Apt)));
        wanted.extend(self.lock.pins().map(|pin| (&pin.artifact.source, kind_of(pin.ecosystem))));
        if let BasePin::Image { source, .. } = &self.lock.base {
            wanted.insert(source, SourceKind::Image);
        }
        for (name, kind) in wanted {
            let message = match sources.get(name) {
                Ok(source) if source.kind == kind => continue,
                Ok(_) => format!("the source `{name}` does not speak what its packages need"),
                Err(error @ SourceError::Unknown { .. }) => sanitize(&error.to_string()),
                Err(_) => continue,
            };
            self.findings.push(Finding::new(&SOURCE, format!("source:{name}"), message));
        }
    }

    /// Side by side: unpacking an archive's index takes one core as long as all artifacts take the others.
    fn artifacts_and_archives(&mut self) -> ArtifactReport {
        let keyrings = self.keyrings();
        let (lock, store, missing) = (self.lock, &self.session.store, self.missing);
        let (report, chain) = std::thread::scope(|scope| {
            let chain = scope.spawn(|| check_archives(lock, store, &keyrings, missing));
            (check_artifacts(lock, store, &self.session.progress), chain.join())
        });
        let report = self.artifacts(report);
        match chain {
            Ok((found, stand_ins)) => self.archives(found, stand_ins),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        report
    }

    fn artifacts(&mut self, mut report: ArtifactReport) -> ArtifactReport {
        self.findings.append(&mut report.findings);
        self.findings.extend(report.unchecked(self.missing));
        self.findings.extend(check_requires(self.lock, &report, &self.file.manifest.npm.omit));
        self.findings.extend(check_built(self.session, &self.file.manifest, self.lock, self.missing));
        let all = self.lock.pins().count();
        let bytes = human_size(report.bytes);
        self.say("artifacts", format!("{} of {all} whole and what their pins say, {bytes}", report.whole));
        report
    }

    fn archives(&mut self, found: Vec<Finding>, stand_ins: usize) {
        let archives = count(self.lock.archives.len(), "signed archive");
        let mut said = match found.len() {
            0 => format!("{archives} vouch for {}", count(self.lock.apt.len(), "Debian pin")),
            number => format!("{archives}, {}", count(number, "link") + " not proven"),
        };
        if stand_ins > 0 {
            said.push_str(&format!(", {stand_ins} by a later index of its suite"));
        }
        self.findings.extend(found);
        self.findings.extend(check_base(&self.lock.base, &self.session.store, self.missing));
        self.say("signatures", said);
    }

    /// The keys of the sources that are known here; Debian's own for the others, which then vouch for nothing else.
    fn keyrings(&mut self) -> BTreeMap<SourceName, Keyring> {
        let mut keyrings = BTreeMap::new();
        let Ok(sources) = self.session.sources(&self.file.manifest) else { return keyrings };
        for archive in &self.lock.archives {
            let Ok(source) = sources.get(&archive.source) else { continue };
            match read_keyrings(&[&source]) {
                Ok(own) => keyrings.extend(own),
                Err(error) => {
                    let message = sanitize(&error.to_string());
                    self.findings.push(Finding::new(&CHAIN, format!("apt:{}", archive.source), message));
                }
            }
        }
        keyrings
    }

    fn before(&mut self, options: &VerifyOptions) -> Result<(), OpsError> {
        let Some(previous) = previous_lock(self.session, options.previous.as_deref())? else {
            self.say("before", "no lockfile before this one is at hand");
            return Ok(());
        };
        match parse_lockfile(&previous.text, &previous.name) {
            Ok(before) => {
                let found = check_rollback(&before, self.lock);
                let said = if found.is_empty() { "nothing goes back" } else { "something goes back" };
                self.findings.extend(found);
                self.say("before", format!("{said} since {}", previous.name));
            }
            Err(error) => {
                let message = format!("`{}` cannot be read: {}", previous.name, sanitize(&error.to_string()));
                self.findings.push(Finding::new(&UNREADABLE_BEFORE, "lockfile", message));
                self.say("before", format!("{} cannot be read", previous.name));
            }
        }
        Ok(())
    }

    /// Holds the pins against the ledger, and adds those whose bytes were looked at just now.
    fn ledger(&mut self, report: &ArtifactReport) -> Result<(), OpsError> {
        let Some(path) = &self.session.ledger else {
            self.say("first seen", "there is no place for a ledger");
            return Ok(());
        };
        let path = path.display().to_string();
        let seen = first_seen::look_up(self.session, self.lock)?;
        let republished = seen.findings.iter().filter(|finding| finding.rule.id == REPUBLISHED.id).count();
        self.say("first seen", format!("{} known, {} new, {republished} republished ({path})", seen.known, seen.new));
        self.findings.extend(seen.findings);
        let whole = self.lock.pins().enumerate().filter(|(index, _)| report.facts.contains_key(index));
        first_seen::record(self.session, whole.map(|(_, pin)| pin));
        Ok(())
    }

    /// The recorded images: what they were built from, and whether the store has them as recorded.
    fn images(&mut self, report: &ArtifactReport) -> Result<(), OpsError> {
        let is_whole = report.missing.is_empty() && verdict(&self.findings) == Verdict::Proven;
        for (platform, pin) in &self.lock.images {
            let context = match is_whole {
                true => self.context(*platform, pin)?,
                false => "its context was not looked at",
            };
            let kept = self.kept(*platform, pin);
            self.say("image", format!("{platform} {}: {context}; {kept}", pin.id.short()));
        }
        if self.lock.images.is_empty() {
            self.say("image", "none is recorded");
        }
        Ok(())
    }

    fn context(&mut self, platform: Platform, pin: &ImagePin) -> Result<&'static str, OpsError> {
        let rendered = self.session.rendered(&self.file.manifest, self.lock, platform)?;
        let phase = self.session.progress.spinner("assembling the context");
        let project = read_project(&self.session.paths.context(), &rendered.instructions.copies);
        let project = project.map_err(AssembleError::from)?;
        let assembled = assemble(&ContextRequest {
            manifest: &self.file.manifest,
            lock: self.lock,
            platform,
            rendered: &rendered,
            project: &project,
            store: &self.session.store,
        });
        match assembled {
            Ok(context) if context.digest() == pin.context => {
                phase.finish("as recorded");
                Ok("its context is the recorded one")
            }
            Ok(context) => {
                let message = format!("the recorded image for {platform} was built from another context");
                let evidence =
                    vec![format!("recorded  sha256:{}", pin.context), format!("     now  sha256:{}", context.digest())];
                self.findings
                    .push(Finding { evidence, ..Finding::new(&IMAGE_CONTEXT, format!("image:{platform}"), message) });
                Ok("its context is another one")
            }
            Err(error) if error.kind() == Kind::Distrust => {
                let evidence = error.evidence();
                let message = sanitize(&error.to_string());
                self.findings
                    .push(Finding { evidence, ..Finding::new(&CONTENT, format!("image:{platform}"), message) });
                Ok("its context cannot be trusted")
            }
            Err(error) => Err(error.into()),
        }
    }

    fn kept(&mut self, platform: Platform, pin: &ImagePin) -> &'static str {
        let store = &self.session.store;
        let Some(image) = kept_by_id(&pin.id, store) else { return "not in the store" };
        match kept_flaw(&image, store) {
            None => "in the store",
            Some(why) => {
                let message = format!("the recorded image for {platform} is damaged in the store: {}", sanitize(&why));
                self.findings.push(Finding::new(&IMAGE_DAMAGED, format!("image:{platform}"), message));
                "damaged in the store"
            }
        }
    }

    /// Builds for the lock's first platform again, where nothing is amiss with what it is built from.
    fn rebuild(&mut self, options: &RebuildOptions) -> Result<(), OpsError> {
        if verdict(&self.findings) == Verdict::Distrust {
            self.say("rebuild", "not done: what it would be built from is not to be trusted");
            return Ok(());
        }
        let platform = platform_of(None, self.lock)?;
        let rebuilt = rebuild(self.session, self.lock, platform, options)?;
        rebuilt.rounds.into_iter().for_each(|line| self.say("rebuild", line));
        let Some(difference) = rebuilt.difference else { return Ok(()) };
        let (one, other) = difference.ids;
        let message =
            format!("the image for {platform} came out differently, in {}", count(difference.files.len(), "path"));
        let mut evidence = vec![format!("     one  sha256:{one}"), format!("   other  sha256:{other}")];
        evidence.extend(difference.kept.iter().map(|path| format!("    kept  {}", path.display())));
        evidence.extend(difference.files);
        self.findings.push(Finding { evidence, ..Finding::new(&REBUILT, format!("image:{platform}"), message) });
        Ok(())
    }

    fn registries(&mut self) -> Result<(), OpsError> {
        let sources = self.session.sources(&self.file.manifest)?;
        let (manifest, base) = (&self.file.manifest, &self.lock.base);
        let mut grounds = Vec::new();
        for platform in &self.lock.platforms {
            if self.lock.apt.iter().any(|pin| pin.platform == *platform) {
                let ground = self.session.block_on(Ground::of(self.session, manifest, &sources, base, *platform))?;
                grounds.push((*platform, ground));
            }
        }
        let mut archives = Vec::new();
        for (platform, ground) in &grounds {
            archives.extend(apt_request(manifest, *platform, (None, ground.as_ref()))?);
        }
        let request = TodayRequest {
            lock: self.lock,
            archives,
            sources: &sources,
            http: &self.session.http,
            store: &self.session.store,
        };
        let phase = self.session.progress.spinner("asking the registries");
        let found = self.session.block_on(check_today(&request));
        phase.finish(&count(found.len(), "finding"));
        self.say(
            "registries",
            match found.len() {
                0 => "say what the lockfile says".to_owned(),
                number => count(number, "finding"),
            },
        );
        self.findings.extend(found);
        Ok(())
    }
}
