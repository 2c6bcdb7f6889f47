//! ^C while engines build: nothing runs on and nothing is left. One test alone in its process, which it interrupts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use oclock::base::environment::Environment;
use oclock::base::explain::{Explain, Kind};
use oclock::base::process::end_all;
use oclock::base::tar::{TarMeta, TarWriter};
use oclock::engine::{BuildRequest, EngineChoice, Known, find};

const CHOICES: [EngineChoice; 5] = [
    EngineChoice::Native,
    EngineChoice::BuildahOci,
    EngineChoice::BuildahChroot,
    EngineChoice::DockerClassic,
    EngineChoice::DockerBuildkit,
];

#[test]
fn an_interrupt_ends_every_engine_and_cleans_up() {
    let directory = tempfile::tempdir().unwrap();
    let before = docker_holds();
    let sleeps: Vec<String> = (0..CHOICES.len()).map(|place| format!("32{}{place}", std::process::id())).collect();
    std::thread::scope(|scope| {
        let builds: Vec<_> = CHOICES
            .iter()
            .zip(&sleeps)
            .map(|(choice, sleep)| {
                let directory = directory.path();
                scope.spawn(move || build(*choice, &directory.join(sleep), sleep))
            })
            .collect();
        wait_for("the steps to start", || sleeps.iter().all(|sleep| is_running(sleep)));
        end_all();
        for (build, choice) in builds.into_iter().zip(CHOICES) {
            assert_eq!(build.join().unwrap(), Kind::Interrupted, "{choice:?}");
        }
    });
    wait_for("the steps to end", || !sleeps.iter().any(|sleep| is_running(sleep)));
    // What it held before may go meanwhile: a daemon takes its time.
    wait_for("docker to hold nothing new", || docker_holds().is_subset(&before));
    for sleep in &sleeps {
        let left: Vec<_> = fs::read_dir(directory.path().join(sleep).join("scratch"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name != "docker-config")
            .collect();
        assert!(left.is_empty(), "{left:?} is left");
    }
}

fn build(choice: EngineChoice, directory: &Path, sleep: &str) -> Kind {
    let (context, scratch) = (directory.join("context"), directory.join("scratch"));
    fs::create_dir_all(&context).unwrap();
    fs::create_dir_all(&scratch).unwrap();
    let busybox = fs::read("/bin/busybox").expect("apt-get install busybox-static");
    let mut writer = TarWriter::new(Vec::new(), 0);
    writer.file(Path::new("busybox"), &TarMeta::root(0o755), busybox.len() as u64, &mut &busybox[..]).unwrap();
    fs::write(context.join("root.tar"), writer.finish().unwrap()).unwrap();
    let text = format!(
        "FROM scratch\nADD root.tar /\nRUN [\"/busybox\", \"touch\", \"/x\"]\nRUN [\"/busybox\", \"sleep\", \"{sleep}\"]\n"
    );
    fs::write(context.join("Containerfile"), text).unwrap();
    let environment = Environment::from_variables(std::env::vars_os()).with_program(env!("CARGO_BIN_EXE_oclock"));
    let engine = find(choice, &environment).unwrap_or_else(|error| panic!("{error}: {:?}", error.evidence()));
    let request = BuildRequest {
        context: &context,
        scratch: &scratch,
        memory_scratch: None,
        limit: Duration::from_secs(300),
        memory: None,
        known: Known::default(),
    };
    engine.build(&request, &mut |_| {}).unwrap_err().kind()
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("waited too long for {what}");
}

/// Docker's untagged images and containers, by their IDs.
fn docker_holds() -> BTreeSet<String> {
    let list = |arguments: &[&str]| {
        let output = Command::new("docker").args(arguments).output().expect("apt-get install docker.io");
        assert!(output.status.success(), "docker: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let images = list(&["image", "ls", "--all", "--quiet", "--no-trunc", "--filter", "dangling=true"]);
    let containers = list(&["container", "ls", "--all", "--quiet", "--no-trunc"]);
    images.into_iter().chain(containers).collect()
}

/// Whether a process has this argument.
fn is_running(argument: &str) -> bool {
    let processes =
        fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    processes.into_iter().any(|line| line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes()))
}
