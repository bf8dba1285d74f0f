//! What passes through, and what does not.

use crate::support::{Backend, Proxy, header, run};

#[test]
fn headers_of_one_connection_stay_on_it_both_ways_and_reserved_ones_are_ours() {
    run(async {
        let backend = Backend::start(|mut raw, _number| async move {
            while let Some(head) = raw.head().await {
                let length = head.len();
                raw.send(&format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: X-Hop, keep-alive\r\n\
                     X-Hop: 1\r\nKeep-Alive: timeout=9\r\nSet-Cookie: a=b\r\nUpgrade: h2c\r\n\r\n{head}"
                ))
                .await;
            }
        })
        .await;
        let proxy = Proxy::start(backend.address).await;
        let (status, head, seen) = proxy
            .connect()
            .await
            .ask(
                "GET http://shop/cart?x=1 HTTP/1.1\r\nHost: shop\r\nConnection: X-Mine\r\nX-Mine: 1\r\n\
                 Keep-Alive: 5\r\nStickler-Epoch: 9\r\nX-Forwarded-For: 192.0.2.1\r\nX-End: to-end\r\n\r\n",
            )
            .await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(seen.starts_with("GET /cart?x=1 HTTP/1.1\r\n"), "{seen}");
        for gone in ["x-mine", "keep-alive", "stickler-epoch", "connection"] {
            assert_eq!(header(&seen, gone), None, "{gone}: {seen}");
        }
        assert_eq!(header(&seen, "host"), Some("shop"));
        assert_eq!(header(&seen, "x-end"), Some("to-end"));
        assert_eq!(header(&seen, "x-forwarded-for"), Some("192.0.2.1, 127.0.0.1"));
        assert_eq!(header(&seen, "x-forwarded-proto"), Some("http"));
        assert_eq!(header(&seen, "x-forwarded-host"), Some("shop"));
        assert_eq!(header(&seen, "via"), Some("1.1 stickler"));
        for gone in ["x-hop", "keep-alive", "upgrade", "connection"] {
            assert_eq!(header(&head, gone), None, "{gone}: {head}");
        }
        assert_eq!(header(&head, "set-cookie"), Some("a=b"));
        assert_eq!(header(&head, "via"), Some("1.1 stickler"));
    });
}

#[test]
fn a_client_that_waits_for_100_gets_it_once_a_backend_takes_the_request() {
    run(async {
        let backend = Backend::echo().await;
        let proxy = Proxy::start(backend.address).await;
        let mut client = proxy.connect().await;
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").await;
        assert_eq!(client.head().await.unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
        let (status, _head, seen) = client.ask("hello").await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(seen.ends_with("\r\n\r\nhello"), "{seen}");
        assert_eq!(header(&seen, "expect"), None);
    });
}

#[test]
fn a_client_that_waits_for_100_is_not_asked_for_a_body_that_nobody_takes() {
    run(async {
        let backend = Backend::echo().await;
        let proxy = Proxy::start(backend.address).await;
        proxy.plan.valid.set(false);
        let mut client = proxy.connect().await;
        let (status, _head, _body) = client
            .ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            .await;
        assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    });
}

#[test]
fn responses_without_a_body_keep_their_heads_and_the_connection() {
    run(async {
        let backend = Backend::start(|mut raw, _number| async move {
            while let Some(head) = raw.head().await {
                let answer = match head.split(' ').nth(1).unwrap() {
                    "/head" => "200 OK\r\nContent-Length: 1234",
                    "/chunked" => "200 OK\r\nTransfer-Encoding: chunked",
                    "/early" => "103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content",
                    "/none" => "204 No Content",
                    _ => "304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 99",
                };
                raw.send(&format!("HTTP/1.1 {answer}\r\n\r\n")).await;
            }
        })
        .await;
        let proxy = Proxy::start(backend.address).await;
        let mut client = proxy.connect().await;
        let mut ask = async |method: &str, path: &str| {
            client.send(&format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
            client.head().await.unwrap()
        };
        assert_eq!(header(&ask("HEAD", "/head").await, "content-length"), Some("1234"));
        assert_eq!(header(&ask("HEAD", "/chunked").await, "content-length"), None);
        assert!(ask("GET", "/none").await.starts_with("HTTP/1.1 204"));
        assert!(ask("GET", "/early").await.starts_with("HTTP/1.1 204"));
        let unchanged = ask("GET", "/same").await;
        assert!(unchanged.starts_with("HTTP/1.1 304"), "{unchanged}");
        assert_eq!(header(&unchanged, "etag"), Some("\"a\""));
        assert_eq!(backend.accepted.get(), 1, "all on one connection");
        assert_eq!(proxy.in_flight(), 0);
    });
}

#[test]
fn chunked_bodies_pass_both_ways_with_their_trailers() {
    run(async {
        let backend = Backend::start(|mut raw, _number| async move {
            let head = raw.head().await.unwrap();
            assert_eq!(header(&head, "transfer-encoding"), Some("chunked"), "{head}");
            let expected = "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n";
            let body = raw.bytes(expected.len()).await;
            assert_eq!(String::from_utf8(body).unwrap(), expected);
            raw.send(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                 3\r\nabc\r\n0\r\nX-Sum: 2\r\n\r\n",
            )
            .await;
        })
        .await;
        let proxy = Proxy::start(backend.address).await;
        let mut client = proxy.connect().await;
        client
            .send(
                "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTrailer: X-Sum\r\n\
                 Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
            )
            .await;
        let head = client.head().await.unwrap();
        assert_eq!(header(&head, "transfer-encoding"), Some("chunked"), "{head}");
        let expected = "3\r\nabc\r\n0\r\nx-sum: 2\r\n\r\n";
        assert_eq!(String::from_utf8(client.bytes(expected.len()).await).unwrap(), expected);
    });
}

#[test]
fn a_client_of_http_1_0_is_served_and_closed() {
    run(async {
        let backend = Backend::echo().await;
        let proxy = Proxy::start(backend.address).await;
        let mut client = proxy.connect().await;
        client.send("GET /old HTTP/1.0\r\n\r\n").await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\r\n\r\nGET /old HTTP/1.1\r\n"), "{answer}");
        assert!(answer.contains(&format!("host: {}", backend.address)), "{answer}");
        assert!(answer.contains("via: 1.0 stickler"), "{answer}");
    });
}

#[test]
fn options_star_passes() {
    run(async {
        let backend = Backend::echo().await;
        let proxy = Proxy::start(backend.address).await;
        let (_status, _head, seen) = proxy.connect().await.ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(seen.starts_with("OPTIONS * HTTP/1.1\r\n"), "{seen}");
    });
}
