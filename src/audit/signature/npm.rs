//! npm: `dist.signatures` of a version, made over `name@version:integrity` with one of the registry's keys
//! (npm documentation, "ECDSA registry signatures").

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::DecodePublicKey;
use serde::{Deserialize, Serialize};

use super::{Answer, SignatureState, answer};
use crate::base::http::{HttpClient, HttpError, Request};
use crate::lock::PinView;
use crate::model::Sha256;
use crate::source::Source;
use crate::store::Store;

const MEMO: &str = "npm-keys";
/// The largest document that is read: popular packages have tens of MiB.
const LARGEST_DOCUMENT: u64 = 256 << 20;

/// The keys of a registry.
#[derive(Debug)]
pub(super) enum Keys {
    /// By key ID, those seen earlier as well.
    Known(BTreeMap<String, Key>),
    /// The registry lists none.
    NotServed,
    /// It lists another key under an ID that it used before.
    Changed(String),
    /// It could not be asked, and was not before.
    Unreachable(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key {
    keyid: String,
    keytype: String,
    scheme: String,
    /// SPKI in DER, in base64.
    key: String,
    /// RFC 3339; none while it counts.
    expires: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct KeyList {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Document {
    versions: BTreeMap<String, Version>,
    time: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Deserialize)]
struct Version {
    dist: Option<Dist>,
}

#[derive(Deserialize)]
struct Dist {
    signatures: Option<Vec<Served>>,
}

#[derive(Deserialize)]
struct Served {
    keyid: String,
    sig: String,
}

/// Asks a registry for its keys; those it listed earlier are kept in the store.
pub(super) async fn fetch_keys(source: &Source, http: &HttpClient, store: &Store) -> Keys {
    let question = Sha256::of(source.url.as_str());
    let kept = store.memo(MEMO, &question).and_then(|answer| serde_json::from_slice::<KeyList>(&answer).ok());
    let Ok(url) = source.url.join("./-/npm/v1/keys") else { return Keys::NotServed };
    let request = Request::get(url).accept("application/json").authorization(source.authorization.as_deref());
    let served: KeyList = match http.fetch(request).await {
        Err(error) if error.is_not_found() => return Keys::NotServed,
        Err(error) => return kept.map_or_else(|| Keys::Unreachable(error.to_string()), |kept| known(kept.keys)),
        Ok(answer) => match serde_json::from_slice(&answer.body) {
            Ok(served) => served,
            Err(error) => return Keys::Unreachable(format!("its list of keys cannot be read: {error}")),
        },
    };
    let mut all: BTreeMap<String, Key> = BTreeMap::new();
    for key in kept.into_iter().flat_map(|kept| kept.keys).chain(served.keys) {
        match all.get(&key.keyid) {
            Some(before) if before.key != key.key => return Keys::Changed(key.keyid),
            _ => all.insert(key.keyid.clone(), key),
        };
    }
    let list = KeyList { keys: all.values().cloned().collect() };
    if let Err(error) = store.set_memo(MEMO, &question, &serde_json::to_vec(&list).unwrap_or_default()) {
        return Keys::Unreachable(error.to_string());
    }
    Keys::Known(all)
}

fn known(keys: Vec<Key>) -> Keys {
    Keys::Known(keys.into_iter().map(|key| (key.keyid.clone(), key)).collect())
}

/// Judges the signatures that a registry serves for a pin.
pub(super) async fn judge(pin: PinView<'_>, source: &Source, keys: &Keys, http: &HttpClient) -> Answer {
    let Some(sha512) = &pin.artifact.sha512 else {
        return answer(SignatureState::NotAudited, "the lockfile has no sha512, which npm signs");
    };
    let version = pin.version.as_str();
    let document = match fetch(pin, source, http, "application/vnd.npm.install-v1+json").await {
        Ok(document) => document,
        Err(why) => return answer(SignatureState::NotAudited, why),
    };
    let Some(entry) = document.versions.get(version) else {
        return answer(SignatureState::NotAudited, "the registry does not list this version any more");
    };
    let served = entry.dist.as_ref().and_then(|dist| dist.signatures.as_deref()).unwrap_or_default();
    let keys = match keys {
        _ if served.is_empty() => return answer(SignatureState::NotServed, "no signature is served"),
        Keys::Known(keys) => keys,
        Keys::NotServed => return answer(SignatureState::UnknownKey, "it is signed, and the registry lists no keys"),
        Keys::Changed(id) => {
            return answer(SignatureState::Bad, format!("the registry lists another key as `{id}` than before"));
        }
        Keys::Unreachable(why) => return answer(SignatureState::NotAudited, why.clone()),
    };
    let message = format!("{}@{version}:sha512-{}", pin.name, STANDARD.encode(sha512.as_bytes()));
    let is_dated = served.iter().any(|one| keys.get(&one.keyid).is_some_and(|key| key.expires.is_some()));
    let published = match is_dated {
        true => match fetch(pin, source, http, "application/json").await {
            Ok(document) => document.published(version),
            Err(why) => return answer(SignatureState::NotAudited, why),
        },
        false => None,
    };
    let judged = served.iter().map(|one| judge_one(one, keys.get(&one.keyid), &message, published));
    judged.min_by_key(|(state, _)| rank(*state)).unwrap_or_else(|| answer(SignatureState::NotServed, "none"))
}

/// One that is wrong outweighs all; else one that holds is enough.
fn rank(state: SignatureState) -> u8 {
    match state {
        SignatureState::Bad => 0,
        SignatureState::Verified => 1,
        SignatureState::ExpiredKey => 2,
        _ => 3,
    }
}

fn judge_one(served: &Served, key: Option<&Key>, message: &str, published: Option<jiff::Timestamp>) -> Answer {
    let id = &served.keyid;
    let Some(key) = key else {
        return answer(SignatureState::UnknownKey, format!("signed by `{id}`, a key that the registry does not list"));
    };
    if key.scheme != "ecdsa-sha2-nistp256" {
        return answer(SignatureState::NotAudited, format!("keys of the scheme `{}` are not known", key.scheme));
    }
    let decoded = (STANDARD.decode(&key.key), STANDARD.decode(&served.sig));
    let (Ok(key_bytes), Ok(signature)) = decoded else {
        return answer(SignatureState::Bad, "its key or signature is not base64");
    };
    let verified = VerifyingKey::from_public_key_der(&key_bytes).ok().zip(Signature::from_der(&signature).ok());
    let holds = verified.is_some_and(|(key, signature)| key.verify(message.as_bytes(), &signature).is_ok());
    if !holds {
        return answer(SignatureState::Bad, format!("its signature by `{id}` is not of the locked bytes"));
    }
    let counts = match key.expires.as_deref().map(str::parse::<jiff::Timestamp>) {
        None => true,
        Some(Ok(expires)) => published.is_some_and(|published| published < expires),
        Some(Err(_)) => false,
    };
    match counts {
        true => answer(SignatureState::Verified, format!("signed by `{id}`")),
        false => answer(SignatureState::ExpiredKey, format!("signed by `{id}`, which was over when it was published")),
    }
}

async fn fetch(pin: PinView<'_>, source: &Source, http: &HttpClient, kind: &'static str) -> Result<Document, String> {
    let path = format!("./{}", pin.name.as_str().replace('/', "%2f"));
    let url = source.url.join(&path).map_err(|error| error.to_string())?;
    let request = Request::get(url).accept(kind).authorization(source.authorization.as_deref()).limit(LARGEST_DOCUMENT);
    let answer = http.fetch(request).await.map_err(|error: HttpError| error.to_string())?;
    serde_json::from_slice(&answer.body).map_err(|error| format!("the registry's answer cannot be read: {error}"))
}

impl Document {
    fn published(&self, version: &str) -> Option<jiff::Timestamp> {
        self.time.as_ref()?.get(version)?.as_str()?.parse().ok()
    }
}
