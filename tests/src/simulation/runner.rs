//! Runs settings in processes of their own, as many at once as there are cores.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

use super::world::Setting;

/// Begin the lines in which a run says what it has come to.
pub const COUNT: &str = "counted: ";
/// See [`COUNT`].
pub const BROKEN: &str = "broken: ";
/// See [`COUNT`]: a line of the trace.
pub const TRACE: &str = "| ";

/// Runs settings by starting this program.
#[derive(Clone, Debug)]
pub struct Runner {
    /// The program, which must have the command `seed`.
    pub program: PathBuf,
    /// Runs at once.
    pub jobs: usize,
}

/// What a run's process has printed.
#[derive(Clone, Debug, Default)]
pub struct Ran {
    /// The run's setting.
    pub setting: Setting,
    /// Its trace, if it was asked for.
    pub trace: Vec<String>,
    /// What happened how often.
    pub counts: BTreeMap<String, u64>,
    /// What was found broken, or how the process ended.
    pub broken: Vec<String>,
}

impl Runner {
    /// One run.
    ///
    /// # Errors
    /// When the program can't be started.
    pub fn run(&self, setting: &Setting) -> io::Result<Ran> {
        let output = Command::new(&self.program).args(arguments(setting)).env_remove("RUST_LOG").output()?;
        let mut ran = Ran { setting: setting.clone(), ..Ran::default() };
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some((what, count)) = line.strip_prefix(COUNT).and_then(|counted| counted.rsplit_once(' '))
            {
                ran.counts.insert(what.to_owned(), count.parse().unwrap_or(0));
            } else if let Some(broken) = line.strip_prefix(BROKEN) {
                ran.broken.push(broken.to_owned());
            } else if let Some(line) = line.strip_prefix(TRACE) {
                ran.trace.push(line.to_owned());
            }
        }
        if !output.status.success() && ran.broken.is_empty() {
            let said = String::from_utf8_lossy(&output.stderr);
            ran.broken.push(format!("{}: {}", output.status, said.trim()));
        }
        Ok(ran)
    }

    /// Runs all, and hands each to `each` as soon as it and those before it have ended; false from it
    /// starts no more.
    ///
    /// # Errors
    /// When the program can't be started.
    pub fn run_all(
        &self,
        settings: impl Iterator<Item = Setting> + Send,
        mut each: impl FnMut(&Ran) -> bool,
    ) -> io::Result<()> {
        let queue = Mutex::new(settings.enumerate());
        let stopped = AtomicBool::new(false);
        let (done, ended) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                let (queue, stopped, done) = (&queue, &stopped, done.clone());
                scope.spawn(move || {
                    while !stopped.load(Ordering::Relaxed) {
                        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                        let Some((place, setting)) = next else { return };
                        if done.send((place, self.run(&setting))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(done);
            let result = in_order(&ended, &mut each);
            stopped.store(true, Ordering::Relaxed);
            result
        })
    }
}

fn in_order(
    ended: &mpsc::Receiver<(usize, io::Result<Ran>)>,
    each: &mut impl FnMut(&Ran) -> bool,
) -> io::Result<()> {
    let (mut early, mut next) = (BTreeMap::new(), 0);
    for (place, ran) in ended {
        early.insert(place, ran?);
        while let Some(ran) = early.remove(&next) {
            next += 1;
            if !each(&ran) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The command line of a run.
fn arguments(setting: &Setting) -> Vec<String> {
    let mut line = vec!["seed".to_owned(), setting.seed.to_string()];
    let mut option = |name: &str, value: Option<String>| {
        line.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
    };
    option("--nodes", setting.nodes.map(|nodes| nodes.to_string()));
    option("--fault", setting.fault.map(|fault| fault.name().to_owned()));
    let only = |only: &Vec<usize>| match only.as_slice() {
        [] => "none".to_owned(),
        only => only.iter().map(usize::to_string).collect::<Vec<_>>().join(","),
    };
    option("--only", setting.only.as_ref().map(only));
    if setting.traced {
        line.push("--trace".to_owned());
    }
    line
}

/// The command that repeats a run, for people.
pub struct Repeat<'a>(pub &'a Setting);

impl fmt::Display for Repeat<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let feature = if self.0.fault.is_some() { " --features deliberate-faults" } else { "" };
        let line = arguments(&Setting { traced: true, ..self.0.clone() }).join(" ");
        write!(f, "cargo run --release -p stickler-tests{feature} --bin simulation -- {line}")
    }
}
