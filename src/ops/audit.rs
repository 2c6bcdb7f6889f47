//! `oclock audit`: what the lockfile pins, against the policy and against what others know.

use std::collections::{BTreeMap, BTreeSet};

use super::audit_inputs::{check_evidence, licences, secrets};
use super::error::OpsError;
use super::first_seen;
use super::session::Session;
use super::what::{What, pins_named};
use crate::audit::advisory::{
    ADVISORY, AdvisoryRequest, DataPlace, EcosystemState, PinState, Unfixed, judge, open_data,
};
use crate::audit::ledger::{self, REPUBLISHED};
use crate::audit::secrets::secret_rules;
use crate::audit::{
    CHALLENGE_DIFFERS, Challenged, EVIDENCE_LOST, Finding, Level, NOT_AUDITED, POLICY_LICENCE, PolicyRequest, Rule,
    SIGNATURE_BAD, SIGNATURE_RULES, Signed, SigstoreRoot, UNUSED_WAIVER, Waived, apply_waivers, check_challenge,
    check_licences, check_policy, check_signatures, fetch_challenge, fetch_signatures, policy_rules,
};
use crate::base::clock;
use crate::base::fs;
use crate::base::text::count;
use crate::lock::{Lockfile, PinView};
use crate::manifest::{Manifest, ManifestFile, PolicySection, UnfixedAdvisories, Waiver};
use crate::model::{Artifact, Ecosystem};

/// How old the newest advisory may be when the policy does not say it, in days.
const MAX_AGE_DAYS: u32 = 30;

/// What is looked at.
#[derive(Clone, Debug, Default)]
pub struct AuditOptions {
    /// Places of advisories, instead of the policy's.
    pub advisories: Vec<String>,
    /// The lockfile before, to compare evidence with: a file or a git revision; `HEAD` when not given.
    pub previous: Option<String>,
    /// Whether the registries are asked for signatures.
    pub signatures: Signatures,
    /// Whether other sources are asked for the same bytes.
    pub challenge: Challenge,
    /// What becomes of what could not be audited.
    pub not_audited: NotAudited,
}

/// Whether the registries are asked for signatures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signatures {
    /// No.
    #[default]
    NotAsked,
    /// Yes.
    Asked,
}

/// Whether other sources are asked for the same bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Challenge {
    /// No.
    #[default]
    Nothing,
    /// For every pin.
    All,
    /// For these: `npm:lodash`.
    These(Vec<What>),
}

/// What becomes of what could not be audited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NotAudited {
    /// It makes the answer no.
    #[default]
    Counts,
    /// It is told, and that is all.
    Allowed,
}

/// What was found.
#[derive(Debug, serde::Serialize)]
pub struct AuditOutcome {
    /// Gravest first.
    pub findings: Vec<Finding>,
    /// What advisories say, in numbers.
    pub ecosystems: Vec<EcosystemState>,
    /// What advisories say of each pin.
    pub pins: Vec<PinState>,
    /// What signatures say, where they were asked for.
    pub signatures: Vec<Signed>,
    /// What other sources have, where they were asked.
    pub challenged: Vec<Challenged>,
    /// Pins whose files this machine's ledger has as they are.
    pub seen_before: usize,
    /// Pins whose files this machine never saw before.
    pub never_seen: usize,
    /// Packages of which this machine never saw any version, as `npm:lodash`.
    pub new_names: BTreeSet<String>,
    /// What was looked for.
    #[serde(skip)]
    pub rules: Vec<&'static Rule>,
}

/// The answer to the question whether the image may be built from this lockfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuditAnswer {
    /// Nothing speaks against it.
    Yes,
    /// A finding does.
    No,
    /// A hash or signature does not match.
    Distrust,
}

impl AuditOutcome {
    /// The answer of all findings together.
    pub fn answer(&self) -> AuditAnswer {
        let answers = self.findings.iter().filter(|finding| finding.counts()).map(|finding| {
            match [&SIGNATURE_BAD, &CHALLENGE_DIFFERS, &REPUBLISHED].contains(&finding.rule) {
                true => AuditAnswer::Distrust,
                false => AuditAnswer::No,
            }
        });
        answers.max().unwrap_or(AuditAnswer::Yes)
    }
}

/// Audits the lockfile.
///
/// # Errors
/// When manifest or lockfile are wrong, or the store is damaged. What could not be reached is a finding, no error.
pub fn audit(session: &Session, options: &AuditOptions) -> Result<AuditOutcome, OpsError> {
    let file = session.manifest()?;
    let (manifest, lock, now) = (&file.manifest, session.lock()?, clock::now());
    let challenged = challenged_pins(&lock, &options.challenge)?;
    let mut rules: Vec<&'static Rule> = vec![&NOT_AUDITED, &ADVISORY];
    let mut findings = check_against_policy(session, manifest, &lock, now, &mut rules)?;
    let judged = judge_advisories(session, options, &manifest.policy, &lock, now)?;
    findings.extend(judged.findings);
    let mut outcome = AuditOutcome {
        findings: Vec::new(),
        ecosystems: judged.ecosystems,
        pins: judged.pins,
        signatures: Vec::new(),
        challenged: Vec::new(),
        seen_before: 0,
        never_seen: 0,
        new_names: BTreeSet::new(),
        rules: Vec::new(),
    };
    if options.signatures == Signatures::Asked {
        let sources = session.sources(manifest)?;
        let root = sigstore_root(session, &manifest.policy)?;
        let phase = session.progress.spinner("asking for signatures");
        outcome.signatures = session.block_on(fetch_signatures(&lock, &sources, &session.http, &session.store, &root));
        phase.finish(&count(outcome.signatures.len(), "package"));
        findings.extend(check_signatures(&outcome.signatures));
        rules.extend(SIGNATURE_RULES);
    }
    if options.challenge != Challenge::Nothing {
        let sources = session.sources(manifest)?;
        let phase = session.progress.spinner("asking other sources");
        outcome.challenged =
            session.block_on(fetch_challenge(&challenged, &lock, &manifest.sources, &sources, &session.http));
        phase.finish(&count(outcome.challenged.len(), "file"));
        findings.extend(check_challenge(&outcome.challenged));
        rules.push(&CHALLENGE_DIFFERS);
    }
    let seen = first_seen::look_up(session, &lock)?;
    (outcome.seen_before, outcome.never_seen, outcome.new_names) = (seen.known, seen.new, seen.new_names);
    findings.extend(seen.findings);
    rules.extend([&REPUBLISHED, &ledger::OTHER_SOURCE, &ledger::UNREADABLE]);
    // A gap of these is judged with all other gaps.
    let (shared, shared_rules) = check_shared(session, options, &file, &lock, now)?;
    findings.extend(shared);
    let waivers = by_own_names(&manifest.policy.waivers, &judged.synonyms);
    apply_waivers(&mut findings, &Waived { waivers: &waivers, rules: &rules, manifest: &file.file, now });
    rules.extend(shared_rules);
    if options.not_audited == NotAudited::Allowed {
        allow_gaps(&mut findings);
    }
    outcome.findings = findings;
    outcome.rules = rules;
    Ok(outcome)
}

/// Whom attestations are believed for.
fn sigstore_root(session: &Session, policy: &PolicySection) -> Result<SigstoreRoot, OpsError> {
    match &policy.sigstore_root {
        None => SigstoreRoot::built_in().map_err(|why| OpsError::SigstoreRoot { path: "the built-in one".into(), why }),
        Some(file) => {
            let path = session.paths.manifest.parent().unwrap_or(&session.paths.directory).join(file);
            let text = fs::read_text(&path)?;
            SigstoreRoot::parse(&text).map_err(|why| OpsError::SigstoreRoot { path, why })
        }
    }
}

fn judge_advisories(
    session: &Session,
    options: &AuditOptions,
    policy: &PolicySection,
    lock: &Lockfile,
    now: i64,
) -> Result<crate::audit::advisory::Judged, OpsError> {
    let (texts, directory) = match options.advisories.is_empty() {
        // Those of the policy are beside the manifest, those of the command line where it was typed.
        true => (&policy.advisories, session.paths.manifest.parent().unwrap_or(&session.paths.directory)),
        false => (&options.advisories, session.paths.directory.as_path()),
    };
    let places: Vec<DataPlace> = texts.iter().map(|text| DataPlace::parse(text, directory)).collect();
    let ecosystems: Vec<Ecosystem> =
        Ecosystem::ALL.into_iter().filter(|ecosystem| lock.pins().any(|pin| pin.ecosystem == *ecosystem)).collect();
    let mut data = Vec::new();
    if !places.is_empty() {
        let phase = session.progress.spinner("reading advisories");
        data = session.block_on(open_data(&places, &ecosystems, &session.http, &session.store));
        phase.finish(&count(data.len(), "data set"));
    }
    let request = AdvisoryRequest {
        lock,
        data: &data,
        max_age_days: policy.advisories_max_age_days.unwrap_or(MAX_AGE_DAYS),
        unfixed: match policy.unfixed_advisories {
            UnfixedAdvisories::Error => Unfixed::Error,
            UnfixedAdvisories::Warning => Unfixed::Warning,
        },
        now,
    };
    Ok(judge(&request)?)
}

/// What goes against `[policy]`; notes which rules that took.
fn check_against_policy(
    session: &Session,
    manifest: &Manifest,
    lock: &Lockfile,
    now: i64,
    rules: &mut Vec<&'static Rule>,
) -> Result<Vec<Finding>, OpsError> {
    let policy = &manifest.policy;
    rules.extend(policy_rules(policy));
    let mut findings = check_policy(&PolicyRequest { policy, lock, now });
    if let Some(terms) = &policy.licences {
        match licences(session, lock)? {
            Ok(packages) => findings.extend(check_licences(terms, &packages)),
            Err(gap) => findings.push(gap),
        }
        rules.push(&POLICY_LICENCE);
    }
    Ok(findings)
}

/// Lost evidence and secrets of the project, judged by their waivers. One that excuses nothing here may do so elsewhere: in
/// `diff` with another lockfile, or in the image that `build` makes.
fn check_shared(
    session: &Session,
    options: &AuditOptions,
    file: &ManifestFile,
    lock: &Lockfile,
    now: i64,
) -> Result<(Vec<Finding>, Vec<&'static Rule>), OpsError> {
    let mut findings = secrets(session, &file.manifest, lock)?;
    let mut rules = secret_rules();
    if file.manifest.policy.keep_evidence {
        findings.extend(check_evidence(session, lock, options.previous.as_deref())?);
        rules.push(&EVIDENCE_LOST);
    }
    let waivers = &file.manifest.policy.waivers;
    apply_waivers(&mut findings, &Waived { waivers, rules: &rules, manifest: &file.file, now });
    findings.retain(|finding| finding.rule != &UNUSED_WAIVER);
    Ok((findings, rules))
}

/// The pins to challenge, each file once.
fn challenged_pins<'a>(lock: &'a Lockfile, challenge: &Challenge) -> Result<Vec<PinView<'a>>, OpsError> {
    let pins = match challenge {
        Challenge::Nothing => Vec::new(),
        Challenge::All => lock.pins().collect(),
        Challenge::These(what) => {
            what.iter().map(|what| pins_named(what, lock)).collect::<Result<Vec<_>, _>>()?.concat()
        }
    };
    let mut by_artifact: BTreeMap<&Artifact, PinView<'_>> = BTreeMap::new();
    for pin in pins {
        by_artifact.entry(pin.artifact).or_insert(pin);
    }
    Ok(by_artifact.into_values().collect())
}

/// Waivers that name a vulnerability otherwise than the finding does, made to name it alike.
fn by_own_names(waivers: &[Waiver], synonyms: &[(String, String)]) -> Vec<Waiver> {
    let renamed = |waiver: &Waiver| {
        let own = synonyms.iter().find(|(other, _)| waiver.rule == ADVISORY.id && *other == waiver.subject);
        Waiver { subject: own.map_or_else(|| waiver.subject.clone(), |(_, own)| own.clone()), ..waiver.clone() }
    };
    waivers.iter().map(renamed).collect()
}

fn allow_gaps(findings: &mut [Finding]) {
    let gaps: [&str; 3] = [NOT_AUDITED.id, "signature-not-served", "signature-not-checked"];
    for finding in findings.iter_mut().filter(|finding| gaps.contains(&finding.rule.id)) {
        finding.level = finding.level.min(Level::Warning);
    }
    Finding::sort(findings);
}
