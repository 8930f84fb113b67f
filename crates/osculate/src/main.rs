//! The `osculate` command.

fn main() -> std::process::ExitCode {
    osculate::cli::main(std::env::args_os())
}
