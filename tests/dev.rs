//! The program behind `cargo dev`, built here so that tests can start and kill it.

fn main() -> anyhow::Result<()> {
    local::main()
}
