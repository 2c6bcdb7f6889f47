//! Real engines on a tiny root: one image from all of them. Needs buildah, runc, docker (daemon running), busybox-static and
//! skopeo, as CI installs them; what is missing makes a test fail and says what to install.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use oclock::base::environment::Environment;
use oclock::base::progress::Progress;
use oclock::base::tar::{TarMeta, TarWriter};
use oclock::engine::{BuildRequest, Engine, EngineChoice, find};
use oclock::image::{
    Difference, EncodedManifest, ManifestFormat, Origin, SealRequest, SealedImage, compare, config_of, manifest_digest,
    manifest_of, seal, write_directory, write_docker_archive, write_oci,
};
use oclock::model::Platform;
use oclock::store::Store;

const EPOCH: i64 = 1_760_000_000;
const BUSYBOX: &str = "/bin/busybox";

const CONTAINERFILE: &str = r#"FROM scratch
# oclock: shell
SHELL ["/bin/sh", "/.oclock/step"]
ADD root.tar /
ENV GREETING="two words" PATH=/opt/bin:$PATH
COPY --chown=7:8 files /srv/files/
COPY files/one files/two /srv/both/
WORKDIR /srv/work
RUN echo "$GREETING" > greeting && \
    # a comment between
    id -u > id
RUN ["/bin/busybox", "sh", "-c", "rm /etc/gone; rm -r /old; mkdir /old; echo new > /old/new; ln /bin/busybox /opt/linked"]
RUN mkdir -p "/deep/$(printf 'd%.0s' $(seq 120))" && echo x > "/deep/$(printf 'd%.0s' $(seq 120))/$(printf 'f%.0s' $(seq 120))" \
    && echo é > /deep/é && mkfifo /deep/fifo && ln -s /nowhere /deep/link && chmod 4755 /deep/é && chmod 2775 /deep && chmod 700 /
USER 7:8
RUN id -u > /tmp/user && id -u > /srv/files/owner
USER 0
RUN ifconfig -a > /srv/network; if wget -q -T 2 http://127.0.0.1:1/; then exit 1; fi; date > /var/log/dpkg.log; hostname > /etc/hostname || true
EXPOSE 4096
HEALTHCHECK --interval=30s CMD /bin/true
ENTRYPOINT ["/bin/cat", "/srv/work/greeting"]
"#;

const STEP: &str = r#"exec env -i PATH="$PATH" GREETING="$GREETING" HOME=/root /bin/sh -ec "umask 022; $1"
"#;

/// A project staged for building, with a store and room for scratch files.
struct Stage {
    directory: tempfile::TempDir,
    store: Store,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let context = directory.path().join("context");
        fs::create_dir_all(context.join("files/sub")).unwrap();
        fs::write(context.join("Containerfile"), CONTAINERFILE).unwrap();
        fs::write(context.join("root.tar"), root_tar()).unwrap();
        for name in ["one", "two", "sub/three"] {
            fs::write(context.join("files").join(name), name).unwrap();
            fs::set_permissions(context.join("files").join(name), fs::Permissions::from_mode(0o644)).unwrap();
        }
        chown(context.join("files/one"), Some(1234), Some(1234)).unwrap();
        symlink("one", context.join("files/link")).unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        Self { directory, store }
    }

    fn context(&self) -> PathBuf {
        self.directory.path().join("context")
    }

    fn build(&self, engine: &dyn Engine) -> SealedImage {
        let scratch = tempfile::tempdir_in(self.directory.path()).unwrap();
        let context = self.context();
        let request = BuildRequest { context: &context, scratch: scratch.path(), limit: Duration::from_secs(120) };
        let mut talk = Vec::new();
        let root = engine
            .build(&request, &mut |line| talk.push(line.to_owned()))
            .unwrap_or_else(|error| panic!("{}: {error}: {error:?}\n{}", engine.name(), talk.join("\n")));
        let config = config_of(&fs::read_to_string(context.join("Containerfile")).unwrap()).unwrap();
        let origins = [Origin { name: "files".into(), roots: vec!["/srv".into()] }];
        let request = SealRequest { epoch: EPOCH, platform: Platform::LINUX_AMD64, config: &config, origins: &origins };
        let image = seal(&root, &request, &self.store, &Progress::hidden()).unwrap();
        drop(root);
        let left: Vec<_> = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| name == "docker-config"), "{left:?} is left in scratch");
        image
    }

    fn manifest(&self, image: &SealedImage) -> EncodedManifest {
        manifest_digest(image, &self.store, &Progress::hidden()).unwrap()
    }
}

/// A root of busybox with a capability whose bytes hold a newline, owners, modes and things to delete.
fn root_tar() -> Vec<u8> {
    let busybox = fs::read(BUSYBOX).unwrap_or_else(|_| panic!("{BUSYBOX} is missing: apt-get install busybox-static"));
    let mut writer = TarWriter::new(Vec::new(), EPOCH);
    for (path, mode) in [
        (".oclock", 0o755),
        ("bin", 0o755),
        ("etc", 0o755),
        ("old", 0o755),
        ("opt", 0o755),
        ("srv", 0o755),
        ("tmp", 0o1777),
        ("var", 0o755),
        ("var/log", 0o755),
    ] {
        writer.directory(Path::new(path), &TarMeta::root(mode)).unwrap();
    }
    let mut file = |path: &str, meta: &TarMeta, bytes: &[u8]| {
        writer.file(Path::new(path), meta, bytes.len() as u64, &mut &*bytes).unwrap();
    };
    file("bin/busybox", &TarMeta::root(0o755), &busybox);
    file(".oclock/step", &TarMeta::root(0o755), STEP.as_bytes());
    file("etc/gone", &TarMeta::root(0o644), b"gone");
    file("etc/shadow", &TarMeta { mode: 0o640, gid: 42, ..TarMeta::default() }, b"root:*:20000:0:99999:7:::\n");
    file("old/x", &TarMeta::root(0o644), b"old");
    // vfs_cap_data revision 2: permitted = bit 10 (net_bind_service) and bits 1 and 3, so that a byte is 0x0a.
    let capability = [1, 0, 0, 2, 0x0a, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
    let xattrs = BTreeMap::from([("security.capability".to_owned(), capability)]);
    file("bin/capable", &TarMeta { mode: 0o755, xattrs, ..TarMeta::default() }, b"#!/bin/sh\n");
    for applet in [
        "sh", "env", "echo", "id", "mkdir", "printf", "seq", "mkfifo", "ln", "chmod", "ifconfig", "wget", "date",
        "hostname", "cat", "rm", "true",
    ] {
        writer.symlink(&Path::new("bin").join(applet), &TarMeta::root(0o777), "busybox".as_ref()).unwrap();
    }
    writer.finish().unwrap()
}

fn engine(choice: EngineChoice) -> Box<dyn Engine> {
    let environment = Environment::from_variables(std::env::vars_os());
    find(choice, &environment).unwrap_or_else(|error| {
        use oclock::base::explain::Explain;
        panic!("{error}:\n{}\n{}", error.evidence().join("\n"), error.hints().join("\n"))
    })
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|_| panic!("{program} is missing: apt-get install buildah runc docker.io skopeo"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

const ALL: [EngineChoice; 4] =
    [EngineChoice::BuildahOci, EngineChoice::BuildahChroot, EngineChoice::DockerClassic, EngineChoice::DockerBuildkit];

#[test]
fn every_engine_gives_the_same_image() {
    let stage = Stage::new();
    let images: Vec<(EngineChoice, SealedImage)> =
        ALL.into_iter().map(|choice| (choice, stage.build(&*engine(choice)))).collect();
    let (_, first) = &images[0];
    for (choice, image) in &images {
        let differences = compare(first, image, &stage.store).unwrap();
        assert_eq!(image, first, "{choice:?}: {differences:#?}");
    }
    assert_eq!(first.layers.len(), 2);
    let other = Stage::new();
    assert_eq!(&other.build(&*engine(EngineChoice::Auto)), first, "another directory");
}
