//! Tokens for `$cbs`: shared access signatures are checked, tokens of Entra ID are believed.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::address::decoded;
use super::broker::now_ms;
use super::condition::Condition;
use super::settings::Key;

const SIGNATURE: &str = "SharedAccessSignature ";

/// Until when a token is good, in milliseconds since 1970; none if it does not say.
pub(super) type GoodUntil = Option<i64>;

/// Check a token.
pub(super) fn check(token: &str, key: Option<&Key>) -> Result<GoodUntil, Condition> {
    let Some(fields) = token.strip_prefix(SIGNATURE) else {
        // A token of Entra ID has three parts; its signature is for others to check.
        return match key {
            Some(_) if token.split('.').count() != 3 => Err(invalid("the token is neither a signature nor a JWT")),
            _ => Ok(None),
        };
    };
    let field = |name: &str| fields.split('&').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let (Some(resource), Some(signature), Some(expiry)) = (field("sr"), field("sig"), field("se")) else {
        return Err(invalid("the token lacks sr, sig or se"));
    };
    let seconds: i64 = expiry.parse().map_err(|_| invalid("the expiry of the token is not a number"))?;
    let good_until_ms = seconds.saturating_mul(1000);
    if good_until_ms <= now_ms() {
        return Err(Condition::expired_token());
    }
    if let Some(key) = key {
        if field("skn").map(decoded).as_deref() != Some(key.name.as_str()) {
            return Err(invalid("the name of the key is unknown"));
        }
        if decoded(signature) != sign(&format!("{resource}\n{expiry}"), &key.secret) {
            return Err(invalid("the signature of the token is wrong"));
        }
    }
    Ok(Some(good_until_ms))
}

fn invalid(what: &str) -> Condition {
    Condition::new("amqp:unauthorized-access", format!("InvalidSignature: {what}"))
}

fn sign(text: &str, secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("invariant: a key may have any length");
    mac.update(text.as_bytes());
    base64(&mac.finalize().into_bytes())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0u8; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= chunk.len() { DIGITS[index as usize] as char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key { name: "root".to_owned(), secret: "secret".to_owned() }
    }

    fn token(secret: &str, name: &str, expiry: i64) -> String {
        let signature = sign(&format!("sb%3a%2f%2fhost%2fhub\n{expiry}"), secret);
        let signature = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        format!("SharedAccessSignature sr=sb%3a%2f%2fhost%2fhub&sig={signature}&se={expiry}&skn={name}")
    }

    #[test]
    fn only_a_signature_with_the_key_that_is_not_over_is_good() {
        let later = now_ms() / 1000 + 100;
        assert_eq!(check(&token("secret", "root", later), Some(&key())), Ok(Some(later * 1000)));
        assert_eq!(check(&token("other", "any", later), None), Ok(Some(later * 1000)));
        assert_eq!(check("a.b.c", Some(&key())), Ok(None));
        for (bad, what) in [
            (token("other", "root", later), "the signature of the token is wrong"),
            (token("secret", "other", later), "the name of the key is unknown"),
            (token("secret", "root", 1), "ExpiredToken"),
            ("SharedAccessSignature sr=x".to_owned(), "the token lacks"),
            ("anything".to_owned(), "neither a signature nor a JWT"),
        ] {
            let refused = check(&bad, Some(&key())).unwrap_err();
            assert!(refused.description.contains(what), "{bad}: {refused:?}");
        }
    }

    #[test]
    fn base64_pads_what_is_no_multiple_of_three() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
