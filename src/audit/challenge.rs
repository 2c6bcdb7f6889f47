//! Whether other sources have the same bytes as the lockfile: a source that swapped a file stands alone.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};

use super::finding::{Finding, Level, Rule};
use super::gap::not_audited;
use crate::base::http::HttpClient;
use crate::base::text::sanitize;
use crate::fetch::{Held, Wanted, challenge};
use crate::lock::{BasePin, Lockfile, PinView};
use crate::manifest::{SourceKind, SourceSection};
use crate::model::{Ecosystem, Sha256, SourceName};
use crate::source::{Source, SourceError, Sources};

/// Files that are compared at once.
const AT_ONCE: usize = 8;

/// Another source has other bytes.
pub static CHALLENGE_DIFFERS: Rule = Rule {
    id: "challenge-differs",
    level: Level::Error,
    title: "a file that is another one at another source",
    help: "A published version is never replaced: one of the sources, or this lockfile, has bytes that it should not have.",
};

/// What the places of one file said.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Challenged {
    /// Its ecosystem.
    pub ecosystem: Ecosystem,
    /// Its package.
    pub name: String,
    /// The version.
    pub version: String,
    /// The locked hash.
    pub sha256: Sha256,
    /// Each place with its answer.
    pub answers: Vec<PlaceAnswer>,
    /// Why no place was asked, where that is so.
    pub why: Option<String>,
}

/// What one place has.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PlaceAnswer {
    /// The place, without credentials.
    pub place: String,
    /// `same`, `other`, `nothing` or `unknown`.
    pub held: &'static str,
    /// The other hash, or why it is not known.
    pub detail: String,
}

/// Asks every source of a pin's kind for its file.
pub async fn fetch_challenge(
    pins: &[PinView<'_>],
    lock: &Lockfile,
    declared: &BTreeMap<SourceName, SourceSection>,
    sources: &Sources,
    http: &HttpClient,
) -> Vec<Challenged> {
    let asked = pins.iter().map(async |pin| {
        let mut challenged = Challenged {
            ecosystem: pin.ecosystem,
            name: pin.name.to_string(),
            version: pin.version.to_string(),
            sha256: pin.artifact.sha256,
            answers: Vec::new(),
            why: None,
        };
        match candidates(pin, lock, declared, sources) {
            Ok(candidates) => {
                let answers = challenge(&Wanted::of(*pin, lock), &candidates, sources.wheel(pin.artifact), http).await;
                challenged.answers = answers.into_iter().map(|(place, held)| place_answer(place, held)).collect();
            }
            Err(error) => challenged.why = Some(sanitize(&error.to_string())),
        }
        challenged
    });
    stream::iter(asked.collect::<Vec<_>>()).buffered(AT_ONCE).collect().await
}

/// The pin's own source, then all others of its kind.
fn candidates(
    pin: &PinView<'_>,
    lock: &Lockfile,
    declared: &BTreeMap<SourceName, SourceSection>,
    sources: &Sources,
) -> Result<Vec<Source>, SourceError> {
    let own = sources.get(&pin.artifact.source)?;
    let mut others = match (pin.ecosystem, &lock.base) {
        (Ecosystem::Npm, _) => sources.npm()?,
        (Ecosystem::Pip, _) => sources.pip()?,
        (Ecosystem::Apt, BasePin::Debian { suite }) => sources.apt(suite)?,
        (Ecosystem::Apt, BasePin::Image { .. }) => Vec::new(),
    };
    let kind = match pin.ecosystem {
        Ecosystem::Apt => SourceKind::Apt,
        Ecosystem::Npm => SourceKind::Npm,
        Ecosystem::Pip => SourceKind::Pip,
    };
    for (name, section) in declared {
        if section.kind == kind && !others.iter().any(|other| other.name == *name) {
            others.push(sources.get(name)?);
        }
    }
    others.retain(|other| other.name != own.name);
    Ok(std::iter::once(own).chain(others).collect())
}

fn place_answer(place: String, held: Held) -> PlaceAnswer {
    let (held, detail) = match held {
        Held::Same => ("same", String::new()),
        Held::Other { sha256, .. } => ("other", format!("sha256:{sha256}")),
        Held::Nothing => ("nothing", String::new()),
        Held::Unknown(why) => ("unknown", sanitize(&why)),
    };
    PlaceAnswer { place, held, detail }
}

/// What the answers mean: other bytes anywhere are distrust; one place alone, or one that could not be asked, is a gap.
pub fn check_challenge(challenged: &[Challenged]) -> Vec<Finding> {
    challenged.iter().filter_map(check_one).collect()
}

fn check_one(challenged: &Challenged) -> Option<Finding> {
    let subject = format!("{}:{}", challenged.ecosystem, challenged.name);
    let label = format!("{subject} {}", challenged.version);
    let of = |held: &'static str| challenged.answers.iter().filter(move |answer| answer.held == held);
    if of("other").next().is_some() {
        let mut evidence = vec![format!("locked  sha256:{}", challenged.sha256)];
        evidence.extend(of("other").map(|answer| format!(" found  {}  at {}", answer.detail, answer.place)));
        evidence.extend(of("same").map(|answer| format!("  same  at {}", answer.place)));
        let message = format!("{label} is another file elsewhere");
        return Some(Finding { evidence, ..Finding::new(&CHALLENGE_DIFFERS, subject, message) });
    }
    let mut why: Vec<String> = challenged.why.iter().cloned().collect();
    why.extend(of("unknown").map(|answer| format!("{}: {}", answer.place, answer.detail)));
    if why.is_empty() && of("same").count() < 2 {
        let asked: Vec<&str> = challenged.answers.iter().map(|answer| answer.place.as_str()).collect();
        why.push(match of("same").next() {
            Some(only) => format!("only {} has it, so there is nothing to compare with", only.place),
            None => format!("no place has it: {}", asked.join(", ")),
        });
    }
    (!why.is_empty()).then(|| not_audited(format!("challenge {subject}"), &format!("{label} was not compared"), &why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenged(answers: &[&'static str]) -> Challenged {
        let answers = answers.iter().map(|held| PlaceAnswer { place: "p".into(), held, detail: "d".into() });
        Challenged {
            ecosystem: Ecosystem::Npm,
            name: "a".into(),
            version: "1.0.0".into(),
            sha256: Sha256::of("a"),
            answers: answers.collect(),
            why: None,
        }
    }

    #[test]
    fn only_two_that_agree_are_an_answer() {
        let rule = |answers: &[&'static str]| check_one(&challenged(answers)).map(|finding| finding.rule.id);
        assert_eq!(rule(&["same", "same"]), None);
        assert_eq!(rule(&["same", "same", "nothing"]), None);
        assert_eq!(rule(&["same", "nothing"]), Some("not-audited"));
        assert_eq!(rule(&["same", "same", "unknown"]), Some("not-audited"));
        assert_eq!(rule(&["same", "unknown", "other"]), Some("challenge-differs"));
        assert_eq!(rule(&[]), Some("not-audited"));
    }
}
