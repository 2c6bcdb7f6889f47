//! What leaves for other tools, judged by them: one index for several platforms, layers with zstd; and what is refused.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use oclock::base::progress::Progress;
use oclock::engine::{BuiltRoot, RootLayer};
use oclock::image::{
    EncodedManifest, Encoding, SealRequest, SealedImage, config_of, index_of, manifest_of, seal, write_oci,
    write_oci_index,
};
use oclock::model::{Architecture, LayerCompression, Platform, Sha256};
use oclock::store::Store;
use serde_json::Value;
use support::project::Project;
use support::registries::Registries;

fn skopeo(arguments: &[&str]) -> String {
    let output = Command::new("skopeo").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn image(directory: &Path, store: &Store, platform: Platform, encoding: Encoding) -> SealedImage {
    let root = directory.join(platform.architecture.as_str());
    fs::create_dir_all(&root).unwrap();
    fs::write(root.join("architecture"), platform.architecture.as_str()).unwrap();
    let config = config_of("FROM scratch\nCMD [\"/bin/true\"]\n").unwrap();
    let request = SealRequest { epoch: 1_760_000_000, platform, config: &config, origins: &[], encoding };
    let root = BuiltRoot::of(vec![RootLayer::Directory(root)]);
    seal(&root, &request, store, &Progress::hidden()).unwrap()
}

fn encoded(image: &SealedImage, compression: LayerCompression, store: &Store) -> EncodedManifest {
    manifest_of(image, compression, store, &Progress::hidden()).unwrap()
}

#[test]
fn an_index_has_each_platform_under_one_name() {
    let directory = tempfile::Builder::new().prefix("oclock-index").tempdir_in("/tmp").unwrap();
    let store = Store::open(directory.path().join("store")).unwrap();
    let manifests = [Architecture::Amd64, Architecture::Arm64].map(|architecture| {
        let platform = Platform { architecture };
        let image = image(directory.path(), &store, platform, Encoding::Later);
        (platform, encoded(&image, LayerCompression::Gzip, &store))
    });
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
fn layers_with_zstd_are_those_with_gzip_to_who_reads_them() {
    let directory = tempfile::Builder::new().prefix("oclock-zstd").tempdir_in("/tmp").unwrap();
    let store = Store::open(directory.path().join("store")).unwrap();
    let platform = Platform::LINUX_AMD64;
    let image = image(directory.path(), &store, platform, Encoding::Now(LayerCompression::Zstd));
    let [gzip, zstd] = LayerCompression::ALL.map(|compression| encoded(&image, compression, &store));
    assert_eq!(gzip.config, zstd.config);
    assert!(gzip.layers != zstd.layers && gzip.digest != zstd.digest);
    let layout = directory.path().join("layout");
    write_oci(&layout, &zstd, platform, &["app:1".to_owned()], &store).unwrap();

    let place = format!("oci:{}:app:1", layout.display());
    let raw: Value = serde_json::from_str(&skopeo(&["inspect", "--raw", &place])).unwrap();
    assert_eq!(raw["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(raw["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    let copy = directory.path().join("copy");
    skopeo(&["copy", "--quiet", "--dest-decompress", &place, &format!("dir:{}", copy.display())]);
    for layer in &image.layers {
        assert_eq!(Sha256::of(fs::read(copy.join(layer.diff_id.to_string())).unwrap()), layer.diff_id);
    }
    assert_eq!(Sha256::of(fs::read(copy.join(image.id.to_string())).unwrap()), image.id);
}

#[test]
fn zstd_is_asked_for_in_the_manifest_and_named_in_the_lock() {
    let project = Project::locked(&Registries::serve());
    let lock = project.read("lockfile.toml");
    project.edit("oclock.toml", "[image]\n", "[image]\ncompression = \"zstd\"\n");
    let answer = project.run(&["update", "--check"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stderr.contains("oclock.toml:"), "{answer:?}");
    assert_eq!(project.run(&["update"]).code, 0);
    let changed = project.read("lockfile.toml");
    assert!(changed.contains("encoder = \"zstd-1.5.7-3-4MiB\""), "{changed}");
    let pins = |lock: &str| lock.split_once("[base]").map(|(_, pins)| pins.to_owned());
    assert!(pins(&lock).is_some() && pins(&lock) == pins(&changed));

    let template = project.read("Containerfile.in");
    project.write("Containerfile.in", format!("{template}\nHEALTHCHECK CMD [\"/bin/true\"]\n"));
    let answer = project.run(&["build", "--no-load"]);
    assert_eq!(answer.code, 2, "{answer:?}");
    assert!(answer.stderr.contains("HEALTHCHECK") && answer.stderr.contains("compression"), "{answer:?}");
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
