//! The library between a node and its machine: compiled when a run needs it, and told at run time what to break.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::time::{ClockId, clock_gettime};

const SOURCE: &str = include_str!("preload.c");

/// Why there is no library.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PreloadError {
    /// Install a C compiler that is called `cc`.
    #[error("the library that stands between a node and its machine needs a C compiler: cc: {0}")]
    Compiler(io::Error),
    /// The compiler's own message.
    #[error("cc does not compile the library that stands between a node and its machine: {0}")]
    Refused(String),
    /// The message says what the operating system refused.
    #[error("can't write {0}: {1}")]
    File(PathBuf, io::Error),
}

/// Compiles the library into this directory.
pub(super) fn compile(directory: &Path) -> Result<PathBuf, PreloadError> {
    let (source, library) = (directory.join("preload.c"), directory.join("preload.so"));
    fs::write(&source, SOURCE).map_err(|error| PreloadError::File(source.clone(), error))?;
    let compiled = Command::new("cc")
        .args(["-std=gnu11", "-O1", "-Wall", "-shared", "-fPIC", "-pthread", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .output()
        .map_err(PreloadError::Compiler)?;
    if compiled.status.success() {
        return Ok(library);
    }
    Err(PreloadError::Refused(String::from_utf8_lossy(&compiled.stderr).into_owned()))
}

/// Bytes of the control file: eight numbers of eight bytes each, as `preload.c` lays them out.
const CONTROL: u64 = 64;

/// The faults of one node's disk and clock. All changes are felt at once.
#[derive(Debug)]
pub(crate) struct Control {
    file: File,
    change: u64,
    line: Line,
    /// Seconds by which the time of day is ahead.
    wall: i64,
}

/// A clock's reading over true time: `true + base + (true - anchor) * rate`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Line {
    /// Nanoseconds of true time.
    anchor: i64,
    /// Nanoseconds.
    base: i64,
    /// Millionths.
    rate: i64,
}

impl Line {
    fn ahead(self, now: i64) -> i64 {
        let since = i128::from((now - self.anchor).max(0)) * i128::from(self.rate) / 1_000_000;
        self.base + i64::try_from(since).unwrap_or(0)
    }
}

impl Control {
    /// Nothing is broken.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).write(true).truncate(true).open(path)?;
        file.set_len(CONTROL)?;
        Ok(Self { file, change: 0, line: Line::default(), wall: 0 })
    }

    fn put(&self, place: u64, value: i64) -> io::Result<()> {
        self.file.write_all_at(&value.to_ne_bytes(), place * 8)
    }

    /// From now on syncs fail, or don't.
    pub(crate) fn set_syncs_fail(&self, fail: bool) -> io::Result<()> {
        self.put(1, i64::from(fail))
    }

    /// From now on nothing can be written for want of space, or can.
    pub(crate) fn set_no_space(&self, full: bool) -> io::Result<()> {
        self.put(2, i64::from(full))
    }

    /// From now on a sync takes so many microseconds longer.
    pub(crate) fn set_sync_delay(&self, microseconds: i64) -> io::Result<()> {
        self.put(3, microseconds)
    }

    /// From now on the node's monotonic clock gains so many millionths. It does not jump.
    pub(crate) fn set_clock_rate(&mut self, millionths: i64) -> io::Result<()> {
        let now = clock_gettime(ClockId::Monotonic);
        let now = now.tv_sec * 1_000_000_000 + now.tv_nsec;
        self.put_line(Line { anchor: now, base: self.line.ahead(now), rate: millionths })
    }

    /// So many seconds have gone by on both clocks of a node that does not run: it finds them when it starts.
    pub(crate) fn pass_while_stopped(&mut self, seconds: i64) -> io::Result<()> {
        let now = clock_gettime(ClockId::Monotonic);
        let now = now.tv_sec * 1_000_000_000 + now.tv_nsec;
        let base = self.line.ahead(now) + seconds * 1_000_000_000;
        self.put_line(Line { anchor: now, base, rate: self.line.rate })?;
        self.wall += seconds;
        self.set_wall_clock_ahead(self.wall)
    }

    fn put_line(&mut self, line: Line) -> io::Result<()> {
        self.line = line;
        // An odd number tells readers to look again.
        self.next_change()?;
        self.put(4, self.line.anchor)?;
        self.put(5, self.line.base)?;
        self.put(6, self.line.rate)?;
        self.next_change()
    }

    fn next_change(&mut self) -> io::Result<()> {
        self.change += 1;
        self.put(0, i64::try_from(self.change).unwrap_or(0))
    }

    /// From now on the time of day is ahead by so many seconds; negative is behind.
    pub(crate) fn set_wall_clock_ahead(&mut self, seconds: i64) -> io::Result<()> {
        self.wall = seconds;
        self.put(7, seconds * 1_000_000_000)
    }
}

/// What one node's process is told through its environment.
#[derive(Clone, Debug)]
pub(super) struct Preload {
    /// The library.
    pub library: PathBuf,
    /// Of this node.
    pub control: PathBuf,
    /// What a power cut concerns.
    pub root: PathBuf,
    /// What a power cut leaves; `None` keeps no record.
    pub record: Option<PathBuf>,
    /// Where connections come from; `None` leaves that to the kernel.
    pub source: Option<std::net::Ipv4Addr>,
}

impl Preload {
    /// The variables.
    pub(super) fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![
            ("LD_PRELOAD", self.library.clone().into_os_string()),
            ("CHAOS_CONTROL", self.control.clone().into_os_string()),
            ("CHAOS_ROOT", self.root.clone().into_os_string()),
        ];
        variables.extend(self.record.clone().map(|record| ("CHAOS_RECORD", record.into_os_string())));
        variables.extend(self.source.map(|source| ("CHAOS_SOURCE", source.to_string().into())));
        variables
    }

    /// The power is cut: puts what was synced in the place of the files. The node's process must be gone.
    pub(super) fn cut_power(&self) -> io::Result<()> {
        let Some(record) = &self.record else { return Ok(()) };
        let object = fs::read_to_string(record.join("root"))?;
        fs::remove_dir_all(&self.root)?;
        restore(record, &object, &self.root)?;
        fs::remove_dir_all(record)?;
        fs::create_dir(record)
    }
}

/// Makes a directory as the record holds it. What was never synced is an empty file or an empty directory.
fn restore(record: &Path, object: &str, path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    let names = unless_missing(fs::read_to_string(record.join(format!("d-{object}"))))?.unwrap_or_default();
    for line in names.lines() {
        let mut parts = line.splitn(3, ' ');
        let (Some(kind), Some(object), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(io::Error::other(format!("the record has the line {line:?}")));
        };
        let path = path.join(name);
        if kind == "d" {
            restore(record, object, &path)?;
        } else if unless_missing(fs::copy(record.join(format!("f-{object}")), &path))?.is_none() {
            File::create(&path)?;
        }
    }
    Ok(())
}

fn unless_missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::process::Output;

    use super::*;

    /// A machine without a node: programs of the system run on it.
    struct Machine {
        preload: Preload,
        control: Control,
        _directory: tempfile::TempDir,
    }

    impl Machine {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().canonicalize().unwrap();
            let (root, record) = (path.join("disk"), path.join("synced"));
            fs::create_dir(&root).unwrap();
            fs::create_dir(&record).unwrap();
            let control = Control::create(&path.join("control")).unwrap();
            let preload = Preload {
                library: compile(&path).unwrap(),
                control: path.join("control"),
                root,
                record: Some(record),
                source: Some(Ipv4Addr::new(127, 0, 0, 12)),
            };
            Self { preload, control, _directory: directory }
        }

        fn run(&self, program: &str, arguments: &[&str]) -> Output {
            let mut command = Command::new(program);
            command.args(arguments).current_dir(&self.preload.root).envs(self.preload.environment());
            command.output().unwrap()
        }

        fn write(&self, name: &str, how: &str) -> bool {
            let (of, how) = (format!("of={name}"), format!("conv={how}"));
            self.run("dd", &["if=/proc/self/cmdline", &of, &how]).status.success()
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.preload.root).unwrap();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn a_power_cut_leaves_what_was_synced_and_nothing_else() {
        let machine = Machine::new();
        assert!(machine.write("synced", "fsync") && machine.write("unsynced", "notrunc"));
        assert!(machine.run("sync", &["."]).status.success(), "the names in the directory");
        assert!(machine.write("late", "fsync"), "its name is not synced");
        let synced = fs::read(machine.preload.root.join("synced")).unwrap();
        // What is written over it and not synced is lost, too.
        assert!(machine.run("sh", &["-c", "printf longer-than-before >> synced"]).status.success());
        assert_eq!(machine.names(), ["late", "synced", "unsynced"]);

        machine.preload.cut_power().unwrap();
        assert_eq!(machine.names(), ["synced", "unsynced"]);
        assert_eq!(fs::read(machine.preload.root.join("synced")).unwrap(), synced);
        assert!(fs::read(machine.preload.root.join("unsynced")).unwrap().is_empty());
    }

    #[test]
    fn what_one_process_wrote_is_synced_by_the_next_that_syncs_the_file() {
        let machine = Machine::new();
        assert!(machine.write("file", "notrunc"));
        assert!(machine.run("sync", &[".", "file"]).status.success());
        let written = fs::read(machine.preload.root.join("file")).unwrap();
        machine.preload.cut_power().unwrap();
        assert_eq!(fs::read(machine.preload.root.join("file")).unwrap(), written);
    }

    #[test]
    fn disks_and_clocks_break_and_mend_while_nobody_restarts() {
        let mut machine = Machine::new();
        for set in [Control::set_syncs_fail, Control::set_no_space] {
            set(&machine.control, true).unwrap();
            assert!(!machine.write("file", "fsync"));
            set(&machine.control, false).unwrap();
            assert!(machine.write("file", "fsync"));
        }
        let seconds = |machine: &Machine| -> i64 {
            String::from_utf8(machine.run("date", &["+%s"]).stdout).unwrap().trim().parse().unwrap()
        };
        let before = seconds(&machine);
        machine.control.set_wall_clock_ahead(86_400).unwrap();
        assert!((86_400..90_000).contains(&(seconds(&machine) - before)));
        machine.control.set_wall_clock_ahead(0).unwrap();
        assert!((0..3_600).contains(&(seconds(&machine) - before)));
        machine.control.pass_while_stopped(7_200).unwrap();
        assert!((7_200..10_800).contains(&(seconds(&machine) - before)));
        assert_eq!(machine.control.line.ahead(i64::MAX / 2), 7_200 * 1_000_000_000);
        machine.control.set_clock_rate(20_000).unwrap();
        assert_eq!(machine.control.line.rate, 20_000);
    }

    #[test]
    fn a_clock_that_runs_fast_goes_on_from_where_it_was_when_it_is_true_again() {
        let fast = Line { anchor: 1_000, base: 0, rate: 10_000 };
        assert_eq!((fast.ahead(1_000), fast.ahead(1_001_000), fast.ahead(0)), (0, 10_000, 0));
        let mended = Line { anchor: 1_001_000, base: fast.ahead(1_001_000), rate: 0 };
        assert_eq!(mended.ahead(9_001_000), 10_000);
    }

    #[test]
    fn a_link_sees_whose_connection_it_is() {
        let machine = Machine::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connect = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
        assert!(machine.run("bash", &["-c", &connect]).status.success());
        let (_, source) = listener.accept().unwrap();
        assert_eq!(source.ip(), Ipv4Addr::new(127, 0, 0, 12));
    }
}
