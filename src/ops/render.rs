//! `oclock render`: the Containerfile that an engine is given.

use super::error::OpsError;
use super::session::{Session, platform_of};
use crate::model::Platform;

/// Renders for the platform asked for, or the lock's first.
///
/// # Errors
/// When manifest, lockfile or template are missing or wrong.
pub fn render(session: &Session, platform: Option<Platform>) -> Result<String, OpsError> {
    let file = session.manifest()?;
    let lock = session.lock()?;
    let platform = platform_of(platform, &lock)?;
    Ok(session.rendered(&file.manifest, &lock, platform)?.text)
}
