//! `oclock audit`.

use clap::Args;

use super::Answer;
use super::args::Format;
use crate::base::explain::Kind;
use crate::ops::{self, AuditAnswer, AuditOptions, Challenge, NotAudited, OpsError, Session, Signatures, What};
use crate::report;

#[derive(Debug, Args)]
pub(super) struct AuditArguments {
    /// OSV data: a directory, a zip archive or a URL; may be repeated. The policy's `advisories` when not given
    #[arg(long, value_name = "PLACE")]
    advisories: Vec<String>,
    /// Compare evidence with this lockfile, a file or a git revision; HEAD when not given
    #[arg(long, value_name = "OLD")]
    previous: Option<String>,
    /// Ask the registries for signatures of npm and Python packages, and check them
    #[arg(long)]
    signatures: bool,
    /// Ask all sources of these packages (of all, when none is named) for the same bytes
    #[arg(long, value_name = "WHAT", num_args = 0..)]
    challenge: Option<Vec<String>>,
    /// Let what could not be audited be a warning
    #[arg(long)]
    allow_not_audited: bool,
}

pub(super) fn run(session: &Session, format: Format, audit: &AuditArguments) -> Result<Answer, OpsError> {
    let options = AuditOptions {
        advisories: audit.advisories.clone(),
        previous: audit.previous.clone(),
        signatures: if audit.signatures { Signatures::Asked } else { Signatures::NotAsked },
        challenge: match &audit.challenge {
            None => Challenge::Nothing,
            Some(names) if names.is_empty() => Challenge::All,
            Some(names) => Challenge::These(names.iter().map(|name| What::parse(name)).collect::<Result<_, _>>()?),
        },
        not_audited: if audit.allow_not_audited { NotAudited::Allowed } else { NotAudited::Counts },
    };
    let outcome = ops::audit(session, &options)?;
    let text = match format {
        Format::Human => report::audit_lines(&outcome),
        Format::Json => report::json(&outcome) + "\n",
        Format::Markdown => report::audit_markdown(&outcome),
        Format::Sarif => report::findings_sarif(&outcome.findings, &outcome.rules),
    };
    let code = match outcome.answer() {
        AuditAnswer::Yes => 0,
        AuditAnswer::No => Kind::No.exit_code(),
        AuditAnswer::Distrust => Kind::Distrust.exit_code(),
    };
    Ok(Answer { text, code })
}
