//! The page that checks ask for, and how a backend that is ill answers there. Pure.

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::Full;

use super::backend::Pace;

/// Where checks ask.
pub(crate) const PATH: &str = "/health";
/// What the page says to whoever asks rightly: as this host, and with this header.
pub(crate) const WORDS: &str = "all is well";
/// See [`WORDS`].
pub(crate) const ASKED_AS: &str = "health.shop.example";
/// See [`WORDS`].
pub(crate) const ASKED_WITH: (&str, &str) = ("x-check", "from the balancer");

/// Makes this answer the page, for whoever asks with these headers.
pub(super) fn fill(answer: &mut Response<Full<Bytes>>, pace: Pace, asked: &HeaderMap) {
    *answer.status_mut() = match pace {
        Pace::Unwell => StatusCode::SERVICE_UNAVAILABLE,
        Pace::Draining => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    };
    let (name, value) = ASKED_WITH;
    let is = |name: &str, value: &str| asked.get(name).is_some_and(|found| found == value);
    if pace != Pace::Wordless && is(HOST.as_str(), ASKED_AS) && is(name, value) {
        *answer.body_mut() = Full::new(Bytes::from(format!("web shop: {WORDS}\n")));
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http_body_util::BodyExt;

    use super::*;

    async fn page(pace: Pace, asked: &[(&'static str, &'static str)]) -> (u16, bool) {
        let mut answer = Response::new(Full::new(Bytes::from_static(b"served\n")));
        let asked = asked
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
        fill(&mut answer, pace, &asked.collect());
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).contains(WORDS))
    }

    #[tokio::test]
    async fn only_who_asks_as_the_host_and_with_the_header_is_told_the_words() {
        let (host, header) = (("host", ASKED_AS), ASKED_WITH);
        assert_eq!(page(Pace::Usual, &[host, header]).await, (200, true));
        assert_eq!(page(Pace::Usual, &[host]).await, (200, false));
        assert_eq!(page(Pace::Usual, &[("host", "127.0.0.1"), header]).await, (200, false));
    }

    #[tokio::test]
    async fn a_backend_that_is_ill_says_so_in_its_own_way() {
        let asked = [("host", ASKED_AS), ASKED_WITH];
        assert_eq!(page(Pace::Wordless, &asked).await, (200, false));
        assert_eq!(page(Pace::Unwell, &asked).await.0, 503);
        assert_eq!(page(Pace::Draining, &asked).await.0, 404);
    }
}
