//! What the built-in engine keeps: which steps run again after which change, that the image is the one of a build that keeps
//! nothing, and that nothing damaged is used. Needs root or subordinate IDs, and busybox-static.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on may stop")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use oclock::base::environment::Environment;
use oclock::base::explain::Explain;
use oclock::base::progress::Progress;
use oclock::base::tar::{TarMeta, TarWriter};
use oclock::engine::{BuildRequest, BuiltRoot, EngineChoice, EngineError, Known, Results, Split, find};
use oclock::image::{Encoding, Origin, SealRequest, config_of, seal};
use oclock::model::{Platform, Sha256};
use oclock::store::Store;
use serde_json::json;

use support::project::Project;
use support::registries::Registries;

/// A step for each directory of `/v`, which sees the shell and nothing else of the root.
const EACH: &str =
    "for f in /v/*.in /v/*/*.in; do [ -e $f ] || continue; read t < $f; echo \"made of $t\" > ${f%.in}.out; done";

struct Bench {
    directory: tempfile::TempDir,
    /// The line of the step of parts.
    each: String,
}

/// The image, and of each RUN how many parts were carried out and kept.
type Told = (Sha256, Vec<(usize, usize)>);

impl Bench {
    fn new() -> Self {
        let bench = Self { directory: tempfile::tempdir().unwrap(), each: EACH.to_owned() };
        fs::create_dir(bench.path("context")).unwrap();
        fs::write(bench.path("context/root.tar"), root_tar()).unwrap();
        for (name, text) in [("v/a/x", "one"), ("v/b/y", "two"), ("v/z", "three"), ("own/file", "mine")] {
            bench.write(&format!("{name}.in"), text);
        }
        let text = format!(
            "FROM scratch\nADD root.tar /\nRUN echo > /seen && mkdir /srv && chown 7:8 /srv && rm /bin/yes\nCOPY v /v\nRUN {EACH}\n\
             COPY own /own\nRUN cat /own/file.in /v/a/x.out > /srv/all && mv /own/file.in /own/moved\n"
        );
        bench.write("Containerfile", &text);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path("context").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    /// Changes the Containerfile.
    fn replace(&mut self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("context/Containerfile")).unwrap();
        assert!(text.contains(from), "{from}");
        self.write("Containerfile", &text.replace(from, to));
        self.each = self.each.replace(from, to);
    }

    fn store(&self) -> Store {
        Store::open(self.path("store")).unwrap()
    }

    fn root(&self, store: Option<&Store>, results: Results) -> BuiltRoot {
        self.root_in(None, store, results)
    }

    fn root_in(&self, memory: Option<&Path>, store: Option<&Store>, results: Results) -> BuiltRoot {
        let root = self.try_root(memory, store, results);
        root.unwrap_or_else(|error| panic!("{error}: {:?}", error.evidence()))
    }

    fn try_root(
        &self,
        memory: Option<&Path>,
        store: Option<&Store>,
        results: Results,
    ) -> Result<BuiltRoot, EngineError> {
        let environment = Environment::from_variables(std::env::vars_os()).with_program(env!("CARGO_BIN_EXE_oclock"));
        let engine = find(EngineChoice::Native, &environment).unwrap_or_else(|error| panic!("{:?}", error.evidence()));
        let (context, scratch) = (self.path("context"), tempfile::tempdir_in(self.directory.path()).unwrap());
        let sees = ["/bin/busybox", "/bin/sh"].map(str::to_owned).to_vec();
        let splits = [Split { line: self.each.clone(), directory: "/v".into(), suffix: ".in".into(), sees }];
        let request = BuildRequest {
            context: &context,
            scratch: scratch.path(),
            memory_scratch: memory,
            limit: Duration::from_secs(120),
            memory: None,
            known: Known { digests: None, store, results, splits: &splits },
        };
        engine.build(&request, &mut |_| {})
    }

    fn build_with(&self, store: Option<&Store>, results: Results) -> Told {
        self.seal(&self.root(store, results))
    }

    fn seal(&self, root: &BuiltRoot) -> Told {
        let sealed = Store::open(self.path("sealed")).unwrap();
        let config = config_of(&fs::read_to_string(self.path("context/Containerfile")).unwrap()).unwrap();
        let origins = [Origin { name: "files".into(), roots: vec!["/v".into()] }];
        let request = SealRequest {
            epoch: 9,
            platform: Platform::LINUX_AMD64,
            config: &config,
            origins: &origins,
            encoding: Encoding::Later,
        };
        let image = seal(root, &request, &sealed, &Progress::hidden()).unwrap();
        (image.id, root.steps.iter().map(|step| (step.ran, step.kept)).collect())
    }

    /// With what is kept; the image must be that of a build that keeps and knows nothing.
    fn build(&self) -> Vec<(usize, usize)> {
        let (id, steps) = self.build_with(Some(&self.store()), Results::Used);
        let (anew, all) = self.build_with(None, Results::Made);
        assert_eq!(id, anew, "what is kept gives another image");
        assert_eq!(all, [(1, 0), (1, 0), (1, 0)]);
        steps
    }
}

/// A root of busybox with its applets.
fn root_tar() -> Vec<u8> {
    let busybox = fs::read("/bin/busybox").expect("apt-get install busybox-static");
    let mut writer = TarWriter::new(Vec::new(), 9);
    writer.directory(Path::new("bin"), &TarMeta::root(0o755)).unwrap();
    writer.file(Path::new("bin/busybox"), &TarMeta::root(0o755), busybox.len() as u64, &mut &*busybox).unwrap();
    writer.hard_link(Path::new("bin/again"), &TarMeta::root(0o755), Path::new("bin/busybox")).unwrap();
    for applet in ["sh", "cat", "chown", "mkdir", "mv", "rm", "sleep", "yes", "test"] {
        writer.symlink(&Path::new("bin").join(applet), &TarMeta::root(0o777), "busybox".as_ref()).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn only_what_depends_on_a_change_runs_again() {
    let bench = Bench::new();
    assert_eq!(bench.build(), [(1, 0), (3, 0), (1, 0)], "the first build");
    assert_eq!(bench.build(), [(0, 1), (0, 3), (0, 1)], "nothing changed");
    bench.write("own/file.in", "changed");
    assert_eq!(bench.build(), [(0, 1), (0, 3), (1, 0)], "a file of the last step");
    bench.write("v/b/y.in", "changed");
    assert_eq!(bench.build(), [(0, 1), (1, 2), (1, 0)], "one part");
    bench.write("v/z.in", "changed");
    bench.write("v/c/new.in", "new");
    fs::remove_dir_all(bench.path("context/v/a")).unwrap();
    bench.write("v/a/x.in", "one");
    assert_eq!(bench.build(), [(0, 1), (2, 2), (1, 0)], "a loose file and a new part");
    bench.write("v/b/y.in", "two");
    assert_eq!(bench.build()[1], (0, 4), "what was kept before");
    fs::remove_dir_all(bench.path("context/v/b")).unwrap();
    assert_eq!(bench.build()[1], (0, 3), "a part that is gone");
    bench.write("v/b/y.in", "two");
    let text = fs::read_to_string(bench.path("context/Containerfile")).unwrap();
    fs::write(bench.path("context/Containerfile"), text.replace("chown 7:8", "chown 7:9")).unwrap();
    assert_eq!(bench.build(), [(1, 0), (0, 4), (1, 0)], "the first step: the parts see nothing of what it changed");
    let (_, steps) = bench.build_with(Some(&bench.store()), Results::Made);
    assert_eq!(steps, [(1, 0), (4, 0), (1, 0)], "nothing kept is used");
}

/// A file system in memory of its own, gone when dropped.
struct Memory {
    directory: tempfile::TempDir,
}

impl Memory {
    fn mount(size: &str) -> Self {
        let memory = Self { directory: tempfile::tempdir().unwrap() };
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(memory.directory.path());
        assert!(mount.status().unwrap().success());
        memory
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        Command::new("umount").arg(self.directory.path()).status().ok();
    }
}

#[test]
fn a_root_in_memory_gives_the_same_image_and_one_without_room_is_built_on_the_disk() {
    let bench = Bench::new();
    let told = bench.build_with(None, Results::Made);
    for (size, notes) in [("1g", 0), ("1m", 1)] {
        let memory = Memory::mount(size);
        let root = bench.root_in(Some(memory.directory.path()), Some(&bench.store()), Results::Made);
        assert_eq!(root.notes.len(), notes, "{size}: {:?}", root.notes);
        assert_eq!(bench.seal(&root).0, told.0, "{size}");
        drop(root);
        assert_eq!(fs::read_dir(memory.directory.path()).unwrap().count(), 0, "{size}: something is left");
    }
}

/// How many kept results hold what the parts made.
fn results_of_parts(store: &Store) -> usize {
    let holds = |digest: &Sha256| {
        let bytes = fs::read(store.blob_path(digest)).unwrap();
        bytes.windows(11).any(|window| window == b"made of two")
    };
    store.blobs().unwrap().iter().filter(|(digest, _)| holds(digest)).count()
}

#[test]
fn a_step_begun_ahead_of_its_turn_counts_only_where_it_saw_the_same() {
    // Otherwise, the first step changes what the parts see: what was made ahead of it is of no use.
    for (change, results) in [("true", 1), ("ln -s busybox /bin/sh2", 2)] {
        let mut bench = Bench::new();
        // Says when it ran, so that no two results are the same.
        bench.replace(EACH, &format!("read u v < /proc/uptime; {}", EACH.replace("$t", "$t at $u")));
        bench.replace("rm /bin/yes", &format!("rm /bin/yes && {change}"));
        let store = bench.store();
        let (_, steps) = bench.build_with(Some(&store), Results::Made);
        assert_eq!(steps, [(1, 0), (3, 0), (1, 0)], "{change}");
        assert_eq!(results_of_parts(&store), results, "{change}");
    }
}

#[test]
fn a_step_that_fails_ends_what_was_begun_ahead() {
    let mut bench = Bench::new();
    bench.replace(EACH, &EACH.replace("read t", "busybox sleep 5; read t"));
    bench.replace("RUN echo > /seen", "RUN busybox sleep 1; false && echo");
    let store = bench.store();
    let error = bench.try_root(None, Some(&store), Results::Used).unwrap_err();
    assert!(error.to_string().starts_with("step 2"), "{error}");
    assert_eq!(results_of_parts(&store), 0, "it was waited for");
}

#[test]
fn builds_at_the_same_time_agree() {
    let bench = Bench::new();
    let told: Vec<Told> = std::thread::scope(|scope| {
        let builds: Vec<_> =
            (0..3).map(|_| scope.spawn(|| bench.build_with(Some(&bench.store()), Results::Used))).collect();
        builds.into_iter().map(|build| build.join().unwrap()).collect()
    });
    assert!(told.iter().all(|(id, _)| *id == told[0].0), "{told:?}");
}

/// The archives of kept results, and what is in the middle of each changed.
fn damage_results(store: &Store, needle: &[u8]) -> usize {
    let mut damaged = 0;
    for (digest, _) in store.blobs().unwrap() {
        let path = store.blob_path(&digest);
        let mut bytes = fs::read(&path).unwrap();
        if let Some(place) = bytes.windows(needle.len()).position(|window| window == needle) {
            bytes[place] ^= 1;
            fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    damaged
}

#[test]
fn a_damaged_result_is_made_again() {
    let bench = Bench::new();
    let store = bench.store();
    let (id, _) = bench.build_with(Some(&store), Results::Used);
    // A header: found before anything is used.
    assert_eq!(damage_results(&store, b"srv/all\0"), 1);
    let root = bench.root(Some(&store), Results::Used);
    assert_eq!(root.steps.iter().map(|step| step.ran).collect::<Vec<_>>(), [0, 0, 1]);
    assert!(root.notes.len() == 1 && root.notes[0].contains("was damaged"), "{:?}", root.notes);
    // A content: found when a step needs it on the disk, and all begins again.
    assert_eq!(damage_results(&store, b"made of one"), 2);
    bench.write("own/file.in", "changed");
    let root = bench.root(Some(&store), Results::Used);
    assert_eq!(root.steps.iter().map(|step| step.ran).collect::<Vec<_>>(), [0, 3, 1]);
    assert!(root.notes.iter().any(|note| note.contains("was damaged")), "{:?}", root.notes);
    bench.write("own/file.in", "mine");
    assert_eq!(bench.build_with(Some(&store), Results::Used).0, id);
}

const MANIFEST: &str = "[image]\nname = \"small\"\nbase = { debian = \"trixie\" }\n\n[apt]\npackages = [\"shell\"]\n";

fn project(registries: &Registries, lines: &str) -> Project {
    let project = Project::with(registries);
    project.write("oclock.toml", MANIFEST);
    project.write("context/app/hello.txt", "hello\n");
    project.write(
        "Containerfile.in",
        format!("FROM {{{{ base }}}}\n{{{{ apt.install }}}}\n{lines}\nCOPY app/ /app/\nCMD [\"/bin/sh\"]\n"),
    );
    let answer = project.run(&["update"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    project
}

fn built(project: &Project, more: &[&str]) -> (String, String) {
    let answer = project.run(&[&["-v", "build", "--engine", "native", "--no-load"], more].concat());
    assert_eq!(answer.code, 0, "{answer:?}");
    (answer.stdout, answer.stderr)
}

#[test]
fn the_program_keeps_what_it_may_and_gives_it_up() {
    let mut registries = Registries::serve();
    registries.shell();
    let project = project(&registries, "RUN cat /bin/sh > /kept");
    let (first, said) = built(&project, &[]);
    assert_eq!(said.matches("1 part carried out, 0 kept results").count(), 2, "{said}");
    project.write("context/app/hello.txt", "other\n");
    let (second, said) = built(&project, &[]);
    assert_eq!(said.matches("0 parts carried out, 1 kept result").count(), 2, "{said}");
    assert_ne!(first, second);
    assert_eq!(built(&project, &["--no-reuse"]).0, second);

    let size = project.run(&["store", "size"]);
    for kind in ["parts", "steps", "images", "artifacts"] {
        assert!(size.stdout.contains(&format!("\n  {kind} ")), "{size:?}");
    }
    fs::write(project.store().join("tmp/unfinished"), "left").unwrap();
    let kept = project.run(&["--format", "json", "store", "gc"]);
    assert!(kept.stdout.contains("\"removed\":0,") && kept.stdout.contains("\"unfinished\":1"), "{kept:?}");
    let gone = project.run(&["store", "gc", "--max-size", "0"]);
    assert!(gone.code == 0 && gone.stdout.ends_with("; 0 blobs left, 0 B\n"), "{gone:?}");
    let (third, said) = built(&project, &[]);
    assert!(third == second && said.matches("1 part carried out").count() == 2, "{said}");
    for wrong in ["much", "3Q"] {
        assert_eq!(project.run(&["store", "gc", "--max-size", wrong]).code, 2);
    }
}

/// Scripts of a package find the commands of what is installed with it, and see nothing of the other directories.
#[test]
fn scripts_of_npm_run_again_only_where_something_beside_them_changed() {
    let mut registries = Registries::serve();
    registries.shell();
    registries.npm("tool", "1.0.0", json!({ "bin": "index.js" }));
    let script = "command -v tool > found; ls /b >> found; true";
    registries.npm("stub", "1.0.0", json!({ "dependencies": { "tool": "1" }, "scripts": { "postinstall": script } }));
    let project = Project::with(&registries);
    let npm = "[npm]\nscripts = [\"stub\"]\nprojects.\"/a\" = { stub = \"1\" }\nprojects.\"/b\" = { shout = \"2\" }\n";
    project.write("oclock.toml", MANIFEST.replace("[\"shell\"]", "[\"shell\", \"nodejs\"]") + npm);
    let check =
        "test \"$(cat /a/node_modules/stub/found)\" = /a/node_modules/.bin/tool && test -e /b/node_modules/shout";
    project.write(
        "Containerfile.in",
        format!("FROM {{{{ base }}}}\n{{{{ apt.install }}}}\n{{{{ npm.install }}}}\nRUN {check}\n"),
    );
    let build = |changed: &str| {
        let answer = project.run(&["update"]);
        assert_eq!(answer.code, 0, "{answer:?}");
        let (id, said) = built(&project, &[]);
        let ran = said.matches("1 part carried out, 0 kept results").count();
        assert_eq!(built(&project, &["--no-reuse"]).0, id, "{changed}");
        ran
    };
    assert_eq!(build("nothing yet"), 3);
    registries.npm("pad-left", "1.3.1", json!({}));
    assert_eq!(build("another directory"), 1);
    registries.npm("tool", "1.0.1", json!({ "bin": "index.js" }));
    assert_eq!(build("beside the script"), 2);
}

#[test]
fn what_a_running_build_uses_stays() {
    let mut registries = Registries::serve();
    registries.shell();
    let began = format!("began-{}", std::process::id());
    let project = project(&registries, &format!("RUN echo > /{began}; /bin/busybox sleep 600"));
    for place in [&[][..], &["--memory", "512"]] {
        stays(&project, &[&["build", "--engine", "native"], place].concat(), &began);
    }
}

fn stays(project: &Project, build: &[&str], began: &str) {
    let mut build = project.command(build);
    let mut build = build.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    for _ in 0..1200 {
        if project.scratch_with(began).is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let scratch = project.scratch_with(began);
    let refused = project.run(&["store", "gc", "--max-size", "0"]);
    assert_eq!(
        (refused.code, refused.stderr.lines().next()),
        (3, Some("error: the store is in use by another oclock"))
    );
    build.kill().unwrap();
    build.wait().unwrap();
    let scratch = scratch.expect("the step should start");
    let mut gone = project.run(&["store", "gc", "--max-size", "0"]);
    for _ in 0..100 {
        if gone.code == 0 {
            break;
        }
        // What was killed is still on its way out.
        std::thread::sleep(Duration::from_millis(100));
        gone = project.run(&["store", "gc", "--max-size", "0"]);
    }
    assert_eq!(gone.code, 0, "{gone:?}");
    let left: Vec<PathBuf> =
        fs::read_dir(project.root().join(".oclock")).unwrap().flatten().map(|e| e.path()).collect();
    assert_eq!(left, [project.root().join(".oclock/scratch.lock")], "the scratch of a killed build is left");
    assert!(!scratch.exists(), "{} of a killed build is left", scratch.display());
}
