use std::time::Duration;

use super::Written;
use crate::document::reader::TableReader;
use crate::document::values::{duration, integer};

/// `[pool.ejection]`
pub(in crate::document) struct Ejection {
    pub consecutive_errors: Written<u64>,
    pub time: Written<Duration>,
    pub longest: Written<Duration>,
    pub max_share: Written<u64>,
}

impl Ejection {
    pub(super) fn read(mut table: TableReader<'_>) -> Self {
        let ejection = Self {
            consecutive_errors: table.optional("consecutive_errors", integer),
            time: table.optional("time", duration),
            longest: table.optional("longest", duration),
            max_share: table.optional("max_share", integer),
        };
        table.finish();
        ejection
    }
}
