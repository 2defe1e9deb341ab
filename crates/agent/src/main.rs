//! `pgherd-agent`: PID 1 of every node.

fn main() {
    eprintln!("pgherd-agent: nothing to run yet");
    std::process::exit(1);
}
