//! Signatures that registries serve for single packages: npm's (ECDSA over name, version and integrity) and Python's
//! attestations (PEP 740). Asked online; what is judged is always the locked hash, never one that is served.
//!
//! "Not served" and "served, not checked" are answers of their own and never count as verified.

mod npm;
mod pip;
mod publisher;
mod sigstore;

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;

pub use pip::judge_attestations;
pub use sigstore::SigstoreRoot;

use super::finding::{Finding, Level, Rule};
use super::gap::not_audited;
use crate::base::http::HttpClient;
use crate::base::text::{count, sanitize};
use crate::lock::{Lockfile, PinView};
use crate::model::{Ecosystem, SourceName};
use crate::source::Sources;
use crate::store::Store;

/// A signature that does not hold.
pub static SIGNATURE_BAD: Rule = Rule {
    id: "signature-bad",
    level: Level::Error,
    title: "a signature that is not of the locked bytes",
    help: "Do not build from this lockfile before it is known why: the registry vouches for other bytes than those locked.",
};

/// A signature by a key that does not count.
pub static SIGNATURE_KEY: Rule = Rule {
    id: "signature-key",
    level: Level::Error,
    title: "a signature by a key that is unknown or was over",
    help: "A registry lists its keys and until when they count; ask it why this one does not. An attestation's certificate hangs on a root of trust; that of `[policy] sigstore-root` or of this oclock may be older than it.",
};

/// A registry that serves no signatures.
pub static SIGNATURE_NOT_SERVED: Rule = Rule {
    id: "signature-not-served",
    level: Level::Error,
    title: "no signature where one was asked for",
    help: "The registry, or a mirror before it, serves none, so nothing but the hash stands for these packages. A waiver says that this is known.",
};

/// Attestations that are there and cannot be checked here.
pub static SIGNATURE_NOT_CHECKED: Rule = Rule {
    id: "signature-not-checked",
    level: Level::Error,
    title: "an attestation that was served and not checked",
    help: "It names the locked bytes, but is of a kind that oclock does not know, or the index does not say who published them.",
};

/// The rules of this family.
pub static SIGNATURE_RULES: [&Rule; 4] =
    [&SIGNATURE_BAD, &SIGNATURE_KEY, &SIGNATURE_NOT_SERVED, &SIGNATURE_NOT_CHECKED];

/// What is known about the signature of one package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureState {
    /// It is of the locked bytes, by a key that the registry lists and that counted when the version was published; an
    /// attestation is by the publisher that the index names.
    Verified,
    /// An attestation is there, of a kind that cannot be checked or by nobody that can be named.
    ServedNotChecked,
    /// The registry serves none.
    NotServed,
    /// By a key that the registry does not list, or a certificate that the root of trust does not know.
    UnknownKey,
    /// By a key or certificate that did not count then.
    ExpiredKey,
    /// It is not of the locked bytes.
    Bad,
    /// The registry could not be asked.
    NotAudited,
}

/// The answer about one package.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Signed {
    /// Its ecosystem.
    pub ecosystem: Ecosystem,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Who was asked.
    pub source: SourceName,
    /// The answer.
    pub state: SignatureState,
    /// Who signed, or why not.
    pub why: String,
}

/// A state with its reason.
type Answer = (SignatureState, String);

fn answer(state: SignatureState, why: impl Into<String>) -> Answer {
    (state, why.into())
}

/// Asks the registries of all npm and Python pins for signatures. Debian's are in the archives' own chain.
pub async fn fetch_signatures(
    lock: &Lockfile,
    sources: &Sources,
    http: &HttpClient,
    store: &Store,
    root: &SigstoreRoot,
) -> Vec<Signed> {
    let mut pins: BTreeMap<(Ecosystem, &str, &str, &str), PinView<'_>> = BTreeMap::new();
    for pin in lock.pins().filter(|pin| pin.ecosystem != Ecosystem::Apt) {
        let key = (pin.ecosystem, pin.name.as_str(), pin.version.as_str(), pin.artifact.path.as_str());
        pins.insert(key, pin);
    }
    let mut keys = BTreeMap::new();
    for name in pins.values().filter(|pin| pin.ecosystem == Ecosystem::Npm).map(|pin| &pin.artifact.source) {
        if !keys.contains_key(name)
            && let Ok(source) = sources.get(name)
        {
            keys.insert(name.clone(), npm::fetch_keys(&source, http, store).await);
        }
    }
    let asked = pins.values().map(async |pin| {
        let (state, why) = match (sources.get(&pin.artifact.source), pin.ecosystem) {
            (Err(error), _) => answer(SignatureState::NotAudited, error.to_string()),
            (Ok(source), Ecosystem::Npm) => match keys.get(&source.name) {
                Some(keys) => npm::judge(*pin, &source, keys, http).await,
                None => answer(SignatureState::NotAudited, "its keys were not asked for"),
            },
            (Ok(source), Ecosystem::Pip) => pip::judge(*pin, &source, http, root).await,
            (Ok(_), Ecosystem::Apt) => answer(SignatureState::NotAudited, "Debian signs archives, not packages"),
        };
        Signed {
            ecosystem: pin.ecosystem,
            name: pin.name.to_string(),
            version: pin.version.to_string(),
            source: pin.artifact.source.clone(),
            state,
            why: sanitize(&why),
        }
    });
    join_all(asked).await
}

/// What signatures mean: each that does not hold by itself, what is not known by source.
pub fn check_signatures(signed: &[Signed]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut gaps: BTreeMap<(&SourceName, SignatureState), Vec<&Signed>> = BTreeMap::new();
    for answer in signed {
        let rule = match answer.state {
            SignatureState::Verified => continue,
            SignatureState::Bad => &SIGNATURE_BAD,
            SignatureState::UnknownKey | SignatureState::ExpiredKey => &SIGNATURE_KEY,
            SignatureState::NotServed | SignatureState::ServedNotChecked | SignatureState::NotAudited => {
                gaps.entry((&answer.source, answer.state)).or_default().push(answer);
                continue;
            }
        };
        let subject = format!("{}:{}", answer.ecosystem, answer.name);
        let message = format!("{subject} {}: {}", answer.version, answer.why);
        findings.push(Finding::new(rule, subject, message));
    }
    findings.extend(gaps.into_iter().map(|((source, state), of)| gap(source, state, &of)));
    findings
}

fn gap(source: &SourceName, state: SignatureState, of: &[&Signed]) -> Finding {
    let pins = count(of.len(), "package");
    let subject = format!("signatures {source}");
    let reasons: BTreeSet<&str> = of.iter().map(|answer| answer.why.as_str()).collect();
    let mut evidence: Vec<String> = match state {
        SignatureState::NotAudited => reasons.into_iter().map(str::to_owned).collect(),
        _ => of.iter().map(|answer| format!("{}:{} {}", answer.ecosystem, answer.name, answer.version)).collect(),
    };
    let more = evidence.len().saturating_sub(10);
    evidence.truncate(10);
    if more > 0 {
        evidence.push(format!("and {more} more"));
    }
    match state {
        SignatureState::NotServed => {
            let message = format!("`{source}` serves no signature for {pins}");
            Finding { evidence, ..Finding::new(&SIGNATURE_NOT_SERVED, subject, message) }
        }
        SignatureState::ServedNotChecked => {
            let message = format!("`{source}` serves attestations of {pins} that were not checked");
            Finding { evidence, ..Finding::new(&SIGNATURE_NOT_CHECKED, subject, message) }
        }
        _ => not_audited(subject, &format!("the signatures of {pins} of `{source}` were not audited"), &evidence),
    }
}
