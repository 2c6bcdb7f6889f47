//! Unpacks `.deb` files given on the command line as `oclock build` would, for comparison with dpkg:
//! `unpack_set STORE OUT.tar EPOCH FILE.deb...` (needs `dpkg-deb`).

#![allow(clippy::unwrap_used, reason = "a program for developers")]

use std::fs::File;
use std::io::BufWriter;
use std::process::Command;

use oclock::assemble::apt::{AptTreeRequest, write_root};
use oclock::base::explain::Explain;
use oclock::base::tar::TarWriter;
use oclock::lock::AptPin;
use oclock::model::{Artifact, ArtifactPath, PackageName, PackageVersion, Platform, Sha256, SourceName};
use oclock::store::Store;

fn pin(store: &Store, path: &str) -> AptPin {
    let mut file = File::open(path).unwrap();
    let (sha256, size) = Sha256::of_reader(&mut file).unwrap();
    if !store.contains(&sha256) {
        store.add_blob(&std::fs::read(path).unwrap()).unwrap();
    }
    let format = "${Package} ${Version} ${Architecture}";
    let output = Command::new("dpkg-deb").args(["-W", "--showformat", format, path]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = text.split(' ').collect();
    AptPin {
        name: PackageName::parse(words[0]).unwrap(),
        version: PackageVersion::parse(words[1]).unwrap(),
        platform: Platform::LINUX_AMD64,
        architecture: words[2].to_owned(),
        suite: "trixie".into(),
        source_package: PackageName::parse(words[0]).unwrap(),
        source_version: PackageVersion::parse(words[1]).unwrap(),
        artifact: Artifact {
            source: SourceName::parse("debian").unwrap(),
            path: ArtifactPath::parse(&format!("pool/{}_{}.deb", words[0], words[2])).unwrap(),
            size,
            sha256,
            sha512: None,
        },
        required_by: Vec::new(),
    }
}

#[allow(clippy::print_stderr, clippy::print_stdout, reason = "a program for developers")]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, out, epoch, debs @ ..] = arguments.as_slice() else {
        eprintln!("usage: unpack_set STORE OUT.tar EPOCH FILE.deb...");
        std::process::exit(2);
    };
    let store = Store::open(store).unwrap();
    let pins: Vec<AptPin> = debs.iter().map(|path| pin(&store, path)).collect();
    let epoch = epoch.parse().unwrap();
    let request =
        AptTreeRequest { pins: &pins.iter().collect::<Vec<_>>(), platform: Platform::LINUX_AMD64, epoch, base: None };
    let started = std::time::Instant::now();
    let mut tar = TarWriter::new(BufWriter::with_capacity(1 << 20, File::create(out).unwrap()), epoch);
    match write_root(&request, &store, &mut tar) {
        Ok(tree) => {
            tar.finish().unwrap();
            println!("{tree:?} in {:.2} s", started.elapsed().as_secs_f64());
        }
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(because) = cause {
                eprintln!("because: {because}");
                cause = because.source();
            }
            error.evidence().iter().chain(&error.hints()).for_each(|line| eprintln!("{line}"));
            std::process::exit(i32::from(error.kind().exit_code()));
        }
    }
}
