//! `oclock diff` on the command line.

use std::path::Path;

use super::args::{DiffArguments, FailOn, Format};
use super::{Answer, Session, written};
use crate::audit::{LOCK_RULES, Level};
use crate::base::fs::read_text;
use crate::lock::parse_lockfile;
use crate::ops::{self, DiffImagesOptions, DiffOptions, DiffOutcome, OpsError};
use crate::report;

pub(super) fn run_diff(session: &Session, format: Format, arguments: &DiffArguments) -> Result<Answer, OpsError> {
    if let (true, Some(first), Some(second)) = (arguments.image, &arguments.old, &arguments.new) {
        let (first, second) = (first.clone(), second.clone());
        return run_images(session, format, &DiffImagesOptions { first, second, platform: arguments.platform });
    }
    let options = DiffOptions { old: arguments.old.clone(), new: arguments.new.clone() };
    let outcome = ops::diff(session, &options)?;
    let text = match format {
        Format::Markdown => report::diff_outcome_markdown(&outcome),
        Format::Sarif => report::findings_sarif(&outcome.findings, LOCK_RULES),
        Format::Human | Format::Json => written(format, &outcome, report::diff_outcome_lines),
    };
    let refused =
        (arguments.exit_code && outcome.differs) || arguments.fail_on.is_some_and(|from| fails(&outcome, from));
    Ok(if refused { Answer::no(text) } else { Answer::yes(text) })
}

/// The answer is no when the images differ.
fn run_images(session: &Session, format: Format, options: &DiffImagesOptions) -> Result<Answer, OpsError> {
    let outcome = ops::diff_images(session, options)?;
    let text = written(format, &outcome, report::image_comparison_lines);
    Ok(if outcome.same { Answer::yes(text) } else { Answer::no(text) })
}

fn fails(outcome: &DiffOutcome, from: FailOn) -> bool {
    let least = match from {
        FailOn::Error => Level::Error,
        FailOn::Warning => Level::Warning,
        FailOn::Note => Level::Note,
    };
    outcome.findings.iter().any(|finding| finding.excuse.is_none() && finding.level >= least)
}

/// What git shows of a lockfile. One that cannot be read is shown as it is: git would show nothing at all otherwise.
pub(super) fn run_textconv(file: &Path) -> Result<Answer, OpsError> {
    let text = read_text(file)?;
    let lock = parse_lockfile(&text, &file.display().to_string());
    Ok(Answer::yes(lock.map_or(text, |lock| report::textconv_lines(&lock))))
}
