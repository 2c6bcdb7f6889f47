//! Registries that answer nonsense, too little, too much, too late or nothing: each ends with an error that names the source,
//! exit code 3 or 4, the lockfile as it was, and a store that holds nothing but verified bytes.
//!
//! The real binary, one fault a run, for the first and the second thing that each ecosystem asks for.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use std::path::Path;
use std::time::Duration;

use oclock::model::Sha256;
use serde_json::json;
use support::based;
use support::project::{Answer, Project};
use support::registries::Registries;
use support::site::Endless;
use support::wheels::WheelBuilder;

/// What is asked for, the name by which the error calls its source, and the command that asks.
struct Target {
    path: &'static str,
    source: &'static str,
    command: &'static [&'static str],
}

const TARGETS: &[Target] = &[
    Target { path: "/debian/dists/trixie/InRelease", source: "debian", command: &["update"] },
    Target { path: "/debian/dists/trixie/main/binary-amd64/Packages", source: "debian", command: &["update"] },
    Target { path: "/debian/pool/hello_2.10-3_amd64.deb", source: "debian", command: &["fetch"] },
    Target { path: "/npm/shout", source: "npm", command: &["update"] },
    Target { path: "/npm/shout/-/shout-2.1.0.tgz", source: "npm", command: &["update"] },
    Target { path: "/simple/sums/", source: "pypi", command: &["update"] },
    Target { path: "/files/sums-3.2-py3-none-any.whl.metadata", source: "pypi", command: &["update"] },
    Target { path: "/v2/tool/manifests/1", source: "tool:1", command: &["update"] },
    Target { path: "/v2/tool/blobs/LAYER", source: "tool:1", command: &["update"] },
];

/// How it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A page of something else, such as of a network that wants a login.
    Page,
    /// JSON of another shape.
    Shape,
    /// A whole answer with half of what it should have.
    Truncated,
    Status(&'static str),
    /// With how long to wait.
    TooMany(&'static str),
    /// The connection ends in the middle of the body.
    Half,
    /// Less is announced than is sent.
    ShortLength,
    /// A body that never ends.
    Endless,
    /// To itself.
    Redirect,
    /// A byte now and then.
    Slow,
    /// Nothing at all: the connection is closed.
    Closed,
}

const FAULTS: &[Fault] = &[
    Fault::Page,
    Fault::Shape,
    Fault::Truncated,
    Fault::Status("404 Not Found"),
    Fault::Status("500 Internal Server Error"),
    Fault::TooMany("0"),
    Fault::TooMany("3600"),
    Fault::Half,
    Fault::ShortLength,
    Fault::Endless,
    Fault::Redirect,
    Fault::Slow,
    Fault::Closed,
];

impl Fault {
    fn put(self, registries: &Registries, path: &str) {
        let site = &registries.site;
        let good = site.file(path);
        let answer = |status: &str, headers: &str, length: usize, body: &[u8]| {
            let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
            site.put_answer(path, [head.as_bytes(), body].concat());
        };
        let whole = |status: &str, headers: &str, body: &[u8]| answer(status, headers, body.len(), body);
        let half = &good[..good.len() / 2];
        let endless = |piece: Vec<u8>, pause: u64| {
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_owned();
            site.put_endless(path, Endless { head, piece, pause: Duration::from_millis(pause) });
        };
        match self {
            Self::Page => whole("200 OK", "Content-Type: text/html\r\n", b"<html><body>Please log in</body></html>"),
            Self::Shape => whole("200 OK", "Content-Type: application/json\r\n", b"[{\"surprise\": 1}]"),
            Self::Truncated => whole("200 OK", "", half),
            Self::Status(status) => whole(status, "", b"no"),
            Self::TooMany(after) => whole("429 Too Many Requests", &format!("Retry-After: {after}\r\n"), b"no"),
            Self::Half => answer("200 OK", "", good.len(), half),
            Self::ShortLength => answer("200 OK", "", half.len(), &good),
            Self::Endless => endless(vec![b' '; 1 << 16], 0),
            Self::Redirect => whole("302 Found", &format!("Location: {path}\r\n"), b""),
            Self::Slow => endless(vec![b' '], 50),
            Self::Closed => site.put_answer(path, ""),
        }
    }

    /// How often it is asked for with one retry, where that is certain; something may be asked for on two occasions.
    fn asked(self) -> Option<usize> {
        match self {
            Self::Status("404 Not Found") | Self::TooMany("3600") => Some(1),
            Self::Status(_) | Self::TooMany(_) | Self::Closed => Some(2),
            _ => None,
        }
    }

    /// What must be said of it.
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Status("500 Internal Server Error") => &["500 Internal Server Error"],
            Self::TooMany("3600") => &["429 Too Many Requests", "to be asked again in 3600 s"],
            Self::TooMany(_) => &["429 Too Many Requests"],
            Self::Redirect => &["redirect"],
            Self::Slow => &["too slow"],
            Self::Closed | Self::Half => &["could not reach"],
            _ => &[],
        }
    }
}

/// A locked project whose registries are all right but for one thing.
fn faulty(target: &Target, fault: Fault, lock: &str) -> (Registries, Project, String) {
    let mut registries = Registries::serve();
    let project = if target.path.starts_with("/v2/") {
        let project = based::project(&registries);
        let paths = registries.site.paths();
        let is_index =
            |path: &&String| path.contains("/manifests/") && contains(&registries.site.file(path), "image.index");
        registries.site.copy(paths.iter().find(is_index).unwrap(), "/v2/tool/manifests/1");
        project
    } else {
        let project = Project::greeter(&registries);
        project.write("lockfile.toml", lock);
        project
    };
    newer(&mut registries);
    let is_layer = |path: &&String| path.contains("/blobs/") && contains(&registries.site.file(path), "honest");
    let path = match target.path {
        "/v2/tool/blobs/LAYER" => registries.site.paths().iter().find(is_layer).unwrap().clone(),
        path => path.to_owned(),
    };
    fault.put(&registries, &path);
    (registries, project, path)
}

/// Publishes what the lock does not know yet, so that it must be looked into.
fn newer(registries: &mut Registries) {
    registries.npm("shout", "2.1.0", json!({ "dependencies": { "pad-left": "^1.0.0" } }));
    registries.wheel(&WheelBuilder::new("sums", "3.2").requires("numbers>=1"));
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Runs with a store of its own, as what an earlier run kept is not asked for again.
fn run(project: &Project, command: &[&str], store: &Path) -> Answer {
    let common = ["--quiet", "--timeout", "1", "--retries", "1", "--store", store.to_str().unwrap()];
    project.run(&[&common, command].concat())
}

/// What is wrong with how a fault was met; nothing is as it should be.
fn complaints(target: &Target, fault: Fault, lock: &str) -> Vec<String> {
    let (registries, project, path) = faulty(target, fault, lock);
    let store = project.home().join("fresh");
    let before = project.snapshot();
    registries.site.take_asked();
    let answer = run(&project, target.command, &store);
    let mut complaints = Vec::new();
    let mut complain = |is_wrong: bool, what: &str| {
        if is_wrong {
            complaints.push(format!("{path} {fault:?}: {what}\n{answer:#?}"));
        }
    };
    complain(!matches!(answer.code, 3 | 4), "another exit code");
    complain(!answer.stdout.is_empty(), "said on standard output");
    complain(!answer.stderr.starts_with("error: "), "no error");
    let is_named = answer.stderr.contains(target.source) || answer.stderr.contains(&format!("LOOPBACK{path}"));
    complain(!is_named, "the source is not named");
    complain(!fault.words().iter().all(|words| answer.stderr.contains(words)), "it is not said what happened");
    complain(project.snapshot() != before, "something was written");
    let asked = registries.site.take_asked().iter().filter(|asked| **asked == path).count();
    let is_often = |wanted: usize| asked < wanted || asked > 2 * wanted;
    complain(fault.asked().is_some_and(is_often), &format!("asked for {asked} times"));
    complain(!unverified(&store.join("blobs")).is_empty(), "the store has what it should not");
    complaints
}

/// The files of a store whose name is not their hash.
fn unverified(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(unverified(&path));
        } else {
            let digest = Sha256::of(std::fs::read(&path).unwrap()).to_string();
            let shown = path.to_string_lossy().replace('/', "");
            if !shown.ends_with(&digest) && !shown.ends_with(&digest[2..]) {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn every_fault_ends_with_a_clear_error_and_nothing_written() {
    let lock = Project::locked(&Registries::serve()).read("lockfile.toml");
    let mut rows: Vec<(&Target, Fault)> =
        TARGETS.iter().flat_map(|target| FAULTS.iter().map(move |fault| (target, *fault))).collect();
    // A tarball may have 2 GiB before it is too large, which takes too long here.
    rows.retain(|(target, fault)| !(target.path.ends_with(".tgz") && *fault == Fault::Endless));
    // What is not beside a wheel is read from within it.
    rows.retain(|(target, fault)| !(target.path.ends_with(".metadata") && *fault == Fault::Status("404 Not Found")));
    let next = std::sync::atomic::AtomicUsize::new(0);
    let found = std::sync::Mutex::new(Vec::new());
    // Most of them wait: for a second try, or for a server that is slow.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some((target, fault)) = rows.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    let complaints = complaints(target, *fault, &lock);
                    found.lock().unwrap().extend(complaints);
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    assert!(found.is_empty(), "{} of {} rows:\n{}", found.len(), rows.len(), found.join("\n"));
}

#[test]
fn what_passes_is_tried_again_until_it_is_there() {
    let lock = Project::locked(&Registries::serve()).read("lockfile.toml");
    let mut right = Registries::serve();
    newer(&mut right);
    let moved = Project::locked(&right).read("lockfile.toml");
    for target in TARGETS.iter().filter(|target| !target.path.starts_with("/v2/")) {
        let (registries, project, path) = faulty(target, Fault::Status("503 Service Unavailable"), &lock);
        let site = &registries.site;
        let good = [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", &site.file(&path)[..]].concat();
        let answer = std::thread::scope(|scope| {
            // The second answer is the right one.
            scope.spawn(|| {
                for _ in 0..6000 {
                    if site.asked(&path) {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
                site.put_answer(&path, good.clone());
            });
            run(&project, target.command, &project.home().join("fresh"))
        });
        assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{path}: {answer:?}");
        let wanted = if target.command == ["update"] { &moved } else { &lock };
        assert_eq!(project.read("lockfile.toml"), *wanted, "{path}");
    }
}
