//! A disk under a page cache: what is written, and which part of it is durable.
//!
//! Durable is a file's content after fsync or fdatasync of the file, and a directory's names after fsync of the
//! directory. Everything else is pending: after a power cut any part of it may be there. That is what POSIX
//! leaves open, and more than a common file system does to its users: ext4 writes a rename after the file's
//! creation, and both before what was fsynced later.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::journal::Operation;
use super::tear::Tear;

/// What a power cut leaves of what is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerCut {
    /// All of it.
    KeepsAll,
    /// Nothing of it.
    KeepsSynced,
    /// Some of it, drawn from a seed.
    Tears(u64),
}

impl PowerCut {
    pub fn numbers(self) -> (u64, u64) {
        match self {
            Self::KeepsAll => (0, 0),
            Self::KeepsSynced => (1, 0),
            Self::Tears(seed) => (2, seed),
        }
    }

    pub fn from_numbers(kind: u64, seed: u64) -> Self {
        match kind {
            0 => Self::KeepsAll,
            1 => Self::KeepsSynced,
            _ => Self::Tears(seed),
        }
    }
}

/// Files and directories by path, as they are after a power cut.
pub type Image<'a> = BTreeMap<String, Content<'a>>;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    Directory,
    File(Cow<'a, [u8]>),
}

/// A pending change of a file.
#[derive(Clone, Debug)]
pub enum Change {
    Write { offset: usize, bytes: Arc<[u8]> },
    Resize { length: usize },
}

impl Change {
    pub fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                content.resize(content.len().max(offset + bytes.len()), 0);
                content[*offset..offset + bytes.len()].copy_from_slice(bytes);
            }
            Self::Resize { length } => content.resize(*length, 0),
        }
    }
}

type Names = BTreeMap<String, usize>;

/// A pending change of a directory. Each is whole or not there, as journals of file systems have it.
#[derive(Clone, Debug)]
pub enum NameChange {
    Put { name: String, object: usize },
    Remove { name: String },
    Move { from: String, to: String, object: usize },
}

impl NameChange {
    pub fn apply(&self, names: &mut Names) {
        match self {
            Self::Put { name, object } => drop(names.insert(name.clone(), *object)),
            Self::Remove { name } => drop(names.remove(name)),
            Self::Move { from, to, object } => {
                names.remove(from);
                names.insert(to.clone(), *object);
            }
        }
    }
}

#[derive(Debug)]
enum Object {
    File { durable: Vec<u8>, written: Vec<u8>, pending: Vec<Change> },
    Directory { durable: Names, written: Names, pending: Vec<NameChange> },
}

/// See the module.
#[derive(Debug)]
pub struct Disk {
    /// The first is the folder itself.
    objects: Vec<Object>,
    by_inode: HashMap<u64, usize>,
    /// How many changes there were of what is written.
    pub written_version: u64,
    /// How many changes there were of what is durable.
    pub durable_version: u64,
}

impl Disk {
    /// An empty folder.
    pub fn new() -> Self {
        let mut disk =
            Self { objects: Vec::new(), by_inode: HashMap::new(), written_version: 0, durable_version: 0 };
        disk.add(Object::new_directory());
        disk
    }

    /// The disk that a power cut leaves.
    pub fn after(&self, cut: PowerCut) -> Self {
        let mut disk = Self::new();
        for (path, content) in self.image(cut) {
            let object = match content {
                Content::Directory => Object::new_directory(),
                Content::File(bytes) => {
                    let bytes = bytes.into_owned();
                    Object::File { durable: bytes.clone(), written: bytes, pending: Vec::new() }
                }
            };
            let (parent, name) = disk.parent(&path);
            let added = disk.add(object);
            let Object::Directory { durable, written, .. } = &mut disk.objects[parent] else {
                unreachable!()
            };
            durable.insert(name.clone(), added);
            written.insert(name, added);
        }
        disk.written_version = self.written_version + 1;
        disk.durable_version = self.durable_version + 1;
        disk
    }

    /// Whether something is not durable.
    pub fn has_pending(&self) -> bool {
        self.objects.iter().any(|object| match object {
            Object::File { pending, .. } => !pending.is_empty(),
            Object::Directory { pending, .. } => !pending.is_empty(),
        })
    }

    /// Notes which inode a path has.
    pub fn found(&mut self, path: &str, inode: u64) {
        let object = self.object(path).unwrap_or_else(|| panic!("{path} is in the folder but not recorded"));
        self.by_inode.insert(inode, object);
    }

    /// Does what a process did.
    pub fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::CreateFile { path, inode } => {
                self.put(path, *inode, Object::File { durable: vec![], written: vec![], pending: vec![] });
            }
            Operation::MakeDirectory { path, inode } => self.put(path, *inode, Object::new_directory()),
            Operation::Write { inode, offset, bytes } => {
                self.change(*inode, Change::Write { offset: *offset, bytes: Arc::clone(bytes) });
            }
            Operation::Resize { inode, length } => self.change(*inode, Change::Resize { length: *length }),
            Operation::Rename { from, to } => {
                let object = self.object(from).unwrap();
                let ((directory, from), (target, to)) = (self.parent(from), self.parent(to));
                assert_eq!(directory, target, "between directories a rename is two changes");
                self.change_names(directory, NameChange::Move { from, to, object });
            }
            Operation::RemoveFile { path } | Operation::RemoveDirectory { path } => {
                let (directory, name) = self.parent(path);
                self.change_names(directory, NameChange::Remove { name });
            }
            Operation::Sync { inode } | Operation::SyncData { inode } => self.sync(*inode),
        }
    }

    fn add(&mut self, object: Object) -> usize {
        self.objects.push(object);
        self.objects.len() - 1
    }

    fn put(&mut self, path: &str, inode: u64, object: Object) {
        let (directory, name) = self.parent(path);
        let object = self.add(object);
        self.by_inode.insert(inode, object);
        self.change_names(directory, NameChange::Put { name, object });
    }

    fn change(&mut self, inode: u64, change: Change) {
        self.written_version += 1;
        match &mut self.objects[self.by_inode[&inode]] {
            Object::File { written, pending, .. } => {
                change.apply(written);
                pending.push(change);
            }
            Object::Directory { .. } => panic!("a write to a directory"),
        }
    }

    fn change_names(&mut self, directory: usize, change: NameChange) {
        self.written_version += 1;
        match &mut self.objects[directory] {
            Object::Directory { written, pending, .. } => {
                change.apply(written);
                pending.push(change);
            }
            Object::File { .. } => panic!("a name in a file"),
        }
    }

    fn sync(&mut self, inode: u64) {
        let changed = match &mut self.objects[self.by_inode[&inode]] {
            Object::File { durable, pending, .. } => {
                pending.drain(..).map(|change| change.apply(durable)).count()
            }
            Object::Directory { durable, pending, .. } => {
                pending.drain(..).map(|change| change.apply(durable)).count()
            }
        };
        self.durable_version += u64::from(changed > 0);
    }

    /// The directory of a path as it is written, and the last name.
    fn parent(&self, path: &str) -> (usize, String) {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        (self.object(directory).unwrap_or_else(|| panic!("no directory {directory}")), name.to_owned())
    }

    fn object(&self, path: &str) -> Option<usize> {
        path.split('/').filter(|name| !name.is_empty()).try_fold(0, |directory, name| {
            match &self.objects[directory] {
                Object::Directory { written, .. } => written.get(name).copied(),
                Object::File { .. } => None,
            }
        })
    }

    /// What a power cut leaves now.
    pub fn image(&self, cut: PowerCut) -> Image<'_> {
        let mut image = Image::new();
        let mut tear = match cut {
            PowerCut::Tears(seed) => Some(Tear::new(seed)),
            PowerCut::KeepsAll | PowerCut::KeepsSynced => None,
        };
        self.add_directory(0, "", cut, tear.as_mut(), &mut image);
        image
    }

    fn add_directory<'a>(
        &'a self,
        directory: usize,
        path: &str,
        cut: PowerCut,
        mut tear: Option<&mut Tear>,
        image: &mut Image<'a>,
    ) {
        let Object::Directory { durable, written, pending } = &self.objects[directory] else {
            unreachable!()
        };
        let names = match &mut tear {
            Some(tear) => Cow::Owned(tear.names(durable, pending)),
            None => Cow::Borrowed(if cut == PowerCut::KeepsAll { written } else { durable }),
        };
        for (name, object) in names.iter() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            let content = match &self.objects[*object] {
                Object::Directory { .. } => Content::Directory,
                Object::File { durable, written, pending } => Content::File(match &mut tear {
                    Some(tear) if !pending.is_empty() => Cow::Owned(tear.content(durable, written, pending)),
                    _ => Cow::Borrowed(if cut == PowerCut::KeepsAll { written } else { durable }),
                }),
            };
            let is_directory = content == Content::Directory;
            image.insert(path.clone(), content);
            if is_directory {
                self.add_directory(*object, &path, cut, tear.as_deref_mut(), image);
            }
        }
    }
}

impl Object {
    fn new_directory() -> Self {
        Self::Directory { durable: Names::new(), written: Names::new(), pending: Vec::new() }
    }
}
