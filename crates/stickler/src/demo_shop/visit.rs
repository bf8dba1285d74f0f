//! What a request to the shop asks for, and whose cart it is about.

use http::header::{CONTENT_TYPE, COOKIE, HeaderMap};
use serde::Deserialize;

use super::fence::HANDLE;

/// The shop's own session cookie.
pub(super) const SESSION_COOKIE: &str = "SHOPSESSION";
/// The header by which clients of `/api` name their session.
const SESSION_HEADER: &str = "x-session";
/// Characters of a session's identifier.
const LONGEST_IDENTIFIER: usize = 256;

/// The shop's three doors: the same carts, each recognised in another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// `/`: by the shop's own cookie.
    Own,
    /// `/token`: by the handle that Stickler sends along.
    Token,
    /// `/api`: by the header `X-Session`.
    Api,
}

/// What is behind a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The cart as a page.
    Page,
    /// The cart as JSON; items are added here.
    Cart,
    /// The session's orders in the till, as JSON; what is in the cart is ordered here.
    Orders,
}

impl Door {
    /// The door and place of a path; `None` for a path that leads nowhere.
    pub fn find(path: &str) -> Option<(Self, Place)> {
        let doors = [("/token", Self::Token), ("/api", Self::Api)];
        let (door, rest) = doors
            .into_iter()
            .find_map(|(prefix, door)| path.strip_prefix(prefix).map(|rest| (door, rest)))
            .unwrap_or((Self::Own, path));
        match rest {
            "" | "/" => Some((door, Place::Page)),
            "/cart" => Some((door, Place::Cart)),
            "/orders" => Some((door, Place::Orders)),
            _ => None,
        }
    }

    /// Where a page behind this door sends its form.
    pub fn cart_path(self) -> &'static str {
        match self {
            Self::Own => "/cart",
            Self::Token => "/token/cart",
            Self::Api => "/api/cart",
        }
    }

    /// Where a page behind this door orders what is in the cart.
    pub fn orders_path(self) -> &'static str {
        match self {
            Self::Own => "/orders",
            Self::Token => "/token/orders",
            Self::Api => "/api/orders",
        }
    }

    /// Where the page behind this door is.
    pub fn page_path(self) -> &'static str {
        match self {
            Self::Own => "/",
            Self::Token => "/token/",
            Self::Api => "/api/",
        }
    }

    /// The identifier by which a request names its cart; `None` when it carries none.
    pub fn identifier(self, headers: &HeaderMap) -> Option<&str> {
        let identifier = match self {
            Self::Own => session_cookie(headers),
            Self::Token => headers.get(HANDLE).and_then(|value| value.to_str().ok()),
            Self::Api => headers.get(SESSION_HEADER).and_then(|value| value.to_str().ok()),
        };
        identifier.filter(|identifier| (1..=LONGEST_IDENTIFIER).contains(&identifier.len()))
    }

    /// The session's name in the shop's memory. An identifier of one door opens no cart of another.
    pub fn session(self, identifier: &str) -> String {
        format!("{self:?} {identifier}")
    }
}

fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == SESSION_COOKIE).then_some(value))
}

/// An item to be added, as it was sent.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewItem {
    pub item: String,
    /// The visitor's number of this addition.
    pub number: Option<u64>,
}

/// An order, as it was sent: what is in the cart is ordered.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOrder {
    /// The visitor's number of this order.
    pub number: Option<u64>,
}

impl NewOrder {
    /// Reads a body, JSON or a form; `None` when it is neither.
    pub fn read(headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        if is_json(headers) {
            return serde_json::from_slice(body).ok();
        }
        let mut number = None;
        for (key, value) in form_urlencoded::parse(body) {
            number = (key == "number").then(|| value.parse().ok()).flatten();
            number?;
        }
        Some(Self { number })
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/json"))
}

impl NewItem {
    /// Reads a body, JSON or a form; `None` when it is neither.
    pub fn read(headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        if is_json(headers) {
            return serde_json::from_slice(body).ok();
        }
        let mut item = None;
        let mut number = None;
        for (key, value) in form_urlencoded::parse(body) {
            match key.as_ref() {
                "item" => item = Some(value.into_owned()),
                "number" => number = Some(value.parse().ok()?),
                _ => return None,
            }
        }
        Some(Self { item: item?, number })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn each_door_knows_its_own_identifier() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1; SHOPSESSION=own; b=2"));
        headers.insert(HANDLE, HeaderValue::from_static("handle"));
        headers.insert(SESSION_HEADER, HeaderValue::from_static("mine"));
        for (path, identifier) in [("/cart", "own"), ("/token/cart", "handle"), ("/api/cart", "mine")] {
            let (door, place) = Door::find(path).unwrap();
            assert_eq!(place, Place::Cart);
            assert_eq!(door.identifier(&headers), Some(identifier));
            assert_eq!(door.cart_path(), path);
            assert_eq!(Door::find(door.orders_path()), Some((door, Place::Orders)));
            assert_eq!(Door::find(door.page_path()), Some((door, Place::Page)));
        }
        assert_eq!(Door::find("/tokens"), None);
        assert_eq!(Door::find("/cart/1"), None);
    }

    #[test]
    fn an_identifier_that_is_empty_or_too_long_is_none() {
        for value in [String::new(), "x".repeat(LONGEST_IDENTIFIER + 1)] {
            let mut headers = HeaderMap::new();
            headers.insert(SESSION_HEADER, HeaderValue::from_str(&value).unwrap());
            assert_eq!(Door::Api.identifier(&headers), None);
        }
    }

    #[test]
    fn an_item_comes_as_form_or_json() {
        let mut headers = HeaderMap::new();
        let tea = |number| Some(NewItem { item: "green tea".to_owned(), number });
        assert_eq!(NewItem::read(&headers, b"item=green+tea"), tea(None));
        assert_eq!(NewItem::read(&headers, b"item=green%20tea&number=4"), tea(Some(4)));
        assert_eq!(NewItem::read(&headers, b"number=4"), None);
        assert_eq!(NewItem::read(&headers, b"item=tea&number=four"), None);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        assert_eq!(NewItem::read(&headers, br#"{"item":"green tea","number":4}"#), tea(Some(4)));
        assert_eq!(NewItem::read(&headers, b"item=green+tea"), None);
    }

    #[test]
    fn an_order_has_a_number_or_none() {
        let mut headers = HeaderMap::new();
        let order = |number| Some(NewOrder { number });
        assert_eq!(NewOrder::read(&headers, b""), order(None));
        assert_eq!(NewOrder::read(&headers, b"number=4"), order(Some(4)));
        assert_eq!(NewOrder::read(&headers, b"number=four"), None);
        assert_eq!(NewOrder::read(&headers, b"item=tea"), None);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        assert_eq!(NewOrder::read(&headers, b"{}"), order(None));
        assert_eq!(NewOrder::read(&headers, br#"{"number":4}"#), order(Some(4)));
    }
}
