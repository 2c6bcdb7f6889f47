//! The manifest and the template that an import gives.

use std::fmt::Write as _;

use super::Collected;
use crate::manifest::NpmOverride;
use crate::model::ImageReference;

const PIP_PATH: &str = "/opt/venv";
const PATHS: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// oclock.toml.
pub(in crate::ops) fn manifest_text(collected: &Collected) -> String {
    let mut text = String::from(
        "# Imported by `oclock init --from`. `oclock update` chooses versions for what stands here and writes lockfile.toml.\n\n[image]\n",
    );
    let platforms = match collected.platforms.is_empty() {
        true => vec!["linux/amd64".to_owned()],
        false => collected.platforms.clone(),
    };
    let _ = writeln!(text, "name = {}", quoted(&image_name(collected)));
    let _ = writeln!(text, "tags = [\"latest\"]\nplatforms = [{}]", list(&platforms));
    let _ = writeln!(text, "base = {}", collected.base.as_deref().unwrap_or("{ debian = \"trixie\" }"));
    if !collected.apt.is_empty() {
        let _ = write!(text, "\n[apt]\npackages = [\n{}]\n", lines(&collected.apt));
        if collected.recommends {
            text.push_str("# Without `--no-install-recommends` apt-get follows them; `false` makes a smaller image.\nrecommends = true\n");
        }
    }
    if !collected.npm.is_empty() {
        text.push_str("\n[npm.packages]\n");
        text.extend(collected.npm.iter().map(|(name, wanted)| format!("{} = {}\n", quoted(name), quoted(wanted))));
    }
    for (directory, packages) in &collected.projects {
        let _ = writeln!(text, "\n[npm.projects.{}]", quoted(directory));
        text.extend(packages.iter().map(|(name, wanted)| format!("{} = {}\n", quoted(name), quoted(wanted))));
    }
    if !collected.npm_overrides.is_empty() {
        let _ = write!(text, "\n[npm.overrides]\n{}", entries(&collected.npm_overrides).join("\n") + "\n");
    }
    if !collected.pip.is_empty() {
        let _ = write!(text, "\n[pip]\npath = {}\npackages = [\n{}]\n", quoted(PIP_PATH), lines(&collected.pip));
        for (key, items) in [("constraints", &collected.constraints), ("overrides", &collected.pip_overrides)] {
            if !items.is_empty() {
                let _ = write!(text, "{key} = [\n{}]\n", lines(items));
            }
        }
    }
    text
}

/// Overrides as entries of a TOML table; what holds below a package is a table on the same line.
fn entries(overrides: &[NpmOverride]) -> Vec<String> {
    let entry = |entry: &NpmOverride| {
        let own = entry.wanted.as_deref().map(quoted);
        let value = match (own, entry.below.is_empty()) {
            (own, true) => own.unwrap_or_default(),
            (own, false) => {
                let own = own.map(|own| format!("\".\" = {own}"));
                let all: Vec<String> = own.into_iter().chain(entries(&entry.below)).collect();
                format!("{{ {} }}", all.join(", "))
            }
        };
        format!("{} = {value}", quoted(&entry.key))
    };
    overrides.iter().map(entry).collect()
}

/// Containerfile.in.
pub(in crate::ops) fn template_text(collected: &Collected) -> String {
    let mut text = String::from("# Imported by `oclock init --from`. `oclock render` prints what it becomes.\n");
    text.push_str("FROM {{ base }}\n\n{{ apt.install }}\n{{ npm.install }}\n{{ pip.install }}\n");
    if !collected.pip.is_empty() {
        let is_image = collected.base.as_deref().is_some_and(|base| base.starts_with('"'));
        let paths = if is_image { "$PATH" } else { PATHS };
        let _ = writeln!(text, "\nENV PATH={PIP_PATH}/bin:{paths}");
    }
    match collected.rest.as_deref().map(str::trim).filter(|rest| !rest.is_empty()) {
        Some(rest) => {
            let _ = write!(
                text,
                "\n# What the Dockerfile did beside installing packages. COPY takes from context/.\n{rest}\n"
            );
        }
        None => {
            text.push_str("\n# The project's own files are below context/.\n# COPY app/ /app/\n\nCMD [\"/bin/bash\"]\n")
        }
    }
    text
}

fn image_name(collected: &Collected) -> String {
    let name = collected.name.as_deref().unwrap_or_default().trim_start_matches('@').to_lowercase();
    let is_name = ImageReference::parse(&name).is_ok_and(|name| name.tag.is_none() && name.digest.is_none());
    if is_name { name } else { "my-image".to_owned() }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list(items: &[String]) -> String {
    items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", ")
}

fn lines(items: &[String]) -> String {
    items.iter().map(|item| format!("  {},\n", quoted(item))).collect()
}
