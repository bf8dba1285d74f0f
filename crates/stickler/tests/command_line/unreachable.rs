use std::io::Read;
use std::net::TcpListener;

use crate::support::{DOCUMENT, files, path, stickler};

#[test]
fn when_no_node_can_be_reached_each_is_named_and_nothing_was_done() {
    let directory = files(&[("cluster.toml", DOCUMENT)]);
    let document = path(&directory, "cluster.toml");
    let nobody = format!("unix:{}", path(&directory, "nobody.sock"));
    // Its port is free again at once, and nobody listens there.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for command in [
        &["status"][..],
        &["cluster", "members"],
        &["backend", "list"],
        &["backend", "drain", "shop/web-1"],
        &["session", "list", "--output", "json"],
        &["session", "list", "--conflicts"],
        &["affinity", "list"],
        &["affinity", "heaviest", "cart"],
        &["key", "list"],
        &["key", "rotate"],
        &["session", "unbind", "cart", "00000000000000000000000000000001"],
        &["explain", "http://shop.example.com/cart"],
        &["apply", &document],
        &["apply", &document, "--expect", "3"],
    ] {
        let said = stickler(&[command, &["--node", &nobody, "--node", &closed]].concat());
        assert_eq!((said.code, said.output.as_str()), (Some(3), ""), "{command:?}: {said:?}");
        assert!(said.errors.contains(&nobody) && said.errors.contains(&closed), "{command:?}: {said:?}");
    }
}

#[test]
fn a_change_whose_answer_is_lost_may_have_happened() {
    let directory = files(&[("cluster.toml", DOCUMENT)]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // A node that dies with the request in its hands.
    let dying = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let _ = connection.read(&mut [0; 4096]);
    });
    let document = path(&directory, "cluster.toml");
    let nobody = format!("unix:{}", path(&directory, "nobody.sock"));
    let said = stickler(&["apply", &document, "--expect", "3", "--node", &address, "--node", &nobody]);
    assert_eq!(said.code, Some(4), "{said:?}");
    assert!(said.errors.contains("may have happened"), "{said:?}");
    dying.join().unwrap();
}
