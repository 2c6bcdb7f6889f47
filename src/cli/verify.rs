//! `oclock verify` on the command line.

use std::time::Duration;

use super::args::{Format, VerifyArguments};
use super::{Answer, written};
use crate::base::explain::Kind;
use crate::ops::{self, Asking, Missing, OpsError, RebuildOptions, Session, Variation, Verdict, VerifyOptions};
use crate::report;

/// Runs the verb; the exit code is the gravest thing that was found.
pub(super) fn run(session: &Session, format: Format, arguments: &VerifyArguments) -> Result<Answer, OpsError> {
    let vary = Variation::parse_list(&arguments.vary).map_err(|source| OpsError::Asked { source })?;
    let rebuild = RebuildOptions { rounds: arguments.rounds, vary, limit: Duration::from_secs(arguments.limit) };
    let options = VerifyOptions {
        asking: if arguments.online { Asking::Registries } else { Asking::Nobody },
        missing: if arguments.allow_missing { Missing::Allowed } else { Missing::Refused },
        previous: arguments.previous.clone(),
        rebuild: arguments.rebuild.then_some(rebuild),
    };
    let outcome = ops::verify(session, &options)?;
    let text = match format {
        Format::Human | Format::Json => written(format, &outcome, report::proof_lines),
        Format::Markdown => report::proof_markdown(&outcome),
        Format::Sarif => report::findings_sarif(&outcome.findings, &outcome.rules),
    };
    let code = match outcome.verdict {
        Verdict::Proven => 0,
        Verdict::No => Kind::No.exit_code(),
        Verdict::Distrust => Kind::Distrust.exit_code(),
    };
    Ok(Answer { text, code })
}
