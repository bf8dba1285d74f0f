//! What Linux says of a process: CPU time and memory.

use std::fs;

use crate::failure::Failure;

/// The CPU time that a process has used, user and system, all threads, in seconds.
///
/// # Errors
/// [`Failure::System`] when it is gone.
pub fn cpu_seconds(process: u32) -> Result<f64, Failure> {
    let ticks = ticks(&read(process, "stat")?);
    let ticks = ticks.ok_or_else(|| Failure::Void(format!("/proc/{process}/stat has another form")))?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The memory that a process has, in bytes: now, and at most since the last [`forget_peak`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Resident now.
    pub now: u64,
    /// Resident at most.
    pub peak: u64,
}

/// The memory of a process.
///
/// # Errors
/// [`Failure::System`] when it is gone.
pub fn memory(process: u32) -> Result<Memory, Failure> {
    let memory = resident(&read(process, "status")?);
    memory.ok_or_else(|| Failure::Void(format!("/proc/{process}/status has another form")))
}

/// Lets the peak begin anew.
///
/// # Errors
/// [`Failure::System`].
pub fn forget_peak(process: u32) -> Result<(), Failure> {
    let path = format!("/proc/{process}/clear_refs");
    // proc(5): 5 resets the peak of the resident set
    fs::write(&path, "5").map_err(Failure::system(path))
}

fn read(process: u32, file: &str) -> Result<String, Failure> {
    let path = format!("/proc/{process}/{file}");
    fs::read_to_string(&path).map_err(Failure::system(path))
}

/// utime and stime of proc(5), fields 14 and 15. The name before them may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn resident(status: &str) -> Option<Memory> {
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line.trim_start_matches(':').trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kibibytes * 1024)
    };
    Some(Memory { now: bytes("VmRSS")?, peak: bytes("VmHWM")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_a_name_that_looks_like_more_fields() {
        let stat = "42 (odd) name 1 2) S 1 42 42 0 -1 4194560 100 0 0 0 250 30 7 8 20 0 5 0 100 200 300";
        assert_eq!(ticks(stat), Some(280));
        assert_eq!(ticks("42 (short) S 1"), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tnode\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t5\n";
        assert_eq!(resident(status), Some(Memory { now: 1 << 20, peak: 2 << 20 }));
        assert_eq!(resident("Name:\tnode\n"), None);
    }

    #[test]
    fn this_process_has_memory_and_may_forget_its_peak() {
        let own = std::process::id();
        forget_peak(own).unwrap();
        let memory = memory(own).unwrap();
        assert!(memory.now > 0 && memory.peak >= memory.now / 2, "{memory:?}");
        assert!(cpu_seconds(own).unwrap() >= 0.0);
    }
}
