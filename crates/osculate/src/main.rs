//! The `osculate` command.
fn main() {}
