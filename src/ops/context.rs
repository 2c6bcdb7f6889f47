//! `oclock context`: the build context's digest, and the context itself in a directory.

use std::path::Path;

use super::build::prepare;
use super::error::OpsError;
use super::session::Session;
use crate::assemble::Hashed;
use crate::model::{Platform, Sha256};

/// A context that was assembled.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct ContextOutcome {
    /// Its digest.
    pub digest: Sha256,
}

/// Assembles the context, and writes it to the new directory `to` when given.
///
/// # Errors
/// When artifacts are missing and cannot be fetched, or the directory is already there.
pub fn context(session: &Session, platform: Option<Platform>, to: Option<&Path>) -> Result<ContextOutcome, OpsError> {
    let prepared = prepare(session, platform)?;
    let context = prepared.assemble(session)?;
    if let Some(directory) = to {
        if directory.exists() {
            return Err(OpsError::Exists { path: directory.to_owned() });
        }
        context.stage(directory, &session.store, Hashed::First)?;
    }
    Ok(ContextOutcome { digest: context.digest() })
}
