//! JSON Web Tokens with HS256 (RFC 7519), just enough to log in with.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

/// A token taken apart, nothing of it verified.
pub struct Token {
    /// `alg` of the header.
    pub algorithm: String,
    /// The payload.
    pub claims: Value,
    signed: String,
    signature: Vec<u8>,
}

impl Token {
    /// Takes a token apart.
    pub fn parse(text: &str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let json = |part: &str| serde_json::from_slice::<Value>(&BASE64.decode(part).ok()?).ok();
        Some(Self {
            algorithm: json(header)?["alg"].as_str()?.to_owned(),
            claims: json(claims)?,
            signed: signed.to_owned(),
            signature: BASE64.decode(signature).ok()?,
        })
    }

    /// Whether it is signed with `key`.
    pub fn is_signed_with(&self, key: &str) -> bool {
        self.algorithm == "HS256"
            && hmac(key, &self.signed).is_some_and(|mac| mac.verify_slice(&self.signature).is_ok())
    }
}

/// Makes a token of `claims`.
pub fn sign(claims: &Value, key: &str) -> String {
    let encoded = |json: &Value| BASE64.encode(json.to_string());
    let signed = format!("{}.{}", encoded(&json!({ "alg": "HS256", "typ": "JWT" })), encoded(claims));
    let signature = hmac(key, &signed).map(|mac| mac.finalize().into_bytes()).unwrap_or_default();
    format!("{signed}.{}", BASE64.encode(signature))
}

fn hmac(key: &str, text: &str) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
    mac.update(text.as_bytes());
    Some(mac)
}
