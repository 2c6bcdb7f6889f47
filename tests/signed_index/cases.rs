//! The cases: an archive each, what oclock must say of it and why, and where others judge otherwise.

use oclock::model::Sha256;

use super::lab::{Lab, SIGNED_AT};

/// What oclock must say.
#[derive(Clone, Debug)]
pub enum Ours {
    Takes,
    /// With these words in the reason.
    Refuses(&'static str),
}

/// What apt-get must say.
#[derive(Clone, Copy, Debug)]
pub enum Theirs {
    Takes,
    Refuses,
    /// Not held against it: versions of apt differ.
    Unasked,
}

/// One archive.
pub struct Case {
    pub name: &'static str,
    pub in_release: Vec<u8>,
    /// The index as it is served.
    pub packages: Vec<u8>,
    /// The index as it is served by its hash, where it is.
    pub by_hash: Option<Vec<u8>>,
    pub ours: Ours,
    pub apt: Theirs,
    /// Why our verdict is not gpgv's; empty where it is.
    pub differs: &'static str,
    /// Whether it is taken although gpgv refuses it.
    pub is_lenient: bool,
}

const PACKAGES: &str = "Package: tool\nVersion: 1.0\nArchitecture: amd64\nMaintainer: A <a@example.invalid>\nDescription: x\n\
                        Filename: pool/tool_1.0_amd64.deb\nSize: 4\n\
                        SHA256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n\n";

const RELEASE_RULE: &str = "gpgv judges signatures; this is a rule for what is signed";
const STRICTER: &str = "stricter than gpgv";

/// A Release file for an index.
fn release_of(packages: &str) -> String {
    format!(
        "Origin: Test\nSuite: test\nCodename: testing\nDate: Fri, 01 Mar 2024 00:00:00 UTC\nValid-Until: Fri, 08 Mar 2024 00:00:00 UTC\n\
         Architectures: amd64\nComponents: main\nSHA256:\n {} {} main/binary-amd64/Packages\n",
        Sha256::of(packages),
        packages.len()
    )
}

fn release() -> String {
    release_of(PACKAGES)
}

fn case(name: &'static str, in_release: impl Into<Vec<u8>>, ours: Ours) -> Case {
    let apt = if matches!(ours, Ours::Takes) { Theirs::Takes } else { Theirs::Refuses };
    Case {
        name,
        in_release: in_release.into(),
        packages: PACKAGES.into(),
        by_hash: None,
        ours,
        apt,
        differs: "",
        is_lenient: false,
    }
}

fn refused(name: &'static str, in_release: impl Into<Vec<u8>>, why: &'static str) -> Case {
    case(name, in_release, Ours::Refuses(why))
}

impl Case {
    fn differs(mut self, why: &'static str, apt: Theirs) -> Self {
        (self.differs, self.apt) = (why, apt);
        self
    }

    fn lenient(mut self, why: &'static str, apt: Theirs) -> Self {
        (self.differs, self.apt, self.is_lenient) = (why, apt, true);
        self
    }

    fn apt(mut self, apt: Theirs) -> Self {
        self.apt = apt;
        self
    }
}

/// All of them.
pub fn all(lab: &Lab) -> Vec<Case> {
    [
        good(lab),
        digests(lab),
        keys(lab),
        subkeys(lab),
        several(lab),
        times(lab),
        frames(lab),
        texts(lab),
        releases(lab),
        fields(lab),
        indexes(lab),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn good(lab: &Lab) -> Vec<Case> {
    let signed = |keys: &[&str]| lab.sign(&release(), keys);
    vec![
        case("ed25519", signed(&["good"]), Ours::Takes),
        case("RSA of 2048 bits", signed(&["rsa"]), Ours::Takes),
        case("ECDSA over P-256", signed(&["p256"]), Ours::Takes),
        case("ECDSA over P-384", signed(&["p384/SHA384"]), Ours::Takes),
        case("SHA512", signed(&["good/SHA512"]), Ours::Takes),
        case("a signing subkey", signed(&["sub"]), Ours::Takes),
        case("a key that expires later", signed(&["expires"]), Ours::Takes),
    ]
}

fn digests(lab: &Lab) -> Vec<Case> {
    let signed = |key: &str, options: &[&str]| lab.sign_with(release().as_bytes(), &[key], "20240301T000010", options);
    let weak = &["--allow-weak-digest-algos"][..];
    vec![
        refused("SHA1", signed("rsa/SHA1", &[]), "weak digest SHA1").differs(STRICTER, Theirs::Refuses),
        refused("RIPEMD160", signed("rsa/RIPEMD160", &[]), "weak digest RIPEMD160").differs(STRICTER, Theirs::Refuses),
        refused("MD5", signed("rsa/MD5", weak), "weak digest MD5"),
        refused("SHA224", signed("rsa/SHA224", &[]), "weak digest SHA224").differs(STRICTER, Theirs::Takes),
    ]
}

fn keys(lab: &Lab) -> Vec<Case> {
    let signed = |keys: &[&str]| lab.sign(&release(), keys);
    vec![
        refused("a key that is not in the keyring", signed(&["unknown"]), "not in the keyring"),
        refused("RSA of 1024 bits", signed(&["weak"]), "RSA of only 1024 bits").differs(STRICTER, Theirs::Unasked),
        refused("DSA", signed(&["dsa"]), "of a kind that is not accepted").differs(STRICTER, Theirs::Unasked),
        refused("an expired key", lab.sign_dated(&release(), "expired", SIGNED_AT), "expired at 2024-02-15"),
        refused(
            "a key that expired after it signed",
            lab.sign_dated(&release(), "expired", 1_706_745_600),
            "expired at 2024-02-15",
        ),
        refused("a revoked key", lab.sign_dated(&release(), "revoked", SIGNED_AT), "was revoked"),
        refused("a superseded key", lab.sign_dated(&release(), "superseded", SIGNED_AT), "was revoked"),
        refused("a key that is younger than its signature", lab.sign_dated(&release(), "young", SIGNED_AT), "younger"),
        refused("a key that may only certify", lab.sign_with_primary(&release(), "sub"), "may not sign texts"),
    ]
}

fn subkeys(lab: &Lab) -> Vec<Case> {
    let signed = |name: &str| lab.sign_with_subkey(&release(), name);
    vec![
        refused("a revoked subkey", signed("subrevoked"), "was revoked"),
        refused("an expired subkey", signed("subexpired"), "expired at 2024-02-15"),
        refused("a subkey that does not agree to its key", signed("nocross"), "may not sign texts"),
        refused("a subkey of an expired key", signed("deadprimary"), "expired at 2024-02-15"),
        refused("a subkey for encryption", signed("encrypts"), "may not sign texts"),
    ]
}

fn several(lab: &Lab) -> Vec<Case> {
    let release = release();
    let signed = |keys: &[&str]| lab.sign(&release, keys);
    let damaged = merged(&lab.sign(&release, &["good"]), &lab.sign(&release.replace("Test", "Tess"), &["rsa"]));
    vec![
        case("two good signatures", signed(&["good", "rsa"]), Ours::Takes),
        case("a good one and an unknown one", signed(&["good", "unknown"]), Ours::Takes),
        case(
            "a good one and an expired one",
            merged(&signed(&["good"]), &lab.sign_dated(release.trim_end(), "expired", SIGNED_AT)),
            Ours::Takes,
        )
        .apt(Theirs::Unasked),
        case("a good one and one with SHA1", merged(&signed(&["good"]), &signed(&["rsa/SHA1"])), Ours::Takes)
            .apt(Theirs::Unasked),
        refused("a good one and a wrong one", damaged, "does not verify"),
    ]
}

/// The first message with the signature of the second beside its own.
fn merged(first: &str, second: &str) -> String {
    use pgp::composed::CleartextSignedMessage;
    let read = |text: &str| CleartextSignedMessage::from_string(text).unwrap().0;
    let (first, second) = (read(first), read(second));
    let text = first.signed_text().replace("\r\n", "\n");
    let signatures = first.signatures().iter().chain(second.signatures()).cloned().collect();
    let both = CleartextSignedMessage::new_many(&text, |_| Ok(signatures)).unwrap();
    both.to_armored_string(pgp::composed::ArmorOptions::default()).unwrap()
}

fn times(lab: &Lab) -> Vec<Case> {
    let release = release();
    let hour = &["--default-sig-expire", "seconds=3600"][..];
    let critical = &["--sig-notation", "!unknown@example.invalid=x"][..];
    let plain = &["--sig-notation", "unknown@example.invalid=x"][..];
    let with = |options: &[&str]| lab.sign_with(release.as_bytes(), &["good"], "20240301T000010", options);
    vec![
        refused("a signature that has expired", with(hour), "has expired"),
        refused("a signature that is not made yet", lab.sign_dated(&release, "good", 1_709_500_000), "in the future")
            .differs(STRICTER, Theirs::Unasked),
        refused("a date that the signature does not cover", lab.sign_undated(&release), "does not say when"),
        refused("a critical notation that nobody knows", with(critical), "critical"),
        case("a notation that nobody knows", with(plain), Ours::Takes),
    ]
}

fn frames(lab: &Lab) -> Vec<Case> {
    let signed = lab.sign(&release(), &["good"]);
    let lines: Vec<&str> = signed.lines().collect();
    let armour = lines.iter().position(|line| *line == "-----BEGIN PGP SIGNATURE-----").unwrap();
    let detached = lines[armour..].join("\n") + "\n";
    let inline = lab.gpg("20240301T000010", &["--armor", "--sign"], release().as_bytes());
    let header = |to: &str| signed.replacen("Hash: SHA256\n", to, 1);
    let checksum = lines.iter().rposition(|line| line.starts_with('=')).unwrap();
    let other_checksum = signed.replace(lines[checksum], "=AAAA");
    let body = lines[armour + 2].to_owned();
    let flipped: String = body.chars().rev().collect();
    vec![
        refused("nothing", "", "does not start with a signed block"),
        refused("no signature at all", release(), "does not start with a signed block"),
        refused("a detached signature alone", detached, "does not start with a signed block"),
        refused("a message that is not clear", inline, "does not start with a signed block")
            .differs("gpgv unpacks it", Theirs::Refuses),
        refused("text before the block", format!("Suite: other\n{signed}"), "does not start")
            .differs("gpgv leaves it out", Theirs::Refuses),
        refused("text after the block", format!("{signed}Suite: other\n"), "beside its one")
            .differs("gpgv leaves it out", Theirs::Refuses),
        refused("two blocks", format!("{signed}{signed}"), "beside its one")
            .differs("gpgv reads the first alone", Theirs::Refuses),
        refused("half of it", signed[..signed.len() / 2].to_owned(), "it has no signature"),
        refused("no end", signed.replace("-----END PGP SIGNATURE-----\n", ""), "has no end")
            .differs(STRICTER, Theirs::Refuses),
        refused("a comment among the headers", header("Hash: SHA256\nComment: x\n"), "headers other than")
            .apt(Theirs::Unasked),
        refused("no headers", header(""), "headers other than").apt(Theirs::Unasked),
        refused("the digest's name unknown", header("Hash: FOO\n"), "unknown hash algorithm").apt(Theirs::Unasked),
        refused("the digest's name another", header("Hash: SHA512\n"), "headers do not name").apt(Theirs::Unasked),
        case("a wrong checksum of the armour", other_checksum, Ours::Takes)
            .lenient("RFC 9580, 6.1: a checksum must not be a reason to refuse; the signature is", Theirs::Unasked),
        refused("a signature turned round", signed.replace(&body, &flipped), ""),
        refused("carriage returns", signed.replace('\n', "\r\n"), "carriage return").differs(STRICTER, Theirs::Unasked),
    ]
}

fn texts(lab: &Lab) -> Vec<Case> {
    let release = release();
    let signed = lab.sign(&release, &["good"]);
    let dashed = lab.sign(&format!("-Dashed: yes\n{release}"), &["good"]);
    let huge = lab.sign(&format!("{release}Changelogs: {}\n", "x".repeat(15_000)), &["good"]);
    let larger = lab.sign(&format!("{release}Changelogs: {}\n", "x".repeat(200_000)), &["good"]);
    let latin = lab.sign_with(&[release.as_bytes(), b"Label: caf\xe9\n"].concat(), &["good"], "20240301T000010", &[]);
    let nul = lab.sign(&format!("{release}Label: a\0b\n"), &["good"]);
    vec![
        refused("one letter changed", signed.replace("Origin: Test", "Origin: Tess"), "does not verify"),
        refused("a line taken away", signed.replace("Origin: Test\n", ""), "does not verify"),
        refused("a line added", signed.replace("Origin: Test\n", "Origin: Test\nLabel: x\n"), "does not verify"),
        case("blanks added at the ends of lines", signed.replace("Origin: Test\n", "Origin: Test \t\n"), Ours::Takes),
        case("a dash-escaped line", dashed.clone(), Ours::Takes).apt(Theirs::Unasked),
        refused("the dash not escaped", dashed.replace("- -Dashed", "-Dashed"), "dash-escaped")
            .differs(STRICTER, Theirs::Refuses),
        case("a line of 15,000 characters", huge, Ours::Takes),
        case("a line of 200,000 characters", larger, Ours::Takes),
        refused("NUL in the text", nul, "NUL").differs(STRICTER, Theirs::Unasked),
        refused("text that is not UTF-8", latin, "not UTF-8").differs(STRICTER, Theirs::Takes),
    ]
}

/// A Release file with one part replaced, well signed.
fn releases(lab: &Lab) -> Vec<Case> {
    let with = |from: &str, to: &str| {
        let text = release();
        assert!(text.contains(from), "{from}");
        lab.sign(&text.replacen(from, to, 1), &["good"])
    };
    let until = "Valid-Until: Fri, 08 Mar 2024 00:00:00 UTC\n";
    let date = "Date: Fri, 01 Mar 2024 00:00:00 UTC\n";
    vec![
        refused("Valid-Until is over", with(until, "Valid-Until: Fri, 01 Mar 2024 12:00:00 UTC\n"), "valid until")
            .differs(RELEASE_RULE, Theirs::Refuses),
        case("Valid-Until is now", with(until, "Valid-Until: Sat, 02 Mar 2024 00:00:00 UTC\n"), Ours::Takes)
            .apt(Theirs::Unasked),
        case("no Valid-Until", with(until, ""), Ours::Takes),
        refused("Valid-Until is no date", with(until, "Valid-Until: never\n"), "is no date")
            .differs(RELEASE_RULE, Theirs::Refuses),
        refused("Date is in the future", with(date, "Date: Sun, 03 Mar 2024 00:00:00 UTC\n"), "in the future")
            .differs(RELEASE_RULE, Theirs::Refuses),
        refused("no Date", with(date, ""), "`Date` is missing").differs(RELEASE_RULE, Theirs::Unasked),
        refused("Date is no date", with(date, "Date: yesterday\n"), "is no date")
            .differs(RELEASE_RULE, Theirs::Unasked),
        refused(
            "another suite",
            with("Suite: test\nCodename: testing", "Suite: stable\nCodename: trixie"),
            "is for suite",
        )
        .differs(RELEASE_RULE, Theirs::Unasked),
        refused("no suite", with("Suite: test\nCodename: testing\n", ""), "`Suite` is missing")
            .differs(RELEASE_RULE, Theirs::Unasked),
        refused("a field twice", with("Origin: Test\n", "Origin: Test\nOrigin: Other\n"), "stands there twice")
            .differs(RELEASE_RULE, Theirs::Unasked),
        refused("a second paragraph", with("SHA256:", "\nSHA256:"), "a line has no field")
            .differs(RELEASE_RULE, Theirs::Unasked),
        refused("another component", with("main/binary-amd64", "other/binary-amd64"), "lists no packages of component")
            .differs(RELEASE_RULE, Theirs::Refuses),
    ]
}

/// Lists of hashes of every sort of wrong, well signed.
fn fields(lab: &Lab) -> Vec<Case> {
    let text = release();
    let list = text.split_once("SHA256:\n").unwrap().1.to_owned();
    let with = |to: &str| lab.sign(&text.replace(&list, to), &["good"]);
    let field = |to: &str| lab.sign(&text.replace("SHA256:", to), &["good"]);
    let digest = Sha256::of(PACKAGES).to_string();
    let size = PACKAGES.len().to_string();
    let sha1 = lab.sign(&text.replace("SHA256:", "SHA1:").replace(&digest, &digest[..40]), &["good"]);
    let md5 = lab.sign(&text.replace("SHA256:", "MD5Sum:").replace(&digest, &digest[..32]), &["good"]);
    let other = Sha256::of("other").to_string();
    vec![
        refused("SHA1 of the index alone", sha1, "`SHA256` is missing").differs(RELEASE_RULE, Theirs::Refuses),
        refused("MD5 of the index alone", md5, "`SHA256` is missing").differs(RELEASE_RULE, Theirs::Refuses),
        refused("a list that is empty", with(""), "`SHA256` is missing").differs(RELEASE_RULE, Theirs::Refuses),
        refused("a list of another name", field("SHA999:"), "`SHA256` is missing")
            .differs(RELEASE_RULE, Theirs::Refuses),
        refused("a digest that is cut", with(&list.replace(&digest, &digest[..63])), "has a bad line")
            .differs(RELEASE_RULE, Theirs::Refuses),
        refused("a digest in upper case", with(&list.replace(&digest, &digest.to_uppercase())), "has a bad line")
            .differs(RELEASE_RULE, Theirs::Unasked),
        refused("a size that is negative", with(&list.replace(&size, "-1")), "has a bad line")
            .differs(RELEASE_RULE, Theirs::Unasked),
        refused("a size beyond all numbers", with(&list.replace(&size, "99999999999999999999999")), "has a bad line")
            .differs(RELEASE_RULE, Theirs::Unasked),
        refused("a line of two words", with(&format!("{list} {digest} x\n")), "has a bad line")
            .differs(RELEASE_RULE, Theirs::Unasked),
        refused(
            "a file twice with two digests",
            with(&format!("{list}{}", list.replace(&digest, &other))),
            "has a bad line",
        )
        .differs(RELEASE_RULE, Theirs::Unasked),
        refused("a path that leads out", with(&format!("{list} {digest} {size} ../../../etc/passwd\n")), "leads out")
            .differs(RELEASE_RULE, Theirs::Unasked),
    ]
}

fn indexes(lab: &Lab) -> Vec<Case> {
    let good = || lab.sign(&release(), &["good"]);
    let other = PACKAGES.replace("1.0", "1.1");
    let mut changed = refused("another index than the signed one", good(), "is not what the signed InRelease lists")
        .differs(RELEASE_RULE, Theirs::Refuses);
    changed.packages = other.clone().into();
    let mut longer =
        refused("an index that is longer than signed", good(), "larger than").differs(RELEASE_RULE, Theirs::Refuses);
    longer.packages = format!("{PACKAGES}\n").into();
    let size = lab.sign(&release().replace(&format!(" {} main", PACKAGES.len()), " 9999 main"), &["good"]);
    let size = refused("a size that is not the index's", size, "is not what the signed InRelease lists")
        .differs(RELEASE_RULE, Theirs::Refuses);
    let by_hash = lab.sign(&release().replace("SHA256:", "Acquire-By-Hash: yes\nSHA256:"), &["good"]);
    let mut wrong_by_hash =
        refused("other bytes under the hash", by_hash.clone(), "is not what the signed InRelease lists")
            .differs(RELEASE_RULE, Theirs::Unasked);
    wrong_by_hash.by_hash = Some(other.into());
    let mut right_by_hash = case("the index by its hash", by_hash, Ours::Takes).apt(Theirs::Unasked);
    right_by_hash.by_hash = Some(PACKAGES.into());
    let outside = PACKAGES.replace("pool/tool", "../../pool/tool");
    let mut traversal = refused("a package outside the archive", lab.sign(&release_of(&outside), &["good"]), "path")
        .differs("gpgv does not read the index", Theirs::Unasked);
    traversal.packages = outside.into();
    vec![changed, longer, size, wrong_by_hash, right_by_hash, traversal]
}
