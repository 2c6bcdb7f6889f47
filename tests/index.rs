//! One image index for several platforms, judged by skopeo; and what `build --all-platforms` refuses.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use oclock::base::progress::Progress;
use oclock::engine::{BuiltRoot, RootLayer};
use oclock::image::{
    EncodedManifest, Encoding, SealRequest, config_of, index_of, manifest_digest, seal, write_oci_index,
};
use oclock::model::{Architecture, Platform, Sha256};
use oclock::store::Store;
use serde_json::Value;
use support::project::Project;
use support::registries::Registries;

fn skopeo(arguments: &[&str]) -> String {
    let output = Command::new("skopeo").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn image(directory: &Path, store: &Store, architecture: Architecture) -> (Platform, EncodedManifest) {
    let root = directory.join(architecture.as_str());
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("architecture"), architecture.as_str()).unwrap();
    let config = config_of("FROM scratch\nCMD [\"/bin/true\"]\n").unwrap();
    let platform = Platform { architecture };
    let request =
        SealRequest { epoch: 1_760_000_000, platform, config: &config, origins: &[], encoding: Encoding::Later };
    let root = BuiltRoot::of(vec![RootLayer::Directory(root)]);
    let image = seal(&root, &request, store, &Progress::hidden()).unwrap();
    (platform, manifest_digest(&image, store, &Progress::hidden()).unwrap())
}

#[test]
fn an_index_has_each_platform_under_one_name() {
    let directory = tempfile::Builder::new().prefix("oclock-index").tempdir_in("/tmp").unwrap();
    let store = Store::open(directory.path().join("store")).unwrap();
    let manifests = [Architecture::Amd64, Architecture::Arm64].map(|one| image(directory.path(), &store, one));
    let index = index_of(&manifests).unwrap();
    let layout = directory.path().join("layout");
    write_oci_index(&layout, &index, &manifests, &["two:1".to_owned()], &store).unwrap();
    assert_eq!(index_of(&manifests).unwrap(), index);

    let place = format!("oci:{}:two:1", layout.display());
    let raw = skopeo(&["inspect", "--raw", &place]);
    assert_eq!(Sha256::of(&raw), Sha256::of(&index), "the name is that of the index");
    for (platform, manifest) in &manifests {
        let architecture = platform.architecture.as_str();
        let config = skopeo(&["--override-arch", architecture, "inspect", "--config", "--raw", &place]);
        let config: Value = serde_json::from_str(&config).unwrap();
        assert_eq!((&config["architecture"], &config["os"]), (&architecture.into(), &"linux".into()));
        let found = skopeo(&["--override-arch", architecture, "inspect", "--format", "{{.Digest}}", &place]);
        assert!(
            [manifest.digest.prefixed(), Sha256::of(&index).prefixed()].contains(&found.trim().to_owned()),
            "{found}"
        );
    }
    let copy = format!("dir:{}", directory.path().join("copy").display());
    skopeo(&["copy", "--quiet", "--all", "--preserve-digests", &place, &copy]);
    for (_, manifest) in &manifests {
        let copied = fs::read(directory.path().join(format!("copy/{}.manifest.json", manifest.digest))).unwrap();
        assert_eq!(copied, manifest.bytes);
    }
}

#[test]
fn several_platforms_go_into_layouts_alone() {
    let project = Project::locked(&Registries::serve());
    for arguments in [
        &["build", "--all-platforms"][..],
        &["build", "--all-platforms", "-o", "docker-archive:a.tar"],
        &["build", "--all-platforms", "-o", "oci:a", "-o", "dir:b"],
        &["build", "--all-platforms", "--platform", "linux/amd64", "-o", "oci:a"],
    ] {
        let answer = project.run(arguments);
        assert_eq!((answer.code, answer.stdout.as_str()), (2, ""), "{arguments:?}: {answer:?}");
    }
    assert!(!project.root().join("a").exists());
}
