//! `cargo dev`: a shell around the library.

fn main() -> anyhow::Result<()> {
    local::main()
}
