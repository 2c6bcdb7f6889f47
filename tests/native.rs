//! The built-in engine for real: what a hostile step can and cannot do, what is left when something is ended, and that all
//! of it holds for root and for an ordinary user alike. Needs root (to make that user), busybox-static and uidmap.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

#[path = "native/build.rs"]
mod build;
#[path = "native/hostile.rs"]
mod hostile;
#[path = "native/user.rs"]
mod user;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use oclock::base::environment::Environment;
use oclock::base::explain::Explain;
use oclock::base::progress::Progress;
use oclock::base::tar::{TarMeta, TarWriter};
use oclock::engine::{BuildRequest, Engine, EngineChoice, EngineError, Known, find};
use oclock::image::{Encoding, SealRequest, SealedImage, config_of, seal};
use oclock::model::Platform;
use oclock::store::Store;

const BUSYBOX: &str = "/bin/busybox";
const EPOCH: i64 = 1_760_000_000;

/// The engine as the real program would start it.
fn engine() -> Box<dyn Engine> {
    let environment = Environment::from_variables(std::env::vars_os()).with_program(env!("CARGO_BIN_EXE_oclock"));
    find(EngineChoice::Native, &environment).unwrap_or_else(|error| panic!("{error}: {:?}", error.evidence()))
}

/// Limits of one build.
#[derive(Clone, Copy)]
struct May {
    take: Duration,
    have: Option<u64>,
}

const USUAL: May = May { take: Duration::from_secs(300), have: None };

/// A directory with a context whose root has a busybox.
struct Bench {
    directory: tempfile::TempDir,
}

/// What came of a build: the image or the error, and every line that the steps wrote.
struct Outcome {
    result: Result<SealedImage, EngineError>,
    lines: Vec<String>,
}

impl Outcome {
    /// What the steps wrote, without their own text.
    fn said(&self) -> String {
        let lines: Vec<&str> =
            self.lines.iter().map(String::as_str).filter(|line| !line.starts_with("step ")).collect();
        lines.join("\n")
    }

    fn success(self) -> String {
        let said = self.said();
        match &self.result {
            Ok(_) => said,
            Err(error) => panic!("{error}: {:?}\n{:?}\n{said}", std::error::Error::source(error), error.evidence()),
        }
    }

    /// The error's first line and its cause.
    fn failure(self) -> String {
        let error = self.result.unwrap_err();
        assert_eq!(error.kind().exit_code(), 3, "{error}");
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}\n{cause}\n{}", error.evidence().join("\n"))
    }
}

impl Bench {
    fn new() -> Self {
        let bench = Self { directory: tempfile::tempdir().unwrap() };
        for part in ["context/files", "scratch", "store"] {
            fs::create_dir_all(bench.path(part)).unwrap();
        }
        fs::write(bench.path("context/root.tar"), root_tar()).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Builds `FROM scratch`, the root, and these lines; then nothing may be left of it.
    fn build(&self, lines: &str, may: May) -> Outcome {
        let text = format!("FROM scratch\nADD root.tar /\n{lines}\n");
        self.write("context/Containerfile", &text);
        let _alone = alone();
        let (context, scratch) = (self.path("context"), self.path("scratch"));
        let request = BuildRequest {
            context: &context,
            scratch: &scratch,
            memory_scratch: None,
            limit: may.take,
            memory: may.have,
            known: Known::default(),
        };
        let mut said = Vec::new();
        let result = engine().build(&request, &mut |line| said.push(line.to_owned())).map(|root| {
            let store = Store::open(self.path("store")).unwrap();
            let config = config_of(&text).unwrap();
            let request = SealRequest {
                epoch: EPOCH,
                platform: Platform::LINUX_AMD64,
                config: &config,
                origins: &[],
                encoding: Encoding::Later,
            };
            seal(&root, &request, &store, &Progress::hidden()).unwrap()
        });
        assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "something is left in scratch");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let here = self.directory.path().to_str().unwrap();
        assert!(!mounts.contains(here), "a mount is left:\n{mounts}");
        assert_eq!(own_groups(), Vec::<PathBuf>::new(), "a control group is left");
        Outcome { result, lines: said }
    }
}

/// One build at a time in this process, so that what it leaves can be told from what another uses.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Control groups that this process made.
fn own_groups() -> Vec<PathBuf> {
    groups_of(std::process::id())
}

fn groups_of(process: u32) -> Vec<PathBuf> {
    fn walk(directory: &Path, name: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().starts_with(name) {
                    found.push(entry.path());
                }
                walk(&entry.path(), name, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), &format!("oclock-{process}-"), &mut found);
    found
}

/// A root of busybox with every applet by its name.
fn root_tar() -> Vec<u8> {
    let busybox = fs::read(BUSYBOX).unwrap_or_else(|_| panic!("{BUSYBOX} is missing: apt-get install busybox-static"));
    let mut writer = TarWriter::new(Vec::new(), EPOCH);
    for (path, mode) in [("bin", 0o755), ("etc", 0o755), ("opt", 0o755), ("tmp", 0o1777), ("var", 0o755)] {
        writer.directory(Path::new(path), &TarMeta::root(mode)).unwrap();
    }
    writer.file(Path::new("bin/busybox"), &TarMeta::root(0o755), busybox.len() as u64, &mut &*busybox).unwrap();
    let passwd = b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/var/www:/bin/sh\n";
    writer.file(Path::new("etc/passwd"), &TarMeta::root(0o644), passwd.len() as u64, &mut &passwd[..]).unwrap();
    let applets = std::process::Command::new(BUSYBOX).arg("--list").output().unwrap();
    for applet in String::from_utf8(applets.stdout).unwrap().lines().filter(|applet| *applet != "busybox") {
        writer.symlink(&Path::new("bin").join(applet), &TarMeta::root(0o777), "busybox".as_ref()).unwrap();
    }
    writer.finish().unwrap()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a process of the host has this argument.
fn is_running(argument: &str) -> bool {
    let processes =
        fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    processes.into_iter().any(|line| line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes()))
}

/// A number that no other process has among its arguments.
fn own_number(part: u32) -> String {
    format!("{part}{}", std::process::id())
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..1200 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("waited too long for {what}");
}
