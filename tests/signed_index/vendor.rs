//! Two archives, each with a key of its own, as people add a vendor's beside Debian's: the same closure as apt-get with
//! `signed-by`, and a key of the other one's is refused by both.

use std::fs;
use std::path::PathBuf;

use oclock::base::explain::{Explain, Kind};
use oclock::base::http::{HttpClient, HttpOptions};
use oclock::manifest::{Recommends, SourceKind};
use oclock::model::{Platform, Sha256, SourceName};
use oclock::resolve::apt::{AptError, AptRequest, AptSolution, resolve};
use oclock::source::Source;
use oclock::store::Store;

use super::lab::Lab;
use super::support::site::Site;
use super::{INDEX, NOW, apt_settings, at_that_time};

/// An archive: its name, its suite, the key that signs it, and `name version|fields` a line.
const ARCHIVES: [(&str, &str, &str, &str); 2] = [
    (
        "debian",
        "test",
        "good",
        "libssl 3.0|\ntool 1.0|Depends: libssl\ncron 3.0|\nsystemd-cron 2.0|Provides: cron-daemon\n",
    ),
    (
        "vendor",
        "stable",
        "rsa",
        "agent 7.1|Depends: tool (>= 1.5), libssl, cron-daemon | cron\ntool 2.0|Depends: libssl, agent-common\nagent-common 7.1|\n",
    ),
];

struct Pair {
    lab: Lab,
    site: Site,
    directory: tempfile::TempDir,
}

impl Pair {
    fn serve() -> Self {
        let pair = Self { lab: Lab::new(), site: Site::serve(), directory: tempfile::tempdir().unwrap() };
        for (name, suite, key, packages) in ARCHIVES {
            let packages: String = packages.lines().map(stanza).collect();
            let release = format!(
                "Origin: {name}\nSuite: {suite}\nCodename: {suite}\nDate: Fri, 01 Mar 2024 00:00:00 UTC\nArchitectures: amd64\n\
                 Components: main\nSHA256:\n {} {} {INDEX}\n",
                Sha256::of(&packages),
                packages.len()
            );
            let signed = pair.lab.sign(&release, &[key]);
            for (file, text) in [("InRelease", signed), (INDEX, packages)] {
                let path = format!("{name}/dists/{suite}/{file}");
                let copy = pair.directory.path().join(&path);
                fs::create_dir_all(copy.parent().unwrap()).unwrap();
                fs::write(copy, &text).unwrap();
                pair.site.put(&format!("/{path}"), text);
            }
        }
        pair
    }

    fn key(&self, name: &str) -> PathBuf {
        self.lab.key(name, &self.directory.path().join(format!("{name}.gpg")))
    }

    /// The closure of `agent`, when the archives are believed to be signed with these keys.
    fn ours(&self, keys: [&str; 2]) -> Result<AptSolution, AptError> {
        let source = |(archive, key): (&(&str, &str, &str, &str), &str)| Source {
            name: SourceName::parse(archive.0).unwrap(),
            kind: SourceKind::Apt,
            url: self.site.url.join(&format!("{}/", archive.0)).unwrap(),
            mirrors: Vec::new(),
            authorization: None,
            packages: Vec::new(),
            suites: vec![archive.1.to_owned()],
            components: vec!["main".to_owned()],
            signed_by: Some(self.key(key)),
            found_in: "a test".to_owned(),
        };
        let sources: Vec<Source> = ARCHIVES.iter().zip(keys).map(source).collect();
        let request = AptRequest {
            platform: Platform::LINUX_AMD64,
            suite: "test",
            packages: &["agent".to_owned()],
            recommends: Recommends::Ignore,
            installed: Some(""),
            as_of: None,
            now: NOW,
        };
        let store = Store::open(self.directory.path().join("store")).unwrap();
        let http = HttpClient::new(HttpOptions { tries: 1, ..HttpOptions::default() });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(resolve(&request, &sources.iter().collect::<Vec<_>>(), &http, &store))
    }

    /// What apt-get would install, `name version` each, sorted; nothing where it does not take the lists.
    fn theirs(&self, keys: [&str; 2]) -> Option<Vec<String>> {
        let at = self.directory.path().join(format!("apt-{}-{}", keys[0], keys[1]));
        let lines = ARCHIVES.iter().zip(keys).map(|((name, suite, _, _), key)| {
            let (key, archive) = (self.key(key), self.directory.path().join(name));
            format!("deb [arch=amd64 signed-by={}] copy:{} {suite} main\n", key.display(), archive.display())
        });
        let settings = apt_settings(&at, &lines.collect::<String>());
        let apt = |arguments: &[&str]| {
            let output = at_that_time("apt-get").env("APT_CONFIG", &settings).args(arguments).output().unwrap();
            output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
        };
        apt(&["update"])?;
        let plan = apt(&["install", "-s", "-y", "-q", "--no-install-recommends", "agent"])?;
        let mut installed: Vec<String> = plan
            .lines()
            .filter_map(|line| line.strip_prefix("Inst ")?.split_once(" ("))
            .map(|(name, rest)| format!("{name} {}", rest.split(' ').next().unwrap()))
            .collect();
        installed.sort();
        Some(installed)
    }
}

fn stanza(line: &str) -> String {
    let (head, fields) = line.split_once('|').unwrap();
    let (name, version) = head.split_once(' ').unwrap();
    let fields = if fields.is_empty() { String::new() } else { format!("{fields}\n") };
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\nPriority: optional\nMaintainer: A <a@example.invalid>\n\
         Description: x\n{fields}Filename: pool/{name}_{version}_amd64.deb\nSize: 4\nSHA256: {}\n\n",
        Sha256::of(b"")
    )
}

#[test]
fn an_archive_with_its_own_key_gives_the_closure_that_apt_has() {
    let pair = Pair::serve();
    let solution = pair.ours(["good", "rsa"]).unwrap();
    let ours: Vec<String> = solution.pins.iter().map(|pin| format!("{} {}", pin.name, pin.version)).collect();
    assert_eq!(ours, ["agent 7.1", "agent-common 7.1", "libssl 3.0", "systemd-cron 2.0", "tool 2.0"]);
    assert_eq!(pair.theirs(["good", "rsa"]), Some(ours));
    for keys in [["good", "good"], ["rsa", "rsa"], ["good", "unknown"]] {
        let refused = pair.ours(keys).unwrap_err();
        assert!(matches!(refused, AptError::Signature { .. }), "{keys:?}: {refused:?}");
        assert_eq!(refused.kind(), Kind::Distrust, "{keys:?}");
        assert_eq!(pair.theirs(keys), None, "{keys:?}");
    }
}
