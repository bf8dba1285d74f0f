//! Every problem of a document is reported at once, at its place, with a suggestion.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails the test that called it")]

mod affinity;
mod any_text;
mod cluster;
mod node;
mod route;

use stickler_core::document::problem::Problems;

/// `line:column: message | suggestion` of each problem.
fn shown<T: std::fmt::Debug>(checked: Result<T, Problems>) -> Vec<String> {
    let problems = checked.expect_err("the document has problems");
    let problem = |problem: &stickler_core::document::problem::Problem| {
        let suggestion = problem.suggestion.as_deref().unwrap_or("-");
        format!("{}:{}: {} | {suggestion}", problem.line, problem.column, problem.message)
    };
    problems.as_slice().iter().map(problem).collect()
}

/// Compares the problems of many documents, and shows all that differ.
fn assert_all<T: std::fmt::Debug>(check: impl Fn(&str) -> Result<T, Problems>, cases: &[(&str, &[&str])]) {
    let mut differences = String::new();
    for (text, expected) in cases {
        let found = shown(check(text));
        if found != *expected {
            differences.push_str(&format!("{text}\n  expected {expected:#?}\n  found {found:#?}\n"));
        }
    }
    assert!(differences.is_empty(), "{differences}");
}
