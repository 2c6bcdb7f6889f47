//! Lockfile → store: what is missing is brought, in parallel, verified while it streams.
//!
//! What arrives is judged by the lock alone; where it comes from does not matter for that. It chooses nothing: a pin that
//! no source has any more is an error with its name.

mod challenge;
mod error;
mod places;
mod plan;
mod presence;
mod transfer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::base::http::HttpClient;
use crate::base::progress::Progress;
use crate::base::text::{count, human_size};
use crate::model::Artifact;
use crate::source::{Source, Sources};
use crate::store::Store;

pub use challenge::{Held, challenge};
pub use error::{Failure, FailureCause, FetchError};
pub use plan::{FetchPlan, Wanted, moments, plan};
pub use presence::find_gone;

use transfer::{Courier, Role};

/// What came of fetching.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchOutcome {
    /// Files that came.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Signed indexes of the lock that the archives have replaced by newer ones, so that the chain of signatures cannot be
    /// verified from here. They are not needed to build.
    pub superseded: Vec<Artifact>,
}

/// Brings what a plan lists into the store; its layers are the image registry's client's to bring.
///
/// Bytes that are not those locked are kept in `quarantine`, never in the store.
///
/// # Errors
/// All failures together, once everything else is there: see [`FetchError`].
pub async fn fetch(
    plan: &FetchPlan<'_>,
    sources: &Sources,
    http: &HttpClient,
    store: &Store,
    progress: &Progress,
    quarantine: &Path,
) -> Result<FetchOutcome, FetchError> {
    if plan.artifacts.is_empty() && plan.proofs.is_empty() {
        return Ok(FetchOutcome::default());
    }
    if http.is_offline() {
        return match plan.artifacts.is_empty() {
            true => Ok(FetchOutcome { superseded: owned(&plan.proofs), ..FetchOutcome::default() }),
            false => {
                Err(FetchError::Offline { missing: plan.artifacts.iter().map(|want| want.label.clone()).collect() })
            }
        };
    }
    let by_name = look_up(plan, sources)?;
    let phase = progress.bytes("fetching artifacts", plan.bytes());
    let courier = Arc::new(Courier::new(http, store, quarantine, phase));
    let mut tasks = JoinSet::new();
    let wanted = plan.artifacts.iter().map(|want| (Role::Needed, want));
    for (role, want) in wanted.chain(plan.proofs.iter().map(|want| (Role::Proof, want))) {
        let Some(source) = by_name.get(want.artifact.source.as_str()) else { continue };
        let (courier, source, want) = (courier.clone(), source.clone(), want.to_owned_want(sources));
        tasks.spawn(async move {
            let result = courier.bring(&source, &want, role).await;
            (role, want, result)
        });
    }
    let mut outcome = FetchOutcome::default();
    let mut failures = Vec::new();
    while let Some(finished) = tasks.join_next().await {
        // A task that was ended from outside leaves nothing behind: its blob is dropped unfinished.
        let Ok((role, want, result)) = finished else { return Err(FetchError::Interrupted) };
        match (result, role) {
            (Ok(()), _) => {
                outcome.files += 1;
                outcome.bytes += want.artifact.size;
            }
            (Err(_), Role::Proof) => outcome.superseded.push(want.artifact),
            (Err(cause), Role::Needed) => failures.push(Failure { label: want.label, artifact: want.artifact, cause }),
        }
    }
    outcome.superseded.sort();
    if let Some(courier) = Arc::into_inner(courier) {
        courier.finish(&format!("{}, {}", count(outcome.files, "file"), human_size(outcome.bytes)));
    }
    FetchError::from_failures(failures).map_or(Ok(outcome), Err)
}

/// The sources of a plan by their names, looked up once and before anything is asked for.
fn look_up<'a>(plan: &FetchPlan<'a>, sources: &Sources) -> Result<BTreeMap<&'a str, Source>, FetchError> {
    let mut by_name = BTreeMap::new();
    for want in plan.artifacts.iter().chain(&plan.proofs) {
        let name = &want.artifact.source;
        if !by_name.contains_key(name.as_str()) {
            by_name.insert(name.as_str(), sources.get(name)?);
        }
    }
    Ok(by_name)
}

fn owned(wanted: &[Wanted<'_>]) -> Vec<Artifact> {
    wanted.iter().map(|want| want.artifact.clone()).collect()
}

#[cfg(test)]
mod tests;
