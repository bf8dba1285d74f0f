//! sled's table of pages: a file `snap.<position>` that says where in sled's data file each page is, and from
//! which position on the data file must be read to bring the table up to date.
//!
//! When it opens, sled writes a new table, renames it, and at once overwrites what the new table no longer
//! needs, without waiting for the rename to be durable. After a power cut in that moment the old table (or
//! none) would meet a data file that only the new one fits, and sled would drop acknowledged entries. So the new
//! table is made before sled opens the log, from a copy of it, and made durable.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use sled::Db;

use super::open::LogOpenError;
use crate::store::durable::{replace_file, sync_directory};

/// A copy of the log, only while a table is made.
const COPY: &str = "copy";
const DATA: &str = "db";
const CONFIGURATION: &str = "conf";
const PREFIX: &str = "snap.";
const PIECE_BYTES: usize = 1 << 20;

/// Makes a log of an earlier process ready to be opened: after it, opening it overwrites nothing that what is
/// durable needs. `open` opens the copy.
pub(super) fn bring_up_to_date(
    log: &Path,
    open: impl FnOnce(&Path) -> Result<Db, LogOpenError>,
) -> Result<(), LogOpenError> {
    let io_at = |source| LogOpenError::Io { path: log.to_owned(), source };
    if !log.join(DATA).exists() {
        return Ok(());
    }
    let copy = log.join(COPY);
    copy_log(log, &copy).map_err(io_at)?;
    drop(open(&copy)?);
    install(&copy, log).map_err(io_at)?;
    fs::remove_dir_all(&copy).map_err(io_at)
}

fn copy_log(log: &Path, copy: &Path) -> io::Result<()> {
    // What a process left that was cut off in here.
    match fs::remove_dir_all(copy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    for name in tables(log)?.unfinished {
        // sled would take it for its newest table and refuse to open.
        fs::remove_file(log.join(name))?;
    }
    // A process that was killed may have left data that is not durable; the table must not be ahead of it.
    File::open(log.join(DATA))?.sync_all()?;
    fs::create_dir(copy)?;
    copy_file(log, copy, DATA)?;
    if log.join(CONFIGURATION).exists() {
        copy_file(log, copy, CONFIGURATION)?;
    }
    match tables(log)?.finished.pop() {
        Some(newest) => copy_file(log, copy, &newest),
        None => Ok(()),
    }
}

fn copy_file(from: &Path, to: &Path, name: &str) -> io::Result<()> {
    let mut from = File::open(from.join(name))?;
    let mut to = File::create(to.join(name))?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = from.read(&mut piece)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&piece[..length])?;
    }
}

/// Puts the newest table of the copy in place of those of the log.
fn install(copy: &Path, log: &Path) -> io::Result<()> {
    let mut old = tables(log)?.finished;
    let Some(newest) = tables(copy)?.finished.pop() else { return Ok(()) };
    if old.last() == Some(&newest) {
        old.pop();
        // It may have been renamed by a process that was killed before it could sync the name.
        sync_directory(log)?;
    } else {
        replace_file(log, &newest, &fs::read(copy.join(&newest))?)?;
    }
    old.into_iter().try_for_each(|name| fs::remove_file(log.join(name)))
}

/// The names of tables.
struct Tables {
    /// Oldest first.
    finished: Vec<String>,
    /// Those that were being written when a process was cut off.
    unfinished: Vec<String>,
}

fn tables(directory: &Path) -> io::Result<Tables> {
    let mut tables = Tables { finished: Vec::new(), unfinished: Vec::new() };
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some(position) = name.strip_prefix(PREFIX) else { continue };
        let is_finished = position.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_finished { &mut tables.finished } else { &mut tables.unfinished }.push(name);
    }
    tables.finished.sort();
    Ok(tables)
}
