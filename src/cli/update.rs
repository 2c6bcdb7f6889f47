//! `oclock update`.

use super::args::{Format, UpdateArguments};
use super::{Answer, engine_choice, written};
use crate::ops::{self, OpsError, Pruned, Scope, Session, UpdateMode, UpdateOptions, What};
use crate::report;

/// Runs it.
pub(super) fn run(session: &Session, format: Format, update: &UpdateArguments) -> Result<Answer, OpsError> {
    if update.check {
        ops::check(session)?;
        return Ok(Answer::yes(String::new()));
    }
    let what = update.what.iter().map(|text| What::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let options = UpdateOptions {
        mode: if update.dry_run { UpdateMode::DryRun } else { UpdateMode::Write },
        scope: if what.is_empty() && !update.minimal { Scope::Everything } else { Scope::Only(what) },
        as_of: update.as_of,
        precise: update.precise.clone(),
        engine: engine_choice(update.engine),
        pruned: if update.pruned { Pruned::Move } else { Pruned::Stay },
    };
    let outcome = ops::update(session, &options)?;
    let text = written(format, &outcome, report::update_lines);
    if update.exit_code && outcome.changed { Ok(Answer::no(text)) } else { Ok(Answer::yes(text)) }
}
