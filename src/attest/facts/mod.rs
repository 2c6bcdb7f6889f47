//! What an artifact says of itself that the lock does not: licence, supplier, author. Read once from the bytes in the
//! store and remembered by their digest.

mod copyright;
mod deb;
mod npm;
mod wheel;

use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use super::error::AttestError;
use super::licence::Licence;
use crate::base::progress::Progress;
use crate::lock::PinView;
use crate::model::{Ecosystem, Hasher, Sha256};
use crate::store::Store;

/// Where facts are remembered.
const MEMO: &str = "attest-facts";
/// Raised whenever the same bytes are read otherwise.
const MEMO_VERSION: &str = "1";
/// The largest file that is looked into, in bytes.
const TEXT_LIMIT: u64 = 16 << 20;

/// A person or a group, as a package names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// The name.
    pub name: String,
    /// The address, where one is given.
    pub email: Option<String>,
}

/// What an artifact says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    pub licence: Licence,
    /// Who hands it out: a Debian package's maintainer.
    pub supplier: Option<Party>,
    /// Who wrote it.
    pub author: Option<Party>,
    /// The package whose copyright file is this one's too.
    pub licence_of: Option<String>,
}

/// The label of a pin for people: `npm:lodash 4.17.21`.
pub(super) fn label(pin: &PinView<'_>) -> String {
    format!("{}:{} {}", pin.ecosystem, pin.name, pin.version)
}

/// The facts of each pin, in their order.
pub(super) fn read(pins: &[PinView<'_>], store: &Store, progress: &Progress) -> Result<Vec<Facts>, AttestError> {
    let missing: Vec<String> = pins.iter().filter(|pin| !store.contains(&pin.artifact.sha256)).map(label).collect();
    if !missing.is_empty() {
        return Err(AttestError::Missing { missing });
    }
    let mut facts = read_all(pins, store, progress)?;
    follow_links(pins, &mut facts);
    Ok(facts)
}

fn read_all(pins: &[PinView<'_>], store: &Store, progress: &Progress) -> Result<Vec<Facts>, AttestError> {
    let known: Vec<Option<Facts>> = pins.iter().map(|pin| recall(pin, store)).collect();
    // The largest first, so that no core is left alone with one at the end.
    let mut queue: Vec<usize> = (0..pins.len()).filter(|index| known[*index].is_none()).collect();
    queue.sort_by_key(|index| std::cmp::Reverse(pins[*index].artifact.size));
    let phase = progress.bytes("reading licences", queue.iter().map(|index| pins[*index].artifact.size).sum());
    let next = AtomicUsize::new(0);
    let done: Vec<Mutex<Option<Result<Facts, AttestError>>>> = pins.iter().map(|_| Mutex::default()).collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(queue.len());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(&index) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let facts = look_into(&pins[index], store);
                    phase.advance(pins[index].artifact.size);
                    *done[index].lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(facts);
                }
            });
        }
    });
    if !queue.is_empty() {
        phase.finish(&crate::base::text::count(queue.len(), "artifact"));
    }
    let mut all = Vec::new();
    for ((pin, known), slot) in pins.iter().zip(known).zip(done) {
        let read = slot.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let lost = || AttestError::Artifact { package: label(pin), why: "its reader ended early".to_owned() };
        all.push(match (known, read) {
            (Some(facts), _) => facts,
            (None, Some(facts)) => facts?,
            (None, None) => return Err(lost()),
        });
    }
    Ok(all)
}

fn question(pin: &PinView<'_>) -> Sha256 {
    let mut hasher = Hasher::default();
    hasher.field(MEMO_VERSION);
    hasher.field(pin.ecosystem.as_str());
    hasher.field(pin.name.as_str());
    hasher.field(pin.artifact.sha256.as_bytes());
    hasher.finish()
}

fn recall(pin: &PinView<'_>, store: &Store) -> Option<Facts> {
    serde_json::from_slice(&store.memo(MEMO, &question(pin))?).ok()
}

fn look_into(pin: &PinView<'_>, store: &Store) -> Result<Facts, AttestError> {
    let blob = store.open_blob(&pin.artifact.sha256)?;
    let facts = match pin.ecosystem {
        Ecosystem::Apt => deb::read(blob, pin.name.as_str()),
        Ecosystem::Npm => npm::read(blob),
        Ecosystem::Pip => wheel::read(blob),
    };
    let facts = facts.map_err(|error| AttestError::Artifact {
        package: label(pin),
        why: crate::base::text::sanitize(&error.to_string()),
    })?;
    store.set_memo(MEMO, &question(pin), &serde_json::to_vec(&facts).unwrap_or_default())?;
    Ok(facts)
}

/// Gives packages that have no copyright file of their own the licence of the one they point to.
fn follow_links(pins: &[PinView<'_>], facts: &mut [Facts]) {
    let debian: BTreeMap<&str, usize> = pins
        .iter()
        .enumerate()
        .filter(|(_, pin)| matches!(pin.ecosystem, Ecosystem::Apt))
        .map(|(index, pin)| (pin.name.as_str(), index))
        .collect();
    let found: Vec<Option<Licence>> = facts
        .iter()
        .map(|own| {
            let mut at = own.licence_of.as_deref()?;
            // A chain longer than the lock is a circle.
            for _ in 0..facts.len() {
                let other = &facts[*debian.get(at)?];
                match other.licence_of.as_deref() {
                    Some(next) => at = next,
                    None => return Some(other.licence.clone()),
                }
            }
            None
        })
        .collect();
    for (own, licence) in facts.iter_mut().zip(found) {
        own.licence = licence.unwrap_or_else(|| own.licence.clone());
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// `Name <name@example.invalid>`, or a name alone.
fn party(text: &str) -> Option<Party> {
    let text = text.trim();
    let (name, email) = match text.split_once('<') {
        Some((name, rest)) => (name, rest.split('>').next().map(str::trim).filter(|email| is_email(email))),
        None => (text.split('(').next().unwrap_or(text), None),
    };
    let name = crate::base::text::sanitize(name.trim().trim_matches('"'));
    (!name.is_empty()).then(|| Party { name, email: email.map(str::to_owned) })
}

fn is_email(text: &str) -> bool {
    let plain =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b));
    let is_domain = |host: &str| {
        host.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
    };
    text.split_once('@').is_some_and(|(user, host)| {
        plain(user) && !user.starts_with('.') && !user.ends_with('.') && !user.contains("..") && is_domain(host)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        let read = |text: &str| party(text).map(|party| (party.name, party.email.unwrap_or_default()));
        let pair = |name: &str, email: &str| Some((name.to_owned(), email.to_owned()));
        assert_eq!(read("A Team <a@b.invalid>"), pair("A Team", "a@b.invalid"));
        assert_eq!(read("Someone (https://x.invalid)"), pair("Someone", ""));
        assert_eq!(read("\"Q. Uoted\" <no address>"), pair("Q. Uoted", ""));
        assert_eq!(read(" <a@b.invalid>"), None);
    }
}
