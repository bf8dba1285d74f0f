use crate::support::{DOCUMENT, files, path, stickler};

const BROKEN_NODE: &str = "version = 1\nid = 0\npeer_adress = \"127.0.0.1:1\"\nadmin = \"10.0.0.1:1\"\n";

#[test]
fn a_node_file_with_mistakes_starts_nothing_and_names_each_of_them() {
    let directory = files(&[("node.toml", BROKEN_NODE)]);
    let file = path(&directory, "node.toml");
    let said = stickler(&["run", "--config", &file]);
    assert_eq!((said.code, said.output.as_str()), (Some(2), ""), "{said:?}");
    for line in [2, 3, 4] {
        assert!(said.errors.contains(&format!("{file}:{line}:")), "no line {line}: {}", said.errors);
    }
    for word in ["`id` can't be 0", "peer_adress", "data_directory", "status_address"] {
        assert!(said.errors.contains(word), "no {word}: {}", said.errors);
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "something was made");
}

#[test]
fn check_knows_both_documents_and_finds_the_problems_of_all_files() {
    let broken = DOCUMENT.replace("affinity = \"cart\"", "affinity = \"card\"");
    let directory = files(&[("a.toml", DOCUMENT), ("b.toml", &broken), ("c.toml", BROKEN_NODE)]);
    let [good, bad, node] = ["a.toml", "b.toml", "c.toml"].map(|name| path(&directory, name));

    let said = stickler(&["check", &good]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.output.contains("cluster document without problems"), "{said:?}");

    let said = stickler(&["check", &good, &bad, &node, "nowhere.toml"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    for part in [&format!("{bad}:18:"), "card", &format!("{node}:2:"), "nowhere.toml: "] {
        assert!(said.errors.contains(part), "no {part}: {}", said.errors);
    }
}

#[test]
fn check_tells_programs_where_each_problem_is() {
    let broken = DOCUMENT.replace("affinity = \"cart\"", "affinity = \"card\"");
    let directory = files(&[("cluster.toml", &broken)]);
    let said = stickler(&["check", "--output", "json", &path(&directory, "cluster.toml")]);
    assert_eq!(said.code, Some(2));
    let json: serde_json::Value = serde_json::from_str(&said.output).unwrap();
    let file = &json["files"][0];
    assert_eq!((&file["kind"], &file["problems"][0]["line"]), (&"cluster".into(), &18.into()), "{json}");
}

#[test]
fn a_command_line_that_makes_no_sense_is_a_usage_error() {
    for arguments in [
        &[][..],
        &["nonsense"],
        &["backend"],
        &["backend", "drain"],
        &["backend", "drain", "web-1"],
        &["backend", "drain", "shop/web-1", "--deadline", "5"],
        &["backend", "ready", "shop/web-1", "--deadline", "5m"],
        &["session", "show", "cart"],
        &["session", "show", "cart", "key", "--identifier", "x"],
        &["session", "unbind"],
        &["session", "unbind", "cart"],
        &["session", "unbind", "cart", "key", "--affinity", "cart"],
        &["session", "unbind", "cart", "key", "--rate", "5"],
        &["session", "unbind", "cart", "key", "--wait", "some"],
        &["session", "unbind", "--older-than", "2"],
        &["session", "unbind", "--affinity", "cart", "--rate", "0"],
        &["session", "move", "cart", "key"],
        &["session", "move", "cart", "key", "--to", "web-2"],
        &["session", "move", "--affinity", "cart", "--to", "shop/web-2"],
        &["status", "--node", "/run/stickler/admin.sock"],
        &["status", "--output", "xml"],
        &["run"],
        &["run", "--config", "nowhere.toml"],
        &["check"],
        &["apply", "nowhere.toml"],
    ] {
        let said = stickler(arguments);
        assert_eq!((said.code, said.output.as_str()), (Some(2), ""), "{arguments:?}: {said:?}");
        assert!(!said.errors.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_broken_document_is_not_even_sent() {
    let directory = files(&[("cluster.toml", "version = 1\n[[pol]]\n")]);
    let file = path(&directory, "cluster.toml");
    let said = stickler(&["apply", &file, "--node", &format!("unix:{}", path(&directory, "nobody.sock"))]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.errors.contains(&format!("{file}:2:")), "{said:?}");
}

#[test]
fn help_tells_the_exit_codes() {
    let said = stickler(&["--help"]);
    assert_eq!(said.code, Some(0));
    assert!(said.output.contains("3  unreachable") && said.output.contains("4  unknown"), "{}", said.output);
    assert!(said.output.contains("5  not everywhere"), "{}", said.output);
    assert!(!said.output.contains("demo-shop"), "{}", said.output);
}
