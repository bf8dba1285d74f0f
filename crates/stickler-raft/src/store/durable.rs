//! Replacing small files so that a power cut leaves either the old or the new content.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// What a file is called while it is being written.
pub(crate) const TEMPORARY_SUFFIX: &str = ".new";

/// Replaces `name` in `directory` by `content`; durable when it returns.
pub(crate) fn replace_file(directory: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = directory.join(format!("{name}{TEMPORARY_SUFFIX}"));
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    // The order matters: were the rename durable before the content, a power cut would leave an empty file
    // under the final name.
    file.sync_all()?;
    fs::rename(&temporary, directory.join(name))?;
    sync_directory(directory)
}

/// Makes the names in a directory durable: a file's own sync doesn't promise its name.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
