//! `oclock why`.

use super::args::{Format, WhyArguments};
use super::{Answer, written};
use crate::ops::{self, OpsError, Session, What};
use crate::report;

/// Runs it.
pub(super) fn run(session: &Session, format: Format, why: &WhyArguments) -> Result<Answer, OpsError> {
    let outcome = ops::why(session, &What::parse(&why.what)?)?;
    Ok(Answer::yes(written(format, &outcome, report::why_lines)))
}
