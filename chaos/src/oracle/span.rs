//! Stretches of a run's time.

/// From one moment until another, both included; microseconds since the run's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first moment.
    pub from: u64,
    /// The last moment.
    pub until: u64,
}

impl Span {
    /// Whether the two have a moment in common.
    pub(crate) const fn meets(self, other: Self) -> bool {
        self.from <= other.until && other.from <= self.until
    }
}

/// Whether one of these has a moment in common with it.
pub(crate) fn any_meets(spans: &[Span], span: Span) -> bool {
    spans.iter().any(|one| one.meets(span))
}

/// The moments that lie in spans of at least so many of these lists.
pub(crate) fn covered_by(lists: &[Vec<Span>], least: usize) -> Vec<Span> {
    let mut edges: Vec<(u64, usize, bool)> = Vec::new();
    for (place, spans) in lists.iter().enumerate() {
        for span in spans {
            edges.push((span.from, place, true));
            edges.push((span.until.saturating_add(1), place, false));
        }
    }
    edges.sort_unstable();
    let mut open = vec![0_usize; lists.len()];
    let mut found = Vec::new();
    let mut began = None;
    for (at, place, opens) in edges {
        open[place] = if opens { open[place] + 1 } else { open[place].saturating_sub(1) };
        let covered = open.iter().filter(|count| **count > 0).count() >= least;
        match (covered, began) {
            (true, None) => began = Some(at),
            (false, Some(from)) => {
                // An end and a beginning at one moment leave nothing in between.
                if from < at {
                    found.push(Span { from, until: at - 1 });
                }
                began = None;
            }
            _ => {}
        }
    }
    found
}

/// Every span, made longer by so much; and where it then ends inside one of `holds`, it lasts until that is over
/// and the same time longer, and so on.
pub(crate) fn stretched(spans: &[Span], by: u64, holds: &[Span]) -> Vec<Span> {
    let mut stretched = Vec::with_capacity(spans.len());
    for span in spans {
        let mut until = span.until.saturating_add(by);
        while let Some(hold) =
            holds.iter().find(|hold| hold.from <= until && hold.until.saturating_add(by) > until)
        {
            until = hold.until.saturating_add(by);
        }
        stretched.push(Span { from: span.from, until });
    }
    stretched
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(ends: &[(u64, u64)]) -> Vec<Span> {
        ends.iter().map(|(from, until)| Span { from: *from, until: *until }).collect()
    }

    #[test]
    fn what_two_of_three_lists_cover_is_found_with_its_ends() {
        let lists = [spans(&[(0, 10), (20, 30)]), spans(&[(5, 22)]), spans(&[(30, 40)])];
        assert_eq!(covered_by(&lists, 2), spans(&[(5, 10), (20, 22), (30, 30)]));
        assert_eq!(covered_by(&lists, 3), []);
    }

    #[test]
    fn what_overlaps_itself_counts_once() {
        assert_eq!(covered_by(&[spans(&[(0, 10), (5, 20)]), vec![]], 2), []);
        assert_eq!(covered_by(&[spans(&[(0, 10), (5, 20)])], 1), spans(&[(0, 20)]));
    }

    #[test]
    fn a_span_that_ends_inside_a_hold_lasts_as_long_as_that() {
        let stretched = stretched(&spans(&[(0, 10)]), 5, &spans(&[(12, 30), (33, 40), (90, 99)]));
        assert_eq!(stretched, spans(&[(0, 45)]));
    }
}
