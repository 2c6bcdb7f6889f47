//! Package URLs (ECMA-427, and the type definitions of the purl project): one name for a package that scanners and
//! advisories share.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::lock::{AptPin, NpmPin, PipPin};
use crate::model::{Platform, Sha256};

/// What is not written as it is: everything but letters, digits, `. - _ ~` and the colon.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_').remove(b'~').remove(b':');

/// Suites that belong to the one whose name they start with.
const POCKETS: [&str; 4] = ["-security", "-updates", "-backports", "-proposed-updates"];

fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// `pkg:deb/debian/git@1:2.47.3-0%2Bdeb13u1?arch=amd64&distro=trixie`, with `upstream=` where the source package has
/// another name or version.
pub(super) fn of_apt(pin: &AptPin) -> String {
    // Another vendor's package of the same name is another package.
    let source = pin.artifact.source.as_str();
    let vendor = if source == "debian" || source.starts_with("debian-") { "debian" } else { source };
    let upstream = match (pin.source_package == pin.name, pin.source_version == pin.version) {
        (true, true) => String::new(),
        (_, true) => format!("&upstream={}", encode(pin.source_package.as_str())),
        (_, false) => format!("&upstream={}", encode(&format!("{}@{}", pin.source_package, pin.source_version))),
    };
    format!(
        "pkg:deb/{}/{}@{}?arch={}&distro={}{upstream}",
        encode(vendor),
        encode(pin.name.as_str()),
        encode(pin.version.as_str()),
        encode(&pin.architecture),
        encode(release_of(&pin.suite)),
    )
}

/// `trixie-security` → `trixie`.
fn release_of(suite: &str) -> &str {
    POCKETS.iter().find_map(|pocket| suite.strip_suffix(pocket)).unwrap_or(suite)
}

/// `pkg:npm/%40scope/name@1.0.0`.
pub(super) fn of_npm(pin: &NpmPin) -> String {
    let name: Vec<String> = pin.name.as_str().split('/').map(encode).collect();
    format!("pkg:npm/{}@{}", name.join("/").to_lowercase(), encode(pin.version.as_str()))
}

/// `pkg:pypi/name@1.0`.
pub(super) fn of_pip(pin: &PipPin) -> String {
    format!("pkg:pypi/{}@{}", encode(pin.name.as_str()), encode(pin.version.as_str()))
}

/// `pkg:oci/name@sha256:…?arch=amd64`; the name is the last part of the repository's.
pub(super) fn of_image(name: &str, digest: &Sha256, platform: Platform) -> String {
    let name = name.rsplit('/').next().unwrap_or(name).to_lowercase();
    format!("pkg:oci/{}@{}?arch={}", encode(&name), encode(&digest.prefixed()), platform.architecture.as_str())
}
