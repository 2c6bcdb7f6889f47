//! npm's own settings: `.npmrc` of the host, the user and the project, and `npm_config_*` (read by `deno_npmrc`, which
//! carries npm's default registry).

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use deno_npmrc::{NpmRc, NpmRegistryUrl, RegistryConfig, RegistryConfigWithUrl};
use sys_traits::BaseEnvVar;

use crate::base::environment::Environment;
use crate::base::fs::read_text_if_present;
use crate::manifest::SourceKind;

use super::error::SourceError;
use super::model::{Source, names};
use super::{found, link, shown_path};

/// npm takes its variables in any case; `deno_npmrc` asks for them in capitals.
struct Variables<'a>(&'a Environment);

impl BaseEnvVar for Variables<'_> {
    fn base_env_var_os(&self, key: &OsStr) -> Option<OsString> {
        let key = key.to_str()?;
        let exact = self.0.variable(key);
        let folded = || {
            let is_npm = key.to_ascii_lowercase().starts_with("npm_config_");
            self.0.variables().find(|(name, value)| is_npm && !value.is_empty() && name.eq_ignore_ascii_case(key))
        };
        exact.or_else(|| folded().map(|(_, value)| value)).map(OsString::from)
    }
}

/// The default registry, then one for each scope that has another.
pub(super) fn discover(environment: &Environment, project: &Path) -> Result<Vec<Source>, SourceError> {
    let variables = Variables(environment);
    let from_variable = NpmRegistryUrl::for_npm(&variables);
    let mut found_in = match from_variable.from_env {
        true => "npm_config_registry".to_owned(),
        false => "npm's default".to_owned(),
    };
    let mut whole = String::new();
    let mut scopes_found_in = BTreeMap::new();
    for path in files(environment, project, &variables) {
        let Some(text) = read_text_if_present(&path)? else { continue };
        let shown = shown_path(environment, &path);
        let settings = NpmRc::parse(&variables, &text).map_err(|error| SourceError::Settings {
            file: shown.clone(),
            reason: crate::base::text::sanitize(&error.to_string()),
        })?;
        if settings.registry.is_some() && !from_variable.from_env {
            found_in.clone_from(&shown);
        }
        scopes_found_in.extend(settings.scope_registries.into_keys().map(|scope| (scope, shown.clone())));
        whole.push_str(&text);
        whole.push('\n');
    }
    let unreadable = |error: &dyn std::fmt::Display| SourceError::Url {
        reason: crate::base::text::sanitize(&error.to_string()),
        found_in: ".npmrc".to_owned(),
    };
    let settings = NpmRc::parse(&variables, &whole).map_err(|error| unreadable(&error))?;
    let resolved = settings.as_resolved(&from_variable).map_err(|error| unreadable(&error))?;
    let default = registry(names::NPM, &resolved.default_config, found_in)?;
    let scopes: BTreeMap<_, _> = resolved.scopes.iter().collect();
    let mut sources = vec![default];
    for (scope, config) in scopes {
        let found_in = scopes_found_in.get(scope).cloned().unwrap_or_default();
        let mut source = registry(&format!("npm-{}", plain(scope)), config, found_in)?;
        source.packages = vec![format!("@{scope}/*")];
        if source.url != sources[0].url {
            sources.push(source);
        }
    }
    Ok(sources)
}

/// The settings files, weakest first.
fn files(environment: &Environment, project: &Path, variables: &Variables<'_>) -> Vec<PathBuf> {
    let named = |name: &str| variables.base_env_var_os(OsStr::new(name)).map(PathBuf::from);
    let global = named("NPM_CONFIG_GLOBALCONFIG").unwrap_or_else(|| environment.host_path("etc/npmrc"));
    let user = named("NPM_CONFIG_USERCONFIG").or_else(|| Some(environment.home()?.join(".npmrc")));
    [Some(global), user, Some(project.join(".npmrc"))].into_iter().flatten().collect()
}

fn registry(name: &str, settings: &RegistryConfigWithUrl, found_in: String) -> Result<Source, SourceError> {
    let (url, in_url) = link::parse_url(settings.registry_url.as_str())
        .map_err(|reason| SourceError::Url { reason, found_in: found_in.clone() })?;
    let authorization = authorization(&settings.config).or(in_url);
    found(name, SourceKind::Npm, (url, authorization), found_in)
}

/// npm's order: a token, then user name and password together, then the password as it is stored (base64).
fn authorization(settings: &RegistryConfig) -> Option<String> {
    if let Some(token) = &settings.auth_token {
        return Some(format!("Bearer {token}"));
    }
    if let Some(pair) = &settings.auth {
        return Some(format!("Basic {pair}"));
    }
    let user = settings.username.as_ref()?;
    let password = STANDARD.decode(settings.password.as_ref()?).ok()?;
    Some(link::basic(user, &String::from_utf8_lossy(&password)))
}

/// A scope as part of a source's name.
fn plain(scope: &str) -> String {
    let inside = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    scope.to_ascii_lowercase().chars().map(inside).collect()
}
