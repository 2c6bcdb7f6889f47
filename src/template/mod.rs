//! Containerfile.in → Containerfile: a minijinja template with values that are typed, so that nothing from a lockfile can
//! become an instruction. Owns what a template may say; knows nothing of engines and of where the bytes are.

mod blocks;
mod check;
mod error;
mod inherited;

use std::collections::BTreeMap;

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value, context};

pub use blocks::COMPILE_LINE;
pub use check::{Copy, Instructions};
pub use error::TemplateError;
pub use inherited::Inherited;

use crate::base::explain::Excerpt;
use crate::base::text::nearest;
use crate::lock::Lockfile;
use crate::manifest::Manifest;
use crate::model::Platform;

/// The file's usual name, for messages.
pub const TEMPLATE_FILE: &str = "Containerfile.in";

/// Where oclock's own files are in the staged context, beside the project's `context/`.
pub const RESERVED: &str = ".oclock";

/// A rendered Containerfile and what was read from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The template as it is written.
    pub template: String,
    /// The whole text.
    pub text: String,
    /// What its instructions say that later steps need.
    pub instructions: Instructions,
}

/// Renders `template` for one platform and checks that the result is one that every engine builds alike.
///
/// # Errors
/// When a name is unknown, the template's language is used wrongly, packages are locked but never installed, or an
/// instruction is one that oclock does not allow.
pub fn render(
    template: &str,
    manifest: &Manifest,
    lock: &Lockfile,
    platform: Platform,
) -> Result<Rendered, TemplateError> {
    render_on(template, manifest, lock, platform, &Inherited::default())
}

/// The same on a base image.
///
/// # Errors
/// As [`render`], and when what the base says cannot be written in a Containerfile.
pub fn render_on(
    template: &str,
    manifest: &Manifest,
    lock: &Lockfile,
    platform: Platform,
    inherited: &Inherited,
) -> Result<Rendered, TemplateError> {
    inherited.check()?;
    let blocks = blocks::Blocks::new(manifest, lock, platform, inherited);
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    let versions = versions(lock, platform);
    environment.add_function("version", move |name: &str| version_of(&versions, name));
    let values = context! {
        base => blocks.base(),
        apt => context! { install => blocks.apt() },
        npm => context! { install => blocks.npm() },
        pip => context! { install => blocks.pip() },
        image => context! { name => manifest.image.name.as_str() },
        platform => platform.to_string(),
        epoch => lock.epoch,
    };
    let mut text =
        environment.render_named_str(TEMPLATE_FILE, template, values).map_err(|error| undefined(template, &error))?;
    text.push('\n');
    blocks.check_used(&text)?;
    let (mut instructions, staged) = check::check(&text)?;
    for copy in &mut instructions.copies {
        check::place_in_template(template, &text, &mut copy.excerpt);
    }
    Ok(Rendered { template: template.to_owned(), text: staged, instructions })
}

fn versions(lock: &Lockfile, platform: Platform) -> BTreeMap<String, String> {
    lock.installed()
        .filter(|pin| pin.platform == platform)
        .map(|pin| (format!("{}:{}", pin.ecosystem, pin.name), pin.version.to_string()))
        .collect()
}

fn version_of(versions: &BTreeMap<String, String>, name: &str) -> Result<Value, Error> {
    versions.get(name).map(|version| Value::from(version.as_str())).ok_or_else(|| {
        let hint = nearest(name, versions.keys().map(String::as_str));
        let hint = hint.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        Error::new(ErrorKind::UndefinedError, format!("nothing named `{name}` is locked{hint}"))
    })
}

const NAMES: &[&str] = &["base", "apt", "npm", "pip", "image", "platform", "epoch", "version", "install", "name"];

fn undefined(template: &str, error: &Error) -> TemplateError {
    let range = error.range().unwrap_or(0..0);
    let written = template.get(range.clone()).unwrap_or_default().trim();
    let last = written.rsplit('.').next().unwrap_or(written);
    let near = match error.kind() {
        ErrorKind::UndefinedError if !written.is_empty() && !written.contains('(') => written
            .split('.')
            .chain([last])
            .find(|part| !NAMES.contains(part))
            .and_then(|part| nearest(part, NAMES.iter().copied())),
        _ => None,
    };
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let offset = if range.is_empty() { line_start(template, error.line().unwrap_or(1)) } else { range.start };
    TemplateError::Render {
        detail: if written.is_empty() || error.detail().is_some() { detail } else { format!("{detail}: `{written}`") },
        excerpt: Box::new(Excerpt::at(TEMPLATE_FILE, template, offset, "")),
        nearest: near.map(str::to_owned),
    }
}

fn line_start(text: &str, line: usize) -> usize {
    text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum()
}

#[cfg(test)]
mod tests;
