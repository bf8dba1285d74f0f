//! Compiles the clock that stands still in simulated runs, and links it into the simulation alone.

fn main() {
    let source = "src/simulation/standing_clock.c";
    println!("cargo:rerun-if-changed={source}");
    // The object itself: from an archive the linker may take the C library's function of that name instead.
    for object in cc::Build::new().file(source).compile_intermediates() {
        println!("cargo:rustc-link-arg-bin=simulation={}", object.display());
    }
}
