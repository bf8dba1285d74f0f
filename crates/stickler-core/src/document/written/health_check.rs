use std::time::Duration;

use super::Written;
use crate::document::reader::TableReader;
use crate::document::values::{duration, integer, text, texts};

/// `[pool.check]`
pub(in crate::document) struct HealthCheck {
    pub path: Written<String>,
    pub interval: Written<Duration>,
    pub fast_interval: Written<Duration>,
    pub timeout: Written<Duration>,
    pub rise: Written<u64>,
    pub fall: Written<u64>,
    pub host: Written<String>,
    pub headers: Written<Vec<String>>,
    pub expect: Written<String>,
    pub body: Written<String>,
    pub drain_status: Written<u64>,
    pub drain_header: Written<String>,
    pub instance_header: Written<String>,
}

impl HealthCheck {
    pub(super) fn read(mut table: TableReader<'_>) -> Self {
        let check = Self {
            path: table.optional("path", text),
            interval: table.optional("interval", duration),
            fast_interval: table.optional("fast_interval", duration),
            timeout: table.optional("timeout", duration),
            rise: table.optional("rise", integer),
            fall: table.optional("fall", integer),
            host: table.optional("host", text),
            headers: table.optional("headers", texts),
            expect: table.optional("expect", text),
            body: table.optional("body", text),
            drain_status: table.optional("drain_status", integer),
            drain_header: table.optional("drain_header", text),
            instance_header: table.optional("instance_header", text),
        };
        table.finish();
        check
    }
}
