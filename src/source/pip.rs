//! pip's and uv's own settings: variables, `pip.conf`, `uv.toml`; else the default that the pip or uv on the PATH tells.

use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use ini::{Ini, ParseOption};

use crate::base::document::Document;
use crate::base::environment::Environment;
use crate::base::fs::read_text_if_present;
use crate::base::process::{Invocation, find_program};
use crate::manifest::SourceKind;
use crate::model::{Hasher, Sha256};
use crate::store::Store;

use super::error::SourceError;
use super::model::{Source, names};
use super::{found, link, shown_path};

/// What one place says about indexes.
#[derive(Debug, Default)]
struct Indexes {
    default: Option<String>,
    extra: Vec<String>,
    found_in: String,
}

/// The default index. `bound` says whether a second index is one that `[sources]` binds packages to.
pub(super) fn discover(
    environment: &Environment,
    project: &Path,
    store: Option<&Store>,
    bound: impl Fn(&str) -> bool,
) -> Result<Vec<Source>, SourceError> {
    let mut places = vec![pip_variables(environment), uv_variables(environment)];
    for path in pip_files(environment) {
        places.extend(pip_file(environment, &path)?);
    }
    for path in uv_files(environment, project) {
        places.extend(uv_file(environment, &path)?);
    }
    for place in &places {
        if let Some(extra) = place.extra.iter().find(|extra| !bound(extra)) {
            let url = link::parse_url(extra).map_or_else(|_| "…".to_owned(), |(url, _)| url.to_string());
            return Err(SourceError::ExtraIndex { url, found_in: place.found_in.clone() });
        }
    }
    let said = places.into_iter().find_map(|place| Some((place.default?, place.found_in)));
    let (url, found_in) = match said {
        Some(said) => said,
        None => default_of_programs(environment, store).ok_or_else(|| SourceError::NotFound {
            what: "Python index",
            looked: looked(),
            section: names::PYPI,
        })?,
    };
    let link = link::parse_url(&url).map_err(|reason| SourceError::Url { reason, found_in: found_in.clone() })?;
    Ok(vec![found(names::PYPI, SourceKind::Pip, link, found_in)?])
}

fn looked() -> Vec<String> {
    ["PIP_INDEX_URL, UV_DEFAULT_INDEX, UV_INDEX_URL", "pip.conf, uv.toml", "pip, uv and python3 on the PATH"]
        .map(str::to_owned)
        .to_vec()
}

fn words(text: Option<&str>) -> Vec<String> {
    text.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

fn pip_variables(environment: &Environment) -> Indexes {
    Indexes {
        default: environment.variable("PIP_INDEX_URL").map(str::to_owned),
        extra: words(environment.variable("PIP_EXTRA_INDEX_URL")),
        found_in: "PIP_INDEX_URL or PIP_EXTRA_INDEX_URL".into(),
    }
}

fn uv_variables(environment: &Environment) -> Indexes {
    let default = environment.variable("UV_DEFAULT_INDEX").or_else(|| environment.variable("UV_INDEX_URL"));
    let mut extra = words(environment.variable("UV_EXTRA_INDEX_URL"));
    extra.extend(words(environment.variable("UV_INDEX")));
    Indexes {
        default: default.map(|text| without_name(text).to_owned()),
        extra: extra.iter().map(|text| without_name(text).to_owned()).collect(),
        found_in: "UV_DEFAULT_INDEX, UV_INDEX_URL, UV_INDEX or UV_EXTRA_INDEX_URL".into(),
    }
}

/// uv writes a named index as `name=https://…`.
fn without_name(text: &str) -> &str {
    match text.split_once('=') {
        Some((name, url)) if !name.contains(['/', ':']) => url,
        _ => text,
    }
}

/// pip's files, strongest first (pip's documentation, "Configuration files").
fn pip_files(environment: &Environment) -> Vec<PathBuf> {
    if environment.variable("PIP_CONFIG_FILE").is_some_and(|path| path == "/dev/null") {
        return Vec::new();
    }
    let variable = |name: &str| environment.variable(name).map(PathBuf::from);
    let home = environment.home();
    let settings = variable("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
    let shared = environment.variable("XDG_CONFIG_DIRS").unwrap_or_default().split(':').filter(|path| !path.is_empty());
    let mut files = vec![
        variable("PIP_CONFIG_FILE"),
        variable("VIRTUAL_ENV").map(|path| path.join("pip.conf")),
        settings.map(|path| path.join("pip/pip.conf")),
        home.map(|path| path.join(".pip/pip.conf")),
        Some(environment.host_path("etc/pip.conf")),
    ];
    files.extend(shared.map(|path| Some(Path::new(path).join("pip/pip.conf"))));
    files.into_iter().flatten().collect()
}

fn pip_file(environment: &Environment, path: &Path) -> Result<Option<Indexes>, SourceError> {
    let Some(text) = read_text_if_present(path)? else { return Ok(None) };
    let file = shown_path(environment, path);
    let options = ParseOption {
        enabled_quote: false,
        enabled_escape: false,
        enabled_indented_mutiline_value: true,
        ..ParseOption::default()
    };
    let settings = Ini::load_from_str_opt(&text, options)
        .map_err(|error| SourceError::Settings { file: file.clone(), reason: error.to_string() })?;
    let value = |wanted: &str| {
        // A command's own section wins over the global one; names are written with `-` or `_`.
        ["install", "global"].into_iter().find_map(|section| {
            let mut pairs = settings.section(Some(section))?.iter();
            pairs.find(|(key, _)| key.replace('_', "-").eq_ignore_ascii_case(wanted)).map(|(_, value)| value.to_owned())
        })
    };
    let default = value("index-url").map(|url| url.trim().to_owned()).filter(|url| !url.is_empty());
    Ok(Some(Indexes { default, extra: words(value("extra-index-url").as_deref()), found_in: file }))
}

/// uv's files, strongest first.
fn uv_files(environment: &Environment, project: &Path) -> Vec<PathBuf> {
    let named = environment.variable("UV_CONFIG_FILE").map(PathBuf::from);
    let settings = environment.variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let settings = settings.or_else(|| Some(environment.home()?.join(".config")));
    match named {
        Some(path) => vec![path],
        None => [
            Some(project.join("uv.toml")),
            settings.map(|path| path.join("uv/uv.toml")),
            Some(environment.host_path("etc/uv/uv.toml")),
        ]
        .into_iter()
        .flatten()
        .collect(),
    }
}

fn uv_file(environment: &Environment, path: &Path) -> Result<Option<Indexes>, SourceError> {
    let Some(text) = read_text_if_present(path)? else { return Ok(None) };
    let found_in = shown_path(environment, path);
    let indexes = parse_uv(&text, &found_in)
        .map_err(|error| SourceError::Settings { file: found_in.clone(), reason: error.to_string() })?;
    Ok(Some(Indexes { found_in, ..indexes }))
}

fn parse_uv(text: &str, file: &str) -> Result<Indexes, crate::base::document::DocumentError> {
    let document = Document::parse(text, file)?;
    let root = document.free_root();
    let mut indexes = Indexes::default();
    let pip = root.get("pip").map(|value| value.free_table()).transpose()?;
    for table in std::iter::once(&root).chain(&pip) {
        if let Some(value) = table.get("index-url") {
            indexes.default = Some(value.string()?.to_owned());
        }
        for item in table.get("extra-index-url").map_or(Ok(Vec::new()), |value| value.list())? {
            indexes.extra.push(item.string()?.to_owned());
        }
    }
    for item in root.get("index").map_or(Ok(Vec::new()), |value| value.list())? {
        let index = item.free_table()?;
        let url = index.require("url")?.string()?.to_owned();
        let says = |key: &str| index.get(key).map_or(Ok(false), |value| value.boolean());
        match (says("default")?, says("explicit")?) {
            (true, _) => indexes.default = Some(url),
            // uv asks an explicit index for the packages that name it alone.
            (false, true) => {}
            (false, false) => indexes.extra.push(url),
        }
    }
    Ok(indexes)
}

/// The ways to ask for a default, in order: the program, its arguments, and what stands before the URL in its answer.
const QUESTIONS: [(&str, &[&str], &str); 3] = [
    ("pip", &["--isolated", "install", "--help"], "(default "),
    ("uv", &["pip", "install", "--help", "--no-config", "--color", "never"], "(by default: "),
    ("python3", &["-m", "pip", "--isolated", "install", "--help"], "(default "),
];

/// Asks the programs on the PATH for the index they use when nobody says another. This takes half a second, so that the
/// answer is kept for as long as the program's file stays the same.
fn default_of_programs(environment: &Environment, store: Option<&Store>) -> Option<(String, String)> {
    QUESTIONS.into_iter().find_map(|(name, arguments, before)| {
        let program = find_program(name, environment.variable("PATH"))?;
        let question = program_identity(&program, arguments);
        let kept = question
            .and_then(|question| store?.memo(MEMO, &question))
            .and_then(|answer| String::from_utf8(answer).ok());
        let url = match kept {
            Some(url) => url,
            None => {
                let url = ask(&program, arguments, before)?;
                if let (Some(store), Some(question)) = (store, question) {
                    // Without the memo it is asked again next time, which is slow and right.
                    store.set_memo(MEMO, &question, url.as_bytes()).ok();
                }
                url
            }
        };
        Some((url, format!("the default of {}", shown_path(environment, &program))))
    })
}

const MEMO: &str = "pip-default-index";

fn program_identity(program: &Path, arguments: &[&str]) -> Option<Sha256> {
    let metadata = program.metadata().ok()?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let mut hasher = Hasher::default();
    hasher.field(program.as_os_str().as_encoded_bytes());
    hasher.field(modified.as_nanos().to_string());
    hasher.field(metadata.len().to_string());
    arguments.iter().for_each(|argument| hasher.field(argument));
    Some(hasher.finish())
}

fn ask(program: &Path, arguments: &[&str], before: &str) -> Option<String> {
    let help = Invocation::new(program)
        .args(arguments)
        .env("COLUMNS", "400")
        .env("PYTHONIOENCODING", "utf-8")
        .env("NO_COLOR", "1")
        .limit(Duration::from_secs(20))
        .run()
        .map_err(|error| tracing::debug!("{error}"))
        .ok()?;
    parse_help(&help.text(), before)
}

/// The URL that stands after `before` in the description of the option for the index.
fn parse_help(help: &str, before: &str) -> Option<String> {
    let option = help.find("--index-url").or_else(|| help.find("--default-index"))?;
    let text = help[option..].split_whitespace().collect::<Vec<_>>().join(" ");
    let answer = &text[text.find(before)? + before.len()..];
    let url = answer.split([')', '>', ' ']).next()?.trim_start_matches('<');
    link::parse_url(url).ok().map(|_| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_is_read_from_the_help() {
        let pip = "Package Index Options:\n  -i, --index-url <url>       Base URL of the Python Package Index (default\n                              https://h.invalid/simple). This should";
        assert_eq!(parse_help(pip, "(default ").as_deref(), Some("https://h.invalid/simple"));
        let uv = "--default-index <DEFAULT_INDEX>  The URL of the default package index (by default: <https://h.invalid/simple>)";
        assert_eq!(parse_help(uv, "(by default: ").as_deref(), Some("https://h.invalid/simple"));
        assert_eq!(parse_help("--index-url <url> (default none)", "(default "), None);
        assert_eq!(parse_help("nothing", "(default "), None);
    }

    #[test]
    fn uv_settings_have_three_forms() {
        let read = |text: &str| parse_uv(text, "uv.toml").map(|indexes| (indexes.default, indexes.extra)).unwrap();
        let url = Some("https://a.invalid/simple".to_owned());
        assert_eq!(read("index-url = \"https://a.invalid/simple\""), (url.clone(), vec![]));
        assert_eq!(read("[pip]\nindex-url = \"https://a.invalid/simple\""), (url.clone(), vec![]));
        let text = "[[index]]\nurl = \"https://a.invalid/simple\"\ndefault = true\n[[index]]\nurl = \"https://b.invalid\"\n[[index]]\nurl = \"https://c.invalid\"\nexplicit = true\n";
        assert_eq!(read(text), (url, vec!["https://b.invalid".to_owned()]));
    }
}
