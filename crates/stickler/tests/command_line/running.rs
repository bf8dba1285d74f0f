use crate::support::{DOCUMENT, RunningNode, files, path, stickler};

#[test]
fn an_operator_applies_looks_drains_and_stops() {
    let node = RunningNode::start();
    let directory = files(&[("cluster.toml", DOCUMENT), ("other.toml", &DOCUMENT.replace("web-1", "web-2"))]);
    let [document, other] = ["cluster.toml", "other.toml"].map(|name| path(&directory, name));

    let dry = node.say(&["apply", &document, "--dry-run"]);
    assert!(dry.code == Some(0) && dry.output.contains("+[[listener]]"), "{dry:?}");
    assert_eq!(node.say(&["apply", &document, "--output", "json"]).json()["revision"], 1);
    let again = node.say(&["apply", &document, "--output", "json"]).json();
    assert_eq!((&again["revision"], &again["index"]), (&1.into(), &0.into()), "the same again is no change");
    let stale = node.say(&["apply", &other, "--expect", "0"]);
    assert!(stale.code == Some(1) && stale.errors.contains("revision 1"), "{stale:?}");

    assert_eq!(node.say(&["backend", "drain", "shop/web-1", "--deadline", "5m"]).code, Some(0));
    let backends = node.say(&["backend", "list", "--output", "json"]).json();
    assert_eq!(backends["backends"][0]["admin"], "drain");
    let left = backends["backends"][0]["drain_milliseconds"].as_u64().unwrap();
    assert!(left > 200_000 && left <= 300_000, "{left}");
    assert!(node.say(&["backend", "list"]).output.contains("shop/web-1  127.0.0.1:9  100     drain (4m"));
    let unknown = node.say(&["backend", "ready", "shop/web-9"]);
    assert!(unknown.code == Some(1) && unknown.errors.contains("there are: shop/web-1"), "{unknown:?}");

    assert_eq!(node.say(&["session", "list", "--output", "json"]).json(), serde_json::json!([]));
    let nobody = node.say(&["session", "show", "cart", "--identifier", "abc"]);
    assert_eq!(nobody.code, Some(1), "{nobody:?}");

    let rotated = node.say(&["key", "rotate"]);
    assert!(rotated.code == Some(0) && rotated.output.contains("key 2 added at index"), "{rotated:?}");
    let keys = node.say(&["key", "list", "--output", "json"]).json();
    assert_eq!((&keys["keys"][0]["id"], &keys["keys"][1]["id"]), (&1.into(), &2.into()));
    let table = node.say(&["key", "list"]);
    assert!(table.output.contains("STATE") && table.output.contains("9m"), "{table:?}");

    let (code, log) = node.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("audit") && log.contains("apply document"), "{log}");
    assert!(log.contains("rotate sealing key"), "{log}");
}

#[test]
fn sessions_end_by_rule_only_when_that_is_meant_and_the_command_says_what_came_of_it() {
    let node = RunningNode::start();
    let directory = files(&[("cluster.toml", DOCUMENT)]);
    assert_eq!(node.say(&["apply", &path(&directory, "cluster.toml")]).code, Some(0));

    let unsaid = node.say(&["session", "unbind", "--affinity", "cart"]);
    assert_eq!(unsaid.code, Some(2), "{unsaid:?}");
    assert!(unsaid.errors.contains("This ends 0 sessions of cart. Say --yes"), "{unsaid:?}");
    let dry = node.say(&["session", "unbind", "--affinity", "cart", "--older-than", "2h", "--dry-run"]);
    assert_eq!(
        (dry.code, dry.output.as_str()),
        (Some(0), "0 sessions of cart, older than 2h00m\n"),
        "{dry:?}"
    );
    let ended = node.say(&["session", "unbind", "--backend", "shop/web-1", "--yes", "--wait", "all"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.output.starts_with("0 sessions ended, last at index "), "{ended:?}");
    assert!(ended.output.ends_with(", known to all nodes\n"), "{ended:?}");
    let json = node.say(&["session", "unbind", "--affinity", "cart", "--yes", "--output", "json"]).json();
    assert_eq!((&json["done"], &json["receipt"]["reached"]), (&0.into(), &true.into()), "{json}");
    let unknown = node.say(&["session", "unbind", "--affinity", "card", "--yes"]);
    assert!(unknown.code == Some(1) && unknown.errors.contains("it has: cart"), "{unknown:?}");
    let nowhere = node.say(&["session", "move", "--backend", "shop/web-1", "--to", "shop/web-1", "--yes"]);
    assert_eq!(nowhere.code, Some(2), "{nowhere:?}");

    let (_, log) = node.stop();
    assert!(log.contains("unbind sessions") && log.contains("on shop/web-1"), "{log}");
}

#[test]
fn an_operator_learns_why_a_request_goes_where_it_goes() {
    let node = RunningNode::start();
    let directory = files(&[("cluster.toml", DOCUMENT)]);
    let cart = "http://Shop.example.com:8080/x/../cart";
    let early = node.say(&["explain", cart]);
    assert!(early.code == Some(1) && early.errors.contains("no cluster document"), "{early:?}");
    assert_eq!(node.say(&["apply", &path(&directory, "cluster.toml")]).code, Some(0));

    let request = ["explain", cart, "--cookie", "JSESSIONID=s3cret", "--listener", "public"];
    let told = node.say(&[&request[..], &["--output", "json"]].concat());
    let json = told.json();
    assert_eq!((&json["host"], &json["path"]), (&"shop.example.com".into(), &"/cart".into()));
    assert_eq!((&json["route"], &json["affinity"]), (&"shop".into(), &"cart".into()));
    assert_eq!(json["methods"][0]["keys"][0].as_str().unwrap().len(), 32);
    // Nobody listens at the backend, so that it never comes up.
    assert_eq!(json["decision"], "refuse", "{told:?}");
    assert!(json["reason"].as_str().unwrap().starts_with("no-backend"), "{told:?}");
    assert_eq!(json["backends"][0]["part"], "takes no new sessions: not up", "{told:?}");

    let table = node.say(&request);
    assert!(table.output.contains("application-cookie JSESSIONID  key "), "{table:?}");
    assert!(table.output.contains("shop/web-1"), "{table:?}");
    for said in [&told.output, &table.output] {
        assert!(!said.contains("s3cret"), "an identifier was shown: {said}");
    }
    let nowhere = node.say(&["explain", cart, "--listener", "private"]);
    assert!(nowhere.code == Some(1) && nowhere.errors.contains("it has: public"), "{nowhere:?}");
    assert_eq!(node.say(&["explain", "shop.example.com/cart"]).code, Some(2));
    assert!(!node.stop().1.contains("s3cret"), "an identifier was logged");
}

#[test]
fn status_shows_the_node_and_its_cluster() {
    let node = RunningNode::start();
    let status = node.say(&["status", "--output", "json"]).json();
    let shown = &status["nodes"][0]["status"];
    assert_eq!((&shown["node"], &shown["leader"], &shown["role"]), (&1.into(), &1.into(), &"leader".into()));
    assert_eq!(shown["state_hash"].as_str().unwrap().len(), 32);
    assert_eq!(status["members"][0]["leader"], true);
    let members = node.say(&["cluster", "members"]);
    assert!(members.output.contains("voter"), "{members:?}");
    let alone = node.say(&["cluster", "hand-over"]);
    assert_eq!(alone.code, Some(1), "{alone:?}");
    assert!(alone.errors.contains("the only voter"), "{alone:?}");
    let table = node.say(&["status"]);
    assert!(table.output.contains("not ready: no cluster document was applied yet"), "{table:?}");
}

#[test]
fn the_next_node_is_asked_when_one_is_unreachable() {
    let node = RunningNode::start();
    let nobody = format!("unix:{}/nobody.sock", node.directory.path().display());
    let said = node.say(&["backend", "list", "--output", "json", "--node", &nobody]);
    assert_eq!(said.json()["backends"], serde_json::json!([]));
    // Both are asked for their status, and the missing one is shown as such.
    let both = node.say(&["status", "--node", &nobody]);
    assert!(both.code == Some(0) && both.output.contains("unreachable"), "{both:?}");
    assert_eq!(stickler(&["status", "--node", &nobody]).code, Some(3));
}
