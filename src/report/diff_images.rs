//! How two images differ, for people: one line a path, one a value of the config, and the sums by package.

use std::collections::BTreeMap;

use crate::base::text::{count, grouped, sanitize};
use crate::image::{ConfigDifference, Difference, FileDifference, FileFacts, ImageComparison};

/// The longest value of a config that is shown whole.
const VALUE_MAX: usize = 160;

/// What differs, path by path.
pub fn image_comparison_lines(outcome: &ImageComparison) -> String {
    if outcome.same {
        return format!("{} is the same image: {}\n", sanitize(&outcome.second.name), outcome.second.id.prefixed());
    }
    let image = |word: &str, image: &crate::image::ImageName| {
        format!("{word}  {}  {}\n", image.id.prefixed(), sanitize(&image.name))
    };
    let mut text = image("first ", &outcome.first) + &image("second", &outcome.second);
    if !outcome.files.is_empty() || !outcome.config.is_empty() {
        text.push('\n');
    }
    outcome.files.iter().for_each(|file| text.push_str(&file_line(file)));
    outcome.config.iter().for_each(|value| text.push_str(&config_lines(value)));
    text.push_str(&format!("\n{}\n", summary(outcome)));
    text
}

fn file_line(file: &FileDifference) -> String {
    let words: Vec<String> = file.differences.iter().map(|difference| described(*difference, file)).collect();
    let path = sanitize(&file.path.display().to_string());
    let mut line = format!("/{path}  {}", words.join(", "));
    for more in [&file.package, &file.step].into_iter().flatten() {
        line.push_str(&format!("  {}", sanitize(more)));
    }
    line.push('\n');
    line
}

/// The difference with what it was and what it is, where that is short.
fn described(difference: Difference, file: &FileDifference) -> String {
    let (Some(first), Some(second)) = (&file.first, &file.second) else { return difference.to_string() };
    let change = |of: fn(&FileFacts) -> String| match (of(first), of(second)) {
        (one, other) if one == other => difference.to_string(),
        (one, other) => format!("{difference} {} -> {}", sanitize(&one), sanitize(&other)),
    };
    match difference {
        Difference::Content => change(|facts| format!("{} B", grouped(facts.size.unwrap_or_default()))),
        Difference::Mode => change(|facts| facts.mode.clone()),
        Difference::Owner => change(|facts| facts.owner.clone()),
        Difference::Kind => change(|facts| facts.kind.to_owned()),
        Difference::Link => change(|facts| facts.link.clone().unwrap_or_else(|| "none".to_owned())),
        Difference::Attributes => change(|facts| match facts.attributes.is_empty() {
            true => "none".to_owned(),
            false => facts.attributes.join(" "),
        }),
        Difference::Time => change(|facts| {
            jiff::Timestamp::from_second(facts.time).map_or_else(|_| facts.time.to_string(), |time| time.to_string())
        }),
        Difference::Layer => change(|facts| facts.layer.clone().unwrap_or_default()),
        Difference::OnlyInFirst | Difference::OnlyInSecond => difference.to_string(),
    }
}

fn config_lines(difference: &ConfigDifference) -> String {
    let value = |value: &Option<serde_json::Value>| match value {
        None => "none".to_owned(),
        Some(value) => shortened(&sanitize(&value.to_string())),
    };
    let (first, second) = (value(&difference.first), value(&difference.second));
    format!("{}\n    was  {first}\n     is  {second}\n", sanitize(&difference.key))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(VALUE_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], grouped(text.len() as u64)),
    }
}

/// `3 paths differ: 2 of apt:git 1:2.47, 1 of no package; 1 value of the config differs`.
fn summary(outcome: &ImageComparison) -> String {
    let mut packages: BTreeMap<&str, usize> = BTreeMap::new();
    for file in &outcome.files {
        *packages.entry(file.package.as_deref().unwrap_or("no package")).or_insert(0) += 1;
    }
    let mut packages: Vec<(&str, usize)> = packages.into_iter().collect();
    packages.sort_by_key(|(name, number)| (std::cmp::Reverse(*number), *name));
    let shown = packages.iter().take(10).map(|(name, number)| format!("{number} of {}", sanitize(name)));
    let mut shown: Vec<String> = shown.collect();
    if packages.len() > shown.len() {
        let rest = packages.len() - shown.len();
        shown.push(format!("the others of {}", count(rest, "more package")));
    }
    let files = match outcome.files.len() {
        0 => "the files are the same".to_owned(),
        number => format!("{}: {}", differing(number, "path"), shown.join(", ")),
    };
    match (outcome.files.len(), outcome.config.len()) {
        (0, 0) => format!("{files}; the layers are others"),
        (_, 0) => files,
        (_, number) => format!("{files}; {} of the config", differing(number, "value")),
    }
}

fn differing(number: usize, noun: &str) -> String {
    format!("{} {}", count(number, noun), if number == 1 { "differs" } else { "differ" })
}
