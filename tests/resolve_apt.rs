//! Debian packages resolved from a small signed archive on loopback: what is chosen, what is kept, what is refused.

// Helpers of a test may fail as a test does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/site.rs"]
mod site;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oclock::base::explain::{Explain, Kind};
use oclock::base::http::{HttpClient, HttpOptions};
use oclock::lock::{BasePin, Fingerprints, Lockfile, SealPin};
use oclock::manifest::{Recommends, SourceKind};
use oclock::model::{Platform, Sha256, SourceName};
use oclock::resolve::apt::{
    AptError, AptRequest, AptSolution, ReleaseError, SignatureError, SolveError, read_keyrings, resolve, verify_chain,
};
use oclock::source::Source;
use oclock::store::Store;
use site::Site;

/// 2024-03-02, a day after the archive's Date.
const NOW: i64 = 1_709_337_600;
const DAY: i64 = 86_400;
const KEY: &str = "BC63094518F5356DD17D4BF88B655B5F569D5665";

fn data(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/apt").join(name)).unwrap()
}

/// The archive of `tests/data/apt` on loopback.
fn serve() -> Site {
    let site = Site::serve();
    let packages = data("Packages");
    site.put("/debian/dists/test/InRelease", data("InRelease"));
    site.put(&format!("/debian/dists/test/main/binary-amd64/by-hash/SHA256/{}", Sha256::of(&packages)), packages);
    site
}

struct Bench {
    archive: Site,
    directory: tempfile::TempDir,
    signed_by: Option<PathBuf>,
}

impl Bench {
    fn new() -> Self {
        let signed_by = Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/apt/key.asc"));
        Self { archive: serve(), directory: tempfile::tempdir().unwrap(), signed_by }
    }

    fn source(&self) -> Source {
        Source {
            name: SourceName::parse("debian").unwrap(),
            kind: SourceKind::Apt,
            url: self.archive.url.join("debian/").unwrap(),
            mirrors: Vec::new(),
            authorization: None,
            packages: Vec::new(),
            suites: vec!["{suite}".to_owned()],
            components: vec!["main".to_owned()],
            signed_by: self.signed_by.clone(),
            found_in: "a test".to_owned(),
        }
    }

    fn store(&self) -> Store {
        Store::open(self.directory.path().join("store")).unwrap()
    }

    fn ask(&self, packages: &[&str], change: impl Fn(&mut AptRequest<'_>)) -> Result<AptSolution, AptError> {
        let packages: Vec<String> = packages.iter().map(|&name| name.to_owned()).collect();
        let mut request = AptRequest {
            as_of: None,
            platform: Platform::LINUX_AMD64,
            suite: "test",
            packages: &packages,
            recommends: Recommends::Ignore,
            installed: None,
            now: NOW,
        };
        change(&mut request);
        let http = HttpClient::new(HttpOptions { tries: 1, ..HttpOptions::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(resolve(&request, &[&self.source()], &http, &self.store()))
    }

    fn resolve(&self, packages: &[&str]) -> Result<AptSolution, AptError> {
        self.ask(packages, |_| {})
    }
}

fn names(solution: &AptSolution) -> Vec<String> {
    solution.pins.iter().map(|pin| format!("{} {}", pin.name, pin.version)).collect()
}

#[test]
fn an_empty_root_gets_the_essential_set_and_what_is_asked() {
    let bench = Bench::new();
    let solution = bench.resolve(&["tool"]).unwrap();
    assert_eq!(names(&solution), ["apt 3.0", "base 1.0-1", "libx 2.0-1+b1", "tool 21.0"]);
    let libx = &solution.pins[2];
    assert_eq!((libx.source_package.as_str(), libx.source_version.as_str()), ("x", "2.0"));
    assert_eq!(libx.artifact.path.as_str(), "pool/main/x/x/libx_2.0-1+b1_amd64.deb");
    assert_eq!((libx.artifact.size, libx.architecture.as_str(), libx.suite.as_str()), (200, "amd64", "test"));
    let required_by: Vec<String> = solution.pins.iter().map(|pin| pin.required_by.join(" ")).collect();
    assert_eq!(required_by, ["essential", "essential", "apt base", "manifest"]);
    let archive = &solution.archives[0];
    assert_eq!((archive.date, archive.keys.as_slice()), (NOW - DAY, &[KEY.to_owned()][..]));
    assert_eq!(archive.in_release.path.as_str(), "dists/test/InRelease");
    assert_eq!(archive.indexes[0].path.as_str(), "dists/test/main/binary-amd64/Packages");
    assert_eq!(archive.indexes[0].sha256, Sha256::of(data("Packages")));
}

#[test]
fn a_base_image_keeps_what_it_has() {
    let bench = Bench::new();
    let status = "Package: libx\nStatus: install ok installed\nVersion: 2.0-1+b1\nArchitecture: amd64\n";
    let solution = bench.ask(&["base"], |request| request.installed = Some(status)).unwrap();
    assert_eq!(names(&solution), ["base 1.0-1"]);
    assert_eq!(solution.installed.len(), 1);
    let old = status.replace("2.0", "1.0");
    let newer =
        bench.ask(&["base"], |request| request.installed = Some(Box::leak(old.clone().into_boxed_str()))).unwrap();
    assert_eq!(names(&newer), ["base 1.0-1", "libx 2.0-1+b1"]);
    let ahead = status.replace("2.0", "3.0");
    let error =
        bench.ask(&["libx=2.0*"], |request| request.installed = Some(Box::leak(ahead.clone().into_boxed_str())));
    assert!(matches!(error, Err(AptError::Solve(SolveError::Downgrade { .. }))), "{error:?}");
}

#[test]
fn versions_and_suites_can_be_asked_for() {
    let bench = Bench::new();
    for request in ["tool=20.*", "tool=20.1"] {
        assert!(names(&bench.resolve(&[request]).unwrap()).contains(&"tool 20.1".to_owned()), "{request}");
    }
    for request in ["tool/test", "tool/testing", "tool:amd64", "tool:any", "tool:native"] {
        assert!(names(&bench.resolve(&[request]).unwrap()).contains(&"tool 21.0".to_owned()), "{request}");
    }
    assert!(names(&bench.resolve(&["tool", "tool=20.1"]).unwrap()).contains(&"tool 20.1".to_owned()));
    assert!(names(&bench.resolve(&["only-one"]).unwrap()).contains(&"other 1".to_owned()));
    let followed = bench.ask(&["tool"], |request| request.recommends = Recommends::Follow).unwrap();
    assert!(names(&followed).contains(&"other 1".to_owned()));
}

#[test]
fn requests_without_an_answer_say_why() {
    let bench = Bench::new();
    let refuse = |request: &str| match bench.resolve(&[request]) {
        Err(AptError::Solve(error)) => error,
        other => panic!("{request}: {other:?}"),
    };
    let unknown = refuse("tol");
    assert_eq!(unknown.to_string(), "no archive has a package `tol`");
    assert_eq!(unknown.hints(), ["there is a package `tool`"]);
    let version = refuse("tool=22");
    assert_eq!(version.evidence(), ["21.0  test", "20.1  test"]);
    let providers = refuse("editor");
    assert_eq!((providers.kind(), providers.evidence()), (Kind::Asked, vec!["other".to_owned(), "tool".to_owned()]));
    for bad in ["tool-", "tool:i386", "to*", "", "tool=", "a b", "~nodejs"] {
        assert!(matches!(refuse(bad), SolveError::Request { .. }), "{bad}");
    }
    assert!(matches!(bench.resolve(&["tool=20.1", "tool=21.0"]), Err(AptError::Solve(SolveError::TwoVersions { .. }))));
}

#[test]
fn an_archive_that_is_not_to_be_trusted_gives_nothing() {
    let refused = |change: &dyn Fn(&mut Bench), now: i64| {
        let mut bench = Bench::new();
        change(&mut bench);
        let error = bench.ask(&["tool"], |request| request.now = now).unwrap_err();
        assert_eq!(error.kind(), Kind::Distrust, "{error:?}");
        assert_eq!(bench.store().blobs().unwrap(), [], "nothing may be kept");
        error
    };
    let release = |error: &AptError| match error {
        AptError::Release { source, .. } => source.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(release(&refused(&|_| {}, NOW + 7 * DAY)).contains("was valid until 2024-03-08T00:00:00Z"));
    assert!(release(&refused(&|_| {}, NOW - 2 * DAY)).contains("in the future"));
    let changed = refused(
        &|bench| {
            bench.archive.change("InRelease", |bytes| String::from_utf8(bytes).unwrap().replace("main", "mian").into())
        },
        NOW,
    );
    assert!(matches!(changed, AptError::Signature { source: SignatureError::Wrong { .. }, .. }), "{changed:?}");
    let unknown = refused(&|bench| bench.signed_by = None, NOW);
    assert!(matches!(unknown, AptError::Signature { source: SignatureError::Untrusted { .. }, .. }), "{unknown:?}");
    assert!(unknown.evidence()[0].contains(KEY));
    let other = |mut bytes: Vec<u8>| {
        bytes[10] ^= 1;
        bytes
    };
    let index = refused(&|bench| bench.archive.change("by-hash", other), NOW);
    assert!(matches!(index, AptError::OtherIndex { .. }), "{index:?}");
}

#[test]
fn another_suite_than_asked_is_refused() {
    let bench = Bench::new();
    bench.archive.put("/debian/dists/stable/InRelease", data("InRelease"));
    let error = bench.ask(&["tool"], |request| request.suite = "stable").unwrap_err();
    let AptError::Release { source, .. } = error else { panic!("{error:?}") };
    assert!(matches!(*source, ReleaseError::OtherSuite { .. }), "{source:?}");
    let missing = bench.ask(&["tool"], |request| request.suite = "nowhere").unwrap_err();
    assert_eq!(missing.kind(), Kind::Unable);
    assert_eq!(missing.hints(), ["check the suite's name, and `suites` of that source"]);
}

#[test]
fn asking_again_fetches_the_signed_list_alone_and_gives_the_same() {
    let bench = Bench::new();
    let first = bench.resolve(&["tool"]).unwrap();
    bench.archive.take_asked();
    assert_eq!(bench.resolve(&["tool"]).unwrap(), first);
    assert_eq!(bench.archive.take_asked(), ["/debian/dists/test/InRelease"]);
}

#[test]
fn the_kept_chain_is_verified_offline_and_notices_every_change() {
    let bench = Bench::new();
    let solution = bench.resolve(&["tool"]).unwrap();
    let keyrings = read_keyrings(&[&bench.source()]).unwrap();
    let verify = |lock: &Lockfile| verify_chain(lock, &bench.store(), &keyrings);
    let lock = lockfile(solution);
    verify(&lock).unwrap();
    type Change = fn(&mut Lockfile);
    let changes: [(&str, Change); 8] = [
        ("hash", |lock| lock.apt[0].artifact.sha256 = Sha256::of(b"other")),
        ("size", |lock| lock.apt[0].artifact.size += 1),
        ("version", |lock| lock.apt[0].version = "4.0".parse().unwrap()),
        ("path", |lock| lock.apt[0].artifact.path = "pool/other.deb".parse().unwrap()),
        ("suite", |lock| lock.apt[0].suite = "other".to_owned()),
        ("date", |lock| lock.archives[0].date += 1),
        ("keys", |lock| lock.archives[0].keys.clear()),
        ("index", |lock| lock.archives[0].indexes[0].sha256 = Sha256::of(b"other")),
    ];
    for (what, change) in changes {
        let mut changed = lock.clone();
        change(&mut changed);
        let error = verify(&changed).expect_err(what);
        assert_eq!(error.kind(), Kind::Distrust, "{what}: {error:?}");
    }
    assert!(verify_chain(&lock, &bench.store(), &BTreeMap::new()).is_err(), "Debian's keys did not sign it");
    bench.store().remove_blob(&lock.archives[0].in_release.sha256).unwrap();
    assert!(matches!(verify(&lock), Err(AptError::Store(_))));
}

fn lockfile(solution: AptSolution) -> Lockfile {
    let nothing = Sha256::of(b"");
    Lockfile {
        epoch: 0,
        platforms: vec![Platform::LINUX_AMD64],
        fingerprints: Fingerprints { image: nothing, apt: nothing, npm: nothing, pip: nothing },
        seal: SealPin { rules: nothing, encoder: "none".to_owned() },
        base: BasePin::Debian { suite: "test".to_owned() },
        archives: solution.archives,
        apt: solution.pins,
        npm: Vec::new(),
        pip: Vec::new(),
        pip_builds: Vec::new(),
        images: BTreeMap::new(),
    }
}
