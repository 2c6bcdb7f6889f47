//! `oclock verify --rebuild`: the image built again from nothing but the locked artifacts, several times in varied surroundings,
//! and compared. Each round is a process of its own in a copy of the project, with a store of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::build::kept_by_id;
use super::error::OpsError;
use super::session::Session;
use super::vary::{Round, Surroundings, Variation};
use crate::base::fs::{FsError, Order, copy_tree, ensure_directory, link_or_copy, write_atomically};
use crate::base::process::own_program;
use crate::engine::EngineError;
use crate::engine::containerfile::run_steps;
use crate::image::{self, FileDifference, SealedImage};
use crate::lock::{BasePin, Lockfile, render_lockfile};
use crate::model::{Platform, Sha256};
use crate::store::Store;

/// How to rebuild.
#[derive(Clone, Debug)]
pub struct RebuildOptions {
    /// How often, at least twice where nothing is recorded.
    pub rounds: u32,
    /// What is varied from round to round.
    pub vary: Vec<Variation>,
    /// Time limit for one round.
    pub limit: Duration,
}

/// What rebuilding showed.
#[derive(Debug)]
pub(super) struct Rebuilt {
    /// One line for each round.
    pub rounds: Vec<String>,
    /// What came out differently, when something did.
    pub difference: Option<RebuildDifference>,
}

/// Two images that should be one.
#[derive(Debug)]
pub(super) struct RebuildDifference {
    /// Their IDs.
    pub ids: (Sha256, Sha256),
    /// Where each is kept, as an archive that `docker load` takes.
    pub kept: Vec<PathBuf>,
    /// Each differing path, with the layer and the step that it comes from.
    pub files: Vec<String>,
}

/// Builds again, round after round, until two images differ or all are one.
///
/// # Errors
/// When a round cannot be built.
pub(super) fn rebuild(
    session: &Session,
    lock: &Lockfile,
    platform: Platform,
    options: &RebuildOptions,
) -> Result<Rebuilt, OpsError> {
    let surroundings = Surroundings::of_host(&session.environment, &options.vary);
    let builder = Rebuilder { session, lock, platform, options, surroundings: &surroundings };
    let mut said = Vec::new();
    let mut first: Option<SealedImage> = None;
    for number in 0..options.rounds.max(1) {
        let round = surroundings.round(number);
        let (image, engine) = builder.build(&round, None)?;
        said.push(format!("round {}: {} with {engine}; {}", number + 1, image.id.short(), round.said()));
        match &first {
            None => first = Some(image),
            Some(known) if known.id == image.id => {}
            Some(known) => {
                let difference = builder.explain(known, &image)?;
                return Ok(Rebuilt { rounds: said, difference: Some(difference) });
            }
        }
    }
    let recorded = lock.images.get(&platform).map(|pin| pin.id);
    let difference = match (&first, recorded) {
        (Some(image), Some(recorded)) if image.id != recorded => Some(builder.against_record(image, recorded)?),
        _ => None,
    };
    Ok(Rebuilt { rounds: said, difference })
}

struct Rebuilder<'a> {
    session: &'a Session,
    lock: &'a Lockfile,
    platform: Platform,
    options: &'a RebuildOptions,
    surroundings: &'a Surroundings,
}

/// What a round's process says.
#[derive(serde::Deserialize)]
struct Said {
    id: Sha256,
    engine: Option<String>,
}

impl Rebuilder<'_> {
    /// Builds once. With `steps`, only so many RUN steps of the Containerfile are carried out.
    fn build(&self, round: &Round, steps: Option<usize>) -> Result<(SealedImage, String), OpsError> {
        let scratch = self.session.scratch("rebuild-")?;
        let project = round.directory(scratch.path());
        self.copy_project(&project, round)?;
        let store = Store::open(scratch.path().join("store"))?;
        self.share_artifacts(&store)?;
        let mut words: Vec<String> = ["--quiet", "--offline", "--format", "json"].map(str::to_owned).to_vec();
        words.extend(["--store".into(), absolute(store.root())?, "-C".into(), absolute(&project)?]);
        words.extend(["build", "--no-load", "--no-reuse", "--platform"].map(str::to_owned));
        words.extend([self.platform.to_string(), "--engine".into(), round.engine.clone()]);
        words.extend(["--limit".into(), self.options.limit.as_secs().to_string()]);
        words.extend(steps.into_iter().flat_map(|steps| ["--steps".to_owned(), steps.to_string()]));
        let program = own_program().map_err(|source| OpsError::Rebuild { source })?;
        let phase = self.session.progress.spinner(&format!("rebuilding with {}", round.engine));
        let output = round.invocation(&program, &words, scratch.path()).limit(self.options.limit).run();
        let output = output.map_err(|source| OpsError::Rebuild { source })?;
        let said: Said = serde_json::from_slice(&output.stdout)
            .map_err(|error| OpsError::RebuildAnswer { what: error.to_string() })?;
        let image = kept_by_id(&said.id, &store)
            .ok_or_else(|| OpsError::RebuildAnswer { what: "its image is not in its store".into() })?;
        self.take(&image, &store)?;
        phase.finish(&image.id.short());
        Ok((image, said.engine.unwrap_or_default()))
    }

    /// The project without what is recorded and without scratch.
    fn copy_project(&self, to: &Path, round: &Round) -> Result<(), OpsError> {
        ensure_directory(to)?;
        let paths = &self.session.paths;
        for (from, name) in [(&paths.manifest, "oclock.toml"), (&paths.template(), "Containerfile.in")] {
            write_atomically(&to.join(name), &crate::base::fs::read(from)?)?;
        }
        let lock = Lockfile { images: std::collections::BTreeMap::new(), ..self.lock.clone() };
        write_atomically(&to.join("lockfile.toml"), render_lockfile(&lock).as_bytes())?;
        let order = if round.is_reversed { Order::Backwards } else { Order::Forwards };
        if paths.context().is_dir() {
            copy_tree(&paths.context(), &to.join("context"), order)?;
        }
        Ok(())
    }

    /// Every blob that the lock names, and nothing that was made of them.
    fn share_artifacts(&self, store: &Store) -> Result<(), OpsError> {
        let mut digests: Vec<Sha256> = self.lock.pins().map(|pin| pin.artifact.sha256).collect();
        if let BasePin::Image { index, manifests, .. } = &self.lock.base {
            digests.push(*index);
            for manifest in manifests.values() {
                digests.extend([manifest.digest, manifest.config]);
                digests.extend(manifest.layers.iter().map(|layer| layer.digest));
            }
        }
        for digest in digests {
            let (from, to) = (self.session.store.blob_path(&digest), store.blob_path(&digest));
            if from.is_file() && !to.exists() {
                ensure_directory(to.parent().unwrap_or(store.root()))?;
                link_or_copy(&from, &to)?;
            }
        }
        Ok(())
    }

    /// Takes a round's image into the session's store, where images can be compared.
    fn take(&self, image: &SealedImage, from: &Store) -> Result<(), OpsError> {
        let own = &self.session.store;
        for digest in std::iter::once(&image.id).chain(image.layers.iter().map(|layer| &layer.diff_id)) {
            if !own.contains(digest) {
                let mut blob = own.create_blob()?;
                let mut file = from.open_blob(digest)?;
                std::io::copy(&mut file, &mut blob).map_err(FsError::new("write to", own.root()))?;
                blob.commit(Some(digest))?;
            }
        }
        Ok(())
    }

    fn explain(&self, one: &SealedImage, other: &SealedImage) -> Result<RebuildDifference, OpsError> {
        let differences = image::compare(one, other, &self.session.store)?;
        let steps = self.steps(&differences)?;
        let files = differences.iter().zip(steps).map(|(file, step)| format!("{file}  {step}")).collect();
        Ok(RebuildDifference { ids: (one.id, other.id), kept: vec![self.keep(one)?, self.keep(other)?], files })
    }

    fn against_record(&self, image: &SealedImage, recorded: Sha256) -> Result<RebuildDifference, OpsError> {
        let mut kept = vec![self.keep(image)?];
        let files = match kept_by_id(&recorded, &self.session.store) {
            Some(known) => {
                kept.push(self.keep(&known)?);
                image::compare(&known, image, &self.session.store)?.iter().map(ToString::to_string).collect()
            }
            None => vec!["the recorded image is not in the store, so its files cannot be compared".to_owned()],
        };
        Ok(RebuildDifference { ids: (recorded, image.id), kept, files })
    }

    fn keep(&self, image: &SealedImage) -> Result<PathBuf, OpsError> {
        let directory = self.session.paths.scratch().join("rebuilt");
        ensure_directory(&directory)?;
        let path = directory.join(format!("{}.tar", image.id.short()));
        image::write_docker_archive(&path, image, &[], &self.session.store)?;
        Ok(path)
    }

    /// The step that each differing path comes from: the first RUN step with which two builds differ in it. Builds with none
    /// of the steps, with the first one, and so on, twice each, until every path has its step.
    fn steps(&self, differences: &[FileDifference]) -> Result<Vec<String>, OpsError> {
        let unknown = "in no step alone";
        let mut found: Vec<Option<String>> = vec![None; differences.len()];
        let names = self.step_names()?;
        for number in 0..=names.len() {
            if found.iter().all(Option::is_some) {
                break;
            }
            let rounds = [self.surroundings.round(0), self.surroundings.round(1)];
            let (one, _) = self.build(&rounds[0], Some(number))?;
            let (other, _) = self.build(&rounds[1], Some(number))?;
            let apart = image::compare(&one, &other, &self.session.store)?;
            let what = match number {
                0 => "before any step".to_owned(),
                number => format!("step {number}: {}", names[number - 1]),
            };
            for (difference, found) in differences.iter().zip(&mut found) {
                if found.is_none() && apart.iter().any(|file| file.path == difference.path) {
                    *found = Some(what.clone());
                }
            }
        }
        Ok(found.into_iter().map(|step| step.unwrap_or_else(|| unknown.to_owned())).collect())
    }

    fn step_names(&self) -> Result<Vec<String>, OpsError> {
        let manifest = self.session.manifest()?.manifest;
        let rendered = self.session.rendered(&manifest, self.lock, self.platform)?;
        Ok(run_steps(&rendered.text).map_err(EngineError::from)?)
    }
}

fn absolute(path: &Path) -> Result<String, OpsError> {
    let path = std::path::absolute(path).map_err(FsError::new("find", path))?;
    Ok(path.display().to_string())
}
