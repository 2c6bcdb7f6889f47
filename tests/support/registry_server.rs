//! A real registry server on loopback: Debian's `docker-registry`.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::time::Duration;

/// Serves until it is dropped.
pub struct RegistryServer {
    server: Child,
    /// `127.0.0.1:5000`.
    pub address: String,
    _directory: tempfile::TempDir,
}

impl Drop for RegistryServer {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

impl RegistryServer {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let settings = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"}}\n",
            directory.path().join("registry").display()
        );
        let file = directory.path().join("config.yml");
        fs::write(&file, settings).unwrap();
        let server = Command::new("docker-registry").arg("serve").arg(&file).spawn().unwrap();
        let started = Self { server, address, _directory: directory };
        let is_up = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            TcpStream::connect(&started.address).is_ok()
        });
        assert!(is_up, "the registry did not start");
        started
    }
}
