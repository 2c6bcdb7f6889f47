//! Secrets in what an image is made of, and in the image itself.
//!
//! It owns what counts as a secret (`patterns.rs`), how bytes are looked through, and what is public already: a secret that a
//! locked package or the base image ships is no secret any more, and is a note. It must not know engines, commands, and what becomes of a finding.
//! `docs/security.md` says what is found and what is not.

mod image;
mod judge;
mod patterns;
mod project;
mod scan;

use std::collections::BTreeSet;
use std::path::PathBuf;

pub use image::{ImageRequest, check_image};
pub use project::{ContainerfileTexts, check_project};

use super::{Finding, FindingPlace, Level, Rule};
use crate::base::explain::{Explain, Kind};
use crate::base::fs::FsError;
use crate::base::text::sanitize;
use crate::model::Sha256;
use crate::store::StoreError;
use patterns::PATTERNS;
use scan::Hit;

/// Why secrets could not be looked for.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The patterns built into oclock are wrong.
    #[error("the patterns of secrets are wrong: {what}")]
    Patterns {
        /// What is wrong.
        what: String,
    },
    /// A file of the project changed while it was looked through.
    #[error("`{}` changed while it was read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A layer that should be in the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file system.
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl Explain for SecretsError {
    fn kind(&self) -> Kind {
        match self {
            Self::Patterns { .. } => Kind::Bug,
            Self::Changed { .. } => Kind::Unable,
            Self::Store(error) => error.kind(),
            Self::Fs(error) => error.kind(),
        }
    }

    fn evidence(&self) -> Vec<String> {
        match self {
            Self::Store(error) => error.evidence(),
            _ => Vec::new(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Patterns { .. } => Vec::new(),
            Self::Changed { .. } => vec!["let whatever writes it finish, and run the command again".to_owned()],
            Self::Store(error) => error.hints(),
            Self::Fs(error) => error.hints(),
        }
    }
}

/// What was found, and by which digests secrets are known again that are told or public.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets {
    /// The findings, not yet excused by waivers.
    pub findings: Vec<Finding>,
    known: BTreeSet<Sha256>,
}

/// All rules that look for secrets, for waivers and reports.
pub fn secret_rules() -> Vec<&'static Rule> {
    PATTERNS.iter().map(|pattern| &pattern.rule).collect()
}

impl Secrets {
    /// Adds what was found in one file.
    fn tell(&mut self, subject: &str, hits: &[Hit], place: impl Fn(&Hit) -> Option<FindingPlace>) {
        for hit in hits {
            if let Some(finding) = finding(subject, hit, place(hit)) {
                self.known.insert(hit.digest);
                self.findings.push(finding);
            }
        }
    }
}

fn finding(subject: &str, hit: &Hit, place: Option<FindingPlace>) -> Option<Finding> {
    let rule = PATTERNS.iter().map(|pattern| &pattern.rule).find(|rule| rule.id == hit.rule)?;
    let subject = sanitize(subject);
    let message = format!("`{subject}` holds {}", rule.title);
    let evidence = match place {
        Some(_) => hit.shown.clone(),
        None => format!("{}: {}", hit.place, hit.shown),
    };
    Some(Finding { place, evidence: vec![evidence], ..Finding::new(rule, subject, message) })
}

fn as_note(finding: Finding) -> Finding {
    let message = format!("{}, which is public: a locked package or the base image ships it", finding.message);
    Finding { level: Level::Note, message, ..finding }
}
