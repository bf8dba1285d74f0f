//! Cluster documents for tests.

use std::net::SocketAddr;

use stickler_core::document::check_cluster;
use stickler_core::document::cluster::ClusterDocument;

/// A document with one pool of these backends and one affinity by the header `x-session`.
///
/// # Panics
/// When the text is not a valid document, which is a mistake of this function.
#[must_use]
pub fn by_header(backends: &[SocketAddr]) -> ClusterDocument {
    let backends: String = backends
        .iter()
        .enumerate()
        .map(|(number, address)| {
            format!("[[pool.backend]]\nname = \"web-{}\"\naddress = \"{address}\"\n", number + 1)
        })
        .collect();
    let text = format!(
        r#"
version = 1
[[listener]]
name = "public"
address = "127.0.0.1:0"
[[pool]]
name = "shop"
{backends}
[[affinity]]
name = "cart"
[[affinity.by]]
method = "header"
name = "X-Session"
[[route]]
name = "shop"
path_prefix = "/"
pool = "shop"
affinity = "cart"
"#
    );
    check_cluster("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"))
}
