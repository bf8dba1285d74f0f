//! The `Set-Cookie` line of Stickler's own cookie.

use std::time::Duration;

use http::HeaderValue;
use thiserror::Error;

use crate::document::cluster::{CookieAttributes, SameSite};

/// A cookie can't be written as configured. The operator changes the named attribute in the cluster
/// document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum UnwritableCookie {
    /// The name is empty or has a character that a cookie's name can't have.
    #[error("the cookie's name is not a token of RFC 9110")]
    Name,
    /// The value has a character that a cookie's value can't have. No sealed token has one.
    #[error("the cookie's value has a character that cookies can't have")]
    Value,
    /// The path doesn't begin with `/`, or has a `;` or a character outside printable ASCII.
    #[error("the cookie's path does not begin with `/` or has a character that paths can't have")]
    Path,
    /// The domain is empty or has something else than letters, digits, `-` and `.`.
    #[error("the cookie's domain is not a host name")]
    Domain,
}

/// The value of the `Set-Cookie` header that gives `sealed` to the client. Without a configured age it is a cookie of
/// the browser session, since the binding's life is the cluster's to decide.
///
/// # Errors
/// When an attribute can't stand in a cookie. A checked document doesn't have such attributes; the check
/// may call this with an empty value to find them.
pub fn write_set_cookie(
    attributes: &CookieAttributes,
    sealed: &str,
) -> Result<HeaderValue, UnwritableCookie> {
    write(attributes, sealed, None)
}

/// The value of the `Set-Cookie` header that takes the cookie away from the client.
///
/// # Errors
/// As for [`write_set_cookie`].
pub fn write_removal(attributes: &CookieAttributes) -> Result<HeaderValue, UnwritableCookie> {
    write(attributes, "", Some(Duration::ZERO))
}

fn write(
    attributes: &CookieAttributes,
    sealed: &str,
    lifetime: Option<Duration>,
) -> Result<HeaderValue, UnwritableCookie> {
    let CookieAttributes { name, path, domain, secure, http_only, same_site, max_age, partitioned, .. } =
        attributes;
    ensure(!name.is_empty() && name.bytes().all(is_token_byte), UnwritableCookie::Name)?;
    ensure(sealed.bytes().all(is_value_byte), UnwritableCookie::Value)?;
    ensure(path.starts_with('/') && path.bytes().all(is_path_byte), UnwritableCookie::Path)?;

    let mut line = format!("{name}={sealed}; Path={path}");
    if let Some(domain) = domain {
        ensure(!domain.is_empty() && domain.bytes().all(is_domain_byte), UnwritableCookie::Domain)?;
        line.push_str("; Domain=");
        line.push_str(domain);
    }
    if let Some(max_age) = lifetime.or(*max_age) {
        line.push_str("; Max-Age=");
        line.push_str(&max_age.as_secs().to_string());
    }
    if *secure {
        line.push_str("; Secure");
    }
    if *http_only {
        line.push_str("; HttpOnly");
    }
    line.push_str(match same_site {
        SameSite::Lax => "; SameSite=Lax",
        SameSite::Strict => "; SameSite=Strict",
        SameSite::None => "; SameSite=None",
    });
    if *partitioned {
        line.push_str("; Partitioned");
    }
    let mut value = HeaderValue::try_from(line).expect("each part was found to be printable ASCII");
    // Keeps the token out of Debug output, and out of the tables of header compression.
    value.set_sensitive(true);
    Ok(value)
}

fn ensure(holds: bool, otherwise: UnwritableCookie) -> Result<(), UnwritableCookie> {
    if holds { Ok(()) } else { Err(otherwise) }
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

const fn is_value_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

const fn is_path_byte(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b';'
}

const fn is_domain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')
}
