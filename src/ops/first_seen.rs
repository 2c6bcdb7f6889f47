//! The first-seen ledger beside the verbs: what comes in is held against it, and what came in is added.

use std::collections::BTreeSet;

use super::error::OpsError;
use super::session::Session;
use crate::audit::Finding;
use crate::audit::ledger::{self, Judgement, Ledger, OTHER_SOURCE, REPUBLISHED, Sighting};
use crate::base::clock;
use crate::lock::{Lockfile, PinView};

/// What the ledger said of a lock.
#[derive(Clone, Debug, Default)]
pub(super) struct FirstSeen {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Pins that were seen before as they are.
    pub known: usize,
    /// Pins that were never seen before.
    pub new: usize,
    /// Packages of which no version was ever seen, as `npm:lodash`.
    pub new_names: BTreeSet<String>,
}

/// Holds a lock's pins against the ledger.
///
/// # Errors
/// When the ledger is there and cannot be read.
pub(super) fn look_up(session: &Session, lock: &Lockfile) -> Result<FirstSeen, OpsError> {
    let Some(path) = &session.ledger else { return Ok(FirstSeen::default()) };
    let (ledger, now) = (Ledger::read(path)?, clock::now());
    let sightings: Vec<Sighting> = lock.pins().map(|pin| Sighting::of(pin, now)).collect();
    let count = |wanted| sightings.iter().filter(|sighting| ledger.judge(sighting) == wanted).count();
    let findings = ledger.check(&sightings, &path.display().to_string());
    let strangers = sightings.iter().filter(|sighting| !ledger.knows(sighting.ecosystem, &sighting.name));
    let new_names = strangers.map(|sighting| format!("{}:{}", sighting.ecosystem, sighting.name)).collect();
    Ok(FirstSeen { findings, known: count(Judgement::Known), new: count(Judgement::New), new_names })
}

/// Refuses a lock with a version that was republished. What else the ledger has to say is said.
///
/// # Errors
/// When one was, or the ledger cannot be read.
pub(super) fn refuse_republished(session: &Session, lock: &Lockfile) -> Result<(), OpsError> {
    let findings = look_up(session, lock)?.findings;
    let (republished, others): (Vec<Finding>, Vec<Finding>) =
        findings.into_iter().partition(|finding| finding.rule.id == REPUBLISHED.id);
    for finding in others {
        let word = if finding.rule.id == OTHER_SOURCE.id { "warning" } else { "note" };
        session.progress.say(&format!("{word}: {}", crate::base::text::sanitize(&finding.message)));
    }
    if republished.is_empty() { Ok(()) } else { Err(OpsError::Republished { findings: republished }) }
}

/// Adds pins to the ledger whose bytes were seen. A ledger that cannot be written is said and stops nothing: it is no part of
/// what was asked.
pub(super) fn record<'a>(session: &Session, pins: impl Iterator<Item = PinView<'a>>) {
    let Some(path) = &session.ledger else { return };
    let now = clock::now();
    let sightings: Vec<Sighting> = pins.map(|pin| Sighting::of(pin, now)).collect();
    if let Err(error) = ledger::record(path, &sightings) {
        session.progress.say(&format!("note: the first-seen ledger was not written: {error}"));
    }
}
