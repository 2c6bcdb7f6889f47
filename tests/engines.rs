//! Real engines on a tiny root: one image from all of them. Needs buildah, runc, docker (daemon running), busybox-static and
//! skopeo, as CI installs them; what is missing makes a test fail and says what to install.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use oclock::audit::secrets::{ImageRequest, Secrets, check_image};
use oclock::base::environment::Environment;
use oclock::base::explain::Explain;
use oclock::base::progress::Progress;
use oclock::base::tar::{TarMeta, TarWriter};
use oclock::engine::{BuildRequest, Engine, EngineChoice, Known, find};
use oclock::image::{
    Difference, EncodedManifest, Encoding, Origin, SealRequest, SealedImage, compare, config_of, manifest_of, seal,
    write_directory, write_docker_archive, write_oci,
};
use oclock::model::{LayerCompression, Platform};
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
COPY --chown=7:8 files/one /made/on/the/way/
WORKDIR /srv/work
RUN echo "$GREETING" > greeting && \
    # a comment between
    id -u > id
RUN ["/bin/busybox", "sh", "-c", "rm /etc/gone; rm -r /old; mkdir /old; echo new > /old/new; ln /bin/busybox /opt/linked"]
RUN mkdir -p "/deep/$(printf 'd%.0s' $(seq 120))" && echo x > "/deep/$(printf 'd%.0s' $(seq 120))/$(printf 'f%.0s' $(seq 120))" \
    && echo é > /deep/é && mkfifo /deep/fifo && ln -s /nowhere /deep/link && chmod 4755 /deep/é && chmod 2775 /deep && chmod 711 /
RUN mkdir -p /merge/sub && chmod 700 /merge/sub && chown 5:5 /merge/sub && ln -s /srv/both /merged && echo old > /merge/sub/three && ln -s /etc/nowhere /merge/one
COPY files /merge
COPY files/one files/sub/three /merged/
COPY files/one /merged
COPY --chown=9:9 files/sub /merge/owned/
COPY files/link /merge/followed
USER 7:8
WORKDIR /srv/of/root
RUN id -u > /tmp/user && id -u > /srv/files/owner
USER 0
RUN sed -n 's/:.*//p' /proc/net/dev > /srv/network; if wget -q -T 2 http://127.0.0.1:1/; then exit 1; fi; date > /var/log/dpkg.log; hostname > /etc/hostname || true
EXPOSE 4096
HEALTHCHECK --interval=30s CMD /bin/true
ENTRYPOINT ["/bin/cat", "/srv/work/greeting"]
"#;

/// As little as can fail.
const SHORT: &str = r#"FROM scratch
# oclock: shell
SHELL ["/bin/sh", "/.oclock/step"]
ADD root.tar /
RUN true
RUN @
"#;

const STEP: &str = r#"exec env -i PATH="$PATH" GREETING="$GREETING" HOME=/root /bin/sh -ec "umask 022; $1"
"#;

/// A project staged for building, with a store and room for scratch files.
struct Stage {
    directory: tempfile::TempDir,
    store: Store,
}

/// buildah takes the path of an `oci:` layout for an image's name, which must be in lower case.
fn lower_case_directory() -> tempfile::TempDir {
    let suffix = std::process::id().to_string();
    tempfile::Builder::new().prefix("oclock-").rand_bytes(0).suffix(&suffix).tempdir().unwrap()
}

/// A stage with an image, built once for the tests that only look at it. It stays in the target directory: a static is
/// never dropped.
fn built() -> &'static (Stage, SealedImage) {
    static BUILT: OnceLock<(Stage, SealedImage)> = OnceLock::new();
    BUILT.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engines");
        fs::remove_dir_all(&place).ok();
        fs::create_dir_all(&place).unwrap();
        let stage = Stage::in_directory(tempfile::tempdir_in(place).unwrap());
        let image = stage.build(&*engine(EngineChoice::Auto));
        (stage, image)
    })
}

/// One test at a time: some count what docker has.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stage {
    fn new() -> Self {
        Self::in_directory(tempfile::tempdir().unwrap())
    }

    fn in_directory(directory: tempfile::TempDir) -> Self {
        let store = Store::open(directory.path().join("store")).unwrap();
        let stage = Self { directory, store };
        stage.fill();
        stage
    }

    fn fill(&self) {
        let context = self.context();
        fs::create_dir_all(context.join("files/sub")).unwrap();
        fs::write(context.join("Containerfile"), CONTAINERFILE).unwrap();
        fs::write(context.join("root.tar"), root_tar()).unwrap();
        for name in ["one", "two", "sub/three"] {
            fs::write(context.join("files").join(name), name).unwrap();
            fs::set_permissions(context.join("files").join(name), fs::Permissions::from_mode(0o644)).unwrap();
        }
        chown(context.join("files/one"), Some(1234), Some(1234)).unwrap();
        symlink("one", context.join("files/link")).unwrap();
    }

    fn context(&self) -> PathBuf {
        self.directory.path().join("context")
    }

    fn build(&self, engine: &dyn Engine) -> SealedImage {
        let scratch = tempfile::tempdir_in(self.directory.path()).unwrap();
        let context = self.context();
        let request = BuildRequest {
            context: &context,
            scratch: scratch.path(),
            memory_scratch: None,
            limit: Duration::from_secs(120),
            memory: None,
            known: Known::default(),
        };
        let mut talk = Vec::new();
        let root = engine
            .build(&request, &mut |line| talk.push(line.to_owned()))
            .unwrap_or_else(|error| panic!("{}: {error}: {error:?}\n{}", engine.name(), talk.join("\n")));
        let config = config_of(&fs::read_to_string(context.join("Containerfile")).unwrap()).unwrap();
        let origins = [Origin { name: "files".into(), roots: vec!["/srv".into()] }];
        let request = SealRequest {
            epoch: EPOCH,
            platform: Platform::LINUX_AMD64,
            config: &config,
            origins: &origins,
            encoding: Encoding::Later,
        };
        let image = seal(&root, &request, &self.store, &Progress::hidden()).unwrap();
        drop(root);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "something is left in scratch");
        image
    }

    fn manifest(&self, image: &SealedImage) -> EncodedManifest {
        manifest_of(image, LayerCompression::Gzip, &self.store, &Progress::hidden()).unwrap()
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
    // BuildKit 0.8 cannot find `USER 0` without it.
    file("etc/passwd", &TarMeta::root(0o644), b"root:x:0:0:root:/root:/bin/sh\n");
    file("etc/group", &TarMeta::root(0o644), b"root:x:0:\n");
    file("old/x", &TarMeta::root(0o644), b"old");
    // vfs_cap_data revision 2: permitted = bit 10 (net_bind_service) and bits 1 and 3, so that a byte is 0x0a.
    let capability = [1, 0, 0, 2, 0x0a, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
    let xattrs = BTreeMap::from([("security.capability".to_owned(), capability)]);
    file("bin/capable", &TarMeta { mode: 0o755, xattrs, ..TarMeta::default() }, b"#!/bin/sh\n");
    for applet in [
        "sh", "env", "echo", "id", "mkdir", "printf", "seq", "mkfifo", "ln", "chmod", "chown", "sed", "wget", "date",
        "hostname", "cat", "rm", "true",
    ] {
        writer.symlink(&Path::new("bin").join(applet), &TarMeta::root(0o777), "busybox".as_ref()).unwrap();
    }
    writer.finish().unwrap()
}

fn engine(choice: EngineChoice) -> Box<dyn Engine> {
    let environment = Environment::from_variables(std::env::vars_os()).with_program(env!("CARGO_BIN_EXE_oclock"));
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

const ALL: [EngineChoice; 5] = [
    EngineChoice::Native,
    EngineChoice::BuildahOci,
    EngineChoice::BuildahChroot,
    EngineChoice::DockerClassic,
    EngineChoice::DockerBuildkit,
];

#[test]
fn every_engine_gives_the_same_image() {
    let _alone = alone();
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

#[test]
fn every_reader_accepts_what_is_written() {
    let _alone = alone();
    let (stage, image) = built();
    let manifest = stage.manifest(image);
    let directory = lower_case_directory();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    write_oci(Path::new(&path("oci")), &manifest, image.platform, &["app:1".into()], &stage.store).unwrap();
    write_directory(Path::new(&path("dir")), &manifest, &stage.store).unwrap();
    write_docker_archive(Path::new(&path("archive")), image, &["app".into()], &stage.store).unwrap();

    for source in [format!("oci:{}", path("oci")), format!("dir:{}", path("dir"))] {
        let raw = Command::new("skopeo").args(["inspect", "--raw", &source]).output().expect("apt-get install skopeo");
        assert_eq!(raw.stdout, manifest.bytes, "{source}");
        // Copying decompresses and verifies every layer, and keeps the manifest.
        run("skopeo", &["copy", "--quiet", "--insecure-policy", &source, &format!("dir:{}", path("copied"))]);
        assert_eq!(fs::read(path("copied/manifest.json")).unwrap(), manifest.bytes);
    }
    let inspected = run("skopeo", &["inspect", "--config", &format!("docker-archive:{}", path("archive"))]);
    assert!(inspected.contains("Healthcheck") || inspected.contains("4096/tcp"), "{inspected}");

    for source in
        [format!("oci:{}", path("oci")), format!("dir:{}", path("dir")), format!("docker-archive:{}", path("archive"))]
    {
        let store = ["--root", &path("pulled"), "--runroot", &path("pulled-run"), "--storage-driver", "vfs"];
        let pulled = run("buildah", &[&store[..], &["pull", "--quiet", &source]].concat());
        assert_eq!(pulled, image.id.to_string(), "{source}");
        let container = run("buildah", &[&store[..], &["from", &pulled]].concat());
        let root = run("buildah", &[&store[..], &["mount", &container]].concat());
        assert_eq!(fs::read_to_string(Path::new(&root).join("srv/work/greeting")).unwrap(), "two words\n");
        run("buildah", &[&store[..], &["rm", &container]].concat());
    }
}

#[test]
fn docker_runs_what_is_loaded_and_keeps_its_healthcheck() {
    let _alone = alone();
    let (stage, image) = built();
    let docker = engine(EngineChoice::Docker);
    let archive = stage.directory.path().join("archive.tar");
    write_docker_archive(&archive, image, &[], &stage.store).unwrap();
    let tag = format!("oclock-test-{}:1", std::process::id());
    assert!(!docker.has_image(&image.id, std::slice::from_ref(&tag)));
    docker.load(&archive, std::slice::from_ref(&tag)).unwrap();
    assert!(docker.has_image(&image.id, std::slice::from_ref(&tag)));
    assert_eq!(run("docker", &["image", "inspect", "--format", "{{.Id}}", &tag]), image.id.prefixed());
    assert_eq!(run("docker", &["run", "--rm", "--network", "none", &tag]), "two words");
    let check = run("docker", &["image", "inspect", "--format", "{{json .Config.Healthcheck}}", &tag]);
    assert_eq!(check, r#"{"Test":["CMD-SHELL","/bin/true"],"Interval":30000000000}"#);
    run("docker", &["image", "rm", &tag]);
}

#[test]
fn docker_takes_the_compressed_layers_from_a_registry_layout() {
    let _alone = alone();
    let (stage, image) = built();
    let manifest = stage.manifest(image);
    let layout = stage.directory.path().join("dir");
    write_directory(&layout, &manifest, &stage.store).unwrap();
    let tag = format!("oclock-test-{}:layout", std::process::id());
    let source = format!("dir:{}", layout.display());
    run("skopeo", &["copy", "--quiet", "--insecure-policy", &source, &format!("docker-daemon:{tag}")]);
    assert_eq!(run("docker", &["image", "inspect", "--format", "{{.Id}}", &tag]), image.id.prefixed());
    run("docker", &["image", "rm", &tag]);
}

#[test]
fn an_oci_manifest_never_loses_the_healthcheck_in_silence() {
    let _alone = alone();
    let (stage, image) = built();
    let refused = manifest_of(image, LayerCompression::Zstd, &stage.store, &Progress::hidden()).unwrap_err();
    assert!(refused.to_string().contains("HEALTHCHECK"), "{refused}");
    let without = SealedImage { has_healthcheck: false, ..image.clone() };
    let manifest = manifest_of(&without, LayerCompression::Zstd, &stage.store, &Progress::hidden()).unwrap();
    assert!(String::from_utf8(manifest.bytes).unwrap().contains("oci.image.layer.v1.tar+zstd"));
}

#[test]
fn differing_files_are_named() {
    let _alone = alone();
    let (built_stage, first) = built();
    let stage = Stage { directory: tempfile::tempdir().unwrap(), store: built_stage.store.clone() };
    stage.fill();
    let changed = CONTAINERFILE.replace("echo new > /old/new", "echo newer > /old/new; chmod 700 /opt; echo > /more");
    fs::write(stage.context().join("Containerfile"), changed).unwrap();
    let second = stage.build(&*engine(EngineChoice::Buildah));
    let found: Vec<(String, Vec<Difference>)> = compare(first, &second, &stage.store)
        .unwrap()
        .into_iter()
        .map(|difference| (difference.path.display().to_string(), difference.differences))
        .collect();
    let expected = [
        ("more".to_owned(), vec![Difference::OnlyInSecond]),
        ("old/new".to_owned(), vec![Difference::Content]),
        ("opt".to_owned(), vec![Difference::Mode]),
    ];
    assert_eq!(found, expected);
    assert_eq!(compare(first, first, &stage.store).unwrap(), []);
}

#[test]
fn a_secret_that_a_step_leaves_behind_is_found() {
    let _alone = alone();
    let stage = Stage::new();
    // Put together by the step, so that no text of the context holds it.
    let step = "id=Q3EGZ7WXTN5VJ2LM; mkdir -p /srv/deep; echo aws_access_key_id=AKIA$id > /srv/deep/left";
    fs::write(stage.context().join("Containerfile"), SHORT.replace('@', step)).unwrap();
    let image = stage.build(&*engine(EngineChoice::Auto));
    let (project, progress) = (Secrets::default(), Progress::hidden());
    let request =
        ImageRequest { image: &image, public: &[], project: &project, store: &stage.store, progress: &progress };
    let findings = check_image(&request).unwrap().findings;
    let said: Vec<(&str, &str)> = findings.iter().map(|one| (one.message.as_str(), one.evidence[0].as_str())).collect();
    assert_eq!(
        said,
        [("`/srv/deep/left` holds an AWS access key ID", "line 1: AKIA… (20 characters), layer files")],
        "what the engine's own root holds is none"
    );
}

#[test]
fn a_failing_step_is_named_and_leaves_nothing() {
    use oclock::base::explain::Explain;
    let _alone = alone();
    for choice in ALL {
        let stage = Stage::new();
        let text = SHORT.replace('@', "echo told the reason >&2; exit 9");
        fs::write(stage.context().join("Containerfile"), text).unwrap();
        let before = (choice == EngineChoice::DockerClassic).then(docker_state);
        let scratch = tempfile::tempdir_in(stage.directory.path()).unwrap();
        let context = stage.context();
        let request = BuildRequest {
            context: &context,
            scratch: scratch.path(),
            memory_scratch: None,
            limit: Duration::from_secs(120),
            memory: None,
            known: Known::default(),
        };
        let error = engine(choice).build(&request, &mut |_| {}).unwrap_err();
        let evidence = error.evidence().join("\n");
        assert!(evidence.contains("told the reason"), "{choice:?}: {error}\n{evidence}");
        assert_eq!(error.kind() as u8, 3);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "{choice:?} left something");
        if let Some(before) = before {
            assert_eq!(docker_state(), before);
        }
    }
}

/// How many untagged images and containers docker has.
fn docker_state() -> (usize, usize) {
    let images = run("docker", &["image", "ls", "--all", "--quiet", "--filter", "dangling=true"]);
    let containers = run("docker", &["container", "ls", "--all", "--quiet"]);
    (images.lines().count(), containers.lines().count())
}

#[test]
fn a_step_that_takes_too_long_is_ended_with_all_it_started() {
    let _alone = alone();
    for choice in ALL {
        let stage = Stage::new();
        let before = docker_state();
        let sleep = format!("31{:05}", std::process::id() % 100_000);
        let text = SHORT.replace('@', &format!("/bin/busybox sleep {sleep} & /bin/busybox sleep {sleep}"));
        fs::write(stage.context().join("Containerfile"), text).unwrap();
        let scratch = tempfile::tempdir_in(stage.directory.path()).unwrap();
        let context = stage.context();
        let request = BuildRequest {
            context: &context,
            scratch: scratch.path(),
            memory_scratch: None,
            limit: Duration::from_secs(5),
            memory: None,
            known: Known::default(),
        };
        let error = engine(choice).build(&request, &mut |_| {}).unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let evidence = error.evidence().join("\n");
        assert!(cause.contains("ended after 5 s"), "{choice:?}: {error}: {cause}\n{evidence}");
        for _ in 0..100 {
            if !is_running(&sleep) {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(!is_running(&sleep), "{choice:?}: the step still runs");
        assert_eq!(docker_state(), before, "{choice:?}");
    }
}

/// Whether a process has this argument.
fn is_running(argument: &str) -> bool {
    let processes =
        fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    processes.into_iter().any(|line| line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes()))
}
