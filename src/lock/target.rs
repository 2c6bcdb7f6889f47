//! What the pins say of the target: which Python, Node and C library the image will have.

use super::{AptPin, Lockfile};
use crate::manifest::Manifest;
use crate::model::{PackageVersion, Platform};

/// The target's full Python version, such as `3.13.5`: what the manifest says, else the pinned `python3`.
pub fn python_version(lock: &Lockfile, manifest: &Manifest, platform: Platform) -> Option<String> {
    manifest.pip.python.clone().or_else(|| pinned_upstream(&lock.apt, "python3", platform))
}

/// The upstream version of a pinned Debian package: `3.13.5` of `3.13.5-1`.
pub fn pinned_upstream(pins: &[AptPin], name: &str, platform: Platform) -> Option<String> {
    let pin = pins.iter().find(|pin| pin.platform == platform && pin.name.as_str() == name)?;
    Some(upstream_version(&pin.version))
}

/// The leading numbers of a Debian version, without epoch and revision: `20.19.2` of `20.19.2+dfsg-1`.
pub fn upstream_version(version: &PackageVersion) -> String {
    let text = version.as_str();
    let text = text.split_once(':').map_or(text, |(_, rest)| rest);
    let numbers: String = text.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    numbers.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstream_versions_are_the_leading_numbers() {
        for (debian, upstream) in [
            ("3.13.5-1", "3.13.5"),
            ("20.19.2+dfsg-1", "20.19.2"),
            ("1:2.47.3-0+deb13u1", "2.47.3"),
            ("2.41-12", "2.41"),
        ] {
            assert_eq!(upstream_version(&PackageVersion::parse(debian).unwrap()), upstream);
        }
    }
}
