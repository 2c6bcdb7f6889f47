//! Our answers against real apt's, on real archives: the same `.deb` files for the same requests.
//!
//! A sample runs by itself. `OCLOCK_PARITY=wide` runs all of tests/parity/apt.txt, 100 single packages and 30 groups drawn
//! by a fixed seed, permuted requests and Recommends; `OCLOCK_APT_ROOT=DIR` takes the apt of another Debian root instead of
//! the host's. Both sides read the same Packages files: those that our own run verified and put into the store.

// Helpers of a test may fail as a test does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use oclock::base::http::{HttpClient, HttpOptions};
use oclock::lock::{AptPin, BasePin, Fingerprints, Lockfile, SealPin};
use oclock::manifest::{Recommends, SourceKind};
use oclock::model::{Platform, Sha256, SourceName};
use oclock::resolve::apt::{AptError, AptRequest, AptSolution, SolveError, resolve, verify_chain};
use oclock::source::Source;
use oclock::store::Store;

const SUITE: &str = "trixie";
const IMAGE: &str = "python3 python3-pip python3-venv git curl redis-tools rclone cron nodejs tini ca-certificates";
const SAMPLE: &[&str] = &["build-essential", "mail-transport-agent"];

/// The host's own Debian archives, for another suite.
fn sources() -> Vec<Source> {
    let (repositories, errors) = apt_sources::Repositories::load_from_directory(Path::new("/etc/apt"));
    assert!(errors.is_empty(), "the host's apt sources cannot be read: {errors:?}");
    let enabled = repositories.iter().filter(|repository| repository.enabled != Some(false));
    let sources: Vec<Source> = enabled
        .filter(|repository| repository.components().is_some_and(|all| all.iter().any(|component| component == "main")))
        .map(|repository| {
            let suites: Vec<String> = repository.suites().iter().map(|suite| pattern(suite)).collect();
            let name =
                if suites.iter().any(|suite| suite.ends_with("-security")) { "debian-security" } else { "debian" };
            Source {
                name: SourceName::parse(name).unwrap(),
                kind: SourceKind::Apt,
                url: repository.uris()[0].clone(),
                mirrors: Vec::new(),
                authorization: None,
                packages: Vec::new(),
                suites,
                components: vec!["main".to_owned()],
                signed_by: None,
                found_in: "/etc/apt".to_owned(),
            }
        })
        .collect();
    assert!(!sources.is_empty(), "this host has no Debian archive in /etc/apt: the comparison needs one");
    sources
}

fn pattern(suite: &str) -> String {
    let end = suite.find('-').unwrap_or(suite.len());
    format!("{{suite}}{}", &suite[end..])
}

struct Parity {
    directory: tempfile::TempDir,
    sources: Vec<Source>,
    store: Store,
    http: HttpClient,
    runtime: tokio::runtime::Runtime,
}

/// What is installed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Base {
    Empty,
    Minimal,
}

impl Parity {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = std::env::var("OCLOCK_PARITY_STORE").map_or_else(|_| directory.path().join("store"), Into::into);
        fs::create_dir_all(&place).unwrap();
        Self {
            sources: sources(),
            store: Store::open(place).unwrap(),
            http: HttpClient::new(HttpOptions::default()).unwrap(),
            runtime: tokio::runtime::Runtime::new().unwrap(),
            directory,
        }
    }

    fn ours(&self, packages: &[String], recommends: Recommends, status: Option<&str>) -> Result<AptSolution, AptError> {
        let request = AptRequest {
            as_of: None,
            platform: Platform::LINUX_AMD64,
            suite: SUITE,
            packages,
            recommends,
            installed: status,
            now: oclock::base::clock::now(),
        };
        let sources: Vec<&Source> = self.sources.iter().collect();
        self.runtime.block_on(resolve(&request, &sources, &self.http, &self.store))
    }

    /// The Packages files of our run, unpacked: file name in apt's lists → text.
    fn lists(&self, solution: &AptSolution) -> BTreeMap<String, Vec<u8>> {
        let mut lists = BTreeMap::new();
        for archive in &solution.archives {
            let source = self.sources.iter().find(|source| source.name == archive.source).unwrap();
            for artifact in archive.indexes.iter().chain([&archive.in_release]) {
                let file = self.store.open_blob(&artifact.sha256).unwrap();
                let mut bytes = Vec::new();
                oclock::base::archive::decompress(file).unwrap().read_to_end(&mut bytes).unwrap();
                let base = source.url.as_str().split_once("://").unwrap().1.trim_end_matches('/').to_owned();
                let name = format!("{base}/{}", artifact.path).replace('/', "_");
                lists.insert(name.trim_end_matches(".xz").trim_end_matches(".gz").to_owned(), bytes);
            }
        }
        lists
    }

    /// A dpkg status in which exactly these packages are installed.
    fn status(&self, solution: &AptSolution) -> String {
        let wanted: BTreeSet<(&str, &str)> =
            solution.pins.iter().map(|pin| (pin.name.as_str(), pin.version.as_str())).collect();
        let mut status = String::new();
        let mut seen = BTreeSet::new();
        for bytes in self.lists(solution).values() {
            let text = std::str::from_utf8(bytes).unwrap();
            for stanza in text.split("\n\n").filter(|stanza| stanza.starts_with("Package: ")) {
                let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
                let key = (field("Package: "), field("Version: "));
                if wanted.contains(&key) && seen.insert((key.0.to_owned(), key.1.to_owned())) {
                    status.push_str(&stanza.replacen('\n', "\nStatus: install ok installed\n", 1));
                    status.push_str("\n\n");
                }
            }
        }
        assert_eq!(seen.len(), wanted.len(), "a stanza was not found again");
        status
    }
}

/// Real apt with a configuration of its own.
struct Oracle<'p> {
    home: std::path::PathBuf,
    parity: &'p Parity,
}

impl<'p> Oracle<'p> {
    fn new(parity: &'p Parity, base: Base, status: &str, lists: &BTreeMap<String, Vec<u8>>) -> Self {
        let home = parity.directory.path().join(format!("{base:?}"));
        for part in ["lists/partial", "cache/archives/partial", "etc/none"] {
            fs::create_dir_all(home.join(part)).unwrap();
        }
        for (name, bytes) in lists {
            fs::write(home.join("lists").join(name), bytes).unwrap();
        }
        fs::write(home.join("status"), status).unwrap();
        let lines: Vec<String> = parity
            .sources
            .iter()
            .flat_map(|source| {
                source
                    .suites
                    .iter()
                    .map(|suite| format!("deb [trusted=yes] {} {} main\n", source.url, suite.replace("{suite}", SUITE)))
            })
            .collect();
        fs::write(home.join("etc/sources.list"), lines.concat()).unwrap();
        let at = home.display();
        let configuration = format!(
            "Dir \"{at}\"; Dir::State \"{at}\"; Dir::State::status \"{at}/status\"; Dir::State::lists \"{at}/lists\";\n\
             Dir::Cache \"{at}/cache\"; Dir::Etc \"{at}/etc\"; Dir::Etc::parts \"none\"; Dir::Etc::main \"none.conf\";\n\
             Dir::Etc::sourcelist \"sources.list\"; Dir::Etc::sourceparts \"none\"; Dir::Etc::preferencesparts \"none\";\n\
             APT::Architecture \"amd64\"; APT::Architectures {{ \"amd64\"; }}; Debug::NoLocking \"true\";\n\
             Acquire::Languages \"none\"; APT::Sandbox::User \"\"; Acquire::Check-Valid-Until \"false\";\n"
        );
        fs::write(home.join("apt.conf"), configuration).unwrap();
        Self { home, parity }
    }

    /// The pool paths that apt would download, or what it says instead.
    fn ask(&self, packages: &[String], recommends: Recommends) -> Result<BTreeSet<String>, String> {
        let mut command = match std::env::var("OCLOCK_APT_ROOT") {
            Err(_) => Command::new("apt-get"),
            Ok(root) => {
                let mut command = Command::new(format!("{root}/usr/lib64/ld-linux-x86-64.so.2"));
                command.args(["--library-path", &format!("{root}/usr/lib/x86_64-linux-gnu")]);
                command.arg(format!("{root}/usr/bin/apt-get"));
                command
            }
        };
        let answer = command
            .env("APT_CONFIG", self.home.join("apt.conf"))
            .env("LC_ALL", "C")
            .args(["install", "--print-uris", "-y", "-q", "--allow-remove-essential"])
            .args([format!("-oAPT::Install-Recommends={}", recommends == Recommends::Follow)])
            .args(packages)
            .output()
            .expect("apt-get is needed for this comparison");
        let (out, errors) = (String::from_utf8_lossy(&answer.stdout), String::from_utf8_lossy(&answer.stderr));
        if !answer.status.success() {
            return Err(format!("{out}{errors}"));
        }
        if out.contains("will be REMOVED") || out.contains("will be upgraded:") {
            return Err(format!("removes or upgrades: {out}"));
        }
        let bases: Vec<&str> = self.parity.sources.iter().map(|source| source.url.as_str()).collect();
        let uris = out.lines().filter_map(|line| line.strip_prefix('\'')?.split_once('\'').map(|(uri, _)| uri));
        Ok(uris
            .map(|uri| {
                let path = bases.iter().find_map(|base| uri.strip_prefix(&format!("{}/", base.trim_end_matches('/'))));
                percent_encoding::percent_decode_str(path.unwrap()).decode_utf8().unwrap().into_owned()
            })
            .collect())
    }
}

#[derive(Default)]
struct Tally {
    same: usize,
    both_refuse: usize,
    refused_by_design: Vec<String>,
    different: Vec<String>,
}

impl Tally {
    /// Counts one comparison; a difference is shown at once, so that a long run need not be waited for.
    fn add(&mut self, title: &str, ours: &Result<AptSolution, AptError>, theirs: &Result<BTreeSet<String>, String>) {
        let before = self.different.len();
        self.compare(title, ours, theirs);
        self.different.iter().skip(before).for_each(|difference| println!("DIFFERENT {difference}"));
    }

    fn compare(
        &mut self,
        title: &str,
        ours: &Result<AptSolution, AptError>,
        theirs: &Result<BTreeSet<String>, String>,
    ) {
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => {
                let ours: BTreeSet<String> = ours.pins.iter().map(path_of).collect();
                if ours == *theirs {
                    self.same += 1;
                } else {
                    let more: Vec<&String> = ours.difference(theirs).take(12).collect();
                    let less: Vec<&String> = theirs.difference(&ours).take(12).collect();
                    self.different.push(format!("{title}\n  only ours: {more:?}\n  only apt: {less:?}"));
                }
            }
            (Err(_), Err(_)) => self.both_refuse += 1,
            (Err(AptError::Solve(error @ (SolveError::Removal { .. } | SolveError::Downgrade { .. }))), Ok(_)) => {
                self.refused_by_design.push(format!("{title}: {error}"));
            }
            (Err(ours), Ok(_)) => {
                let steps = oclock::base::explain::Explain::evidence(ours);
                self.different.push(format!("{title}\n  ours: {ours} {steps:?}\n  apt has an answer"));
            }
            (Ok(_), Err(theirs)) => {
                let theirs: String = theirs.chars().rev().take(600).collect::<Vec<_>>().into_iter().rev().collect();
                self.different.push(format!("{title}\n  ours has an answer\n  apt: {theirs}"));
            }
        }
    }

    fn finish(self, what: &str) {
        println!(
            "{what}: {} the same, {} refused by both, {} refused by design, {} different",
            self.same,
            self.both_refuse,
            self.refused_by_design.len(),
            self.different.len()
        );
        self.refused_by_design.iter().for_each(|line| println!("  by design: {line}"));
        assert!(self.different.is_empty(), "{what} differ from apt:\n{}", self.different.join("\n"));
        assert!(self.same > 0, "{what}: nothing was compared");
    }
}

fn path_of(pin: &AptPin) -> String {
    percent_encoding::percent_decode_str(pin.artifact.path.as_str()).decode_utf8().unwrap().into_owned()
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// One request.
#[derive(Clone, Debug)]
struct Case {
    title: String,
    packages: Vec<String>,
    recommends: Recommends,
}

impl Case {
    fn new(title: &str, packages: Vec<String>) -> Self {
        Self { title: title.to_owned(), packages, recommends: Recommends::Ignore }
    }
}

fn is_wide() -> bool {
    std::env::var("OCLOCK_PARITY").as_deref() == Ok("wide")
}

/// What is asked on top of a base: the sample, or in the wide run the corpus, and on the minimal base the drawn packages,
/// every group turned round, and the corpus with Recommends as well.
fn cases(names: &[String], base: Base) -> Vec<Case> {
    let mut cases = vec![Case::new("image", words(IMAGE))];
    if !is_wide() {
        cases.extend(SAMPLE.iter().map(|line| Case::new("sample", words(line))));
        return cases;
    }
    let corpus = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/apt.txt")).unwrap();
    cases.extend(corpus.lines().filter(|line| !line.is_empty()).map(|line| Case::new("corpus", words(line))));
    if base == Base::Empty {
        return cases;
    }
    let follow = cases.clone().into_iter().map(|case| Case { recommends: Recommends::Follow, ..case });
    let follow: Vec<Case> = follow.collect();
    let mut draw = Draw(std::env::var("OCLOCK_PARITY_SEED").map_or(20_261_124, |seed| seed.parse().unwrap()));
    cases.extend((0..100).map(|_| Case::new("single", vec![draw.of(names).clone()])));
    cases.extend((0..30).map(|_| Case::new("group", (0..4).map(|_| draw.of(names).clone()).collect())));
    let turned: Vec<Case> = cases
        .iter()
        .filter(|case| case.packages.len() > 1)
        .map(|case| Case::new("turned", case.packages.iter().rev().cloned().collect()))
        .collect();
    cases.into_iter().chain(turned).chain(follow).collect()
}

/// A small generator with a fixed seed (Knuth's MMIX constants): the same draw everywhere.
struct Draw(u64);

impl Draw {
    fn of<'a>(&mut self, names: &'a [String]) -> &'a String {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        &names[(self.0 >> 33) as usize % names.len()]
    }
}

#[test]
fn the_same_files_as_apt() {
    let parity = Parity::new();
    let base = parity.ours(&[], Recommends::Ignore, None).unwrap();
    // Debian's own signatures hold with the bundled keys, also without a network.
    verify_chain(&lockfile(&base), &parity.store, &BTreeMap::new()).unwrap();
    let lists = parity.lists(&base);
    let minimal = parity.status(&base);
    let names: Vec<String> = lists
        .iter()
        .filter(|(name, _)| name.contains("_Packages"))
        .flat_map(|(_, bytes)| std::str::from_utf8(bytes).unwrap().lines())
        .filter_map(|line| line.strip_prefix("Package: ").map(str::to_owned))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let essential: Vec<String> = base
        .pins
        .iter()
        .filter(|pin| pin.required_by.iter().any(|name| name == "essential"))
        .map(|pin| pin.name.to_string())
        .collect();
    for (what, status) in [(Base::Empty, ""), (Base::Minimal, minimal.as_str())] {
        let oracle = Oracle::new(&parity, what, status, &lists);
        let mut tally = Tally::default();
        for case in cases(&names, what) {
            let installed = (what == Base::Minimal).then_some(status);
            let ours = parity.ours(&case.packages, case.recommends, installed);
            let mut asked = if what == Base::Empty { essential.clone() } else { Vec::new() };
            asked.extend(case.packages.iter().cloned());
            let theirs = oracle.ask(&asked, case.recommends);
            let title = format!("{what:?} {:?} {}: {}", case.recommends, case.title, case.packages.join(" "));
            tally.add(&title, &ours, &theirs);
        }
        tally.finish(&format!("{what:?}"));
    }
}

fn lockfile(solution: &AptSolution) -> Lockfile {
    let nothing = Sha256::of(b"");
    Lockfile {
        epoch: 0,
        platforms: vec![Platform::LINUX_AMD64],
        fingerprints: Fingerprints { image: nothing, apt: nothing, npm: nothing, pip: nothing },
        seal: SealPin { rules: nothing, encoder: "none".to_owned() },
        base: BasePin::Debian { suite: SUITE.to_owned() },
        archives: solution.archives.clone(),
        apt: solution.pins.clone(),
        npm: Vec::new(),
        pip: Vec::new(),
        images: BTreeMap::new(),
    }
}
