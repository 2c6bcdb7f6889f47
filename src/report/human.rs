//! Outcomes for people: one thing a line, columns where they help.

use super::pin_name;
use crate::base::text::{count, human_size, sanitize};
use crate::ops::{
    AttestOutcome, BuildAllOutcome, BuildOutcome, ContextOutcome, FetchReport, GcOutcome, ImportFate, InfoOutcome,
    InitOutcome, ListOutcome, StorePath, StoreSize, StoreVerification,
};

/// The files that were written, one a line; then what became of each part of the imported ones. What is left to do starts with `!`.
pub fn init_lines(outcome: &InitOutcome) -> String {
    let mut text: String = outcome.written.iter().map(|path| format!("{}\n", path.display())).collect();
    for note in &outcome.notes {
        let mark = match note.fate {
            ImportFate::Taken => "+",
            ImportFate::Changed => "~",
            ImportFate::Needless => "-",
            ImportFate::Left => "!",
        };
        text.push_str(&format!("{mark} {}:{}  {}  ({})\n", sanitize(&note.file), note.line, note.what, note.then));
    }
    if outcome.versions > 0 {
        text.push_str(&format!("{} of the old lock for `oclock update` to keep\n", count(outcome.versions, "version")));
    }
    text
}

/// The context's digest, alone on its line.
pub fn context_lines(outcome: &ContextOutcome) -> String {
    format!("{}\n", outcome.digest.prefixed())
}

/// The store's directory, alone on its line.
pub fn path_lines(outcome: &StorePath) -> String {
    format!("{}\n", outcome.path.display())
}

/// The image ID, alone on its line: what scripts read.
pub fn build_lines(outcome: &BuildOutcome) -> String {
    format!("{}\n", outcome.id.prefixed())
}

/// Each platform with its image ID, then the index with its digest.
pub fn build_all_lines(outcome: &BuildAllOutcome) -> String {
    let line = |(platform, image): &(_, BuildOutcome)| format!("{platform}  {}\n", image.id.prefixed());
    let images: String = outcome.images.iter().map(line).collect();
    format!("{images}index        {}\n", outcome.index.prefixed())
}

/// `ecosystem:name version size sha256`, in columns.
pub fn list_lines(outcome: &ListOutcome) -> String {
    let name = |pin: &crate::ops::ListedPin| pin_name(pin.ecosystem, &pin.name, pin.builds.as_deref());
    let names: Vec<String> = outcome.pins.iter().map(name).collect();
    let name_width = names.iter().map(String::len).max().unwrap_or(0);
    let version_width = outcome.pins.iter().map(|pin| pin.version.len()).max().unwrap_or(0);
    let line = |(name, pin): (&String, &crate::ops::ListedPin)| {
        let size = human_size(pin.size);
        let built = pin.built.as_ref().map(|built| format!("  built to sha256:{}", built.sha256)).unwrap_or_default();
        format!("{name:name_width$}  {:version_width$}  {size:>9}  sha256:{}{built}\n", pin.version, pin.sha256)
    };
    names.iter().zip(&outcome.pins).map(line).collect()
}

/// What `fetch` brought.
pub fn fetch_lines(report: &FetchReport) -> String {
    let mut text = match report.files {
        0 => "nothing to fetch: the store has every locked file\n".to_owned(),
        files => format!("{} fetched, {}\n", count(files, "file"), human_size(report.bytes)),
    };
    if report.superseded > 0 {
        let what = count(report.superseded, "signed list");
        let now = match report.later {
            0 => "the pins are still verified by hash",
            _ => "those of today vouch in their place",
        };
        text.push_str(&format!("{what} of the lockfile replaced by the archive since; {now}\n"));
    }
    text
}

/// Directories, sources and engines.
pub fn info_lines(outcome: &InfoOutcome) -> String {
    let mut text = format!(
        "oclock    {}  lockfile format {}\nstore     {}\n",
        outcome.version, outcome.lock_format, outcome.store
    );
    let names = outcome.sources.iter().map(|(name, ..)| name).chain(outcome.engines.iter().map(|(name, _)| name));
    let width = names.map(String::len).max().unwrap_or(0);
    for (name, url, found_in) in &outcome.sources {
        text.push_str(&format!("source    {name:width$}  {}  ({})\n", sanitize(url), sanitize(found_in)));
    }
    for (name, state) in &outcome.engines {
        text.push_str(&format!("engine    {name:width$}  {}\n", sanitize(state)));
    }
    text
}

/// The document; or the digest of what was attached, alone on its line; or whose signature is good.
pub fn attest_lines(outcome: &AttestOutcome) -> String {
    match outcome {
        AttestOutcome::Document(document) => serde_json::to_string_pretty(document).unwrap_or_default() + "\n",
        AttestOutcome::Attached { attached } => format!("{}\n", attached.prefixed()),
        AttestOutcome::Verified { verified, key } => {
            format!("{} is signed by key sha256:{key} and says what this project says\n", verified.display())
        }
    }
}

/// How much the store holds.
pub fn size_lines(size: &StoreSize) -> String {
    let mut text = format!("{}, {}\n", count(size.blobs, "blob"), human_size(size.bytes));
    for (kind, part) in &size.kinds {
        text.push_str(&format!("  {:<17}  {}, {}\n", kind.plural(), count(part.blobs, "blob"), human_size(part.bytes)));
    }
    text
}

/// What went out of the store.
pub fn gc_lines(outcome: &GcOutcome) -> String {
    let removed = format!("{} removed, {}", count(outcome.removed, "blob"), human_size(outcome.removed_bytes));
    format!("{removed}; {} left, {}\n", count(outcome.blobs, "blob"), human_size(outcome.bytes))
}

/// Which blobs are damaged.
pub fn verify_lines(outcome: &StoreVerification) -> String {
    let fate = if outcome.removed { "damaged, removed" } else { "damaged" };
    let mut text: String = outcome.damaged.iter().map(|digest| format!("sha256:{digest}  {fate}\n")).collect();
    text.push_str(&format!("{}, {} damaged\n", count(outcome.blobs, "blob"), outcome.damaged.len()));
    text
}
