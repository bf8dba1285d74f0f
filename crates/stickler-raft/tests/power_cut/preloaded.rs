//! Libraries that are preloaded into a child process.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles a library from its source, relative to the folder of the tests.
pub fn compile(source: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(source);
    let name = source.file_stem().unwrap().to_string_lossy().into_owned();
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.so", std::process::id()));
    let compiled = Command::new("cc")
        .args(["-std=gnu11", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-pthread", "-o"])
        .args([&library, &source])
        .status()
        .expect("a C compiler called cc");
    assert!(compiled.success());
    library
}
