//! The chain InRelease → Packages → `.deb` → lock, from the store alone, with the keys as they were at the archive's Date.

use std::collections::BTreeMap;

use super::{CHAIN, UNCHECKED};
use crate::audit::finding::{Finding, Level};
use crate::base::explain::Explain;
use crate::base::text::sanitize;
use crate::lock::Lockfile;
use crate::model::SourceName;
use crate::resolve::apt::{AptError, BrokenLink, Keyring, check_chain};
use crate::store::{Store, StoreError};

/// Checks every link. A file of the chain that is not in the store is a finding as grave as `missing`, unless a later archive
/// stands in for it: how many do is told beside the findings.
pub fn check_archives(
    lock: &Lockfile,
    store: &Store,
    keyrings: &BTreeMap<SourceName, Keyring>,
    missing: Level,
) -> (Vec<Finding>, usize) {
    let report = check_chain(lock, store, keyrings);
    (report.broken.into_iter().map(|link| finding(link, missing)).collect(), report.stand_ins)
}

fn finding(link: BrokenLink, missing: Level) -> Finding {
    if let AptError::Store(StoreError::Missing { digest }) = &link.error {
        let message = format!("a signed index of `{}` is not in the store and not checked", link.subject);
        let evidence = vec![format!("missing  sha256:{digest}")];
        return Finding { level: missing, evidence, ..Finding::new(&UNCHECKED, link.subject, message) };
    }
    if let AptError::NotTraced { date, why, .. } = &link.error {
        let evidence = vec![format!("   later  {date}: {}", sanitize(why)), "  locked  not in the store".to_owned()];
        let message = sanitize(&link.error.to_string());
        return Finding { level: missing, evidence, ..Finding::new(&UNCHECKED, link.subject, message) };
    }
    let causes = std::iter::successors(std::error::Error::source(&link.error), |cause| cause.source());
    let mut evidence: Vec<String> = causes.map(|cause| format!("because  {}", sanitize(&cause.to_string()))).collect();
    evidence.extend(link.error.evidence());
    if let AptError::Unlisted { why, .. } = &link.error
        && !evidence.iter().any(|line| line.contains(why.as_str()))
    {
        evidence.push(format!("because  {}", sanitize(why)));
    }
    Finding { evidence, ..Finding::new(&CHAIN, link.subject, sanitize(&link.error.to_string())) }
}
