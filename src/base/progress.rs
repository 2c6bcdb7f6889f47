//! Progress for people: bars on a terminal, one line per phase without one, nothing when quiet.

use std::sync::Arc;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::clock::Stopwatch;

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressMode {
    /// Bars, redrawn in place on stderr.
    Bars,
    /// One line on stderr when a phase ends.
    Lines,
    /// Nothing.
    Hidden,
}

/// A handle that phases are started from. Cloning is cheap and shows in the same place.
#[derive(Clone, Debug)]
pub struct Progress {
    mode: ProgressMode,
    bars: Arc<MultiProgress>,
}

/// One phase under way, such as "fetching artifacts". Dropping it unfinished clears its bar.
#[derive(Debug)]
pub struct Phase {
    mode: ProgressMode,
    bar: ProgressBar,
    title: String,
    started: Stopwatch,
}

impl Progress {
    /// Shows progress in the given way.
    pub fn new(mode: ProgressMode) -> Self {
        let target = match mode {
            ProgressMode::Bars => ProgressDrawTarget::stderr(),
            ProgressMode::Lines | ProgressMode::Hidden => ProgressDrawTarget::hidden(),
        };
        Self { mode, bars: Arc::new(MultiProgress::with_draw_target(target)) }
    }

    /// Shows nothing.
    pub fn hidden() -> Self {
        Self::new(ProgressMode::Hidden)
    }

    /// Starts a phase whose amount of work is counted in bytes; `total` may be 0 when unknown.
    pub fn bytes(&self, title: &str, total: u64) -> Phase {
        self.phase(title, total, "{msg:<28} {bar:28} {bytes:>10}/{total_bytes:<10} {bytes_per_sec}")
    }

    /// Starts a phase whose amount of work is counted in things; `total` may be 0 when unknown.
    pub fn count(&self, title: &str, total: u64) -> Phase {
        self.phase(title, total, "{msg:<28} {bar:28} {pos:>5}/{len:<5}")
    }

    /// Starts a phase of unknown length.
    pub fn spinner(&self, title: &str) -> Phase {
        self.phase(title, 0, "{msg:<28} {spinner} {elapsed}")
    }

    /// Writes a line of talk on stderr without tearing the bars.
    pub fn say(&self, line: &str) {
        if self.mode != ProgressMode::Hidden {
            self.bars.suspend(|| write_line(line));
        }
    }

    fn phase(&self, title: &str, total: u64, template: &str) -> Phase {
        let bar = self.bars.add(ProgressBar::new(total));
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸ "));
        }
        bar.set_message(title.to_owned());
        Phase { mode: self.mode, bar, title: title.to_owned(), started: Stopwatch::start() }
    }
}

impl Phase {
    /// Adds to the work done.
    pub fn advance(&self, amount: u64) {
        self.bar.inc(amount);
    }

    /// Adds to the work there is.
    pub fn extend(&self, amount: u64) {
        self.bar.inc_length(amount);
    }

    /// Ends the phase; `summary` says what came of it, such as `214 artifacts, 402 MB`.
    pub fn finish(self, summary: &str) {
        self.bar.finish_and_clear();
        if self.mode != ProgressMode::Hidden {
            write_line(&format!("{:<28} {summary} ({:.1} s)", self.title, self.started.seconds()));
        }
    }
}

impl Drop for Phase {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[allow(clippy::print_stderr, reason = "progress is talk, and talk goes to stderr")]
fn write_line(line: &str) {
    eprintln!("{line}");
}
