//! The table at the end of a check.

use super::verdict::{Counts, ERRORS_ALLOWED};

/// The table, one row a line.
pub(super) fn render(counts: &Counts) -> String {
    let window = ERRORS_ALLOWED.as_secs();
    let rows = [
        ("sessions".to_owned(), counts.sessions.to_string()),
        ("requests".to_owned(), counts.requests.to_string()),
        ("  of these answered by another node than the first asked".to_owned(), counts.retried.to_string()),
        ("carts lost to a balancer's death".to_owned(), counts.lost_carts.to_string()),
        ("sessions bound to the dead backend".to_owned(), counts.bound_to_dead.to_string()),
        ("sessions moved because of the dead backend".to_owned(), counts.moved.to_string()),
        (
            "longest time without a new bind".to_owned(),
            format!("{} ms", counts.longest_without_bind.as_millis()),
        ),
        ("errors seen by a client that retries on another node".to_owned(), counts.errors.to_string()),
        (
            format!("  of these outside the {window} s after the backend's death"),
            counts.errors_outside.to_string(),
        ),
    ];
    let left = rows.iter().map(|(label, _)| label.len()).max().unwrap_or_default();
    let right = rows.iter().map(|(_, value)| value.len()).max().unwrap_or_default();
    rows.iter().map(|(label, value)| format!("{label:<left$}  {value:>right$}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_stands_at_the_end_of_a_line_of_the_same_length() {
        let table = render(&Counts { sessions: 1234, ..Counts::default() });
        let lengths: std::collections::BTreeSet<usize> = table.lines().map(str::len).collect();
        assert_eq!(lengths.len(), 1, "{table}");
        assert!(table.lines().next().unwrap().ends_with(" 1234"));
    }
}
