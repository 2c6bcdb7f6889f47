//! The lockfile before: the file that was named, else the last other one that git has.

use std::path::Path;
use std::time::Duration;

use super::error::OpsError;
use super::session::Session;
use crate::base::fs::read_text;
use crate::base::process::Invocation;

const LIMIT: Duration = Duration::from_secs(20);

/// A lockfile's text and what it is called.
pub(super) struct Previous {
    pub name: String,
    pub text: String,
}

/// The file `asked` for. Without one: what git has for the lockfile at HEAD, or before its last change where that is what
/// stands there now. None where there is no git, no repository or no older file.
pub(super) fn previous_lock(session: &Session, asked: Option<&Path>) -> Result<Option<Previous>, OpsError> {
    if let Some(path) = asked {
        return Ok(Some(Previous { name: path.display().to_string(), text: read_text(path)? }));
    }
    let path = &session.paths.lockfile;
    let now = read_text(path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(file) = path.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
    let git = |arguments: &[&str]| {
        let run = Invocation::new("git").arg("-C").arg(directory).args(arguments).limit(LIMIT).run();
        run.ok().and_then(|output| String::from_utf8(output.stdout).ok())
    };
    let commits = git(&["log", "-n", "2", "--format=%H", "--", file]).unwrap_or_default();
    for commit in commits.lines() {
        let text = git(&["cat-file", "blob", &format!("{commit}:./{file}")]);
        if let Some(text) = text.filter(|text| *text != now) {
            return Ok(Some(Previous { name: format!("{file} of {}", &commit[..commit.len().min(12)]), text }));
        }
    }
    Ok(None)
}
