//! Generates the Rust types of both APIs. `protox` parses the files, so that no user needs `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    println!("cargo:rerun-if-changed={root}");
    let files = ["stickler/peer/v1/peer.proto", "stickler/admin/v1/admin.proto"];
    let descriptors = protox::compile(files, [root])?;
    tonic_prost_build::configure()
        .bytes(".stickler.peer.v1")
        // What an operator's tools get as JSON has the names of the .proto file.
        .message_attribute(".stickler.admin.v1", "#[derive(serde::Serialize)]")
        .compile_fds(descriptors)?;
    Ok(())
}
