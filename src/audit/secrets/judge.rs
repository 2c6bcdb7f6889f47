//! Whether what a pattern found is a secret: randomness, examples and stand-ins, what base64 holds.
//!
//! Each test gives the secret in its plainest form, so that the same one is known again in another spelling.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::patterns::Test;

/// Longer values are data and no secrets.
const ASSIGNED_MAX: usize = 256;
/// The base64 of the shortest private key, an Ed25519 one, has 64 characters.
const KEY_MIN: usize = 60;

/// Words that stand for a password where there is none.
const STAND_INS: &[&str] = &[
    "",
    "abc",
    "admin",
    "bar",
    "baz",
    "changeit",
    "changeme",
    "foo",
    "foobar",
    "guest",
    "hunter",
    "letmein",
    "mypass",
    "mypassword",
    "mysecret",
    "none",
    "null",
    "pass",
    "passwd",
    "password",
    "postgres",
    "pw",
    "pwd",
    "qwerty",
    "root",
    "secret",
    "string",
    "supersecret",
    "swordfish",
    "test",
    "testpass",
    "testpassword",
    "token",
    "user",
    "username",
    "value",
    "xxx",
];

/// Parts of values that are written for readers.
const EXAMPLES: &[&str] = &[
    "example",
    "xxxx",
    "****",
    "....",
    "your-",
    "your_",
    "yourtoken",
    "yourkey",
    "placeholder",
    "redacted",
    "dummy",
    "notreal",
    "not-a-real",
    "not_a_real",
    "0123456789abcdef01234567",
];

/// The plainest form of `secret` when it stands up to the test; `whole` is all that the pattern matched.
pub(super) fn judge(test: Test, whole: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
    match test {
        Test::Random(hundredths) => {
            let plain: Vec<u8> = secret.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
            (is_random(&plain, hundredths) && !is_example(&plain)).then_some(plain)
        }
        Test::Chosen => is_chosen(secret).then(|| secret.to_vec()),
        Test::KeyBody => key_body(secret),
        Test::EncodedKey => encoded_key(secret),
        Test::Login => login(secret),
        Test::Jwt => is_jwt(secret).then(|| secret.to_vec()),
        Test::Assigned => is_assigned(whole, secret).then(|| secret.to_vec()),
    }
}

/// Shannon's entropy in hundredths of a bit for each byte.
fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    bytes.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let total = bytes.len() as f64;
    let parts = counts.iter().filter(|count| **count > 0).map(|count| {
        let share = f64::from(*count) / total;
        -share * share.log2()
    });
    100.0 * parts.sum::<f64>()
}

fn is_random(bytes: &[u8], hundredths: u32) -> bool {
    entropy(bytes) >= f64::from(hundredths)
}

fn is_example(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    EXAMPLES.iter().any(|part| text.contains(part)) || bytes.chunk_by(|a, b| a == b).any(|run| run.len() >= 10)
}

fn is_chosen(secret: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(secret) else { return false };
    let word = text.to_ascii_lowercase();
    let word = word.trim_matches(|c: char| !c.is_ascii_alphabetic());
    let is_number = text.chars().all(|c| c.is_ascii_digit());
    // With digits around, or said again: `password123`, `secret-secret`.
    let stands_in = |word: &str| STAND_INS.contains(&word);
    let is_stand_in = stands_in(word) && !(word.is_empty() && is_number && text.len() >= 6)
        || word.split(['-', '_', '.']).all(|part| stands_in(part) || part == "my" || part == "the");
    !is_stand_in
        && !is_example(secret)
        && text.chars().all(|c| !c.is_control())
        && !text.contains(['$', '{', '<', '\\'])
}

/// The base64 of a private key that stands behind its first line.
fn key_body(text: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    for line in plain_lines(text) {
        let line = line.trim_ascii();
        if line.contains(&b':') || line == b"+" {
            continue;
        }
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
        let length = line.iter().take_while(|byte| is_base64(byte)).count();
        body.extend_from_slice(&line[..length]);
        if length < line.len() {
            break;
        }
    }
    (body.len() >= KEY_MIN && is_random(&body, 350)).then_some(body)
}

/// Lines of a text that may stand in a string of a program: `\n` ends a line as well, quotes and escapes go.
fn plain_lines(text: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = vec![Vec::new()];
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let byte = match (byte, bytes.peek()) {
            (b'\\', Some(b'n' | b'r')) => {
                bytes.next();
                b'\n'
            }
            (byte, _) => byte,
        };
        match byte {
            b'\n' | b'\r' => lines.push(Vec::new()),
            b'"' | b'\'' | b'\\' | b',' => {}
            other => lines.last_mut().into_iter().for_each(|line| line.push(other)),
        }
    }
    lines
}

fn encoded_key(secret: &[u8]) -> Option<Vec<u8>> {
    let mut digits = plain_lines(secret).concat();
    digits.retain(|byte| !byte.is_ascii_whitespace() && *byte != b'=');
    digits.truncate(digits.len() - usize::from(digits.len() % 4 == 1));
    let decoded = decode(&STANDARD_NO_PAD, &digits)?;
    let mark = b"PRIVATE KEY";
    let head = decoded.windows(mark.len()).take(64).position(|window| window == mark)?;
    let rest = &decoded[head..];
    let end = rest.windows(5).position(|window| window == b"-----")?;
    key_body(&rest[end + 5..])
}

/// Decodes digits whose last ones may have been cut off.
fn decode(engine: &base64::engine::GeneralPurpose, digits: &[u8]) -> Option<Vec<u8>> {
    (0..4).find_map(|cut| engine.decode(&digits[..digits.len().checked_sub(cut)?]).ok())
}

fn login(secret: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> = secret.iter().copied().filter(|byte| *byte != b'=').collect();
    let decoded = STANDARD_NO_PAD.decode(&digits).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let (user, password) = (&decoded[..colon], &decoded[colon + 1..]);
    let is_text = decoded.iter().all(|byte| (b' '..=b'~').contains(byte));
    (is_text && !user.is_empty() && is_chosen(password)).then(|| secret.to_vec())
}

fn is_jwt(secret: &[u8]) -> bool {
    let header = secret.split(|byte| *byte == b'.').next().unwrap_or_default();
    let Some(header) = URL_SAFE_NO_PAD.decode(header).ok().and_then(|header| String::from_utf8(header).ok()) else {
        return false;
    };
    header.starts_with('{') && header.contains("\"alg\"") && !header.contains("\"none\"")
}

/// How a value is made up.
#[derive(Default)]
struct Mixture {
    lower: usize,
    upper: usize,
    digits: usize,
    special: usize,
    others: usize,
    /// How often neighbours are letters or digits of different kinds: often in random values, seldom in words.
    changes: usize,
}

impl Mixture {
    fn of(value: &[u8]) -> Self {
        let mut mixture = Self::default();
        let mut last = None;
        for byte in value {
            let kind = match byte {
                b'a'..=b'z' => (&mut mixture.lower, 'a'),
                b'A'..=b'Z' => (&mut mixture.upper, 'A'),
                b'0'..=b'9' => (&mut mixture.digits, '0'),
                b'!' | b'@' | b'#' | b'%' | b'^' | b'&' | b'*' | b'?' | b'~' => (&mut mixture.special, ' '),
                _ => (&mut mixture.others, ' '),
            };
            *kind.0 += 1;
            let kind = kind.1;
            mixture.changes += usize::from(last.is_some_and(|last| last != kind && last != ' ' && kind != ' '));
            last = Some(kind);
        }
        mixture
    }

    fn kinds(&self) -> usize {
        [self.lower, self.upper, self.digits, self.special].iter().filter(|count| **count > 0).count()
    }
}

fn is_assigned(whole: &[u8], value: &[u8]) -> bool {
    let is_text = value.iter().all(|byte| (b'!'..=b'~').contains(byte));
    let name: Vec<u8> = whole.iter().take(5).map(u8::to_ascii_lowercase).collect();
    let is_password = name == b"passw" || name.starts_with(b"pwd");
    if !is_text || value.len() > ASSIGNED_MAX || !is_chosen(value) {
        return false;
    }
    let mixture = Mixture::of(value);
    let (letters, length) = (mixture.lower + mixture.upper, value.len());
    if letters == 0 || mixture.digits == 0 {
        return false;
    }
    if is_password && is_password_like(value, &mixture) {
        return true;
    }
    if length < 16 || !is_random(value, 300) {
        return false;
    }
    let is_hexadecimal = value.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    let is_plain = mixture.special + mixture.others == 0 && mixture.kinds() == 2;
    if is_hexadecimal {
        length >= 24 && mixture.changes * 4 >= length
    } else if is_plain {
        mixture.digits >= 2 && mixture.changes * 4 >= length
    } else {
        mixture.changes * 100 >= length * 38 && is_random(value, 320)
    }
}

/// A password as people make them: letters, digits and a sign.
fn is_password_like(value: &[u8], mixture: &Mixture) -> bool {
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    let is_name = text.contains("passw") || text.contains("secret") || value.contains(&b'/') || value.contains(&b'.');
    !is_name && mixture.special > 0 && mixture.kinds() >= 3
}
