//! How much memory a decoder takes for what it was handed.

use peak_alloc::PeakAlloc;

/// Counts what the target allocates.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// What a decoder may take whatever the size of its input: buffers for reading, an empty table, and at each of a few
/// depths of a value the mebibyte that serde reserves for a list of which only the length is known.
const SPARED: usize = 6 << 20;
/// What it may take for each byte of input: a value takes more room than its encoding, which leaves out zeros.
const FOR_EACH_BYTE: usize = 256;

/// Runs a decoder over so many bytes, and fails when it takes memory out of proportion to them: a length that
/// a stranger wrote must not reserve room for what isn't there.
pub fn in_proportion<T>(input: usize, decode: impl FnOnce() -> T) -> T {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let decoded = decode();
    let taken = MEMORY.peak_usage().saturating_sub(before);
    assert!(taken <= SPARED + FOR_EACH_BYTE * input, "{taken} bytes were taken for an input of {input}");
    decoded
}
