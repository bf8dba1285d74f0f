//! `stickler explain`: why a request goes where it goes.

use std::net::IpAddr;

use http::Uri;
use stickler_proto::admin::{Backend, ExplainReply, ExplainRequest, Header};

use super::Target;
use crate::admin_client::Purpose;
use crate::failure::Failure;
use crate::printer::{self, Format, Table};

/// A request, as its client sends it.
#[derive(Debug, clap::Args)]
pub struct ExplainOptions {
    /// What the client asks for, as in `http://shop.example.com/cart?item=3`
    #[arg(value_parser = url)]
    url: Uri,
    /// A header that the client sends
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<Header>,
    /// A cookie that the client sends
    #[arg(long = "cookie", value_name = "NAME=VALUE", value_parser = cookie)]
    cookies: Vec<String>,
    /// The other end of the client's connection; behind trusted proxies that is a proxy, and a header names the client
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,
    /// The listener that the client is connected to [default: the first of the cluster document]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    listener: String,
    #[command(flatten)]
    target: Target,
}

fn url(written: &str) -> Result<Uri, String> {
    let wrong = || "write it as in http://shop.example.com/cart".to_owned();
    let url: Uri = written.parse().map_err(|_| wrong())?;
    let is_http = url.scheme_str().is_some_and(|scheme| scheme == "http" || scheme == "https");
    if is_http && url.host().is_some() { Ok(url) } else { Err(wrong()) }
}

fn header(written: &str) -> Result<Header, String> {
    let (name, value) = written.split_once(':').ok_or("write it as in \"X-Session: abc\"")?;
    Ok(Header { name: name.trim_ascii().to_owned(), value: value.trim_ascii().to_owned() })
}

fn cookie(written: &str) -> Result<String, String> {
    let is_one = written.split_once('=').is_some_and(|(name, _)| !name.trim_ascii().is_empty());
    if is_one && !written.contains(';') {
        Ok(written.to_owned())
    } else {
        Err("write it as in \"JSESSIONID=abc\"; repeat the option for another one".to_owned())
    }
}

impl ExplainOptions {
    fn request(&self) -> ExplainRequest {
        let mut headers = self.headers.clone();
        if !self.cookies.is_empty() {
            headers.push(Header { name: "Cookie".to_owned(), value: self.cookies.join("; ") });
        }
        ExplainRequest {
            host: self.url.authority().map(|authority| authority.host().to_owned()).unwrap_or_default(),
            target: self.url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned(),
            headers,
            source: self.source.map(|source| source.to_string()).unwrap_or_default(),
            listener: self.listener.clone(),
        }
    }
}

/// Asks a node, and prints what it says.
///
/// # Errors
/// [`Failure`].
pub async fn run(options: &ExplainOptions) -> Result<(), Failure> {
    let request = options.request();
    let reply = options
        .target
        .nodes()
        .ask(Purpose::Look, async |mut node| {
            node.explain(request.clone()).await.map(tonic::Response::into_inner)
        })
        .await?;
    match options.target.output {
        Format::Json => printer::json(&reply)?,
        Format::Table => print(&reply)?,
    }
    Ok(())
}

fn print(reply: &ExplainReply) -> std::io::Result<()> {
    print_decision(reply)?;
    if !reply.methods.is_empty() {
        printer::line("")?;
        print_methods(reply)?;
    }
    if !reply.backends.is_empty() {
        printer::line("")?;
        print_backends(reply)?;
    }
    Ok(())
}

fn print_decision(reply: &ExplainReply) -> std::io::Result<()> {
    let or_none = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
    let decision = match (reply.decision.as_str(), reply.backend.as_str()) {
        (decision, "") => decision.to_owned(),
        (decision, backend) => format!("{decision} to {backend}"),
    };
    let node = format!(
        "{}: {}, applied index {}, stable index {}",
        reply.node, reply.footing, reply.applied_index, reply.stable_index
    );
    let mut table = Table::new(&["REQUEST", ""]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("decision", decision);
    row("because", reply.reason.clone());
    row("host", reply.host.clone());
    row("path", reply.path.clone());
    row("route", or_none(&reply.route));
    if !reply.route.is_empty() {
        row("affinity", or_none(&reply.affinity));
        row("pool", if reply.pool.is_empty() { "drawn at random".to_owned() } else { reply.pool.clone() });
    }
    if let Some(session) = &reply.session {
        let usable = session.usable_from <= reply.stable_index;
        let backend = super::sessions::backend(session);
        row("session", format!("{}, on {backend} ({})", session.key, session.cause));
        row("epoch", format!("{}, last changed at index {}", session.epoch, reply.session_changed_index));
        row("usable from", format!("index {}{}", session.usable_from, if usable { "" } else { ": not yet" }));
        row("age", printer::duration(session.age_milliseconds));
        row("idle", printer::duration(session.idle_milliseconds));
    }
    row("node", node);
    table.print()
}

fn print_methods(reply: &ExplainReply) -> std::io::Result<()> {
    let mut table = Table::new(&["METHOD", "FOUND"]);
    for method in &reply.methods {
        let keys = method.keys.iter().map(|key| format!("key {key}"));
        let passed_over = method.passed_over.iter().map(|why| format!("passed over: {why}"));
        let found: Vec<String> = keys.chain(passed_over).collect();
        table.row([method.method.clone(), if found.is_empty() { "-".to_owned() } else { found.join(", ") }]);
    }
    table.print()
}

fn print_backends(reply: &ExplainReply) -> std::io::Result<()> {
    let mut table = Table::new(&["BACKEND", "ADDRESS", "ADMIN", "HEALTH", "WEIGHT", "SESSIONS", "ITS PART"]);
    for explained in &reply.backends {
        let backend = explained.backend.clone().unwrap_or_default();
        let Backend { pool, name, address, admin, health, weight, sessions, .. } = backend;
        let sessions =
            explained.max_sessions.map_or(sessions.to_string(), |most| format!("{sessions}/{most}"));
        let name = format!("{pool}/{name}");
        table.row([name, address, admin, health, weight.to_string(), sessions, explained.part.clone()]);
    }
    table.print()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_request_is_refused_with_an_example() {
        for good in ["http://shop.example.com", "https://[::1]:8080/cart?item=3"] {
            assert!(url(good).is_ok(), "{good}");
        }
        for bad in ["", "/cart", "shop.example.com/cart", "ftp://shop.example.com/", "http:///cart"] {
            assert!(url(bad).unwrap_err().contains("http://shop.example.com/cart"), "{bad}");
        }
        assert!(header("X-Session").is_err());
        assert_eq!(
            header("X-Session: a:b ").map(|header| (header.name, header.value)),
            Ok(("X-Session".to_owned(), "a:b".to_owned()))
        );
        for bad in ["JSESSIONID", "=a", "a=b; c=d"] {
            assert!(cookie(bad).is_err(), "{bad}");
        }
    }
}
