//! The pip resolver against an index on loopback: what is chosen, and what is said when nothing can be.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on may stop")]

#[path = "support/wheels.rs"]
mod wheels;

use std::collections::BTreeMap;

use oclock::base::explain::{Explain, Kind};
use oclock::base::http::{HttpClient, HttpOptions};
use oclock::base::progress::Progress;
use oclock::lock::PipPin;
use oclock::manifest::{PipSection, SourceKind};
use oclock::model::{Platform, Sha256, SourceName};
use oclock::resolve::pip::{PipError, PipRequest, locate, resolve};
use oclock::source::Source;
use oclock::store::Store;
use wheels::{Index, Listed, Manner, WheelBuilder};

fn source(name: &str, index: &Index, packages: &[&str]) -> Source {
    Source {
        name: SourceName::parse(name).unwrap(),
        kind: SourceKind::Pip,
        url: index.url.clone(),
        mirrors: Vec::new(),
        authorization: None,
        packages: packages.iter().map(|name| (*name).to_owned()).collect(),
        suites: Vec::new(),
        components: Vec::new(),
        signed_by: None,
        found_in: "test".to_owned(),
    }
}

fn section(packages: &[&str], constraints: &[&str]) -> PipSection {
    let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    PipSection { packages: own(packages), constraints: own(constraints), ..PipSection::default() }
}

async fn ask(sources: &[&Source], section: &PipSection, store: &Store) -> Result<Vec<PipPin>, PipError> {
    let request = PipRequest {
        wished: &[],
        built: &BTreeMap::new(),
        platform: Platform::LINUX_AMD64,
        section,
        python_version: "3.13.5",
        glibc: (2, 41),
        as_of: None,
        keep: None,
    };
    let http = HttpClient::new(HttpOptions { tries: 1, ..HttpOptions::default() });
    can_be_spawned(resolve(&request, sources, &http, store, &Progress::hidden())).await
}

fn can_be_spawned<F: Future + Send>(future: F) -> F {
    future
}

fn solve_in(
    manner: Manner,
    files: &[Listed],
    packages: &[&str],
    constraints: &[&str],
) -> Result<Vec<PipPin>, PipError> {
    let index = Index::serve(manner, files);
    let source = source("pypi", &index, &[]);
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(ask(&[&source], &section(packages, constraints), &store))
}

fn solve(files: &[Listed], packages: &[&str], constraints: &[&str]) -> Result<Vec<PipPin>, PipError> {
    solve_in(Manner::Json, files, packages, constraints)
}

fn shown(pins: &[PipPin]) -> Vec<String> {
    pins.iter().map(|pin| format!("{}=={} < {}", pin.name, pin.version, pin.required_by.join(" "))).collect()
}

fn said(error: &PipError) -> String {
    [vec![error.to_string()], error.evidence(), error.notes(), error.hints()].concat().join("\n")
}

fn wheel(name: &str, version: &str) -> WheelBuilder {
    WheelBuilder::new(name, version)
}

/// `app` with an extra that needs `more`, which limits `lib`.
fn family() -> Vec<Listed> {
    let app = wheel("app", "2.0")
        .requires("lib>=1")
        .requires("win ; sys_platform == 'win32'")
        .line("Provides-Extra: plus")
        .requires("More_Things>1 ; extra == 'plus'");
    vec![
        Listed::wheel(&app),
        Listed::wheel(&wheel("lib", "1.5")),
        Listed::wheel(&wheel("lib", "2.5")),
        Listed::wheel(&wheel("lib", "3.5")),
        Listed::wheel(&wheel("more_things", "1.1").requires("lib<3")),
    ]
}

#[test]
fn the_closure_follows_extras_markers_and_constraints() {
    let plain = solve(&family(), &["app"], &[]).unwrap();
    assert_eq!(shown(&plain), ["app==2.0 < manifest", "lib==3.5 < app"]);
    let plus = solve(&family(), &["App[Plus]"], &[]).unwrap();
    assert_eq!(shown(&plus), ["app==2.0 < manifest", "lib==2.5 < app more-things", "more-things==1.1 < app"]);
    let held = solve(&family(), &["app", "lib"], &["lib<2", "unknown<1"]).unwrap();
    assert_eq!(shown(&held), ["app==2.0 < manifest", "lib==1.5 < app manifest"]);
    assert_eq!(plus[2].artifact.path.as_str(), "more-things/more_things-1.1-py3-none-any.whl");
    assert_eq!(plus[2].artifact.sha256, Sha256::of(wheel("more_things", "1.1").requires("lib<3").build()));
    assert_eq!(plus[2].tags, "py3-none-any");
}

#[test]
fn every_manner_of_index_gives_the_same_pins() {
    let json = solve(&family(), &["app[plus]"], &[]).unwrap();
    for manner in [Manner::Html, Manner::MetadataOnly] {
        assert_eq!(solve_in(manner, &family(), &["app[plus]"], &[]).unwrap(), json);
    }
    let mut turned = family();
    turned.reverse();
    assert_eq!(solve(&turned, &["app[plus]"], &[]).unwrap(), json);
}

#[test]
fn metadata_that_was_not_promised_is_not_believed() {
    let error = solve_in(Manner::WrongMetadata, &family(), &["app"], &[]).unwrap_err();
    assert_eq!(error.kind(), Kind::Distrust, "{}", said(&error));
}

#[test]
fn what_was_read_once_is_not_read_again() {
    let index = Index::serve(Manner::Json, &family());
    let source = source("pypi", &index, &[]);
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let section = section(&["app[plus]"], &[]);
    let first = runtime.block_on(ask(&[&source], &section, &store)).unwrap();
    let asked = index.file_requests();
    assert!(asked > 0);
    assert_eq!(runtime.block_on(ask(&[&source], &section, &store)).unwrap(), first);
    assert_eq!(index.file_requests(), asked);
}

#[test]
fn prereleases_and_yanked_releases_are_last_resorts() {
    let files = [
        Listed::wheel(&wheel("a", "1.0")),
        Listed::wheel(&wheel("a", "2.0rc1")),
        Listed::yanked(&wheel("a", "1.5")),
        Listed::wheel(&wheel("b", "0.1a1")),
        Listed::wheel(&wheel("b", "0.1a2")),
    ];
    let version = |request: &str| solve(&files, &[request], &[]).map(|pins| pins[0].version.to_string());
    assert_eq!(version("a").unwrap(), "1.0");
    assert_eq!(version("a>1.6").unwrap(), "2.0rc1");
    assert_eq!(version("a==1.5").unwrap(), "1.5");
    assert_eq!(version("b").unwrap(), "0.1a2");
    let error = version("a>1,<2").unwrap_err();
    assert!(said(&error).contains("`a 1.5` was yanked"), "{}", said(&error));
}

#[test]
fn an_older_release_is_taken_where_the_newest_does_not_fit() {
    let files = [
        Listed::wheel(&wheel("a", "1.0").requires("c<2")),
        Listed::wheel(&wheel("a", "2.0").requires("c>=2")),
        Listed::wheel(&wheel("b", "1.0").requires("c<2")),
        Listed::wheel(&wheel("c", "1.0")),
        Listed::wheel(&wheel("c", "2.0")),
        Listed::wheel(&wheel("d", "1.0").line("Requires-Python: >=3.8")),
        Listed::wheel(&wheel("d", "2.0").line("Requires-Python: <3.13")),
        Listed::wheel(&wheel("d", "3.0").line("Requires-Python: >=3.13.6")),
        Listed::wheel(&wheel("d", "4.0").line("Requires-Python: gibberish")),
    ];
    let pins = solve(&files, &["a", "b", "d"], &[]).unwrap();
    assert_eq!(shown(&pins), ["a==1.0 < manifest", "b==1.0 < manifest", "c==1.0 < a b", "d==1.0 < manifest"]);
}

#[test]
fn the_best_wheel_of_a_release_is_taken() {
    let tags = [
        "py3-none-any",
        "cp311-abi3-manylinux_2_17_x86_64",
        "cp313-cp313-manylinux_2_28_x86_64",
        "cp313-cp313-manylinux_2_42_x86_64",
        "cp313-cp313t-manylinux_2_17_x86_64",
        "cp313-cp313-musllinux_1_2_x86_64",
        "cp314-cp314-manylinux_2_17_x86_64",
        "cp313-cp313-manylinux_2_17_aarch64",
    ];
    let files: Vec<Listed> = tags.iter().map(|tags| Listed::wheel(&wheel("a", "1.0").tags(tags))).collect();
    assert_eq!(solve(&files, &["a"], &[]).unwrap()[0].tags, "cp313-cp313-manylinux_2_28_x86_64");
    assert_eq!(solve(&files[..2], &["a"], &[]).unwrap()[0].tags, "cp311-abi3-manylinux_2_17_x86_64");
    let error = solve(&files[3..], &["a"], &[]).unwrap_err();
    assert!(matches!(error, PipError::NoWheel { .. }));
    let said = said(&error);
    assert!(said.contains("glibc 2.41") && said.contains("manylinux_2_42") && said.contains("and 2 more"), "{said}");
}

#[test]
fn a_source_release_is_refused_with_what_there_is() {
    let files = [Listed::wheel(&wheel("a", "1.0").requires("old")), Listed::source("old-0.9.tar.gz")];
    let error = solve(&files, &["a"], &[]).unwrap_err();
    assert_eq!(error.kind(), Kind::Unable);
    assert_eq!(error.to_string(), "`old` has no wheel that the target can use");
    assert!(said(&error).contains("found  0.9: source only"), "{}", said(&error));
    assert!(said(&error).contains("wanted  a requires old"), "{}", said(&error));
}

#[test]
fn a_contradiction_is_told_by_its_facts() {
    let files = [
        Listed::wheel(&wheel("a", "1.0").requires("c<2")),
        Listed::wheel(&wheel("b", "1.0").requires("c>=2")),
        Listed::wheel(&wheel("c", "1.0")),
        Listed::wheel(&wheel("c", "2.0")),
    ];
    let error = solve(&files, &["a", "b"], &[]).unwrap_err();
    assert!(matches!(error, PipError::NoSolution { .. }));
    let said = said(&error);
    for fact in ["the manifest asks for a", "the manifest asks for b", "a requires c <2", "b requires c >=2"] {
        assert!(said.contains(fact), "{fact}:\n{said}");
    }
    assert!(!said.contains("127.0.0.1"), "{said}");
    let error = solve(&files, &["c>=2"], &["c<2"]).unwrap_err();
    assert!(self::said(&error).contains("asks for c in versions that exclude each other"), "{}", self::said(&error));
    let error = solve(&files, &["c>=3"], &[]).unwrap_err();
    assert!(
        self::said(&error).contains("`c` has no release in that range; its newest is 2.0"),
        "{}",
        self::said(&error)
    );
}

#[test]
fn names_that_do_not_exist_are_told() {
    let error = solve(&family(), &["app", "apq"], &[]).unwrap_err();
    assert!(matches!(&error, PipError::UnknownProject { name, .. } if name == "apq"), "{}", said(&error));
    let error = solve(&family(), &["app[pluss]"], &[]).unwrap_err();
    assert!(matches!(error, PipError::UnknownExtra { .. }));
    assert!(said(&error).contains("did you mean `plus`?"), "{}", said(&error));
    let files = [Listed::wheel(&wheel("a", "1.0").requires("ghost"))];
    let error = solve(&files, &["a"], &[]).unwrap_err();
    assert!(said(&error).contains("the index does not know `ghost`"), "{}", said(&error));
}

#[test]
fn what_comes_from_a_url_is_not_locked() {
    let url = wheel("a", "2.0").requires("b @ https://host.invalid/b.whl");
    let files = [Listed::wheel(&url), Listed::wheel(&wheel("a", "1.0"))];
    assert_eq!(shown(&solve(&files, &["a"], &[]).unwrap()), ["a==1.0 < manifest"]);
    let error = solve(&files, &["a>1"], &[]).unwrap_err();
    assert!(said(&error).contains("`b` from a URL"), "{}", said(&error));
}

#[test]
fn a_bound_project_comes_from_its_own_index_alone() {
    let public = Index::serve(
        Manner::Json,
        &[Listed::wheel(&wheel("a", "1.0").requires("own")), Listed::wheel(&wheel("own", "99"))],
    );
    let private = Index::serve(Manner::Json, &[Listed::wheel(&wheel("own", "1.0"))]);
    let sources = [source("pypi", &public, &[]), source("company", &private, &["Own"])];
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let pins = runtime.block_on(ask(&[&sources[0], &sources[1]], &section(&["a"], &[]), &store)).unwrap();
    assert_eq!(shown(&pins), ["a==1.0 < manifest", "own==1.0 < a"]);
    assert_eq!(pins[1].artifact.source.as_str(), "company");
}

#[test]
fn a_locked_wheel_is_found_again_by_name_and_hash() {
    let index = Index::serve(Manner::Json, &family());
    let source = source("pypi", &index, &[]);
    let pin = solve(&family(), &["lib"], &[]).unwrap().remove(0);
    let http = HttpClient::new(HttpOptions { tries: 1, ..HttpOptions::default() });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let url = runtime.block_on(locate(&pin.artifact, &source, &http)).unwrap();
    assert!(url.path().ends_with("/files/lib-3.5-py3-none-any.whl"));
    let mut other = pin.artifact.clone();
    other.sha256 = Sha256::of(b"other");
    assert_eq!(runtime.block_on(locate(&other, &source, &http)).unwrap_err().kind(), Kind::Distrust);
    let mut gone = pin.artifact;
    gone.path = "lib/lib-9-py3-none-any.whl".parse().unwrap();
    assert!(matches!(runtime.block_on(locate(&gone, &source, &http)), Err(PipError::Gone { .. })));
}

#[test]
fn an_index_that_does_not_answer_is_an_error_with_a_cause() {
    let index = Index::serve(Manner::Json, &[]);
    let mut silent = source("pypi", &index, &[]);
    silent.url.set_port(Some(1)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let error = runtime.block_on(ask(&[&silent], &section(&["a"], &[]), &store)).unwrap_err();
    assert_eq!(error.kind(), Kind::Unable);
    assert!(matches!(error, PipError::Http { .. }));
}
