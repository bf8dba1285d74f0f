//! What a row of checks says about a backend.

use stickler_core::state::Finding;

/// Passes and failures in a row, and what was last reported. Pure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streak {
    rise: u32,
    fall: u32,
    reported: Option<Finding>,
    last: bool,
    length: u32,
}

impl Streak {
    /// Of a backend that was never checked. `rise` passes in a row report it up, `fall` failures down; 0
    /// counts as 1.
    #[must_use]
    pub fn new(rise: u32, fall: u32) -> Self {
        Self { rise: rise.max(1), fall: fall.max(1), reported: None, last: false, length: 0 }
    }

    /// Takes the next check's result. Answers with what is now to be reported. A backend that
    /// was never reported needs one pass to be up, whatever failed before, because its start is not an
    /// outage. What one that is up says of itself is reported at once: it needs no proof, and another life of it has
    /// forgotten its sessions by now.
    #[must_use]
    pub fn observe(&mut self, found: Finding) -> Option<Finding> {
        self.length = if found.up == self.last { self.length.saturating_add(1) } else { 1 };
        self.last = found.up;
        let reported_up = self.reported.as_ref().map(|reported| reported.up);
        let needed = match (found.up, reported_up) {
            (true, None | Some(true)) => 1,
            (true, Some(false)) => self.rise,
            (false, _) => self.fall,
        };
        if self.reported.as_ref() == Some(&found) || self.length < needed {
            return None;
        }
        self.reported = Some(found);
        self.reported.clone()
    }

    /// Whether the last check contradicts what was last reported, or nothing was reported yet.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.reported.as_ref().map(|reported| reported.up) != Some(self.last)
    }

    /// Whether it was last reported down.
    #[must_use]
    pub fn is_reported_down(&self) -> bool {
        self.reported.as_ref().is_some_and(|reported| !reported.up)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn finding() -> impl Strategy<Value = Finding> {
        let up = (any::<bool>(), proptest::option::of("[ab]"));
        prop_oneof![
            Just(Finding::DOWN),
            up.prop_map(|(drains, instance)| Finding { up: true, drains, instance }),
        ]
    }

    proptest! {
        /// Every report is checked against the plain words: the last so many results, and the report before.
        #[test]
        fn a_report_needs_its_row_and_never_repeats(
            results in proptest::collection::vec(finding(), 0..60), rise in 0u32..5, fall in 0u32..5,
        ) {
            let mut streak = Streak::new(rise, fall);
            let mut reported: Option<Finding> = None;
            for end in 0..results.len() {
                let found = results[end].clone();
                let row = results[..=end].iter().rev().take_while(|result| result.up == found.up).count();
                let needed = match (found.up, reported.as_ref().map(|reported| reported.up)) {
                    (true, None | Some(true)) => 1,
                    (true, Some(false)) => rise.max(1),
                    (false, _) => fall.max(1),
                };
                let due = reported.as_ref() != Some(&found) && row >= needed as usize;
                let expected = due.then(|| found.clone());
                prop_assert_eq!(streak.observe(found.clone()), expected.clone());
                reported = expected.or(reported);
                prop_assert_eq!(streak.is_changing(), reported.as_ref().map(|it| it.up) != Some(found.up));
                prop_assert_eq!(streak.is_reported_down(), reported.as_ref().is_some_and(|it| !it.up));
            }
        }
    }

    #[test]
    fn a_new_backends_first_pass_is_enough() {
        let mut streak = Streak::new(3, 2);
        assert_eq!([streak.observe(Finding::DOWN), streak.observe(Finding::UP)], [None, Some(Finding::UP)]);
        assert_eq!(
            [streak.observe(Finding::DOWN), streak.observe(Finding::DOWN)],
            [None, Some(Finding::DOWN)]
        );
        assert_eq!([Finding::UP; 3].map(|found| streak.observe(found)), [None, None, Some(Finding::UP)]);
    }

    #[test]
    fn another_life_of_a_backend_is_reported_with_its_first_pass() {
        let life = |name: &str| Finding { instance: Some(name.to_owned()), ..Finding::UP };
        let mut streak = Streak::new(3, 2);
        assert_eq!(
            [life("a"), life("b")].map(|found| streak.observe(found)),
            [Some(life("a")), Some(life("b"))]
        );
        assert_eq!([Finding::DOWN, life("c")].map(|found| streak.observe(found)), [None, Some(life("c"))]);
    }
}
