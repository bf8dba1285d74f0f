//! The records of `recorder.c`, read back.

use std::sync::Arc;

use super::disk::PowerCut;

/// One record. Files and directories are named by inode where the call names a descriptor, by path elsewhere.
#[derive(Clone, Debug)]
pub enum Record {
    /// The folder has this when a process starts; the inode is good until the next start.
    Found {
        path: String,
        inode: u64,
    },
    Operation(Operation),
    /// Bytes were handed to the device without waiting for its cache and without the file's size: no promise.
    RangePushed,
    /// The process told what it asks for or what was acknowledged.
    Mark(String),
    /// The power was cut here, and the next process found the files so.
    PowerCut(PowerCut),
}

/// What changes files, or makes changes durable.
#[derive(Clone, Debug)]
pub enum Operation {
    CreateFile { path: String, inode: u64 },
    MakeDirectory { path: String, inode: u64 },
    Write { inode: u64, offset: usize, bytes: Arc<[u8]> },
    Resize { inode: u64, length: usize },
    Rename { from: String, to: String },
    RemoveFile { path: String },
    RemoveDirectory { path: String },
    Sync { inode: u64 },
    SyncData { inode: u64 },
}

impl Operation {
    /// Its kind, for figures.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::CreateFile { .. } => "create",
            Self::MakeDirectory { .. } => "mkdir",
            Self::Write { .. } => "write",
            Self::Resize { .. } => "ftruncate",
            Self::Rename { .. } => "rename",
            Self::RemoveFile { .. } => "unlink",
            Self::RemoveDirectory { .. } => "rmdir",
            Self::Sync { .. } => "fsync",
            Self::SyncData { .. } => "fdatasync",
        }
    }
}

/// Kind, inode, offset, length.
const HEADER_BYTES: usize = 1 + 8 + 8 + 4;

/// Reads a whole journal.
pub fn parse(mut journal: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    while !journal.is_empty() {
        let (header, rest) = journal.split_at(HEADER_BYTES);
        let number = |from: usize| u64::from_le_bytes(header[from..from + 8].try_into().unwrap());
        let length = u32::from_le_bytes(header[17..].try_into().unwrap());
        let (bytes, rest) = rest.split_at(usize::try_from(length).unwrap());
        records.push(record(header[0], number(1), number(9), bytes));
        journal = rest;
    }
    records
}

fn record(kind: u8, inode: u64, offset: u64, bytes: &[u8]) -> Record {
    let text = || String::from_utf8(bytes.to_vec()).unwrap();
    let place = || usize::try_from(offset).unwrap();
    Record::Operation(match kind {
        b'K' | b'D' => return Record::Found { path: text(), inode },
        b'p' => return Record::RangePushed,
        b'm' => return Record::Mark(text()),
        b'C' => return Record::PowerCut(PowerCut::from_numbers(inode, offset)),
        b'c' => Operation::CreateFile { path: text(), inode },
        b'd' => Operation::MakeDirectory { path: text(), inode },
        b'w' => Operation::Write { inode, offset: place(), bytes: bytes.into() },
        b't' => Operation::Resize { inode, length: place() },
        b'r' => {
            let both = text();
            let (from, to) = both.split_once('\0').unwrap();
            Operation::Rename { from: from.to_owned(), to: to.to_owned() }
        }
        b'u' => Operation::RemoveFile { path: text() },
        b'x' => Operation::RemoveDirectory { path: text() },
        b'f' => Operation::Sync { inode },
        b's' => Operation::SyncData { inode },
        other => panic!("a record of kind {other}"),
    })
}

/// The record of a power cut, as it stands in the journal.
pub fn power_cut_record(cut: PowerCut) -> Vec<u8> {
    let (kind, seed) = cut.numbers();
    [&b"C"[..], &kind.to_le_bytes(), &seed.to_le_bytes(), &0_u32.to_le_bytes()].concat()
}
