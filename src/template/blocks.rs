//! The blocks that a template puts in: instructions of oclock's own, with the exact pins as comments beside them.

use std::fmt::Write as _;

use super::{Inherited, TemplateError};
use crate::lock::{BasePin, Lockfile, PinView, npm_trees};
use crate::manifest::Manifest;
use crate::model::{Ecosystem, Platform};

/// What the step runs that compiles the environment's byte code.
pub const COMPILE_LINE: &str = "sh /.oclock/compile";

/// The first line of the rendered file's own shell setting; what follows on the next line is not the image's.
pub(super) const SHELL_MARK: &str = "# oclock: shell";

pub(super) struct Blocks<'a> {
    manifest: &'a Manifest,
    lock: &'a Lockfile,
    platform: Platform,
    inherited: &'a Inherited,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(
        manifest: &'a Manifest,
        lock: &'a Lockfile,
        platform: Platform,
        inherited: &'a Inherited,
    ) -> Self {
        Self { manifest, lock, platform, inherited }
    }

    /// What stands behind FROM. Always `scratch`: the base comes with the packages, as bytes that oclock verified. The
    /// variables of a base image follow.
    pub(super) fn base(&self) -> String {
        format!("scratch{}", self.inherited.variables())
    }

    pub(super) fn apt(&self) -> String {
        let mut text = match &self.lock.base {
            BasePin::Debian { suite } => format!("# base: debian {suite}, from signed packages alone\n"),
            BasePin::Image { reference, index, .. } => format!("# base: {reference} sha256:{}\n", index.short()),
        };
        self.list(&mut text, Ecosystem::Apt);
        text.push_str("ADD .oclock/system.tar /\nCOPY .oclock/steps/ /.oclock/\n");
        let _ = writeln!(text, "{SHELL_MARK}\nSHELL [\"/bin/sh\", \"/.oclock/step\"]");
        text.push_str("RUN [\"/bin/sh\", \"/.oclock/configure\"]");
        text.push_str(&self.inherited.place());
        text
    }

    pub(super) fn npm(&self) -> String {
        let mut text = String::new();
        self.list(&mut text, Ecosystem::Npm);
        if self.is_empty(Ecosystem::Npm) {
            return text.trim_end().to_owned();
        }
        let trees = npm_trees(self.lock, &self.manifest.npm, self.platform);
        let has = |runs_scripts: bool| trees.values().any(|runs| *runs == runs_scripts);
        let scripts = || self.inherited.as_root("RUN sh /.oclock/npm-scripts");
        let scripted = has(true).then(|| format!("ADD .oclock/npm-scripted.tar /\n{}", scripts()));
        let others = has(false).then(|| "ADD .oclock/npm.tar /".to_owned());
        text.push_str(&scripted.into_iter().chain(others).collect::<Vec<_>>().join("\n"));
        text
    }

    pub(super) fn pip(&self) -> String {
        let mut text = String::new();
        self.list(&mut text, Ecosystem::Pip);
        if self.is_empty(Ecosystem::Pip) {
            return text.trim_end().to_owned();
        }
        text.push_str(&format!("ADD .oclock/pip.tar /\n{}", self.inherited.as_root(&format!("RUN {COMPILE_LINE}"))));
        text
    }

    /// Fails when packages are locked that the text does not install.
    pub(super) fn check_used(&self, text: &str) -> Result<(), TemplateError> {
        let used = |mark: &str| text.lines().any(|line| line.starts_with(mark));
        for (ecosystem, mark) in [
            (Ecosystem::Apt, "ADD .oclock/system.tar"),
            (Ecosystem::Npm, "ADD .oclock/npm"),
            (Ecosystem::Pip, "ADD .oclock/pip.tar"),
        ] {
            let needed = ecosystem == Ecosystem::Apt || !self.is_empty(ecosystem);
            if needed && !used(mark) {
                return Err(TemplateError::Unused { ecosystem: ecosystem.as_str() });
            }
        }
        Ok(())
    }

    fn is_empty(&self, ecosystem: Ecosystem) -> bool {
        self.pins(ecosystem).next().is_none()
    }

    fn pins(&self, ecosystem: Ecosystem) -> impl Iterator<Item = PinView<'_>> {
        self.lock.installed().filter(move |pin| pin.ecosystem == ecosystem && pin.platform == self.platform)
    }

    fn list(&self, text: &mut String, ecosystem: Ecosystem) {
        let _ = writeln!(text, "# {ecosystem}: {}", crate::base::text::count(self.pins(ecosystem).count(), "package"));
        for pin in self.pins(ecosystem) {
            let _ = writeln!(text, "#   {}={} sha256:{}", pin.name, pin.version, pin.artifact.sha256.short());
        }
    }
}
