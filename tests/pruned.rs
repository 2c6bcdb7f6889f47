//! `oclock update --pruned` with the real program, against a Debian archive on loopback that is signed here and drops files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use oclock::lock::{ImagePin, Lockfile, parse_lockfile, render_lockfile};
use oclock::model::{Platform, Sha256, SourceName};
use oclock::resolve::apt::{Keyring, verify_chain};
use oclock::store::Store;
use pgp::composed::{CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedSecretKey};

type Files = BTreeMap<String, Vec<u8>>;

/// What a server has, and the paths to which it answers with a fault.
#[derive(Default)]
struct Shelf {
    files: Files,
    broken: BTreeSet<String>,
}

/// A project, its store and the archive that it is locked against.
struct Bench {
    directory: tempfile::TempDir,
    shelf: Arc<Mutex<Shelf>>,
    key: SignedSecretKey,
    asked: Arc<Mutex<Vec<String>>>,
}

/// `name version` and more fields of its control file, `;` between them.
type Package<'a> = (&'a str, &'a str, &'a str);

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Bench {
    /// A project that asks for `packages`.
    fn new(packages: &[&str]) -> Self {
        let (shelf, asked) = (Arc::<Mutex<Shelf>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let address = serve(shelf.clone(), asked.clone());
        let mut parameters = SecretKeyParamsBuilder::default();
        parameters.key_type(KeyType::Ed25519Legacy).can_certify(true).can_sign(true).primary_user_id("test".into());
        let key = parameters.build().unwrap().generate(rand::rngs::OsRng).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let public = key.to_public_key().to_armored_string(None.into()).unwrap();
        fs::write(directory.path().join("key.asc"), public).unwrap();
        let source = |name: &str, suite: &str| {
            format!(
                "[sources.{name}]\nkind = \"apt\"\nurl = \"http://{address}/{name}/\"\nsuites = [\"{suite}\"]\nsigned-by = \"key.asc\"\n"
            )
        };
        let manifest = format!(
            "[image]\nname = \"test\"\nbase = {{ debian = \"test\" }}\n\n[apt]\npackages = {packages:?}\n\n{}\n{}",
            source("debian", "{suite}"),
            source("debian-security", "{suite}-security")
        );
        fs::write(directory.path().join("oclock.toml"), manifest).unwrap();
        let bench = Self { directory, shelf, key, asked };
        bench.sign("debian-security", "test-security", 2 * WEEK, "");
        bench
    }

    /// Lists these packages from now on, signed `age` seconds ago, and has their files; older files stay.
    fn publish(&self, age: i64, packages: &[Package<'_>]) {
        let mut list = String::new();
        for package in packages {
            let control = control(package);
            let (path, file) = (pool_path(package.0, package.1), deb(&control));
            let (size, digest) = (file.len(), Sha256::of(&file));
            list.push_str(&format!("{control}Filename: {path}\nSize: {size}\nSHA256: {digest}\n\n"));
            self.shelf.lock().unwrap().files.insert(format!("/debian/{path}"), file);
        }
        self.sign("debian", "test", age, &list);
    }

    fn sign(&self, source: &str, suite: &str, age: i64, list: &str) {
        let now = jiff::Timestamp::now().as_second() - age;
        let date = jiff::Timestamp::from_second(now).unwrap().strftime("%a, %d %b %Y %H:%M:%S UTC").to_string();
        let path = "main/binary-amd64/Packages";
        let release = format!(
            "Suite: {suite}\nCodename: {suite}\nDate: {date}\nArchitectures: amd64\nComponents: main\nSHA256:\n {} {} {path}\n",
            Sha256::of(list),
            list.len()
        );
        let signed =
            CleartextSignedMessage::sign(rand::rngs::OsRng, &release, &self.key.primary_key, &"".into()).unwrap();
        let signed = signed.to_armored_string(None.into()).unwrap();
        let mut shelf = self.shelf.lock().unwrap();
        shelf.files.insert(format!("/{source}/dists/{suite}/{path}"), list.into());
        shelf.files.insert(format!("/{source}/dists/{suite}/InRelease"), signed.into());
    }

    fn drop_file(&self, name: &str, version: &str) -> Vec<u8> {
        self.shelf.lock().unwrap().files.remove(&format!("/debian/{}", pool_path(name, version))).unwrap()
    }

    fn break_file(&self, name: &str, version: &str) {
        self.shelf.lock().unwrap().broken.insert(format!("/debian/{}", pool_path(name, version)));
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let output = Command::new(env!("CARGO_BIN_EXE_oclock"))
            .args(["--progress", "never"])
            .args(arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .env("HOME", self.directory.path().join("home"))
            .env("OCLOCK_STORE", self.store_path())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Outcome { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Runs what must succeed, and gives its answer.
    fn answer(&self, arguments: &[&str]) -> String {
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, 0, "{arguments:?}: {}", outcome.stderr);
        outcome.stdout
    }

    /// Locks, and lets the lock record an image as `build --record` would.
    fn lock_and_record(&self) -> String {
        self.answer(&["update"]);
        let mut lock = self.lock();
        let image = ImagePin { id: Sha256::of("i"), digest: Sha256::of("d"), context: Sha256::of("c") };
        lock.images.insert(Platform::LINUX_AMD64, image);
        fs::write(self.lock_path(), render_lockfile(&lock)).unwrap();
        self.lock_text()
    }

    fn lock(&self) -> Lockfile {
        parse_lockfile(&self.lock_text(), "lockfile.toml").unwrap()
    }

    fn lock_text(&self) -> String {
        fs::read_to_string(self.lock_path()).unwrap()
    }

    fn lock_path(&self) -> PathBuf {
        self.directory.path().join("lockfile.toml")
    }

    fn store_path(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    fn versions(&self) -> Vec<String> {
        self.lock().apt.iter().map(|pin| format!("{} {}", pin.name, pin.version)).collect()
    }

    /// Everything the lock says follows from signed lists that are in the store.
    fn verify_chain(&self) {
        let key = Keyring::parse(&fs::read(self.directory.path().join("key.asc")).unwrap()).unwrap();
        let names = ["debian", "debian-security"].map(|name| (SourceName::parse(name).unwrap(), key.clone()));
        let store = Store::open(self.store_path()).unwrap();
        verify_chain(&self.lock(), &store, &BTreeMap::from(names)).unwrap();
    }
}

fn serve(shelf: Arc<Mutex<Shelf>>, asked: Arc<Mutex<Vec<String>>>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (shelf, asked) = (shelf.clone(), asked.clone());
            std::thread::spawn(move || respond(stream.unwrap(), &shelf, &asked));
        }
    });
    address
}

fn respond(mut stream: TcpStream, shelf: &Mutex<Shelf>, asked: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(path) = lines.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned)) else { return };
    lines.by_ref().find(String::is_empty);
    asked.lock().unwrap().push(path.clone());
    let (status, body) = {
        let shelf = shelf.lock().unwrap();
        match shelf.files.get(&path) {
            _ if shelf.broken.contains(&path) => ("503 Service Unavailable", Vec::new()),
            Some(bytes) => ("200 OK", bytes.clone()),
            None => ("404 Not Found", Vec::new()),
        }
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), &body].concat()).ok();
}

fn pool_path(name: &str, version: &str) -> String {
    format!("pool/{name}_{version}_amd64.deb")
}

fn control((name, version, fields): &Package<'_>) -> String {
    let fields: String =
        fields.split(';').map(str::trim).filter(|field| !field.is_empty()).map(|field| format!("{field}\n")).collect();
    format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\n{fields}")
}

/// A package without files.
fn deb(control: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(control.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    archive.append_data(&mut header, Path::new("./control"), control.as_bytes()).unwrap();
    let empty = tar::Builder::new(Vec::new()).into_inner().unwrap();
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, data) in
        [("debian-binary", b"2.0\n".to_vec()), ("control.tar", archive.into_inner().unwrap()), ("data.tar", empty)]
    {
        bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100644, data.len()).into_bytes());
        bytes.extend(&data);
        bytes.extend(vec![b'\n'; data.len() % 2]);
    }
    bytes
}

/// A package without dependencies as a registry has it: its document and its tarball.
fn npm_package(name: &str, version: &str, registry: &str) -> (String, Vec<u8>) {
    let about = format!(r#"{{"name":"{name}","version":"{version}"}}"#);
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(about.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    archive.append_data(&mut header, "package/package.json", about.as_bytes()).unwrap();
    let tarball = archive.into_inner().unwrap().finish().unwrap();
    let integrity = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        oclock::model::Sha512::of(&tarball).as_bytes(),
    );
    let document = serde_json::json!({
        "name": name,
        "dist-tags": { "latest": version },
        "versions": { version: {
            "name": name,
            "version": version,
            "dist": { "tarball": format!("{registry}{name}/-/{name}-{version}.tgz"), "integrity": format!("sha512-{integrity}") },
        } },
    });
    (document.to_string(), tarball)
}

const BASE: Package<'static> = ("base", "1", "Essential: yes");
const WEEK: i64 = 7 * 86_400;

#[test]
fn nothing_changes_while_everything_can_be_had() {
    let bench = Bench::new(&["tool"]);
    bench.publish(WEEK, &[BASE, ("tool", "1", "Depends: lib"), ("lib", "1", "")]);
    let before = bench.lock_and_record();
    bench.asked.lock().unwrap().clear();
    assert_eq!(bench.answer(&["update", "--pruned"]), "3 pins, nothing changed\n");
    assert_eq!(bench.lock_text(), before);
    assert!(
        bench.asked.lock().unwrap().iter().all(|path| path.ends_with("InRelease")),
        "what is listed is not asked for"
    );

    // Superseded, and still there.
    bench.publish(0, &[BASE, ("tool", "2", "Depends: lib"), ("lib", "1", "")]);
    assert_eq!(bench.answer(&["update", "--pruned"]), "3 pins, nothing changed\n");
    assert_eq!(bench.lock_text(), before);
    assert!(bench.asked.lock().unwrap().contains(&format!("/debian/{}", pool_path("tool", "1"))));
}

#[test]
fn only_what_is_gone_moves() {
    let bench = Bench::new(&["tool=*", "other"]);
    let old = [
        BASE,
        ("tool", "1", "Depends: lib, a | b"),
        ("lib", "1", ""),
        ("other", "1", "Depends: lib, b"),
        ("b", "1", ""),
    ];
    bench.publish(WEEK, &old);
    let before = bench.lock_and_record();
    // What was not there before and would be taken today is no reason to move.
    let a = ("a", "1", "");
    bench.publish(
        0,
        &[
            BASE,
            ("tool", "2", "Depends: lib, a | b"),
            ("lib", "2", ""),
            ("other", "2", "Depends: lib, b"),
            ("b", "1", ""),
            a,
        ],
    );
    // The store of this machine has it, but no other machine can get it.
    let file = bench.drop_file("tool", "1");
    Store::open(bench.store_path()).unwrap().add_blob(&file).unwrap();

    let shown = bench.run(&["update", "--pruned", "--dry-run", "--exit-code"]);
    assert_eq!((shown.code, bench.lock_text()), (1, before.clone()));
    assert_eq!(
        bench.answer(&["update", "--pruned"]),
        "apt:tool 1 -> 2  major  for tool=*\nthe recorded image for linux/amd64 no longer holds and was dropped\n5 pins, the lockfile was written\n"
    );
    assert_eq!(bench.versions(), ["b 1", "base 1", "lib 1", "other 1", "tool 2"]);
    let (old, new) = (parse_lockfile(&before, "old").unwrap(), bench.lock());
    let kept = |lock: &Lockfile| lock.apt.iter().filter(|pin| pin.name.as_str() != "tool").cloned().collect::<Vec<_>>();
    assert_eq!(kept(&new), kept(&old));
    assert!(new.images.is_empty());
    let dates = |lock: &Lockfile, suite| lock.archives.iter().filter(|pin| pin.suite == suite).count();
    assert_eq!((dates(&new, "test"), dates(&new, "test-security")), (2, 1), "the old list vouches for what was kept");
    assert!(new.epoch > old.epoch && new.epoch == new.archives.iter().map(|pin| pin.date).max().unwrap());
    bench.verify_chain();

    assert_eq!(bench.answer(&["update", "--check"]), "");
    let after = bench.lock_text();
    assert_eq!(bench.answer(&["update", "--pruned"]), "5 pins, nothing changed\n");
    assert_eq!(bench.lock_text(), after);
}

#[test]
fn what_holds_together_moves_together() {
    let bench = Bench::new(&["tool", "other"]);
    let tool = |version| ("tool", version, "Depends: lib");
    bench.publish(
        WEEK,
        &[
            BASE,
            tool("1"),
            ("lib", "1", "Depends: data (= 1), old"),
            ("data", "1", ""),
            ("old", "1", ""),
            ("other", "1", ""),
        ],
    );
    bench.lock_and_record();
    bench.publish(
        0,
        &[
            BASE,
            tool("2"),
            ("lib", "2", "Depends: data (= 2), new"),
            ("data", "2", ""),
            ("new", "1", ""),
            ("other", "2", ""),
        ],
    );
    bench.drop_file("data", "1");
    assert_eq!(
        bench.answer(&["update", "--pruned"]),
        "apt:data 1 -> 2  major  for tool via lib\napt:lib 1 -> 2, which the others force  major  for tool\n\
         + apt:new 1  new  +3.3 kB  for tool via lib\n- apt:old 1  gone  -3.3 kB  for tool via lib\n\
         the recorded image for linux/amd64 no longer holds and was dropped\n6 pins, the lockfile was written\n"
    );
    assert_eq!(bench.versions(), ["base 1", "data 2", "lib 2", "new 1", "other 1", "tool 1"]);
    bench.verify_chain();
}

#[test]
fn what_is_in_the_way_of_the_new_moves_too() {
    let bench = Bench::new(&["tool", "other"]);
    bench.publish(
        WEEK,
        &[BASE, ("tool", "1", "Depends: lib"), ("lib", "1", ""), ("other", "1", ""), ("plugin", "1", "")],
    );
    bench.lock_and_record();
    bench.publish(
        0,
        &[BASE, ("tool", "2", "Depends: lib (>= 2); Breaks: other (<< 2)"), ("lib", "2", ""), ("other", "2", "")],
    );
    bench.drop_file("tool", "1");
    let answer = bench.answer(&["update", "--pruned", "--format", "json"]);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["gone"], serde_json::json!(["apt:tool 1"]));
    assert_eq!(answer["diff"]["pins"][0]["changes"][0]["version"], "up");
    assert_eq!(bench.versions(), ["base 1", "lib 2", "other 2", "tool 2"]);
}

#[test]
fn a_source_that_fails_is_not_taken_for_one_that_dropped_the_file() {
    let bench = Bench::new(&["tool"]);
    bench.publish(WEEK, &[BASE, ("tool", "1", "")]);
    let before = bench.lock_and_record();
    bench.publish(0, &[BASE, ("tool", "2", "")]);
    bench.break_file("tool", "1");
    let outcome = bench.run(&["update", "--pruned"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (3, ""), "{}", outcome.stderr);
    assert!(
        outcome.stderr.starts_with("error: it is not known whether `apt:tool 1` can still be had\n"),
        "{}",
        outcome.stderr
    );
    let offline = bench.run(&["update", "--pruned", "--offline"]);
    assert_eq!(offline.code, 3, "{}", offline.stderr);
    assert_eq!(bench.lock_text(), before);
}

#[test]
fn an_npm_package_that_is_gone_moves_where_another_version_answers() {
    let bench = Bench::new(&["tool"]);
    bench.publish(WEEK, &[BASE, ("tool", "1", "")]);
    let manifest = bench.directory.path().join("oclock.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let registry = format!("{}npm/", text.split('"').find_map(|word| word.strip_suffix("debian/")).unwrap());
    let asked = "[npm]\nnode = \"20.19.2\"\n\n[npm.packages]\nleft = \"1\"\n";
    fs::write(&manifest, format!("{text}\n{asked}\n[sources.npm]\nkind = \"npm\"\nurl = \"{registry}\"\n")).unwrap();
    let (document, tarball) = npm_package("left", "1.0.0", &registry);
    let files = |change: &dyn Fn(&mut Files)| change(&mut bench.shelf.lock().unwrap().files);
    files(&|files| {
        files.insert("/npm/left".into(), document.clone().into());
        files.insert("/npm/left/-/left-1.0.0.tgz".into(), tarball.clone());
    });
    let before = bench.lock_and_record();
    assert_eq!(bench.answer(&["update", "--pruned"]), "3 pins, nothing changed\n");
    files(&|files| drop(files.remove("/npm/left/-/left-1.0.0.tgz").unwrap()));
    let outcome = bench.run(&["update", "--pruned"]);
    assert_eq!((outcome.code, bench.lock_text()), (3, before.clone()), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("error: no version of `left` answers `1`\n"), "{}", outcome.stderr);
    let (newer, tarball) = npm_package("left", "1.1.0", &registry);
    let mut merged: serde_json::Value = serde_json::from_str(&document).unwrap();
    let newer: serde_json::Value = serde_json::from_str(&newer).unwrap();
    merged["versions"]["1.1.0"] = newer["versions"]["1.1.0"].clone();
    files(&|files| {
        files.insert("/npm/left".into(), merged.to_string().into());
        files.insert("/npm/left/-/left-1.1.0.tgz".into(), tarball.clone());
    });
    let answer = bench.answer(&["update", "--pruned"]);
    assert!(answer.starts_with("npm:left 1.0.0 -> 1.1.0"), "{answer}");
    assert_eq!(bench.lock().apt, parse_lockfile(&before, "before").unwrap().apt);
}

#[test]
fn what_cannot_move_alone_is_refused() {
    let bench = Bench::new(&["tool"]);
    let none = bench.run(&["update", "--pruned"]);
    assert_eq!(none.code, 2, "{}", none.stderr);
    bench.publish(WEEK, &[BASE, ("tool", "1", "")]);
    let before = bench.lock_and_record();
    bench.publish(0, &[BASE, ("tool", "2", "Depends: missing")]);
    bench.drop_file("tool", "1");
    let outcome = bench.run(&["update", "--pruned"]);
    assert_eq!((outcome.code, bench.lock_text()), (3, before), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("nothing is or provides missing"), "{}", outcome.stderr);
    let both = bench.run(&["update", "--pruned", "--check"]);
    assert_eq!(both.code, 2, "{}", both.stderr);
}

/// A new machine: nothing in the store.
fn forget(bench: &Bench) {
    fs::remove_dir_all(bench.store_path()).unwrap();
}

#[test]
fn a_later_signed_index_vouches_where_the_locked_one_is_gone() {
    let bench = Bench::new(&["tool"]);
    bench.publish(WEEK, &[BASE, ("tool", "1", "")]);
    bench.answer(&["update"]);

    bench.publish(0, &[BASE, ("tool", "1", ""), ("more", "1", "")]);
    forget(&bench);
    assert!(bench.answer(&["fetch"]).ends_with("replaced by the archive since; those of today vouch in their place\n"));
    bench.verify_chain();
    let verified = bench.answer(&["verify", "--offline"]);
    assert!(
        verified.contains("2 signed archives vouch for 2 Debian pins, 1 by a later index of its suite"),
        "{verified}"
    );

    // Without a fetch before, the registries are asked in the same run.
    forget(&bench);
    let unproven = bench.run(&["verify", "--offline"]);
    assert_eq!(unproven.code, 1, "{}", unproven.stdout);
    for path in bench.lock().pins().map(|pin| pin.artifact.path.to_string()) {
        let file = bench.shelf.lock().unwrap().files[&format!("/debian/{path}")].clone();
        Store::open(bench.store_path()).unwrap().add_blob(&file).unwrap();
    }
    let online = bench.answer(&["verify", "--online"]);
    assert!(online.contains("by a later index of its suite"), "{online}");
}

#[test]
fn a_later_index_proves_only_what_it_lists_and_an_older_one_nothing() {
    let bench = Bench::new(&["tool"]);
    bench.publish(WEEK, &[BASE, ("tool", "1", "")]);
    bench.answer(&["update"]);
    let fresh = |age: i64, tool: &str| {
        bench.publish(age, &[BASE, ("tool", tool, "")]);
        forget(&bench);
        bench.answer(&["fetch"]);
        bench.run(&["verify", "--offline"])
    };
    let superseded = fresh(0, "2");
    assert_eq!(superseded.code, 1, "{}", superseded.stdout);
    assert!(superseded.stdout.contains("`apt:tool 1` cannot be traced to a signed index"), "{}", superseded.stdout);
    assert!(!superseded.stdout.contains("apt:base"), "{}", superseded.stdout);
    let older = fresh(3 * WEEK, "1");
    assert_eq!(older.code, 1, "{}", older.stdout);
    assert!(older.stdout.contains("not in the store and not checked"), "{}", older.stdout);
}
