//! Compiles `proto/feed.proto` to Rust. protox parses it, so that nobody needs protoc installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/feed.proto");
    let files = protox::compile(["proto/feed.proto"], ["proto"])?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
