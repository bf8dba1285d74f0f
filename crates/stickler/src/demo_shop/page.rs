//! The cart as a small web page.

use std::fmt::Write as _;

use super::carts::{Cart, LONGEST_ITEM};
use super::visit::Door;

/// What one click adds.
const GOODS: [&str; 5] = ["bread", "coffee", "honey", "oranges", "tea"];

/// What a page shows beside the cart.
pub(super) struct Heading<'a> {
    pub backend: &'a str,
    pub door: Door,
    pub identifier: &'a str,
    pub epoch: Option<&'a str>,
    /// Whether there is a till.
    pub takes_orders: bool,
}

/// The page of one cart.
pub(super) fn render(heading: &Heading<'_>, cart: &Cart) -> String {
    let backend = escape(heading.backend);
    let action = heading.door.cart_path();
    let mut rows = String::new();
    for (number, item) in cart.items() {
        // writing to a String can't fail
        let _ = write!(rows, "<li value=\"{number}\">{}</li>", escape(item));
    }
    if rows.is_empty() {
        rows.push_str("<p class=\"quiet\">Nothing yet.</p>");
    } else {
        rows = format!("<ol>{rows}</ol>");
    }
    let goods: String =
        GOODS.iter().map(|item| format!("<button name=\"item\" value=\"{item}\">{item}</button> ")).collect();
    let epoch = heading
        .epoch
        .map_or(String::new(), |epoch| format!("<dt>Epoch</dt><dd><code>{}</code></dd>", escape(epoch)));
    let session = escape(&shortened(heading.identifier));
    let count = cart.items().len();
    let orders_path = heading.door.orders_path();
    let orders = if heading.takes_orders {
        format!(
            "<form method=\"post\" action=\"{orders_path}\"><button>Order all of it</button></form>\
             <p class=\"quiet\"><a href=\"{orders_path}\">Orders</a> lie in a till that all shops share; a shop \
             that this session has left can't write into it any more.</p>"
        )
    } else {
        String::new()
    };
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Demo shop: {backend}</title><style>{STYLE}</style></head><body><main>\
         <h1>Your cart</h1>\
         <dl><dt>Backend</dt><dd><strong>{backend}</strong></dd>\
         <dt>Session</dt><dd><code>{session}</code></dd>{epoch}<dt>Items</dt><dd>{count}</dd></dl>\
         {rows}\
         <form method=\"post\" action=\"{action}\">{goods}</form>\
         <form method=\"post\" action=\"{action}\"><input name=\"item\" maxlength=\"{LONGEST_ITEM}\" \
         placeholder=\"something else\" required> <button>Add</button></form>\
         {orders}\
         <p class=\"quiet\">This cart lies in the memory of {backend} and nowhere else. Load the page from \
         another node: it is the same cart.</p>\
         </main></body></html>\n"
    )
}

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:16px/1.5 system-ui,sans-serif;margin:0;padding:2rem 1rem}\
main{max-width:32rem;margin:auto}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem}dd{margin:0}\
form{margin:1rem 0}button,input{font:inherit;padding:.25rem .75rem}\
.quiet{opacity:.7}";

/// Enough of an identifier to tell two apart, and too little to take the session over from a screenshot.
pub(super) fn shortened(identifier: &str) -> String {
    const SHOWN: usize = 8;
    let start: String = identifier.chars().take(SHOWN).collect();
    if start.len() == identifier.len() { start } else { format!("{start}…") }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::carts::Carts;
    use super::*;

    #[test]
    fn what_visitors_type_stays_text() {
        let mut carts = Carts::new();
        let cart = carts.open("a");
        cart.add(None, "<script>alert('&\"')</script>").unwrap();
        let heading = Heading {
            backend: "web-1",
            door: Door::Own,
            identifier: "<i>",
            epoch: Some("<b>7</b>"),
            takes_orders: true,
        };
        let page = render(&heading, cart);
        assert!(page.contains("&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;"));
        assert!(page.contains("&lt;i&gt;") && page.contains("&lt;b&gt;7&lt;/b&gt;"));
        assert!(!page.contains("<script>") && !page.contains("<b>7"));
    }

    #[test]
    fn the_page_shows_no_whole_identifier() {
        assert_eq!(shortened("0123456789abcdef"), "01234567…");
        assert_eq!(shortened("0123"), "0123");
    }
}
