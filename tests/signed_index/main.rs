//! Signed indexes of every sort of wrong: our verdict and its reason, beside those of gpgv and apt-get.
//!
//! Each case is an archive of one package on loopback. oclock resolves from it; gpgv judges its InRelease with the same keyring
//! and clock; `apt-get update` reads the same archive from a directory. Where the verdicts differ, the case says why.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod cases;
mod lab;
#[path = "../support/mod.rs"]
mod support;
mod vendor;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use oclock::base::explain::Explain;
use oclock::base::http::{HttpClient, HttpOptions};
use oclock::manifest::{Recommends, SourceKind};
use oclock::model::{Platform, Sha256, SourceName};
use oclock::resolve::apt::{AptRequest, resolve};
use oclock::source::Source;
use oclock::store::Store;

use cases::{Case, Ours, Theirs};
use lab::Lab;
use support::project::Project;
use support::registries::Registries;
use support::site::Site;

/// 2024-03-02, a day after the archive's Date.
pub const NOW: i64 = 1_709_337_600;
const CLOCK: &str = "2024-03-02 00:00:00";
/// How an index comes over the wire.
const INDEX: &str = "main/binary-amd64/Packages";

struct Bench {
    site: Site,
    keyring: PathBuf,
    directory: tempfile::TempDir,
}

impl Bench {
    /// What oclock says: nothing, or why it refuses.
    fn ours(&self, number: usize, case: &Case) -> Result<(), String> {
        let root = format!("/{number}/dists/test");
        self.site.put(&format!("{root}/InRelease"), case.in_release.clone());
        self.site.put(&format!("{root}/{INDEX}"), case.packages.clone());
        if let Some(by_hash) = &case.by_hash {
            let digest = Sha256::of(&case.packages);
            self.site.put(&format!("{root}/main/binary-amd64/by-hash/SHA256/{digest}"), by_hash.clone());
        }
        let source = Source {
            name: SourceName::parse("debian").unwrap(),
            kind: SourceKind::Apt,
            url: self.site.url.join(&format!("{number}/")).unwrap(),
            mirrors: Vec::new(),
            authorization: None,
            packages: Vec::new(),
            suites: vec!["{suite}".to_owned()],
            components: vec!["main".to_owned()],
            signed_by: Some(self.keyring.clone()),
            found_in: "a test".to_owned(),
        };
        let request = AptRequest {
            platform: Platform::LINUX_AMD64,
            suite: "test",
            packages: &["tool".to_owned()],
            recommends: Recommends::Ignore,
            installed: Some(""),
            as_of: None,
            now: NOW,
        };
        let store = Store::open(self.directory.path().join(format!("store-{number}"))).unwrap();
        let http = HttpClient::new(HttpOptions { tries: 1, ..HttpOptions::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(resolve(&request, &[&source], &http, &store));
        let solution = answer.map_err(|error| {
            let mut words = vec![error.to_string()];
            let mut cause = error.source();
            while let Some(error) = cause {
                words.push(error.to_string());
                cause = error.source();
            }
            words.extend(error.evidence());
            words.join(": ")
        })?;
        // What is taken must be what was signed.
        let names: Vec<String> = solution.pins.iter().map(|pin| pin.name.to_string()).collect();
        assert_eq!(names, ["tool"], "{}", case.name);
        Ok(())
    }

    /// What gpgv says, as apt asks it: a good signature, and none that is wrong.
    fn gpgv(&self, case: &Case) -> bool {
        let file = self.directory.path().join("InRelease");
        fs::write(&file, &case.in_release).unwrap();
        let mut gpgv = at_that_time("gpgv");
        gpgv.args(["--status-fd", "1", "--keyring"])
            .arg(&self.keyring)
            .arg(&file)
            .env("GNUPGHOME", self.directory.path());
        let output = gpgv.output().unwrap();
        let status = String::from_utf8_lossy(&output.stdout).into_owned();
        let says = |word: &str| status.lines().any(|line| line.starts_with(&format!("[GNUPG:] {word} ")));
        says("GOODSIG") && says("VALIDSIG") && !says("BADSIG")
    }

    /// Whether `apt-get update` takes the archive.
    fn apt(&self, number: usize, case: &Case) -> bool {
        let at = self.directory.path().join(format!("apt-{number}"));
        let root = at.join("archive/dists/test");
        fs::create_dir_all(root.join("main/binary-amd64")).unwrap();
        fs::write(root.join("InRelease"), &case.in_release).unwrap();
        fs::write(root.join(INDEX), &case.packages).unwrap();
        let line = format!(
            "deb [arch=amd64 signed-by={}] copy:{} test main\n",
            self.keyring.display(),
            at.join("archive").display()
        );
        let settings = apt_settings(&at, &line);
        let output = at_that_time("apt-get").env("APT_CONFIG", settings).arg("update").output().unwrap();
        let lists = fs::read_dir(at.join("lists")).unwrap().flatten();
        let has_index = lists.into_iter().any(|entry| entry.file_name().to_string_lossy().ends_with("_Packages"));
        output.status.success() && has_index
    }
}

/// An apt of its own below `at`, with these sources; the file that says so.
fn apt_settings(at: &Path, sources: &str) -> PathBuf {
    for part in ["lists/partial", "cache/archives/partial", "etc"] {
        fs::create_dir_all(at.join(part)).unwrap();
    }
    fs::write(at.join("status"), "").unwrap();
    fs::write(at.join("etc/sources.list"), sources).unwrap();
    let settings = format!(
        "Dir \"{0}\"; Dir::State \"{0}\"; Dir::State::status \"{0}/status\"; Dir::State::lists \"{0}/lists\";\n\
         Dir::Cache \"{0}/cache\"; Dir::Etc \"{0}/etc\"; Dir::Etc::parts \"none\"; Dir::Etc::main \"none.conf\";\n\
         Dir::Etc::sourcelist \"sources.list\"; Dir::Etc::sourceparts \"none\"; Dir::Etc::preferencesparts \"none\";\n\
         Dir::Etc::trusted \"none\"; Dir::Etc::trustedparts \"none\"; APT::Sandbox::User \"root\";\n\
         Dir::Bin::methods \"/usr/lib/apt/methods\"; Dir::Log \"{0}\"; Acquire::Languages \"none\"; APT::Architecture \"amd64\";\n\
         APT::Architectures \"amd64\";\n",
        at.display()
    );
    let path = at.join("apt.conf");
    fs::write(&path, settings).unwrap();
    path
}

fn at_that_time(program: &str) -> Command {
    let mut command = Command::new("faketime");
    command.args(["-f", &format!("@{CLOCK}"), program]).env("TZ", "UTC").env("LC_ALL", "C");
    command
}

#[test]
fn signed_indexes_are_judged_as_gpgv_judges_them_or_more_strictly() {
    let lab = Lab::new();
    let directory = tempfile::tempdir().unwrap();
    let keyring = lab.keyring(&directory.path().join("keyring.gpg"));
    let bench = Bench { site: Site::serve(), keyring, directory };
    let cases = cases::all(&lab);
    let (mut table, mut wrong, mut judged) = (String::new(), Vec::new(), 0);
    for (number, case) in cases.iter().enumerate() {
        let (ours, gpgv, apt) = (bench.ours(number, case), bench.gpgv(case), bench.apt(number, case));
        let word = |takes: bool| if takes { "takes" } else { "refuses" };
        let said = ours.as_ref().err().cloned().unwrap_or_default();
        let differs = if ours.is_ok() == gpgv { "" } else { case.differs };
        table += &format!(
            "{:<44} {:<8} {:<8} {:<8} {said}{}{differs}\n",
            case.name,
            word(ours.is_ok()),
            word(gpgv),
            word(apt),
            if differs.is_empty() { "" } else { "  # " }
        );
        let is_expected = match (&case.ours, &ours) {
            (Ours::Takes, Ok(())) => true,
            (Ours::Refuses(why), Err(said)) => said.contains(why),
            _ => false,
        };
        if !is_expected {
            wrong.push(format!("{}: ours {ours:?}, expected {:?}", case.name, case.ours));
        }
        if (ours.is_ok() != gpgv) == case.differs.is_empty() {
            wrong.push(format!("{}: gpgv {}, and that is said to differ: {:?}", case.name, word(gpgv), case.differs));
        }
        if ours.is_ok() && !gpgv && !case.is_lenient {
            wrong.push(format!("{}: taken although gpgv refuses it", case.name));
        }
        match case.apt {
            Theirs::Takes if !apt => wrong.push(format!("{}: apt-get refuses it", case.name)),
            Theirs::Refuses if apt => wrong.push(format!("{}: apt-get takes it", case.name)),
            Theirs::Takes | Theirs::Refuses | Theirs::Unasked => {}
        }
        judged += usize::from(ours.is_ok() == gpgv);
    }
    println!("{:<44} {:<8} {:<8} {:<8}\n{table}", "case", "oclock", "gpgv", "apt-get");
    println!("{} cases, {judged} as gpgv, {} otherwise", cases.len(), cases.len() - judged);
    assert!(wrong.is_empty(), "{}\n{table}", wrong.join("\n"));
    assert!(cases.len() >= 45, "{} cases", cases.len());
}

#[test]
fn lists_that_are_older_than_those_of_the_lock_are_refused() {
    let mut registries = Registries::serve();
    let project = Project::locked(&registries);
    registries.replace_deb("hello", "2.10-3", "2.10-2", "Depends: libhello (>= 1.2)\n");
    let later = project.read("lockfile.toml").replace("2024-03-01T00:00:00Z", "2024-03-02T00:00:00Z");
    project.write("lockfile.toml", &later);
    for arguments in [&["update"][..], &["update", "--dry-run"], &["update", "--pruned"], &["update", "apt:hello"]] {
        let answer = project.run(&[&["--quiet"], arguments].concat());
        let expected = "error: `trixie` of `debian` is older than the lockfile has it\n  locked  2024-03-02T00:00:00Z\n  served  2024-03-01T00:00:00Z\n";
        assert_eq!(answer.code, 4, "{arguments:?}: {answer:?}");
        assert!(answer.stderr.starts_with(expected), "{arguments:?}: {}", answer.stderr);
        assert_eq!(project.read("lockfile.toml"), later);
    }
}
