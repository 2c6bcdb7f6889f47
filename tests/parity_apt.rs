//! Our answers against real apt's, on real archives: the same `.deb` files for the same requests.
//!
//! A sample runs by itself, with the host's apt on trixie. `OCLOCK_PARITY=all` (`make parity`) asks the apt of each suite all
//! of tests/parity/apt.txt on an empty root and on the minimal set, for amd64 and in part for arm64, every group turned round,
//! 100 single packages and 30 groups drawn by a fixed seed (`OCLOCK_PARITY_SEED` draws others), and Recommends;
//! `OCLOCK_PARITY_ONLY='trixie amd64'` asks a part. Each suite has its updates, its security archive and its backports. The oracle
//! is the suite's own apt with its settings as they come: in trixie 3.0, where APT::Solver is `internal` and the 3.0 solver is asked
//! where that fails. Both sides read the same Packages files: those that our own run verified and put into the store.

// Helpers of a test may fail as a test does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use oclock::base::http::{HttpClient, HttpOptions};
use oclock::lock::{AptPin, BasePin, Fingerprints, Lockfile, SealPin};
use oclock::manifest::{Recommends, SourceKind};
use oclock::model::{Architecture, Platform, Sha256, SourceName};
use oclock::resolve::apt::{AptError, AptRequest, AptSolution, SolveError, Today, verify_chain};
use oclock::source::Source;
use oclock::store::Store;

const IMAGE: &str = "python3 python3-pip python3-venv git curl redis-tools rclone cron nodejs tini ca-certificates";
const SAMPLE: &[&str] = &["build-essential", "mail-transport-agent", "curl/trixie-security"];
const ARM64: Platform = Platform { architecture: Architecture::Arm64 };

/// The host's own Debian archives, for other suites, with backports.
fn sources() -> Vec<Source> {
    let (repositories, errors) = apt_sources::Repositories::load_from_directory(Path::new("/etc/apt"));
    assert!(errors.is_empty(), "the host's apt sources cannot be read: {errors:?}");
    let enabled = repositories.iter().filter(|repository| repository.enabled != Some(false));
    let sources: Vec<Source> = enabled
        .filter(|repository| repository.components().is_some_and(|all| all.iter().any(|component| component == "main")))
        .map(|repository| {
            let mut suites: Vec<String> = repository.suites().iter().map(|suite| pattern(suite)).collect();
            let is_security = suites.iter().any(|suite| suite.ends_with("-security"));
            if !is_security {
                suites.push("{suite}-backports".to_owned());
            }
            Source {
                name: SourceName::parse(if is_security { "debian-security" } else { "debian" }).unwrap(),
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

/// What both sides are asked about: the archives of one suite for one platform.
struct Parity<'w> {
    world: &'w World,
    suite: &'static str,
    platform: Platform,
    sources: Vec<Source>,
    today: Today,
}

struct World {
    directory: tempfile::TempDir,
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

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = std::env::var("OCLOCK_PARITY_STORE").map_or_else(|_| directory.path().join("store"), Into::into);
        fs::create_dir_all(&place).unwrap();
        Self {
            store: Store::open(place).unwrap(),
            http: HttpClient::new(HttpOptions::default()),
            runtime: tokio::runtime::Runtime::new().unwrap(),
            directory,
        }
    }

    /// apt as that suite has it, in a root of its own; nothing in it is started but apt.
    fn apt_of(&self, suite: &str) -> Vec<String> {
        let root = self.directory.path().join(format!("root-{suite}"));
        let key = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/resolve/apt/keys/debian-archive-keyring.pgp");
        let archive = sources().into_iter().find(|source| source.name.as_str() == "debian").unwrap().url;
        let made = Command::new("mmdebstrap")
            .args(["--quiet", "--variant=extract", "--include=apt", suite])
            .arg(&root)
            .arg(format!("deb [signed-by={}] {archive} {suite} main", key.display()))
            .output()
            .expect("mmdebstrap is needed for the wide comparison");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let place = |path: &str| root.join(path).display().to_string();
        let loader = ["usr/lib64/ld-linux-x86-64.so.2", "lib64/ld-linux-x86-64.so.2"];
        let loader = loader.iter().find(|path| root.join(path).exists()).unwrap();
        let libraries = format!("{}:{}", place("usr/lib/x86_64-linux-gnu"), place("lib/x86_64-linux-gnu"));
        vec![place(loader), "--library-path".to_owned(), libraries, place("usr/bin/apt-get")]
    }
}

impl<'w> Parity<'w> {
    fn new(world: &'w World, suite: &'static str, platform: Platform) -> Self {
        let mut sources = sources();
        for pattern in sources.iter_mut().flat_map(|source| &mut source.suites) {
            *pattern = pattern.replace("{suite}", suite);
        }
        let named: Vec<&Source> = sources.iter().collect();
        let request = request(suite, platform, &[], Recommends::Ignore, None);
        let today = world.runtime.block_on(Today::fetch(&request, &named, &world.http, &world.store)).unwrap();
        Self { world, suite, platform, sources, today }
    }

    fn ours(&self, packages: &[String], recommends: Recommends, status: Option<&str>) -> Result<AptSolution, AptError> {
        let request = request(self.suite, self.platform, packages, recommends, status);
        self.world.runtime.block_on(self.today.resolve(&request))
    }

    /// The Packages files of our run, unpacked: file name in apt's lists → text.
    fn lists(&self) -> BTreeMap<String, Vec<u8>> {
        let mut lists = BTreeMap::new();
        for archive in self.today.archives() {
            let source = self.sources.iter().find(|source| source.name == archive.source).unwrap();
            for artifact in archive.indexes.iter().chain([&archive.in_release]) {
                let file = self.world.store.open_blob(&artifact.sha256).unwrap();
                let mut bytes = Vec::new();
                oclock::base::archive::decompress(file).unwrap().read_to_end(&mut bytes).unwrap();
                let base = source.url.as_str().split_once("://").unwrap().1.trim_end_matches('/').to_owned();
                let name = format!("{base}/{}", artifact.path).replace('/', "_");
                lists.insert(name.trim_end_matches(".xz").trim_end_matches(".gz").to_owned(), bytes);
            }
        }
        lists
    }
}

fn request<'a>(
    suite: &'a str,
    platform: Platform,
    packages: &'a [String],
    recommends: Recommends,
    installed: Option<&'a str>,
) -> AptRequest<'a> {
    let now = oclock::base::clock::now();
    AptRequest { as_of: None, platform, suite, packages, recommends, installed, now }
}

/// A dpkg status in which exactly these packages are installed.
fn status(lists: &BTreeMap<String, Vec<u8>>, solution: &AptSolution) -> String {
    let wanted: BTreeSet<(&str, &str)> =
        solution.pins.iter().map(|pin| (pin.name.as_str(), pin.version.as_str())).collect();
    let mut status = String::new();
    let mut seen = BTreeSet::new();
    for bytes in lists.values() {
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

/// Real apt with a configuration of its own.
struct Oracle<'p> {
    command: &'p [String],
    home: PathBuf,
}

impl<'p> Oracle<'p> {
    fn new(command: &'p [String], parity: &Parity<'_>, name: &str, lists: &BTreeMap<String, Vec<u8>>) -> Self {
        let home = parity.world.directory.path().join(name);
        for part in ["lists/partial", "cache/archives/partial", "etc/none"] {
            fs::create_dir_all(home.join(part)).unwrap();
        }
        for (name, bytes) in lists {
            fs::write(home.join("lists").join(name), bytes).unwrap();
        }
        let line = |source: &Source, suite: &String| format!("deb [trusted=yes] {} {suite} main\n", source.url);
        let lines = parity.sources.iter().flat_map(|source| source.suites.iter().map(move |suite| line(source, suite)));
        fs::write(home.join("etc/sources.list"), lines.collect::<String>()).unwrap();
        let (at, architecture) = (home.display(), parity.platform.architecture.as_str());
        let configuration = format!(
            "Dir \"{at}\"; Dir::State \"{at}\"; Dir::State::status \"{at}/status\"; Dir::State::lists \"{at}/lists\";\n\
             Dir::Cache \"{at}/cache\"; Dir::Etc \"{at}/etc\"; Dir::Etc::parts \"none\"; Dir::Etc::main \"none.conf\";\n\
             Dir::Etc::sourcelist \"sources.list\"; Dir::Etc::sourceparts \"none\"; Dir::Etc::preferencesparts \"none\";\n\
             APT::Architecture \"{architecture}\"; APT::Architectures {{ \"{architecture}\"; }}; Debug::NoLocking \"true\";\n\
             Acquire::Languages \"none\"; APT::Sandbox::User \"\"; Acquire::Check-Valid-Until \"false\";\n"
        );
        fs::write(home.join("apt.conf"), configuration).unwrap();
        Self { command, home }
    }

    fn install(&self, status: &str) {
        fs::write(self.home.join("status"), status).unwrap();
        // So that the cache is built once, and not by several at a time.
        self.ask(&[], Recommends::Ignore).unwrap();
    }

    /// The files that apt would download, each by name and size, or what it says instead. Where two suites have the same file,
    /// apt takes it from either.
    fn ask(&self, packages: &[String], recommends: Recommends) -> Result<BTreeSet<String>, String> {
        let answer = Command::new(&self.command[0])
            .args(&self.command[1..])
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
        if out.contains("will be REMOVED") {
            return Err(format!("removes: {out}"));
        }
        let lines = out.lines().filter_map(|line| line.strip_prefix('\'')?.split_once('\''));
        Ok(lines
            .map(|(uri, rest)| {
                let name = uri.rsplit('/').next().unwrap();
                let name = percent_encoding::percent_decode_str(name).decode_utf8().unwrap();
                format!("{name} {}", rest.split_whitespace().nth(1).expect("apt says the size"))
            })
            .collect())
    }
}

#[derive(Default)]
struct Tally {
    same: usize,
    both_refuse: usize,
    refused_by_design: Vec<String>,
    /// Answered where apt gives up: before 3.0 it does not go on by clauses.
    further: Vec<String>,
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
                let ours: BTreeSet<String> = ours.pins.iter().map(file_of).collect();
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
            (Ok(ours), Err(theirs)) if theirs.contains("you have held broken packages") => {
                self.further.push(format!("{title}: {} packages", ours.pins.len()));
            }
            (Ok(_), Err(theirs)) => {
                let theirs: String = theirs.chars().rev().take(600).collect::<Vec<_>>().into_iter().rev().collect();
                self.different.push(format!("{title}\n  ours has an answer\n  apt: {theirs}"));
            }
        }
    }

    fn all(&self) -> usize {
        self.same + self.both_refuse + self.refused_by_design.len() + self.further.len() + self.different.len()
    }

    fn add_all(&mut self, other: Self) {
        self.same += other.same;
        self.both_refuse += other.both_refuse;
        self.refused_by_design.extend(other.refused_by_design);
        self.further.extend(other.further);
        self.different.extend(other.different);
    }

    fn finish(&self, what: &str) {
        println!(
            "{what}: {} of {} agree: {} the same files, {} refused by both; {} refused by design, {} answered where apt gives up, \
             {} different",
            self.same + self.both_refuse,
            self.all(),
            self.same,
            self.both_refuse,
            self.refused_by_design.len(),
            self.further.len(),
            self.different.len()
        );
        self.further.iter().for_each(|line| println!("  apt gives up: {line}"));
        self.refused_by_design.iter().for_each(|line| println!("  by design: {line}"));
        assert!(self.same > 0, "{what}: nothing was compared");
    }
}

fn file_of(pin: &AptPin) -> String {
    let name = percent_encoding::percent_decode_str(pin.artifact.path.file_name()).decode_utf8().unwrap();
    format!("{name} {}", pin.artifact.size)
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// One request.
#[derive(Clone, Debug)]
struct Case {
    title: &'static str,
    packages: Vec<String>,
    recommends: Recommends,
}

impl Case {
    fn new(title: &'static str, packages: Vec<String>) -> Self {
        Self { title, packages, recommends: Recommends::Ignore }
    }
}

/// The corpus for a suite and platform, as tests/parity/apt.txt says at its head.
fn corpus(suite: &str, platform: Platform) -> Vec<Case> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/apt.txt")).unwrap();
    let mut cases = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (request, options) = line.split_once('|').unwrap_or((line, ""));
        let has = |option: &str| options.split_whitespace().any(|word| word == option);
        let is_elsewhere = ["trixie", "bookworm"].iter().any(|other| *other != suite && has(other));
        if is_elsewhere || (platform == ARM64 && !has("arm64")) {
            continue;
        }
        let case = Case::new("corpus", words(request));
        if has("recommends") && platform != ARM64 {
            cases.push(Case { recommends: Recommends::Follow, ..case.clone() });
        }
        cases.push(case);
    }
    cases
}

/// What is asked in the wide run on top of a base: the corpus on the minimal base, on trixie also on an empty root; for amd64
/// drawn groups on both and single packages on the minimal base, where the groups are turned round as well.
fn wide_cases(parity: &Parity<'_>, names: &[String], base: Base) -> Vec<Case> {
    let mut cases = vec![Case::new("image", words(IMAGE))];
    let is_own = parity.platform == Platform::LINUX_AMD64;
    let corpus = corpus(parity.suite, parity.platform);
    match base {
        Base::Minimal => cases.extend(corpus),
        Base::Empty if parity.suite == "trixie" && is_own => {
            cases.extend(corpus.into_iter().filter(|case| case.recommends == Recommends::Ignore));
        }
        Base::Empty => {}
    }
    if !is_own {
        return cases;
    }
    let mut draw = Draw(std::env::var("OCLOCK_PARITY_SEED").map_or(20_261_124, |seed| seed.parse().unwrap()));
    let groups: Vec<Case> =
        (0..30).map(|_| Case::new("group", (0..4).map(|_| draw.of(names).clone()).collect())).collect();
    if base == Base::Minimal {
        cases.extend((0..100).map(|_| Case::new("single", vec![draw.of(names).clone()])));
        let turned = |case: &Case| Case::new("turned", case.packages.iter().rev().cloned().collect());
        cases.extend(groups.iter().map(turned));
    }
    cases.into_iter().chain(groups).collect()
}

/// A small generator with a fixed seed (Knuth's MMIX constants): the same draw everywhere.
struct Draw(u64);

impl Draw {
    fn of<'a>(&mut self, names: &'a [String]) -> &'a String {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        &names[(self.0 >> 33) as usize % names.len()]
    }
}

/// What is asked on a base, given the names there are.
type Cases<'a> = dyn Fn(&Parity<'_>, &[String], Base) -> Vec<Case> + Sync + 'a;

/// Asks both sides everything, on both bases.
fn compare(parity: &Parity<'_>, command: &[String], cases: &Cases<'_>) -> Tally {
    let base = parity.ours(&[], Recommends::Ignore, None).unwrap();
    // Debian's own signatures hold with the bundled keys, also without a network.
    verify_chain(&lockfile(parity, &base), &parity.world.store, &BTreeMap::new()).unwrap();
    let lists = parity.lists();
    let minimal = status(&lists, &base);
    let names: BTreeSet<String> = lists
        .iter()
        .filter(|(name, _)| name.contains("_Packages"))
        .flat_map(|(_, bytes)| std::str::from_utf8(bytes).unwrap().lines())
        .filter_map(|line| line.strip_prefix("Package: ").map(str::to_owned))
        .collect();
    let names: Vec<String> = names.into_iter().collect();
    let is_essential = |pin: &&AptPin| pin.required_by.iter().any(|name| name == "essential");
    let essential: Vec<String> = base.pins.iter().filter(is_essential).map(|pin| pin.name.to_string()).collect();
    let what = format!("{} {}", parity.suite, parity.platform);
    let oracle = Oracle::new(command, parity, &what.replace(['/', ' '], "-"), &lists);
    let mut all = Tally::default();
    for (base, status) in [(Base::Empty, ""), (Base::Minimal, minimal.as_str())] {
        oracle.install(status);
        let asked = cases(parity, &names, base);
        let tally = Mutex::new(Tally::default());
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    while let Some(case) = asked.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let ours =
                            parity.ours(&case.packages, case.recommends, (base == Base::Minimal).then_some(status));
                        let mut packages = if base == Base::Empty { essential.clone() } else { Vec::new() };
                        packages.extend(case.packages.iter().cloned());
                        let theirs = oracle.ask(&packages, case.recommends);
                        let how = format!("{what} {base:?} {:?} {}", case.recommends, case.title);
                        let title = format!("{how}: {}", case.packages.join(" "));
                        tally.lock().unwrap().add(&title, &ours, &theirs);
                    }
                });
            }
        });
        let tally = tally.into_inner().unwrap();
        tally.finish(&format!("{what} {base:?}"));
        all.add_all(tally);
    }
    all
}

#[test]
fn the_same_files_as_apt() {
    let world = World::new();
    let sample = |_: &Parity<'_>, _: &[String], _: Base| {
        let all = std::iter::once(&IMAGE).chain(SAMPLE);
        all.map(|line| Case::new("sample", words(line))).collect()
    };
    let mut all = Tally::default();
    if std::env::var("OCLOCK_PARITY").as_deref() == Ok("all") {
        for suite in ["trixie", "bookworm"] {
            let command = world.apt_of(suite);
            for platform in [Platform::LINUX_AMD64, ARM64] {
                let what = format!("{suite} {}", platform.architecture.as_str());
                if std::env::var("OCLOCK_PARITY_ONLY").is_ok_and(|only| only != what) {
                    continue;
                }
                all.add_all(compare(&Parity::new(&world, suite, platform), &command, &wide_cases));
            }
        }
    } else {
        let parity = Parity::new(&world, "trixie", Platform::LINUX_AMD64);
        all = compare(&parity, &["apt-get".to_owned()], &sample);
    }
    all.finish("apt");
    assert!(all.different.is_empty(), "these differ from apt:\n{}", all.different.join("\n"));
}

fn lockfile(parity: &Parity<'_>, solution: &AptSolution) -> Lockfile {
    let nothing = Sha256::of(b"");
    Lockfile {
        epoch: 0,
        platforms: vec![parity.platform],
        fingerprints: Fingerprints { image: nothing, apt: nothing, npm: nothing, pip: nothing },
        seal: SealPin { rules: nothing, encoder: "none".to_owned() },
        base: BasePin::Debian { suite: parity.suite.to_owned() },
        archives: solution.archives.clone(),
        apt: solution.pins.clone(),
        npm: Vec::new(),
        pip: Vec::new(),
        pip_builds: Vec::new(),
        images: BTreeMap::new(),
    }
}
