//! The rules that two lockfiles are compared by, in the order of risk.

use super::finding::{Level, Rule};
use super::policy::POLICY_AGE;

macro_rules! rules {
    ($($name:ident, $id:literal, $level:ident, $title:literal, $help:literal;)*) => {
        $(#[doc = concat!("Finds ", $title, ".")]
        pub static $name: Rule = Rule { id: $id, level: Level::$level, title: $title, help: $help };)*
        /// All of them, and the policy's rule about age; gravest first: findings of one level are listed in this order.
        pub static LOCK_RULES: &[&Rule] = &[$(&$name,)* &POLICY_AGE];
    };
}

rules! {
    REHASHED, "lock-rehashed", Error, "other bytes under the same version",
        "A published version is never replaced. Suspect the source, a mirror or the hand that wrote the lockfile, and compare the file with another source before you accept it.";
    NEW_SOURCE, "lock-source", Error, "a source that it did not come from before",
        "Whoever controls the source controls the bytes. Accept it only when the change of source is what the pull request is about.";
    EVIDENCE_LOST, "lock-evidence-lost", Error, "less evidence than before",
        "A signing key, a registry's integrity or a publication date that was recorded is gone, and with it what an audit could check.";
    ROLLBACK, "lock-rollback", Error, "a signed archive of an older date",
        "An archive that goes back in time offers packages without their newest security fixes. Ask a mirror that is up to date.";
    OTHER_IMAGE, "lock-image", Error, "another recorded image of the same context",
        "The build context is the same and the recorded image is not: the build is not reproducible, or the record is wrong. Build it yourself and compare.";
    SCRIPTS, "lock-scripts", Warning, "a new or changed install script",
        "Install scripts run while the image is built, if the manifest approves them. Read the script before you approve it.";
    REBUILT_WHEEL, "lock-rebuilt-wheel", Warning, "a source distribution that is built to another wheel",
        "Its build requirements or the packages of the base changed, or it was not a source distribution before. Build it yourself: `oclock build` fails when another wheel comes out.";
    NEW_NAME, "lock-new-name", Warning, "a package that was not locked before",
        "Look at who publishes it and whether its name is the one that was meant.";
    DOWNGRADE, "lock-downgrade", Warning, "an older version than before",
        "An older version may bring back what was fixed since. Say in the pull request why it goes back.";
    OTHER_FILE, "lock-other-file", Warning, "another file of the same version",
        "A release may get files later, also from someone who took over an account. Look at when the file was added and why it is preferred now.";
    RELABELLED, "lock-relabelled", Warning, "other particulars of the same bytes",
        "Where it is, its suite or its source package is recorded otherwise, and advisories are matched by these.";
    UNASKED, "lock-unasked", Warning, "a pin that moved although nothing asked for it",
        "The manifest changed elsewhere, and no requirement that changed leads to this package. Move it in a change of its own, or say why it comes along.";
    BASE, "lock-base", Warning, "another base",
        "Everything stands on it. Look at what changed in it.";
    SEAL, "lock-seal", Warning, "other rules for how the image becomes bytes",
        "The image changes although no package does; it comes with another version of oclock.";
    EPOCH, "lock-epoch", Note, "another time of the image",
        "All files of the image take this time. It follows the newest signed archive, unless the manifest says it.";
    IMAGE_LOST, "lock-image-unrecorded", Warning, "a recorded image that is gone",
        "Nothing says any more what these pins build to: run `oclock build --record`.";
    IMAGE_MOVED, "lock-image-moved", Note, "another recorded image",
        "It follows from the other changes; `oclock build` on your machine proves that it does.";
    PLATFORMS, "lock-platforms", Note, "other platforms",
        "Pins came or went with a platform.";
}

/// How early a rule stands in the order of risk; rules of others come last.
pub(super) fn rank(rule: &Rule) -> usize {
    LOCK_RULES.iter().position(|known| known.id == rule.id).unwrap_or(LOCK_RULES.len())
}
