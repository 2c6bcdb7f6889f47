//! RECORD: the list of a wheel's files with their hashes (PEP 376, 427), read to verify and written anew for what was
//! installed. CSV with `,` and `"`, lines ending in CR LF when written, as pip writes it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::model::Sha256;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) path: String,
    /// `algorithm=digest`, or empty.
    pub(super) hash: String,
    /// Bytes in decimal, or empty.
    pub(super) size: String,
}

impl Row {
    /// The row of a file with this content.
    pub(super) fn of(path: String, content: &[u8]) -> Self {
        let hash = format!("sha256={}", URL_SAFE_NO_PAD.encode(Sha256::of(content).as_bytes()));
        Self { path, hash, size: content.len().to_string() }
    }

    /// The digest, where it is a sha256.
    pub(super) fn sha256(&self) -> Option<Sha256> {
        let digits = self.hash.strip_prefix("sha256=")?.trim_end_matches('=');
        let bytes = URL_SAFE_NO_PAD.decode(digits).ok()?;
        Some(Sha256::from_bytes(bytes.try_into().ok()?))
    }
}

/// Reads a RECORD; nothing when it is not one.
pub(super) fn parse(text: &str) -> Option<Vec<Row>> {
    let mut rows = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (fields, after) = line(rest)?;
        rest = after;
        let mut fields = fields.into_iter();
        let path = fields.next().unwrap_or_default();
        if path.is_empty() {
            continue;
        }
        rows.push(Row { path, hash: fields.next().unwrap_or_default(), size: fields.next().unwrap_or_default() });
    }
    Some(rows)
}

/// The fields of the first line, and what follows it.
fn line(text: &str) -> Option<(Vec<String>, &str)> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let mut field = String::new();
        while let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"')?;
            if !field.is_empty() {
                field.push('"');
            }
            field.push_str(&quoted[..end]);
            rest = &quoted[end + 1..];
        }
        let end = rest.find([',', '\n', '\r']).unwrap_or(rest.len());
        field.push_str(&rest[..end]);
        fields.push(field);
        rest = &rest[end..];
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Some((fields, rest.strip_prefix("\r\n").or(rest.get(1..)).unwrap_or_default())),
        }
    }
}

/// Writes rows, sorted.
pub(super) fn render(mut rows: Vec<Row>) -> String {
    rows.sort();
    let mut text = String::new();
    for row in rows {
        for field in [&row.path, &row.hash] {
            if field.contains([',', '"', '\r', '\n']) {
                text.push_str(&format!("\"{}\"", field.replace('"', "\"\"")));
            } else {
                text.push_str(field);
            }
            text.push(',');
        }
        text.push_str(&row.size);
        text.push_str("\r\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_and_written_alike() {
        let text = "\"a,b \"\"c\"\".py\",sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\r\nx/RECORD,,\r\n";
        let rows = parse(text).unwrap();
        assert_eq!(rows[0].path, "a,b \"c\".py");
        assert_eq!(rows[0].sha256(), Some(Sha256::of(b"")));
        assert_eq!(rows[1].sha256(), None);
        assert_eq!(render(rows), text);
        assert_eq!(Row::of("e".into(), b"").sha256(), Some(Sha256::of(b"")));
    }

    #[test]
    fn line_ends_of_every_kind_are_read() {
        for text in ["a,,\nb,,", "a,,\r\nb,,\r\n", "a,,\n\nb,,\n\n", "a\nb"] {
            let paths: Vec<String> = parse(text).unwrap().into_iter().map(|row| row.path).collect();
            assert_eq!(paths, ["a", "b"], "{text:?}");
        }
        assert_eq!(parse("\"a,,\n"), None);
    }
}
