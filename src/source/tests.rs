//! Discovery in a home and a root of its own: nothing of this machine is read, and no program of it is asked.

use std::fs;

use super::*;
use crate::manifest::parse_manifest;

/// A host made of files: `home/…` is the user's, `root/…` the machine's, `project/…` the project's.
struct Host {
    directory: tempfile::TempDir,
    variables: Vec<(String, String)>,
    overrides: String,
}

impl Host {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let host = Self { directory, variables: Vec::new(), overrides: String::new() };
        host.write("root/etc/os-release", "ID=debian\nVERSION_CODENAME=bookworm\n");
        files.iter().for_each(|(path, text)| host.write(path, text));
        host
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn program(self, name: &str, script: &str) -> Self {
        let path = format!("bin/{name}");
        self.write(&path, &format!("#!/bin/sh\n{script}\n"));
        crate::base::fs::set_mode(&self.directory.path().join(path), 0o755).unwrap();
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    fn overriding(mut self, overrides: &str) -> Self {
        self.overrides = overrides.into();
        self
    }

    fn sources(&self) -> Result<Sources, SourceError> {
        let path = |name: &str| self.directory.path().join(name);
        let own = [("HOME", path("home")), ("PATH", path("bin"))];
        let own = own.into_iter().map(|(name, path)| (name.into(), path.into_os_string()));
        let more = self.variables.iter().map(|(name, value)| (name.into(), value.into()));
        let environment = Environment::from_variables(own.chain(more)).with_root(path("root"));
        let text = format!("[image]\nname = \"a\"\nbase = {{ debian = \"trixie\" }}\n{}", self.overrides);
        discover(&environment, &path("project"), &parse_manifest(&text, "oclock.toml").unwrap().sources)
    }
}

fn urls(sources: &[Source]) -> Vec<&str> {
    sources.iter().map(|source| source.url.as_str()).collect()
}

#[test]
fn npm_has_a_default_without_any_settings() {
    let sources = Host::new(&[]).sources().unwrap().npm().unwrap();
    assert_eq!(sources.len(), 1);
    assert_eq!((sources[0].name.as_str(), sources[0].found_in.as_str()), ("npm", "npm's default"));
    assert!(sources[0].url.as_str().starts_with("https://") && sources[0].url.as_str().ends_with('/'));
}

#[test]
fn npm_settings_are_read_as_npm_does() {
    let host = Host::new(&[
        ("home/.npmrc", "registry=https://user.invalid/npm\n//user.invalid/npm/:_authToken=${TOKEN}\n"),
        ("project/.npmrc", "@scope:registry=https://scope.invalid\n//scope.invalid/:_auth=dTpw\n"),
    ])
    .variable("TOKEN", "secret");
    let sources = host.sources().unwrap().npm().unwrap();
    assert_eq!(urls(&sources), ["https://user.invalid/npm/", "https://scope.invalid/"]);
    assert_eq!(sources[0].authorization.as_deref(), Some("Bearer secret"));
    assert_eq!(sources[0].found_in, "~/.npmrc");
    assert_eq!((sources[1].name.as_str(), &sources[1].packages[..]), ("npm-scope", &["@scope/*".to_owned()][..]));
    assert_eq!(sources[1].authorization.as_deref(), Some("Basic dTpw"));
    assert!(!format!("{sources:?}").contains("secret"));
    assert_eq!(source_of(&sources, "@scope/x").map(|source| source.name.as_str()), Some("npm-scope"));
    assert_eq!(source_of(&sources, "lodash").map(|source| source.name.as_str()), Some("npm"));
}

#[test]
fn the_variable_wins_over_npmrc_in_any_case() {
    for name in ["npm_config_registry", "NPM_CONFIG_REGISTRY"] {
        let host = Host::new(&[("home/.npmrc", "registry=https://user.invalid/\n")]);
        let sources = host.variable(name, "https://variable.invalid").sources().unwrap().npm().unwrap();
        assert_eq!(urls(&sources), ["https://variable.invalid/"]);
        assert_eq!(sources[0].found_in, "npm_config_registry");
    }
}

#[test]
fn pip_settings_come_before_programs() {
    let conf = "[global]\nindex_url = https://global.invalid/simple\n[install]\nindex-url = https://u:p%40@install.invalid/simple/\n";
    let host = Host::new(&[("home/.config/pip/pip.conf", conf)]).program("pip", "exit 1");
    let sources = host.sources().unwrap().pip().unwrap();
    assert_eq!(urls(&sources), ["https://install.invalid/simple/"]);
    assert_eq!(sources[0].authorization.as_deref(), Some("Basic dTpwQA=="));
    assert_eq!(sources[0].found_in, "~/.config/pip/pip.conf");
    let sources = host.variable("PIP_INDEX_URL", "https://variable.invalid/simple").sources().unwrap();
    assert_eq!(urls(&sources.pip().unwrap()), ["https://variable.invalid/simple/"]);
}

#[test]
fn the_default_of_pip_is_asked_once() {
    let script =
        "echo asked >> \"$0.count\"\necho '  -i, --index-url <url>  Base URL (default https://pip.invalid/simple).'";
    let host = Host::new(&[]).program("pip", script);
    let store = Store::open(host.directory.path().join("store")).unwrap();
    for _ in 0..2 {
        let sources = host.sources().unwrap().with_store(&store).pip().unwrap();
        assert_eq!(urls(&sources), ["https://pip.invalid/simple/"]);
        assert!(sources[0].found_in.starts_with("the default of"), "{}", sources[0].found_in);
    }
    let count = fs::read_to_string(host.directory.path().join("bin/pip.count")).unwrap();
    assert_eq!(count.lines().count(), 1);
}

#[test]
fn a_second_python_index_needs_packages_of_its_own() {
    let conf = "[global]\nindex-url = https://one.invalid/simple\nextra-index-url =\n    https://two.invalid/simple\n";
    let host = Host::new(&[("root/etc/pip.conf", conf)]);
    let error = host.sources().unwrap().pip().unwrap_err();
    assert!(matches!(error, SourceError::ExtraIndex { .. }), "{error}");
    let bound = "[sources.two]\nkind = \"pip\"\nurl = \"https://two.invalid/simple\"\npackages = [\"My.Own\"]\n";
    let host = host.overriding(bound);
    let sources = host.sources().unwrap().pip().unwrap();
    assert_eq!(urls(&sources), ["https://one.invalid/simple/", "https://two.invalid/simple/"]);
    assert_eq!(source_of(&sources, "my-own").map(|source| source.name.as_str()), Some("two"));
    let unbound = bound.replace("packages = [\"My.Own\"]\n", "");
    let error = host.overriding(&unbound).sources().unwrap().pip().unwrap_err();
    assert!(matches!(error, SourceError::Unbound { .. }), "{error}");
}

#[test]
fn nothing_found_says_what_to_set() {
    use crate::base::explain::Explain;
    let host = Host::new(&[]);
    let sources = host.sources().unwrap();
    let error = sources.pip().unwrap_err();
    assert_eq!(error.to_string(), "no Python index is known");
    assert!(error.hints()[0].contains("[sources.pypi]"));
    let error = sources.apt("trixie").unwrap_err();
    assert_eq!(error.to_string(), "no Debian archive is known");
    assert!(error.hints()[0].contains("[sources.debian]"));
}

const DEB822: &str = "Types: deb\n# http://old.invalid/snapshot\nURIs: http://debian.invalid/debian http://second.invalid/debian\nSuites: bookworm bookworm-updates\nComponents: main contrib\nTrusted: yes\nCheck-Valid-Until: no\nSigned-By: /usr/share/keyrings/x.gpg\n\nTypes: deb deb-src\nURIs: http://debian.invalid/debian-security\nSuites: bookworm-security\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ\n -----END PGP PUBLIC KEY BLOCK-----\n";
const LINES: &str = "# comment\ndeb [arch=amd64 trusted=yes check-valid-until=no] http://debian.invalid/debian bookworm main # x\ndeb-src http://debian.invalid/debian bookworm main\n\ndeb http://debian.invalid/debian-security bookworm-security main contrib\n";
const THIRD: &str = "Types: deb\nURIs: https://third.invalid/apt\nSuites: nodistro\nComponents: main\n";

#[test]
fn apt_sources_become_patterns_for_the_asked_suite() {
    for (path, text) in [("root/etc/apt/sources.list.d/debian.sources", DEB822), ("root/etc/apt/sources.list", LINES)] {
        let host = Host::new(&[(path, text), ("root/etc/apt/sources.list.d/third.sources", THIRD)]);
        let sources = host.sources().unwrap().apt("trixie").unwrap();
        assert_eq!(urls(&sources), ["http://debian.invalid/debian/", "http://debian.invalid/debian-security/"]);
        assert_eq!(sources[0].suites, ["trixie", "trixie-updates"]);
        assert_eq!(sources[1].suites, ["trixie-security"]);
        assert_eq!((sources[0].components.join(" "), &sources[0].signed_by), ("main".to_owned(), &None));
        let rolling = host.sources().unwrap().apt("sid").unwrap();
        assert_eq!((rolling.len(), &rolling[0].suites[..]), (1, &["sid".to_owned()][..]));
    }
}

#[test]
fn apt_sources_are_overridden_by_name() {
    let host = Host::new(&[("root/etc/apt/sources.list.d/debian.sources", DEB822)]).overriding(
        "[sources.debian]\nkind = \"apt\"\nurl = \"https://mine.invalid/debian\"\nsigned-by = \"keys.gpg\"\n[sources.own]\nkind = \"apt\"\nurl = \"https://own.invalid\"\nsuites = [\"stable\"]\n",
    );
    let sources = host.sources().unwrap();
    let apt = sources.apt("trixie").unwrap();
    let names: Vec<_> = apt.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["debian", "debian-security", "own"]);
    assert_eq!(apt[0].url.as_str(), "https://mine.invalid/debian/");
    assert_eq!(apt[0].suites, ["trixie", "trixie-updates"]);
    assert_eq!(apt[0].signed_by, Some(host.directory.path().join("project/keys.gpg")));
    let get = |name: &str| sources.get(&SourceName::parse(name).unwrap());
    assert_eq!(get("own").unwrap().url.as_str(), "https://own.invalid/");
    assert_eq!(get("debian-security").unwrap().url.as_str(), "http://debian.invalid/debian-security/");
    assert!(matches!(get("onw"), Err(SourceError::Unknown { .. })));
}

#[test]
fn a_host_that_is_no_debian_gives_no_archive() {
    let host = Host::new(&[("root/etc/apt/sources.list.d/debian.sources", DEB822)]);
    host.write("root/etc/os-release", "ID=other\nVERSION_CODENAME=bookworm\n");
    assert!(matches!(host.sources().unwrap().apt("trixie"), Err(SourceError::NotFound { .. })));
}

#[test]
fn settings_of_the_user_are_overridden_by_the_project() {
    let settings = "[sources.npm]\nkind = \"npm\"\nurl = \"https://u:p@user.invalid\"\n";
    let host = Host::new(&[("home/.config/oclock/config.toml", settings)]);
    let npm = host.sources().unwrap().npm().unwrap();
    assert_eq!(urls(&npm), ["https://user.invalid/"]);
    assert_eq!(npm[0].authorization.as_deref(), Some("Basic dTpw"));
    assert_eq!(npm[0].found_in, "~/.config/oclock/config.toml");
    let host = host.overriding("[sources.npm]\nkind = \"npm\"\nurl = \"https://project.invalid\"\n");
    assert_eq!(urls(&host.sources().unwrap().npm().unwrap()), ["https://project.invalid/"]);
    let wrong = host.overriding("[sources.npm]\nkind = \"pip\"\nurl = \"https://project.invalid\"\n");
    assert!(matches!(wrong.sources(), Err(SourceError::WrongKind { .. })));
}

#[test]
fn image_registries_are_those_of_the_container_tools() {
    let conf = "unqualified-search-registries = [\"images.invalid\"]\n[[registry]]\nprefix = \"images.invalid\"\nlocation = \"moved.invalid/v\"\n[[registry.mirror]]\nlocation = \"mirror.invalid\"\n[[registry]]\nlocation = \"bad.invalid\"\nblocked = true\n";
    let login = "{\"auths\": {\"https://images.invalid/v1/\": {\"auth\": \"dTpw\"}, \"kept.invalid\": {}}, \"credsStore\": \"test\"}";
    let host = Host::new(&[("root/etc/containers/registries.conf", conf), ("home/.docker/config.json", login)]);
    let sources = host.sources().unwrap();
    let source = sources.image(None).unwrap();
    assert_eq!((source.name.as_str(), source.url.as_str()), ("registry", "https://moved.invalid/v/"));
    assert_eq!(urls(&[Source { url: source.mirrors[0].clone(), ..source.clone() }]), ["https://mirror.invalid/"]);
    assert_eq!(source.authorization.as_deref(), Some("Basic dTpw"));
    assert_eq!(sources.image(Some("127.0.0.1:5000")).unwrap().url.as_str(), "http://127.0.0.1:5000/");
    assert!(sources.image(Some("bad.invalid")).is_err());
    assert_eq!(sources.get(&SourceName::parse("registry").unwrap()).unwrap().url, source.url);
}

#[test]
fn dockers_default_registry_is_known_without_settings() {
    let source = Host::new(&[]).sources().unwrap().image(None).unwrap();
    assert_eq!((source.url.scheme(), source.found_in.as_str()), ("https", "docker's default"));
    let named = "[sources.mine]\nkind = \"image\"\nurl = \"http://named.invalid:5000\"\n";
    let host = Host::new(&[]).overriding(named);
    let source = host.sources().unwrap().image(Some("named.invalid:5000")).unwrap();
    assert_eq!(source.name.as_str(), "mine");
}
