//! Whether programs of another architecture run here: by user-mode emulation that the kernel starts (binfmt_misc).

use std::path::Path;

use super::EngineError;
use crate::base::environment::Environment;
use crate::base::fs::{read_text, sorted_entries};
use crate::model::{Architecture, Platform};

/// Where the kernel lists what it starts by an interpreter.
const REGISTERED: &str = "proc/sys/fs/binfmt_misc";

/// Checks that steps of an image for `platform` can run on this machine.
///
/// # Errors
/// When they cannot, with what is missing.
pub fn ensure_runs(platform: Platform, environment: &Environment) -> Result<(), EngineError> {
    let machine = std::env::consts::ARCH;
    if platform.architecture.machine() == machine {
        return Ok(());
    }
    let reason = match emulation(platform.architecture, environment) {
        Emulation::Ready => return Ok(()),
        Emulation::OutOfReach(name) => {
            format!("`{name}` is registered without the flag F, so that it is not found inside a root filesystem")
        }
        Emulation::Nothing => "no user-mode emulation is registered for it (binfmt_misc)".to_owned(),
    };
    Err(EngineError::Foreign { platform, machine, reason })
}

enum Emulation {
    Ready,
    OutOfReach(String),
    Nothing,
}

fn emulation(architecture: Architecture, environment: &Environment) -> Emulation {
    let directory = environment.host_path(REGISTERED);
    let entries = if directory.is_dir() { sorted_entries(&directory).unwrap_or_default() } else { Vec::new() };
    let mut answer = Emulation::Nothing;
    for path in entries.iter().map(std::fs::DirEntry::path).filter(|path| is_entry(path)) {
        let Ok(text) = read_text(&path) else { continue };
        if !is_for(&text, architecture) {
            continue;
        }
        if field(&text, "flags:").is_some_and(|flags| flags.contains('F')) {
            return Emulation::Ready;
        }
        answer = Emulation::OutOfReach(path.display().to_string());
    }
    answer
}

fn is_entry(path: &Path) -> bool {
    !path.ends_with("register") && !path.ends_with("status")
}

/// Whether an entry is in use and matches ELF programs of an architecture, by the machine in bytes 18 and 19 of their head.
fn is_for(text: &str, architecture: Architecture) -> bool {
    let machine = match architecture {
        Architecture::Amd64 => "3e00",
        Architecture::Arm64 => "b700",
    };
    let magic = field(text, "magic").unwrap_or_default();
    text.lines().next() == Some("enabled") && magic.starts_with("7f454c46") && magic.get(36..40) == Some(machine)
}

fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::explain::Explain;

    fn foreign() -> Platform {
        let other = if std::env::consts::ARCH == "x86_64" { Architecture::Arm64 } else { Architecture::Amd64 };
        Platform { architecture: other }
    }

    fn with(entry: &str) -> (tempfile::TempDir, Environment) {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join(REGISTERED);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("status"), "enabled\n").unwrap();
        if !entry.is_empty() {
            std::fs::write(directory.join("qemu"), entry).unwrap();
        }
        let environment = Environment::default().with_root(root.path());
        (root, environment)
    }

    fn entry(state: &str, flags: &str, machine: &str) -> String {
        format!(
            "{state}\ninterpreter /usr/bin/qemu\nflags: {flags}\noffset 0\nmagic 7f454c46020101000000000000000000{}{machine}\n",
            "0200"
        )
    }

    #[test]
    fn the_machines_own_programs_run() {
        let own = if foreign().architecture == Architecture::Arm64 { Architecture::Amd64 } else { Architecture::Arm64 };
        ensure_runs(Platform { architecture: own }, &Environment::default().with_root("/nowhere")).unwrap();
    }

    #[test]
    fn foreign_programs_run_where_the_kernel_knows_how() {
        let machine = if foreign().architecture == Architecture::Arm64 { "b700" } else { "3e00" };
        let (_root, ready) = with(&entry("enabled", "POF", machine));
        ensure_runs(foreign(), &ready).unwrap();
        for (text, words) in [
            (String::new(), "no user-mode emulation is registered"),
            (entry("disabled", "F", machine), "no user-mode emulation is registered"),
            (entry("enabled", "F", "2800"), "no user-mode emulation is registered"),
            (entry("enabled", "OC", machine), "without the flag F"),
        ] {
            let (_root, environment) = with(&text);
            let error = ensure_runs(foreign(), &environment).unwrap_err();
            assert!(error.evidence()[0].contains(words), "{text}: {error:?}");
            assert_eq!(error.kind(), crate::base::explain::Kind::Unable);
        }
    }
}
