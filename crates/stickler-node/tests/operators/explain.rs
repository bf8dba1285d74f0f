use stickler_proto::admin::{ExplainReply, ExplainRequest, Header, SetBackendAdminRequest};
use tonic::{Code, Status};

use crate::support::{TestNode, until};

fn request(headers: &[(&str, &str)]) -> ExplainRequest {
    let header =
        |(name, value): &(&str, &str)| Header { name: (*name).to_owned(), value: (*value).to_owned() };
    ExplainRequest {
        host: "Shop.example.com".to_owned(),
        target: "/cart?item=3".to_owned(),
        headers: headers.iter().map(header).collect(),
        source: "192.0.2.7".to_owned(),
        listener: "public".to_owned(),
    }
}

async fn explain(node: &TestNode, request: ExplainRequest) -> Result<ExplainReply, Status> {
    node.client().await.explain(request).await.map(tonic::Response::into_inner)
}

fn part<'r>(reply: &'r ExplainReply, name: &str) -> &'r str {
    let named =
        |backend: &&stickler_proto::admin::ExplainedBackend| backend.backend.as_ref().unwrap().name == name;
    &reply.backends.iter().find(named).unwrap().part
}

async fn maint(node: &TestNode, name: &str) {
    let backend = node.backend(name).await;
    let change = SetBackendAdminRequest {
        id: backend.id,
        admin: "maint".to_owned(),
        drain_milliseconds: None,
        expected_revision: backend.revision,
    };
    let reply = node.client().await.set_backend_admin(change).await.unwrap().into_inner();
    until("the entry is applied", || node.cluster.view().applied.0 >= reply.index).await;
}

#[tokio::test]
async fn a_request_of_a_known_session_is_explained_by_its_binding() {
    let node = TestNode::start().await;
    node.apply().await;
    let session = node.session_of_cookie("abc");
    node.place(std::iter::once(session.key)).await;
    let binding = node.cluster.view().locate(session).unwrap().binding;

    let sent = request(&[("Cookie", "theme=dark; JSESSIONID=abc"), ("Authorization", "Bearer a b")]);
    let reply = explain(&node, sent.clone()).await.unwrap();
    assert_eq!(
        (reply.route.as_str(), reply.affinity.as_str(), reply.pool.as_str()),
        ("shop", "cart", "shop")
    );
    assert_eq!((reply.host.as_str(), reply.path.as_str()), ("shop.example.com", "/cart"));
    assert_eq!((reply.node, reply.footing.as_str()), (1, "leased"));
    assert_eq!(reply.decision, "forward", "{reply:?}");
    let shown = reply.session.clone().unwrap();
    assert_eq!((shown.key, shown.epoch), (session.key.to_string(), binding.epoch.0));
    assert_eq!((reply.session_changed_index, &reply.backend), (binding.changed_at.0, &shown.backend_name));
    let methods: Vec<_> =
        reply.methods.iter().map(|method| (method.method.as_str(), method.keys.len())).collect();
    assert_eq!(
        methods,
        [("application-cookie JSESSIONID", 1), ("header Authorization (bearer)", 0), ("source-address", 1)]
    );
    let (home, other) =
        if shown.backend_name == "shop/web-1" { ("web-1", "web-2") } else { ("web-2", "web-1") };
    assert_eq!((part(&reply, home), part(&reply, other)), ("has the session", "the session is elsewhere"));

    maint(&node, home).await;
    let reply = explain(&node, sent.clone()).await.unwrap();
    assert_eq!((reply.decision.as_str(), reply.reason.as_str()), ("move", "backend in maint"), "{reply:?}");
    assert_eq!(reply.backend, format!("shop/{other}"));
    assert_eq!(part(&reply, home), "has the session, but is in maint");
    assert_eq!(node.cluster.view().locate(session).unwrap().binding, binding, "nothing was moved");

    maint(&node, other).await;
    let reply = explain(&node, sent).await.unwrap();
    assert_eq!((reply.decision.as_str(), reply.backend.as_str()), ("refuse", ""), "{reply:?}");
    assert!(reply.reason.starts_with("no-backend"), "{reply:?}");
}

#[tokio::test]
async fn a_request_that_nobody_knows_is_explained_by_who_may_take_it() {
    let node = TestNode::start().await;
    node.apply().await;
    maint(&node, "web-1").await;
    let reply = explain(&node, request(&[("Cookie", "JSESSIONID=new")])).await.unwrap();
    assert_eq!((reply.decision.as_str(), reply.backend.as_str()), ("place", "shop/web-2"), "{reply:?}");
    assert_eq!(part(&reply, "web-1"), "takes no new sessions: not ready");
    assert_eq!(part(&reply, "web-2"), "may be chosen");
    assert_eq!(reply.session, None);

    // Nobody is trusted here, so that a claim about the address changes nothing.
    let [plain, claimed] = [&[][..], &[("X-Forwarded-For", "198.51.100.9")]].map(request);
    let methods = |reply: ExplainReply| reply.methods;
    assert_eq!(
        explain(&node, plain).await.map(methods).unwrap(),
        explain(&node, claimed).await.map(methods).unwrap()
    );

    let long = "x".repeat(5000);
    let oversize = explain(&node, request(&[("Cookie", &format!("JSESSIONID={long}"))])).await.unwrap();
    assert_eq!(oversize.methods[0].passed_over, ["oversize identifier"]);
}

#[tokio::test]
async fn a_request_that_can_not_be_one_is_refused_without_repeating_it() {
    let node = TestNode::start_among(1).await;
    let refused = explain(&node, request(&[])).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);

    let node = TestNode::start().await;
    node.apply().await;
    let wrong = [
        (request(&[("X-Session", "s3cret\u{1}")]), Code::InvalidArgument),
        (request(&[("s3cret header", "x")]), Code::InvalidArgument),
        (request(&[("X-Large", &"s3cret".repeat(10_000))]), Code::InvalidArgument),
        (ExplainRequest { target: "/s3cret cart".to_owned(), ..request(&[]) }, Code::InvalidArgument),
        (ExplainRequest { source: "s3cret".to_owned(), ..request(&[]) }, Code::InvalidArgument),
        (ExplainRequest { source: String::new(), ..request(&[]) }, Code::InvalidArgument),
        (ExplainRequest { listener: "private".to_owned(), ..request(&[]) }, Code::NotFound),
    ];
    for (request, code) in wrong {
        let refused = explain(&node, request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(!refused.message().contains("s3cret"), "{refused}");
    }
}
