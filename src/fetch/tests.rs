//! Fetching from servers on loopback that answer as told: rightly, with other bytes, with half a file, or not at all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::base::environment::Environment;
use crate::base::explain::{Explain, Kind};
use crate::base::http::HttpOptions;
use crate::manifest::parse_manifest;
use crate::model::{ArtifactPath, Sha256, Sha512, SourceName};
use crate::source::discover;

#[derive(Clone)]
enum Answer {
    /// The whole body.
    Whole(Vec<u8>),
    /// The first time only so many bytes, then the rest on request.
    Breaks { body: Vec<u8>, after: usize, ranges: bool },
    /// A status and nothing else.
    Status(u16),
}

/// A server, and the requests it saw: path, range and authorization.
struct Server {
    base: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answers: &[(&str, Answer)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/", listener.local_addr().unwrap());
        let answers: BTreeMap<String, Answer> =
            answers.iter().map(|(path, answer)| ((*path).to_owned(), answer.clone())).collect();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answers.clone(), log.clone()));
            }
        });
        Self { base, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(stream: TcpStream, answers: BTreeMap<String, Answer>, seen: Arc<Mutex<Vec<String>>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let (mut path, mut range, mut login) = (String::new(), String::new(), String::new());
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        match line.trim_end().split_once(' ') {
            Some(("GET", rest)) => rest.split(' ').next()?.trim_start_matches('/').clone_into(&mut path),
            Some(("range:", value)) => value.clone_into(&mut range),
            Some(("authorization:", value)) => value.clone_into(&mut login),
            Some(_) => {}
            None => break,
        }
    }
    let times = {
        let mut seen = seen.lock().unwrap();
        let times = seen.iter().filter(|line| line.split(' ').next() == Some(path.as_str())).count();
        seen.push(format!("{path} {range} {login}").trim_end().to_owned());
        times
    };
    let stream = stream.get_mut();
    let head =
        |status: &str, length: usize| format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n");
    match answers.get(&path).cloned().unwrap_or(Answer::Status(404)) {
        Answer::Status(code) => {
            stream.write_all(format!("{}\r\n", head(&format!("{code} x"), 0)).as_bytes()).await.ok()?
        }
        Answer::Whole(body) => {
            stream.write_all(format!("{}\r\n", head("200 OK", body.len())).as_bytes()).await.ok()?;
            stream.write_all(&body).await.ok()?;
        }
        Answer::Breaks { body, after, .. } if times == 0 => {
            stream.write_all(format!("{}\r\n", head("200 OK", body.len())).as_bytes()).await.ok()?;
            stream.write_all(&body[..after]).await.ok()?;
        }
        Answer::Breaks { body, ranges, .. } => {
            let first: usize = range.strip_prefix("bytes=")?.split('-').next()?.parse().ok()?;
            let (status, first) = if ranges { ("206 Partial Content", first) } else { ("200 OK", 0) };
            let more = if ranges {
                format!("content-range: bytes {first}-{}/{}\r\n", body.len() - 1, body.len())
            } else {
                String::new()
            };
            stream.write_all(format!("{}{more}\r\n", head(status, body.len() - first)).as_bytes()).await.ok()?;
            stream.write_all(&body[first..]).await.ok()?;
        }
    }
    stream.shutdown().await.ok()
}

fn artifact(source: &str, path: &str, body: &[u8]) -> Artifact {
    Artifact {
        source: SourceName::parse(source).unwrap(),
        path: ArtifactPath::parse(path).unwrap(),
        size: body.len() as u64,
        sha256: Sha256::of(body),
        sha512: (source == "npm").then(|| Sha512::of(body)),
    }
}

struct Desk {
    directory: tempfile::TempDir,
    store: Store,
    overrides: String,
    offline: bool,
}

impl Desk {
    fn new(overrides: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        Self { directory, store, overrides: overrides.to_owned(), offline: false }
    }

    fn sources(&self) -> Sources {
        let text = format!("[image]\nname = \"a\"\nbase = {{ debian = \"trixie\" }}\n{}", self.overrides);
        let overrides = parse_manifest(&text, "oclock.toml").unwrap().sources;
        let environment = Environment::default().with_root(self.directory.path());
        discover(&environment, self.directory.path(), &overrides).unwrap()
    }

    async fn fetch(&self, artifacts: &[Artifact], proofs: &[Artifact]) -> Result<FetchOutcome, FetchError> {
        let want =
            |artifact| Wanted { artifact, label: format!("x:{} 1", artifact.path.file_name()), moments: Vec::new() };
        let plan = FetchPlan {
            artifacts: artifacts.iter().map(want).collect(),
            proofs: proofs.iter().map(want).collect(),
            layers: Vec::new(),
        };
        let options = HttpOptions { offline: self.offline, ..HttpOptions::default() };
        let http = HttpClient::new(options);
        let quarantine = self.directory.path().join("quarantine");
        fetch(&plan, &self.sources(), &http, &self.store, &Progress::hidden(), &quarantine).await
    }

    fn quarantined(&self) -> usize {
        std::fs::read_dir(self.directory.path().join("quarantine")).map_or(0, Iterator::count)
    }
}

fn source(name: &str, kind: &str, url: &str, more: &str) -> String {
    format!("[sources.{name}]\nkind = \"{kind}\"\nurl = \"{url}\"\n{more}\n")
}

#[tokio::test]
async fn files_of_all_kinds_come_in_parallel() {
    let (tarball, deb, wheel) = (vec![1; 300_000], vec![2; 70_000], vec![3; 50_000]);
    let page = "{\"files\": [{\"filename\": \"a-1.whl\", \"url\": \"../files/a-1.whl#sha256=x\", \"hashes\": {}}]}";
    let server = Server::start(&[
        ("npm/@s/p/-/p-1.tgz", Answer::Whole(tarball.clone())),
        ("debian/pool/main/p+x_1~2.deb", Answer::Whole(deb.clone())),
        ("simple/a/", Answer::Whole(page.into())),
        ("simple/files/a-1.whl", Answer::Whole(wheel.clone())),
    ])
    .await;
    let overrides = [
        source("npm", "npm", &format!("{}npm", server.base), ""),
        source("debian", "apt", &format!("{}debian", server.base), ""),
        source("pypi", "pip", &format!("{}simple", server.base), ""),
    ];
    let desk = Desk::new(&overrides.concat());
    let files = [
        artifact("npm", "@s/p/-/p-1.tgz", &tarball),
        artifact("debian", "pool/main/p+x_1~2.deb", &deb),
        artifact("pypi", "a/a-1.whl", &wheel),
    ];
    let outcome = desk.fetch(&files, &[]).await.unwrap();
    assert_eq!((outcome.files, outcome.bytes), (3, 420_000));
    for (file, body) in files.iter().zip([&tarball, &deb, &wheel]) {
        assert_eq!(&desk.store.read_blob(&file.sha256).unwrap(), body);
    }
    // The link of the wheel is kept: the index is not asked again.
    desk.store.remove_blob(&files[2].sha256).unwrap();
    desk.fetch(&files[2..], &[]).await.unwrap();
    assert_eq!(server.seen().iter().filter(|line| *line == "simple/a/").count(), 1);
}

#[tokio::test]
async fn a_broken_transfer_is_taken_up_again() {
    let body: Vec<u8> = (0..400_000u32).flat_map(u32::to_le_bytes).collect();
    for ranges in [true, false] {
        let answer = Answer::Breaks { body: body.clone(), after: 1_000_000, ranges };
        let server = Server::start(&[("p.tgz", answer)]).await;
        let desk = Desk::new(&source("npm", "npm", &server.base, ""));
        let file = artifact("npm", "p.tgz", &body);
        desk.fetch(std::slice::from_ref(&file), &[]).await.unwrap();
        assert_eq!(desk.store.read_blob(&file.sha256).unwrap(), body);
        assert!(server.seen()[1].starts_with("p.tgz bytes="), "{:?}", server.seen());
    }
}

#[tokio::test]
async fn other_bytes_are_kept_apart_and_named() {
    let locked = b"locked".to_vec();
    for wrong in [b"lockeD".to_vec(), b"locked and more".to_vec(), b"lock".to_vec()] {
        let server = Server::start(&[("p.tgz", Answer::Whole(wrong)), ("q.tgz", Answer::Whole(locked.clone()))]).await;
        let desk = Desk::new(&source("npm", "npm", &server.base, ""));
        let files = [artifact("npm", "p.tgz", &locked), artifact("npm", "q.tgz", &locked)];
        let error = desk.fetch(&files[..1], &[]).await.unwrap_err();
        assert!(matches!(error, FetchError::Mismatch { .. }), "{error:?}");
        assert_eq!(error.kind(), Kind::Distrust);
        assert_eq!(error.to_string(), "`x:p.tgz 1` arrived with bytes that were not locked");
        assert!(error.evidence()[0].starts_with("  locked  sha256:") && error.evidence()[0].ends_with("6 bytes"));
        assert_eq!(desk.quarantined(), 1);
        assert_eq!(desk.store.blobs().unwrap(), []);
    }
}

#[tokio::test]
async fn a_wrong_sha512_is_a_mismatch_too() {
    let body = b"bytes".to_vec();
    let server = Server::start(&[("p.tgz", Answer::Whole(body.clone()))]).await;
    let desk = Desk::new(&source("npm", "npm", &server.base, ""));
    let file = Artifact { sha512: Some(Sha512::of("other")), ..artifact("npm", "p.tgz", &body) };
    let error = desk.fetch(&[file], &[]).await.unwrap_err();
    assert_eq!((error.kind(), desk.store.blobs().unwrap().len()), (Kind::Distrust, 0));
}

#[tokio::test]
async fn pruned_files_are_all_named() {
    let body = b"body".to_vec();
    let server =
        Server::start(&[("c", Answer::Whole(body.clone())), ("simple/d/", Answer::Whole(b"{\"files\":[]}".into()))])
            .await;
    let overrides =
        source("npm", "npm", &server.base, "") + &source("pypi", "pip", &format!("{}simple", server.base), "");
    let desk = Desk::new(&overrides);
    let files = [
        artifact("npm", "a", b"a"),
        artifact("npm", "b", b"b"),
        artifact("npm", "c", &body),
        artifact("pypi", "d/d-1.whl", b"d"),
    ];
    let error = desk.fetch(&files, &[]).await.unwrap_err();
    assert!(matches!(error, FetchError::Gone { .. }), "{error:?}");
    assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Unable, "3 locked files are no longer to be had"));
    let names: Vec<_> = error.failures().iter().map(|failure| failure.label.as_str()).collect();
    assert_eq!(names, ["x:a 1", "x:b 1", "x:d-1.whl 1"]);
    assert!(error.evidence().iter().any(|line| line.contains(&server.base)));
    assert!(desk.store.contains(&files[2].sha256), "what can be had is fetched");
}

#[tokio::test]
async fn mirrors_are_asked_in_order() {
    let body = b"body".to_vec();
    let first = Server::start(&[("a", Answer::Status(500))]).await;
    let second = Server::start(&[]).await;
    let third = Server::start(&[("a", Answer::Whole(body.clone()))]).await;
    let mirrors = format!("mirrors = [\"{}\", \"{}\"]", second.base, third.base);
    let desk = Desk::new(&source("npm", "npm", &first.base, &mirrors));
    desk.fetch(&[artifact("npm", "a", &body)], &[]).await.unwrap();
    assert_eq!([first.seen().len(), second.seen().len(), third.seen().len()], [4, 1, 1]);
    // A place that could not answer may still have it: that is not the same as gone.
    let error = desk.fetch(&[artifact("npm", "b", &body)], &[]).await.unwrap_err();
    assert!(matches!(error, FetchError::Gone { .. }));
    let error = Desk::new(&source("npm", "npm", &first.base, "")).fetch(&[artifact("npm", "a", &body)], &[]).await;
    assert!(matches!(error, Err(FetchError::Unreachable { .. })), "{error:?}");
}

#[tokio::test]
async fn credentials_go_to_their_own_host_only() {
    let body = b"body".to_vec();
    let other = Server::start(&[("a-1.whl", Answer::Whole(body.clone()))]).await;
    let page = format!("{{\"files\": [{{\"filename\": \"a-1.whl\", \"url\": \"{}a-1.whl\"}}]}}", other.base);
    let index = Server::start(&[("a/", Answer::Whole(page.into()))]).await;
    let desk = Desk::new("");
    let with_login = index.base.replace("http://", "http://user:pass@");
    let settings = source("pypi", "pip", &with_login, "");
    std::fs::create_dir_all(desk.directory.path().join("oclock")).unwrap();
    std::fs::write(desk.directory.path().join("oclock/config.toml"), settings).unwrap();
    let variables = [("XDG_CONFIG_HOME".into(), desk.directory.path().as_os_str().to_owned())];
    let sources = discover(&Environment::from_variables(variables), desk.directory.path(), &BTreeMap::new()).unwrap();
    let file = artifact("pypi", "a/a-1.whl", &body);
    let plan = FetchPlan {
        artifacts: vec![Wanted { artifact: &file, label: "a".into(), moments: Vec::new() }],
        ..FetchPlan::default()
    };
    let http = HttpClient::new(HttpOptions::default());
    let outcome = fetch(&plan, &sources, &http, &desk.store, &Progress::hidden(), desk.directory.path()).await;
    assert_eq!(outcome.unwrap().files, 1);
    assert_eq!(index.seen(), ["a/  Basic dXNlcjpwYXNz"]);
    assert_eq!(other.seen(), ["a-1.whl"]);
}

#[tokio::test]
async fn a_newer_index_in_the_place_of_a_locked_one_is_no_failure() {
    let old = b"old".to_vec();
    let by_hash = format!("d/dists/x/main/by-hash/SHA256/{}", Sha256::of(&old));
    let server = Server::start(&[
        ("d/dists/x/InRelease", Answer::Whole(b"new".into())),
        (by_hash.as_str(), Answer::Whole(old.clone())),
    ])
    .await;
    let desk = Desk::new(&source("debian", "apt", &format!("{}d", server.base), ""));
    let proofs =
        [artifact("debian", "dists/x/InRelease", &old), artifact("debian", "dists/x/main/Packages.xz", b"old")];
    let outcome = desk.fetch(&[], &proofs).await.unwrap();
    assert_eq!((outcome.files, outcome.superseded), (1, vec![proofs[0].clone()]));
    assert_eq!(desk.quarantined(), 0);
}

#[tokio::test]
async fn offline_names_what_is_missing() {
    let mut desk = Desk::new(&source("npm", "npm", "http://127.0.0.1:9", ""));
    desk.offline = true;
    let error = desk.fetch(&[artifact("npm", "a", b"a")], &[]).await.unwrap_err();
    assert_eq!(error.to_string(), "1 locked file is missing in the store");
    assert_eq!(error.evidence(), ["missing  x:a 1"]);
    assert_eq!(error.kind(), Kind::Unable);
}

#[tokio::test]
async fn asking_tells_what_is_gone_from_what_is_not_known() {
    let body = b"body".to_vec();
    let page =
        r#"{"files":[{"filename":"d-1.whl","url":"../../f/d-1.whl"},{"filename":"e-1.whl","url":"../../f/e-1.whl"}]}"#;
    let server = Server::start(&[
        ("there", Answer::Whole(body.clone())),
        ("fails", Answer::Status(403)),
        ("simple/d/", Answer::Whole(page.into())),
        ("simple/e/", Answer::Whole(page.into())),
        ("f/d-1.whl", Answer::Whole(body.clone())),
    ])
    .await;
    let second = Server::start(&[("mirrored", Answer::Whole(body.clone())), ("fails", Answer::Status(404))]).await;
    let mirrors = format!("mirrors = [\"{}\"]", second.base);
    let overrides =
        source("npm", "npm", &server.base, &mirrors) + &source("pypi", "pip", &format!("{}simple", server.base), "");
    let desk = Desk::new(&overrides);
    let ask = async |files: &[Artifact]| {
        let http = HttpClient::new(HttpOptions { tries: 1, ..HttpOptions::default() });
        let wanted: Vec<Wanted<'_>> = files
            .iter()
            .map(|artifact| Wanted { artifact, label: artifact.path.to_string(), moments: Vec::new() })
            .collect();
        find_gone(&wanted, &desk.sources(), &http).await
    };
    let mut files = vec![
        artifact("npm", "gone", &body),
        artifact("npm", "there", &body),
        artifact("npm", "mirrored", &body),
        artifact("pypi", "c/c-1.whl", &body),
        artifact("pypi", "d/d-1.whl", &body),
        artifact("pypi", "e/e-1.whl", &body),
    ];
    desk.store.add_blob(&body).unwrap();
    let gone: Vec<String> = ask(&files).await.unwrap().into_iter().map(|failure| failure.label).collect();
    assert_eq!(gone, ["gone", "c/c-1.whl", "e/e-1.whl"], "the store plays no part in it");
    assert!(server.seen().contains(&"there bytes=0-0".to_owned()), "{:?}", server.seen());
    files.push(artifact("npm", "fails", &body));
    let error = ask(&files).await.unwrap_err();
    assert_eq!((error.kind(), error.failures().len()), (Kind::Unable, 1), "{error:?}");
    assert_eq!(error.to_string(), "it is not known whether `fails` can still be had");
}
