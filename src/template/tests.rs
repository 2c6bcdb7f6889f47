use std::collections::BTreeMap;

use super::*;
use crate::base::explain::Explain;
use crate::lock::{AptPin, BasePin, Fingerprints, SealPin};
use crate::manifest::{AptSection, BaseRequest, ImageSection, NpmSection, PipSection, PolicySection};
use crate::model::{Artifact, LayerCompression, Sha256};

fn manifest() -> Manifest {
    Manifest {
        image: ImageSection {
            name: "test".into(),
            tags: vec!["latest".into()],
            platforms: vec![Platform::LINUX_AMD64],
            base: BaseRequest::Debian { suite: "trixie".into() },
            epoch: None,
            compression: LayerCompression::Gzip,
        },
        apt: AptSection::default(),
        npm: NpmSection::default(),
        pip: PipSection::default(),
        sources: BTreeMap::new(),
        policy: PolicySection::default(),
    }
}

fn lock() -> Lockfile {
    let digest = Sha256::of(b"");
    let artifact = Artifact {
        source: "debian".parse().unwrap(),
        path: "pool/g.deb".parse().unwrap(),
        size: 1,
        sha256: digest,
        sha512: None,
    };
    let git = AptPin {
        name: "git".parse().unwrap(),
        version: "1:2.47.3-0+deb13u1".parse().unwrap(),
        platform: Platform::LINUX_AMD64,
        architecture: "amd64".into(),
        suite: "trixie".into(),
        source_package: "git".parse().unwrap(),
        source_version: "1:2.47.3-0+deb13u1".parse().unwrap(),
        artifact,
        required_by: vec!["manifest".into()],
    };
    Lockfile {
        epoch: 1_700_000_000,
        platforms: vec![Platform::LINUX_AMD64],
        fingerprints: Fingerprints { image: digest, apt: digest, npm: digest, pip: digest },
        seal: SealPin { rules: digest, encoder: "none".into() },
        base: BasePin::Debian { suite: "trixie".into() },
        archives: Vec::new(),
        apt: vec![git],
        npm: Vec::new(),
        pip: Vec::new(),
        pip_builds: Vec::new(),
        images: BTreeMap::new(),
    }
}

fn render_text(template: &str) -> Result<Rendered, TemplateError> {
    render(template, &manifest(), &lock(), Platform::LINUX_AMD64)
}

#[test]
fn pins_stand_beside_their_step() {
    let rendered = render_text("FROM {{ base }}\n{{ apt.install }}\nLABEL git={{ version(\"apt:git\") }}\n").unwrap();
    assert!(rendered.text.starts_with("FROM scratch\n# base: debian trixie"), "{}", rendered.text);
    assert!(
        rendered.text.contains("#   git=1:2.47.3-0+deb13u1 sha256:e3b0c44298fc\nADD .oclock/system.tar /\n"),
        "{}",
        rendered.text
    );
    assert!(rendered.text.ends_with("LABEL git=1:2.47.3-0+deb13u1\n"), "{}", rendered.text);
}

#[test]
fn an_unknown_name_is_an_error_with_the_nearest() {
    let error = render_text("FROM {{ base }}\n{{ apt.instal }}\n").unwrap_err();
    assert_eq!(error.hints(), ["did you mean `install`?"]);
    assert_eq!(error.excerpt().unwrap().line, 2);
    let error = render_text("FROM {{ base }}\n{{ apt.install }}\nLABEL a={{ version(\"apt:gti\") }}\n").unwrap_err();
    assert!(error.to_string().contains("did you mean `apt:git`?"), "{error}");
}

#[test]
fn locked_packages_must_be_installed() {
    let error = render_text("FROM {{ base }}\n").unwrap_err();
    assert!(matches!(error, TemplateError::Unused { ecosystem: "apt" }), "{error}");
}
