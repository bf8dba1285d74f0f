//! What a row of checks says about a backend.

/// Passes and failures in a row, and what was last reported. Pure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streak {
    rise: u32,
    fall: u32,
    reported: Option<bool>,
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

    /// Takes the next check's result. Answers with what is now to be reported: `true` for up. A backend that
    /// was never reported needs one pass to be up, whatever failed before, because its start is not an
    /// outage.
    #[must_use]
    pub fn observe(&mut self, passed: bool) -> Option<bool> {
        self.length = if passed == self.last { self.length.saturating_add(1) } else { 1 };
        self.last = passed;
        let needed = match (passed, self.reported) {
            (true, None) => 1,
            (true, Some(_)) => self.rise,
            (false, _) => self.fall,
        };
        if self.reported == Some(passed) || self.length < needed {
            return None;
        }
        self.reported = Some(passed);
        self.reported
    }

    /// What was last reported; `None` before the first report.
    #[must_use]
    pub fn reported(&self) -> Option<bool> {
        self.reported
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Every report is checked against the plain words: the last so many results, and the report before.
        #[test]
        fn a_report_needs_its_row_and_never_repeats(
            results in proptest::collection::vec(any::<bool>(), 0..60), rise in 0u32..5, fall in 0u32..5,
        ) {
            let mut streak = Streak::new(rise, fall);
            let mut reported: Option<bool> = None;
            for end in 0..results.len() {
                let passed = results[end];
                let row = results[..=end].iter().rev().take_while(|result| **result == passed).count();
                let needed = match (passed, reported) {
                    (true, None) => 1,
                    (true, _) => rise.max(1),
                    (false, _) => fall.max(1),
                };
                let expected = (reported != Some(passed) && row >= needed as usize).then_some(passed);
                prop_assert_eq!(streak.observe(passed), expected);
                reported = expected.or(reported);
                prop_assert_eq!(streak.reported(), reported);
            }
        }
    }

    #[test]
    fn a_new_backends_first_pass_is_enough() {
        let mut streak = Streak::new(3, 2);
        assert_eq!([streak.observe(false), streak.observe(true)], [None, Some(true)]);
        assert_eq!([streak.observe(false), streak.observe(false)], [None, Some(false)]);
        assert_eq!([true; 3].map(|passed| streak.observe(passed)), [None, None, Some(true)]);
    }
}
