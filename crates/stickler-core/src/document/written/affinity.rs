use std::time::Duration;

use super::Written;
use crate::document::cluster::{
    AfterWait, Mode, Otherwise, Rate, RecordWhen, SameSite, Scope, WhenBack, WhenFull, WhenIsolated,
};
use crate::document::reader::TableReader;
use crate::document::report::Place;
use crate::document::values::{boolean, choice, duration, integer, rate, text, texts};

const MAX_METHODS: usize = 8;

/// `[[affinity]]`
pub(in crate::document) struct Affinity {
    pub name: Written<String>,
    pub by: Vec<By>,
    pub otherwise: Written<Otherwise>,
    pub idle_timeout: Written<Duration>,
    pub max_age: Written<Duration>,
    pub max_sessions: Written<u64>,
    pub when_down: Written<WhenDown>,
    pub when_isolated: Written<WhenIsolated>,
    pub alias_grace: Written<Duration>,
    pub mode: Written<Mode>,
    pub scope: Written<Scope>,
    pub ignore: Written<Vec<String>>,
    pub end_header: Written<String>,
    pub when_full: Written<WhenFull>,
    pub new_sessions_per_source: Written<Rate>,
    pub wait_timeout: Written<Duration>,
    pub wait_then: Written<AfterWait>,
    pub redirect_to: Written<String>,
    pub when_back: Written<WhenBack>,
    pub rebind_rate: Written<Rate>,
    pub unavailable_page: Written<String>,
}

/// The values of `when_down`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::document) enum WhenDown {
    Rebind,
    Reject,
    Redirect,
    Wait,
}

/// `[[affinity.by]]`
pub(in crate::document) struct By {
    pub place: Place,
    pub method: Option<Method>,
}

/// The keys of an `[[affinity.by]]`, which depend on its `method`.
pub(in crate::document) enum Method {
    Cookie {
        name: Written<String>,
        path: Written<String>,
        domain: Written<String>,
        secure: Written<bool>,
        http_only: Written<bool>,
        same_site: Written<SameSite>,
        max_age: Written<Duration>,
        partitioned: Written<bool>,
        on_cacheable: Written<bool>,
        record: Written<RecordWhen>,
        return_window: Written<Duration>,
    },
    ApplicationCookie {
        name: Written<String>,
        path_parameter: Written<String>,
        route_separator: Written<String>,
    },
    Header {
        name: Written<String>,
        bearer: Written<bool>,
        pattern: Written<String>,
        learn_from_response: Written<String>,
    },
    SourceAddress {
        ipv4_prefix: Written<u64>,
        ipv6_prefix: Written<u64>,
    },
    Query {
        name: Written<String>,
    },
    JwtClaim {
        header: Written<String>,
        claim: Written<String>,
    },
}

impl Affinity {
    pub fn read(mut table: TableReader<'_>) -> Self {
        let example = "an [[affinity.by]] with method = \"cookie\"";
        let by = table.required_tables("by", "[[affinity.by]]", MAX_METHODS, example);
        let affinity = Self {
            name: table.required("name", "\"cart\"", text),
            by: by.into_iter().map(By::read).collect(),
            otherwise: table.optional("otherwise", choice(&OTHERWISE)),
            idle_timeout: table.optional("idle_timeout", duration),
            max_age: table.optional("max_age", duration),
            max_sessions: table.optional("max_sessions", integer),
            when_down: table.optional("when_down", choice(&WHEN_DOWN)),
            when_isolated: table.optional("when_isolated", choice(&WHEN_ISOLATED)),
            alias_grace: table.optional("alias_grace", duration),
            mode: table.optional("mode", choice(&MODES)),
            scope: table.optional("scope", choice(&SCOPES)),
            ignore: table.optional("ignore", texts),
            end_header: table.optional("end_header", text),
            when_full: table.optional("when_full", choice(&WHEN_FULL)),
            new_sessions_per_source: table.optional("new_sessions_per_source", rate),
            wait_timeout: table.optional("wait_timeout", duration),
            wait_then: table.optional("wait_then", choice(&WAIT_THEN)),
            redirect_to: table.optional("redirect_to", text),
            when_back: table.optional("when_back", choice(&WHEN_BACK)),
            rebind_rate: table.optional("rebind_rate", rate),
            unavailable_page: table.optional("unavailable_page", text),
        };
        table.finish();
        affinity
    }
}

const OTHERWISE: [(&str, Otherwise); 3] =
    [("balance", Otherwise::Balance), ("hash", Otherwise::Hash), ("reject", Otherwise::Reject)];
const MODES: [(&str, Mode); 3] = [("keep", Mode::Keep), ("observe", Mode::Observe), ("retire", Mode::Retire)];
const SCOPES: [(&str, Scope); 2] = [("affinity", Scope::Affinity), ("pool", Scope::Pool)];
const WHEN_DOWN: [(&str, WhenDown); 4] = [
    ("rebind", WhenDown::Rebind),
    ("reject", WhenDown::Reject),
    ("redirect", WhenDown::Redirect),
    ("wait", WhenDown::Wait),
];
const WAIT_THEN: [(&str, AfterWait); 2] = [("rebind", AfterWait::Rebind), ("reject", AfterWait::Reject)];
const WHEN_BACK: [(&str, WhenBack); 2] = [("stay", WhenBack::Stay), ("return", WhenBack::Return)];
const WHEN_FULL: [(&str, WhenFull); 3] =
    [("refuse", WhenFull::Refuse), ("evict-idlest", WhenFull::EvictIdlest), ("hash", WhenFull::Hash)];
const WHEN_ISOLATED: [(&str, WhenIsolated); 2] =
    [("serve-known", WhenIsolated::ServeKnown), ("refuse", WhenIsolated::Refuse)];

/// The values of `method`.
#[derive(Clone, Copy)]
enum MethodName {
    Cookie,
    ApplicationCookie,
    Header,
    SourceAddress,
    Query,
    JwtClaim,
}

const METHODS: [(&str, MethodName); 6] = [
    ("cookie", MethodName::Cookie),
    ("application-cookie", MethodName::ApplicationCookie),
    ("header", MethodName::Header),
    ("source-address", MethodName::SourceAddress),
    ("query", MethodName::Query),
    ("jwt-claim", MethodName::JwtClaim),
];

impl By {
    fn read(mut table: TableReader<'_>) -> Self {
        let place = table.place.clone();
        let Some(method) = table.required("method", "\"cookie\"", choice(&METHODS)) else {
            // which other keys there may be is not known
            return Self { place, method: None };
        };
        let (heading, method) = match method.get_ref() {
            MethodName::Cookie => ("an [[affinity.by]] with method \"cookie\"", read_cookie(&mut table)),
            MethodName::ApplicationCookie => (
                "an [[affinity.by]] with method \"application-cookie\"",
                Method::ApplicationCookie {
                    name: table.required("name", "\"JSESSIONID\"", text),
                    path_parameter: table.optional("path_parameter", text),
                    route_separator: table.optional("route_separator", text),
                },
            ),
            MethodName::Header => (
                "an [[affinity.by]] with method \"header\"",
                Method::Header {
                    name: table.required("name", "\"X-Session\"", text),
                    bearer: table.optional("bearer", boolean),
                    pattern: table.optional("pattern", text),
                    learn_from_response: table.optional("learn_from_response", text),
                },
            ),
            MethodName::SourceAddress => (
                "an [[affinity.by]] with method \"source-address\"",
                Method::SourceAddress {
                    ipv4_prefix: table.optional("ipv4_prefix", integer),
                    ipv6_prefix: table.optional("ipv6_prefix", integer),
                },
            ),
            MethodName::Query => (
                "an [[affinity.by]] with method \"query\"",
                Method::Query { name: table.required("name", "\"session\"", text) },
            ),
            MethodName::JwtClaim => (
                "an [[affinity.by]] with method \"jwt-claim\"",
                Method::JwtClaim {
                    header: table.optional("header", text),
                    claim: table.required("claim", "\"sub\"", text),
                },
            ),
        };
        table.heading = heading;
        table.finish();
        Self { place, method: Some(method) }
    }
}

fn read_cookie(table: &mut TableReader<'_>) -> Method {
    Method::Cookie {
        name: table.optional("name", text),
        path: table.optional("path", text),
        domain: table.optional("domain", text),
        secure: table.optional("secure", boolean),
        http_only: table.optional("http_only", boolean),
        same_site: table.optional("same_site", choice(&SAME_SITE)),
        max_age: table.optional("max_age", duration),
        partitioned: table.optional("partitioned", boolean),
        on_cacheable: table.optional("on_cacheable", boolean),
        record: table.optional("record", choice(&RECORD)),
        return_window: table.optional("return_window", duration),
    }
}

const RECORD: [(&str, RecordWhen); 2] = [("always", RecordWhen::Always), ("on-return", RecordWhen::OnReturn)];
const SAME_SITE: [(&str, SameSite); 3] =
    [("lax", SameSite::Lax), ("strict", SameSite::Strict), ("none", SameSite::None)];
