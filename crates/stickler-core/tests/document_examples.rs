//! The examples for operators are right, and say what is true of defaults.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails the test that called it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stickler_core::document::cluster::{ClusterDocument, HostMatch, Method};
use stickler_core::document::{check_cluster, check_node, defaults};
use stickler_core::ids::NodeId;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples")
}

fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
}

fn read(name: &str) -> String {
    fs::read_to_string(examples().join(name)).unwrap()
}

fn cluster(text: &str) -> ClusterDocument {
    check_cluster("cluster.toml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn every_example_is_accepted() {
    let mut files = Vec::new();
    files_below(&examples(), &mut files);
    assert!(files.len() >= 5, "examples are missing: {files:?}");
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.display().to_string();
        let problems = if path.file_name().unwrap().to_str().unwrap().starts_with("cluster") {
            check_cluster(&name, &text).err()
        } else {
            check_node(&name, &text).err()
        };
        assert!(problems.is_none(), "{}", problems.unwrap());
    }
}

#[test]
fn the_three_nodes_are_members_of_one_cluster() {
    let nodes: Vec<_> = (1..=3)
        .map(|id| check_node("node.toml", &read(&format!("three-nodes/node-{id}.toml"))).unwrap())
        .collect();
    for (index, node) in nodes.iter().enumerate() {
        assert_eq!(node.id, NodeId(index as u64 + 1));
        assert_eq!(node.initial_members, nodes[0].initial_members);
        assert_eq!(node.initial_members[&node.id], node.peer_address);
    }
    let single = check_node("node.toml", &read("single-node/node.toml")).unwrap();
    assert_eq!(single.initial_members.into_iter().collect::<Vec<_>>(), [(single.id, single.peer_address)]);
}

#[test]
fn defaults_shown_in_the_example_are_the_defaults() {
    let commented = read("cluster.toml");
    let is_key = |line: &str| {
        line.strip_prefix('#').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_lowercase()))
    };
    let shown = commented.lines().filter(|line| is_key(line)).count();
    let uncommented: Vec<&str> =
        commented.lines().map(|line| if is_key(line) { &line[1..] } else { line }).collect();
    let mut with_defaults = cluster(&uncommented.join("\n"));
    with_defaults.source.clone_from(&commented);
    assert_eq!(with_defaults, cluster(&commented));
    // a default that the example does not show would escape this test
    assert_eq!(shown, include_str!("../src/document/defaults.rs").matches("pub const ").count());
}

#[test]
fn the_example_means_what_its_keys_say() {
    let document = cluster(&read("cluster.toml"));
    assert_eq!(document.source, read("cluster.toml"));
    let names: Vec<&str> = document.pools.iter().map(|pool| pool.name.as_str()).collect();
    assert_eq!(names, ["shop", "interface"]);
    let [web_1, web_2] = &document.pools[0].backends[..] else { panic!("two backends") };
    assert_eq!((web_1.max_sessions, web_2.max_sessions), (Some(5000), None));
    let cart = &document.affinities[0];
    assert_eq!(cart.max_age, Some(Duration::from_secs(86_400)));
    assert_eq!(cart.idle_timeout, defaults::IDLE_TIMEOUT);
    assert_eq!(
        cart.methods[0],
        Method::ApplicationCookie {
            name: "JSESSIONID".to_owned(),
            path_parameter: Some("jsessionid".to_owned()),
            route_separator: Some('.'),
        }
    );
    assert_eq!(document.routes[0].host, HostMatch::Exact("shop.example.com".to_owned()));
    assert_eq!(document.routes[1].host, HostMatch::Suffix(".example.com".to_owned()));
    assert_eq!((document.routes[1].pools[0].pool, document.routes[1].affinity), (1, Some(1)));
}
