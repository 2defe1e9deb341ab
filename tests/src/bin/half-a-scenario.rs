//! The first half of a scenario, which then waits to be killed: what a run leaves that never came to its teardown.

use std::io::{self, Read};

fn main() {
    let mut s = e2e::Scenario::new("half_a_scenario", ["half-node", "half_net", "half_data"]);
    s.run("docker network create half_net");
    s.run("docker create --name half-node --network half_net -v half_data:/data pgherd/primary:17");
    println!("{}", s.real("half-node half_net half_data"));
    // Ends with whoever is to kill it: a run that outlived its test would keep what it has made from ever being swept.
    io::stdin().read_to_end(&mut Vec::new()).expect("a pipe that nobody writes to");
}
