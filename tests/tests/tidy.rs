//! The house stays in order: arrows between crates, what each crate may name, sizes of files, and words.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All Rust sources below a folder of the project.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().unwrap() != "target" {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {folder}");
    found
}

/// The project's own crates that each of them depends on, tests aside.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().current_dir(root()).exec().unwrap();
    metadata
        .packages
        .iter()
        .map(|package| {
            let depends = package
                .dependencies
                .iter()
                .filter(|dependency| dependency.kind == cargo_metadata::DependencyKind::Normal)
                .filter(|dependency| dependency.name.starts_with("stickler"))
                .map(|dependency| dependency.name.clone())
                .collect();
            (package.name.to_string(), depends)
        })
        .collect()
}

#[test]
fn arrows_between_crates_go_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("stickler-core", &[][..]),
        ("stickler-proto", &[][..]),
        ("stickler-rt", &[][..]),
        ("stickler-raft", &["stickler-core", "stickler-proto", "stickler-rt"][..]),
        ("stickler-proxy", &["stickler-core", "stickler-raft", "stickler-rt"][..]),
        (
            "stickler-node",
            &["stickler-core", "stickler-proto", "stickler-proxy", "stickler-raft", "stickler-rt"][..],
        ),
        (
            "stickler",
            &["stickler-core", "stickler-node", "stickler-proto", "stickler-raft", "stickler-rt"][..],
        ),
        // A black box to chaos: it may speak to the product, not link it. Clock and seed are nobody's own.
        ("stickler-chaos", &["stickler-proto", "stickler-rt"][..]),
    ]);
    let arrows = arrows();
    for (package, allowed) in allowed {
        for depends in &arrows[package] {
            assert!(allowed.contains(&depends.as_str()), "{package} must not depend on {depends}");
        }
    }
}

#[test]
fn no_build_but_the_simulations_has_deliberate_faults() {
    let feature = "deliberate-faults";
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().current_dir(root()).exec().unwrap();
    for package in &metadata.packages {
        for (name, turns_on) in &package.features {
            let names = turns_on.iter().any(|other| other.contains(feature));
            assert!(
                !names || (name == feature && package.name.as_str() == "stickler-tests"),
                "feature {name} of {} turns deliberate faults on",
                package.name
            );
        }
        for depends in &package.dependencies {
            assert!(
                !depends.features.iter().any(|asked| asked == feature),
                "{} depends on {} with deliberate faults",
                package.name,
                depends.name
            );
        }
    }
}

#[test]
fn crates_name_only_what_they_may() {
    let forbidden: [(&str, &[&str]); 3] = [
        (
            "crates/stickler-core/src",
            &["tokio", "openraft", "sled::", "bincode", "Instant::now", "SystemTime"],
        ),
        ("crates/stickler-proxy/src", &["openraft", "tonic", "sled::"]),
        ("chaos/src", &["stickler_core", "stickler_raft", "stickler_proxy", "stickler_node"]),
    ];
    for (folder, words) in forbidden {
        for (path, text) in sources(folder) {
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for (number, line) in code.enumerate() {
                for word in words {
                    assert!(!line.contains(word), "{}:{number} names {word}: {line}", path.display());
                }
            }
        }
    }
}

#[test]
fn one_place_names_the_payload_encoding_and_one_folder_the_log_store() {
    for (path, text) in sources("crates") {
        let place = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        if place != "crates/stickler-raft/src/store/codec.rs" {
            assert!(!text.contains("bincode::"), "{place} names bincode");
        }
        if !place.starts_with("crates/stickler-raft/src/store/") && !place.contains("/tests/") {
            assert!(!text.contains("sled::"), "{place} names sled");
        }
    }
}

#[test]
fn files_are_rooms_not_halls() {
    let mut lengths: Vec<(usize, PathBuf)> = ["crates", "tests", "chaos", "bench", "fuzz"]
        .iter()
        .flat_map(|folder| sources(folder))
        .map(|(path, text)| (text.lines().count(), path))
        .collect();
    lengths.sort();
    let long: Vec<_> = lengths.iter().filter(|(lines, _)| *lines > 450).collect();
    assert!(long.len() * 50 <= lengths.len(), "nearly all files are below 450 lines, but not {long:?}");
    let (longest, path) = lengths.last().unwrap();
    assert!(*longest <= 700, "{} has {longest} lines", path.display());
}

#[test]
fn nothing_is_left_open() {
    // Put together here, so that this file does not find itself.
    let marks = ["TO", "FIX", "XX"].iter().zip(["DO", "ME", "X"]).map(|(start, end)| format!("{start}{end}"));
    let marks: Vec<String> =
        marks.chain(["to".to_owned() + "do!(", "unimple".to_owned() + "mented!("]).collect();
    for folder in ["crates", "tests", "chaos", "bench", "fuzz"] {
        for (path, text) in sources(folder) {
            for mark in &marks {
                assert!(!text.contains(mark.as_str()), "{} has {mark}", path.display());
            }
        }
    }
}

#[test]
fn no_module_is_a_drawer() {
    let drawers = ["utils", "util", "common", "types", "helpers", "misc", "globals"];
    for folder in ["crates", "tests", "chaos", "bench", "fuzz"] {
        for (path, _) in sources(folder) {
            let place = path.strip_prefix(root()).unwrap();
            for part in place.with_extension("").iter() {
                let part = part.to_string_lossy();
                assert!(!drawers.contains(&part.as_ref()), "{} does not say what it holds", path.display());
            }
        }
    }
}
