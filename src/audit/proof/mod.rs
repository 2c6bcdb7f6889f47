//! Proof: what a lock says is held against the bytes in the store, the signed archives, the lock before it, and what the
//! registries say today. Everything that cannot be looked at is a finding of its own.

mod apt;
mod artifacts;
mod base;
mod chain;
mod npm;
mod pip;
mod requires;
mod rollback;
mod today;

use super::finding::{Level, Rule};

pub use artifacts::{ArtifactReport, check_artifacts};
pub use base::check_base;
pub use chain::check_archives;
pub use requires::check_requires;
pub use rollback::check_rollback;
pub use today::{TodayRequest, check_today};

/// A blob of the store that has other bytes than its name says, or another size than the lock.
pub static DAMAGED: Rule = Rule {
    id: "artifact-damaged",
    level: Level::Error,
    title: "an artifact with other bytes than were locked",
    help: "The store is damaged or the lockfile was changed by hand: run `oclock store verify --repair`, then `oclock fetch`.",
};

/// An artifact that is not what its pin says.
pub static IDENTITY: Rule = Rule {
    id: "artifact-identity",
    level: Level::Error,
    title: "an artifact of another package, version or architecture than its pin",
    help: "Its bytes are those locked, so the lockfile names them wrongly: it was not made by `oclock update`, or its source lies.",
};

/// An artifact that cannot be read, or contradicts its own list of files.
pub static CONTENT: Rule = Rule {
    id: "artifact-content",
    level: Level::Error,
    title: "an artifact that contradicts itself or cannot be unpacked",
    help: "The file was made like this by whoever published it: lock another version, and tell the publisher.",
};

/// An install script that is not the locked one.
pub static SCRIPTS: Rule = Rule {
    id: "artifact-scripts",
    level: Level::Error,
    title: "install scripts other than the lock lists",
    help: "The lock says which scripts a package brings, so that a review sees them: run `oclock update` and review the change.",
};

/// A wheel whose tags differ from those of its file name.
pub static TAGS: Rule = Rule {
    id: "artifact-tags",
    level: Level::Warning,
    title: "a wheel whose WHEEL file has other tags than its file name",
    help: "Installers go by the file name; a wheel that was renamed by hand looks like this.",
};

/// A wheel that is not what its source is built to.
pub static BUILT: Rule = Rule {
    id: "artifact-built",
    level: Level::Error,
    title: "a wheel that its locked source distribution is not built to",
    help: "This machine built another one of the same inputs: the lockfile was changed by hand, or the build depends on time or chance.",
};

/// Something that is needed and not pinned.
pub static REQUIRES: Rule = Rule {
    id: "requirement-unpinned",
    level: Level::Error,
    title: "a requirement of a pinned package that no pin answers",
    help: "A pin was taken out of the lockfile, or moved: run `oclock update`.",
};

/// A pin that names others as its requirers than those who are.
pub static REQUIRED_BY: Rule = Rule {
    id: "required-by-wrong",
    level: Level::Error,
    title: "a pin whose `required-by` is not what its neighbours say",
    help: "A pin was slipped in or its reason was changed by hand: run `oclock update`.",
};

/// A source that is not known here, or of another kind.
pub static SOURCE: Rule = Rule {
    id: "source-unknown",
    level: Level::Error,
    title: "a source that is not known here, or that speaks another protocol than its packages need",
    help: "Name it in `[sources]` if it is meant; otherwise the lockfile was changed by hand.",
};

/// A file that is not in the store.
pub static UNCHECKED: Rule = Rule {
    id: "not-checked",
    level: Level::Error,
    title: "something that could not be checked",
    help: "Run `oclock fetch`, which brings what is missing and verifies it; what is not checked is not proven.",
};

/// A link of the signed chain that does not hold.
pub static CHAIN: Rule = Rule {
    id: "chain-broken",
    level: Level::Error,
    title: "a Debian package that does not follow from a signed archive",
    help: "The lockfile or what is kept of the archive was changed: run `oclock update`, and review what moves.",
};

/// A pin of a version that had other bytes in the lock before.
pub static REHASHED: Rule = Rule {
    id: "rollback-digest",
    level: Level::Error,
    title: "a version with other bytes than in the lockfile before",
    help: "A published version is never replaced: suspect the source, or whoever changed the lockfile.",
};

/// An archive that is older than in the lock before.
pub static ROLLBACK: Rule = Rule {
    id: "rollback-archive",
    level: Level::Error,
    title: "a signed archive that is older than in the lockfile before",
    help: "An old signed index brings back flaws that were fixed: run `oclock update`, and see that the source is kept up to date.",
};

/// A lock before that cannot be read.
pub static UNREADABLE_BEFORE: Rule = Rule {
    id: "rollback-unreadable",
    level: Level::Warning,
    title: "a lockfile before that cannot be read",
    help: "It was written by another version of oclock, so that nothing can be said about going back.",
};

/// A registry that serves other bytes for a version.
pub static TODAY_OTHER: Rule = Rule {
    id: "registry-other",
    level: Level::Error,
    title: "a registry that has other bytes for a locked version",
    help: "A published version is never replaced: suspect the registry, the mirror, or whoever changed the lockfile.",
};

/// A version that its registry has no more.
pub static TODAY_GONE: Rule = Rule {
    id: "registry-gone",
    level: Level::Error,
    title: "a locked version that its registry no longer has",
    help: "It was unpublished or superseded: run `oclock update`, or `oclock update --pruned` for Debian packages.",
};

/// A version that its publisher has yanked.
pub static TODAY_YANKED: Rule = Rule {
    id: "registry-yanked",
    level: Level::Error,
    title: "a locked version that its publisher has yanked",
    help: "Its publisher asks not to use it: run `oclock update`, or excuse it with a waiver that says why.",
};

/// A version that its publisher calls deprecated.
pub static TODAY_DEPRECATED: Rule = Rule {
    id: "registry-deprecated",
    level: Level::Warning,
    title: "a locked version that its publisher calls deprecated",
    help: "It still works; its publisher will not mend it.",
};

/// A version that was published at another time than the lock says.
pub static TODAY_PUBLISHED: Rule = Rule {
    id: "registry-published",
    level: Level::Error,
    title: "a version that its registry dates otherwise than the lockfile",
    help: "The age of a release decides whether `min-age-days` lets it in: the lockfile was changed by hand, or the registry's times were.",
};

/// A registry that serves an older signed index than the lock has.
pub static TODAY_OLDER: Rule = Rule {
    id: "registry-older",
    level: Level::Error,
    title: "a Debian archive that is older today than when it was locked",
    help: "A mirror that went back or stands still hides fixes: name another one in `[sources]`.",
};

/// A lock that does not answer the manifest.
pub static LOCK_DRIFT: Rule = Rule {
    id: "lock-drift",
    level: Level::Error,
    title: "a lockfile that no longer answers the manifest",
    help: "Run `oclock update`, or undo the change of the manifest.",
};

/// A lock for another seal.
pub static LOCK_SEAL: Rule = Rule {
    id: "lock-seal",
    level: Level::Error,
    title: "a lockfile that was made for other scrub rules or another encoder",
    help: "Use the oclock that wrote it, or run `oclock update` to move to this one.",
};

/// A recorded image that was built from something else.
pub static IMAGE_CONTEXT: Rule = Rule {
    id: "image-context",
    level: Level::Error,
    title: "a recorded image that was built from another context",
    help: "Pins, `context/` or `Containerfile.in` changed since: run `oclock build --record`, and review what changed with it.",
};

/// A recorded image that is kept and damaged.
pub static IMAGE_DAMAGED: Rule = Rule {
    id: "image-damaged",
    level: Level::Error,
    title: "a recorded image that is damaged in the store",
    help: "Run `oclock store verify --repair`, and build again.",
};

/// An image that comes out differently when it is built again.
pub static REBUILT: Rule = Rule {
    id: "image-rebuilt",
    level: Level::Error,
    title: "an image that came out differently when it was built again",
    help: "Something in a step depends on time, place or chance: the paths and the step are named; make the step say the same every time.",
};

/// What is looked for offline.
pub static OFFLINE_RULES: [&Rule; 21] = [
    &LOCK_DRIFT,
    &LOCK_SEAL,
    &IMAGE_CONTEXT,
    &IMAGE_DAMAGED,
    &DAMAGED,
    &IDENTITY,
    &CONTENT,
    &SCRIPTS,
    &TAGS,
    &BUILT,
    &REQUIRES,
    &REQUIRED_BY,
    &SOURCE,
    &UNCHECKED,
    &CHAIN,
    &REHASHED,
    &ROLLBACK,
    &UNREADABLE_BEFORE,
    &super::ledger::REPUBLISHED,
    &super::ledger::OTHER_SOURCE,
    &super::ledger::UNREADABLE,
];

/// What is looked for at the registries.
pub static ONLINE_RULES: [&Rule; 6] =
    [&TODAY_OTHER, &TODAY_GONE, &TODAY_YANKED, &TODAY_DEPRECATED, &TODAY_PUBLISHED, &TODAY_OLDER];

/// The rules whose findings mean that something is not to be trusted, rather than merely not in order.
pub fn means_distrust(rule: &Rule) -> bool {
    [
        &DAMAGED,
        &IDENTITY,
        &CONTENT,
        &SCRIPTS,
        &BUILT,
        &CHAIN,
        &REHASHED,
        &IMAGE_DAMAGED,
        &TODAY_OTHER,
        &super::ledger::REPUBLISHED,
    ]
    .iter()
    .any(|known| known.id == rule.id)
}
