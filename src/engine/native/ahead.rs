//! A split step begun ahead of its turn, on the second core, while the steps before it run.
//!
//! It starts from what the context's files alone make of the root, without what those steps change. Its results are kept under
//! the same keys as ever, and when its turn comes only those are taken whose key is that of the real state: nothing is
//! guessed, at worst the work is lost.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;

use super::apply::{Files, change};
use super::build::{PartsRoom, kept_result, key_of, split_of};
use super::plan::{Action, Step};
use super::split::Parts;
use super::state::State;
use crate::base::process::Unwanted;
use crate::base::sandbox::Sandbox;
use crate::engine::{BuildRequest, Split};
use crate::model::Sha256;

/// A thread that waits for its start and then for its result to be fetched. Once this is dropped the result is not wanted.
pub(super) struct Ahead {
    /// The step's number.
    pub number: usize,
    start: Option<Sender<()>>,
    answer: Receiver<Made>,
    unwanted: Unwanted,
}

/// What was made.
pub(super) struct Made {
    /// The archive in the store.
    pub archive: Sha256,
    /// The questions that it answers.
    pub keys: BTreeSet<Sha256>,
}

impl Ahead {
    /// Finds a step that can be begun ahead of its turn: one of parts, with another RUN before it.
    pub(super) fn prepare<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        sandbox: &Sandbox,
        request: &'env BuildRequest<'env>,
        steps: &'env [Step],
        place: PathBuf,
    ) -> Option<Self> {
        let store = request.known.store?;
        let is_run = |step: &Step| matches!(step.action, Action::Run { .. });
        let turn = steps.iter().position(|step| split_of(&step.action, &request.known).is_some())?;
        let (before, step) = (&steps[..turn], &steps[turn]);
        let split = split_of(&step.action, &request.known).filter(|_| before.iter().any(is_run))?;
        let unwanted = Unwanted::default();
        let sandbox = sandbox.unless(unwanted.clone());
        let ((start, started), (made, answer)) = (channel(), channel());
        scope.spawn(move || {
            let room = PartsRoom { sandbox: &sandbox, request, store, action: &step.action, place: &place };
            let work = Work { room, split, before };
            if started.recv().is_ok()
                && let Some(result) = work.carry_out()
            {
                made.send(result).ok();
            }
        });
        Some(Self { number: step.number, start: Some(start), answer, unwanted })
    }

    /// Lets the thread begin.
    pub(super) fn start(&mut self) {
        if let Some(start) = self.start.take() {
            start.send(()).ok();
        }
    }

    /// Waits for what was made; nothing where it was not begun or did not work.
    pub(super) fn wait(mut self) -> Option<Made> {
        self.start = None;
        self.answer.recv().ok()
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.unwanted.say();
    }
}

struct Work<'a> {
    room: PartsRoom<'a>,
    split: &'a Split,
    before: &'a [Step],
}

impl Work<'_> {
    fn carry_out(&self) -> Option<Made> {
        let PartsRoom { request, action, .. } = self.room;
        let (state, files) = self.state()?;
        let parts = Parts::of(self.split, &state);
        let questions = parts.digests(&state).into_iter();
        let questions = questions.map(|(part, digest)| (part, key_of(action, "part", &digest)));
        let missing = questions.filter(|(_, key)| kept_result(&request.known, key).is_none());
        let (names, keys): (Vec<PathBuf>, Vec<Sha256>) = missing.unzip();
        if names.is_empty() {
            return None;
        }
        let root = parts.root_for(&names, &state);
        let (archive, _) = self.room.make(&root, &keys, &files.archives, &mut |_| {}).ok()??;
        Some(Made { archive, keys: keys.into_iter().collect() })
    }

    /// The root as the context's files alone make it.
    fn state(&self) -> Option<(State, Files<'_>)> {
        let mut state = State::default();
        let mut files = Files::open(self.room.request.context, self.room.request.known).ok()?;
        self.before.iter().try_for_each(|step| change(&mut state, &mut files, &step.action)).ok()?;
        Some((state, files))
    }
}
