//! JSON Web Tokens as far as a probe needs them: JWS compact serialization (RFC 7515) with HMAC (RFC 7518, 3.2).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::{Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use crate::config::KeyEncoding;

/// As most libraries decode a key: they throw away bits that are left over.
const LENIENT: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, NO_PAD.with_decode_allow_trailing_bits(true));

/// The algorithms that a shared secret signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
}

impl Algorithm {
    /// The name in a token's header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
        }
    }

    /// The algorithm of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Hs256, Self::Hs384, Self::Hs512].into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    fn sign(self, key: &[u8], input: &[u8]) -> Vec<u8> {
        match self {
            Self::Hs256 => mac::<Hmac<Sha256>>(key, input),
            Self::Hs384 => mac::<Hmac<Sha384>>(key, input),
            Self::Hs512 => mac::<Hmac<Sha512>>(key, input),
        }
    }

    /// In time that does not depend on where the signatures differ.
    fn verifies(self, key: &[u8], input: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Hs256 => is_mac::<Hmac<Sha256>>(key, input, signature),
            Self::Hs384 => is_mac::<Hmac<Sha384>>(key, input, signature),
            Self::Hs512 => is_mac::<Hmac<Sha512>>(key, input, signature),
        }
    }
}

/// A token that was taken apart. The parts stay as they were sent: what is signed is the text.
pub struct Token {
    header: String,
    payload: Zeroizing<String>,
    signature: Vec<u8>,
    /// The algorithm that its header names.
    pub algorithm: Algorithm,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    crit: Option<serde::de::IgnoredAny>,
}

impl Token {
    /// Takes a token apart.
    ///
    /// # Errors
    /// What it is instead, without telling it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('.').collect();
        let [header, payload, signature] = parts.as_slice() else {
            return Err(format!("it has {} parts, and a signed JWT has 3", parts.len()));
        };
        let json = URL_SAFE_NO_PAD.decode(header).map_err(|_| "its header is not base64url".to_owned())?;
        let Header { alg, crit } =
            serde_json::from_slice(&json).map_err(|_| "its header names no algorithm".to_owned())?;
        let algorithm = Algorithm::from_name(&alg).ok_or_else(|| {
            let alg: String = alg.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
            format!("it is signed by {alg}, and a shared secret signs with HS256, HS384 or HS512")
        })?;
        // What is signed may then be something else than the text (RFC 7515, 4.1.11; RFC 7797).
        if crit.is_some() {
            return Err("its header has extensions (crit) that change how it is read".to_owned());
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "its signature is not base64url".to_owned())?;
        Ok(Self { header: (*header).to_owned(), payload: Zeroizing::new((*payload).to_owned()), signature, algorithm })
    }

    /// A new token with these claims, JSON text.
    pub fn mint(algorithm: Algorithm, claims: &str, key: &[u8]) -> Zeroizing<String> {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{}","typ":"JWT"}}"#, algorithm.as_str()));
        signed(algorithm, &header, &URL_SAFE_NO_PAD.encode(claims), key)
    }

    /// How long it lives, in seconds: `exp` less `iat` (RFC 7519, 4.1). None where it does not say.
    pub fn lifetime(&self) -> Option<u64> {
        #[derive(Deserialize)]
        struct Claims {
            exp: f64,
            iat: f64,
        }
        let json = Zeroizing::new(URL_SAFE_NO_PAD.decode(self.payload.as_bytes()).ok()?);
        let claims: Claims = serde_json::from_slice(&json).ok()?;
        let lifetime = std::time::Duration::try_from_secs_f64((claims.exp - claims.iat).ceil()).ok()?;
        Some(lifetime.as_secs())
    }

    /// Whether the signature was made with `key`.
    pub fn is_signed_with(&self, key: &[u8]) -> bool {
        let input = Zeroizing::new(format!("{}.{}", self.header, *self.payload));
        self.algorithm.verifies(key, input.as_bytes(), &self.signature)
    }

    /// The same token, signed with another key.
    pub fn signed_again_with(&self, key: &[u8]) -> Zeroizing<String> {
        signed(self.algorithm, &self.header, &self.payload, key)
    }

    /// The same claims with `alg: none`, spelt like this, which is not signed at all (RFC 7518, 3.6).
    pub fn unsigned(&self, none: &str) -> Zeroizing<String> {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{none}","typ":"JWT"}}"#));
        Zeroizing::new(format!("{header}.{}.", *self.payload))
    }

    /// The same token without its signature.
    pub fn stripped(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}.{}.", self.header, *self.payload))
    }
}

/// The HMAC key that a consumer makes of the variable.
///
/// # Errors
/// Where the value is not of that encoding: what it should have been.
pub fn key(value: &[u8], encoding: KeyEncoding) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let mut decoded = Zeroizing::new(vec![0; value.len()]);
    let length = match encoding {
        KeyEncoding::Text => return Ok(Zeroizing::new(value.to_vec())),
        KeyEncoding::Hex => {
            let half = value.len() / 2;
            hex::decode_to_slice(value, &mut decoded[..half]).map(|()| half).map_err(|_| "hex")?
        }
        KeyEncoding::Base64 => {
            let mut text = Zeroizing::new(value.to_vec());
            let padding = text.iter().rev().take_while(|&&byte| byte == b'=').count();
            text.truncate(value.len() - padding);
            for byte in text.iter_mut() {
                *byte = match *byte {
                    b'-' => b'+',
                    b'_' => b'/',
                    byte => byte,
                };
            }
            LENIENT.decode_slice(&*text, &mut decoded).map_err(|_| "base64")?
        }
    };
    decoded.truncate(length);
    Ok(decoded)
}

fn signed(algorithm: Algorithm, header: &str, payload: &str, key: &[u8]) -> Zeroizing<String> {
    let input = Zeroizing::new(format!("{header}.{payload}"));
    let signature = URL_SAFE_NO_PAD.encode(algorithm.sign(key, input.as_bytes()));
    Zeroizing::new(format!("{}.{signature}", *input))
}

fn mac<M: Mac + KeyInit>(key: &[u8], input: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length, so that the other branch is never taken.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { return Vec::new() };
    mac.update(input);
    mac.finalize().into_bytes().to_vec()
}

fn is_mac<M: Mac + KeyInit>(key: &[u8], input: &[u8], signature: &[u8]) -> bool {
    <M as KeyInit>::new_from_slice(key).is_ok_and(|mac| mac.chain_update(input).verify_slice(signature).is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 7515, appendix A.1.
    #[test]
    fn the_example_of_the_rfc_verifies() {
        let text = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let jwk = b"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
        let key = key(jwk, KeyEncoding::Base64).unwrap();
        let token = Token::parse(text).unwrap();
        assert!(token.is_signed_with(&key));
        assert!(!token.is_signed_with(b"another"));
        assert_eq!(token.signed_again_with(&key).as_str(), text);
    }

    #[test]
    fn what_is_minted_verifies_and_can_be_forged_for_the_tests_of_a_backend() {
        for algorithm in [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512] {
            let text = Token::mint(algorithm, r#"{"sub":"x"}"#, b"key");
            let token = Token::parse(&text).unwrap();
            assert!(token.is_signed_with(b"key") && token.algorithm == algorithm);
            assert!(!Token::parse(&token.signed_again_with(b"other")).unwrap().is_signed_with(b"key"));
            assert!(token.unsigned("none").ends_with('.') && token.stripped().ends_with('.'));
        }
    }

    #[test]
    fn other_tokens_are_told_by_what_they_are() {
        let error = |text: &str| Token::parse(text).err().unwrap();
        let headed = |header: &str| error(&format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(header)));
        assert!(error("abc").contains("1 parts"));
        assert!(error("a.b.c.d.e").contains("5 parts"));
        assert!(error("%%%.e30.AA").contains("base64url"));
        assert!(headed(r#"{"alg":"RS256"}"#).contains("RS256"));
        assert!(headed(r#"{"alg":"none"}"#).contains("none"));
        assert!(headed(r#"{"typ":"JWT"}"#).contains("names no algorithm"));
        assert!(headed(r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#).contains("crit"));
    }

    #[test]
    fn an_empty_or_shortened_signature_verifies_with_nothing() {
        let token = Token::parse(&Token::mint(Algorithm::Hs256, "{}", b"key")).unwrap();
        assert!(!Token::parse(&token.stripped()).unwrap().is_signed_with(b"key"));
        let short = Token { signature: token.signature[..31].to_vec(), ..token };
        assert!(!short.is_signed_with(b"key"));
    }

    #[test]
    fn a_key_is_the_text_or_what_it_decodes_to() {
        let made = |text: &str, encoding| key(text.as_bytes(), encoding).map(|key| key.to_vec());
        assert_eq!(made("fb00", KeyEncoding::Text).unwrap(), b"fb00");
        assert_eq!(made("FbfF", KeyEncoding::Hex).unwrap(), [0xfb, 0xff]);
        for text in ["+/8", "-_8", "+/8=", "-_8=", "+_8", "-_9"] {
            assert_eq!(made(text, KeyEncoding::Base64).unwrap(), [0xfb, 0xff], "{text}");
        }
        assert_eq!(made("abc", KeyEncoding::Hex), Err("hex"));
        assert_eq!(made("xy", KeyEncoding::Hex), Err("hex"));
        assert_eq!(made("a b", KeyEncoding::Base64), Err("base64"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_apart_without_a_panic(
            header in prop::collection::vec(any::<u8>(), 0..80),
            rest in prop::collection::vec(any::<u8>(), 0..200),
            parts in 0_usize..5,
        ) {
            let _ = Token::parse(&String::from_utf8_lossy(&rest));
            let mut text = URL_SAFE_NO_PAD.encode(header);
            for part in rest.chunks(rest.len() / 4 + 1).take(parts) {
                text = format!("{text}.{}", URL_SAFE_NO_PAD.encode(part));
            }
            let _ = Token::parse(&text);
        }

        #[test]
        fn any_header_with_an_algorithm_is_taken_apart_without_a_panic(alg in ".{0,20}", payload in ".{0,80}") {
            let header = serde_json::json!({ "alg": alg }).to_string();
            let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
            if let Err(why) = Token::parse(&format!("{}.{}.AA", encode(&header), encode(&payload))) {
                prop_assert!(why.is_ascii());
            }
        }

        #[test]
        fn any_value_makes_a_key_or_none_without_a_panic(value in prop::collection::vec(any::<u8>(), 0..80)) {
            for encoding in [KeyEncoding::Text, KeyEncoding::Hex, KeyEncoding::Base64] {
                let _ = key(&value, encoding);
            }
        }
    }
}
