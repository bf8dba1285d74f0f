use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use crate::support::{RunningNode, node_file, stickler};

#[test]
fn a_port_in_use_is_a_clear_refusal() {
    let directory = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = directory.path().join("node.toml");
    fs::write(&config, node_file(directory.path(), &address)).unwrap();
    let said = stickler(&["run", "--config", config.to_str().unwrap()]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.errors.contains("status_address") && said.errors.contains(&address), "{said:?}");
}

#[test]
fn a_data_directory_serves_one_process() {
    let node = RunningNode::start();
    let config = node.directory.path().join("node.toml");
    let said = stickler(&["run", "--config", config.to_str().unwrap()]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.errors.contains("another process"), "{said:?}");
    assert_eq!(node.say(&["status"]).code, Some(0), "the first one goes on");
}

#[test]
fn a_damaged_data_directory_is_refused_with_the_file_and_the_way_out() {
    let node = RunningNode::start();
    let kept = tempfile::tempdir().unwrap();
    let data = node.directory.path().join("data");
    // Copied while the node runs: only the identity is looked at here.
    fs::create_dir(kept.path().join("data")).unwrap();
    fs::write(kept.path().join("data/identity"), &fs::read(data.join("identity")).unwrap()[..7]).unwrap();
    drop(node);
    let config = kept.path().join("node.toml");
    fs::write(&config, node_file(kept.path(), "127.0.0.1:0")).unwrap();
    let said = stickler(&["run", "--config", config.to_str().unwrap()]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.errors.contains("data/identity") && said.errors.contains("backup"), "{said:?}");
}

#[test]
fn a_key_for_secrets_is_made_once_and_for_its_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secrets.key");
    let path = file.to_str().unwrap();
    assert_eq!(stickler(&["key", "new", path]).code, Some(0));
    let key = fs::read_to_string(&file).unwrap();
    assert_eq!(key.trim_end().len(), 64);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = stickler(&["key", "new", path]);
    assert!(again.code == Some(1) && again.errors.contains(path), "{again:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), key, "the one that is there is left alone");
}

#[test]
fn a_secrets_key_that_can_not_be_used_is_a_clear_refusal() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secrets.key");
    let config = directory.path().join("node.toml");
    let text = node_file(directory.path(), "127.0.0.1:0") + &format!("secrets_key_file = {file:?}\n");
    fs::write(&config, text).unwrap();
    let refused = |reason: &str| {
        let said = stickler(&["run", "--config", config.to_str().unwrap()]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.errors.contains("secrets.key") && said.errors.contains(reason), "{said:?}");
        said.errors
    };
    refused("No such file");
    fs::write(&file, "0123456789abcdef").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let said = refused("64 hexadecimal digits");
    assert!(!said.contains("0123456789abcdef"), "{said}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    refused("chmod 600");
}
