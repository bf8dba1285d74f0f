//! What chance alone can bring about. Pure.

/// How seldom chance alone may break a bound.
const SELDOM: f64 = 1e-6;

/// Draws that hit or miss, each with a probability of its own, whatever came of those before it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Draws {
    count: usize,
    /// The sum of all probabilities.
    expected: f64,
}

/// Both bounds are Hoeffding's: of n draws with a mean probability of p, k or more hit with a probability of
/// exp(-n D(k/n, p)) at the most, where D is the relative entropy, k is above n p, and the probabilities may differ. The
/// same holds for k or fewer below n p. Where they are bounds themselves, of draws that hit more seldom, the bound above
/// still holds; and that below, of draws that hit more often.
impl Draws {
    /// One draw with each of these probabilities.
    pub(crate) fn of(probabilities: impl IntoIterator<Item = f64>) -> Self {
        let add =
            |sum: Self, probability| Self { count: sum.count + 1, expected: sum.expected + probability };
        probabilities.into_iter().fold(Self::default(), add)
    }

    /// The most hits; chance alone has more of them once in a million times.
    pub(crate) fn most(self) -> usize {
        let first = (self.expected.floor() as usize).min(self.count);
        (first + 1..=self.count).find(|hits| self.is_seldom(*hits)).map_or(self.count, |hits| hits - 1)
    }

    /// The fewest hits; chance alone has less of them once in a million times.
    pub(crate) fn fewest(self) -> usize {
        let first = (self.expected.ceil() as usize).min(self.count);
        (0..first).rev().find(|hits| self.is_seldom(*hits)).map_or(0, |hits| hits + 1)
    }

    /// Whether so many hits, or a number further from what is expected, come about as seldom as that.
    fn is_seldom(self, hits: usize) -> bool {
        let count = self.count as f64;
        let (part, mean) = (hits as f64 / count, self.expected / count);
        let entropy = term(part, mean) + term(1.0 - part, 1.0 - mean);
        -count * entropy <= SELDOM.ln()
    }
}

/// `part` times the logarithm of `part / mean`, which goes to 0 with `part`.
fn term(part: f64, mean: f64) -> f64 {
    if part <= 0.0 { 0.0 } else { part * (part / mean).ln() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The probability of each number of hits.
    fn distribution(probabilities: &[f64]) -> Vec<f64> {
        let mut all = vec![1.0];
        for probability in probabilities {
            let mut next = vec![0.0; all.len() + 1];
            for (hits, before) in all.iter().enumerate() {
                next[hits] += before * (1.0 - probability);
                next[hits + 1] += before * probability;
            }
            all = next;
        }
        all
    }

    #[test]
    fn chance_breaks_a_bound_once_in_a_million_times_and_the_bound_is_not_much_wider_than_that() {
        let mixed = |count: usize| (0..count).map(move |number| 0.5 * number as f64 / count as f64);
        for probabilities in [vec![1.0 / 3.0; 1200], mixed(900).collect(), vec![0.01; 300]] {
            let draws = Draws::of(probabilities.iter().copied());
            let exact = distribution(&probabilities);
            let above = |hits: usize| exact[hits + 1..].iter().sum::<f64>();
            let below = |hits: usize| exact[..hits].iter().sum::<f64>();
            assert!(above(draws.most()) <= SELDOM && below(draws.fewest()) <= SELDOM);
            assert!(above(draws.most() * 19 / 20 - 2) > SELDOM, "{draws:?}: {}", draws.most());
            assert!(draws.fewest() == 0 || below(draws.fewest() * 21 / 20 + 1) > SELDOM);
        }
    }

    #[test]
    fn what_is_certain_or_impossible_has_no_tolerance() {
        let all = Draws::of([1.0; 40]);
        assert_eq!((all.fewest(), all.most()), (40, 40));
        let none = Draws::of([0.0; 40]);
        assert_eq!((none.fewest(), none.most()), (0, 0));
        let nothing = Draws::of([]);
        assert_eq!((nothing.fewest(), nothing.most()), (0, 0));
    }
}
