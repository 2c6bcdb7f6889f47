//! One command of a RUN: packages that it installs are taken into the manifest, what it does in vain is told.

use std::path::Path;

use super::project::ProjectUse;
use super::shell::essential_words;
use super::{Collected, ImportFate};
use crate::manifest::{AptRequirement, NpmRequirement, parse_pip_requirement};

/// What becomes of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It stays in the RUN.
    Keep,
    /// It is taken out; what of it could not be carried over was noted.
    TakenOut,
    /// It cannot run in a build.
    Unable(String),
}

/// Where a command stands.
pub(super) struct Place<'a> {
    /// The file's name and the line.
    pub at: (&'a str, usize),
    /// The directory it runs in.
    pub directory: &'a str,
    /// The command as it is written.
    pub text: &'a str,
}

const NETWORK: &str = "a build has no network: put what it brings into context/ and COPY it";
const OTHER_TOOLS: &[&str] = &[
    "yarn",
    "pnpm",
    "bun",
    "npx",
    "corepack",
    "poetry",
    "pipenv",
    "pdm",
    "conda",
    "mamba",
    "gem",
    "bundle",
    "cargo",
    "go",
    "composer",
    "apk",
    "yum",
    "dnf",
    "microdnf",
    "zypper",
    "snap",
    "rustup",
    "nvm",
    "pipx",
    "uvx",
    "easy_install",
];
const FETCHERS: &[&str] = &[
    "curl",
    "wget",
    "add-apt-repository",
    "apt-add-repository",
    "apt-key",
    "aria2c",
    "rsync",
    "scp",
    "ssh",
    "gh",
    "aws",
];

/// Options of npm that take no value and make no difference here.
const NPM_SWITCHES: &[&str] = &[
    "-g",
    "--global",
    "--location=global",
    "--no-audit",
    "--no-fund",
    "--silent",
    "-s",
    "--quiet",
    "-q",
    "--verbose",
    "--no-progress",
    "--no-update-notifier",
    "--prefer-offline",
    "--loglevel=error",
    "--no-save",
    "--save",
    "-S",
    "--save-exact",
    "-E",
    "--force",
    "-f",
    "--unsafe-perm",
    "--allow-root",
    "--no-package-lock",
    "--ignore-scripts",
    "--no-color",
    "--save-prod",
    "-P",
    "--yes",
    "-y",
];
/// Options of npm that take no value and make one.
const NPM_ODD_SWITCHES: &[&str] =
    &["--legacy-peer-deps", "--strict-peer-deps", "--no-optional", "--no-bin-links", "--save-dev", "-D"];
/// Options of pip and uv that take no value and make no difference here.
const PIP_SWITCHES: &[&str] = &[
    "-U",
    "--upgrade",
    "--no-cache-dir",
    "--no-cache",
    "--user",
    "-q",
    "-qq",
    "--quiet",
    "-v",
    "--verbose",
    "--force-reinstall",
    "--ignore-installed",
    "-I",
    "--break-system-packages",
    "--no-input",
    "--disable-pip-version-check",
    "--no-warn-script-location",
    "--prefer-binary",
    "--require-hashes",
    "--no-compile",
    "--compile",
    "--compile-bytecode",
    "--system",
    "--no-color",
    "--isolated",
    "--no-python-version-warning",
    "--no-progress",
    "--use-pep517",
    "--no-build-isolation",
    "--require-virtualenv",
    "-y",
    "-Uq",
    "-qU",
    "--no-python-downloads",
    "--no-config",
    "-n",
];

/// Judges a plain command.
pub(super) fn judge(words: &[String], place: &Place<'_>, collected: &mut Collected) -> Verdict {
    let words = essential_words(words);
    let words: Vec<&str> = words.into_iter().map(|word| word.trim_end_matches('\n')).collect();
    let Some((program, rest)) = words.split_first() else { return Verdict::Keep };
    let program = program.rsplit('/').next().unwrap_or(program);
    match (program, rest) {
        ("apt-get" | "apt" | "aptitude", _) => apt(rest, place, collected),
        ("npm", _) => npm(rest, place, collected),
        ("pip" | "pip3", _) => pip(rest, place, collected),
        ("uv", ["pip", rest @ ..]) => pip(rest, place, collected),
        (python, ["-m", "pip", rest @ ..]) if python.starts_with("python") => pip(rest, place, collected),
        (python, ["-m", "venv", ..]) if python.starts_with("python") => {
            collected.note(
                place.at,
                ImportFate::Needless,
                place.text,
                "the environment is made by oclock: `[pip] path`",
            );
            Verdict::TakenOut
        }
        ("rm", _) if rest.iter().any(|word| is_list_directory(word)) && rest.iter().all(|word| is_scrubbed(word)) => {
            collected.note(place.at, ImportFate::Needless, place.text, "no lists and caches come into the image");
            Verdict::TakenOut
        }
        ("update-ca-certificates", []) => Verdict::Keep,
        ("git", [verb, ..]) if ["clone", "fetch", "pull", "submodule"].contains(verb) => unable(NETWORK),
        _ => fetches(program, rest).map_or(Verdict::Keep, Verdict::Unable),
    }
}

fn unable(why: &str) -> Verdict {
    Verdict::Unable(why.to_owned())
}

/// Why a program cannot do its work in a build.
pub(super) fn fetches(program: &str, rest: &[&str]) -> Option<String> {
    if FETCHERS.contains(&program) {
        return Some(NETWORK.to_owned());
    }
    let runs_script = matches!(rest.first(), Some(&"run" | &"build" | &"test"));
    if OTHER_TOOLS.contains(&program) && !(runs_script && ["yarn", "pnpm", "bun"].contains(&program)) {
        return Some(format!("oclock installs nothing with {program}, and a build has no network"));
    }
    (program == "uv").then(|| "export it (`uv export -o pylock.toml`) and name the file with --from".to_owned())
}

fn is_list_directory(word: &str) -> bool {
    ["/var/lib/apt/lists", "/var/cache/apt", "/root/.npm", "/root/.cache"].iter().any(|path| word.starts_with(path))
}

fn is_scrubbed(word: &str) -> bool {
    word.starts_with('-')
        || is_list_directory(word)
        || ["/tmp", "/var/tmp", "/var/log"].iter().any(|p| word.starts_with(p))
}

fn is_expanded(word: &str) -> bool {
    word.contains(['$', '`', '\u{0}', '{'])
}

fn apt(words: &[&str], place: &Place<'_>, collected: &mut Collected) -> Verdict {
    let mut packages = Vec::new();
    let (mut verb, mut suite) = (None, None);
    let mut recommends = true;
    let mut odd: Vec<&str> = Vec::new();
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        match word {
            "--no-install-recommends" => recommends = false,
            "-t" | "--target-release" | "--default-release" => suite = words.next().map(str::to_owned),
            "-o" | "--option" | "-c" | "--config-file" => odd.extend([Some(word), words.next()].into_iter().flatten()),
            _ if word.starts_with("--target-release=") => {
                suite = word.split_once('=').map(|(_, suite)| suite.to_owned())
            }
            "-y" | "--yes" | "--assume-yes" | "-q" | "-qq" | "-yq" | "-yqq" | "-qy" | "-qqy" | "--quiet" => {}
            "--no-install-suggests" | "--fix-missing" | "-f" | "--fix-broken" => {}
            _ if word.starts_with('-') => odd.push(word),
            _ if verb.is_none() => verb = Some(word),
            _ => packages.push(word),
        }
    }
    match verb {
        Some("install" | "satisfy") => {}
        Some("remove" | "purge") => return unable("the packages are not removed: take them out of `[apt] packages`"),
        Some("source" | "build-dep" | "download") => return unable(NETWORK),
        _ => {
            let why = "oclock resolves against the signed lists of today, and keeps none in the image";
            collected.note(place.at, ImportFate::Needless, place.text, why);
            return Verdict::TakenOut;
        }
    }
    let mut taken = Vec::new();
    for package in packages {
        let wanted = match &suite {
            Some(suite) if !package.contains(['=', '/']) => format!("{package}/{suite}"),
            _ => package.to_owned(),
        };
        match (is_expanded(package), AptRequirement::parse(&wanted)) {
            (true, _) => {
                let why = "write the package into `[apt] packages`: flags and variables may not change what is locked";
                collected.note(place.at, ImportFate::Left, package, why);
            }
            (_, Err(error)) => collected.note(place.at, ImportFate::Left, package, error.to_string()),
            (_, Ok(requirement)) => {
                add_apt(place, &wanted, &requirement, collected);
                taken.push(wanted);
            }
        }
    }
    if !odd.is_empty() {
        collected.note(
            place.at,
            ImportFate::Left,
            &odd.join(" "),
            "apt's options are not taken over: see `[apt]` and `[sources]`",
        );
    }
    if !taken.is_empty() {
        collected.recommends |= recommends;
        let note = if recommends { "[apt] packages, with what they recommend" } else { "[apt] packages" };
        collected.note(place.at, ImportFate::Taken, &taken.join(" "), note);
    }
    Verdict::TakenOut
}

fn add_apt(place: &Place<'_>, wanted: &str, requirement: &AptRequirement, collected: &mut Collected) {
    let same = |other: &&String| AptRequirement::parse(other).is_ok_and(|other| other.name == requirement.name);
    match collected.apt.iter().find(same) {
        Some(other) if other != wanted => {
            let then = format!("`{other}` is asked for already: choose one of the two in `[apt] packages`");
            collected.note(place.at, ImportFate::Left, wanted, then);
        }
        Some(_) => {}
        None => collected.apt.push(wanted.to_owned()),
    }
}

fn npm(words: &[&str], place: &Place<'_>, collected: &mut Collected) -> Verdict {
    let is_global = words.iter().any(|word| ["-g", "--global", "--location=global"].contains(word));
    let mut bare = Vec::new();
    let mut odd = Vec::new();
    let mut omit_dev = collected.production;
    let mut iterator = words.iter().copied().peekable();
    while let Some(word) = iterator.next() {
        match word {
            "--omit=dev" | "--production" | "--only=production" | "--only=prod" | "--production=true" => {
                omit_dev = true
            }
            "--omit" | "--only" => {
                omit_dev |= iterator.next().is_some_and(|kind| ["dev", "production", "prod"].contains(&kind))
            }
            "--registry" | "--prefix" | "--cache" => odd.extend([Some(word), iterator.next()].into_iter().flatten()),
            _ if NPM_SWITCHES.contains(&word) => {}
            // What follows an option that is not known may be its value; it is never taken for a package.
            _ if word.starts_with("--") && !word.contains('=') && !NPM_ODD_SWITCHES.contains(&word) => {
                odd.push(word);
                odd.extend(iterator.next_if(|value| !value.starts_with('-') && !bare.is_empty()));
            }
            _ if word.starts_with('-') => odd.push(word),
            _ => bare.push(word),
        }
    }
    match bare.split_first() {
        Some((&("install" | "i" | "add" | "ci" | "clean-install"), packages)) => {
            if !odd.is_empty() {
                let then = "npm's options are not taken over: see `[npm]` and `[sources]`";
                collected.note(place.at, ImportFate::Left, &odd.join(" "), then);
            }
            if packages.is_empty() {
                let project = ProjectUse { directory: place.directory.to_owned(), dev: !omit_dev };
                collected.reads.push(("package.json".to_owned(), place.at.0.to_owned(), place.at.1));
                collected.note(
                    place.at,
                    ImportFate::Taken,
                    place.text,
                    format!("[npm.projects.\"{}\"]", place.directory),
                );
                collected.project = Some(project);
            }
            for package in packages {
                npm_package(package, is_global, place, collected);
            }
            Verdict::TakenOut
        }
        Some((&("cache" | "set" | "config" | "audit" | "fund"), _)) => {
            collected.note(place.at, ImportFate::Needless, place.text, "npm itself does not run, and leaves no cache");
            Verdict::TakenOut
        }
        Some((&("prune" | "dedupe" | "update" | "rebuild" | "link"), _)) => {
            unable("node_modules are laid by oclock: ask for what shall be there in `[npm]`")
        }
        _ => Verdict::Keep,
    }
}

fn npm_package(word: &str, is_global: bool, place: &Place<'_>, collected: &mut Collected) {
    let (name, wanted) = match word.rfind('@') {
        Some(at) if at > 0 => (&word[..at], &word[at + 1..]),
        _ => (word, "latest"),
    };
    let parsed = if is_expanded(word) { None } else { NpmRequirement::parse(name, wanted).ok() };
    if parsed.is_none() || name.starts_with('.') || name.contains(':') {
        let then = "write a name and a range of the registry into `[npm.packages]`";
        return collected.note(place.at, ImportFate::Left, word, then);
    }
    let (packages, section) = match is_global {
        true => (&mut collected.npm, "[npm.packages]".to_owned()),
        false => {
            let section = format!("[npm.projects.\"{}\"]", place.directory);
            (collected.projects.entry(place.directory.to_owned()).or_default(), section)
        }
    };
    packages.insert(name.to_owned(), wanted.to_owned());
    collected.note(place.at, ImportFate::Taken, word, section);
}

fn pip(words: &[&str], place: &Place<'_>, collected: &mut Collected) -> Verdict {
    let Some((verb, rest)) = words
        .iter()
        .copied()
        .skip_while(|word| word.starts_with('-'))
        .collect::<Vec<_>>()
        .split_first()
        .map(|(verb, rest)| (*verb, rest.to_vec()))
    else {
        return Verdict::Keep;
    };
    match verb {
        "install" | "sync" => {}
        "cache" | "config" => {
            collected.note(place.at, ImportFate::Needless, place.text, "pip itself does not run, and leaves no cache");
            return Verdict::TakenOut;
        }
        "download" | "wheel" | "uninstall" => {
            return unable("what shall be there is asked for in `[pip]`; a build has no network");
        }
        _ => return Verdict::Keep,
    }
    let mut taken = Vec::new();
    let mut words = rest.into_iter().peekable();
    while let Some(word) = words.next() {
        let (option, value) =
            word.split_once('=').filter(|_| word.starts_with("--")).map_or((word, None), |(o, v)| (o, Some(v)));
        let mut value = || value.or_else(|| words.next()).unwrap_or_default().to_owned();
        match option {
            "-r" | "--requirement" | "--requirements" | "-c" | "--constraint" | "--constraints" | "--override"
            | "--overrides" => {
                let file = value();
                let name = Path::new(&file)
                    .file_name()
                    .map_or_else(|| file.clone(), |name| name.to_string_lossy().into_owned());
                collected.reads.push((name, place.at.0.to_owned(), place.at.1));
                taken.push(format!("-r {file}"));
            }
            "-i" | "--index-url" | "--extra-index-url" | "-f" | "--find-links" | "--default-index" | "--index" => {
                let what = format!("{option} {}", value());
                let then = "name the index in `[sources.NAME]` with its `packages`; a password belongs into pip.conf or your own config.toml";
                collected.note(place.at, ImportFate::Left, &what, then);
            }
            "-e" | "--editable" => {
                let what = format!("{option} {}", value());
                let then = "your own code is no package here: put it into context/ and COPY it";
                collected.note(place.at, ImportFate::Left, &what, then);
            }
            "-t" | "--target" | "--prefix" | "--root" | "--trusted-host" | "--python" | "--no-binary"
            | "--platform" => {
                let what = format!("{option} {}", value());
                collected.note(
                    place.at,
                    ImportFate::Left,
                    &what,
                    "there is one environment, of wheels: `[pip] path` says where",
                );
            }
            "--root-user-action" | "--timeout" | "--retries" | "--default-timeout" | "--only-binary"
            | "--cache-dir" | "--progress-bar" => {
                value();
            }
            "--pre" => {
                let then = "write a pre-release into the requirement, such as `name>=2.0rc1`";
                collected.note(place.at, ImportFate::Left, option, then);
            }
            _ if PIP_SWITCHES.contains(&option) => {}
            _ if word.starts_with('-') => {
                // What follows an option that is not known may be its value; it is never taken for a package.
                let follows =
                    words.next_if(|value| !value.starts_with('-') && word.starts_with("--") && !word.contains('='));
                let what = format!("{word} {}", follows.unwrap_or_default());
                collected.note(place.at, ImportFate::Left, &what, "this option has no counterpart in `[pip]`");
            }
            _ => pip_package(word, place, collected, &mut taken),
        }
    }
    if !taken.is_empty() {
        collected.note(place.at, ImportFate::Taken, &taken.join(" "), "[pip] packages");
    }
    Verdict::TakenOut
}

fn pip_package(word: &str, place: &Place<'_>, collected: &mut Collected, taken: &mut Vec<String>) {
    if word == "pip" {
        return collected.note(place.at, ImportFate::Needless, word, "the environment is made without pip");
    }
    if is_expanded(word) {
        let then = "write the package into `[pip] packages`: flags and variables may not change what is locked";
        return collected.note(place.at, ImportFate::Left, word, then);
    }
    if word == "." || word.starts_with("./") || word.starts_with('/') || word.starts_with(".[") {
        let then = "your own code is no package here: put it into context/ and COPY it; name pyproject.toml with --from for what it needs";
        return collected.note(place.at, ImportFate::Left, word, then);
    }
    match parse_pip_requirement(word) {
        Ok(_) => {
            if !collected.pip.iter().any(|known| known == word) {
                collected.pip.push(word.to_owned());
            }
            taken.push(word.to_owned());
        }
        Err(_) => {
            let then = "only releases of an index are locked: name one, or put the files into context/";
            collected.note(place.at, ImportFate::Left, word, then);
        }
    }
}
