//! Runs the binary.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A document without problems.
pub const DOCUMENT: &str = r#"version = 1
[[listener]]
name = "public"
address = "127.0.0.1:0"
[[pool]]
name = "shop"
[[pool.backend]]
name = "web-1"
address = "127.0.0.1:9"
[[affinity]]
name = "cart"
[[affinity.by]]
method = "application-cookie"
name = "JSESSIONID"
[[route]]
name = "shop"
pool = "shop"
affinity = "cart"
"#;

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub output: String,
    pub errors: String,
}

impl Said {
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.output).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stickler"));
    command.env_remove("STICKLER_NODE").env_remove("STICKLER_LOG");
    command
}

/// Runs a command to its end.
pub fn stickler(arguments: &[&str]) -> Said {
    let done = binary().args(arguments).stdin(Stdio::null()).output().unwrap();
    Said {
        code: done.status.code(),
        output: String::from_utf8(done.stdout).unwrap(),
        errors: String::from_utf8(done.stderr).unwrap(),
    }
}

/// A directory with files in it.
pub fn files(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

pub fn path(directory: &TempDir, name: &str) -> String {
    directory.path().join(name).to_str().unwrap().to_owned()
}

/// The file of a node that is a cluster by itself, all in one directory.
pub fn node_file(directory: &Path, status_address: &str) -> String {
    format!(
        "version = 1\nid = 1\ndata_directory = {:?}\npeer_address = \"127.0.0.1:0\"\n\
         admin = \"unix:{}\"\nstatus_address = \"{status_address}\"\nworkers = 1\n",
        directory.join("data"),
        directory.join("admin.sock").display(),
    )
}

/// A process that runs a node.
pub struct RunningNode {
    child: Child,
    pub directory: TempDir,
}

impl RunningNode {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("node.toml");
        fs::write(&config, node_file(directory.path(), "127.0.0.1:0")).unwrap();
        let child = spawn(&config);
        let mut node = Self { child, directory };
        let deadline = std::time::Duration::from_secs(30);
        node.wait_for("a leader", deadline, |node| {
            let said = stickler(&["status", "--output", "json", "--node", &node.address()]);
            said.code == Some(0) && said.json()["nodes"][0]["status"]["role"] == "leader"
        });
        node
    }

    pub fn address(&self) -> String {
        format!("unix:{}", self.directory.path().join("admin.sock").display())
    }

    /// Runs a command on this node.
    pub fn say(&self, arguments: &[&str]) -> Said {
        let address = self.address();
        stickler(&[arguments, &["--node", &address]].concat())
    }

    fn wait_for(&mut self, what: &str, longest: Duration, mut is_so: impl FnMut(&Self) -> bool) {
        for _ in 0..longest.as_millis() / 20 {
            if is_so(self) {
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut errors = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
                panic!("the node ended ({status}) before there was {what}: {errors}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("waited {longest:?} for {what}");
    }

    /// Tells the node to stop; its exit code and its log.
    pub fn stop(mut self) -> (Option<i32>, String) {
        let process = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(process, Signal::TERM).unwrap();
        let status = self.child.wait().unwrap();
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (status.code(), errors)
    }
}

impl Drop for RunningNode {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(config: &PathBuf) -> Child {
    binary()
        .args(["run", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}
