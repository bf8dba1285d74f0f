//! A folder that is made to hold one image after another.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::disk::{Content, Image};

/// Content is compared and written in pieces of this size.
const PIECE: usize = 4096;

/// A new folder, in memory where the machine has a file system for that: nothing here is to survive.
pub fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Makes a folder hold exactly an image, and writes only what differs.
pub fn set(folder: &Path, image: &Image<'_>) -> io::Result<()> {
    remove_others(folder, "", image)?;
    for (path, content) in image {
        let path = folder.join(path);
        match content {
            Content::Directory if path.is_dir() => {}
            Content::Directory => fs::create_dir(&path)?,
            Content::File(bytes) => set_file(&path, bytes)?,
        }
    }
    Ok(())
}

fn remove_others(folder: &Path, below: &str, image: &Image<'_>) -> io::Result<()> {
    for (path, found) in entries(folder, below)? {
        let is_directory = found.is_dir();
        match image.get(&path) {
            Some(Content::Directory) if is_directory => remove_others(folder, &path, image)?,
            Some(Content::File(_)) if !is_directory => {}
            _ if is_directory => fs::remove_dir_all(found)?,
            _ => fs::remove_file(found)?,
        }
    }
    Ok(())
}

fn entries(folder: &Path, below: &str) -> io::Result<Vec<(String, PathBuf)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder.join(below))? {
        let name = entry?.file_name().into_string().unwrap();
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        entries.push((path.clone(), folder.join(path)));
    }
    Ok(entries)
}

fn set_file(path: &Path, wanted: &[u8]) -> io::Result<()> {
    let Ok(found) = fs::read(path) else { return fs::write(path, wanted) };
    if found == wanted {
        return Ok(());
    }
    let file = File::options().write(true).open(path)?;
    if found.len() != wanted.len() {
        file.set_len(wanted.len() as u64)?;
    }
    for (place, piece) in wanted.chunks(PIECE).enumerate() {
        let from = place * PIECE;
        if found.get(from..from + piece.len()) != Some(piece) {
            file.write_all_at(piece, from as u64)?;
        }
    }
    Ok(())
}

/// What a folder holds.
pub fn read(folder: &Path) -> io::Result<Image<'static>> {
    let mut image = Image::new();
    let mut directories = vec![String::new()];
    while let Some(below) = directories.pop() {
        for (path, found) in entries(folder, &below)? {
            if found.is_dir() {
                directories.push(path.clone());
                image.insert(path, Content::Directory);
            } else {
                image.insert(path, Content::File(fs::read(found)?.into()));
            }
        }
    }
    Ok(image)
}
