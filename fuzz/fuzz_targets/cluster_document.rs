//! A text is a cluster document or a list of problems, each at a place that the text has. A document that was
//! taken is the same whoever checks it, and comes back from the log as it went in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stickler_core::document::check_cluster;
use stickler_core::document::cluster::ClusterDocument;
use stickler_core::document::problem::Problems;
use stickler_core::routes::RouteTable;
use stickler_raft::store::codec::{Kind, decode, encode};

fuzz_target!(|text: &str| {
    let document = match check_cluster("file", text) {
        Ok(document) => document,
        Err(problems) => return places_are_within(text, &problems),
    };
    assert_eq!(check_cluster("another file", text).as_ref().ok(), Some(&document));
    let _ = RouteTable::new(&document);
    let logged = encode(Kind::LogEntry, &document).expect("it is not much larger than its text");
    assert_eq!(decode::<ClusterDocument>(Kind::LogEntry, &logged).as_ref(), Ok(&document));
});

fn places_are_within(text: &str, problems: &Problems) {
    assert!(!problems.as_slice().is_empty());
    assert!(problems.as_slice().is_sorted());
    let lines: Vec<&str> = text.lines().collect();
    for problem in problems.as_slice() {
        let index = problem.line as usize - 1;
        assert!(index < lines.len().max(1), "{problem} of {} lines", lines.len());
        // One past the end for what is missing there.
        let width = lines.get(index).map_or(0, |line| line.chars().count());
        assert!((1..=width + 1).contains(&(problem.column as usize)), "{problem} of {width} columns");
    }
}
