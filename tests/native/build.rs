//! `oclock build` with the built-in engine and nothing else on the machine: the real program, in a project of its own.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use super::support::project::Project;
use super::support::registries::Registries;
use super::{BUSYBOX, groups_of, is_running, own_number, wait_for};

const MANIFEST: &str = "[image]\nname = \"small\"\nbase = { debian = \"trixie\" }\n\n[apt]\npackages = [\"shell\"]\n";

/// Registries whose base is a busybox with stand-ins for what oclock's scripts call of Debian's.
fn registries() -> Registries {
    let mut registries = Registries::serve();
    registries.deb_of("shell", "1", "", &shell());
    registries
}

fn shell() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut put = |path: &str, kind: tar::EntryType, mode: u32, link: &str, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_709_251_200);
        header.set_size(content.len() as u64);
        if !link.is_empty() {
            header.set_link_name(link).unwrap();
        }
        header.set_cksum();
        tar.append(&header, content).unwrap();
    };
    for directory in [
        "./",
        "./bin/",
        "./etc/",
        "./lib/",
        "./lib/x86_64-linux-gnu/",
        "./lib64/",
        "./usr/",
        "./usr/bin/",
        "./usr/sbin/",
    ] {
        put(directory, tar::EntryType::Directory, 0o755, "", b"");
    }
    // busybox's own shell takes its applets before what is on the PATH, so the shell is another one.
    for file in with_libraries("/bin/dash") {
        let name = if file == "/bin/dash" { "/bin/sh" } else { &file };
        put(&format!(".{name}"), tar::EntryType::Regular, 0o755, "", &fs::read(&file).unwrap());
    }
    put("./bin/busybox", tar::EntryType::Regular, 0o755, "", &fs::read(BUSYBOX).unwrap());
    for applet in ["sed", "rm", "mv", "chmod", "mkdir", "cp", "grep", "tr", "sleep", "cat", "touch", "chown"] {
        put(&format!("./bin/{applet}"), tar::EntryType::Symlink, 0o777, "busybox", b"");
    }
    put("./usr/bin/env", tar::EntryType::Symlink, 0o777, "/bin/busybox", b"");
    let shifted = |count: u32| format!("#!/bin/sh\nshift {count}\nexec \"$@\"\n");
    put("./usr/bin/setsid", tar::EntryType::Regular, 0o755, "", shifted(1).as_bytes());
    put("./usr/bin/timeout", tar::EntryType::Regular, 0o755, "", shifted(2).as_bytes());
    let dpkg = b"#!/bin/sh\n[ \"$1\" = --version ] && echo 'dpkg program version 1.22 (any)'\nexit 0\n";
    put("./usr/bin/dpkg", tar::EntryType::Regular, 0o755, "", dpkg);
    tar.into_inner().unwrap()
}

/// A program of the host and the libraries that it is linked with.
fn with_libraries(program: &str) -> Vec<String> {
    let said = std::process::Command::new("ldd").arg(program).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let libraries = said.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned);
    std::iter::once(program.to_owned()).chain(libraries).collect()
}

fn project(registries: &Registries, lines: &str) -> Project {
    let project = Project::with(registries);
    project.write("oclock.toml", MANIFEST);
    project.write("context/app/hello.txt", "hello\n");
    project.write("Containerfile.in", template(lines));
    let answer = project.run(&["update"]);
    assert_eq!(answer.code, 0, "{answer:?}");
    project
}

fn template(lines: &str) -> String {
    format!("FROM {{{{ base }}}}\n{{{{ apt.install }}}}\nCOPY app/ /app/\n{lines}\nCMD [\"/bin/sh\"]\n")
}

#[test]
fn a_machine_without_engines_builds_and_keeps_the_image() {
    let registries = registries();
    let project = project(&registries, "RUN cat /app/hello.txt > /app/copy && chown 7:8 /app/copy");
    let built = project.run(&["build"]);
    assert_eq!(built.code, 0, "{built:?}");
    let id = built.stdout.trim();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{built:?}");
    assert!(built.stderr.contains("building with native"), "{built:?}");
    assert!(built.stderr.contains("kept in the store; no buildah or docker here takes it"), "{built:?}");
    assert!(fs::metadata(project.store().join("blobs/sha256").join(&id[7..9]).join(&id[7..])).is_ok());

    let named = project.run(&["--quiet", "build", "--tag", "small:1"]);
    let expected = "\
error: no engine here can hold an image named `small:1`
  buildah  it is not on the PATH
   docker  it is not on the PATH
 hint: write the image out under that name instead: `--output docker-archive:FILE`
";
    assert_eq!((named.code, named.stderr.as_str()), (3, expected));
    let written = project.run(&[
        "--quiet",
        "build",
        "--tag",
        "small:1",
        "--engine",
        "native",
        "--output",
        "docker-archive:image.tar",
    ]);
    assert_eq!((written.code, written.stderr.as_str()), (3, expected));
    let written = project.run(&["--quiet", "build", "--no-reuse", "--output", "docker-archive:image.tar"]);
    assert_eq!((written.code, written.stdout.trim(), written.stderr.as_str()), (0, id, ""));
    assert!(project.root().join("image.tar").is_file());
    assert_eq!(leftovers(&project), Vec::<PathBuf>::new());
}

#[test]
fn what_an_interrupted_build_left_is_gone_after_the_next() {
    let registries = registries();
    for (part, signal, code) in [(51, "-INT", Some(130)), (52, "-KILL", None)] {
        let number = own_number(part);
        let line = format!("RUN chown 7:8 /app && echo > /{number} && (sleep {number} &) && exec sleep {number}");
        let project = project(&registries, &line);
        let mut oclock = start(&project);
        wait_for("the step to start", || is_running(&number));
        let scratch = project.scratch_with(&number).expect("the room should be found");
        let killed = std::process::Command::new("kill").args([signal, &oclock.id().to_string()]).status().unwrap();
        assert!(killed.success());
        assert_eq!(oclock.wait().unwrap().code(), code);
        wait_for("the step to end", || !is_running(&number));
        project.write("Containerfile.in", template(""));
        let answer = project.run(&["build"]);
        assert_eq!(answer.code, 0, "{answer:?}");
        assert_eq!(leftovers(&project), Vec::<PathBuf>::new(), "{signal}");
        assert!(!scratch.exists(), "{signal}: {} is left", scratch.display());
        assert_eq!(groups_of(oclock.id()), Vec::<PathBuf>::new(), "{signal}");
    }
}

fn start(project: &Project) -> Child {
    let mut command = project.command(&["build", "--engine", "native"]);
    // Of its own group, as a shell starts it, so that a signal reaches it alone.
    command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// What is left of builds in the project.
fn leftovers(project: &Project) -> Vec<PathBuf> {
    let entries = fs::read_dir(project.root().join(".oclock")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| !path.ends_with("scratch.lock")).collect()
}
