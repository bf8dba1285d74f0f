use super::Written;
use crate::document::cluster::DnsRecord;
use crate::document::reader::TableReader;
use crate::document::report::Place;
use crate::document::values::{choice, integer, text};

/// `[pool.dns]`
pub(in crate::document) struct Discovery {
    pub place: Place,
    pub name: Written<String>,
    pub record: Written<DnsRecord>,
    pub port: Written<u64>,
    pub weight: Written<u64>,
    pub max_sessions: Written<u64>,
    pub max_requests: Written<u64>,
    /// What is written of the record could not be read.
    pub record_unread: bool,
}

const RECORDS: [(&str, DnsRecord); 3] =
    [("a", DnsRecord::A), ("aaaa", DnsRecord::Aaaa), ("srv", DnsRecord::Srv)];

impl Discovery {
    pub(super) fn read(mut table: TableReader<'_>) -> Self {
        let record = table.optional("record", choice(&RECORDS));
        let discovery = Self {
            place: table.place.clone(),
            name: table.required("name", "\"shop.internal\"", text),
            record_unread: record.is_none() && table.has("record"),
            record,
            port: table.optional("port", integer),
            weight: table.optional("weight", integer),
            max_sessions: table.optional("max_sessions", integer),
            max_requests: table.optional("max_requests", integer),
        };
        table.finish();
        discovery
    }
}
