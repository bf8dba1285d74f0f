//! Every response that is Stickler's own is made here: what a client, a dashboard and a test can tell it by
//! is the `Stickler-Error` header.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use http::{Response, StatusCode};

use crate::body::Body;
use crate::framing::Rejection;

/// Carries the name of what went wrong.
pub const ERROR_HEADER: HeaderName = HeaderName::from_static("stickler-error");

/// A response of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    status: StatusCode,
    name: &'static str,
    text: Cow<'static, str>,
    retry_after: Option<Duration>,
    close: bool,
    page: Option<String>,
    location: Option<String>,
}

impl Answer {
    /// An answer with this status. `name` (lower case, hyphens) goes into `Stickler-Error`; `text` is one
    /// line for a person, without anything secret or from the request.
    #[must_use]
    pub fn new(status: StatusCode, name: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, name, text: text.into(), retry_after: None, close: false, page: None, location: None }
    }

    /// Tells the client when to come back. Rounded up to whole seconds, at least one.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Shows the operator's HTML instead of the line of text.
    #[must_use]
    pub fn with_page(mut self, page: String) -> Self {
        self.page = Some(page);
        self
    }

    /// Sends the client to this address.
    #[must_use]
    pub fn to(mut self, location: String) -> Self {
        self.location = Some(location);
        self
    }

    /// Ends the connection after this answer, because what follows on it can't be trusted or read.
    #[must_use]
    pub fn and_close(mut self) -> Self {
        self.close = true;
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The name in `Stickler-Error`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The response as it goes out.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        let html = self.page.is_some();
        let text = self.page.unwrap_or_else(|| format!("{}\n", self.text));
        let mut response = Response::new(Body::from(Bytes::from(text)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let kind = if html { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(location) = self.location.and_then(|location| HeaderValue::try_from(location).ok()) {
            headers.insert(LOCATION, location);
        }
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(ERROR_HEADER, HeaderValue::from_static(self.name));
        if let Some(delay) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(delay)));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The bytes of the answer, for a connection on which no HTTP server was started. Closes it.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        let reason = self.status.canonical_reason().unwrap_or("Error");
        let retry_after = self
            .retry_after
            .map_or_else(String::new, |delay| format!("retry-after: {}\r\n", whole_seconds(delay)));
        format!(
            "HTTP/1.1 {} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\ncache-control: no-store\r\n\
             {ERROR_HEADER}: {}\r\n{retry_after}content-length: {}\r\nconnection: close\r\n\r\n{}\n",
            self.status.as_u16(),
            self.name,
            self.text.len() + 1,
            self.text,
        )
        .into_bytes()
    }
}

impl From<Rejection> for Answer {
    fn from(rejection: Rejection) -> Self {
        Self::new(rejection.status(), rejection.name(), rejection.to_string()).and_close()
    }
}

fn whole_seconds(delay: Duration) -> u64 {
    (delay.as_secs() + u64::from(delay.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_its_error_and_when_to_retry() {
        let answer = Answer::new(StatusCode::SERVICE_UNAVAILABLE, "no-backend", "no backend is up")
            .retry_after(Duration::from_millis(1500));
        let response = answer.clone().into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["stickler-error"], "no-backend");
        assert_eq!(response.headers()["retry-after"], "2");
        assert!(!response.headers().contains_key("connection"));
        let text = String::from_utf8(answer.into_bytes()).unwrap();
        assert!(text.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{text}");
        assert!(text.contains("\r\nretry-after: 2\r\ncontent-length: 17\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nno backend is up\n"), "{text}");
    }

    #[test]
    fn a_rejection_closes_the_connection() {
        let response = Answer::from(Rejection::NoHost).into_response();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["connection"]),
            (400, &"close".parse().unwrap())
        );
    }
}
