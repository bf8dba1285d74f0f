use std::net::SocketAddr;
use std::path::PathBuf;

use stickler_core::document::check_node;
use stickler_core::document::node::{AdminAddress, NodeFile};
use stickler_core::document::problem::Problems;

use crate::{assert_all, shown};

/// A whole file; each key but the version can be replaced, and `more` stands at the end.
fn check(replaced: &str) -> Result<NodeFile, Problems> {
    let (keys, more) = replaced.split_once("...").unwrap_or((replaced, ""));
    let mut lines = vec!["version = 1".to_owned()];
    for line in [
        "id = 1",
        "data_directory = \"data\"",
        "peer_address = \"127.0.0.1:7600\"",
        "admin = \"unix:admin.sock\"",
        "status_address = \"127.0.0.1:7602\"",
    ] {
        let key = line.split('=').next().unwrap();
        let other = keys.lines().find(|other| other.starts_with(key));
        lines.push(other.unwrap_or(line).to_owned());
    }
    check_node("node.toml", &format!("{}\n{more}", lines.join("\n")))
}

#[test]
fn node_files_are_checked() {
    assert_all(
        check,
        &[
            ("id = 0", &["2:6: `id` can't be 0 | number the nodes from 1"]),
            ("id = -1", &["2:6: `id` can't be -1 | write a whole number from 0 that fits 64 bits"]),
            (
                "data_directory = \"\"",
                &["3:18: `data_directory` can't be \"\" | write a path, such as \"/var/lib/stickler\""],
            ),
            (
                "...secrets_key_file = \"\"",
                &[
                    "7:20: `secrets_key_file` can't be \"\" | write a path, such as \"/etc/stickler/secrets.key\"",
                ],
            ),
            (
                "...dns_servers = [\"ns.internal:53\", \"0.0.0.0:53\", \"10.0.0.2:53\", \"10.0.0.2:53\"]",
                &[
                    "7:16: `dns_servers` is not an IP address with a port: \"ns.internal:53\" | names are not looked up here: write the IP address, such as \"10.0.0.11:8080\"",
                    "7:34: nobody can connect to 0.0.0.0:53 | write the address and port at which others reach it",
                    "7:63: the server 10.0.0.2:53 is already on line 7 | change or remove one of the two",
                ],
            ),
            (
                "peer_address = \"10.0.0.1:7600\"",
                &[
                    "4:16: `peer_address` 10.0.0.1:7600 is beyond loopback, and peers are not authenticated yet: whoever reaches it can change the cluster | add insecure_peers = true where only the other nodes reach this address, or use 127.0.0.1",
                ],
            ),
            (
                "peer_address = \"0.0.0.0:7600\"...insecure_peers = true",
                &[
                    "4:16: `peer_address` 0.0.0.0:7600 is every address of this machine, so that no other node could be told where to find it | add a [[member]] with id = 1 and the address that other nodes use",
                ],
            ),
            (
                "peer_address = \"node-1:7600\"",
                &[
                    "4:16: `peer_address` is not an IP address with a port: \"node-1:7600\" | names are not looked up here: write the IP address, such as \"10.0.0.11:8080\"",
                ],
            ),
            (
                "admin = \"10.0.0.1:7601\"",
                &[
                    "5:9: `admin` can't be 10.0.0.1:7601: operators are not authenticated yet | write \"127.0.0.1:7601\", or \"unix:\" and a path",
                ],
            ),
            (
                "admin = \"/run/admin.sock\"",
                &["5:9: `admin` is not an address: \"/run/admin.sock\" | write \"unix:/run/admin.sock\""],
            ),
            (
                "admin = \"unix:\"",
                &[
                    "5:9: `admin` is not a path for a socket: \"\" | write \"unix:\" and a path of at most 107 bytes",
                ],
            ),
            (
                "admin = \"localhost\"",
                &[
                    "5:9: `admin` is not an IP address with a port: \"localhost\" | names are not looked up here: write the IP address, such as \"10.0.0.11:8080\"",
                ],
            ),
            (
                "admin = \"127.0.0.1:7600\"",
                &["5:9: the address 127.0.0.1:7600 is already on line 4 | change or remove one of the two"],
            ),
            (
                "status_address = \"127.0.0.1:7600\"",
                &["6:18: the address 127.0.0.1:7600 is already on line 4 | change or remove one of the two"],
            ),
            ("...workers = 0", &["7:11: `workers` can't be 0 | write a value from 1 to 1024"]),
            (
                "...joins = 2",
                &[
                    "7:1: unknown key \"joins\" in the node file | the keys are version, id, data_directory, peer_address, admin, status_address, insecure_peers, workers, secrets_key_file, dns_servers, member, listener_addresses",
                ],
            ),
            (
                "...[[member]]\nid = 2\naddress = \"10.0.0.2:1\"",
                &[
                    "2:6: no [[member]] has this node's `id` 1 | add a [[member]] with id = 1 and the address that other nodes use",
                ],
            ),
            (
                "...[[member]]\nid = 1\naddress = \"10.0.0.2:1\"\n[[member]]\nid = 1\naddress = \"10.0.0.2:1\"",
                &[
                    "11:6: a member with the id 1 is already on line 8 | change or remove one of the two",
                    "12:11: a member with the address 10.0.0.2:1 is already on line 9 | change or remove one of the two",
                ],
            ),
            (
                "...[[member]]\nid = 1\naddress = \"0.0.0.0:1\"\n[[member]]\nport = 1",
                &[
                    "9:11: nobody can connect to 0.0.0.0:1 | write the address and port at which others reach it",
                    "10:1: `address` is missing from [[member]] | add address = \"10.0.0.1:7600\"",
                    "10:1: `id` is missing from [[member]] | add id = 1",
                    "11:1: unknown key \"port\" in [[member]] | the keys are id, address",
                ],
            ),
            (
                "...[listener_addresses]\nPublic = \"127.0.0.1:80\"\nother = 80",
                &[
                    "8:10: \"Public\" can't be the name of a listener | write the name that the cluster document gives it",
                    "9:9: the address of a listener must be an address, not an integer | write an IP address and a port, such as \"10.0.0.11:8080\"",
                ],
            ),
            (
                "...listener_addresses = 3",
                &["7:22: [listener_addresses] must be a table, not an integer | write [listener_addresses]"],
            ),
        ],
    );
}

#[test]
fn missing_keys_are_all_named() {
    assert_eq!(
        shown(check_node("node.toml", "")),
        [
            "1:1: `admin` is missing from the node file | add admin = \"unix:/run/stickler/admin.sock\"",
            "1:1: `data_directory` is missing from the node file | add data_directory = \"/var/lib/stickler\"",
            "1:1: `id` is missing from the node file | add id = 1",
            "1:1: `peer_address` is missing from the node file | add peer_address = \"10.0.0.1:7600\"",
            "1:1: `status_address` is missing from the node file | add status_address = \"127.0.0.1:7602\"",
            "1:1: `version` is missing from the node file | add version = 1"
        ]
    );
}

#[test]
fn a_node_without_members_is_a_cluster_of_one() {
    let node = check("...workers = 3").unwrap();
    assert_eq!(node.initial_members.into_iter().collect::<Vec<_>>(), [(node.id, node.peer_address)]);
    assert_eq!(node.data_directory, PathBuf::from("data"));
    assert_eq!(node.admin, AdminAddress::Unix(PathBuf::from("admin.sock")));
    assert_eq!(node.workers, Some(3));
    assert!(!node.insecure_peers);
}

#[test]
fn port_0_is_a_new_port_for_each_address_of_the_node_itself() {
    let node = check(
        "peer_address = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nstatus_address = \"127.0.0.1:0\"...\
        [listener_addresses]\npublic = \"127.0.0.1:0\"",
    )
    .unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    assert_eq!(node.admin, AdminAddress::Tcp(any));
    assert_eq!(node.listener_addresses["public"], any);
}
