//! The older form of an index page: HTML with one anchor a file (PEP 503, 592, 658).

use std::collections::BTreeMap;

use url::Url;

use super::page::{ListedFile, file_url, parse_hash};

/// Reads the anchors of a page; what is not an anchor is skipped.
pub(super) fn parse(body: &[u8], base: &Url) -> Result<Vec<ListedFile>, String> {
    let text = std::str::from_utf8(body).map_err(|_| "it is neither JSON nor UTF-8".to_owned())?;
    if !text.to_ascii_lowercase().contains("<html") && !text.to_ascii_lowercase().contains("<!doctype") {
        return Err("it is neither JSON nor HTML".to_owned());
    }
    let mut base = base.clone();
    let mut files = Vec::new();
    for tag in tags(text) {
        if let Some(attributes) = tag.strip_prefix("base").and_then(attributes) {
            if let Some(href) = attributes.get("href") {
                base = base.join(href).map_err(|error| error.to_string())?;
            }
        } else if let Some(attributes) = tag.strip_prefix('a').and_then(attributes) {
            files.extend(listed(&attributes, &base)?);
        }
    }
    // A project that has no file at all is as useless as a page of something else, such as a network that wants a login.
    if files.is_empty() { Err("it is HTML that links to no file".to_owned()) } else { Ok(files) }
}

/// What stands between `<` and `>`, with quoted `>` taken as text.
fn tags(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.find('<')? + 1;
        let mut quote = None;
        let length = rest[start..].find(|character| match (quote, character) {
            (Some(open), _) => {
                if open == character {
                    quote = None;
                }
                false
            }
            (None, '"' | '\'') => {
                quote = Some(character);
                false
            }
            (None, '>') => true,
            (None, _) => false,
        })?;
        let tag = &rest[start..start + length];
        rest = &rest[start + length + 1..];
        Some(tag)
    })
}

/// The attributes of a tag; nothing when the tag's name goes on.
fn attributes(text: &str) -> Option<BTreeMap<String, String>> {
    if !text.starts_with(|character: char| character.is_ascii_whitespace()) {
        return None;
    }
    let mut found = BTreeMap::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end =
            rest.find(|character: char| character == '=' || character.is_ascii_whitespace()).unwrap_or(rest.len());
        let name = rest[..end].to_ascii_lowercase();
        rest = rest[end..].trim_start();
        let mut value = "";
        if let Some(after) = rest.strip_prefix('=') {
            let after = after.trim_start();
            (value, rest) = match after.chars().next() {
                Some(quote @ ('"' | '\'')) => after[1..].split_once(quote).unwrap_or((&after[1..], "")),
                _ => after.split_at(after.find(|c: char| c.is_ascii_whitespace()).unwrap_or(after.len())),
            };
        }
        found.entry(name).or_insert_with(|| unescape(value));
        rest = rest.trim_start();
    }
    Some(found)
}

fn unescape(text: &str) -> String {
    let named = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&#x27;", "'"), ("&#34;", "\"")];
    let text = named.iter().fold(text.to_owned(), |text, (entity, plain)| text.replace(entity, plain));
    text.replace("&amp;", "&")
}

fn listed(attributes: &BTreeMap<String, String>, base: &Url) -> Result<Option<ListedFile>, String> {
    let Some(href) = attributes.get("href") else { return Ok(None) };
    let Some(mut url) = file_url(base, href)? else { return Ok(None) };
    let hash = |text: &str| text.strip_prefix("sha256=").and_then(parse_hash);
    let sha256 = url.fragment().and_then(hash);
    url.set_fragment(None);
    let last = url.path_segments().and_then(Iterator::last).unwrap_or_default();
    let filename = percent_encoding::percent_decode_str(last).decode_utf8_lossy().into_owned();
    let metadata = attributes.get("data-core-metadata").or_else(|| attributes.get("data-dist-info-metadata"));
    Ok(Some(ListedFile {
        metadata: metadata.and_then(|text| hash(text)),
        requires_python: attributes.get("data-requires-python").filter(|text| !text.is_empty()).cloned(),
        yanked: attributes.contains_key("data-yanked"),
        size: None,
        published: None,
        filename,
        url,
        sha256,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_carry_hash_python_and_yank() {
        let hash = "a".repeat(64);
        let text = format!(
            "<!DOCTYPE html><html><body>\n<a href=\"../../f/x-1.0-py3-none-any.whl#sha256={hash}\" \
             data-requires-python=\"&gt;=3.8\" data-core-metadata=\"sha256={hash}\">x</a><br/>\
             <a data-yanked='' href='x-0.9%2Bl-py3-none-any.whl'>x</a><abbr title='>'>no</abbr></body></html>"
        );
        let files = parse(text.as_bytes(), &Url::parse("https://index.invalid/simple/x/").unwrap()).unwrap();
        assert_eq!(files.len(), 2);
        assert_eq!(files[0].url.as_str(), "https://index.invalid/f/x-1.0-py3-none-any.whl");
        assert_eq!(files[0].sha256, parse_hash(&hash));
        assert_eq!(files[0].metadata, parse_hash(&hash));
        assert_eq!(files[0].requires_python.as_deref(), Some(">=3.8"));
        assert!(!files[0].yanked && files[1].yanked);
        assert_eq!((files[1].filename.as_str(), files[1].sha256), ("x-0.9+l-py3-none-any.whl", None));
    }

    #[test]
    fn what_is_no_page_is_an_error() {
        let base = Url::parse("https://index.invalid/simple/x/").unwrap();
        assert!(parse(b"blocked by policy", &base).is_err());
        assert!(parse(b"\xff\xfe", &base).is_err());
        assert!(parse(b"<html><body>Please log in</body></html>", &base).is_err());
    }
}
