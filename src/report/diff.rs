//! How two lockfiles differ, for people in a terminal: risk first, then every pin, then the sums.

use super::{findings_lines, pin_name};
use crate::base::text::{count, human_size};
use crate::lock::Asker;
use crate::ops::{ChangedPin, DiffOutcome, Fate};

/// Columns of numbers, which stand to the right.
const AGE: usize = 4;
/// See `AGE`.
const GROWTH: usize = 5;

/// Findings, one line a pin, and a line of totals.
pub fn diff_outcome_lines(outcome: &DiffOutcome) -> String {
    if !outcome.differs {
        return format!("{} is as {}\n", outcome.new, outcome.old);
    }
    let mut text = format!("{} -> {}\n", outcome.old, outcome.new);
    text.push_str(&findings_lines(&outcome.findings));
    if !outcome.pins.is_empty() {
        text.push_str(&format!("\n{}", table(&outcome.pins)));
    }
    text.push_str(&format!("\n{}\n{}\n", totals(outcome), questions(outcome)));
    text
}

/// Columns of the pins; one that holds nothing is left out.
fn table(pins: &[ChangedPin]) -> String {
    let rows: Vec<[String; 7]> = pins.iter().map(row).collect();
    let widths = [0, 1, 2, 3, 4, 5, 6].map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(widths).enumerate().filter(|(_, (_, width))| *width > 0);
        let cells = cells.map(|(column, (cell, width))| match column {
            AGE | GROWTH => format!("{cell:>width$}"),
            _ => format!("{cell:width$}"),
        });
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn row(pin: &ChangedPin) -> [String; 7] {
    let mark = format!("{} {}", if pin.rules.is_empty() { ' ' } else { '!' }, fate_word(pin.fate));
    let bump = pin.bump.map(|bump| bump.as_str().to_owned()).unwrap_or_default();
    [mark, named(pin), versions(pin, "->"), bump, age(pin), growth(pin.growth), asker(pin)]
}

/// `pip:numbers`, with its platforms where it does not change on all of them alike.
fn named(pin: &ChangedPin) -> String {
    pin_name(pin.ecosystem, &pin.name, pin.builds.as_deref())
}

pub(super) fn fate_word(fate: Fate) -> &'static str {
    match fate {
        Fate::Up => "up",
        Fate::Down => "down",
        Fate::Came => "came",
        Fate::Went => "went",
        Fate::Changed => "same",
    }
}

pub(super) fn versions(pin: &ChangedPin, arrow: &str) -> String {
    match (&pin.from, &pin.to) {
        (Some(from), Some(to)) if from != to => format!("{from} {arrow} {to}"),
        (Some(version), _) | (None, Some(version)) => version.clone(),
        (None, None) => String::new(),
    }
}

/// `12 days`, where it is known.
pub(super) fn age(pin: &ChangedPin) -> String {
    pin.age_days.map(|days| count(usize::try_from(days).unwrap_or(usize::MAX), "day")).unwrap_or_default()
}

pub(super) fn growth(bytes: i64) -> String {
    match bytes {
        0 => String::new(),
        more if more > 0 => format!("+{}", human_size(more.unsigned_abs())),
        less => format!("-{}", human_size(less.unsigned_abs())),
    }
}

/// Who asked: the requirement, and what stands between it and the package.
pub(super) fn asker(pin: &ChangedPin) -> String {
    let top = match (pin.asked_by, &pin.requirement, pin.asked.first()) {
        (Asker::Nobody, ..) => return "nothing asks for it".to_owned(),
        (Asker::Essential, ..) => "the essential set".to_owned(),
        (Asker::Manifest, Some(requirement), _) => requirement.clone(),
        (Asker::Manifest, None, Some(top)) => top.clone(),
        (Asker::Manifest, None, None) => "the manifest".to_owned(),
    };
    let first = usize::from(pin.asked_by == Asker::Manifest);
    let between = pin.asked.get(first..pin.asked.len().saturating_sub(1)).unwrap_or_default();
    match between {
        [] => format!("for {top}"),
        names => format!("for {top} via {}", names.join(" > ")),
    }
}

/// `2 up, 1 came; 9 pins as before; 33.1 kB -> 34.0 kB (+0.9 kB)`.
pub(super) fn totals(outcome: &DiffOutcome) -> String {
    let totals = &outcome.totals;
    let counts = [
        (totals.up, "up"),
        (totals.down, "down"),
        (totals.came, "came"),
        (totals.went, "went"),
        (totals.changed, "of the same version changed"),
    ];
    let told: Vec<String> =
        counts.iter().filter(|(number, _)| *number > 0).map(|(number, word)| format!("{number} {word}")).collect();
    let moved = if told.is_empty() { "no pin changed".to_owned() } else { told.join(", ") };
    let (before, now) = (totals.bytes_before, totals.bytes_now);
    let sizes = match before == now {
        true => human_size(now),
        false => format!(
            "{} -> {} ({})",
            human_size(before),
            human_size(now),
            growth(i64::try_from(i128::from(now) - i128::from(before)).unwrap_or_default())
        ),
    };
    format!("{moved}; {} as before; {sizes}", count(totals.same, "pin"))
}

pub(super) fn questions(outcome: &DiffOutcome) -> String {
    match &outcome.questions[..] {
        [] => "the manifest asks the same as before".to_owned(),
        sections => format!("the manifest asks for something else in {}", sections.join(", ")),
    }
}
