//! Requests that were refused, or sent elsewhere, since the shop of their session was away: it was. Judged are those of
//! sessions whose client knows for sure where they are.

use std::time::Duration;

/// A session's request that was refused.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Whose.
    pub who: String,
    /// The shop of its session.
    pub shop: String,
    /// When it was sent, and when it was refused.
    pub between: (Duration, Duration),
}

/// Those that are to be judged once all nodes were looked at that may have refused them.
#[derive(Default)]
pub struct Refusals {
    waiting: Vec<Refused>,
}

/// Nodes are looked at that often at least, some to spare.
const LOOKED_AT: Duration = Duration::from_millis(100);

impl Refusals {
    /// Takes in that a request was refused.
    pub fn take(&mut self, refused: Refused) {
        self.waiting.push(refused);
    }

    /// What is wrong with those that are due. `was_away` is whether some node had a reason for sessions to leave a shop
    /// within a time.
    pub fn broken(
        &mut self,
        now: Duration,
        was_away: impl Fn(&str, Duration, Duration) -> bool,
    ) -> Option<String> {
        let due = self.waiting.extract_if(.., |refused| refused.between.1 + LOOKED_AT < now);
        let unfounded = |Refused { shop, between: (from, to), .. }: &Refused| {
            !was_away(shop, from.saturating_sub(LOOKED_AT), *to + LOOKED_AT)
        };
        // All that are due go, whatever is found.
        let due: Vec<Refused> = due.collect();
        due.into_iter().find(unfounded).map(|refused| {
            let Refused { who, shop, between: (from, to) } = refused;
            format!("failover: {who} was refused between {from:?} and {to:?}, and {shop} was there")
        })
    }
}

/// Where a request of this path and query is sent by a template; both are plain letters, digits and slashes.
#[must_use]
pub fn sent_to(template: &str, path: &str) -> String {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    // Where the template has a query of its own, the request's is a value in it.
    let query = match query {
        Some(query) if template.contains('?') => query.to_owned(),
        Some(query) => format!("?{query}"),
        None => String::new(),
    };
    template.replace("{path}", path).replace("{query}", &query)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::pool_settings::ELSEWHERE;

    #[test]
    fn a_request_goes_elsewhere_with_its_path_and_its_query() {
        let sent = |path| ELSEWHERE.map(|template| sent_to(template, path));
        assert_eq!(
            sent("/a/b"),
            ["https://elsewhere.internal/a/b", "https://sorry.internal/?asked=/a/b&with="]
        );
        assert_eq!(
            sent("/a?7"),
            ["https://elsewhere.internal/a?7", "https://sorry.internal/?asked=/a&with=7"]
        );
    }

    #[test]
    fn a_refusal_is_judged_once_and_by_its_own_time() {
        let second = Duration::from_secs(1);
        let refused = |shop: &str, at: Duration| Refused {
            who: "guest".to_owned(),
            shop: shop.to_owned(),
            between: (at, at + second),
        };
        let mut all = Refusals::default();
        all.take(refused("web-1", second));
        all.take(refused("web-2", second * 5));
        let away = |shop: &str, _: Duration, _: Duration| shop == "web-2";
        assert_eq!(all.broken(second * 2, away), None, "too early");
        assert!(all.broken(second * 3, away).is_some());
        assert_eq!(all.broken(second * 9, away), None);
    }
}
